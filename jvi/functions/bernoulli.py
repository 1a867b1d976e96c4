"""Log-density of binary pixels given logits h, and its derivative by them, in one pass.

With t = tanh(h/2), sigmoid(h) = (1 + t)/2 and log(1 + e^-|h|) = -log((1 + |t|)/2), so

    log p(x|h) = sum_j (x_j - 1/2) h_j - |h_j|/2 + log((1 + |t_j|)/2),
    its derivative by h_j is  x_j - 1/2 - t_j/2.

One transcendental function per pixel serves both, and because the arguments of the logarithms lie
in [1/2, 1], sixteen are multiplied before one logarithm is taken.
"""

import numpy as np
from chainer import backend
from chainer.backends import cuda

__all__ = ["bernoulli"]

# Rows that are worked on at a time: 32 rows of 784 floats and their scratch stay in the L2 cache.
BLOCK = 32


def bernoulli(x, logits, bias, residual=False):
    """log p(x | logits + bias), and on demand its derivative by the logits.

    Parameters
    ----------
    x : array, shape (N, pixels)
        Binary images, or grey ones in [0, 1].
    logits : array, shape (K, N, pixels)
        Overwritten.
    bias : array, shape (pixels,)
        Added to the logits.
    residual : bool
        Whether to leave the derivative, x - sigmoid(h), in `logits`.

    Returns
    -------
    array, shape (K, N), in nats
    """
    on_cpu = backend.get_array_module(logits) is np
    return (_bernoulli_cpu if on_cpu else _bernoulli_gpu)(x, logits, bias, residual)


def _bernoulli_cpu(x, logits, bias, residual):
    num_samples, num_points, _ = logits.shape
    centred = x - np.asarray(0.5, x.dtype)
    out = np.empty((num_samples, num_points), logits.dtype)
    scratch = np.empty((2, min(BLOCK, num_points), x.shape[1]), logits.dtype)
    for k in range(num_samples):
        for start in range(0, num_points, BLOCK):
            rows = slice(start, start + BLOCK)
            out[k, rows] = _block(centred[rows], logits[k, rows], bias, residual, scratch)
    return out


def _block(centred, h, bias, residual, scratch):
    t, work = scratch[:, : len(h)]
    h += bias
    np.multiply(h, 0.5, out=t)
    np.tanh(t, out=t)
    # Term by term: their sums apart are large and cancel.
    np.abs(h, out=work)
    work *= 0.5
    h *= centred
    h -= work
    value = h.sum(axis=-1)
    np.abs(t, out=work)
    work += 1
    work *= 0.5
    value += _sum_of_logs(work)
    if residual:
        t *= 0.5
        np.subtract(centred, t, out=h)
    return value


def _sum_of_logs(factors):
    """Sum over the last axis of the logs of factors in [1/2, 1]; overwrites them."""
    width = factors.shape[-1]
    for _ in range(4):
        if width % 2:
            break
        width //= 2
        np.multiply(factors[:, :width], factors[:, width : 2 * width], out=factors[:, :width])
    factors = factors[:, :width]
    return np.log(factors, out=factors).sum(axis=-1)


def _bernoulli_gpu(x, logits, bias, residual):
    value = cuda.reduce(
        "T x, T h, T b",
        "T y",
        "(x - T(0.5)) * (h + b) - T(0.5) * abs(h + b) - log1p(exp(-abs(h + b)))",
        "a + b",
        "y = a",
        "0",
        "jvi_bernoulli",
    )
    out = value(x[None], logits, bias[None, None], axis=2)
    if residual:
        derivative = cuda.elementwise(
            "T x, T b", "T h", "h = x - T(0.5) - T(0.5) * tanh(T(0.5) * (h + b))", "jvi_residual"
        )
        derivative(x[None], bias[None, None], logits)
    return out
