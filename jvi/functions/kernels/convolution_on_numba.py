"""Convolutions and the activation between them, float32 only, compiled by Numba around BLAS."""

import numpy as np

from jvi.functions.kernels import patches, winograd
from jvi.functions.kernels.compiled import compiled, exp_minus
from jvi.functions.kernels.shapes import fit, output_shape

__all__ = ["by_input", "by_weights", "convolve", "elu", "elu_backward"]

ONE, NEAR = np.float32(1), np.float32(0.2)
T2, T3, T4, T5, T6 = (np.float32(1 / n) for n in (2, 3, 4, 5, 6))

FEW = 8  # channels, of which tiles gain nothing any more


def convolve(x, W, b, stride):
    x, W = map(np.ascontiguousarray, (x, W))
    b = np.zeros(W.shape[3], np.float32) if b is None else np.ascontiguousarray(b)
    fit("convolve", (x.shape[3:], b.shape), (W.shape[2:3], W.shape[3:]))
    if _in_tiles(len(W), stride, *W.shape[2:]):
        return winograd.convolve(x, W, b)
    return patches.convolve(x, W, b, stride)


def by_input(g, W, stride, shape):
    g, W = map(np.ascontiguousarray, (g, W))
    fit("by_input", (g.shape, shape[3:]), (output_shape(shape, W.shape, stride), W.shape[2:3]))
    if _in_tiles(len(W), stride, *W.shape[2:]):
        return winograd.by_input(g, W)
    return patches.by_input(g, W, stride, shape)


def by_weights(x, g, stride, size):
    x, g = map(np.ascontiguousarray, (x, g))
    fit("by_weights", g.shape, output_shape(x.shape, g.shape, stride))
    if _in_tiles(size, stride, x.shape[3], g.shape[3]):
        return winograd.by_weights(x, g)
    return patches.by_weights(x, g, stride, size)


def _in_tiles(size, stride, *channels):
    return size == 3 and stride == 1 and min(channels) >= FEW


def elu(x):
    x = np.ascontiguousarray(x)
    y = np.empty_like(x)
    _elu(x.reshape(-1), y.reshape(-1))
    return y


@compiled
def _elu(x, y):
    """Close to 0 by Taylor's series: of e^x - 1 nothing would be left."""
    for i in range(len(x)):
        a = abs(x[i])
        rest = ONE - a * T3 * (ONE - a * T4 * (ONE - a * T5 * (ONE - a * T6)))
        below = a * (a * T2 * rest - ONE) if a < NEAR else exp_minus(a) - ONE
        y[i] = below if x[i] < 0 else x[i]  # nan, too


def elu_backward(g, y):
    g, y = map(np.ascontiguousarray, (g, y))
    fit("elu_backward", g.shape, y.shape)
    out = np.empty_like(y)
    _elu_backward(g.reshape(-1), y.reshape(-1), out.reshape(-1))
    return out


@compiled
def _elu_backward(g, y, out):
    for i in range(len(y)):
        out[i] = g[i] * (y[i] + ONE if y[i] <= 0 else ONE)
