# Training, which goes on from its last checkpoint: files of a run are no outputs, for those are deleted.


rule train:
    input:
        lambda w: needs(w.target, w.job),
    output:
        f"{WORK}/{BUDGET}/{{target}}/train/{{job}}.json",
    params:
        command=lambda w: JOBS[w.target][w.job].command,
    threads: lambda w: JOBS[w.target][w.job].threads
    shell:
        RUN
