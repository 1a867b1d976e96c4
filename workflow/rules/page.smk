# Pages, from collected results alone, and one that lists them.


rule page:
    input:
        collected=f"{RESULTS}/{BUDGET}/{{target}}.json",
        figures=lambda w: [f"{PAGES}/{f}.png" for f, name in FIGURES.items() if name == w.target],
    output:
        f"{PAGES}/{{target}}.md",
    localrule: True
    shell:
        "{PYTHON} {SCRIPTS}/page.py {wildcards.target} {input.collected} {output}"


rule index:
    input:
        expand(f"{PAGES}/{{target}}.md", target=JOBS),
    output:
        f"{PAGES}/index.md",
    localrule: True
    shell:
        "{PYTHON} {SCRIPTS}/index.py {RESULTS} {output}"
