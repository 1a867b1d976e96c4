"""Diagonal Gaussians whose standard deviations are log(1 + e^rho) (Blundell et al. 2015, 3.2).

Sums are float64 whatever the precision of z: over a million weights float32 would leave a tenth of
a nat. Nothing over- or underflows, however far rho is from zero.
"""

import math

import chainer
import numpy as np
from chainer.backend import get_array_module

__all__ = [
    "along_draw",
    "inverse_softplus",
    "log_density",
    "log_scale",
    "log_softplus",
    "sample",
    "sigmoid",
    "softplus",
]

LOW = -15.0  # below it log(1 + e^rho) is e^rho (1 - e^rho / 2) to more digits than float64 has
PART = 2**14  # numbers that are worked on at a time, on the CPU: they stay in a cache


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
    if get_array_module(rho) is not np:
        return _log_softplus(rho)
    out = np.empty((2, rho.size), rho.dtype)
    flat = rho.ravel()
    for start in range(0, rho.size, PART):
        out[:, start : start + PART] = _log_softplus(flat[start : start + PART])
    return out.reshape(2, *rho.shape)


def _log_softplus(rho):
    xp = get_array_module(rho)
    small = xp.exp(-abs(rho))
    sigma = xp.log1p(small)
    sigma += xp.maximum(rho, 0)
    sigma = xp.maximum(sigma, math.exp(LOW - 1))  # for what is replaced below
    values, low = xp.log(sigma), rho < LOW
    sigma *= 1 + small
    slope = xp.maximum(small, rho >= 0) / sigma
    half = 0.5 * small
    return xp.where(low, rho - half, values), xp.where(low, 1 - half, slope)


def log_scale(rho):
    """`log_softplus` of a Variable, the logarithm of the standard deviation: Variable."""
    return _LogScale().apply((rho,))[0]


def sample(mean, ln_sigma, eps):
    """z = mean + exp(ln_sigma) eps, a differentiable function of mean and ln_sigma.

    Parameters
    ----------
    mean, ln_sigma : Variable, shape (N, D)
    eps : array, shape (K, N, D)
        Standard normal noise.

    Returns
    -------
    Variable, shape (K, N, D)
    """
    return _Sample(eps).apply((mean, ln_sigma))[0]


def along_draw(ln_sigma, eps):
    """log q(z) of z = `sample(mean, ln_sigma, eps)`, with its derivative along the draw.

    There q depends on the standard deviations alone: -½ Σ eps² - Σ ln_sigma - ½ D log 2π.

    Returns
    -------
    Variable, shape (K, N), float64, in nats
    """
    return _AlongDraw(eps).apply((ln_sigma,))[0]


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


class _Sample(chainer.FunctionNode):
    def __init__(self, eps):
        self.eps = eps

    def forward(self, inputs):
        mean, ln_sigma = inputs
        self.sigma = get_array_module(mean).exp(ln_sigma)
        z = self.sigma * self.eps
        z += mean
        return (z,)

    def backward(self, indexes, grad_outputs):
        g = grad_outputs[0].array
        for_ln_sigma = get_array_module(g).einsum("knd,knd->nd", g, self.eps)
        for_ln_sigma *= self.sigma
        return _picked((g.sum(axis=0) if len(g) > 1 else g[0], for_ln_sigma), indexes)


class _AlongDraw(chainer.FunctionNode):
    def __init__(self, eps):
        self.eps = eps

    def forward(self, inputs):
        (ln_sigma,) = inputs
        self.like = ln_sigma
        return (-0.5 * _sum(self.eps * self.eps) - _sum(ln_sigma) - _normaliser(ln_sigma),)

    def backward(self, indexes, grad_outputs):
        total = -grad_outputs[0].array.sum(axis=0)[:, None].astype(self.like.dtype)
        xp = get_array_module(total)
        return (chainer.as_variable(xp.broadcast_to(total, self.like.shape)),)


class _LogDensity(chainer.FunctionNode):
    def forward(self, inputs):
        z, mean, ln_sigma = inputs
        self.inverse = get_array_module(z).exp(-ln_sigma)
        self.standard = (z - mean) * self.inverse
        squares = _sum(self.standard * self.standard)
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
    return [chainer.as_variable(gradients[index]) for index in indexes]
