"""Weights drawn afresh for every row of a batch, whose gradients vary less than those of one draw.

Rows that share a draw of the weights have noise in common, which does not average out over a batch.
Weights of their own need not be made: it is enough to draw what they do to a layer.

- "local": the local reparameterisation of Kingma et al. (2015). Given its input h, a unit's sum
  over independent Gaussian weights is Gaussian: N(h M + b, h² S² + s²).
- "flipout": Wen et al. (2018). One draw of the deviations D, with signs r and s of each row's own:
  h M + b + ((h ∘ s) D) ∘ r; a bias is a weight whose input is 1, and has r for its sign.

Either has the distribution that a draw of all weights for each row has, row by row.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

from chainer.backend import get_array_module

from jvi.models.bayes_layers import Layout

__all__ = ["FRESH", "Way"]

TINY = 1e-30  # of a variance, whose root is divided by


class Way(NamedTuple):
    """How weights are drawn afresh.

    Attributes
    ----------
    numbers : callable
        Of a `Layout`: how many random numbers a row takes.
    noise : callable
        Of standard normal numbers: what is made of them.
    forward : callable
        Of layout, means and deviations, (K, P), noise, (K, B, numbers), features and activation:
        a `_Layer` of each layer, below the first of them the features.
    backward : callable
        Of layout, means, deviations, noise, those layers, the derivative by the outputs and the
        activation: the derivatives by means and deviations, (K, P) each.
    """

    numbers: Callable[[Layout], int]
    noise: Callable[[Any], Any]
    forward: Callable[..., list]
    backward: Callable[..., tuple[Any, Any]]


class _Layer(NamedTuple):
    """What a layer gave, (K, B, O), and the root of its units' variances, for "local"."""

    out: Any
    scale: Any = None


def _local_numbers(layout):
    return sum(layout.sizes[1:])


def _local_forward(layout, mean, deviation, noise, features, activation):
    kept = [_Layer(features)]
    for number, (m, s, eps) in enumerate(_local_parts(layout, mean, deviation, noise)):
        h = kept[-1].out
        xp, squares = get_array_module(h), h * h
        scale = xp.sqrt(xp.maximum(squares @ (s[0] * s[0]) + s[1] * s[1], TINY))
        a = h @ m[0] + m[1] + scale * eps
        last = number == len(layout.sizes) - 2
        kept.append(_Layer(a if last else activation.apply(a), scale))
    return kept


def _local_backward(layout, mean, deviation, noise, kept, d, activation):
    gradients, parts = _empty(mean), list(_local_parts(layout, mean, deviation, noise))
    views = list(zip(*(layout.layers(each) for each in gradients), strict=True))
    for number in range(len(parts) - 1, -1, -1):
        (m, s, eps), (for_m, for_s), h = parts[number], views[number], kept[number].out
        by_variance = 0.5 * d * eps / kept[number + 1].scale
        squares = h * h
        for_m[0][...] = h.swapaxes(-1, -2) @ d
        for_m[1][...] = d.sum(axis=-2, keepdims=True)
        for_s[0][...] = 2 * s[0] * (squares.swapaxes(-1, -2) @ by_variance)
        for_s[1][...] = 2 * s[1] * by_variance.sum(axis=-2, keepdims=True)
        if number:
            through = by_variance @ (s[0] * s[0]).swapaxes(-1, -2)
            d = d @ m[0].swapaxes(-1, -2) + 2 * h * through
            d *= activation.slope(h)
    return gradients


def _local_parts(layout, mean, deviation, noise):
    """((M, b), (S, s), eps) of each layer."""
    start = 0
    layers = zip(layout.layers(mean), layout.layers(deviation), layout.sizes[1:], strict=True)
    for m, s, size in layers:
        yield m, s, noise[..., start : start + size]
        start += size


def _flipout_numbers(layout):
    return sum(above + below for above, below in pairwise(layout.sizes))


def _flipout_forward(layout, mean, deviation, signs, features, activation):
    kept = [_Layer(features)]
    for number, (m, d, s, r) in enumerate(_flipout_parts(layout, mean, deviation, signs)):
        h = kept[-1].out
        a = h @ m[0] + m[1] + ((h * s) @ d[0] + d[1]) * r
        last = number == len(layout.sizes) - 2
        kept.append(_Layer(a if last else activation.apply(a)))
    return kept


def _flipout_backward(layout, mean, deviation, signs, kept, g, activation):
    gradients, parts = _empty(mean), list(_flipout_parts(layout, mean, deviation, signs))
    views = list(zip(*(layout.layers(each) for each in gradients), strict=True))
    for number in range(len(parts) - 1, -1, -1):
        (m, d, s, r), (for_m, for_d), h = parts[number], views[number], kept[number].out
        turned = g * r
        for_m[0][...] = h.swapaxes(-1, -2) @ g
        for_m[1][...] = g.sum(axis=-2, keepdims=True)
        for_d[0][...] = (h * s).swapaxes(-1, -2) @ turned
        for_d[1][...] = turned.sum(axis=-2, keepdims=True)
        if number:
            g = g @ m[0].swapaxes(-1, -2) + (turned @ d[0].swapaxes(-1, -2)) * s
            g *= activation.slope(h)
    return gradients


def _flipout_parts(layout, mean, deviation, signs):
    """((M, b), (D, d), s, r) of each layer."""
    start = 0
    layers = zip(layout.layers(mean), layout.layers(deviation), pairwise(layout.sizes), strict=True)
    for m, d, (above, below) in layers:
        middle, end = start + above, start + above + below
        yield m, d, signs[..., start:middle], signs[..., middle:end]
        start = end


def _empty(mean):
    xp = get_array_module(mean)
    return xp.empty(mean.shape, mean.dtype), xp.empty(mean.shape, mean.dtype)


def _signs(normal):
    return get_array_module(normal).where(normal < 0, -1, 1).astype(normal.dtype)


# "local" has standard deviations for deviations, "flipout" a draw of the deviations themselves.
FRESH = {
    "local": Way(_local_numbers, lambda eps: eps, _local_forward, _local_backward),
    "flipout": Way(_flipout_numbers, _signs, _flipout_forward, _flipout_backward),
}
