# Data sets: there, and what they are.


def data_of(target):
    values = read(target)
    budget = catalogue.budget_of(values, target, BUDGET)
    return [f"{WORK}/data/{each}.json" for each in catalogue.datasets_of(values, budget)]


rule data:
    output:
        f"{WORK}/data/{{dataset}}.json",
    localrule: True
    shell:
        "{PYTHON:q} {SCRIPTS:q}/data.py {wildcards.dataset} {output:q}"
