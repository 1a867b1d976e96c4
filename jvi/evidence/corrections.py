"""Other corrections of the bias of IWAE, to compare the jackknife with.

`delta_method` and `nested_jackknife` are estimates from K log-weights, like `jvi.jackknife`.
`sumo` and `antithetic_mlmc` are unbiased for log p(x), but draw a random number of log-weights
themselves and pay for it in variance, which may be infinite: `Unbiased` says what can be known.
"""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from array_api_compat import device

from jvi.evidence.arrays import Array, at_least, float64, float64_context, namespace
from jvi.evidence.bounds import iwae, log_sum_exp, normalised_weights
from jvi.evidence.debiased import sumo_tail
from jvi.evidence.diagnostics import MIN_TAIL, pareto_k
from jvi.evidence.jackknife import jackknife_coefficients

__all__ = ["Unbiased", "antithetic_mlmc", "delta_method", "nested_jackknife", "sumo"]

Draw = Callable[[int], Array]  # from K to log-weights (K, N)

# Of repeats: the least and the greatest of so many means enclose their median 99.2% of the time.
BATCHES = 8

FINITE_VARIANCE = 0.5  # the tail's shape, from which on the second moment does not exist

TINY = 1e-300  # for 0, so that its log is a number

LARGEST_AMPLIFICATION = 2.0**31  # of a rounding error of 2^-51 nats, to 1e-6 nats


def delta_method(log_w: Array, axis: int = 0) -> Array:
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
        In nats.

    Raises
    ------
    ValueError
        For fewer than two samples, and NaN or +inf among the log-weights.

    Examples
    --------
    >>> import numpy as np
    >>> import jvi
    >>> log_w = np.log([[1.0], [3.0]])
    >>> jvi.corrections.delta_method(log_w) - jvi.iwae(log_w)  # s² / (2 K w̄²) = 2 / 16
    array([0.125])
    """
    num_samples = log_w.shape[axis]
    if num_samples < 2:
        raise ValueError(f"the delta method needs at least 2 samples, not {num_samples}")
    with float64_context(log_w):
        squares = namespace(log_w).sum(normalised_weights(log_w, axis) ** 2, axis=axis)
        return iwae(log_w, axis) + (num_samples * squares - 1.0) / (2.0 * (num_samples - 1.0))


def nested_jackknife(log_w: Array, order: int = 1, axis: int = 0) -> Array:
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
        In nats.

    Raises
    ------
    ValueError
        For an order outside its range, or so high that rounding errors would exceed 1e-6 nats, and
        NaN or +inf among the log-weights.

    Examples
    --------
    >>> import numpy as np
    >>> import jvi
    >>> jvi.corrections.nested_jackknife(np.log([[1.0], [3.0]]))  # 2 log 2 - log 1
    array([1.38629436])
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
    """What several independent unbiased estimates say of log p(x); arrays of shape (N,), in nats.

    Where the variance is infinite, its estimate from a sample is a number all the same, and most
    often one that is far too small: the rare large values are not in the sample. What then can
    still be had are statements about means of batches (the median of means; Lugosi & Mendelson
    2019, section 2.1). They share one weakness with all else that a sample says: where the rare
    values all lie on one side and have not occurred, everything lies on the other side.

    Attributes
    ----------
    value : array
        The mean of all repeats.
    median : array
        The median of the means of eight consecutive batches of repeats, which is nearer to the
        truth than `value` where the variance is infinite, and has some bias of its own.
    lower, upper : array
        The least and the greatest of the eight means. They enclose the median of their
        distribution with probability 1 - 2^-7 = 99.2%, whatever the distribution, and log p(x) as
        often if that is symmetric (docs/evaluation.md measures it). Infinite for fewer than eight
        repeats.
    sample_variance : array
        Of the repeats, divided by their number. It estimates the variance of `value` if there is
        one.
    infinite_variance : array of bool
        Of `sumo`, where it is known to be; else where it is suspected: Pareto k of the repeats'
        distances from their median is above 1/2, or unknown, as for fewer than 30 repeats.
    num_samples : int
        How many log-weights were drawn for each data point, all together.

    Examples
    --------
    >>> import numpy as np
    >>> import jvi
    >>> found = jvi.corrections.antithetic_mlmc(
    ...     lambda num: np.full((num, 1), -2.0), np.random.default_rng(0)
    ... )
    >>> found.value, found.sample_variance, found.infinite_variance  # all weights are equal
    (array([-2.]), array([0.]), array([False]))
    """

    value: Array
    median: Array
    lower: Array
    upper: Array
    sample_variance: Array
    infinite_variance: Array
    num_samples: int

    @property
    def standard_error(self) -> Array:
        """Of `value`, array (N,), in nats; infinite where the variance is, or is suspected to be.

        Examples
        --------
        >>> import numpy as np
        >>> import jvi
        >>> draw = lambda num: np.full((num, 1), -2.0)
        >>> jvi.corrections.sumo(draw, np.random.default_rng(0)).standard_error
        array([inf])
        """
        with float64_context(self.value):
            xp = namespace(self.value)
            return xp.where(self.infinite_variance, math.inf, xp.sqrt(self.sample_variance))


def sumo(
    draw: Draw, rng: np.random.Generator, repeats: int = 100, min_samples: int = 1
) -> Unbiased:
    """SUMO: the telescoping sum of IWAE bounds, cut at random (Luo et al. 2020, equation 8).

    IWAE_m + Σ_{k=1}^T (IWAE_{m+k} - IWAE_{m+k-1}) / P(T ≥ k), where P(T ≥ k) is 1 / k up to 80
    and 0.9^(k-80) / 80 beyond. Unbiased, at 5 or so samples beyond m each time. The k-th term's
    second moment is O(k^-2), which over P(T ≥ k) has no finite sum: the variance is infinite unless
    all weights are equal, and the number of repeats does not help.

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

    Raises
    ------
    ValueError
        For fewer than two repeats, and NaN or +inf among the log-weights.

    Examples
    --------
    >>> import numpy as np
    >>> import jvi
    >>> rng = np.random.default_rng(0)
    >>> draw = lambda num: np.log(rng.uniform(0.5, 1.5, (num, 1)))  # p(x) = 1
    >>> found = jvi.corrections.sumo(draw, rng, repeats=200)
    >>> bool(found.lower < 0.0 < found.upper)
    True
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
                value = value + (bound - previous) / sumo_tail(k)
        return value, min_samples + cut

    return _repeat(estimate, repeats, _everywhere)


