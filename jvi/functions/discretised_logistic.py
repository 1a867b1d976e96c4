"""Probabilities of bytes under logistic distributions that are cut into 256 bins."""

import chainer
import numpy as np

__all__ = ["LEVELS", "discretised_logistic_log_density", "discretised_logistic_sample"]

LEVELS = 256


def discretised_logistic_log_density(x, mean, ln_scale):
    """Sum over D of log[F(x + 1/256) - F(x)], F the logistic's distribution function.

    The first and the last bin have the tails, so that the 256 probabilities add up to 1. (The code
    of Kingma et al. (2016) leaves the tails out and adds 1e-7 instead.)

    Parameters
    ----------
    x : array, shape (N, D)
        Bytes divided by 256. No gradient flows to it.
    mean : Variable, shape (K, N, D)
    ln_scale : Variable, shape ()

    Returns
    -------
    Variable, shape (K, N), in nats, float64: they are thousands

    Source: Kingma et al. (2016), section 5.2 and appendix C.
    """
    return _LogDensity(x)(mean, ln_scale)


def discretised_logistic_sample(mean, ln_scale, uniform):
    """Bytes divided by 256, drawn with uniform numbers in [0, 1) of the shape of `mean`, arrays."""
    xp = chainer.backend.get_array_module(mean)
    uniform = xp.clip(uniform, 1e-12, 1 - 1e-12)
    value = mean + xp.exp(ln_scale) * (xp.log(uniform) - xp.log1p(-uniform))
    whole = xp.clip(xp.floor(value * LEVELS), 0, LEVELS - 1)
    return (whole / LEVELS).astype(mean.dtype)


class _LogDensity(chainer.Function):
    """With a and b the standardised ends of a bin: log(1 - e^(a-b)) - softplus(a) - softplus(-b).

    That is exact however narrow the bin is. Of the first bin only the last term is there, of the
    last bin only the second.
    """

    def __init__(self, x):
        self.x = x

    def _ends(self, mean, ln_scale):
        """(a, b, 0 where the bin has no lower and no upper end)."""
        xp = chainer.backend.get_array_module(mean)
        per_scale = xp.exp(-ln_scale)
        a = (self.x - mean) * per_scale
        has_low = (self.x > 0).astype(mean.dtype)
        has_high = (self.x < (LEVELS - 1) / LEVELS).astype(mean.dtype)
        return a, a + per_scale / LEVELS, has_low, has_high

    def forward(self, inputs):
        mean, ln_scale = inputs
        xp = chainer.backend.get_array_module(mean)
        a, b, has_low, has_high = self._ends(mean, ln_scale)
        width = xp.log(-xp.expm1(-xp.exp(-ln_scale) / LEVELS))
        total = has_low * has_high * width - has_low * _softplus(a) - has_high * _softplus(-b)
        return (total.sum(axis=-1, dtype=np.float64),)

    def backward(self, inputs, grad_outputs):
        (mean, ln_scale), (g,) = inputs, grad_outputs
        xp = chainer.backend.get_array_module(mean)
        a, b, has_low, has_high = self._ends(mean, ln_scale)
        low, high = has_low * _sigmoid(a), has_high * _sigmoid(-b)
        per_scale, g = xp.exp(-ln_scale), g[:, :, None].astype(mean.dtype)
        width = per_scale / LEVELS
        by_scale = a * low - b * high - has_low * has_high * (width / xp.expm1(width))
        for_scale = xp.asarray((g * by_scale).sum(), ln_scale.dtype)
        return g * (low - high) * per_scale, for_scale


def _softplus(v):
    xp = chainer.backend.get_array_module(v)
    return xp.maximum(v, 0) + xp.log1p(xp.exp(-abs(v)))


def _sigmoid(v):
    return 0.5 * (1 + chainer.backend.get_array_module(v).tanh(0.5 * v))
