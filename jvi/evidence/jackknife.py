"""The jackknife of IWAE (JVI, Nowozin 2018) at any order, in time and memory O(K).

With r the normalised weights and S their sum before normalising, the definition's averages over
subsets are regrouped (docs/jackknife.md) into ::

    JVI-m = log S + const(K, m) + Σ_{i=1}^m β_i E_i,            0 < β_i ≤ C(m, i),
    E_i   = Σ_{|B|=i} Σ_{A⊆B} (-1)^|A| log(1 - r_A),
    u_l   = r_l Σ_{i=0}^m (-1)^i (β_i + β_{i+1}) F_{i,l},       the derivative by log w_l,
    F_i,l = Σ_{|B|=i, l∉B} Σ_{A⊆B} (-1)^(i-|A|) / (1 - r_A).

Rounding errors grow by Σβ ≤ 2^m instead of Σ|c| ~ K^m / m!. E_1, E_2, F_1, F_2 have closed forms;
all others are integrals over the probability that a Poisson process with rates r has met i
distinct samples at time t, sums of positive terms in which nothing cancels.
"""

import math
from decimal import Decimal, localcontext
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise
from numbers import Integral
from typing import NamedTuple

from array_api_compat import device

from jvi.evidence.arrays import Array, at_least, at_most, float64, float64_context, namespace

__all__ = [
    "constants",
    "count_terms",
    "jackknife",
    "jackknife_and_weights",
    "jackknife_coefficients",
    "jackknife_weights",
]

MAX_ORDER = 16  # e^(-16 GAP) is still a normal number, and 2^16 rounding errors are below 1e-9
GAP = 40.0  # nats between neighbours, beyond which JVI is linear in the distance
ZERO = -1e300  # stands for the log of a zero weight, so that every difference is defined
SERIES = 13  # terms of the power series of E_2, which fall like 9^-p
STEP = 0.2  # of the trapezoidal rule in log t
SCRATCH = 2**15, 2**22  # array elements worked on at once: a CPU's cache, a GPU's parallelism


def jackknife(log_w: Array, order: int = 1, axis: int = 0) -> Array:
    """Jackknife estimate of log p(x) from K log-weights (Nowozin 2018, equation 11).

    Order 0 is IWAE. Order m ≥ 1 has bias O(K^-(m+1)); it is an estimate and can exceed log p(x).

    Parameters
    ----------
    log_w : array, shape (K, N)
        Log importance weights, of any library that follows the array API standard; other
        shapes are fine. -inf is a zero weight.
    order : int
        The order m, 0 ≤ m < K and m ≤ 16.
    axis : int
        The sample axis.

    Returns
    -------
    array, shape (N,), float64
        In nats. Where no more than `order` weights are non-zero, the subsets that leave all of
        them out take log 0, and the result is the limit as the zero weights go to zero together:
        +inf for an odd number of non-zero weights, -inf for an even number, none included.

    Raises
    ------
    ValueError
        For an order outside its range, no samples, and NaN or +inf among the log-weights.

    Examples
    --------
    >>> import numpy as np
    >>> import jvi
    >>> log_w = np.log([[1.0], [2.0], [3.0]])
    >>> jvi.jackknife(log_w, order=1)  # 3 log 2 - (2/3) (log 2.5 + log 2 + log 1.5)
    array([0.73617286])
    """
    return _in_blocks(log_w, order, axis, with_weights=False)[0]


def jackknife_weights(log_w: Array, order: int = 1, axis: int = 0) -> Array:
    """Derivative of `jackknife` with respect to each log-weight.

    Parameters
    ----------
    log_w : array, shape (K, N)
        Log importance weights.
    order : int
        The order m, 0 ≤ m < K and m ≤ 16.
    axis : int
        The sample axis.

    Returns
    -------
    array, shape (K, N), float64
        They sum to 1 over `axis`; for order ≥ 1 some can be negative.

    Raises
    ------
    ValueError
        As `jackknife`.

    Examples
    --------
    >>> import numpy as np
    >>> import jvi
    >>> jvi.jackknife_weights(np.log([[1.0], [3.0]]))  # 2 (1/4, 3/4) - (1/2, 1/2)
    array([[0.],
           [1.]])
    """
    return _in_blocks(log_w, order, axis, with_weights=True)[1]


