"""What training a Bayesian network costs beside its matrix products: benchmark.py's part "network".

The floor of K draws of the weights and B rows is, for every draw and layer, three products:
forwards, by the weights and, but for the first layer, by the inputs, on all cores. It is measured
in turns with whole training steps (draws, densities, derivatives, clipping, Adam), and with what no
step can do without: the normal numbers of K draws.
"""

from itertools import pairwise
from typing import NamedTuple

import numpy as np

from jvi.scripts.benchmark_programs import LEARNING_RATE, interleaved, peak
from jvi.text import table

__all__ = ["QUICK_SIZES", "Sizes", "memory", "products", "step_of", "tables", "times"]

FLOOR, NORMALS = "matrix products", "normal numbers"
PRIORS = {"step, prior=normal": "normal", "step, prior=mixture": "mixture"}


class Sizes(NamedTuple):
    """All B and K are timed `repeats` times; memory is of one draw, by all B and data sets."""

    num_rows: tuple[int, ...] = (128, 512, 2048, 8192)
    num_samples: tuple[int, ...] = (1, 4)
    all_rows: tuple[int, ...] = (8192, 65536)
    layers: tuple[int, ...] = (784, 400, 400, 10)
    repeats: int = 9


QUICK_SIZES = Sizes((128,), (1,), (256, 1024), repeats=3)


def step_of(prior, num_samples, num_rows, layers, rows=None):
    """A function that takes a training step on the first `num_rows` of the rows of a data set.

    Its learning rate is so small that the model stays as it is.
    """
    from jvi.datasets.dataset import Dataset, as_it_is
    from jvi.evidence.estimators import estimator
    from jvi.models import build
    from jvi.models.model import Model
    from jvi.training.objective import Objective
    from jvi.training.optimizers import optimizer_for
    from jvi.training.reweighting import reweighted
    from jvi.training.step import Step

    rows = data_of(num_rows, layers) if rows is None else rows
    hidden = "x".join(map(str, layers[1:-1]))
    name = f"bayes-mlp:hidden={hidden},task=classification,classes={layers[-1]},prior={prior}"
    model = Model(build(name, rows.shape[1], np.random.default_rng(0)))
    annealed = (reweighted("uniform", len(rows), num_rows),)
    objective = Objective(estimator("elbo"), annealed=annealed)
    optimizer = optimizer_for("adam", LEARNING_RATE, model.link)
    data = Dataset("benchmark", rows, rows[:1], rows[:1], observe=as_it_is)
    step = Step(model, data, optimizer, objective, num_samples, seed=0)
    return lambda: step(np.arange(num_rows), optimizer.t)


def data_of(num_rows, layers):
    """Features and, in the last column, classes: float32, (num_rows, features + 1)."""
    rows = np.random.default_rng(1).random((num_rows, layers[0] + 1), dtype=np.float32)
    rows[:, -1] = np.arange(num_rows) % layers[-1]
    return rows


def products(num_samples, num_rows, layers):
    """Shapes (I, J) and (J, L) of all matrices that are multiplied, in K equal lists."""
    forwards = [((num_rows, above), (above, below)) for above, below in pairwise(layers)]
    by_weights = [((above, num_rows), (num_rows, below)) for above, below in pairwise(layers)]
    by_inputs = [((num_rows, below), (below, above)) for above, below in pairwise(layers[1:])]
    return [forwards + by_weights + by_inputs] * num_samples


def _floor(num_samples, num_rows, layers):
    """A function that multiplies them: the draws, or parts of their rows, spread over all cores."""
    from jvi.engine.devices import device
    from jvi.engine.threads import cores, parallel_map

    parts = -(-cores() // num_samples)
    shapes = products(num_samples * parts, -(-num_rows // parts), layers)
    work = [[tuple(np.ones(s, np.float32) for s in pair) for pair in part] for part in shapes]

    def multiply(part):
        for a, b in part:
            a @ b

    return lambda: list(parallel_map(multiply, work, device(-1)))


def _normals(num_samples, layers):
    """A function that draws the noise of all weights."""
    rng = np.random.default_rng(0)
    noise = np.empty((num_samples, sum((a + 1) * b for a, b in pairwise(layers))), np.float32)
    return lambda: rng.standard_normal(dtype=np.float32, out=noise)


def times(num_samples, num_rows, sizes):
    """Seconds of the floor, the normal numbers and a step with each prior, and their ratios.

    Returns
    -------
    dict of str to dict
        "seconds" of every repeat, "ratios" to the mean of the floor before and after it, and the
        same of the time that processors worked for this process, "cpu_ratios".
    """
    work = {FLOOR: _floor(num_samples, num_rows, sizes.layers)}
    work[NORMALS] = _normals(num_samples, sizes.layers)
    for label, prior in PRIORS.items():
        work[label] = step_of(prior, num_samples, num_rows, sizes.layers)
    return interleaved(work, FLOOR, sizes.repeats)


def memory(num_rows, all_rows, sizes):
    """Peak resident memory of this process in MB: with imports and data, and after two steps.

    Of a process of its own: a peak never falls.
    """
    step_of("mixture", 1, 2, (1, 1, 2))()
    rows = data_of(all_rows, sizes.layers)
    before = peak()
    step = step_of("mixture", 1, num_rows, sizes.layers, rows)
    step()
    step()
    return {"before": before, "peak": peak()}


def tables(result):
    """`{"times": {B: {K: …}}, "memory": {B: {rows of the data set: …}}}` as text."""
    cells = {f"B={b}, K={k}": found for b, of in result["times"].items() for k, found in of.items()}
    labels = next(iter(cells.values()))
    lines = [[label, *(_time_cell(each, label) for each in cells.values())] for label in labels]
    sets = next(iter(result["memory"].values()))
    used = [
        [f"B={b}", *(f"{found[n]['peak'] - found[n]['before']:.0f} MB" for n in sets)]
        for b, found in result["memory"].items()
    ]
    return "\n\n".join(
        (
            table(lines, ["time (processor time)", *cells]),
            table(used, ["memory", *(f"of {n} rows" for n in sets)]),
        )
    )


def _time_cell(found, label):
    numbers = found[label]
    if label == FLOOR:
        return f"1 = {1e3 * np.median(numbers['seconds']):.3g} ms"
    return f"{np.median(numbers['ratios']):.2f} ({np.median(numbers['cpu_ratios']):.2f})"
