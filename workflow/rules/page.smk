# Pages, from collected results alone, and one that lists them.


rule page:
    input:
        collected=f"{RESULTS}/{BUDGET}/{{target}}.json",
        figures=lambda w: [f"{PAGES}/{f}.png" for f, name in FIGURES.items() if name == w.target],
    output:
        f"{PAGES}/{{target}}.md",
    params:
        of=lambda w: digest(read(w.target)),
    localrule: True
    shell:
        "{PYTHON:q} {SCRIPTS:q}/page.py {wildcards.target} {input.collected:q} {output:q}"


rule index:
    input:
        expand(f"{PAGES}/{{target}}.md", target=JOBS),
    output:
        f"{PAGES}/index.md",
    params:
        of=digest(*map(read, catalogue.names())),
    localrule: True
    shell:
        "{PYTHON:q} {SCRIPTS:q}/index.py {RESULTS:q} {output:q}"
