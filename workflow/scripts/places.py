"""Where a target's files lie below the folder of runs."""

from pathlib import Path

__all__ = ["collected", "prefix", "result", "runs", "state"]


def runs(work: Path, budget: str, target: str) -> Path:
    """The folder of a target's runs in a budget."""
    return Path(work) / budget / target


def prefix(work: Path, budget: str, target: str, job: str) -> Path:
    """What the names of a job's own files begin with."""
    return runs(work, budget, target) / job / "run"


def result(work: Path, budget: str, target: str, kind: str, job: str) -> Path:
    """The result file of a job, there when it is finished."""
    return runs(work, budget, target) / kind / f"{job}.json"


def state(work: Path, budget: str, target: str, job: str) -> Path:
    """What a job is doing."""
    return runs(work, budget, target) / job / "state.json"


def collected(results: Path, budget: str, target: str) -> Path:
    """The results of all jobs, in one file."""
    return Path(results) / budget / f"{target}.json"
