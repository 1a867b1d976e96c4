"""Models with and without flows at equal processor time: what is run, and what comes out.

A run is a folder with the model and, once it is finished, result.json; whatever ends it, the same
call goes on from its last epoch.
"""

import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jvi.assessment.assessed import observed
from jvi.assessment.comparison import RESULT, kept, read
from jvi.assessment.evaluation import evaluations
from jvi.assessment.tables import versions
from jvi.assessment.timed_run import curve_of, spent, train_for
from jvi.datasets import Dataset, observe_each
from jvi.engine.random import stream
from jvi.engine.threads import cores
from jvi.evidence.estimators import estimator
from jvi.models import build
from jvi.models.files import read_model
from jvi.models.model import Model
from jvi.spec import split
from jvi.training.checkpoints import files_of
from jvi.training.objective import Objective, changed, check_fit, for_link
from jvi.training.trainer import Settings

__all__ = [
    "EXPERIMENTS",
    "FlowExperiment",
    "FlowRun",
    "check",
    "complete",
    "cut",
    "load",
    "settings_of",
    "trained",
]

MODEL = "model"
NO_END = 10**9  # epochs: the time ends a run


class FlowExperiment(NamedTuple):
    """Models on one data set, each with the same processor time and the same seeds.

    Attributes
    ----------
    models : tuple of str
        As `jvi.model` takes them; the first is what the others are compared with.
    dataset : str
    minutes : float
        Of processor time, of all threads, of each run's steps.
    seeds : tuple of int
    batch_size, optimizer, lr, average, free_bits
        As `jvi.train` has them.
    train_images, validation_images, test_images : int or None
        The first so many, None for all.
    samples : int
        K of the bounds on the test images.
    """

    models: tuple[str, ...]
    dataset: str
    minutes: float
    seeds: tuple[int, ...] = (0, 1, 2)
    batch_size: int = 100
    optimizer: str = "adamax"
    lr: float = 2e-3
    average: float = 0.999
    free_bits: float = 0.0
    train_images: int | None = None
    validation_images: int | None = None
    test_images: int | None = None
    samples: int = 1000


POSTERIORS = ("diag", "iaf1", "iaf2")

EXPERIMENTS = {
    "digits": FlowExperiment(
        tuple(f"iaf-resnet:depths=1,n-z=4,n-h=8,posterior=down_{name}" for name in POSTERIORS),
        "digits-grey",
        minutes=0.2,
        seeds=(0,),
        samples=16,
    ),
    "mnist": FlowExperiment(
        tuple(f"iaf:posterior={name}" for name in POSTERIORS), "mnist", minutes=30
    ),
    "cifar": FlowExperiment(
        ("iaf-resnet:depths=1-1,n-z=8,n-h=16,posterior=down_iaf2,depth-ar=1",),
        "cifar10",
        minutes=120,
        seeds=(0,),
        batch_size=16,
        free_bits=0.25,
        validation_images=500,
        test_images=1000,
        samples=16,
    ),
}


class FlowRun(NamedTuple):
    """One of an experiment's: a model and a seed."""

    model: str
    seed: int

    @property
    def label(self) -> str:
        """What the model is told apart by: its posterior, where it says one."""
        name, options = split(self.model)
        return options.get("posterior", name)

    @property
    def name(self) -> str:
        """For its folder."""
        return f"{self.label}-seed{self.seed}"


def cut(data: Dataset, experiment: FlowExperiment) -> Dataset:
    """The first rows of each part, as many as an experiment takes."""
    return data._replace(
        train=data.train[: experiment.train_images],
        validation=data.validation[: experiment.validation_images],
        test=data.test[: experiment.test_images],
    )


def settings_of(experiment: FlowExperiment, data: Dataset) -> dict[str, Any]:
    """What all runs of an experiment share, for JSON; `data` is `cut`."""
    parts = {"train": data.train, "validation": data.validation, "test": data.test}
    sizes = {f"{name}_images": len(part) for name, part in parts.items()}
    found = experiment._asdict() | {"models": list(experiment.models)} | sizes
    return {key: value for key, value in found.items() if key != "seeds"}


