"""Draws from and log-densities of independent binary variables, given by their logits."""

import chainer
import numpy as np

from jvi.functions.kernels import kernels_for

__all__ = ["bernoulli_log_density", "bernoulli_sample"]


def bernoulli_sample(logits, uniform):
    """Binary float32 draws: 1 where a uniform number is below sigmoid(logit).

    Parameters
    ----------
    logits : array, shape (…, D)
    uniform : array, shape (K, …, D)

    Returns
    -------
    array, shape (K, …, D)
    """
    xp = chainer.backend.get_array_module(logits)
    # sigmoid(a) > u exactly where a > log(u / (1 - u)): no overflow at either end
    with np.errstate(divide="ignore"):
        return (logits > xp.log(uniform) - xp.log1p(-uniform)).astype(logits.dtype)


def bernoulli_log_density(x, logits):
    """Sum over D of x h - log(1 + e^h); overwrites `logits`, with its derivative x - sigmoid(h).

    Parameters
    ----------
    x : array, shape (N, D) or (K, N, D)
        No gradient flows to it.
    logits : Variable, shape (K, N, D)
        The output of a layer that nothing else uses.

    Returns
    -------
    Variable, shape (K, N), in nats
    """
    shape = logits.shape
    if x.ndim == 3:  # every row has an x of its own
        x, logits = x.reshape(-1, shape[-1]), chainer.functions.reshape(logits, (1, -1, shape[-1]))
    return chainer.functions.reshape(_LogDensity(x).apply((logits,))[0], shape[:2])


class _LogDensity(chainer.FunctionNode):
    """Its gradients cannot be differentiated again, which nothing here needs."""

    def __init__(self, x):
        self.x = x

    def forward(self, inputs):
        (self.residual,) = inputs
        kernels, xp = kernels_for(self.residual), chainer.backend.get_array_module(self.residual)
        none = xp.zeros(self.residual.shape[-1], self.residual.dtype)
        training = chainer.config.enable_backprop
        return (kernels.bernoulli(self.x, self.residual, none, residual=training),)

    def backward(self, indexes, grad_outputs):
        return (chainer.as_variable(grad_outputs[0].array[:, :, None] * self.residual),)
