"""Gradient estimators: three weights per sample, computed from log-weights alone.

For one data point the ascent direction of every estimator here is

    sum over k of   model_k * d/dtheta [log p(x|z_k) + log p(z_k)]      at fixed z_k
                  + path_k  * d/dz [log w_k] * d/dphi z_k               through the sample
                  + score_k * d/dphi log q(z_k|x)                       at fixed z_k

with the weights held constant. An estimator is a function from `log_w`, shape (K, N), to these
weights; `ESTIMATORS` names them.
"""

from typing import Any, NamedTuple

from jvi.backend import float64, float64_context, namespace
from jvi.bounds import normalised_weights
from jvi.jackknife import jackknife_weights

__all__ = ["ESTIMATORS", "Weights"]


class Weights(NamedTuple):
    """Gradient weights of each sample, arrays of shape (K, N), float64.

    `score` None stands for -path: log q(z|x) then enters by its total derivative. An estimator
    whose `path` is the very array `model` and whose `score` is None is the gradient of one scalar.
    """

    model: Any
    path: Any
    score: Any = None


def elbo(log_w, order=None):
    """The plain evidence lower bound: all samples alike."""
    with float64_context(log_w):
        xp, log_w = namespace(log_w), float64(log_w)
        return _joint(xp.full_like(log_w, 1.0 / log_w.shape[0]))


def iwae(log_w, order=None):
    """Normalised importance weights (Burda et al. 2016, equation 14)."""
    return _joint(normalised_weights(log_w))


def jvi(log_w, order=1):
    """The derivative of JVI with respect to each log-weight, for model and encoder alike.

    This is the gradient of the original code. The estimate it ascends is unbounded in the
    encoder's parameters, so training on it can diverge; see `jvi_clip`.
    """
    return _joint(jackknife_weights(log_w, order))


def jvi_iwae(log_w, order=1):
    """JVI for the model, IWAE for the encoder."""
    return Weights(jackknife_weights(log_w, order), normalised_weights(log_w))


def jvi_elbo(log_w, order=1):
    """JVI for the model, ELBO for the encoder: the original's "jvi+elbo"."""
    return Weights(jackknife_weights(log_w, order), elbo(log_w).path)


def dreg(log_w, order=None):
    """IWAE for the model, doubly reparameterised for the encoder (Tucker et al. 2019, eq. 8)."""
    return _dreg(normalised_weights(log_w), log_w)


def jvi_dreg(log_w, order=1):
    """JVI for the model, the doubly reparameterised gradient of IWAE for the encoder."""
    return _dreg(jackknife_weights(log_w, order), log_w)


def jvi_clip(log_w, order=1):
    """JVI's weights without their negative ones for the model, `dreg` for the encoder.

    The default for training on JVI: as stable as IWAE, and better (docs/training.md). A negative
    weight makes the model forget a sample, which early in training, when one weight dominates, is
    noise of the jackknife.
    """
    weights = jackknife_weights(log_w, order)
    xp = namespace(weights)
    weights = xp.clip(weights, min=0.0)
    return _dreg(weights / xp.sum(weights, axis=0), log_w)


def _dreg(model, log_w):
    path = normalised_weights(log_w) ** 2
    return Weights(model, path, namespace(path).zeros_like(path))


def _joint(weights):
    return Weights(weights, weights)


ESTIMATORS = {
    "elbo": elbo,
    "iwae": iwae,
    "jvi": jvi,
    "jvi_iwae": jvi_iwae,
    "jvi_elbo": jvi_elbo,
    "dreg": dreg,
    "jvi_dreg": jvi_dreg,
    "jvi_clip": jvi_clip,
}
