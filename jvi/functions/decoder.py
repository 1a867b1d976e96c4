"""The original's decoder and the log-density of its pixels, as one function.

Each layer but the last is followed by CReLU, concat(max(h, 0), max(-h, 0)), so that with the two
halves P and Q of the next weight matrix

    crelu(h) [P Q]^T = |h| S^T + h T^T,     S = (P + Q)/2,  T = (P - Q)/2.

For the first layer h = z W0^T + b0 is linear in z, which is narrow: its half of the second layer
collapses to z (T W0)^T + T b0, and the layer becomes one product, [|h| z] [S T W0]^T. That saves
12% of the decoder's work at the paper's sizes, exactly. The backward pass takes the derivative of
each row's own log-density through the widest layer; the weights that the samples have in the loss
enter once, on the narrow side of that product.
"""

import chainer
from chainer import backend

from jvi.functions.kernels import kernels_for

__all__ = ["crelu_decoder_log_density"]


def crelu_decoder_log_density(x, z, *parameters):
    """log p(x|z) of independent binary pixels with logits from two CReLU layers.

    Parameters
    ----------
    x : array, shape (N, pixels)
        Images; no gradient flows to them.
    z : Variable or array, shape (K, N, D)
    *parameters : Variable
        W and b of the three layers: (h, D), (h,), (h, 2h), (h,), (pixels, 2h), (pixels,).

    Returns
    -------
    Variable, shape (K, N), in nats
    """
    return _Decoder(x).apply((z, *parameters))[0]


class _Decoder(chainer.FunctionNode):
    """Its gradients cannot be differentiated again, which nothing here needs."""

    def __init__(self, x):
        self.x = x

    def forward(self, inputs):
        z, w0, b0, w1, b1, w2, b2 = inputs
        kernels = kernels_for(z)
        rows = z.reshape(-1, z.shape[-1])
        second, bias, t1 = _second_layer(w0, b0, w1, b1)
        h0 = rows @ w0.T
        beside = kernels.absolute_beside(h0, b0, rows)
        c1 = kernels.crelu(beside @ second.T, bias)
        logits = (c1 @ w2.T).reshape(*z.shape[:2], -1)
        training = chainer.config.enable_backprop
        out = kernels.bernoulli(self.x, logits, b2, residual=training)
        if training:
            self.retain_inputs(range(7))
            self.kept = h0, beside, second, t1, c1, logits
        return (out,)

    def backward(self, indexes, grad_outputs):
        z, w0, b0, _, _, w2, _ = (variable.array for variable in self.get_retained_inputs())
        h0, beside, second, t1, c1, residual = self.kept
        kernels, half = kernels_for(z), len(w0)
        rows, residual = z.reshape(-1, z.shape[-1]), residual.reshape(len(h0), -1)
        g = grad_outputs[0].array.reshape(-1)

        d1 = kernels.crelu_backward(residual @ w2, c1, g)
        d0 = d1 @ second
        kernels.times_sign(d0, h0)
        gz = d0[:, half:] + d0[:, :half] @ w0
        gradients = [gz.reshape(z.shape)]
        if len(indexes) > 1 or 0 not in indexes:
            by_second, gb1 = d1.T @ beside, d1.sum(axis=0)
            gs1, by_z = by_second[:, :half], by_second[:, half:]
            gt1 = by_z @ w0.T + gb1[:, None] * b0
            gw1 = 0.5 * backend.get_array_module(z).concatenate([gs1 + gt1, gs1 - gt1], axis=1)
            gw0 = d0[:, :half].T @ rows + t1.T @ by_z
            gb0 = d0[:, :half].sum(axis=0) + t1.T @ gb1
            gw2, gb2 = residual.T @ (g[:, None] * c1), g @ residual
            gradients += [gw0, gb0, gw1, gb1, gw2, gb2]
        return [chainer.as_variable(gradients[index]) for index in indexes]


def _second_layer(w0, b0, w1, b1):
    """Weights [S T W0], (h, h + D), bias T b0 + b1, and T, for input [|h0| z]."""
    xp = backend.get_array_module(w0)
    half, width = w0.shape
    p, q = w1[:, :half], w1[:, half:]
    weights = xp.empty((half, half + width), w0.dtype)
    s, rest = weights[:, :half], weights[:, half:]
    xp.add(p, q, out=s)
    s *= 0.5
    t = p - s
    xp.matmul(t, w0, out=rest)
    return weights, t @ b0 + b1, t
