"""Networks whose output i depends on z_j for j before i alone, by masks (Kingma et al. 2016, 4).

The opposite order is that of masks turned round, so that an image and its context stay in place.
"""

from itertools import pairwise

import chainer
import chainer.functions as F
import numpy as np

from jvi.functions import elu
from jvi.models.masks import conv_mask, degrees, dense_mask
from jvi.models.weight_norm import NormConv, NormDense

__all__ = ["ConvAR", "DenseAR"]


class _Autoregressive(chainer.Chain):
    """Masked layers with ELU between them; a context joins the first, before its nonlinearity.

    A context that has as many features as the first layer has outputs is added as it is, as in the
    published code; any other through a map of its own. It is not masked.

    Parameters
    ----------
    layer : callable
        The masked layer of (degrees of inputs, degrees of outputs, whether it is strict).
    elements, hidden : array of int
        Degrees of the elements of z (of a pixel) and of the units of a hidden layer.
    """

    def __init__(self, layer, elements, hidden, depth_ar, num_context, num_outputs, rng, reverse):
        super().__init__()
        if depth_ar < 0:
            raise ValueError(f"depth_ar is a number of hidden layers, 0 or more, not {depth_ar}")
        self.num_context, self.num_outputs, self.reverse = num_context, num_outputs, reverse
        units = [elements, *[hidden] * depth_ar, np.tile(elements, num_outputs)]
        layers = [layer(*pair, strict=n == 0) for n, pair in enumerate(pairwise(units))]
        with self.init_scope():
            self.layers = chainer.ChainList(*layers)
            if num_context not in (0, len(units[1])) or (num_context and depth_ar == 0):
                self.context = NormDense(num_context, len(units[1]), rng)

    def forward(self, z, context=None):
        """The outputs: list of Variables shaped as z.

        Parameters
        ----------
        z : Variable or array, shape (M, D) or (M, H, W, C)
        context : Variable or array, shape (M, F) or (M, H, W, F), optional
        """
        self._check(context)
        first, *others = self.layers
        h = first(z)
        if context is not None:
            h += self.context(context) if hasattr(self, "context") else context
        for layer in others:
            h = layer(elu(h))
        return list(F.split_axis(h, self.num_outputs, axis=-1))

    def _check(self, context):
        found = 0 if context is None else context.shape[-1]
        if found != self.num_context:
            raise ValueError(
                f"the autoregressive network takes {self.num_context} features of context, "
                f"not {found}"
            )


class DenseAR(_Autoregressive):
    """Of z, shape (M, D), in the order of D.

    Parameters
    ----------
    num_latent : int
        D.
    hidden : int
        Units of a hidden layer.
    depth_ar : int
        Hidden layers; without any the outputs are linear in z.
    num_context : int
        Features of the context; 0 for none.
    num_outputs : int
    rng : numpy.random.Generator, optional
        Source of the initial parameters; without it they are unset, for a file to fill.
    reverse : bool
        Whether the last element comes first.
    """

    def __init__(
        self, num_latent, hidden, depth_ar, num_context, num_outputs, rng=None, reverse=False
    ):
        def layer(inputs, outputs, strict):
            mask = _turned(dense_mask(inputs, outputs, strict), reverse)
            return NormDense(len(inputs), len(outputs), rng, mask)

        hidden, latents = degrees(hidden, num_latent), np.arange(num_latent)
        super().__init__(layer, latents, hidden, depth_ar, num_context, num_outputs, rng, reverse)


class ConvAR(_Autoregressive):
    """Of z, shape (M, H, W, C): pixels in raster order and, within a pixel, channels in order.

    Parameters
    ----------
    channels : int
        C.
    hidden : int
        Channels of a hidden layer.
    size : int
        Side of the filters, odd.
    depth_ar, num_context, num_outputs, rng, reverse
        As for `DenseAR`.
    """

    def __init__(
        self,
        channels,
        hidden,
        depth_ar,
        num_context,
        num_outputs,
        rng=None,
        size=3,
        reverse=False,
    ):
        def layer(inputs, outputs, strict):
            mask = _turned(conv_mask(size, inputs, outputs, strict), reverse)
            return NormConv(len(inputs), len(outputs), size, rng=rng, mask=mask)

        hidden, latents = degrees(hidden, channels), np.arange(channels)
        super().__init__(layer, latents, hidden, depth_ar, num_context, num_outputs, rng, reverse)


def _turned(mask, reverse):
    """The mask of the opposite order: every axis turned round."""
    return np.flip(mask) if reverse else mask
