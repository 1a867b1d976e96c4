"""Which weights an autoregressive network has (Germain et al. 2015; Kingma et al. 2016).

Every unit has a degree: that of an element of z is its place in the order, and a weight is there
where it leads to a degree that is no lower or, in a strict layer, to a higher one. One strict layer
makes element i of the output depend on elements before i alone. It is the first: units of degree 0
then see nothing of z, and what else there is, a context, reaches even the first element.
"""

from itertools import pairwise

import numpy as np

__all__ = ["check_masks", "conv_mask", "degrees", "dense_mask"]

# Weights of all masked networks of a model: a file that says more would ask for its masks' memory.
MOST_WEIGHTS = 2**26


def check_masks(what, networks, num_latent, hidden, depth_ar, taps=1):
    """Refuse, before there is a mask, so many networks of two outputs that they cannot be.

    Raises
    ------
    ValueError
        Naming `what` has them.
    """
    widths = [num_latent, *[hidden] * depth_ar, 2 * num_latent]
    weights = networks * taps * sum(a * b for a, b in pairwise(widths))
    if weights > MOST_WEIGHTS:
        raise ValueError(
            f"{what}: autoregressive networks of {weights:,} weights are too large (at most "
            f"{MOST_WEIGHTS:,}): give fewer or smaller layers"
        )


def degrees(num_units, num_degrees):
    """Degrees 0 … num_degrees - 1 shared out evenly among units, in ascending order, from 0 on.

    Returns
    -------
    array of int, shape (num_units,)
    """
    return np.arange(num_units) * num_degrees // num_units


def dense_mask(inputs, outputs, strict=False):
    """Of a matrix, by the degrees of its inputs and outputs.

    Returns
    -------
    array of bool, shape (in, out)
    """
    compare = np.less if strict else np.less_equal
    return compare.outer(inputs, outputs)


def conv_mask(size, inputs, outputs, strict=False):
    """Of a convolution, where pixels are in raster order and channels in order within a pixel.

    Taps above the centre, and to its left, are open, those below and to its right are closed; the
    centre obeys the degrees of the channels.

    Parameters
    ----------
    size : int
        Side of the filters, odd.
    inputs, outputs : array of int, shapes (in,) and (out,)
        Degrees of the channels.

    Returns
    -------
    array of bool, shape (size, size, in, out)
    """
    mask, centre = np.zeros((size, size, len(inputs), len(outputs)), bool), size // 2
    mask[:centre] = mask[centre, :centre] = True
    mask[centre, centre] = dense_mask(inputs, outputs, strict)
    return mask