def jackknife_and_weights(
    log_w: Array, order: int = 1, axis: int = 0, check_finite: bool = True
) -> tuple[Array, Array]:
    """`jackknife` and `jackknife_weights` in one pass, at the cost of the second.

    Parameters
    ----------
    log_w : array, shape (K, N)
        Log importance weights.
    order : int
        The order m, 0 ≤ m < K and m ≤ 16.
    axis : int
        The sample axis.
    check_finite : bool
        Refuse NaN and +inf. Otherwise they make value and weights NaN, and up to order 2 nothing
        depends on the numbers but the result: it can be traced or recorded.

    Returns
    -------
    value : array, shape (N,), float64
        In nats.
    weights : array, shape (K, N), float64

    Raises
    ------
    ValueError
        As `jackknife`.

    Examples
    --------
    >>> import numpy as np
    >>> from jvi.evidence.jackknife import jackknife_and_weights
    >>> value, weights = jackknife_and_weights(np.log([[1.0], [3.0]]))
    >>> value, weights.ravel()  # 2 log 2 - (log 3) / 2
    (array([0.83698822]), array([0., 1.]))
    """
    return _in_blocks(log_w, order, axis, with_weights=True, check_finite=check_finite)


@lru_cache(typed=True)  # 1 and 1.0 and True are one key otherwise
def jackknife_coefficients(num_samples: int, order: int) -> tuple[Fraction, ...]:
    """c(K, m, j) = (-1)^j (K - j)^m / ((m - j)! j!), j = 0..m, as exact Fractions.

    JVI-m is Σ_j c(K, m, j) times the mean IWAE bound of the subsets that leave out j samples
    (Nowozin 2018, equations 10 and 11).

    Parameters
    ----------
    num_samples : int
        K.
    order : int
        The order m, 0 ≤ m < K.

    Returns
    -------
    tuple of fractions.Fraction, length m + 1
        They sum to 1.

    Raises
    ------
    ValueError
        For no samples, an order outside its range, and numbers that are not integers.

    Examples
    --------
    >>> from jvi.evidence.jackknife import jackknife_coefficients
    >>> jackknife_coefficients(10, 1)  # K and -(K - 1), as in Quenouille's jackknife
    (Fraction(10, 1), Fraction(-9, 1))
    """
    _check_order(num_samples, order)
    return tuple(
        Fraction(
            (-1) ** j * (num_samples - j) ** order, math.factorial(order - j) * math.factorial(j)
        )
        for j in range(order + 1)
    )


def count_terms(num_samples: int, order: int) -> list[tuple[int, int, Fraction]]:
    """What the definition of JVI-m enumerates (Nowozin 2018, equation 11).

    Parameters
    ----------
    num_samples : int
        K.
    order : int
        The order m, 0 ≤ m < K.

    Returns
    -------
    list of (int, int, fractions.Fraction)
        For j = 0..m: j, the C(K, j) subsets that leave out j samples, and c(K, m, j).

    Raises
    ------
    ValueError
        As `jackknife_coefficients`.

    Examples
    --------
    >>> from jvi.evidence.jackknife import count_terms
    >>> [(j, subsets) for j, subsets, _ in count_terms(10, 2)]
    [(0, 1), (1, 10), (2, 45)]
    """
    coefficients = jackknife_coefficients(num_samples, order)
    return [(j, math.comb(num_samples, j), c) for j, c in enumerate(coefficients)]


def _check_order(num_samples, order):
    for name, number in (("number of samples", num_samples), ("order", order)):
        if not isinstance(number, Integral) or isinstance(number, bool):
            raise ValueError(f"the {name} must be an integer, not {number!r}")
    if num_samples < 1:
        raise ValueError(f"the number of samples must be at least 1, not {num_samples}")
    if not 0 <= order < num_samples:
        raise ValueError(
            f"the jackknife of {num_samples} samples has orders 0 to {num_samples - 1}, not {order}"
        )


