"""Other corrections of the bias of IWAE, to compare the jackknife with.

`delta_method` and `nested_jackknife` are estimates from K log-weights, like `jvi.jackknife`.
`sumo` and `antithetic_mlmc` are unbiased for log p(x), but draw a random number of log-weights
themselves and pay for it in variance, which they report.
"""

import math
from typing import NamedTuple

from jvi.backend import float64, float64_context, namespace
from jvi.bounds import iwae, log_sum_exp, normalised_weights
from jvi.jackknife import jackknife_coefficients

__all__ = ["Unbiased", "antithetic_mlmc", "delta_method", "nested_jackknife", "sumo"]

LARGEST_AMPLIFICATION = 2.0**31  # of a rounding error of 2^-51 nats, to 1e-6 nats


def delta_method(log_w, axis=0):
    """IWAE plus the delta-method estimate of its bias, DVI (Nowozin 2018, section 3).

    The correction s² / (2 K w̄²), with w̄ and s² the sample mean and variance of the weights, is
    (K Σ r² - 1) / (2 (K - 1)) in normalised weights r. The remaining bias is O(K^-2).

    Parameters
    ----------
    log_w : array, shape (K, N), K ≥ 2
        Log importance weights.
    axis : int
        The sample axis.

    Returns
    -------
    array, shape (N,), float64
    """
    num_samples = log_w.shape[axis]
    if num_samples < 2:
        raise ValueError(f"the delta method needs at least 2 samples, not {num_samples}")
    with float64_context(log_w):
        squares = namespace(log_w).sum(normalised_weights(log_w, axis) ** 2, axis=axis)
        return iwae(log_w, axis) + (num_samples * squares - 1.0) / (2.0 * (num_samples - 1.0))


def nested_jackknife(log_w, order=1, axis=0):
    """JVI with one subset for each size: the first K, K - 1, .., K - m samples.

    Nowozin's cheap variant. Same expectation as `jvi.jackknife` for independent samples, but
    the coefficients multiply the noise of single samples: the variance is far larger.

    Parameters
    ----------
    log_w : array, shape (K, N)
        Log importance weights; which samples come last matters.
    order : int
        The order m, 0 ≤ m < K.
    axis : int
        The sample axis.

    Returns
    -------
    array, shape (N,), float64
    """
    num_samples = log_w.shape[axis]
    coefficients = jackknife_coefficients(num_samples, order)
    if _amplification(num_samples, order) > LARGEST_AMPLIFICATION:
        safe = max(
            m for m in range(order) if _amplification(num_samples, m) <= LARGEST_AMPLIFICATION
        )
        raise ValueError(
            f"order {order} cannot be had to 1e-6 nats: the largest safe order for "
            f"{num_samples} samples is {safe}"
        )
    with float64_context(log_w):
        xp, full = namespace(log_w), iwae(log_w, axis)
        shifted = xp.moveaxis(float64(log_w) - xp.expand_dims(full, axis=axis), axis, 0)
        return full + sum(
            float(c) * iwae(shifted[: num_samples - j, ...])
            for j, c in enumerate(coefficients)
            if j > 0
        )


def _amplification(num_samples, order):
    return sum(abs(c) for c in jackknife_coefficients(num_samples, order))


class Unbiased(NamedTuple):
    """The mean of several independent unbiased estimates."""

    value: object
    """Estimate of log p(x), array of shape (N,), in nats."""
    variance: object
    """Estimated variance of `value`, shape (N,); its root is the standard error."""
    num_samples: int
    """How many log-weights were drawn for each data point, all together."""


