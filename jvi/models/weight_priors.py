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

from jvi.functions.kernels import weight_kernels_for

__all__ = ["WeightPrior", "mixture_prior", "normal_prior"]

SCALES = 1e-6, 1e6  # of standard deviations, whose squares float32 has


class WeightPrior(NamedTuple):
    """A prior of weights.

    Attributes
    ----------
    log_density : callable
        Of z, shape (K, N, P), an array or Variable: a Variable (K, N), float64.
    evaluate : callable
        Of an array z and whether a derivative is wanted: the same values, an array, and (c, d) with
        c times the array d, like z, for derivative, or None.
    draw : callable
        Of a source of random numbers and (K, N, P): an array of that shape.
    kl : callable or None
        Of Variables mean and ln_sigma, (N, P): the divergence of N(mean, exp(2 ln_sigma)) from it
        in closed form, a Variable (N,), float64; None where there is none.
    """

    log_density: Callable[[Any], Any]
    evaluate: Callable[[Any, bool], tuple[Any, Any]]
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
    return _prior(
        lambda z, slope: _evaluate_normal(z, slope, scale),
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
    scales, logs = (sigma1, sigma2), (math.log(pi), math.log1p(-pi))
    logs = logs[0] - math.log(sigma1), logs[1] - math.log(sigma2)
    return _prior(
        lambda z, slope: _evaluate_mixture(z, slope, logs, scales),
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


def _prior(evaluate, draw, kl):
    return WeightPrior(lambda z: _LogDensity(evaluate).apply((z,))[0], evaluate, draw, kl)


def _evaluate_normal(z, slope, scale):
    squares = weight_kernels_for(z).sum_of_squares(z)
    normaliser = z.shape[-1] * (math.log(scale) + 0.5 * math.log(2 * math.pi))
    return -0.5 / scale**2 * squares - normaliser, (-1 / scale**2, z) if slope else None


def _evaluate_mixture(z, slope, logs, scales):
    values, by_z = weight_kernels_for(z).mixture(z, logs, scales, slope)
    return values - 0.5 * z.shape[-1] * math.log(2 * math.pi), (1.0, by_z) if slope else None


class _LogDensity(chainer.FunctionNode):
    def __init__(self, evaluate):
        self.evaluate = evaluate

    def forward(self, inputs):
        values, self.slope = self.evaluate(inputs[0], chainer.config.enable_backprop)
        return (values,)

    def backward(self, indexes, grad_outputs):
        c, d = self.slope
        factor = (c * grad_outputs[0].array).astype(d.dtype)
        return (chainer.as_variable(factor[:, :, None] * d),)


class _Divergence(chainer.FunctionNode):
    """Σ log(s / sigma) + (sigma² + mean²) / (2 s²) - ½."""

    def __init__(self, scale):
        self.scale = scale

    def forward(self, inputs):
        mean, ln_sigma = inputs
        self.retain_inputs((0,))
        self.variance = get_array_module(mean).exp(2 * ln_sigma)
        constant = mean.shape[-1] * (math.log(self.scale) - 0.5)
        squares = _sum(self.variance) + weight_kernels_for(mean).sum_of_squares(mean)
        return (constant - _sum(ln_sigma) + squares / (2 * self.scale**2),)

    def backward(self, indexes, grad_outputs):
        mean = self.get_retained_inputs()[0].array
        g = grad_outputs[0].array.astype(mean.dtype)[:, None]
        factor = g / self.scale**2
        gradients = factor * mean, factor * self.variance - g
        return [chainer.as_variable(gradients[index]) for index in indexes]


def _sum(values):
    return values.sum(axis=-1, dtype=np.float64)
