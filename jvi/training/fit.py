"""Training to the last epoch and in memory: nothing is validated, chosen or written."""

from collections.abc import Callable, Iterator
from typing import Any

import chainer
import numpy as np

from jvi.datasets.dataset import Dataset, as_it_is
from jvi.training.objective import check_fit
from jvi.training.optimizers import optimizer_for
from jvi.training.trainer import Settings, Updater

__all__ = ["fit", "passes"]

LAST = 0.01  # share of the learning rate that the end has


def fit(model: Any, rows: Any, settings: Settings) -> np.ndarray:
    """Train a model of which the last parameters are wanted, as those of a posterior are.

    The learning rate falls in a line to a hundredth, so that they are hardly noisy.

    Parameters
    ----------
    model : jvi.Model
        Changed in place.
    rows : array, shape (B, …)
        As the model takes them.
    settings : jvi.training.trainer.Settings
        Its schedule is the rate at first.

    Returns
    -------
    numpy.ndarray, shape (epochs,)
        Minus the bound, on average over batches, in nats: times their number it is of all rows
        where one latent is shared.

    Raises
    ------
    ValueError
        Before any work, where model, objective, data and numbers do not go together.
    jvi.training.step.Diverged
        When the loss is no longer finite.
    """
    first = settings.rate(0)

    def falling(epoch):
        return first * (1 - (1 - LAST) * epoch / settings.epochs)

    return np.array(list(passes(model, rows, settings, falling)))


def passes(
    model: Any, rows: Any, settings: Settings, rate: Callable[[int], float] | None = None
) -> Iterator[float]:
    """`fit`, epoch by epoch: minus the bound of each, and the model as it is after it.

    `rate` is the learning rate as a function of the epoch, in the place of the schedule's.
    """
    objective = settings.objective._replace(reported={"obj": "-bound"})
    settings = settings._replace(objective=objective)
    check_fit(objective, model.link, settings.num_samples)
    rows = np.asarray(rows, np.float32)
    model.images(rows)
    data = Dataset("rows", rows, rows[:0], rows[:0], observe=as_it_is)
    optimizer = optimizer_for(settings.optimizer, settings.rate(0), model.link, settings.clip)
    updater = Updater(data, model, optimizer, settings)
    updater.rate = rate or updater.rate
    while updater.epoch < settings.epochs:
        seen: dict[str, Any] = {}
        with chainer.Reporter().scope(seen):
            updater.update()
        if seen:
            yield seen["main/obj"]
    updater.finalize()
