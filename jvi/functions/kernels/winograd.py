"""Convolutions 3 x 3 of stride 1 by minimal filtering, F(2 x 2, 3 x 3), around BLAS.

A tile d, 4 x 4 numbers of a channel, gives 2 x 2 outputs, A' [(G w G') (B' d B)] A for a kernel w,
where the product in brackets is number by number: over all channels and outputs, 16 matrix products
that take 4/9 of the multiplications of a direct convolution (Lavin & Gray 2016). Tiles overlap by 2
and stay in a core's cache: there are only as many at a time.
"""

import numpy as np

from jvi.functions.kernels.compiled import compiled
from jvi.functions.kernels.patches import turned

__all__ = ["by_input", "by_weights", "convolve"]

BLOCK = 2**18  # numbers of tiles and products at a time, over all channels and outputs

G = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]], np.float32)
BOTH = np.kron(G, G)  # for G w G' as one product


def convolve(x, W, b):
    y = np.empty((*x.shape[:3], W.shape[3]), np.float32)
    kernels = (BOTH @ W.reshape(9, -1)).reshape(16, *W.shape[2:])
    for first, tiles, products in _blocks(x.shape, *W.shape[2:]):
        _tiles(x, first, tiles)
        np.matmul(tiles, kernels, out=products)
        _outputs(products, first, b, y)
    return y


def by_input(g, W):
    return convolve(g, turned(W), np.zeros(W.shape[2], np.float32))


def by_weights(x, g):
    """G' [Σ (B' d B) (A g A')] G, the sum over tiles."""
    total = np.zeros((16, x.shape[3], g.shape[3]), np.float32)
    product = np.empty_like(total)
    for first, tiles, gradients in _blocks(x.shape, x.shape[3], g.shape[3]):
        _tiles(x, first, tiles)
        _gradients(g, first, gradients)
        total += np.matmul(tiles.transpose(0, 2, 1), gradients, out=product)
    return (BOTH.T @ total.reshape(16, -1)).reshape(3, 3, *total.shape[1:])


def _blocks(shape, *channels):
    """The number of the first row of tiles of each block, and memory for what is made of them."""
    rows, across = shape[0] * -(-shape[1] // 2), -(-shape[2] // 2)
    step = max(1, min(rows, BLOCK // (16 * across * sum(channels))))
    memory = [np.empty(16 * step * across * each, np.float32) for each in channels]
    for first in range(0, rows, step):
        size = across * min(step, rows - first)
        parts = zip(memory, channels, strict=True)
        yield first, *(part[: 16 * size * each].reshape(16, size, each) for part, each in parts)


@compiled
def _tiles(x, first, tiles):
    """B' d B: rows (d0 - d2, d1 + d2, d2 - d1, d1 - d3), then the same of columns."""
    H, wide, C = x.shape[1:]
    down, across = (H + 1) // 2, (wide + 1) // 2
    work = np.zeros((4, (2 * across + 2) * C), np.float32)
    none = np.zeros(wide * C, np.float32)
    for k in range(tiles.shape[1] // across):
        image, i = x[(first + k) // down].reshape(H, -1), 2 * ((first + k) % down)
        above = image[i - 1] if i > 0 else none
        below = image[i + 1] if i + 1 < H else none
        last = image[i + 2] if i + 2 < H else none
        inner = slice(C, C + wide * C)
        _subtract(above, below, work[0, inner])
        _add(image[i], below, work[1, inner])
        _subtract(below, image[i], work[2, inner])
        _subtract(image[i], last, work[3, inner])
        for a in range(4):
            row = work[a].reshape(-1, C)
            for j in range(across):
                at = k * across + j
                for c in range(C):
                    tiles[4 * a, at, c] = row[2 * j, c] - row[2 * j + 2, c]
                for c in range(C):
                    tiles[4 * a + 1, at, c] = row[2 * j + 1, c] + row[2 * j + 2, c]
                for c in range(C):
                    tiles[4 * a + 2, at, c] = row[2 * j + 2, c] - row[2 * j + 1, c]
                for c in range(C):
                    tiles[4 * a + 3, at, c] = row[2 * j + 1, c] - row[2 * j + 3, c]


@compiled
def _subtract(a, b, out):
    for i in range(len(out)):
        out[i] = a[i] - b[i]


@compiled
def _add(a, b, out):
    for i in range(len(out)):
        out[i] = a[i] + b[i]


@compiled
def _gradients(g, first, out):
    """A g A': rows (g0, g0 + g1, g0 - g1, -g1), then the same of columns."""
    H, wide, channels = g.shape[1:]
    size = wide * channels
    down, across = (H + 1) // 2, (wide + 1) // 2
    work, none = np.zeros((4, 2 * across * channels), np.float32), np.zeros(size, np.float32)
    for k in range(out.shape[1] // across):
        n, i = (first + k) // down, 2 * ((first + k) % down)
        upper = g[n, i].reshape(-1)
        lower = g[n, i + 1].reshape(-1) if i + 1 < H else none
        _add(upper, none, work[0, :size])
        _add(upper, lower, work[1, :size])
        _subtract(upper, lower, work[2, :size])
        _subtract(none, lower, work[3, :size])
        for a in range(4):
            row = work[a].reshape(-1, channels)
            for j in range(across):
                at = k * across + j
                for c in range(channels):
                    out[4 * a, at, c] = row[2 * j, c]
                for c in range(channels):
                    out[4 * a + 1, at, c] = row[2 * j, c] + row[2 * j + 1, c]
                for c in range(channels):
                    out[4 * a + 2, at, c] = row[2 * j, c] - row[2 * j + 1, c]
                for c in range(channels):
                    out[4 * a + 3, at, c] = -row[2 * j + 1, c]


@compiled
def _outputs(m, first, b, y):
    """A' m A: rows (m0 + m1 + m2, m1 - m2 - m3), then the same of columns; overwrites m."""
    for e in range(4):
        _rows(m[e].reshape(-1), m[4 + e].reshape(-1), m[8 + e].reshape(-1), m[12 + e].reshape(-1))
    down, across = (y.shape[1] + 1) // 2, (y.shape[2] + 1) // 2
    for k in range(m.shape[1] // across):
        n, i = (first + k) // down, 2 * ((first + k) % down)
        for p in range(min(2, y.shape[1] - i)):
            row = y[n, i + p]
            for j in range(across):
                at = k * across + j
                for c in range(len(b)):
                    row[2 * j, c] = (
                        m[4 * p, at, c] + m[4 * p + 1, at, c] + m[4 * p + 2, at, c] + b[c]
                    )
                if 2 * j + 1 < len(row):
                    for c in range(len(b)):
                        row[2 * j + 1, c] = (
                            m[4 * p + 1, at, c] - m[4 * p + 2, at, c] - m[4 * p + 3, at, c] + b[c]
                        )


@compiled
def _rows(m0, m1, m2, m3):
    for i in range(len(m0)):
        middle, other = m1[i], m2[i]
        m0[i] += middle + other
        m1[i] = middle - other - m3[i]
