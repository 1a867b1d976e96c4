"""Diagonal Gaussians whose standard deviations are log(1 + e^rho) (Blundell et al. 2015, 3.2).

Sums are float64 whatever the precision of z: over a million weights float32 would leave a tenth of
a nat. Nothing over- or underflows, however far rho is from zero.
"""

import math

import chainer
import numpy as np
from chainer.backend import get_array_module

from jvi.functions.kernels import weight_kernels_for

__all__ = [
    "draw",
    "inverse_softplus",
    "log_density",
    "log_scale",
    "log_softplus",
    "sigmoid",
    "softplus",
]


def softplus(rho):
    """log(1 + e^rho) of an array."""
    xp = get_array_module(rho)
    return xp.maximum(rho, 0) + xp.log1p(xp.exp(-abs(rho)))


def inverse_softplus(sigma):
    """rho with log(1 + e^rho) = sigma, for an array of positive numbers."""
    xp = get_array_module(sigma)
    return sigma + xp.log(-xp.expm1(-sigma))


def sigmoid(rho):
    """The derivative of `softplus`."""
    return get_array_module(rho).exp(-softplus(-rho))


def log_softplus(rho):
    """log log(1 + e^rho), which is rho far below zero, and its derivative: arrays like rho."""
    return weight_kernels_for(rho).log_softplus(rho)


def log_scale(rho):
    """`log_softplus` of a Variable, the logarithm of the standard deviation: Variable."""
    return _LogScale().apply((rho,))[0]


def draw(mean, ln_sigma, eps):
    """z = mean + exp(ln_sigma) eps and log q(z), with their derivatives along the draw.

    Along it q depends on the standard deviations alone: -½ Σ eps² - Σ ln_sigma - ½ D log 2π.

    Parameters
    ----------
    mean, ln_sigma : Variable, shape (N, D)
    eps : array, shape (K, N, D)
        Standard normal noise.

    Returns
    -------
    z : Variable, shape (K, N, D)
    log_q : Variable, shape (K, N), float64, in nats
    """
    return _Draw(eps).apply((mean, ln_sigma))


def log_density(z, mean, ln_sigma):
    """log N(z; mean, exp(2 ln_sigma)) summed over dimensions.

    Parameters
    ----------
    z : array or Variable, shape (K, N, D)
    mean, ln_sigma : Variable, shape (N, D)

    Returns
    -------
    Variable, shape (K, N), float64, in nats
    """
    return _LogDensity().apply((z, mean, ln_sigma))[0]


class _LogScale(chainer.FunctionNode):
    def forward(self, inputs):
        values, self.slope = log_softplus(*inputs)
        return (values,)

    def backward(self, indexes, grad_outputs):
        return (chainer.as_variable(grad_outputs[0].array * self.slope),)


class _Draw(chainer.FunctionNode):
    def __init__(self, eps):
        self.eps = eps

    def forward(self, inputs):
        mean, ln_sigma = inputs
        kernel = weight_kernels_for(mean).normal_draw
        z, self.sigma, log_q = kernel(mean, ln_sigma, self.eps)
        return z, log_q - _normaliser(z)

    def backward(self, indexes, grad_outputs):
        g, g_log_q = (None if each is None else each.array for each in grad_outputs)
        xp = get_array_module(self.sigma)
        total = xp.zeros(len(self.sigma)) if g_log_q is None else g_log_q.sum(axis=0)
        if g is None:  # a score alone
            constant = xp.broadcast_to(-total[:, None], self.sigma.shape)
            return _picked((None, constant.astype(self.sigma.dtype)), indexes)
        kernel = weight_kernels_for(self.sigma).normal_draw_backward
        return _picked(kernel(g, self.sigma, self.eps, total), indexes)


class _LogDensity(chainer.FunctionNode):
    def forward(self, inputs):
        z, mean, ln_sigma = inputs
        self.inverse = get_array_module(z).exp(-ln_sigma)
        self.standard = (z - mean) * self.inverse
        squares = weight_kernels_for(z).sum_of_squares(self.standard)
        return (-0.5 * squares - _sum(ln_sigma) - _normaliser(z),)

    def backward(self, indexes, grad_outputs):
        g = grad_outputs[0].array.astype(self.standard.dtype)
        weighted = g[:, :, None] * self.standard
        squares = get_array_module(g).einsum("knd,knd->nd", weighted, self.standard)
        for_z = -weighted * self.inverse
        return _picked((for_z, -for_z.sum(axis=0), squares - g.sum(axis=0)[:, None]), indexes)


def _sum(values):
    """Over the last axis, float64."""
    return values.sum(axis=-1, dtype=np.float64)


def _normaliser(z):
    return 0.5 * z.shape[-1] * math.log(2 * math.pi)


def _picked(gradients, indexes):
    picked = (gradients[index] for index in indexes)
    return [None if each is None else chainer.as_variable(each) for each in picked]
