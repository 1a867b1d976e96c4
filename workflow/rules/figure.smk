# Pictures, from collected results alone.


rule figure:
    input:
        lambda w: f"{RESULTS}/{BUDGET}/{FIGURES[w.figure]}.json",
    output:
        f"{PAGES}/{{figure}}.png",
    params:
        target=lambda w: FIGURES[w.figure],
        of=lambda w: digest(read(FIGURES[w.figure])["figures"]),
    localrule: True
    shell:
        "{PYTHON:q} {SCRIPTS:q}/figure.py {params.target} {wildcards.figure} {input:q} {output:q}"
