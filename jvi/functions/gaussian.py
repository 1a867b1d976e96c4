"""Log-density of a diagonal Gaussian, summed over its dimensions."""

import math

import chainer.functions as F

__all__ = ["gaussian_log_density"]


def gaussian_log_density(z, mean=None, ln_var=None):
    """log N(z; mean, exp(ln_var)), summed over the last axis; standard normal by default.

    Parameters
    ----------
    z : Variable, shape (K, N, D)
    mean, ln_var : Variable, shape (N, D), optional

    Returns
    -------
    Variable, shape (K, N), in nats
    """
    constant = 0.5 * z.shape[-1] * math.log(2 * math.pi)
    if mean is None:
        return -0.5 * F.sum(z * z, axis=-1) - constant
    standard = (z - F.broadcast_to(mean, z.shape)) * F.broadcast_to(F.exp(-0.5 * ln_var), z.shape)
    log_scale = F.broadcast_to(0.5 * F.sum(ln_var, axis=-1), z.shape[:2])
    return -0.5 * F.sum(standard * standard, axis=-1) - log_scale - constant
