"""The passes over a network's weights in whole-array operations, on NumPy and CuPy."""

import numpy as np
from chainer.backend import get_array_module

__all__ = [
    *("log_softplus", "mixture", "normal_draw", "normal_draw_backward", "sum_of_squares"),
    "weighted_pair",
]

LOW = -15.0  # below it log(1 + e^rho) is e^rho (1 - e^rho / 2) to more digits than float64 has
PART = 2**14  # numbers that are worked on at a time, on the CPU: they stay in a cache


def log_softplus(rho):
    if get_array_module(rho) is not np:
        return _log_softplus(rho)
    out = np.empty((2, rho.size), rho.dtype)
    flat = rho.ravel()
    for start in range(0, rho.size, PART):
        out[:, start : start + PART] = _log_softplus(flat[start : start + PART])
    return out.reshape(2, *rho.shape)


def _log_softplus(rho):
    xp = get_array_module(rho)
    small = xp.exp(-abs(rho))
    sigma = xp.log1p(small)
    sigma += xp.maximum(rho, 0)
    sigma = xp.maximum(sigma, np.exp(LOW - 1).item())  # for what is replaced below
    values, low = xp.log(sigma), rho < LOW
    sigma *= 1 + small
    slope = xp.maximum(small, rho >= 0) / sigma
    half = 0.5 * small
    return xp.where(low, rho - half, values), xp.where(low, 1 - half, slope)


def normal_draw(mean, ln_sigma, eps):
    sigma = get_array_module(mean).exp(ln_sigma)
    z = sigma * eps
    z += mean
    return z, sigma, -0.5 * sum_of_squares(eps) - ln_sigma.sum(axis=-1, dtype=np.float64)


def normal_draw_backward(g, sigma, eps, total):
    by_ln_sigma = get_array_module(g).einsum("knd,knd->nd", g, eps)
    by_ln_sigma *= sigma
    by_ln_sigma -= total.astype(g.dtype)[:, None]
    return g.sum(axis=0) if len(g) > 1 else g[0], by_ln_sigma


def weighted_pair(a, x, b, y):
    return a[:, :, None].astype(x.dtype) * x + b[:, :, None].astype(y.dtype) * y


def sum_of_squares(z):
    return (z * z).sum(axis=-1, dtype=np.float64)


def mixture(z, logs, scales, slope):
    """log(e^a + e^b) = max(a, b) + log(1 + e^-|a - b|), a and b the two parts' log-densities.

    The derivative is -z (r_1 / scale_1² + r_2 / scale_2²), r the parts' shares of the density. Each
    is computed to its own precision: 1 - r_1 is not r_2 where r_2 / scale_2² still counts.
    """
    xp, squares = get_array_module(z), z * z
    a, b = (log - 0.5 / scale**2 * squares for log, scale in zip(logs, scales, strict=True))
    smaller = xp.exp(-abs(a - b))
    values = (xp.maximum(a, b) + xp.log1p(smaller)).sum(axis=-1, dtype=np.float64)
    if not slope:
        return values, None
    first = xp.where(a > b, 1, smaller) / scales[0] ** 2
    second = xp.where(a > b, smaller, 1) / scales[1] ** 2
    return values, (-z * (first + second) / (1 + smaller)).astype(z.dtype)
