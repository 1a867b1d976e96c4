"""Inverse autoregressive flows: q(z|x) beyond a diagonal Gaussian (Kingma et al. 2016).

A flow is a link. `forward(z, context)` gives z', shape (M, …, C), and log |det dz'/dz| as the parts
of the units or maps of the last axis: shape (M, C), float64, in nats, their sum the whole. So with
log-densities in such parts log q(z') = log q(z) - log |det dz'/dz|, which free bits for each map
need. `inverse(z', context)` gives z as an array, element after element, as slowly as that is.
"""

import chainer
import numpy as np

from jvi.functions.gate import gate, open_and_shut

__all__ = ["InverseAutoregressive", "Stack"]

# At first a flow does little: the network's outputs, whose standard deviation data-dependent
# initialisation makes 1, count a tenth, as in the published code, and gates are nearly open.
SIZE, BIAS = 0.1, 2.0


class InverseAutoregressive(chainer.Chain):
    """z' = z + m or, `scaled`, z' = σ z + (1 - σ) m with σ = sigmoid(s); m and s are of z before i.

    The Jacobian is triangular in the network's order, with 1 or σ on its diagonal (equations 9
    and 14).

    Parameters
    ----------
    network : DenseAR or ConvAR
        Its outputs: m, and s if `scaled`.
    scaled : bool

    Raises
    ------
    ValueError
        For another number of outputs.
    """

    def __init__(self, network, scaled):
        super().__init__()
        if network.num_outputs != 1 + scaled:
            raise ValueError(
                f"this flow's network gives {1 + scaled} outputs, not {network.num_outputs}"
            )
        self.scaled = scaled
        with self.init_scope():
            self.network = network

    def forward(self, z, context=None):
        """z', shape (M, …, C), and log |det dz'/dz| in parts, (M, C)."""
        outputs = self.network(z, context)
        if self.scaled:
            return gate(z, *outputs, SIZE, BIAS)
        log_det = self.xp.zeros((len(z), z.shape[-1]), np.float64)
        return z + SIZE * outputs[0], chainer.as_variable(log_det)

    def inverse(self, z, context=None):
        """The array whose `forward` is z: one pass through the network for each element."""
        z = chainer.as_variable(z).array
        given, found = z.reshape(len(z), -1), self.xp.zeros((len(z), z[0].size), z.dtype)
        with chainer.no_backprop_mode():
            for i in self._order(z[0].size):
                outputs = self.network(found.reshape(z.shape), context)
                m, *s = (SIZE * each.array.reshape(given.shape)[:, i] for each in outputs)
                found[:, i] = self._undone(given[:, i], m, *s)
        return found.reshape(z.shape)

    def _order(self, size):
        return range(size)[::-1] if self.network.reverse else range(size)

    def _undone(self, z, m, s=None):
        if s is None:
            return z - m
        _, opened, shut = open_and_shut(s + BIAS)
        return (z - shut * m) / opened


class Stack(chainer.ChainList):
    """One flow after the other, all with the same context."""

    def forward(self, z, context=None):
        total = 0
        for flow in self:
            z, log_det = flow(z, context)
            total += log_det
        return z, total

    def inverse(self, z, context=None):
        for flow in reversed(list(self)):
            z = flow.inverse(z, context)
        return z
