"""Rules whose encoder learns through the samples alone, without the score of log q(z|x).

The score's part of a gradient is either left out (`stl`) or put through the samples, too: for a
bound with weights u the double reparameterisation of Tucker et al. 2019 gives sample i the path
weight u_i - du_i/dlog w_i, which keeps the mean and lowers the variance (docs/estimators.md). Rules
with a `kl` take log-weights in which log p(z) - log q(z|x) has that weight, hence u_i - kl
du_i/dlog w_i, which is (1 - kl) u_i plus kl times the path weight for 1.
"""

from typing import Any

from jvi.evidence.arrays import Array, at_least, namespace
from jvi.evidence.jackknife import jackknife_and_weights
from jvi.evidence.weights import (
    Found,
    Weights,
    check_between_0_and_1,
    check_several,
    iwae_bound,
    log_sum_exp,
    log_without,
    normalised_weights,
    renyi_bound,
)

__all__ = ["dreg", "jvi_clip", "jvi_dreg", "renyi_dreg", "rws_dreg", "stl"]


def stl(log_w: Array, *, kl: Any = 1.0) -> Found:
    """IWAE without the score term: "sticking the landing" (Roeder et al. 2017).

    Its encoder ascends IWAE only for K = 1; otherwise IWAE plus `rws`, which is twice
    `dreg:alpha=0.5`.
    """
    weights = normalised_weights(log_w)
    return iwae_bound(log_w), Weights(weights, weights, None)


def dreg(log_w: Array, *, alpha: float = 0.0, kl: Any = 1.0) -> Found:
    """IWAE for the model, doubly reparameterised for the encoder (Tucker et al. 2019, eq. 8).

    The encoder ascends alpha times the direction of `rws` and 1 - alpha times that of IWAE: path
    weights alpha v (1 - v) + (1 - alpha) v².
    """
    check_between_0_and_1("dreg:alpha", alpha)
    weights = normalised_weights(log_w)
    path = _weighing(kl, weights, weights**2)
    if not (isinstance(alpha, float) and alpha == 0):
        others = namespace(log_w).exp(log_without(log_w))
        path = alpha * weights * others + (1.0 - alpha) * path
    return iwae_bound(log_w), Weights(weights, path, None)


def rws_dreg(log_w: Array) -> Found:
    """`rws`, doubly reparameterised (Tucker et al. 2019): the family of `dreg` at alpha = 1."""
    return dreg(log_w, alpha=1.0)


def renyi_dreg(log_w: Array, *, alpha: float = 0.5, kl: Any = 1.0) -> Found:
    """The Rényi bound, doubly reparameterised: path weights alpha v + (1 - alpha) v²."""
    bound = renyi_bound(log_w, alpha, "renyi-dreg")
    weights = normalised_weights((1.0 - alpha) * log_w)
    path = alpha * weights + (1.0 - alpha) * weights**2
    return bound, Weights(weights, _weighing(kl, weights, path), None)


def jvi_clip(log_w: Array, *, order: int = 1, kl: Any = 1.0) -> Found:
    """JVI's weights without their negative ones for the model, `dreg` for the encoder.

    The default for training on JVI: as stable as IWAE, and better (docs/training.md). A negative
    weight makes the model forget a sample, which early in training, when one weight dominates, is
    noise of the jackknife.
    """
    value, weights = jackknife_and_weights(log_w, order, check_finite=False)
    weights = at_least(weights, 0.0)
    weights = weights / namespace(weights).sum(weights, axis=0)
    of_iwae = normalised_weights(log_w)
    return value, Weights(weights, _weighing(kl, of_iwae, of_iwae**2), None)


def jvi_dreg(log_w: Array, *, kl: Any = 1.0) -> Found:
    """JVI of order 1, doubly reparameterised.

    With S the sum of the weights, path weights K w_i²/S² - (K-1)/K Σ_{l≠i} w_i²/(S - w_l)². They
    have JVI's lack of bias and, of the encoder, next to no signal (docs/estimators.md).
    """
    xp, num_samples = namespace(log_w), check_several(log_w, "jvi-dreg")
    value, weights = jackknife_and_weights(log_w, 1, check_finite=False)
    square = 2.0 * (log_w - log_sum_exp(log_w))  # log w_i²/S²
    inverse = -2.0 * log_without(log_w)  # log S²/(S - w_l)²
    others = log_sum_exp(inverse) + log_without(inverse)
    path = num_samples * xp.exp(square) - (1.0 - 1.0 / num_samples) * xp.exp(square + others)
    return value, Weights(weights, _weighing(kl, weights, path), None)


def _weighing(kl, weights, path):
    """Path weights where log p(z) - log q(z|x) has the weight `kl`, from those for 1."""
    if isinstance(kl, float) and kl == 1:
        return path
    return (1.0 - kl) * weights + kl * path
