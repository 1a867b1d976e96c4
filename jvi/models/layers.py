"""Layers that models are built of; without a generator they have only shapes for a file to fill."""

import chainer
import numpy as np

__all__ = ["Affine", "bias", "check_images"]


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
            self.W = chainer.Parameter(_weights(num_in, num_out, rng, gain))
            self.b = bias(num_out, rng)

    def forward(self, h):
        """Of h, shape (…, in), an array or Variable: Variable, shape (…, out)."""
        flat = chainer.functions.reshape(h, (-1, h.shape[-1]))
        out = chainer.functions.linear(flat, self.W, self.b)
        return chainer.functions.reshape(out, (*h.shape[:-1], out.shape[-1]))


def _weights(num_in, num_out, rng, gain):
    if rng is None:
        return _unset((num_out, num_in))
    weights = rng.standard_normal((num_out, num_in), dtype=np.float32)
    return weights / np.float32((num_in / gain) ** 0.5)


def bias(size, rng=None):
    """A parameter of zeros, shape (size,)."""
    return chainer.Parameter(_unset((size,)) if rng is None else np.zeros(size, np.float32))


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
    if x.ndim != 2 or x.shape[1] != num_pixels:
        raise ValueError(
            f"images have shape {x.shape}, the model expects (N, {num_pixels}): "
            "is this the data set it was trained on?"
        )
    good = ((x >= 0) & (x <= 1)).all(axis=1)
    if not bool(good.all()):
        raise ValueError(
            f"image {int(good.argmin())} has values outside [0, 1] or that are not numbers, "
            "for which a model of binary pixels has no likelihood"
        )
    return x.astype(xp.float32, copy=False)