def sumo(draw, rng, repeats=100, min_samples=1):
    """SUMO: the telescoping sum of IWAE bounds, cut at random (Luo et al. 2020, equation 8).

    IWAE_m + Σ_{k=1}^T (IWAE_{m+k} - IWAE_{m+k-1}) / P(T ≥ k), where P(T ≥ k) is 1 / k up to 80
    and 0.9^(k-80) / 80 beyond. Unbiased, at 5 or so samples beyond m each time; its variance is
    infinite in theory, because the terms fall slower than this tail.

    Parameters
    ----------
    draw : callable
        draw(num_samples) returns that many fresh log-weights, array of shape (num_samples, N).
    rng : numpy.random.Generator
        For the number of samples, which the data points of one call share.
    repeats : int
        Number of independent estimates, at least 2.
    min_samples : int
        The m of the bound that every estimate starts from.

    Returns
    -------
    Unbiased
    """

    def estimate():
        cut = _sumo_cut(rng.random())
        log_w = draw(min_samples + cut)
        with float64_context(log_w):
            xp, log_w = namespace(log_w), float64(log_w)
            log_total = log_sum_exp(log_w[:min_samples, :])
            value = bound = log_total - math.log(min_samples)
            for k in range(1, cut + 1):
                log_total = xp.logaddexp(log_total, log_w[min_samples + k - 1, :])
                previous, bound = bound, log_total - math.log(min_samples + k)
                value = value + (bound - previous) / _sumo_tail(k)
        return value, min_samples + cut

    return _repeat(estimate, repeats)


def antithetic_mlmc(draw, rng, repeats=100, min_samples=1):
    """Antithetic multilevel estimate (Ishikawa & Goda 2021; Shi & Cornish 2021, "SS").

    At a random level l ≥ 1 with P(l) ∝ 2^(-3l/2), from 2^l m samples: the mean of IWAE_m over
    groups of m, plus 1 / P(l) times the difference between IWAE of all samples and the mean
    IWAE of their halves. Unbiased, with finite variance and cost: 4.4 m samples on average.

    Parameters
    ----------
    draw : callable
        draw(num_samples) returns that many fresh log-weights, array of shape (num_samples, N).
    rng : numpy.random.Generator
        For the level, which the data points of one call share.
    repeats : int
        Number of independent estimates, at least 2.
    min_samples : int
        The m of the bound that every estimate starts from.

    Returns
    -------
    Unbiased
    """
    ratio = 2.0**-1.5

    def estimate():
        level = int(rng.geometric(1.0 - ratio))
        log_w = draw(min_samples * 2**level)
        with float64_context(log_w):
            difference = iwae(log_w) - _mean_of_groups(log_w, 2)
            probability = (1.0 - ratio) * ratio ** (level - 1)
            value = _mean_of_groups(log_w, 2**level) + difference / probability
        return value, min_samples * 2**level

    return _repeat(estimate, repeats)


def _repeat(estimate, repeats):
    """Mean and variance over independent runs of `estimate`, and the samples they took."""
    if repeats < 2:
        raise ValueError(f"repeats must be at least 2 to tell the variance, not {repeats}")
    values, costs = zip(*(estimate() for _ in range(repeats)), strict=True)
    with float64_context(values[0]):
        values = namespace(values[0]).stack(values)
        xp = namespace(values)
        return Unbiased(
            xp.mean(values, axis=0), xp.var(values, axis=0, correction=1) / repeats, sum(costs)
        )


def _sumo_cut(uniform):
    """T with P(T ≥ k) = `_sumo_tail(k)`, from a uniform number in [0, 1)."""
    uniform = max(uniform, 1e-300)
    if uniform > 1.0 / 80.0:
        return int(1.0 / uniform)
    return 80 + int(math.log(80.0 * uniform) / math.log(0.9))


def _sumo_tail(k):
    return 1.0 / k if k < 80 else 0.9 ** (k - 80) / 80.0


def _mean_of_groups(log_w, groups):
    """Mean IWAE of `groups` equal consecutive parts of the sample axis."""
    size = log_w.shape[0] // groups
    parts = namespace(log_w).reshape(log_w, (groups, size, *log_w.shape[1:]))
    return namespace(log_w).mean(iwae(parts, axis=1), axis=0)
