"""One run of a comparison: train, resume what was interrupted, and measure what came out."""

import platform
import statistics
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np

from jvi.assessment.estimates import standard_error
from jvi.assessment.evaluation import evaluations
from jvi.assessment.experiments import Experiment, Run, settings_of
from jvi.assessment.signal_to_noise import measure
from jvi.assessment.tables import versions
from jvi.compat.chainer7 import chainer
from jvi.datasets import Dataset, observe_each
from jvi.engine.random import stream
from jvi.engine.threads import cores
from jvi.evidence.arrays import host
from jvi.evidence.estimators import estimator
from jvi.files import finite
from jvi.models import build
from jvi.models.files import read_model, read_snapshot
from jvi.models.model import Model
from jvi.training.checkpoints import files_of, log_of, resume
from jvi.training.objective import Objective
from jvi.training.progress import ProgressBar
from jvi.training.run import Ended, run
from jvi.training.step import Diverged
from jvi.training.trainer import Settings, build_trainer

__all__ = ["made"]


def made(each: Run, experiment: Experiment, data: Dataset, own: Path) -> dict[str, Any]:
    """Everything that a run gives, for JSON; training goes on from what is in the folder `own`.

    Raises
    ------
    Ended
        A KeyboardInterrupt, where training was interrupted.
    """
    log, failure = _train(each, experiment, data, own / "model")
    found = {
        "run": {"estimator": each.estimator, "num_samples": each.num_samples, "seed": each.seed},
        "settings": settings_of(experiment, data),
        "diverged": failure,
        "training": _training(log),
    }
    if failure is None:
        model = _model(each, experiment, data)
        read_model(files_of(own / "model").latest, model.link)
        try:
            found |= _measured(model, each, experiment, data)
        except (ArithmeticError, ValueError) as error:
            if "finite" not in str(error):
                raise
            found["diverged"] = str(error)
    return finite(found | _where())


def _where():
    """When and with what."""
    return {
        "versions": versions() | {"numba": version("numba")},
        "hardware": {"machine": platform.machine(), "cores": cores()},
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _train(each, experiment, data, prefix):
    """(log, None), or as far as it came and what was said of it where it diverged."""
    model = _model(each, experiment, data)
    settings = Settings(
        objective=Objective(estimator(each.estimator)),
        num_samples=each.num_samples,
        optimizer=experiment.optimizer,
        lr=experiment.lr,
        epochs=experiment.epochs,
        batch_size=experiment.batch_size,
        seed=each.seed,
        quiet=True,
    )
    trainer = build_trainer(model, data, settings, prefix, _meta(each, experiment, model))
    _extend(trainer, model, experiment, data)
    latest = files_of(prefix).latest
    there = latest.exists()
    if there:
        resume(trainer, read_snapshot(latest, model.link))
    try:
        if trainer.updater.epoch < experiment.epochs:
            run(trainer, prefix, in_place=there)
    except Diverged as error:
        return log_of(trainer), str(error).partition(";")[0]
    except Ended as error:
        raise Ended("interrupted: the same command goes on from here") from error
    return log_of(trainer), None


def _meta(each, experiment, model):
    return {
        "--model": str(model.link.spec),
        "--estimator": each.estimator,
        "--dataset": experiment.dataset,
        "--vae-samples": str(each.num_samples),
        "--opt": experiment.optimizer,
        "--lr": repr(experiment.lr),
        "--epochs": str(experiment.epochs),
        "--batchsize": str(experiment.batch_size),
        "--seed": str(each.seed),
    }


def _extend(trainer, model, experiment, data):
    """A bar; after each epoch the time that it took, and how far from the truth the model is."""
    trainer.extend(_Processor(), name="cpu", trigger=(1, "epoch"), priority=400)
    bar = ProgressBar(experiment.epochs, len(data.train), experiment.batch_size)
    trainer.extend(bar, name="bar", trigger=(1, "iteration"), priority=50)
    if experiment.truth is not None:
        x = observe_each(data, data.validation, 0)

        def truth(trainer):
            found = experiment.truth(model.link, x)._asdict()
            chainer.report({f"truth/{name}": value for name, value in found.items()})

        trainer.extend(truth, name="truth", trigger=(1, "epoch"), priority=250)


class _Processor:
    """Reports the seconds of processor time, of all threads, that an epoch's steps took."""

    def initialize(self, trainer):
        self.before = process_time()

    def __call__(self, trainer):
        now = process_time()
        chainer.report({"cpu": now - self.before})
        self.before = now


def _model(each, experiment, data):
    rng = stream(each.seed, "initial parameters")
    return Model(build(experiment.model, data.train.shape[1], rng))


def _training(log):
    """Of a log: a curve, and the seconds that an epoch took, by the clock and of the processor."""
    times = [0.0, *(entry["elapsed_time"] for entry in log)]
    seconds, cpu = np.diff(times).tolist(), [entry["cpu"] for entry in log]
    curve = [
        {
            "epoch": entry["epoch"],
            "step": entry["iteration"],
            "validation": -entry["validation/main/iwae"],
            **{key: value for key, value in entry.items() if key.startswith("truth/")},
        }
        for entry in log
    ]
    return {
        "epochs": len(log),
        "seconds": seconds,
        "seconds_per_epoch": statistics.median(seconds) if seconds else None,
        "cpu_seconds_per_epoch": statistics.median(cpu) if cpu else None,
        "curve": curve,
    }


def _measured(model, each, experiment, data):
    """Of a trained model: likelihood, signal and noise, distances from the truth."""
    x = observe_each(data, data.test, 0)
    found = {"likelihood": _likelihood(model, x, experiment.samples, each.seed)}
    if experiment.repeats and estimator(each.estimator).learned is None:
        rows = observe_each(data, data.train[: experiment.batch_size], 0)
        options = {"repeats": experiment.repeats, "seed": each.seed}
        noise = measure(model.link, rows, each.estimator, each.num_samples, **options)
        found["signal"] = {name: group._asdict() for name, group in noise.items()}
    if experiment.truth is not None:
        found["truth"] = experiment.truth(model.link, x)._asdict()
    return found


def _likelihood(model, x, num_samples, seed):
    """log p(x), the ELBO and -KL(q‖p), each with both errors of its mean; log p(x) by image."""
    bounds = ["elbo", "iwae"]
    got = evaluations(model, x, [num_samples], bounds, 0, seed, detail=True, progress=True)[0]
    images, errors = got.per_image, {name: got.per_image[f"{name}_error"] for name in bounds}
    log_p, log_p_error, gap_error = images["iwae"], errors["iwae"], images["elbo-iwae_error"]
    if hasattr(model.link, "log_evidence"):
        log_p, log_p_error = host(model.link.log_evidence(model.images(x))), 0 * log_p_error
        gap_error = errors["elbo"]
    return {
        **_mean("log_p", log_p, log_p_error),
        **_mean("elbo", images["elbo"], errors["elbo"]),
        **_mean("minus_kl", images["elbo"] - log_p, gap_error),
        "ess": float(images["ess"].mean()),
        "per_image": [round(float(value), 4) for value in log_p],
    }


def _mean(name, values, errors):
    return {
        name: float(values.mean()),
        f"{name}_images": standard_error(values),
        f"{name}_samples": float(np.linalg.norm(errors) / len(errors)),
    }
