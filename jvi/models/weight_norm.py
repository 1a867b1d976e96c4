"""Weight-normalised layers, which a first batch can initialise (Salimans & Kingma 2016).

Their weights are W = g V / |V| for each output. Inside `initialising` a call sets g and b from its
batch, so that every output has mean 0 and a standard deviation of 1 (section 3), or `deviation`,
over it.
"""

from contextlib import contextmanager

import chainer
import chainer.functions as F
import numpy as np

from jvi.functions import convolve
from jvi.functions.weight_norm import weight_norm
from jvi.models.layers import bias

__all__ = ["NormConv", "NormDense", "initialising"]

SPREAD = 0.05  # of the first V, as published: with Adam's steps it sets how fast directions turn
CONSTANT = 1e-5  # an output that varies by less of its inputs' size is constant but for rounding


@contextmanager
def initialising():
    """Within it, in this thread, layers set g and b from what they are called with."""
    with chainer.using_config("initialising", True), chainer.no_backprop_mode():
        yield


class _Normalised(chainer.Link):
    """V, of a shape whose last axis is the outputs, g and b, both (out,), and a constant mask."""

    def __init__(self, shape, rng, mask, deviation):
        super().__init__()
        self.deviation = deviation
        self.mask = None if mask is None else np.asarray(mask, np.float32)
        if mask is not None and self.mask.shape != shape:
            raise ValueError(f"a mask of shape {self.mask.shape} for weights of shape {shape}")
        with self.init_scope():
            self.V = chainer.Parameter(_directions(shape, rng))
            self.g = bias(shape[-1], rng)
            self.b = bias(shape[-1], rng)
        if rng is not None:
            self.g.array[...] = 1

    def device_resident_accept(self, visitor):
        super().device_resident_accept(visitor)
        if self.mask is not None:
            self.mask = visitor.visit_array(self.mask)

    def forward(self, h):
        if getattr(chainer.config, "initialising", False):
            self._initialise(chainer.as_variable(h).array)
        return self._apply(h)

    def _weights(self):
        return weight_norm(self.V, self.g, self.mask)

    def _initialise(self, h):
        """In place: copies of this link share its arrays."""
        out, axes = self._apply(h).array, tuple(range(h.ndim - 1))
        mean = out.mean(axis=axes, dtype=np.float64)
        std = out.std(axis=axes, dtype=np.float64)
        size = CONSTANT * np.sqrt((h * h).mean(dtype=np.float64))
        scale = self.xp.where(std > size * abs(self.g.array), std / self.deviation, 1)
        self.b.array[...] = (self.b.array - mean) / scale
        self.g.array[...] = self.g.array / scale


class NormConv(_Normalised):
    """A convolution of (N, H, W, in) to (N, ceil(H / stride), ceil(W / stride), out).

    Parameters
    ----------
    num_in, num_out : int
    size : int
        Side of the filters, odd.
    stride : int
    rng : numpy.random.Generator, optional
        Source of the initial V; without it parameters are unset, for a file to fill.
    mask : array of 0 and 1, shape (size, size, in, out), optional
        Of the weights that there are.
    deviation : float
        Of the outputs over the batch that initialises it.
    """

    def __init__(self, num_in, num_out, size=3, stride=1, rng=None, mask=None, deviation=1.0):
        super().__init__((size, size, num_in, num_out), rng, mask, deviation)
        self.stride = stride

    def _apply(self, h):
        return convolve(h, self._weights(), self.b, self.stride)


class NormDense(_Normalised):
    """A linear map of the last axis: (…, in) to (…, out); the parameters are as for `NormConv`.

    On (N, H, W, in) it is a convolution of 1 × 1.
    """

    def __init__(self, num_in, num_out, rng=None, mask=None, deviation=1.0):
        super().__init__((num_in, num_out), rng, mask, deviation)

    def _apply(self, h):
        flat = F.reshape(h, (-1, h.shape[-1]))
        out = F.linear(flat, F.transpose(self._weights()), self.b)
        return F.reshape(out, (*h.shape[:-1], out.shape[-1]))


def _directions(shape, rng):
    """The first V: normal; NaN of a shape, in the memory of one number, without a generator."""
    if rng is None:
        return np.broadcast_to(np.float32(np.nan), shape)
    return rng.normal(0, SPREAD, shape).astype(np.float32)
