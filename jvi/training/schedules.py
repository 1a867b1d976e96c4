"""Learning rates by name, as published: functions of the epoch alone, so that a run can go on."""

import math
from bisect import bisect_right
from collections.abc import Callable
from itertools import accumulate
from typing import NamedTuple

from scipy.optimize import brentq

from jvi.spec import parse, split

__all__ = ["CONSTANT", "SCHEDULES", "Schedule", "check_rate", "schedule"]

CONSTANT = "constant"
STAGES = 8


class Schedule(NamedTuple):
    """How the learning rate changes, and what was published with it.

    Attributes
    ----------
    rate : callable
        From the number of an epoch, the first is 0, to its learning rate.
    epochs : int or None
        In total; past its end the last rate stays.
    optimizer : str or None
        NAME[:key=value,…] of `jvi.training.optimizers.OPTIMIZERS`.
    """

    rate: Callable[[int], float]
    epochs: int | None = None
    optimizer: str | None = None


def constant(lr: float) -> Schedule:
    """One learning rate, for as long as one likes."""
    _check_positive("constant:lr", lr)
    return Schedule(lambda epoch: lr)


def iwae(epochs: int = 3280, lr: float = 1e-3) -> Schedule:
    """3^i epochs at lr 10^(-i/7) for i = 0 … 7 (Burda et al. 2016, section 5), with their Adam.

    In fewer or more epochs, at least 8, all eight rates have their turn: each stays b times as long
    as the one before, where Σ b^i = epochs. 3,280 epochs have b = 3.
    """
    _check_positive("iwae:lr", lr)
    if epochs < STAGES:
        raise ValueError(f"iwae:epochs must be at least {STAGES}, one a rate, not {epochs}")
    ends = _ends(epochs)
    rates = [lr * 10 ** (-i / (STAGES - 1)) for i in range(STAGES)]
    rates.append(rates[-1])
    return Schedule(lambda epoch: rates[bisect_right(ends, epoch)], epochs, "adam:eps=1e-4")


def decay(hold: int, epochs: int, lr: float = 1e-3, last: float = 0.05) -> Schedule:
    """lr for `hold` epochs, then geometrically less each epoch, down to last lr in the last.

    Runs with the same rate are one run up to there: one of them can be continued in several ways.
    """
    _check_positive("decay:lr", lr)
    if not 0 < last <= 1:
        raise ValueError(f"decay:last must be above 0 and at most 1, a share of lr, not {last}")
    if not 0 <= hold < epochs:
        raise ValueError(f"decay:hold must be from 0 to below the {epochs} epochs, not {hold}")

    def rate(epoch):
        passed = max(0, min(epoch + 1, epochs) - hold)
        return lr * last ** (passed / (epochs - hold))

    return Schedule(rate, epochs)


SCHEDULES: dict[str, Callable[..., Schedule]] = {
    CONSTANT: constant,
    "decay": decay,
    "iwae": iwae,
}


def schedule(text: str, lr: float | None = None) -> Schedule:
    """The schedule NAME[:key=value,…] of `SCHEDULES`; `lr` is that of one that is constant.

    Raises
    ------
    ValueError
        For an unknown name or option, listing the known, or a rate or length that cannot be.
    """
    name, texts = split(text)
    if name == CONSTANT and "lr" not in texts and lr is not None:
        text = f"{CONSTANT}:lr={float(lr)!r}"
    spec = parse(text, SCHEDULES, "schedule")
    return SCHEDULES[spec.name](**spec.options)


def check_rate(text: str, lr: float | str | None) -> None:
    """Refuse a learning rate beside a schedule that says its own.

    Raises
    ------
    ValueError
        With where to write it.
    """
    name, texts = split(text)
    if lr is not None and (name != CONSTANT or "lr" in texts):
        raise ValueError(f"the schedule {text} says the learning rate: write {name}:lr={lr}")


def _ends(epochs):
    """Epochs after which each rate has had its turn."""

    def excess(ratio):
        return sum(ratio**i for i in range(STAGES)) - epochs

    ratio = brentq(excess, 1.0, epochs ** (1 / (STAGES - 1)))
    return [math.floor(end + 0.5) for end in accumulate(ratio**i for i in range(STAGES))]


def _check_positive(option, value):
    if value <= 0:
        raise ValueError(f"{option} must be positive, not {value}")
