"""The kernels on NumPy alone, in whole-array operations on blocks that stay in a core's cache."""

import numpy as np

from jvi.functions.kernels.shapes import fit, fit_columns

__all__ = [
    *("absolute_beside", "adam", "adamax", "bernoulli"),
    *("crelu", "crelu_backward", "times_sign"),
]

# Rows of logits that are worked on at a time: more would leave the caches, fewer cost calls.
BLOCK = 256

# Numbers of a parameter that are updated at a time.
PART = 2**14


def bernoulli(x, logits, bias, residual):
    """With t = tanh(h/2), sigmoid(h) = (1 + t)/2 and log(1 + e^-|h|) = -log((1 + |t|)/2), so

        x h - log(1 + e^h) = (x - 1/2) h - |h|/2 + log((1 + |t|)/2).

    One transcendental function per pixel serves value and derivative, and because the arguments of
    the logarithms lie in [1/2, 1], sixteen are multiplied before one logarithm is taken.
    """
    fit("bernoulli", (logits.shape[1:], bias.shape), (x.shape, x.shape[1:]))
    num_samples, num_points, _ = logits.shape
    signs = 2 * x - 1
    out = np.empty((num_samples, num_points), logits.dtype)
    samples = max(1, BLOCK // num_points)
    shape = min(samples, num_samples), min(BLOCK, num_points), x.shape[1]
    scratch = np.empty((2, *shape), logits.dtype)
    for k in range(0, num_samples, samples):
        for start in range(0, num_points, BLOCK):
            block = slice(k, k + samples), slice(start, start + BLOCK)
            out[block] = _block(signs[block[1]], logits[block], bias, residual, scratch)
    return out


def _block(signs, h, bias, residual, scratch):
    t, work = scratch[:, : h.shape[0], : h.shape[1]]
    h += bias
    h *= 0.5
    np.tanh(h, out=t)
    # Term by term: their sums apart are large and cancel.
    np.abs(h, out=work)
    h *= signs
    h -= work
    value = h @ np.ones_like(bias)  # BLAS sums faster
    np.abs(t, out=work)
    work += 1
    work *= 0.5
    value += _sum_of_logs(work)
    if residual:
        np.subtract(signs, t, out=h)
        h *= 0.5
    return value


def _sum_of_logs(factors):
    """Sum over the last axis of the logs of factors in [1/2, 1]; overwrites them."""
    width = factors.shape[-1]
    for _ in range(4):
        if width % 2:
            break
        width //= 2
        np.multiply(factors[..., :width], factors[..., width : 2 * width], out=factors[..., :width])
    factors = factors[..., :width]
    return np.log(factors, out=factors).sum(axis=-1)


def crelu(h, bias):
    fit("crelu", bias.shape, h.shape[1:])
    half = h.shape[1]
    h += bias
    out = np.empty((len(h), 2 * half), h.dtype)
    np.maximum(h, 0, out=out[:, :half])
    np.subtract(out[:, :half], h, out=out[:, half:])
    return out


def crelu_backward(g, out, scale):
    fit("crelu_backward", out.shape, g.shape)
    if scale is not None:
        fit("crelu_backward", scale.shape, g.shape[:1])
    half = g.shape[1] // 2
    # Products with masks: np.where branches on random signs, which takes ten times as long.
    d = g[:, :half] * (out[:, :half] > 0)
    d -= g[:, half:] * (out[:, half:] > 0)
    if scale is not None:
        d *= scale[:, None]
    return d


def absolute_beside(h, bias, z):
    fit("absolute_beside", (bias.shape, z.shape[:1]), (h.shape[1:], h.shape[:1]))
    half = h.shape[1]
    h += bias
    out = np.empty((len(h), half + z.shape[1]), h.dtype)
    np.abs(h, out=out[:, :half])
    out[:, half:] = z
    return out


def times_sign(g, h):
    fit_columns("times_sign", g, h)
    g[:, : h.shape[1]] *= np.sign(h)


def adam(param, grad, m, v, rates, step, eps):
    fit("adam", (grad.shape, m.shape, v.shape), (param.shape,) * 3)
    flat = [array.reshape(-1) for array in (param, grad, m, v)]
    for start in range(0, param.size, PART):
        _adam_part(*(array[start : start + PART] for array in flat), *rates, step, eps)


def _adam_part(param, grad, m, v, rate_m, rate_v, step, eps):
    m += rate_m * (grad - m)
    v += rate_v * (grad * grad - v)
    work = np.sqrt(v)
    work += eps
    np.divide(m, work, out=work)
    work *= step
    param -= work


def adamax(param, grad, m, u, beta1, beta2, step, eps):
    fit("adamax", (grad.shape, m.shape, u.shape), (param.shape,) * 3)
    flat = [array.reshape(-1) for array in (param, grad, m, u)]
    for start in range(0, param.size, PART):
        _adamax_part(*(array[start : start + PART] for array in flat), beta1, beta2, step, eps)


def _adamax_part(param, grad, m, u, beta1, beta2, step, eps):
    m += (1 - beta1) * (grad - m)
    u *= beta2
    work = np.abs(grad)
    np.maximum(u, work, out=u)
    np.maximum(u, eps, out=work)
    np.divide(m, work, out=work)
    work *= step
    param -= work
