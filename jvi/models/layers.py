"""Layers that models are built of; without a generator they have only shapes for a file to fill."""

import math

import chainer
import chainer.functions as F
import numpy as np

__all__ = [
    "Affine",
    "GaussianLayers",
    "Halve",
    "TanhLayers",
    "Twice",
    "bias",
    "check_bytes",
    "check_images",
    "check_real",
    "image_of",
]


class Affine(chainer.Link):
    """h W^T + b, with parameters named W, (out, in), and b, (out,), as in Chainer's Linear.

    Parameters
    ----------
    num_in, num_out : int
    rng : numpy.random.Generator, optional
        Source of the initial weights.
    gain : float
        The weights' variance is gain / num_in: 1 is LeCun's initialisation.
    """

    def __init__(self, num_in, num_out, rng=None, gain=1.0):
        super().__init__()
        with self.init_scope():
            self.W = chainer.Parameter(_weights((num_out, num_in), num_in, rng, gain))
            self.b = bias(num_out, rng)

    def forward(self, h):
        """Of h, shape (…, in), an array or Variable: Variable, shape (…, out)."""
        flat = F.reshape(h, (-1, h.shape[-1]))
        out = F.linear(flat, self.W, self.b)
        return F.reshape(out, (*h.shape[:-1], out.shape[-1]))


class TanhLayers(chainer.Chain):
    """Two tanh layers of `hidden` units: shape (…, in) to (…, hidden)."""

    def __init__(self, num_in, hidden, rng=None):
        super().__init__()
        with self.init_scope():
            self.lin0 = Affine(num_in, hidden, rng)
            self.lin1 = Affine(hidden, hidden, rng)

    def forward(self, h):
        return F.tanh(self.lin1(F.tanh(self.lin0(h))))


class GaussianLayers(TanhLayers):
    """Two tanh layers, then mean and log-variance, each (…, out)."""

    def __init__(self, num_in, hidden, num_out, rng=None):
        super().__init__(num_in, hidden, rng)
        with self.init_scope():
            self.lin_mu = Affine(hidden, num_out, rng)
            self.lin_ln_var = Affine(hidden, num_out, rng)

    def forward(self, h):
        h = super().forward(h)
        return self.lin_mu(h), self.lin_ln_var(h)


class Halve(chainer.Link):
    """A convolution of 3 × 3 in steps of 2: (N, in, side, side) to half the sides, rounded up.

    W has shape (out, in, 3, 3), b (out,); initial weights are He's, for ReLU to follow.
    """

    def __init__(self, num_in, num_out, rng=None):
        super().__init__()
        with self.init_scope():
            self.W = chainer.Parameter(_weights((num_out, num_in, 3, 3), 9 * num_in, rng, 2.0))
            self.b = bias(num_out, rng)

    def forward(self, h):
        return F.convolution_2d(h, self.W, self.b, stride=2, pad=1)


class Twice(chainer.Link):
    """The transpose of `Halve`: (N, in, half, half) to sides of `side`, which `Halve` halves.

    W has shape (in, out, 3, 3), b (out,). A quarter of the nine weights, on average, meets an
    output.
    """

    def __init__(self, num_in, num_out, side, rng=None):
        super().__init__()
        self.side = side
        with self.init_scope():
            self.W = chainer.Parameter(_weights((num_in, num_out, 3, 3), 9 / 4 * num_in, rng, 2.0))
            self.b = bias(num_out, rng)

    def forward(self, h):
        size = self.side, self.side
        return F.deconvolution_2d(h, self.W, self.b, stride=2, pad=1, outsize=size)


def _weights(shape, fan_in, rng, gain):
    """Normal, of variance gain / fan_in."""
    if rng is None:
        return _unset(shape)
    weights = rng.standard_normal(shape, dtype=np.float32)
    return weights / np.float32((fan_in / gain) ** 0.5)


def bias(shape, rng=None):
    """A parameter of zeros of a shape, or size."""
    return chainer.Parameter(_unset(shape) if rng is None else np.zeros(shape, np.float32))


def draw_binary(mean, source):
    """Binary draws, float32, of pixels with these means, (K, N, …), an array or Variable."""
    mean = chainer.as_variable(mean).array
    return (source.uniform(mean.shape) < mean).astype(np.float32)


def _unset(shape):
    """NaN of a shape, in the memory of one number: a size in a file costs nothing."""
    return np.broadcast_to(np.float32(np.nan), shape)


def check_images(x, num_pixels, xp):
    """`x` as float32, checked: shape (N, pixels), finite, in [0, 1].

    Raises
    ------
    ValueError
        For another shape, or naming the first image that has no likelihood.
    """
    _check_shape(x, num_pixels, "images")
    good = ((x >= 0) & (x <= 1)).all(axis=1)
    if not bool(good.all()):
        raise ValueError(
            f"image {int(good.argmin())} has values outside [0, 1] or that are not numbers, "
            "for which a model of binary pixels has no likelihood"
        )
    return x.astype(xp.float32, copy=False)


def check_bytes(x, num_pixels, xp):
    """`x` as float32, checked: shape (N, pixels), whole numbers from 0 to 255 over 256.

    Raises
    ------
    ValueError
        For another shape, or naming the first image that has no likelihood.
    """
    _check_shape(x, num_pixels, "images")
    levels = 256 * x
    good = ((levels >= 0) & (levels <= 255) & (levels == xp.floor(levels))).all(axis=1)
    if not bool(good.all()):
        raise ValueError(
            f"image {int(good.argmin())} has values that are no bytes over 256, for which a model "
            "of bytes has no likelihood: choose such data, as cifar10 or mnist-grey"
        )
    return x.astype(xp.float32, copy=False)


def image_of(num_pixels, halvings, what):
    """(side, 1 for grey or 3 for colour) of square images that can be halved so often.

    Raises
    ------
    ValueError
        For other images, naming `what` halves them.
    """
    for colours in (1, 3):
        side = math.isqrt(num_pixels // colours)
        if colours * side**2 == num_pixels:
            break
    else:
        raise ValueError(f"{num_pixels} numbers are no square image, grey or of three colours")
    if side % 2**halvings:
        most = (side & -side).bit_length() - 1
        raise ValueError(
            f"{what} halves images {halvings} times, but {side} x {side} pixels can be halved "
            + (f"{most} times: give at most {most} levels" if most else "not once")
        )
    return side, colours


def check_real(x, num_columns, xp):
    """`x` as float32, checked: shape (N, columns), finite as such.

    Raises
    ------
    ValueError
        For another shape, or naming the first row that has no likelihood.
    """
    _check_shape(x, num_columns, "data")
    good = (abs(x) <= np.finfo(np.float32).max).all(axis=1)
    if not bool(good.all()):
        raise ValueError(
            f"row {int(good.argmin())} has values that are not finite numbers, for which a model "
            "has no likelihood"
        )
    return x.astype(xp.float32, copy=False)


def _check_shape(x, num_columns, what):
    if x.ndim != 2 or x.shape[1] != num_columns:
        raise ValueError(
            f"{what} have shape {x.shape}, the model expects (N, {num_columns}): "
            "is this the data set it was trained on?"
        )
