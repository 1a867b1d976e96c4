"""Weights of fixed length: W = g V / |V| for each output (Salimans & Kingma 2016, equation 2)."""

import chainer
from chainer.backend import get_array_module

__all__ = ["weight_norm"]


def weight_norm(V, g, mask=None):
    """W = g V / |V|, the norm over all axes but the last; 0 where V is.

    Parameters
    ----------
    V : Variable, shape (…, out)
    g : Variable, shape (out,)
    mask : array of 0 and 1, shape (…, out), optional
        Then V stands for mask * V.

    Returns
    -------
    Variable, shape (…, out)
    """
    return _WeightNorm(mask).apply((V, g))[0]


class _WeightNorm(chainer.FunctionNode):
    """Its gradients cannot be differentiated again, which nothing here needs.

    With U = V / |V|: dL/dg = <dL/dW, U> and dL/dV = (g / |V|) (dL/dW - dL/dg U), equation 3.
    """

    def __init__(self, mask):
        self.mask = mask

    def forward(self, inputs):
        V, self.g = inputs
        xp = get_array_module(V)
        if self.mask is not None:
            V = V * self.mask
        norm = xp.sqrt(xp.einsum("io,io->o", _rows(V), _rows(V)))
        none = norm == 0  # an output that the mask cuts off from every input
        self.inverse = xp.where(none, 0, 1 / xp.where(none, 1, norm)).astype(V.dtype)
        self.V = V
        return (V * (self.g * self.inverse),)

    def backward(self, indexes, grad_outputs):
        gW, V = grad_outputs[0].array, self.V
        xp = get_array_module(V)
        gg = xp.einsum("io,io->o", _rows(gW), _rows(V)) * self.inverse
        scale = self.g * self.inverse
        gV = gW * scale - V * (scale * gg * self.inverse)
        if self.mask is not None:
            gV *= self.mask
        gradients = gV, gg
        return [chainer.as_variable(gradients[i]) for i in indexes]


def _rows(array):
    return array.reshape(-1, array.shape[-1])
