"""Training for a given processor time, which models of different cost are compared at."""

from pathlib import Path
from time import process_time
from typing import Any

from tqdm import tqdm

from jvi.compat.chainer7 import chainer
from jvi.datasets import Dataset
from jvi.models.files import read_snapshot
from jvi.models.model import Model
from jvi.training.checkpoints import files_of, log_of, resume
from jvi.training.optimizers import optimizer_for
from jvi.training.run import Ended, run
from jvi.training.trainer import Settings, Updater, build_trainer

__all__ = ["curve_of", "spent", "train_for"]


def train_for(
    seconds: float, model: Any, data: Dataset, settings: Settings, meta: dict, prefix: Path
) -> list[dict[str, Any]]:
    """Train until steps have taken so much processor time, of all threads, and end with the epoch.

    What is under the prefix already is continued. Validation and files take no part of the time.

    Parameters
    ----------
    seconds : float
    model : jvi.Model
    data : jvi.Dataset
    settings : Settings
        Without an end: its epochs are as many as there is time for.
    meta : dict
        Of PREFIX.meta.yaml.
    prefix : Path

    Returns
    -------
    list of dict
        The log: as in training, and "cpu", the seconds of an epoch's steps.

    Raises
    ------
    Ended
        A KeyboardInterrupt, when it is interrupted; the same call goes on from the last epoch.
    """
    _warm_up(model, data, settings)
    trainer = build_trainer(model, data, settings, prefix, meta)
    trainer.stop_trigger = lambda trainer: spent(log_of(trainer)) >= seconds
    latest = files_of(prefix).latest
    there = latest.exists()
    with tqdm(total=round(seconds), unit="s", disable=None, delay=2, leave=False) as bar:
        _follow(trainer, bar)
        if there:
            resume(trainer, read_snapshot(latest, model.link))
        try:
            if spent(log_of(trainer)) < seconds:
                run(trainer, prefix, in_place=there)
        except Ended as error:
            raise Ended("interrupted: the same command goes on from here") from error
    return log_of(trainer)


def spent(log: list[dict[str, Any]]) -> float:
    """Seconds of processor time that the steps of a log took."""
    return sum(entry["cpu"] for entry in log)


def curve_of(log: list[dict[str, Any]]) -> list[dict[str, float]]:
    """Of each epoch: "cpu" and "clock", seconds so far, and "validation", the IWAE bound in nats.

    The clock counts validation and files, too; the processor time only steps.
    """
    total, points = 0.0, []
    for entry in log:
        total += entry["cpu"]
        point = {"epoch": entry["epoch"], "step": entry["iteration"], "cpu": total}
        point |= {"clock": entry["elapsed_time"], "validation": -entry["validation/main/iwae"]}
        points.append(point)
    return points


def _warm_up(model, data, settings):
    """One step of a copy: kernels are compiled when first used, which is nobody's time."""
    copy = Model(model.link.copy(mode="copy"))
    about = settings.optimizer, settings.rate(0), copy.link, settings.clip, settings.average
    Updater(data, copy, optimizer_for(*about), settings).update()


def _follow(trainer, bar):
    """Report each epoch's processor time as "cpu", and show how it goes on."""
    since = before = 0.0

    def start(trainer):
        nonlocal since, before
        since, before = process_time(), spent(log_of(trainer))

    def show(trainer):
        now = min(bar.total, round(before + process_time() - since))
        bar.update(max(0, now - bar.n))

    def read(trainer):
        chainer.report({"cpu": process_time() - since})

    trainer.extend(show, name="bar", trigger=(1, "iteration"), priority=450)
    start.initialize = start
    # validation has the priority 300, and files 150
    trainer.extend(read, name="cpu", trigger=(1, "epoch"), priority=400)
    trainer.extend(start, name="clock", trigger=(1, "epoch"), priority=10)
