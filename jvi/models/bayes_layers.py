"""Perceptrons for many draws of all their weights: forwards, backwards, and in pieces.

Weights are flat: of every layer W, (I, O) in C order, then b, (O,). K draws of them are an array
(K, P), activations (K, B, units) for B rows of data.
"""

import math
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any, NamedTuple

from chainer.backend import get_array_module

from jvi.functions.kernels import kernels_for

__all__ = ["ACTIVATIONS", "Activation", "Layout", "backward", "forward", "pieces"]

# Activations of one layer that a piece has at most: 2 MB, as much as a core's own cache.
PIECE = 2**19
FEWEST = 64  # rows of a piece: fewer slow down the matrix products

# Pieces that are made where there is work for as many, of so many rows at least: every piece of the
# rows has a derivative by all weights, which takes its time to add.
PARTS, ENOUGH = 4, 256


class Activation(NamedTuple):
    """`apply` overwrites its argument; `slope` is the derivative as a function of the value.

    `times_slope` multiplies an array (K, B, units) by the slope where values are another one.
    `gain` is the variance of initial weights, times their number per unit, that keeps a layer's
    outputs on the scale of its inputs.
    """

    apply: Callable[[Any], Any]
    slope: Callable[[Any], Any]
    times_slope: Callable[[Any, Any], None]
    gain: float


def _times_step(d, h):
    """The sign of what relu gives is its slope."""
    kernels_for(d).times_sign(*(each.reshape(-1, each.shape[-1]) for each in (d, h)))


def _times_slope_of_tanh(d, h):
    d *= 1 - h * h


ACTIVATIONS = {
    "relu": Activation(
        lambda a: get_array_module(a).maximum(a, 0, out=a),
        lambda h: (h > 0).astype(h.dtype),
        _times_step,
        2.0,
    ),
    "tanh": Activation(
        lambda a: get_array_module(a).tanh(a, out=a),
        lambda h: 1 - h * h,
        _times_slope_of_tanh,
        1.0,
    ),
}


class Layout(NamedTuple):
    """Where the weights of each layer are in a flat array; `sizes` are units from features on."""

    sizes: tuple[int, ...]

    @property
    def num_weights(self) -> int:
        """P."""
        return sum((above + 1) * below for above, below in pairwise(self.sizes))

    @property
    def widest(self) -> int:
        """Units of the widest layer."""
        return max(self.sizes)

    def layers(self, flat: Any) -> Iterator[tuple[Any, Any]]:
        """Views (W, b) of each layer, (…, I, O) and (…, 1, O), of flat weights, (…, P)."""
        start, lead = 0, flat.shape[:-1]
        for above, below in pairwise(self.sizes):
            middle, end = start + above * below, start + (above + 1) * below
            yield (
                flat[..., start:middle].reshape(*lead, above, below),
                flat[..., middle:end].reshape(*lead, 1, below),
            )
            start = end

    def fan_in(self, flat: Any) -> Any:
        """An array (P,) like `flat`, filled with the number of inputs of each weight's unit."""
        filled = flat.copy()
        for (weights, bias), above in zip(self.layers(filled), self.sizes, strict=False):
            weights[...] = bias[...] = max(1, above)
        return filled


def forward(layout: Layout, flat: Any, features: Any, activation: Activation) -> list:
    """Inputs and outputs of all layers, the last ones linear: (B, F), then (K, B, units) each.

    Parameters
    ----------
    layout : Layout
    flat : array, shape (K, P)
    features : array, shape (B, F)
    activation : Activation
    """
    kept, last = [features], len(layout.sizes) - 2
    for number, (weights, bias) in enumerate(layout.layers(flat)):
        a = kept[-1] @ weights
        a += bias
        kept.append(a if number == last else activation.apply(a))
    return kept


def backward(
    layout: Layout, flat: Any, kept: list, d: Any, activation: Activation, gradient: Any
) -> None:
    """Fill `gradient` with the derivative by `flat`, (K, P); `d` is that by outputs, (K, B, O)."""
    xp = get_array_module(flat)
    both = list(zip(layout.layers(flat), layout.layers(gradient), strict=True))
    for number in range(len(both) - 1, -1, -1):
        h, ((weights, _), (for_weights, for_bias)) = kept[number], both[number]
        xp.matmul(h.swapaxes(-1, -2), d, out=for_weights)
        d.sum(axis=-2, keepdims=True, out=for_bias)
        if number:
            d = d @ weights.swapaxes(-1, -2)
            activation.times_slope(d, h)


def pieces(layout: Layout, num_samples: int, num_rows: int) -> list[tuple[slice, slice]]:
    """Slices (samples, rows) of bounded work, all rows of some samples before the next ones."""
    most = min(num_rows, max(FEWEST, PIECE // layout.widest))
    some = min(num_samples, max(1, PIECE // (most * layout.widest)))
    groups = math.ceil(num_samples / some)
    parts = max(math.ceil(num_rows / most), min(PARTS // groups, num_rows // ENOUGH))
    ends = [i * num_rows // parts for i in range(parts + 1)]
    return [
        (slice(k * some, (k + 1) * some), slice(*rows))
        for k in range(groups)
        for rows in pairwise(ends)
    ]
