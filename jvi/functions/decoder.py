"""The original's decoder and the log-density of its pixels, as one function.

Each layer but the last is followed by CReLU, concat(max(h, 0), max(-h, 0)), so that with the two
halves P and Q of the next weight matrix

    crelu(h) [P Q]^T = |h| S^T + h T^T,     S = (P + Q)/2,  T = (P - Q)/2.

For the first layer h = z W0^T + b0 is linear in z, which is narrow: its half of the second layer
collapses to z (T W0)^T + T b0. That saves 12% of the decoder's work at the paper's sizes, exactly.
The backward pass carries the derivative of each row's own log-density; the weights that the
samples have in the loss enter once, on the narrow sides of the products.
"""

import chainer
from chainer import backend

from jvi.functions.bernoulli import bernoulli

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
    return _Decoder(x)(z, *parameters)


class _Decoder(chainer.Function):
    def __init__(self, x):
        self.x = x

    def forward(self, inputs):
        z, w0, b0, w1, b1, w2, b2 = inputs
        xp = backend.get_array_module(z)
        rows = z.reshape(-1, z.shape[-1])
        s1, t1 = _halves(w1)
        h0 = rows @ w0.T
        h0 += b0
        h1 = abs(h0) @ s1.T
        h1 += rows @ (t1 @ w0).T
        h1 += t1 @ b0 + b1
        c1 = _crelu(xp, h1)
        logits = (c1 @ w2.T).reshape(*z.shape[:2], -1)
        training = chainer.config.enable_backprop
        out = bernoulli(self.x, logits, b2, residual=training)
        if training:
            self.retain_inputs(range(7))
            self.kept = h0, h1, c1, logits
        return (out,)

    def backward(self, inputs, grad_outputs):
        z, w0, b0, w1, _, w2, _ = inputs
        h0, h1, c1, residual = self.kept
        xp = backend.get_array_module(z)
        rows = z.reshape(-1, z.shape[-1])
        g = grad_outputs[0].reshape(-1, 1)
        s1, t1 = _halves(w1)

        d2 = residual.reshape(len(rows), -1)
        d1 = _crelu_backward(h1, d2 @ w2)
        gw2, gb2 = d2.T @ (g * c1), (g.T @ d2)[0]

        gd1 = g * d1
        by_z, gb1 = gd1.T @ rows, gd1.sum(axis=0)
        gs1 = gd1.T @ abs(h0)
        gt1 = by_z @ w0.T + gb1[:, None] * b0
        gw1 = xp.concatenate([gs1 + gt1, gs1 - gt1], axis=1) * 0.5

        d0 = d1 @ s1
        d0 *= xp.sign(h0)
        gd0 = g * d0
        gw0 = gd0.T @ rows + t1.T @ by_z
        gb0 = gd0.sum(axis=0) + t1.T @ gb1
        gz = d0 @ w0 + d1 @ (t1 @ w0)
        gz *= g
        return gz.reshape(z.shape), gw0, gb0, gw1.astype(w1.dtype, copy=False), gb1, gw2, gb2


def _halves(weights):
    """S and T of the docstring above, each (h, h), for weights (h, 2h)."""
    half = weights.shape[1] // 2
    p, q = weights[:, :half], weights[:, half:]
    return (p + q) * 0.5, (p - q) * 0.5


def _crelu(xp, h):
    half = h.shape[1]
    out = xp.empty((len(h), 2 * half), h.dtype)
    xp.maximum(h, 0, out=out[:, :half])
    xp.subtract(out[:, :half], h, out=out[:, half:])
    return out


def _crelu_backward(h, g):
    """Derivative by h for the derivative g, (rows, 2h), by crelu(h)."""
    half = h.shape[1]
    # Products with masks: xp.where branches on random signs, which takes ten times as long.
    out = g[:, :half] * (h > 0)
    out -= g[:, half:] * (h < 0)
    return out
