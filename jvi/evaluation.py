"""Evidence of a trained model on a data set, in bounded memory."""

import math
import re
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from jvi import backend
from jvi.bounds import effective_sample_size, elbo, iwae, normalised_weights
from jvi.diagnostics import jackknife_error, pareto_k, trust
from jvi.grid import block_size, log_weight_grid
from jvi.jackknife import jackknife

__all__ = ["BOUNDS", "Evaluation", "evaluate", "evaluations"]

# What can be evaluated: functions of (log_w, log_px, kl) with a value per data point. Beside these,
# "jvi" stands for the jackknife of the order asked for, and "jvi-M" for that of order M.
BOUNDS = {
    "vae": lambda log_w, log_px, kl: elbo(log_px) - kl,
    "elbo": lambda log_w, log_px, kl: elbo(log_w),
    "iwae": lambda log_w, log_px, kl: iwae(log_w),
    "is": lambda log_w, log_px, kl: (normalised_weights(log_w) * log_px).sum(axis=0),
}

# Groups of samples for the sampling error. Averaged over images, it is as exact as from more; the
# jackknife of orders above 2 is an integral and takes 20 times as long.
GROUPS = {"quick": 8, "slow": 4}

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
        "pareto_k" and the flags of `jvi.diagnostics.Trust`, for the highest order. In detail also
        the Monte-Carlo standard errors "BOUND_error".
    num_samples : int
    sampling_error : dict of str to float
        By bound, in detail: Monte-Carlo standard error of the mean, √Σ_n error_n² / N; nan where
        there are too few samples to tell.
    """

    mean: dict
    standard_error: dict
    per_image: dict
    num_samples: int
    sampling_error: dict

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
    options = {"replication": replication, "batch_size": batch_size, "progress": progress}
    return evaluations(model, x, [num_samples], bounds, order, seed, **options)[0]


def evaluations(
    model,
    x,
    sample_counts,
    bounds=("iwae", "jvi"),
    order=1,
    seed=0,
    *,
    replication=0,
    batch_size=4096,
    progress=False,
    detail=False,
):
    """`evaluate` for several numbers of samples at once: a list of `Evaluation`.

    Samples are drawn for the largest number; smaller ones use the first of them, and so give
    what they give alone.

    Parameters
    ----------
    sample_counts : iterable of int
        Values of K.
    detail : bool
        Also Monte-Carlo standard errors, by `jvi.diagnostics.jackknife_error`, and Pareto k
        without a jackknife, too. They cost eight times the bounds.

    Everything else is as for `evaluate`.
    """
    sample_counts, bounds = list(sample_counts), list(bounds)
    check_request(sample_counts, bounds, order, batch_size)
    most = max(sample_counts)
    if len(x) == 0:
        raise ValueError("there are no images to evaluate")
    x = model.images(x)
    block = block_size(len(x), most, batch_size, model.device)

    def values(start):
        """For each number of samples, of the block of data points that begins at `start`."""
        stop = min(start + block, len(x))
        log_w, log_px, kl = log_weight_grid(model, x[start:stop], most, seed, replication, start)
        return [
            _values((log_w[:num], log_px[:num], kl), bounds, order, detail) for num in sample_counts
        ]

    parts = []
    with tqdm(total=len(x), unit="image", disable=None if progress else True, delay=2) as bar:
        for part in backend.parallel_map(values, range(0, len(x), block), model.device):
            parts.append(part)
            bar.update(len(part[0]["ess"]))
    return [
        summarise({key: np.concatenate([v[key] for v in values]) for key in values[0]}, bounds, num)
        for values, num in zip(zip(*parts, strict=True), sample_counts, strict=True)
    ]


def check_request(sample_counts, bounds, order, batch_size, others=()):
    """Raise ValueError, in one line, for a request that no evaluation can meet.

    `others` are names that may occur in `bounds` but are not evaluated here.
    """
    if not sample_counts:
        raise ValueError("give at least one number of samples")
    fewest = min(sample_counts)
    if fewest < 1:
        raise ValueError(f"the number of samples must be at least 1, not {fewest}")
    if batch_size < 1:
        raise ValueError(f"the batch size must be at least 1, not {batch_size}")
    for name in bounds:
        needed = _jackknife_order(name, order, others)
        if needed is not None and not 0 <= needed < fewest:
            raise ValueError(
                f"jackknife order {needed} needs more than {needed} samples, not {fewest}"
            )


def _jackknife_order(name, order, others=()):
    """The order that a bound's name stands for, None for one without; ValueError if unknown."""
    if name in BOUNDS or name in others:
        return None
    match = re.fullmatch(r"jvi(?:-(\d+))?|(iwae\+\+)", name)
    if match is None:
        known = ", ".join([*BOUNDS, "iwae++", "jvi", "jvi-M", *others])
        raise ValueError(f"unknown evaluation {name!r}: choose from {known}")
    return 1 if match[2] else int(match[1] or order)


def _values(grid, bounds, order, detail):
    """Of (log_w, log_px, kl): what `Evaluation.per_image` says, for a block of data points."""
    log_w, log_px, _ = grid
    values = {"ess": effective_sample_size(log_w)}
    orders = {name: _jackknife_order(name, order) for name in bounds}
    for name, needed in orders.items():
        values[name] = BOUNDS[name](*grid) if needed is None else jackknife(log_w, needed)
    highest = max(bounds, key=lambda name: orders[name] or 0, default=None)
    if orders.get(highest):
        found = trust(log_w, orders[highest], values[highest])
        values |= {name: getattr(found, name) for name in ("pareto_k", *FLAGS)}
    if detail:
        values.setdefault("pareto_k", pareto_k(log_w))
        for name, needed in orders.items():
            values[f"{name}_error"] = _error(name, needed, log_w, log_px)
    return values


def _error(name, order, log_w, log_px):
    if order is not None:
        return sampling_error(lambda part: jackknife(part, order), log_w, order)
    both = np.stack([log_w, log_px], axis=1)
    return sampling_error(lambda part: BOUNDS[name](part[:, 0], part[:, 1], 0.0), both)


def sampling_error(estimator, log_w, order=0):
    """`jackknife_error`, or nan where it would leave too few samples for an order."""
    num_samples, groups = len(log_w), GROUPS["quick" if order <= 2 else "slow"]
    if num_samples - -(-num_samples // groups) <= order:
        return np.full(log_w.shape[-1], np.nan)
    return jackknife_error(estimator, log_w, groups)


def summarise(per_image, bounds, num_samples):
    """`Evaluation` of values for each data point."""
    mean = {name: float(per_image[name].mean()) for name in bounds}
    error = {name: standard_error(per_image[name]) for name in bounds}
    sampling = {
        name: float(np.linalg.norm(per_image[f"{name}_error"]) / len(per_image[name]))
        for name in bounds
        if f"{name}_error" in per_image
    }
    return Evaluation(mean, error, per_image, num_samples, sampling)


def standard_error(values):
    """Standard error of the mean of `values`, shape (N,); nan for a single value."""
    count = len(values)
    return float(values.std(ddof=1) / math.sqrt(count)) if count > 1 else math.nan