def antithetic_mlmc(
    draw: Draw, rng: np.random.Generator, repeats: int = 100, min_samples: int = 1
) -> Unbiased:
    """Antithetic multilevel estimate (Ishikawa & Goda 2021; Shi & Cornish 2021, "SS").

    At a random level l ≥ 1 with P(l) ∝ 2^(-3l/2), from 2^l m samples: the mean of IWAE_m over
    groups of m, plus 1 / P(l) times the difference between IWAE of all samples and the mean
    IWAE of their halves. Unbiased, with finite cost: 4.4 m samples on average. Its variance is
    finite, too, if enough moments of the weights are; where their spread is so large that no level
    reached has settled, it might as well not be.

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

    Raises
    ------
    ValueError
        For fewer than two repeats, and NaN or +inf among the log-weights.

    Examples
    --------
    >>> import numpy as np
    >>> import jvi
    >>> rng = np.random.default_rng(0)
    >>> draw = lambda num: np.log(rng.uniform(0.5, 1.5, (num, 1)))  # p(x) = 1
    >>> found = jvi.corrections.antithetic_mlmc(draw, rng, repeats=200)
    >>> bool(abs(found.value) < 2 * found.standard_error)
    True
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

    return _repeat(estimate, repeats, _heavy_tailed)


def _repeat(estimate, repeats, infinite_variance):
    """What independent runs of `estimate` say, and the samples they took."""
    if repeats < 2:
        raise ValueError(f"repeats must be at least 2 to tell the variance, not {repeats}")
    values, costs = zip(*(estimate() for _ in range(repeats)), strict=True)
    with float64_context(values[0]):
        values = namespace(values[0]).stack(values)
        xp = namespace(values)
        means = _sorted_means(values)
        count, unknown = means.shape[0], math.inf if repeats < BATCHES else 0.0
        return Unbiased(
            value=xp.mean(values, axis=0),
            median=0.5 * (means[(count - 1) // 2, ...] + means[count // 2, ...]),
            lower=means[0, ...] - unknown,
            upper=means[-1, ...] + unknown,
            sample_variance=xp.var(values, axis=0, correction=1) / repeats,
            infinite_variance=infinite_variance(values),
            num_samples=sum(costs),
        )


def _sorted_means(values):
    """Means over eight (or all, where there are fewer) parts of the first axis, ascending."""
    xp, size = namespace(values), values.shape[0]
    count = min(BATCHES, size)
    ends = [size * b // count for b in range(count + 1)]
    parts = [xp.mean(values[start:stop, ...], axis=0) for start, stop in pairwise(ends)]
    return xp.sort(xp.stack(parts), axis=0)


def _everywhere(values):
    """True for every data point."""
    xp = namespace(values)
    return xp.ones_like(values[0, ...], dtype=xp.bool)


def _heavy_tailed(values):
    """Whether the distances from the median have a tail without variance, or an unknown one."""
    xp = namespace(values)
    if values.shape[0] < MIN_TAIL:
        return _everywhere(values)
    distances = xp.abs(values - xp.sort(values, axis=0)[values.shape[0] // 2, ...])
    k = pareto_k(xp.log(at_least(distances, TINY)))
    return xp.asarray(~(k <= FINITE_VARIANCE), device=device(values))


def _sumo_cut(uniform):
    """T with P(T ≥ k) = `sumo_tail(k)`, from a uniform number in [0, 1)."""
    uniform = max(uniform, 1e-300)
    if uniform > 1.0 / 80.0:
        return int(1.0 / uniform)
    return 80 + int(math.log(80.0 * uniform) / math.log(0.9))


def _mean_of_groups(log_w, groups):
    """Mean IWAE of `groups` equal consecutive parts of the sample axis."""
    size = log_w.shape[0] // groups
    parts = namespace(log_w).reshape(log_w, (groups, size, *log_w.shape[1:]))
    return namespace(log_w).mean(iwae(parts, axis=1), axis=0)