@lru_cache(typed=True)  # 1 and 1.0 and True are one key otherwise
def constants(num_samples, order):
    """Constants of the regrouped sum (docs/jackknife.md).

    Parameters
    ----------
    num_samples : int
        K.
    order : int
        The order m, 0 ≤ m < K and m ≤ 16.

    Returns
    -------
    const : float
        const(K, m), in nats.
    beta : list of float, length m + 2
        β_0 = 1, β_1, .., β_m, β_{m+1} = 0.

    Raises
    ------
    ValueError
        For an order outside its range.

    Examples
    --------
    >>> from jvi.evidence.jackknife import constants
    >>> constants(4, 0)[1]  # of IWAE, whose constant is -log 4
    [1.0, 0.0]
    """
    c = jackknife_coefficients(num_samples, order)
    if order > MAX_ORDER:
        raise ValueError(
            f"order {order} cannot be had to 1e-6 nats: the largest safe order for "
            f"{num_samples} samples is {MAX_ORDER}"
        )
    beta = [
        abs(sum(c[j] * math.comb(j, i) for j in range(i, order + 1))) / math.comb(num_samples, i)
        for i in range(order + 1)
    ]
    with localcontext() as context:  # enough digits for Σ|c| to cancel
        context.prec = 40 + 2 * order * len(str(num_samples))
        const = -sum(
            Decimal(x.numerator) / x.denominator * Decimal(num_samples - j).ln()
            for j, x in enumerate(c)
        )
    return float(const), [float(b) for b in beta] + [0.0]


def _in_blocks(log_w, order, axis, with_weights, check_finite=True):
    """Value and weights (or None), a bounded number of data points at a time."""
    xp = namespace(log_w)
    if not -log_w.ndim <= axis < log_w.ndim:
        raise ValueError(f"log_w has {log_w.ndim} axes, and axis {axis} is not among them")
    num_samples = log_w.shape[axis]
    const, beta = constants(num_samples, order)
    with float64_context(log_w):
        log_w = xp.moveaxis(float64(log_w), axis, 0)
        shape, size = log_w.shape, math.prod(log_w.shape[1:])
        if size == 0:
            return xp.sum(log_w, axis=0), xp.moveaxis(log_w, 0, axis)
        if check_finite and not bool(xp.max(log_w) < math.inf):
            raise ValueError("log_w holds NaN or +inf: check what computed these log-weights")
        log_w = xp.reshape(log_w, (num_samples, size))
        width = _scratch(log_w) // num_samples
        width = width if width >= 16 else 1  # sums over axis 0 are slow between few columns
        parts = [
            _block(xp, log_w[:, n : min(n + width, size)], const, beta, with_weights)
            for n in range(0, size, width)
        ]
        value = xp.reshape(xp.concat([part[0] for part in parts]), shape[1:])
        if not with_weights:
            return value, None
        weights = xp.reshape(xp.concat([part[1] for part in parts], axis=1), shape)
        return value, xp.moveaxis(weights, 0, axis)


def _block(xp, log_w, const, beta, with_weights):
    """Value (N,) and weights (K, N) of `log_w`, shape (K, N)."""
    order = len(beta) - 2
    gamma = [beta[i] + beta[i + 1] for i in range(order + 1)]
    split, log_sum, excess = _split(xp, log_w, order + 1)
    value = log_sum + const
    for i, distance in enumerate(excess, start=1):
        value = value - (-1) ** i * beta[i] * distance
    u_top, u_rest = [gamma[0]] * (order + 1), gamma[0]
    for i, e, f_top, f_rest in _terms(xp, split, order, with_weights):
        value = value + beta[i] * e
        if with_weights:
            factor = (-1) ** i * gamma[i]
            u_top = [u + factor * f for u, f in zip(u_top, f_top, strict=True)]
            u_rest = u_rest + factor * f_rest
    value = xp.where(value > 1e250, math.inf, xp.where(value < -1e250, -math.inf, value))
    if not with_weights:
        return value, None
    weights = u_rest * split.rest
    for mask, u, r in zip(split.masks, u_top, split.top, strict=True):
        weights = xp.where(mask, u * r, weights)
    return value, weights


class _Split(NamedTuple):
    """Normalised weights, the m + 1 largest of each data point apart from the rest."""

    top: list  # of arrays (N,), largest first
    rest: object  # (K, N), zero where a sample is among the largest
    rest_sum: object  # (N,)
    others: list  # of arrays (N,): 1 - top, without cancellation
    masks: list  # of arrays (K, N): where the samples of `top` are


