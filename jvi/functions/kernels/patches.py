"""Convolutions of any size and stride as products with patches, a cache full at a time.

Patches are of images. Where outputs are fewer than channels and the stride is 1 they are of outputs
(the convolution is the derivative of another one, by its input): fewer numbers, broader products.
"""

import numpy as np

from jvi.functions.kernels.compiled import compiled
from jvi.functions.kernels.shapes import output_shape

__all__ = ["by_input", "by_weights", "convolve", "turned"]

BLOCK = 2**17  # numbers of patches at a time


def convolve(x, W, b, stride):
    if _of_outputs(*W.shape[2:], stride):
        y = by_input(x, turned(W), stride, (*x.shape[:3], len(b)))
        _shift(y.reshape(-1, len(b)), b)
        return y
    y = np.empty(output_shape(x.shape, W.shape, stride), np.float32)
    flat, rows = W.reshape(-1, W.shape[3]), y.reshape(-1, y.shape[2], y.shape[3])
    for first, patches, part in _blocks(rows, len(flat)):
        _gather(x, first, y.shape[2], len(W), stride, patches)
        np.matmul(patches, flat, out=part)
        _shift(part, b)
    return y


def turned(W):
    """The kernels of the convolution that is the derivative by the input, for stride 1."""
    return np.ascontiguousarray(W[::-1, ::-1].transpose(0, 1, 3, 2))


def _of_outputs(channels, outputs, stride):
    return outputs < channels and stride == 1


def by_input(g, W, stride, shape):
    if _of_outputs(*W.shape[2:], stride):
        return convolve(g, turned(W), np.zeros(W.shape[2], np.float32), stride)
    out, flat = np.zeros(shape, np.float32), W.reshape(-1, W.shape[3])
    for first, patches, part in _blocks(g.reshape(-1, *g.shape[2:]), len(flat)):
        np.matmul(part, flat.T, out=patches)
        _scatter(patches, first, g.shape[2], len(W), stride, out)
    return out


def by_weights(x, g, stride, size):
    if _of_outputs(x.shape[3], g.shape[3], stride):
        return turned(by_weights(g, x, stride, size))
    out = np.zeros((size * size * x.shape[3], g.shape[3]), np.float32)
    product = np.empty_like(out)
    for first, patches, part in _blocks(g.reshape(-1, *g.shape[2:]), len(out)):
        _gather(x, first, g.shape[2], size, stride, patches)
        out += np.matmul(patches.T, part, out=product)
    return out.reshape(size, size, x.shape[3], g.shape[3])


def _blocks(rows, numbers):
    """For some rows of images at a time: the first one's number, memory for patches, the rows."""
    width = rows.shape[1]
    step = max(1, min(len(rows), BLOCK // (width * numbers)))
    memory = np.empty((step * width, numbers), np.float32)
    for first in range(0, len(rows), step):
        part = rows[first : first + step].reshape(-1, rows.shape[2])
        yield first, memory[: len(part)], part


@compiled
def _gather(x, first, width, size, stride, patches):
    """Patches whose middles are in rows of the output from number `first` on."""
    C, half, down = x.shape[3], size // 2, (x.shape[1] + stride - 1) // stride
    padded = np.zeros((x.shape[2] + 2 * half) * C, np.float32)
    inner = padded[half * C : (half + x.shape[2]) * C]
    for k in range(len(patches) // width):
        n, top = (first + k) // down, (first + k) % down * stride - half
        for u in range(size):
            if 0 <= top + u < x.shape[1]:
                _copy(x[n, top + u].reshape(-1), inner)
            else:
                inner[:] = 0
            for j in range(width):
                run = patches[k * width + j, u * size * C : (u + 1) * size * C]
                _copy(padded[j * stride * C : j * stride * C + len(run)], run)


@compiled
def _scatter(patches, first, width, size, stride, x):
    """Adds to x what is in patches: the transpose of `_gather`."""
    C, half, down = x.shape[3], size // 2, (x.shape[1] + stride - 1) // stride
    padded = np.empty((x.shape[2] + 2 * half) * C, np.float32)
    inner = padded[half * C : (half + x.shape[2]) * C]
    for k in range(len(patches) // width):
        n, top = (first + k) // down, (first + k) % down * stride - half
        for u in range(size):
            if 0 <= top + u < x.shape[1]:
                padded[:] = 0
                for j in range(width):
                    run = patches[k * width + j, u * size * C : (u + 1) * size * C]
                    _add(run, padded[j * stride * C : j * stride * C + len(run)])
                _add(inner, x[n, top + u].reshape(-1))


@compiled
def _shift(out, b):
    for i in range(len(out)):
        for j in range(len(b)):
            out[i, j] += b[j]


@compiled
def _copy(a, out):
    for i in range(len(out)):
        out[i] = a[i]


@compiled
def _add(a, out):
    for i in range(len(out)):
        out[i] += a[i]
