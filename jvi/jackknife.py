"""The jackknife of IWAE (JVI, Nowozin 2018) at any order. PROVISIONAL: final interface, slow inside."""

import math
from fractions import Fraction
from functools import lru_cache
from itertools import combinations
from numbers import Integral

from jvi.backend import float64, float64_context, namespace
from jvi.bounds import log_sum_exp, normalised_weights

__all__ = [
    "count_terms",
    "jackknife",
    "jackknife_and_weights",
    "jackknife_coefficients",
    "jackknife_weights",
]


def jackknife(log_w, order=1, axis=0):
    """JVI estimate of log p(x), shape (N,), float64; order 0 is IWAE."""
    return jackknife_and_weights(log_w, order, axis)[0]


def jackknife_weights(log_w, order=1, axis=0):
    """Derivative of `jackknife` with respect to `log_w`, same shape; sums to 1 over `axis`."""
    return jackknife_and_weights(log_w, order, axis)[1]


def jackknife_and_weights(log_w, order=1, axis=0):
    """Both `jackknife` and `jackknife_weights` in one pass."""
    num_samples = log_w.shape[axis]
    coefficients = [float(c) for c in jackknife_coefficients(num_samples, order)]
    with float64_context(log_w):
        xp = namespace(log_w)
        log_w = xp.moveaxis(float64(log_w), axis, 0)
        if bool(xp.any(xp.isnan(log_w) | (log_w == math.inf))):
            raise ValueError("log_w holds NaN or +inf: check the model that made these log-weights")
        value, weights = 0.0, xp.zeros_like(log_w)
        for j, c in enumerate(coefficients):
            scale = c / math.comb(num_samples, j)
            for left_out in combinations(range(num_samples), j):
                keep = xp.stack(
                    [
                        xp.zeros_like(row) if k not in left_out else xp.full_like(row, -math.inf)
                        for k, row in enumerate(xp.unstack(log_w))
                    ]
                )
                value = value + scale * (log_sum_exp(log_w + keep) - math.log(num_samples - j))
                weights = weights + scale * normalised_weights(log_w + keep)
        return value, xp.moveaxis(weights, 0, axis)


@lru_cache
def jackknife_coefficients(num_samples, order):
    """Exact c(K, m, j) = (-1)^j (K - j)^m / ((m - j)! j!), j = 0..m, as Fractions."""
    _check(num_samples, order)
    factorial = math.factorial
    return tuple(
        Fraction((-1) ** j * (num_samples - j) ** order, factorial(order - j) * factorial(j))
        for j in range(order + 1)
    )


def count_terms(num_samples, order):
    """(j, C(K, j), c(K, m, j)) for j = 0..m: the terms that the subset definition evaluates."""
    coefficients = jackknife_coefficients(num_samples, order)
    return [(j, math.comb(num_samples, j), c) for j, c in enumerate(coefficients)]


def _check(num_samples, order):
    if not isinstance(order, Integral) or isinstance(order, bool):
        raise ValueError(f"order must be an integer, not {order!r}")
    if num_samples < 1:
        raise ValueError("log_w has no samples: its sample axis is empty")
    if not 0 <= order < num_samples:
        raise ValueError(f"order must be between 0 and {num_samples - 1}, not {order}")
