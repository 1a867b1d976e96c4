"""Rules that ascend the gradient of a bound through the samples, log q(z|x) and all.

Where model and encoder ascend the same bound, all three weights are its derivative by log w.
"""

from jvi.evidence.arrays import Array, namespace
from jvi.evidence.jackknife import jackknife_and_weights
from jvi.evidence.weights import (
    Found,
    check_between_0_and_1,
    elbo_bound,
    in_groups,
    iwae_bound,
    normalised_weights,
    renyi_bound,
    total,
)
from jvi.spec import Learnable

__all__ = [
    "ciwae",
    "elbo",
    "iwae",
    "jvi",
    "jvi_elbo",
    "jvi_iwae",
    "miwae",
    "piwae",
    "renyi",
]


def elbo(log_w: Array) -> Found:
    """The plain evidence lower bound: all samples alike."""
    return elbo_bound(log_w), total(namespace(log_w).full_like(log_w, 1.0 / log_w.shape[0]))


def iwae(log_w: Array) -> Found:
    """Normalised importance weights v (Burda et al. 2016, equation 14)."""
    return iwae_bound(log_w), total(normalised_weights(log_w))


def jvi(log_w: Array, *, order: int = 1) -> Found:
    """The derivative of JVI with respect to each log-weight, for model and encoder alike.

    This is the gradient of the original code. The estimate it ascends is unbounded in the
    encoder's parameters, so training on it can diverge; see `jvi.evidence.pathwise.jvi_clip`.
    """
    value, weights = jackknife_and_weights(log_w, order, check_finite=False)
    return value, total(weights)


def jvi_iwae(log_w: Array, *, order: int = 1) -> Found:
    """JVI for the model, IWAE for the encoder."""
    value, weights = jackknife_and_weights(log_w, order, check_finite=False)
    return value, total(weights, normalised_weights(log_w))


def jvi_elbo(log_w: Array, *, order: int = 1) -> Found:
    """JVI for the model, ELBO for the encoder: the original's "jvi+elbo"."""
    value, weights = jackknife_and_weights(log_w, order, check_finite=False)
    return value, total(weights, elbo(log_w)[1].path)


def miwae(log_w: Array, *, groups: int = 2) -> Found:
    """The mean of the IWAE bounds of equal groups of samples (Rainforth et al. 2018).

    One group is IWAE, groups of one sample are the ELBO.
    """
    bound, weights = in_groups(log_w, groups, "miwae")
    return bound, total(weights)


def piwae(log_w: Array, *, groups: int = 2) -> Found:
    """IWAE of all samples for the model, MIWAE for the encoder (Rainforth et al. 2018)."""
    _, weights = in_groups(log_w, groups, "piwae")
    return iwae_bound(log_w), total(normalised_weights(log_w), weights)


def ciwae(log_w: Array, *, beta: Learnable = 0.5) -> Found:
    """beta ELBO + (1 - beta) IWAE (Rainforth et al. 2018).

    With "learned" training learns it, too (M'Charrak et al. 2021). As IWAE is the larger, that
    drives it to 0.
    """
    if isinstance(beta, str):
        raise ValueError("ciwae:beta=learned needs its value, which training has")
    check_between_0_and_1("ciwae:beta", beta)
    bound = beta * elbo_bound(log_w) + (1.0 - beta) * iwae_bound(log_w)
    return bound, total(beta / log_w.shape[0] + (1.0 - beta) * normalised_weights(log_w))


def renyi(log_w: Array, *, alpha: float = 0.5) -> Found:
    """The Rényi bound log mean(w^(1 - alpha)) / (1 - alpha) (Li & Turner 2016).

    0 is IWAE, and the limit at 1, where it is refused, the ELBO; below 0 it is above IWAE.
    """
    return renyi_bound(log_w, alpha, "renyi"), total(normalised_weights((1.0 - alpha) * log_w))
