"""Bounds on log p(x) from log importance weights, and what the weights themselves say.

Every function takes `log_w`, shape (K, N) unless `axis` says otherwise, of any library that
follows the array API standard (NumPy, CuPy, PyTorch, JAX), and computes in float64. Values are
in nats.
"""

import math

from jvi.backend import float64, float64_context, namespace

__all__ = ["effective_sample_size", "elbo", "iwae", "log_sum_exp", "normalised_weights"]


def elbo(log_w, axis=0):
    """Evidence lower bound: the mean of `log_w` over the sample axis.

    Parameters
    ----------
    log_w : array, shape (K, N)
        Log importance weights log p(x|z) + log p(z) - log q(z|x).
    axis : int
        The sample axis.

    Returns
    -------
    array, shape (N,), float64
    """
    with float64_context(log_w):
        return namespace(log_w).mean(float64(log_w), axis=axis)


def iwae(log_w, axis=0):
    """Importance-weighted bound, log of the mean weight (Burda et al. 2016, equation 8).

    Parameters
    ----------
    log_w : array, shape (K, N)
        Log importance weights.
    axis : int
        The sample axis.

    Returns
    -------
    array, shape (N,), float64
    """
    with float64_context(log_w):
        return log_sum_exp(log_w, axis) - math.log(log_w.shape[axis])


def log_sum_exp(log_w, axis=0):
    """log of the summed weights, shape (N,); -inf where every weight is zero."""
    with float64_context(log_w):
        xp, log_w = namespace(log_w), float64(log_w)
        top = _finite_max(xp, log_w, axis)
        return xp.squeeze(top, axis=axis) + xp.log(xp.sum(xp.exp(log_w - top), axis=axis))


def normalised_weights(log_w, axis=0):
    """The weights divided by their sum, same shape as `log_w`; they sum to 1 over `axis`."""
    with float64_context(log_w):
        xp, log_w = namespace(log_w), float64(log_w)
        weights = xp.exp(log_w - _finite_max(xp, log_w, axis))
        return weights / xp.sum(weights, axis=axis, keepdims=True)


def effective_sample_size(log_w, axis=0):
    """1 / (sum of squared normalised weights), between 1 and K, shape (N,)."""
    with float64_context(log_w):
        xp = namespace(log_w)
        return 1.0 / xp.sum(normalised_weights(log_w, axis) ** 2, axis=axis)


def _finite_max(xp, log_w, axis):
    """The largest log-weight, kept as an axis of length 1; 0 where all are -inf."""
    top = xp.max(log_w, axis=axis, keepdims=True)
    return xp.where(xp.isinf(top) & (top < 0), xp.zeros_like(top), top)