def check(each: FlowRun, experiment: FlowExperiment, data: Dataset) -> None:
    """Refuse, before any work, a model that does not take the data or cannot be trained so.

    Raises
    ------
    ValueError
        Naming what does not fit.
    """
    model = _model(each, data)
    observed(model, data, data.test[:2], 0)
    settings, _ = _settings(each, experiment, model)
    check_fit(for_link(settings.objective, model.link), model.link, 1)


def trained(folder: Path, run: Mapping[str, Any]) -> Model:
    """The model of a finished run, by what its result says of it."""
    each = FlowRun(run["model"], run["seed"])
    return Model(read_model(files_of(folder / each.name / MODEL).best).link)


def _model(each, data):
    """That of a run before training."""
    rng = stream(each.seed, "initial parameters")
    return Model(build(each.model, data.train.shape[1], rng))


def load(folder: Path) -> list[dict[str, Any]]:
    """What all finished runs of a folder gave, by name.

    Raises
    ------
    ValueError
        Naming a file that is damaged.
    """
    return [read(path) for path in sorted(folder.glob(f"*/{RESULT}"))]


def complete(
    each: FlowRun, experiment: FlowExperiment, data: Dataset, folder: Path
) -> dict[str, Any] | None:
    """What a run gives: read, or else made and written.

    Parameters
    ----------
    each : FlowRun
    experiment : FlowExperiment
    data : Dataset
        `cut`.
    folder : Path
        Of the experiment.

    Returns
    -------
    dict or None
        For JSON, docs/flows.md; None where another process has this run.
    """
    own = folder / each.name
    return kept(own, lambda: _made(each, experiment, data, own / MODEL))


def _made(each, experiment, data, prefix):
    model = _model(each, data)
    seconds = 60 * experiment.minutes
    log = train_for(seconds, model, data, *_settings(each, experiment, model), prefix)
    best = Model(read_model(files_of(prefix).best).link)
    return {
        "run": {"model": each.model, "label": each.label, "seed": each.seed},
        "spec": str(model.link.spec),
        "settings": settings_of(experiment, data),
        "unit": data.unit._asdict(),
        "parameters": sum(parameter.size for parameter in model.link.params()),
        "training": {"epochs": len(log), "cpu_seconds": spent(log), "curve": curve_of(log)},
        "test": _measured(best, data, experiment.samples, each.seed),
        "versions": versions() | {"numba": version("numba")},
        "hardware": {"machine": platform.machine(), "cores": cores()},
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _settings(each, experiment, model):
    """(settings, what the meta file says of them)."""
    settings = Settings(
        changed(Objective(estimator("elbo")), "", experiment.free_bits),
        optimizer=experiment.optimizer,
        lr=experiment.lr,
        epochs=NO_END,
        batch_size=experiment.batch_size,
        seed=each.seed,
        quiet=True,
        clip=0.0,
        average=experiment.average,
    )
    meta = {
        "--model": str(model.link.spec),
        "--estimator": "elbo",
        "--dataset": experiment.dataset,
        "--opt": experiment.optimizer,
        "--lr": repr(experiment.lr),
        "--batchsize": str(experiment.batch_size),
        "--free-bits": repr(experiment.free_bits),
        "--average": repr(experiment.average),
        "--clip": "0",
        "--seed": str(each.seed),
    }
    return settings, meta


def _measured(model, data, num_samples, seed):
    """Bounds on log p(x) of the test images, in nats, with both errors; by image for pairs."""
    x = observe_each(data, data.test, 0)
    names = ["elbo", "iwae"]
    got = evaluations(model, x, [num_samples], names, 0, seed, detail=True, progress=True)[0]
    found: dict[str, Any] = {"num_samples": num_samples, "images": len(x)}
    for name in names:
        found[name] = {
            "mean": got.mean[name],
            "images": got.standard_error[name],
            "samples": got.sampling_error[name],
            "per_image": np.round(got.per_image[name], 3).tolist(),
        }
    return found
