"""Draws from and log-densities of diagonal Gaussians."""

import math

import chainer
from chainer import backend

__all__ = ["gaussian_log_density", "gaussian_sample", "standard_normal_log_density"]


def gaussian_sample(mean, ln_var, eps):
    """z = mean + exp(ln_var / 2) eps, a differentiable function of mean and ln_var.

    Parameters
    ----------
    mean, ln_var : Variable, shape (N, D)
    eps : array, shape (K, N, D)
        Standard normal noise.

    Returns
    -------
    Variable, shape (K, N, D)
    """
    return _Sample(eps)(mean, ln_var)


def gaussian_log_density(z, mean, ln_var):
    """log N(z; mean, exp(ln_var)) summed over dimensions.

    Parameters
    ----------
    z : Variable, shape (K, N, D)
    mean, ln_var : Variable, shape (N, D)

    Returns
    -------
    Variable, shape (K, N), in nats
    """
    return _LogDensity()(z, mean, ln_var)


def standard_normal_log_density(z):
    """log N(z; 0, 1) summed over dimensions: shape (K, N) for z of shape (K, N, D)."""
    return _StandardLogDensity()(z)


class _Sample(chainer.Function):
    def __init__(self, eps):
        self.eps = eps

    def forward(self, inputs):
        mean, ln_var = inputs
        xp = backend.get_array_module(mean)
        z = xp.exp(0.5 * ln_var) * self.eps
        z += mean
        return (z,)

    def backward(self, inputs, grad_outputs):
        (mean, ln_var), (g,) = inputs, grad_outputs
        xp = backend.get_array_module(mean)
        return g.sum(axis=0), 0.5 * xp.exp(0.5 * ln_var) * xp.einsum("knd,knd->nd", g, self.eps)


class _LogDensity(chainer.Function):
    def forward(self, inputs):
        z, mean, ln_var = inputs
        xp = backend.get_array_module(z)
        standard = (z - mean) * xp.exp(-0.5 * ln_var)
        squares = xp.einsum("knd,knd->kn", standard, standard)
        return (-0.5 * (squares + ln_var.sum(axis=-1)) - _log_normaliser(z),)

    def backward(self, inputs, grad_outputs):
        (z, mean, ln_var), (g,) = inputs, grad_outputs
        xp = backend.get_array_module(z)
        inverse_scale = xp.exp(-0.5 * ln_var)
        standard = (z - mean) * inverse_scale
        weighted = g[:, :, None] * standard
        for_ln_var = xp.einsum("knd,knd->nd", weighted, standard) - g.sum(axis=0)[:, None]
        for_z = weighted * inverse_scale
        return -for_z, for_z.sum(axis=0), 0.5 * for_ln_var


class _StandardLogDensity(chainer.Function):
    def forward(self, inputs):
        (z,) = inputs
        xp = backend.get_array_module(z)
        return (-0.5 * xp.einsum("knd,knd->kn", z, z) - _log_normaliser(z),)

    def backward(self, inputs, grad_outputs):
        return (-grad_outputs[0][:, :, None] * inputs[0],)


def _log_normaliser(z):
    return 0.5 * z.shape[-1] * math.log(2 * math.pi)
