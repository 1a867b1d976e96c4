# Pictures, from collected results alone.


rule figure:
    input:
        lambda w: f"{RESULTS}/{BUDGET}/{FIGURES[w.figure]}.json",
    output:
        f"{PAGES}/{{figure}}.png",
    params:
        target=lambda w: FIGURES[w.figure],
    localrule: True
    shell:
        "{PYTHON} {SCRIPTS}/figure.py {params.target} {wildcards.figure} {input} {output}"
