"""Priors of a network's weights, independent and alike: normal, or a scale mixture of two normals.

Blundell et al. (2015), section 3.3. Everything is computed from logarithms, so that the mixture is
exact where either density underflows; sums are float64.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import chainer
import numpy as np
from chainer.backend import get_array_module

__all__ = ["WeightPrior", "mixture_prior", "normal_prior"]

SCALES = 1e-6, 1e6  # of standard deviations, whose squares float32 has


class WeightPrior(NamedTuple):
    """A prior of weights.

    Attributes
    ----------
    log_density : callable
        Of z, shape (K, N, P), an array or Variable: a Variable (K, N), float64.
    draw : callable
        Of a source of random numbers and (K, N, P): an array of that shape.
    kl : callable or None
        Of Variables mean and ln_sigma, (N, P): the divergence of N(mean, exp(2 ln_sigma)) from it
        in closed form, a Variable (N,), float64; None where there is none.
    """

    log_density: Callable[[Any], Any]
    draw: Callable[[Any, tuple], Any]
    kl: Callable[[Any, Any], Any] | None


def normal_prior(scale: float) -> WeightPrior:
    """N(0, scale²).

    Raises
    ------
    ValueError
        For a scale outside `SCALES`.
    """
    _check_scale("prior-scale", scale)
    return WeightPrior(
        lambda z: _Normal(scale).apply((z,))[0],
        lambda source, shape: scale * source.normal(shape),
        lambda mean, ln_sigma: _Divergence(scale).apply((mean, ln_sigma))[0],
    )


def mixture_prior(pi: float, sigma1: float, sigma2: float) -> WeightPrior:
    """pi N(0, sigma1²) + (1 - pi) N(0, sigma2²).

    Raises
    ------
    ValueError
        For a share that is not between 0 and 1, or a scale outside `SCALES`.
    """
    if not 0 < pi < 1:
        raise ValueError(f"pi must be between 0 and 1, both excluded, not {pi:g}")
    _check_scale("sigma1", sigma1)
    _check_scale("sigma2", sigma2)
    return WeightPrior(
        lambda z: _Mixture(pi, sigma1, sigma2).apply((z,))[0],
        lambda source, shape: _draw_mixture(source, shape, pi, sigma1, sigma2),
        None,
    )


def _check_scale(name, scale):
    if not SCALES[0] <= scale <= SCALES[1]:
        raise ValueError(f"{name} must be from {SCALES[0]:g} to {SCALES[1]:g}, not {scale:g}")


def _draw_mixture(source, shape, pi, sigma1, sigma2):
    z = source.normal(shape)
    first = source.uniform(shape) < pi
    return z * get_array_module(z).where(first, sigma1, sigma2).astype(z.dtype)


class _Normal(chainer.FunctionNode):
    def __init__(self, scale):
        self.scale = scale

    def forward(self, inputs):
        (z,) = inputs
        self.retain_inputs((0,))
        squares = _sum(z * z)
        normaliser = z.shape[-1] * (math.log(self.scale) + 0.5 * math.log(2 * math.pi))
        return (-0.5 / self.scale**2 * squares - normaliser,)

    def backward(self, indexes, grad_outputs):
        z, g = self.get_retained_inputs()[0].array, grad_outputs[0].array
        factor = (-g / self.scale**2).astype(z.dtype)
        return (chainer.as_variable(factor[:, :, None] * z),)


class _Mixture(chainer.FunctionNode):
    """log(e^a + e^b) = max(a, b) + log(1 + e^-|a - b|), a and b the two parts' log-densities.

    The derivative is -z (r_1 / sigma1² + r_2 / sigma2²), r the parts' shares of the density. Each
    is computed to its own precision: 1 - r_1 is not r_2 where r_2 / sigma2² still counts.
    """

    def __init__(self, pi, sigma1, sigma2):
        self.scales = sigma1, sigma2
        self.logs = math.log(pi) - math.log(sigma1), math.log1p(-pi) - math.log(sigma2)

    def forward(self, inputs):
        (z,) = inputs
        self.retain_inputs((0,))
        xp, (a, b) = get_array_module(z), self._parts(z)
        values = xp.maximum(a, b) + xp.log1p(xp.exp(-abs(a - b)))
        normaliser = 0.5 * z.shape[-1] * math.log(2 * math.pi)
        return (_sum(values) - normaliser,)

    def backward(self, indexes, grad_outputs):
        z, g = self.get_retained_inputs()[0].array, grad_outputs[0].array
        xp, (a, b) = get_array_module(z), self._parts(z)
        smaller = xp.exp(-abs(a - b))
        first = xp.where(a > b, 1, smaller) / self.scales[0] ** 2
        second = xp.where(a > b, smaller, 1) / self.scales[1] ** 2
        slope = -z * (first + second) / (1 + smaller)
        return (chainer.as_variable(g.astype(z.dtype)[:, :, None] * slope.astype(z.dtype)),)

    def _parts(self, z):
        squares = z * z
        return [
            log - 0.5 / scale**2 * squares
            for log, scale in zip(self.logs, self.scales, strict=True)
        ]


class _Divergence(chainer.FunctionNode):
    """Σ log(s / sigma) + (sigma² + mean²) / (2 s²) - ½."""

    def __init__(self, scale):
        self.scale = scale

    def forward(self, inputs):
        mean, ln_sigma = inputs
        self.retain_inputs((0,))
        self.variance = get_array_module(mean).exp(2 * ln_sigma)
        constant = mean.shape[-1] * (math.log(self.scale) - 0.5)
        squares = _sum(self.variance) + _sum(mean * mean)
        return (constant - _sum(ln_sigma) + squares / (2 * self.scale**2),)

    def backward(self, indexes, grad_outputs):
        mean = self.get_retained_inputs()[0].array
        g = grad_outputs[0].array.astype(mean.dtype)[:, None]
        factor = g / self.scale**2
        gradients = factor * mean, factor * self.variance - g
        return [chainer.as_variable(gradients[index]) for index in indexes]


def _sum(values):
    return values.sum(axis=-1, dtype=np.float64)
