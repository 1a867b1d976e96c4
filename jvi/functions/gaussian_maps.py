"""Draws from and log-densities of diagonal Gaussians over feature maps, map by map.

M is the number of samples over all data points; arrays are (M, …, C), maps last, and sums go over
the axes between, in float64.
"""

import math

import chainer
import numpy as np

__all__ = [
    "each_map",
    "gaussian_maps_log_density",
    "gaussian_maps_sample",
    "of_maps",
    "standard_normal_maps",
]

HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


def gaussian_maps_sample(mean, ln_sd, eps):
    """z = mean + exp(ln_sd) eps, and log N(z; mean, exp(ln_sd)) of each map along the draw.

    Parameters
    ----------
    mean, ln_sd : Variable, shape (M, …, C)
    eps : array of the same shape
        Standard normal noise.

    Returns
    -------
    Variable, shape (M, …, C); Variable, shape (M, C), in nats
    """
    return _Sample(eps)(mean, ln_sd)


def gaussian_maps_log_density(z, mean, ln_sd):
    """log N(z; mean, exp(ln_sd)) of each map: Variable (M, C) for Variables (M, …, C)."""
    return _LogDensity()(z, mean, ln_sd)


def standard_normal_maps(z):
    """log N(z; 0, 1) of each map: Variable (M, C) for a Variable (M, …, C)."""
    return _Standard()(z)


class _Sample(chainer.Function):
    def __init__(self, eps):
        self.eps = eps

    def forward(self, inputs):
        mean, ln_sd = inputs
        xp = chainer.backend.get_array_module(mean)
        z = xp.exp(ln_sd) * self.eps
        z += mean
        return z, -of_maps(0.5 * self.eps**2 + ln_sd) - _constant(z)

    def backward(self, inputs, grad_outputs):
        (_, ln_sd), (of_z, of_density) = inputs, grad_outputs
        xp = chainer.backend.get_array_module(ln_sd)
        for_ln_sd = 0 if of_density is None else -each_map(of_density, ln_sd)
        if of_z is None:
            return None, xp.broadcast_to(for_ln_sd, ln_sd.shape)
        return of_z, of_z * xp.exp(ln_sd) * self.eps + for_ln_sd


class _LogDensity(chainer.Function):
    def forward(self, inputs):
        z, mean, ln_sd = inputs
        xp = chainer.backend.get_array_module(z)
        standard = (z - mean) * xp.exp(-ln_sd)
        return (-of_maps(0.5 * standard * standard + ln_sd) - _constant(z),)

    def backward(self, inputs, grad_outputs):
        (z, mean, ln_sd), (g,) = inputs, grad_outputs
        inverse = chainer.backend.get_array_module(z).exp(-ln_sd)
        standard, g = (z - mean) * inverse, each_map(g, z)
        for_mean = g * standard * inverse
        return -for_mean, for_mean, g * (standard * standard - 1)


class _Standard(chainer.Function):
    def forward(self, inputs):
        return (-of_maps(0.5 * inputs[0] ** 2) - _constant(inputs[0]),)

    def backward(self, inputs, grad_outputs):
        return (-each_map(grad_outputs[0], inputs[0]) * inputs[0],)


def of_maps(values):
    """Sums of an array (M, …, C) over the axes between: (M, C), float64."""
    return values.sum(axis=tuple(range(1, values.ndim - 1)), dtype=np.float64)


def each_map(g, like):
    """A gradient (M, C) beside arrays (M, …, C), in their precision."""
    shape = (len(g), *[1] * (like.ndim - 2), g.shape[-1])
    return g.reshape(shape).astype(like.dtype)


def _constant(z):
    return HALF_LOG_2PI * math.prod(z.shape[1:-1])
