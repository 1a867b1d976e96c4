"""Convolutions of images in whole-array operations, as products with patches, on NumPy and CuPy."""

import numpy as np
from chainer.backend import get_array_module

from jvi.functions.kernels.shapes import output_shape

__all__ = ["by_input", "by_weights", "convolve", "elu", "elu_backward"]

PART = 2**20  # numbers of patches that are made at a time, on the CPU: more would be much memory


def convolve(x, W, b, stride):
    y = get_array_module(x).empty(output_shape(x.shape, W.shape, stride), x.dtype)
    for images in _parts(y, W):
        patches, out = _patches(x[images], len(W), stride), y[images].reshape(-1, W.shape[3])
        get_array_module(x).matmul(patches, W.reshape(-1, W.shape[3]), out=out)
    if b is not None:
        y += b
    return y


def by_input(g, W, stride, shape):
    xp, half = get_array_module(g), len(W) // 2
    padded = xp.zeros((shape[0], shape[1] + 2 * half, shape[2] + 2 * half, shape[3]), g.dtype)
    flat, kernels = g.reshape(-1, g.shape[3]), W.reshape(-1, *W.shape[2:])
    for i, place in enumerate(_places(g.shape, len(W), stride)):
        padded[place] += (flat @ kernels[i].T).reshape(*g.shape[:3], shape[3])
    return padded[:, half : half + shape[1], half : half + shape[2]]


def by_weights(x, g, stride, size):
    W = get_array_module(x).zeros((size, size, x.shape[3], g.shape[3]), x.dtype)
    flat = W.reshape(-1, g.shape[3])
    for images in _parts(g, W):
        flat += _patches(x[images], size, stride).T @ g[images].reshape(-1, g.shape[3])
    return W


def _parts(y, W):
    """Slices of images, whose patches are no more than PART numbers if there are several."""
    numbers = y.shape[1] * y.shape[2] * W.size // W.shape[3]
    step = max(1, PART // max(1, numbers)) if get_array_module(y) is np else max(1, len(y))
    return [slice(first, first + step) for first in range(0, len(y), step)]


def _patches(x, size, stride):
    """A row for each number of an output, with what the kernel's weights are multiplied with."""
    half, xp = size // 2, get_array_module(x)
    padded = xp.pad(x, ((0, 0), (half, half), (half, half), (0, 0)))
    places = _places(output_shape(x.shape, x.shape, stride), size, stride)
    slices = [padded[place] for place in places]
    return xp.concatenate(slices, axis=-1).reshape(-1, size * size * x.shape[3])


def _places(shape, size, stride):
    """Where in padded images each weight of a kernel meets its numbers."""
    down, across = (stride * (side - 1) + 1 for side in shape[1:3])
    return [
        (slice(None), slice(i, i + down, stride), slice(j, j + across, stride))
        for i in range(size)
        for j in range(size)
    ]


def elu(x):
    xp = get_array_module(x)
    return xp.maximum(x, 0) + xp.expm1(xp.minimum(x, 0))


def elu_backward(g, y):
    return g * (get_array_module(y).minimum(y, 0) + 1)
