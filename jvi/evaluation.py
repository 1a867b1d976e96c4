"""Evidence of a trained model on a data set, in bounded memory."""

import math
import re
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from jvi import backend
from jvi.bounds import effective_sample_size, elbo, iwae, normalised_weights
from jvi.diagnostics import trust
from jvi.grid import block_size, log_weight_grid
from jvi.jackknife import jackknife

__all__ = ["BOUNDS", "Evaluation", "evaluate"]

# What can be evaluated: functions of (log_w, log_px, kl) with a value per data point. Beside these,
# "jvi" stands for the jackknife of the order asked for, and "jvi-M" for that of order M.
BOUNDS = {
    "vae": lambda log_w, log_px, kl: elbo(log_px) - kl,
    "elbo": lambda log_w, log_px, kl: elbo(log_w),
    "iwae": lambda log_w, log_px, kl: iwae(log_w),
    "is": lambda log_w, log_px, kl: (normalised_weights(log_w) * log_px).sum(axis=0),
}

# Of `jvi.diagnostics.Trust`: why the jackknife's value of an image may be wrong.
FLAGS = ("heavy_tail", "few_samples", "large_correction")


class Evaluation(NamedTuple):
    """Estimates of log p(x), in nats, from the same samples.

    Attributes
    ----------
    mean : dict of str to float
        By bound, averaged over data points.
    standard_error : dict of str to float
        Of that mean, from the spread over data points (nan for a single one).
    per_image : dict of str to array, shape (N,), float64
        By bound; under "ess" the effective sample size. With a jackknife among the bounds also
        "pareto_k" and the flags of `jvi.diagnostics.Trust`, for the highest order.
    num_samples : int
    """

    mean: dict
    standard_error: dict
    per_image: dict
    num_samples: int

    @property
    def doubts(self):
        """How many images the jackknife's value is not to be trusted of, by reason; or {}."""
        if FLAGS[0] not in self.per_image:
            return {}
        flags = [self.per_image[name] for name in FLAGS]
        counts = {name: int(flag.sum()) for name, flag in zip(FLAGS, flags, strict=True)}
        return counts | {"doubtful": int(np.logical_or.reduce(flags).sum())}


def evaluate(
    model,
    x,
    num_samples,
    bounds=("iwae", "jvi"),
    order=1,
    seed=0,
    *,
    replication=0,
    batch_size=4096,
    progress=False,
):
    """Bounds on and estimates of log p(x) for each data point and on average.

    The noise of a data point is drawn from a stream of its own, so that the result depends on
    `seed` but not on `batch_size` (up to rounding), and memory stays bounded for any `num_samples`.

    Parameters
    ----------
    model : jvi.Model
    x : array, shape (N, pixels)
        Binary images.
    num_samples : int
        K, samples per data point.
    bounds : iterable of str
        Of "vae" (the ELBO with analytic KL divergence), "elbo" (the sampled one), "iwae", "jvi"
        (of the given order), "jvi-M" (of order M), "iwae++" (JVI-1) and "is".
    order : int
        Of "jvi", less than K.
    seed, replication : int
        Select the noise.
    batch_size : int
        At most so many data points are worked on at a time.
    progress : bool
        Show a progress bar after two seconds.

    Returns
    -------
    Evaluation

    Raises
    ------
    ValueError
        For impossible numbers, images that do not fit the model, or non-finite log-weights.
    """
    check_request(num_samples, bounds, order, batch_size)
    if len(x) == 0:
        raise ValueError("there are no images to evaluate")
    x = model.images(x)
    block = block_size(len(x), num_samples, batch_size, model.device)

    def values(start):
        """Of the block of data points that begins at `start`."""
        stop = min(start + block, len(x))
        grid = log_weight_grid(model, x[start:stop], num_samples, seed, replication, start)
        return _values(grid, bounds, order)

    parts = []
    with tqdm(total=len(x), unit="image", disable=None if progress else True, delay=2) as bar:
        for part in backend.parallel_map(values, range(0, len(x), block), model.device):
            parts.append(part)
            bar.update(len(part["ess"]))
    per_image = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return _summarise(per_image, bounds, num_samples)


def check_request(num_samples, bounds, order, batch_size):
    """Raise ValueError, in one line, for a request that no evaluation can meet."""
    if num_samples < 1:
        raise ValueError(f"the number of samples must be at least 1, not {num_samples}")
    if batch_size < 1:
        raise ValueError(f"the batch size must be at least 1, not {batch_size}")
    for name in bounds:
        needed = _jackknife_order(name, order)
        if needed is not None and not 0 <= needed < num_samples:
            raise ValueError(
                f"jackknife order {needed} needs more than {needed} samples, not {num_samples}"
            )


def _jackknife_order(name, order):
    """The order that a bound's name stands for, None for one without; ValueError if unknown."""
    if name in BOUNDS:
        return None
    match = re.fullmatch(r"jvi(?:-(\d+))?|(iwae\+\+)", name)
    if match is None:
        known = ", ".join([*BOUNDS, "iwae++", "jvi", "jvi-M"])
        raise ValueError(f"unknown evaluation {name!r}: choose from {known}")
    return 1 if match[2] else int(match[1] or order)


def _values(grid, bounds, order):
    log_w = grid[0]
    values = {"ess": effective_sample_size(log_w)}
    orders = {name: _jackknife_order(name, order) for name in bounds}
    for name, needed in orders.items():
        values[name] = BOUNDS[name](*grid) if needed is None else jackknife(log_w, needed)
    highest = max((needed or 0 for needed in orders.values()), default=0)
    if highest > 0:
        found = trust(log_w, highest)
        values |= {name: getattr(found, name) for name in ("pareto_k", *FLAGS)}
    return values


def _summarise(per_image, bounds, num_samples):
    mean = {name: float(per_image[name].mean()) for name in bounds}
    error = {name: standard_error(per_image[name]) for name in bounds}
    return Evaluation(mean, error, per_image, num_samples)


def standard_error(values):
    """Standard error of the mean of `values`, shape (N,); nan for a single value."""
    count = len(values)
    return float(values.std(ddof=1) / math.sqrt(count)) if count > 1 else math.nan
