"""The passes over a network's weights as loops, float32 only, compiled by Numba."""

import numpy as np

from jvi.functions.kernels.compiled import compiled, exp_minus, log, log1p_over
from jvi.functions.kernels.shapes import fit

__all__ = [
    *("log_softplus", "mixture", "normal_draw", "normal_draw_backward", "sum_of_squares"),
    "weighted_pair",
]

ZERO, HALF, ONE = np.float32(0), np.float32(0.5), np.float32(1)

GROUP = 960  # factors in (1, 2] that are multiplied before one logarithm is taken: 2^960 is finite
PART = 2**12  # weights whose deviations stay in a cache, for all draws of them


def log_softplus(rho):
    out = np.empty((2, *rho.shape), np.float32)
    _log_softplus(_flat(rho), *out.reshape(2, -1))
    return out


@compiled
def _log_softplus(rho, values, slope):
    """Below 0 log log(1 + e^rho) is rho + log(log(1 + e) / e) with e = e^rho: nothing is lost."""
    for i in range(len(rho)):
        r = rho[i]
        e = exp_minus(abs(r))
        y = log1p_over(e)
        low = r < 0
        y = y if low else r + e * y
        values[i] = (r if low else ZERO) + log(y)
        slope[i] = ONE / ((ONE + e) * y)


def normal_draw(mean, ln_sigma, eps):
    fit("normal_draw", (mean.shape, ln_sigma.shape), (eps.shape[1:],) * 2)
    z, sigma, log_q = np.empty(eps.shape, np.float32), np.empty_like(mean), np.zeros(eps.shape[:2])
    _normal_draw(*map(np.ascontiguousarray, (mean, ln_sigma, eps)), z, sigma, log_q)
    return z, sigma, log_q


@compiled
def _normal_draw(mean, ln_sigma, eps, z, sigma, log_q):
    for n in range(len(mean)):
        for start in range(0, mean.shape[1], PART):
            place = slice(start, start + PART)
            m, s = mean[n, place], sigma[n, place]
            logs = _deviations(ln_sigma[n, place], s)
            for k in range(len(eps)):
                log_q[k, n] -= logs + 0.5 * _drawn(m, s, eps[k, n, place], z[k, n, place])


@compiled
def _deviations(ln_sigma, sigma):
    """e^ln_sigma, and the sum of ln_sigma."""
    total = 0.0
    for j in range(len(sigma)):
        x = ln_sigma[j]
        e = exp_minus(abs(x))
        e = ONE / e if x > 0 else e
        sigma[j] = x if x != x else e
        total += x
    return total


@compiled
def _drawn(mean, sigma, eps, z):
    """z = mean + sigma eps, and the sum of eps²."""
    total = 0.0
    for j in range(len(z)):
        z[j] = mean[j] + sigma[j] * eps[j]
        total += np.float64(eps[j] * eps[j])
    return total


def normal_draw_backward(g, sigma, eps, total):
    fit(
        "normal_draw_backward",
        (g.shape, sigma.shape, total.shape),
        (eps.shape, eps.shape[1:], eps.shape[1:2]),
    )
    by_ln_sigma = np.empty_like(sigma)
    by_mean = np.empty_like(sigma) if len(g) > 1 else g[0]
    arrays = map(np.ascontiguousarray, (g, sigma, eps))
    _normal_draw_backward(*arrays, total.astype(np.float32), by_mean, by_ln_sigma)
    return by_mean, by_ln_sigma


@compiled
def _normal_draw_backward(g, sigma, eps, total, by_mean, by_ln_sigma):
    for n in range(len(sigma)):
        for start in range(0, sigma.shape[1], PART):
            place = slice(start, start + PART)
            m, v, s = by_mean[n, place], by_ln_sigma[n, place], sigma[n, place]
            _first(g[0, n, place], eps[0, n, place], v)
            if len(g) > 1:
                m[:] = g[0, n, place]
            for k in range(1, len(g)):
                _further(g[k, n, place], eps[k, n, place], m, v)
            for j in range(len(v)):
                v[j] = v[j] * s[j] - total[n]


@compiled
def _first(g, eps, v):
    for j in range(len(v)):
        v[j] = g[j] * eps[j]


@compiled
def _further(g, eps, m, v):
    for j in range(len(v)):
        m[j] += g[j]
        v[j] += g[j] * eps[j]


def sum_of_squares(z):
    out = np.empty(z.shape[:-1])
    _sum_of_squares(_rows(z), out.reshape(-1))
    return out


@compiled
def _sum_of_squares(z, out):
    for i in range(len(z)):
        row, total = z[i], 0.0
        for j in range(len(row)):
            total += np.float64(row[j] * row[j])
        out[i] = total


def weighted_pair(a, x, b, y):
    fit("weighted_pair", (a.shape, b.shape, y.shape), (x.shape[:2], x.shape[:2], x.shape))
    out = np.empty(x.shape, np.float32)
    factors = (each.astype(np.float32).reshape(-1) for each in (a, b))
    _weighted_pair(*factors, _rows(x), _rows(y), _rows(out))
    return out


@compiled
def _weighted_pair(a, b, x, y, out):
    for i in range(len(out)):
        first, second, row = x[i], y[i], out[i]
        for j in range(len(row)):
            row[j] = a[i] * first[j] + b[i] * second[j]


def mixture(z, logs, scales, slope):
    values, by_z = np.empty(z.shape[:-1]), np.empty(z.shape if slope else (0, 1), np.float32)
    factors = [-0.5 / scale**2 for scale in scales]
    # The parts' difference apart: from two large numbers it would be lost.
    about = np.array([*factors, factors[0] - factors[1], logs[0] - logs[1]], np.float32)
    _mixture(_rows(z), *about, *factors, *logs, values.reshape(-1), _rows(by_z), slope)
    return values, by_z if slope else None


@compiled
def _mixture(z, c1, c2, c, log_ratio, factor1, factor2, log1, log2, values, by_z, slope):
    """d is the difference of the two parts' log-densities, whose larger ones are added up apart."""
    for i in range(len(z)):
        total, squares1, squares2, first_ones = 0.0, 0.0, 0.0, 0.0
        for start in range(0, z.shape[1], GROUP):
            row, product, count = z[i, start : start + GROUP], 1.0, ZERO
            out = by_z[i, start : start + GROUP] if slope else row
            for j in range(len(row)):
                square = row[j] * row[j]
                d = log_ratio + c * square
                first = d > 0
                e = exp_minus(abs(d))
                squares1 += np.float64(square if first else ZERO)
                squares2 += np.float64(ZERO if first else square)
                count += ONE if first else ZERO
                product *= 1.0 + np.float64(e)
                if slope:
                    both = c1 + e * c2 if first else e * c1 + c2
                    out[j] = (row[j] + row[j]) * both / (ONE + e)
            total += np.log(product)
            first_ones += np.float64(count)
        others = len(z[i]) - first_ones
        total += first_ones * log1 + others * log2
        values[i] = total + factor1 * squares1 + factor2 * squares2


def _flat(array):
    return np.ascontiguousarray(array).reshape(-1)


def _rows(array):
    return np.ascontiguousarray(array).reshape(-1, array.shape[-1])
