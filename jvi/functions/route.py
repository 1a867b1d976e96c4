"""Scaling of the gradient that flows through a sample, apart from that of the model."""

import chainer

__all__ = ["Route"]


class Route(chainer.Function):
    """The identity on arrays z, shape (K, N, …), whose backward pass multiplies by `scale`, (K, N).

    A loss that weights sample k by a_k gives the model the gradient weight a_k; with
    scale = b / a on the way back to the encoder, the encoder gets the weight b_k, from one forward
    and one backward pass. `scale` is set between the two, when the log-weights are known; None
    leaves the gradient as it is.
    """

    scale = None

    def forward(self, inputs):
        return inputs

    def backward(self, inputs, grad_outputs):
        if self.scale is None:
            return grad_outputs
        return tuple(g if g is None else g * self._scale_for(g) for g in grad_outputs)

    def _scale_for(self, g):
        return self.scale.reshape(self.scale.shape + (1,) * (g.ndim - 2)).astype(g.dtype)
