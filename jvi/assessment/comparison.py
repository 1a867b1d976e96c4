"""Runs of a comparison: train, evaluate and keep what came out, as one file each.

Whatever ends a run, the same call goes on from its last epoch, and what it gives is the same.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from jvi.assessment.comparison_run import made
from jvi.assessment.experiments import Experiment, Run
from jvi.compat.reading import read_file
from jvi.datasets import Dataset
from jvi.evidence.estimators import estimator
from jvi.files import atomic_write, locked, make_folders, write_json
from jvi.training.objective import Objective, check_fit

__all__ = [
    "RESULT",
    "check_run",
    "check_settings",
    "complete",
    "has_result",
    "kept",
    "read",
    "read_results",
]

RESULT, SETTINGS = "result.json", "settings.json"
MOST = 2**24  # bytes of one: 10,000 images have 100,000


def check_settings(folder: Path, settings: Mapping[str, Any]) -> None:
    """Write down what the runs of a folder share, or refuse what differs from it.

    Raises
    ------
    ValueError
        Naming the folder and what differs.
    """
    path = folder / SETTINGS
    if not path.exists():
        if folder.exists() and any(folder.iterdir()):
            raise ValueError(f"{folder} holds something else: name another place with -o")
        write_json(path, settings)
        return
    there = read(path)
    for key in {**there, **settings}:
        if there.get(key) != settings.get(key):
            raise ValueError(
                f"{folder} holds runs with {key} {there.get(key)}, not {settings.get(key)}: name "
                "another place with -o"
            )


def check_run(each: Run, link: Any) -> None:
    """Refuse, before any work, an estimator that a model or a K cannot serve.

    Raises
    ------
    ValueError
        Naming the estimator.
    """
    check_fit(Objective(estimator(each.estimator)), link, each.num_samples)


def has_result(folder: Path, each: Run) -> bool:
    """Whether a run is finished."""
    return (folder / each.name / RESULT).exists()


def read_results(folder: Path, estimators: Sequence[str]) -> list[dict[str, Any]]:
    """What all finished runs of a folder gave, in the order of K, of `estimators` and of seeds.

    Raises
    ------
    ValueError
        Naming a file that is damaged.
    """
    place = {name: i for i, name in enumerate(estimators)}

    def order(result):
        run = result["run"]
        found = place.get(run["estimator"], len(place))
        return run["num_samples"], found, run["estimator"], run["seed"]

    return sorted(map(read, folder.glob(f"*/{RESULT}")), key=order)


def read(path: Path) -> dict[str, Any]:
    """One result.

    Raises
    ------
    ValueError
        Naming the file, where it is damaged.
    """
    try:
        found = json.loads(read_file(path, MOST))
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise ValueError(f"{path} is damaged: remove it")
    return found


def kept(own: Path, make: Callable[[], dict[str, Any]]) -> dict[str, Any] | None:
    """The result in a run's folder `own`: read, or else made and written.

    None where another process has this run.
    """
    with ExitStack() as stack:
        stack.enter_context(make_folders(own))
        try:
            stack.enter_context(locked(own, "busy"))
        except ValueError:
            return None
        if (own / RESULT).exists():
            return read(own / RESULT)
        result = make()
        with atomic_write(own / RESULT) as temporary:
            temporary.write_text(json.dumps(result, allow_nan=False) + "\n")
        return result


def complete(
    each: Run, experiment: Experiment, data: Dataset, folder: Path
) -> dict[str, Any] | None:
    """What a run gives: read, or else made and written.

    Parameters
    ----------
    each : Run
    experiment : Experiment
    data : Dataset
        `cut`.
    folder : Path
        Of the experiment.

    Returns
    -------
    dict or None
        For JSON, docs/comparison.md; None where another process has this run.

    Raises
    ------
    Ended
        A KeyboardInterrupt, where it was interrupted.
    """
    own = folder / each.name
    return kept(own, lambda: made(each, experiment, data, own))
