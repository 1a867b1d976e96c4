# All results of a target in one file.


def needs(target, job):
    """What has to be there before a job: data, and the jobs that it goes on from or reads."""
    job = JOBS[target][job]
    before = [*job.after, *([job.of] if job.of else [])]
    return [*data_of(target), *(result_of(target, each) for each in before)]


rule collect:
    input:
        lambda w: [result_of(w.target, job) for job in JOBS[w.target]],
    output:
        f"{RESULTS}/{BUDGET}/{{target}}.json",
    params:
        of=lambda w: digest(read(w.target)["budgets"][BUDGET], *JOBS[w.target]),
    localrule: True
    shell:
        "{PYTHON:q} {SCRIPTS:q}/collect.py {wildcards.target} {BUDGET} {output:q} {input:q}"