def _split(xp, log_w, count):
    """The split, log S, and the distances beyond GAP between the largest log-weights."""
    log_rest = at_least(log_w, ZERO)
    index = xp.arange(log_w.shape[0], device=device(log_w))[:, None]
    log_top, masks = [], []
    for _ in range(count):
        log_top.append(xp.max(log_rest, axis=0))
        # Not by argmax, which JAX does not compile for float64 unless all of it is.
        first = xp.min(xp.where(log_rest == log_top[-1], index, log_w.shape[0]), axis=0)
        masks.append(index == first)
        log_rest = xp.where(masks[-1], -math.inf, log_rest)
    level, excess = [xp.zeros_like(log_top[0])], []
    for above, below in pairwise(log_top):
        level.append(level[-1] - at_most(above - below, GAP))
        excess.append(at_least(above - below - GAP, 0.0))
    top = [xp.exp(x) for x in level]
    rest = xp.exp(log_rest - log_top[-1])
    total = _sum(top) + top[-1] * xp.sum(rest, axis=0)
    rest *= top[-1] / total
    top = [r / total for r in top]
    rest_sum = xp.sum(rest, axis=0)
    others = [_sum(top[1:]) + rest_sum] + [1.0 - r for r in top[1:]]
    return _Split(top, rest, rest_sum, others, masks), log_top[0] + xp.log(total), excess


def _scratch(array):
    return SCRATCH[device(array) != "cpu"]


def _sum(arrays):
    return sum(arrays, 0.0)


def _log_prod(xp, factors):
    """Sum of logarithms over the sample axis, for products that cannot underflow."""
    return xp.log(xp.prod(factors, axis=0))


def _terms(xp, split, order, with_weights):
    """(i, E_i, F_i of the largest, F_i of the rest) for i = 1..m; no F without weights."""
    if order >= 1:
        t_top = [r / other for r, other in zip(split.top, split.others, strict=True)]
        t = split.rest / (1.0 - split.rest)
        yield 1, *_first(xp, split, t_top, t, with_weights)
    if order >= 2:
        yield 2, *_second(xp, split, t_top, t, with_weights)
    if order >= 3:
        yield from _higher(xp, split, order, with_weights)


def _first(xp, split, t_top, t, with_weights):
    """E_1 = -Σ_k log(1 - r_k) and F_1,l = Σ_{k≠l} t_k, with t = r / (1 - r)."""
    e = -_sum(xp.log(other) for other in split.others) - _log_prod(xp, 1.0 - split.rest)
    if not with_weights:
        return e, None, None
    t_sum = xp.sum(t, axis=0)
    f_top = [_sum(t_top[:a] + t_top[a + 1 :]) + t_sum for a in range(len(t_top))]
    return e, f_top, (_sum(t_top) + t_sum) - t


def _second(xp, split, t_top, t, with_weights):
    """E_2 = Σ_{i<k} log(1 - t_i t_k) and F_2,l = Σ_{i<k; i,k≠l} h(t_i, t_k).

    h(s, t) = s t (2 + s + t) / (1 - s t). Pairs with one of the largest are done one by one; in
    the rest t ≤ 1/3, and the double sum is a power series in the sums P_p of t^p.
    """
    pairs = {(0, 1): (_sum(split.top[2:]) + split.rest_sum) / (split.others[0] * split.others[1])}
    for b in range(2, len(t_top)):
        pairs |= {(a, b): 1.0 - t_top[a] * t_top[b] for a in range(b)}
    sums = _power_sums(xp, t)
    e = -0.5 * (_sum(s * s / p for p, s in enumerate(sums, start=1)) + _log_prod(xp, 1.0 - t * t))
    e = e + _sum(xp.log(miss) for miss in pairs.values())
    across, h_across = [], 0.0
    for s in t_top:
        miss = 1.0 - s * t
        e = e + _log_prod(xp, miss)
        if with_weights:
            h = t + (2.0 + s)
            h *= t
            h *= s
            h /= miss
            across.append(xp.sum(h, axis=0))
            h_across = h_across + h
    if not with_weights:
        return e, None, None
    h_rest = _row_sums(t, sums)
    within = 0.5 * xp.sum(h_rest, axis=0)
    h_pairs = {
        (a, b): t_top[a] * t_top[b] * (2.0 + t_top[a] + t_top[b]) / miss
        for (a, b), miss in pairs.items()
    }
    f_top = [
        within
        + _sum(h for b, h in enumerate(across) if b != a)
        + _sum(h for pair, h in h_pairs.items() if a not in pair)
        for a in range(len(t_top))
    ]
    return e, f_top, (within + _sum(across) + _sum(h_pairs.values())) - h_across - h_rest


def _power_sums(xp, t):
    sums, power = [xp.sum(t, axis=0)], t * 1.0
    for _ in range(1, SERIES):
        power *= t
        sums.append(xp.sum(power, axis=0))
    return sums


