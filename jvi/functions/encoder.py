"""The original's encoder, as one function: two CReLU layers and two linear heads."""

import chainer
from chainer import backend

from jvi.functions.kernels import kernels_for

__all__ = ["crelu_encoder"]


def crelu_encoder(x, *parameters):
    """Mean and log-variance of q(z|x).

    Parameters
    ----------
    x : array, shape (N, pixels)
        Images; no gradient flows to them.
    *parameters : Variable
        W and b of the two layers and of the heads for mean and log-variance: (h, pixels), (h,),
        (h, 2h), (h,), (D, 2h), (D,), (D, 2h), (D,).

    Returns
    -------
    tuple of Variable, shape (N, D)
    """
    return _Encoder(x).apply(parameters)


class _Encoder(chainer.FunctionNode):
    """Its gradients cannot be differentiated again, which nothing here needs."""

    def __init__(self, x):
        self.x = x

    def forward(self, inputs):
        w0, b0, w1, b1, w_mean, b_mean, w_ln_var, b_ln_var = inputs
        kernels = kernels_for(w0)
        c0 = kernels.crelu(self.x @ w0.T, b0)
        c1 = kernels.crelu(c0 @ w1.T, b1)
        if chainer.config.enable_backprop:
            self.retain_inputs((2, 4, 6))
            self.kept = c0, c1
        return c1 @ w_mean.T + b_mean, c1 @ w_ln_var.T + b_ln_var

    def backward(self, indexes, grad_outputs):
        w1, w_mean, w_ln_var = (variable.array for variable in self.get_retained_inputs())
        c0, c1 = self.kept
        kernels, xp = kernels_for(w1), backend.get_array_module(w1)
        zeros = xp.zeros((len(c1), len(w_mean)), c1.dtype)  # for an output that nothing used
        parts = [zeros if part is None else part.array for part in grad_outputs]
        g = xp.concatenate(parts, axis=1)
        heads = xp.concatenate([w_mean, w_ln_var])
        d1 = kernels.crelu_backward(g @ heads, c1, None)
        d0 = kernels.crelu_backward(d1 @ w1, c0, None)
        g_heads, g_biases, half = g.T @ c1, g.sum(axis=0), len(w_mean)
        gradients = [
            *(d0.T @ self.x, d0.sum(axis=0), d1.T @ c0, d1.sum(axis=0)),
            *(g_heads[:half], g_biases[:half], g_heads[half:], g_biases[half:]),
        ]
        return [chainer.as_variable(gradients[index]) for index in indexes]
