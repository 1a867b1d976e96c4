# Evaluation of a trained model.


rule evaluate:
    input:
        lambda w: needs(w.target, w.job),
    output:
        f"{WORK}/{BUDGET}/{{target}}/evaluate/{{job}}.json",
    params:
        command=lambda w: JOBS[w.target][w.job].command,
    threads: lambda w: JOBS[w.target][w.job].threads
    shell:
        RUN