def _row_sums(t, sums):
    """Σ_{k≠l} h(t_l, t_k) over the rest, for each l, by Horner's rule."""
    padded = [0.0, *sums, 0.0]
    row = 0.0 * t
    for n in range(SERIES, 0, -1):
        row += (padded[n - 1] if n > 1 else 0.0) + 2.0 * padded[n] + padded[n + 1]
        row *= t
    return row - 2.0 * t * t / (1.0 - t)


def _higher(xp, split, order, with_weights):
    """E_i and F_i for i = 3..m by the trapezoidal rule in log t.

    E_i = (-1)^(i+1) ∫ P(i samples met) dt/t; F_i,l = ∫ P(i samples met, l not among them) dt.
    """
    top, rest, rest_sum = xp.stack(split.top), split.rest, split.rest_sum
    largest = xp.arange(order + 1, device=device(top))[:, None]
    nodes, steps = _nodes(xp, top[-1, :] + rest_sum)
    chunk = max(1, _scratch(rest) // math.prod(rest.shape))
    e, f_top, f_rest = ([0.0] * (order + 1) for _ in range(3))
    for first in range(0, nodes.shape[0], chunk):
        t = nodes[first : min(first + chunk, nodes.shape[0]), None, :]
        x = xp.expm1(t * rest)
        seen = [xp.exp(-t * rest_sum)]
        seen += [seen[0] * c for c in _elementary(xp, x, order)]
        seen += [xp.zeros_like(seen[0])] * (order + 1 - len(seen))
        miss, hit = xp.exp(-t * top), -xp.expm1(-t * top)
        every = without = seen
        for a in range(order + 1):
            every = _meet(every, miss[:, a : a + 1, :], hit[:, a : a + 1, :])
        for i in range(3, order + 1):
            e[i] = e[i] - (-1) ** i * steps * xp.sum(every[i][:, 0, :], axis=0)
        if not with_weights:
            continue
        for a in range(order + 1):
            hit_a = xp.where(largest == a, 0.0, hit[:, a : a + 1, :])
            without = _meet(without, miss[:, a : a + 1, :], hit_a)
        lacking = every[0]
        for i in range(1, order + 1):
            lacking = every[i] - x * lacking
            if i >= 3:
                f_top[i] = f_top[i] + steps * xp.sum(t * without[i], axis=0)
                f_rest[i] = f_rest[i] + steps * xp.sum(t * lacking, axis=0)
    for i in range(3, order + 1):
        if with_weights:
            yield i, e[i], [f_top[i][a, :] for a in range(order + 1)], f_rest[i]
        else:
            yield i, e[i], None, None


def _nodes(xp, slowest):
    """Values of t, shape (Q, N), and the step of log t, shape (N,).

    From where t^3 / 18 is below rounding to where exp(-t slowest) is.
    """
    start, stop = math.log(1e-5), xp.log(38.0 / slowest)
    count = math.ceil(float(xp.max(stop) - start) / STEP) + 1
    steps = (stop - start) / (count - 1)
    index = xp.arange(count, dtype=xp.float64, device=device(slowest))[:, None]
    return xp.exp(start + index * steps), steps


def _meet(seen, miss, hit):
    """Probabilities of having met 0, 1, .. samples, after one more is missed or hit."""
    return [miss * seen[0]] + [miss * same + hit * fewer for fewer, same in pairwise(seen)]


def _elementary(xp, x, order):
    """Elementary symmetric polynomials e_1, e_2, .. of x over axis 1, to at most `order`."""
    e, odd = [x], []
    while (size := e[0].shape[1]) > 1:
        half = size // 2
        if size % 2:
            odd.append([c[:, -1:, :] for c in e])
        e = _times([c[:, :half, :] for c in e], [c[:, half : 2 * half, :] for c in e], order)
    for factor in odd:
        e = _times(e, factor, order)
    return e


def _times(a, b, order):
    """Coefficients 1.. of (1 + Σ a_i z^i)(1 + Σ b_i z^i), to at most `order`."""
    a, b = [None, *a], [None, *b]
    product = []
    for n in range(1, min(len(a) + len(b) - 2, order) + 1):
        ends = [p[n] for p in (a, b) if n < len(p)]
        inner = [a[i] * b[n - i] for i in range(1, n) if i < len(a) and n - i < len(b)]
        product.append(_sum(ends + inner))
    return product
