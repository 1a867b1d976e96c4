"""The kernels as loops, float32 only, compiled by Numba once for each machine and kept on disk.

What is compiled gives up Python's lock, so that every core works on rows of its own.
"""

import numpy as np

from jvi.functions.kernels.compiled import compiled, exp_minus
from jvi.functions.kernels.shapes import fit, fit_columns

__all__ = [
    *("absolute_beside", "adam", "adamax", "bernoulli"),
    *("crelu", "crelu_backward", "times_sign"),
]

HALF, ONE = np.float32(0.5), np.float32(1)

# Factors 1 + e^-|h|, in (1, 2], that are multiplied before one logarithm is taken: 2^112 is finite.
GROUP = 112


def bernoulli(x, logits, bias, residual):
    fit("bernoulli", (logits.shape[1:], bias.shape), (x.shape, x.shape[1:]))
    out = np.empty(logits.shape[:2], np.float32)
    _bernoulli(x, logits, bias, out, residual)
    return out


@compiled
def _bernoulli(x, logits, bias, out, residual):
    for k in range(logits.shape[0]):
        for n in range(logits.shape[1]):
            total = 0.0
            for start in range(0, logits.shape[2], GROUP):
                h = logits[k, n, start : start + GROUP]
                pixels, b = x[n, start : start + GROUP], bias[start : start + GROUP]
                linear, product = np.float32(0), ONE
                for j in range(len(h)):
                    a = h[j] + b[j]
                    size = abs(a)
                    e = exp_minus(size)
                    centred = pixels[j] - HALF
                    linear += centred * a - HALF * size
                    product *= ONE + e
                    if residual:
                        h[j] = centred - np.copysign(HALF * (ONE - e) / (ONE + e), a)
                total += linear - np.log(product)
            out[k, n] = total


def crelu(h, bias):
    fit("crelu", bias.shape, h.shape[1:])
    out = np.empty((len(h), 2 * h.shape[1]), np.float32)
    _crelu(h, bias, out)
    return out


@compiled
def _crelu(h, bias, out):
    half = h.shape[1]
    for i in range(len(h)):
        row, positive, negative = h[i], out[i, :half], out[i, half:]
        for j in range(half):
            a = row[j] + bias[j]
            # Written so that a nan is neither.
            positive[j] = np.float32(0) if a <= 0 else a
            negative[j] = np.float32(0) if a >= 0 else -a


def crelu_backward(g, out, scale):
    fit("crelu_backward", out.shape, g.shape)
    if scale is not None:
        fit("crelu_backward", scale.shape, g.shape[:1])
    d = np.empty((len(g), g.shape[1] // 2), np.float32)
    scale = np.broadcast_to(ONE, len(g)) if scale is None else scale
    _crelu_backward(g, out, np.ascontiguousarray(scale), d)
    return d


@compiled
def _crelu_backward(g, out, scale, d):
    half = d.shape[1]
    for i in range(len(d)):
        by_positive, by_negative = g[i, :half], g[i, half:]
        positive, negative = out[i, :half], out[i, half:]
        row = d[i]
        for j in range(half):
            a = by_positive[j] if positive[j] > 0 else np.float32(0)
            b = by_negative[j] if negative[j] > 0 else np.float32(0)
            row[j] = scale[i] * (a - b)


def absolute_beside(h, bias, z):
    fit("absolute_beside", (bias.shape, z.shape[:1]), (h.shape[1:], h.shape[:1]))
    out = np.empty((len(h), h.shape[1] + z.shape[1]), np.float32)
    _absolute_beside(h, bias, z, out)
    return out


@compiled
def _absolute_beside(h, bias, z, out):
    half = h.shape[1]
    for i in range(len(h)):
        row, absolute, rest = h[i], out[i, :half], out[i, half:]
        for j in range(half):
            row[j] += bias[j]
            absolute[j] = abs(row[j])
        for j in range(len(rest)):
            rest[j] = z[i, j]


def times_sign(g, h):
    fit_columns("times_sign", g, h)
    _times_sign(g, h)


@compiled
def _times_sign(g, h):
    for i in range(len(h)):
        row, other = g[i], h[i]
        for j in range(len(other)):
            sign = ONE if other[j] > 0 else np.float32(0)
            row[j] *= -ONE if other[j] < 0 else sign


def adam(param, grad, m, v, rates, step, eps):
    fit("adam", (grad.shape, m.shape, v.shape), (param.shape,) * 3)
    flat = (array.reshape(-1) for array in (param, grad, m, v))
    _adam(*flat, *map(np.float32, (*rates, step, eps)))


@compiled
def _adam(param, grad, m, v, rate_m, rate_v, step, eps):
    for i in range(len(param)):
        m[i] += rate_m * (grad[i] - m[i])
        v[i] += rate_v * (grad[i] * grad[i] - v[i])
        param[i] -= step * m[i] / (np.sqrt(v[i]) + eps)


def adamax(param, grad, m, u, beta1, beta2, step, eps):
    fit("adamax", (grad.shape, m.shape, u.shape), (param.shape,) * 3)
    flat = (array.reshape(-1) for array in (param, grad, m, u))
    _adamax(*flat, *map(np.float32, (1 - beta1, beta2, step, eps)))


@compiled
def _adamax(param, grad, m, u, rate, beta2, step, eps):
    for i in range(len(param)):
        m[i] += rate * (grad[i] - m[i])
        old, new = beta2 * u[i], abs(grad[i])
        u[i] = old if old >= new else new
        param[i] -= step * m[i] / (u[i] if u[i] > eps else eps)
