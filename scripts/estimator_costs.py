"""What each gradient estimator costs: benchmark.py's part "estimators".

Whole training steps, of every estimator that applies to a model, by turns with those of the
plainest one there, `BASELINES`: the ratio is to the mean of the steps before and after it, so that
a machine that is busy for a while is so for both.
"""

from typing import NamedTuple

import numpy as np

from jvi.scripts.benchmark_programs import LEARNING_RATE, interleaved, peak
from jvi.text import table

__all__ = [
    "BASELINES",
    "QUICK_SIZES",
    "Sizes",
    "applicable",
    "memory",
    "step_of",
    "tables",
    "times",
]

# What the others are compared with, on a model of continuous and one of discrete latents.
BASELINES = {"burda:layers=1": "iwae", "sbn:layers=1": "reinforce"}


class Sizes(NamedTuple):
    """Every K is timed with as many images as make `rows` samples, `repeats` times."""

    num_samples: tuple[int, ...] = (8, 64, 512)
    rows: int = 8192
    repeats: int = 15
    num_pixels: int = 784


QUICK_SIZES = Sizes((8,), 1024, 3)


def step_of(model, estimator, num_samples, num_images, num_pixels):
    """A function that takes a training step as the trainer does; it leaves the model as it is.

    Raises
    ------
    ValueError
        Where the estimator does not apply to the model.
    """
    from jvi.datasets import Dataset
    from jvi.evidence.estimators import estimator as estimator_of
    from jvi.models import build
    from jvi.models.model import Model
    from jvi.training.objective import Objective, check_fit
    from jvi.training.optimizers import optimizer_for
    from jvi.training.step import Step

    rng = np.random.default_rng(0)
    x = (rng.random((num_images, num_pixels)) < 0.3).astype(np.float32)
    trained = Model(build(model, num_pixels, rng))
    objective = Objective(estimator_of(estimator))
    check_fit(objective, trained.link, num_samples)
    data = Dataset("benchmark", x, x[:1], x[:1], (1, num_pixels))
    optimizer = optimizer_for("adam", LEARNING_RATE, trained.link)
    step = Step(trained, data, optimizer, objective, num_samples, seed=0)
    return lambda: step(np.arange(num_images), optimizer.t)


def applicable(model):
    """Names of the estimators, with their default options, that a model can be trained with."""
    from jvi.evidence.estimators import ESTIMATORS, PATH, TOTAL
    from jvi.models import build

    continuous = build(model, 1, np.random.default_rng(0)).reparameterised
    return [name for name, r in ESTIMATORS.items() if continuous or r.route not in (TOTAL, PATH)]


def times(model, num_samples, sizes):
    """Seconds of a step of each estimator, and ratios to the baseline's beside it.

    Returns
    -------
    dict of str to dict
        By estimator: "seconds" of every repeat, "ratios", and the same of the time that the
        processor worked for this process, "cpu_ratios", which other programs hardly change.
    """
    names, baseline = applicable(model), BASELINES[model]
    about = num_samples, max(1, sizes.rows // num_samples), sizes.num_pixels
    steps = {name: step_of(model, name, *about) for name in names}
    return interleaved(steps, baseline, sizes.repeats)


def memory(model, estimator, num_samples, sizes):
    """Peak resident memory of this process in MB: with the imports alone, and after two steps.

    Of a process of its own: a peak never falls.
    """
    step_of(model, estimator, 2, 2, sizes.num_pixels)()
    before = peak()
    step = step_of(model, estimator, num_samples, sizes.rows // num_samples, sizes.num_pixels)
    step()
    step()
    return {"imports": before, "peak": peak()}


def tables(result):
    """`{model: {"times": {K: …}, "memory": {K: {estimator: …}}}}` as text, a table for each."""
    return "\n\n".join(_table(model, numbers) for model, numbers in result.items())


def _table(model, numbers):
    baseline, names = BASELINES[model], next(iter(numbers["times"].values()))
    columns = [*(f"time, K={k}" for k in numbers["times"])]
    columns += [f"memory, K={k}" for k in numbers["memory"]]
    rows = [
        [
            name,
            *(_time_cell(each, name, baseline) for each in numbers["times"].values()),
            *(_memory_cell(each, name, baseline) for each in numbers["memory"].values()),
        ]
        for name in names
    ]
    return table(rows, [model, *columns])


def _time_cell(found, name, baseline):
    if name == baseline:
        return f"1 = {np.median(found[name]['seconds']):.3g} s"
    low, middle, high = np.percentile(found[name]["ratios"], [25, 50, 75])
    return f"{middle:.2f} ({low:.2f}-{high:.2f})"


def _memory_cell(found, name, baseline):
    used = {key: each["peak"] - each["imports"] for key, each in found.items()}
    if name == baseline:
        return f"1 = {used[name]:.0f} MB"
    return f"{used[name] / max(used[baseline], 1):.2f}"
