"""Targets: what is run for a published table or figure, read from config/targets/NAME.yaml."""

import re
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from jvi.compat.reading import read_file

__all__ = ["BUDGETS", "Job", "budget_of", "datasets_of", "figures_of", "jobs", "names", "read"]

FOLDER = Path(__file__).resolve().parent.parent / "config" / "targets"
BUDGETS = ("full", "small", "tiny")
KINDS = ("train", "evaluate", "measure")
MOST = 2**18  # bytes of one

NEEDED = {"title": str, "source": str, "about": str, "budgets": dict, "jobs": dict}
ALLOWED = {"data": list, "tables": list, "claims": list, "figures": list, "remarks": dict}
ALLOWED |= {"environment": dict}  # variables that must be set, and what each is
OF_A_JOB = {"kind", "over", "with", "threads", "command", "of", "after"}
OF_ENTRIES = {
    "tables": {"caption", "rows", "columns"},
    "claims": {"says"},
    "figures": {"job", "x", "y", "labels", "caption"},
}


class Job(NamedTuple):
    """One run: a command, and what has to be there before it.

    Attributes
    ----------
    target, budget, name, label, kind : str
        `label` is what the target calls all jobs of this sort.
    values : dict
        What tells it apart from the others of its kind: {"objective": "iwae", "seed": 0}.
    command : str
        With {prefix}, {out}, {of} and {runs} still to be filled in.
    threads : int
    of : str or None
        Name of the train job whose model this one goes on from, or evaluates.
    after : tuple of str
        Names of all jobs whose files it reads.
    """

    target: str
    budget: str
    name: str
    label: str
    kind: str
    values: dict[str, Any]
    command: str
    threads: int
    of: str | None
    after: tuple[str, ...]


def names() -> list[str]:
    """All targets there are."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def read(name: str) -> dict[str, Any]:
    """A target.

    Raises
    ------
    ValueError
        For an unknown name, listing the known, or a file that is not as it should be.
    """
    if name not in names():
        raise ValueError(f"unknown target {name!a}: choose from {', '.join(names())}")
    path = FOLDER / f"{name}.yaml"
    try:
        target = yaml.safe_load(read_file(path, MOST))
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: {error}") from None
    _check(path, target)
    return target


def _check(path, target):
    if not isinstance(target, dict):
        raise ValueError(f"{path}: a target is a mapping")
    kinds = NEEDED | ALLOWED
    for key, kind in kinds.items():
        if (key in NEEDED or key in target) and not isinstance(target.get(key), kind):
            raise ValueError(f"{path}: {key} is missing, or not a {kind.__name__}")
    _check_budgets_and_jobs(path, target, {*target} - {*kinds})
    for part, needed in OF_ENTRIES.items():
        for each in target.get(part, []):
            missing = needed - {*each} if isinstance(each, dict) else needed
            if missing:
                raise ValueError(f"{path}: each of {part} needs {', '.join(sorted(missing))}")


def _check_budgets_and_jobs(path, target, unknown):
    unknown |= {*target["budgets"]} - {*BUDGETS}
    for name, budget in target["budgets"].items():
        if not isinstance(budget, dict):
            raise ValueError(f"{path}: budget {name} is no mapping")
    for label, job in target["jobs"].items():
        known = job if isinstance(job, dict) else {}
        unknown |= {f"{label}: {key}" for key in {*known} - OF_A_JOB}
        if known.get("kind") not in KINDS or not isinstance(known.get("command"), str):
            raise ValueError(f"{path}: job {label} needs a command and a kind, {', '.join(KINDS)}")
    if unknown:
        raise ValueError(f"{path}: nothing is known of {', '.join(sorted(map(str, unknown)))}")


def budget_of(target: Mapping[str, Any], name: str, budget: str) -> dict[str, Any]:
    """The values that a budget gives to a target.

    Raises
    ------
    ValueError
        Where the target has no such budget, naming those it has.
    """
    if budget not in target["budgets"]:
        known = ", ".join(target["budgets"])
        raise ValueError(f"{name} has no budget {budget!a}: choose from {known}")
    return target["budgets"][budget]


def datasets_of(target: Mapping[str, Any], budget: Mapping[str, Any]) -> list[str]:
    """Names of the data sets that must be there."""
    return [each.format(**budget) for each in target.get("data", [])]


def figures_of(target: Mapping[str, Any], name: str) -> dict[str, dict[str, Any]]:
    """A target's figures by the names of their files, without suffix."""
    return {f"{name}-{each['name']}" if each.get("name") else name: each
            for each in target.get("figures", [])}  # fmt: skip


def jobs(name: str, budget: str) -> dict[str, Job]:
    """All jobs of a target in a budget, by name, each after those that it needs.

    Raises
    ------
    ValueError
        For an unknown target or budget, or a job that refers to what is not there.
    """
    target = read(name)
    values = budget_of(target, name, budget)
    found: dict[str, dict[str, Job]] = {}
    for label, job in target["jobs"].items():
        found[label] = {}
        for base in _bases(name, found, label, job):
            for combination in _combinations(name, label, job.get("over", {}), values):
                each = _job(name, budget, label, job, values, combination, base, found)
                if each.name in KINDS or any(each.name in group for group in found.values()):
                    raise ValueError(
                        f"{name}: {each.name} is the name of another job, or of a kind"
                    )
                found[label][each.name] = each
    return {each: job for group in found.values() for each, job in group.items()}


def _bases(name, found, label, job):
    """The jobs that each of this kind goes on from, or None once."""
    if "of" not in job:
        return [None]
    wanted = job["of"] if isinstance(job["of"], list) else [job["of"]]
    for each in wanted:
        if each not in found:
            raise ValueError(f"{name}: {label} is of {each}, which does not stand before it")
    return [base for each in wanted for base in found[each].values()]


def _combinations(name, label, over, values):
    lists = []
    for variable, choices in over.items():
        choices = values.get(choices) if isinstance(choices, str) else choices
        if not isinstance(choices, list):
            raise ValueError(f"{name}: {label} has no list of {variable}")
        lists.append(choices)
    return [dict(zip(over, combination, strict=True)) for combination in product(*lists)]


def _job(name, budget, label, job, values, combination, base, found):
    own = (base.values if base else {}) | combination
    texts = {
        f"{variable}_option": options[own[variable]]
        for variable, options in job.get("with", {}).items()
    }
    later = {key: f"{{{key}}}" for key in ("prefix", "out", "of", "runs")}
    try:
        command = job["command"].format(**(values | own | texts | later))
        threads = int(str(job.get("threads", 1)).format(**values))
    except (KeyError, IndexError, ValueError) as error:
        raise ValueError(f"{name}: {label} has no value for {error}") from None
    after = tuple(each for other in job.get("after", []) for each in found[other])
    tag = "-".join(re.sub(r"[^A-Za-z0-9.]+", "_", str(value)) for value in own.values())
    return Job(
        name, budget, f"{label}-{tag}" if tag else label, label, job["kind"], own,
        " ".join(command.split()), threads, base.name if base else None, after,
    )  # fmt: skip
