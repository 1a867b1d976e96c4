"""The step of a flow: a gate between a draw and a new mean (Kingma et al. 2016, equation 14)."""

import chainer
from chainer.backend import get_array_module

from jvi.functions.gaussian_maps import each_map, of_maps

__all__ = ["gate", "open_and_shut"]


def gate(z, m, s, size=1.0, bias=0.0):
    """z' = σ z + (1 - σ) size m, σ = sigmoid(size s + bias), and Σ log σ of each map, stably.

    Parameters
    ----------
    z, m, s : Variable or array, shape (M, …, C)
    size, bias : float

    Returns
    -------
    z' : Variable, shape (M, …, C)
    log_det : Variable, shape (M, C), float64, in nats
        Its sum over C is log |det dz'/dz| where m and s depend on earlier elements of z alone.
    """
    return _Gate(size, bias).apply((z, m, s))


def open_and_shut(a):
    """log sigmoid(a), sigmoid(a) and 1 - sigmoid(a) of an array, each to full precision."""
    xp = get_array_module(a)
    log_sigma = xp.minimum(a, 0) - xp.log1p(xp.exp(-abs(a)))
    return log_sigma, xp.exp(log_sigma), xp.exp(log_sigma - a)


class _Gate(chainer.FunctionNode):
    """Its gradients cannot be differentiated again, which nothing here needs."""

    def __init__(self, size, bias):
        self.size, self.bias = size, bias

    def forward(self, inputs):
        z, m, s = inputs
        log_sigma, self.open, self.shut = open_and_shut(self.size * s + self.bias)
        self.away = z - self.size * m
        return z - self.shut * self.away, of_maps(log_sigma)

    def backward(self, indexes, grad_outputs):
        g, g_log_det = (0 if each is None else each.array for each in grad_outputs)
        if grad_outputs[1] is not None:
            g_log_det = each_map(g_log_det, self.away)
        for_z, shut = g * self.open, self.size * self.shut
        gradients = for_z, g * shut, (for_z * self.away + g_log_det) * shut
        return [chainer.as_variable(gradients[i]) for i in indexes]
