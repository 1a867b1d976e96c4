"""What the rules of `jvi.evidence.estimators` share: their result, sums over others, checks.

A rule is a function of float64 log-weights, shape (K, N), within `float64_context`. Nothing here
looks into an array: a GPU is not waited for, and all can be traced. NaN and +inf come out as NaN;
training looks for them once an epoch.
"""

import math
from functools import partial
from typing import Any, NamedTuple, TypeAlias

from jvi.evidence import bounds
from jvi.evidence.arrays import Array, at_most, namespace

__all__ = [
    "Found",
    "Weights",
    "check_between_0_and_1",
    "check_several",
    "elbo_bound",
    "in_groups",
    "iwae_bound",
    "log_sum_exp",
    "log_without",
    "normalised_weights",
    "renyi_bound",
    "total",
]

elbo_bound = partial(bounds.elbo, check_finite=False)
iwae_bound = partial(bounds.iwae, check_finite=False)
log_sum_exp = partial(bounds.log_sum_exp, check_finite=False)
normalised_weights = partial(bounds.normalised_weights, check_finite=False)


class Weights(NamedTuple):
    """Gradient weights of each sample; None for a route that the estimator does not use.

    Attributes
    ----------
    model : array, shape (K, N), float64
        Of d/dθ [log p(x|z) + log p(z)] at fixed z.
    path : array, shape (K, N), float64, or None
        Of d/dz [log w] · dz/dφ, through the sample.
    score : array, shape (K, N), float64, or None
        Of d/dφ log q(z|x) at fixed z.

    Examples
    --------
    >>> import numpy as np
    >>> import jvi
    >>> weights = jvi.estimator("iwae")(np.log([[1.0], [3.0]]))
    >>> weights.model.ravel(), weights.path.ravel(), weights.score.ravel()
    (array([0.25, 0.75]), array([0.25, 0.75]), array([-0.25, -0.75]))
    """

    model: Array
    path: Array | None
    score: Array | None


Found: TypeAlias = tuple[Array, Weights]  # the bound, shape (N,), and the weights


def total(model: Array, path: Any = None) -> Weights:
    """Weights of a total derivative; where model and encoder ascend one scalar, of one array."""
    path = model if path is None else path
    return Weights(model, path, -path)


def renyi_bound(log_w: Array, alpha: Any, name: str) -> Array:
    """log mean(w^(1 - alpha)) / (1 - alpha), shape (N,); as exact near alpha = 1 as elsewhere.

    An `alpha` that is an array, as in a recorded step on a GPU, is not looked at: it must be below
    1.

    Raises
    ------
    ValueError
        For alpha = 1, naming the estimator.
    """
    looked_at = isinstance(alpha, int | float)
    if looked_at and alpha == 1:
        raise ValueError(f"{name}:alpha must not be 1, where the Rényi bound is the ELBO: use elbo")
    xp, power = namespace(log_w), 1.0 - alpha
    largest = (xp.min if looked_at and power < 0 else xp.max)(log_w, axis=0)
    below = at_most(power * (log_w - largest), 0.0)
    return largest + xp.log1p(xp.mean(xp.expm1(below), axis=0)) / power


def in_groups(log_w: Array, groups: int, name: str) -> tuple[Array, Array]:
    """The mean of the groups' IWAE bounds and its derivative; a group is consecutive rows."""
    xp, num_samples = namespace(log_w), log_w.shape[0]
    if groups < 1 or num_samples % groups:
        raise ValueError(f"{name}:groups must divide the {num_samples} samples: {groups} does not")
    grouped = xp.reshape(log_w, (groups, num_samples // groups, *log_w.shape[1:]))
    weights = normalised_weights(grouped, axis=1) / groups
    return xp.mean(iwae_bound(grouped, axis=1), axis=0), xp.reshape(weights, log_w.shape)


def log_without(log_w: Array) -> Array:
    """log(1 - v) for the normalised weights v, shape (K, N): what is left without each sample.

    Where one weight dominates, the others are summed, not subtracted from 1: -2000 is -2000.
    """
    xp, weights = namespace(log_w), normalised_weights(log_w)
    heavy = weights > 0.5  # at most one of each data point
    others = log_sum_exp(xp.where(heavy, -math.inf, log_w)) - log_sum_exp(log_w)
    return xp.where(heavy, others, xp.log1p(-xp.where(heavy, 0.0, weights)))


def check_several(log_w: Array, name: str) -> int:
    """The number of samples K, which must be 2 for something to be left without one of them."""
    if log_w.shape[0] < 2:
        raise ValueError(f"{name} needs at least 2 samples per data point, not {log_w.shape[0]}")
    return log_w.shape[0]


def check_between_0_and_1(option: str, value: Any) -> None:
    """Refuse any other value of an option, NAME:key; an array is not looked at."""
    if isinstance(value, int | float) and not 0 <= value <= 1:
        raise ValueError(f"{option} must be between 0 and 1, not {value}")
