"""Rules whose encoder learns through log q(z|x) alone: the samples may be discrete.

With h_k = d/dphi log q(z_k|x), d_k = IWAE - v_k and a control variate c_k that does not depend on
z_k, the mean of Σ_k (d_k - c_k) h_k is the gradient of IWAE by the encoder's parameters. All but
`tvo` take the normalised weights v for the model.
"""

import math
from itertools import pairwise

from jvi.evidence.arrays import Array, namespace
from jvi.evidence.weights import (
    Found,
    Weights,
    check_between_0_and_1,
    check_several,
    iwae_bound,
    log_sum_exp,
    log_without,
    normalised_weights,
)

__all__ = ["ovis", "ovis_mc", "reinforce", "rws", "tvo", "vimco"]

MEANS = "arithmetic", "geometric"


def reinforce(log_w: Array) -> Found:
    """No control variate: scores d_k = log mean w - v_k.

    Unbiased and of high variance (Mnih & Rezende 2016, equation 5; Liévin et al. 2020).
    """
    bound, weights = iwae_bound(log_w), normalised_weights(log_w)
    return bound, Weights(weights, None, bound - weights)


def vimco(log_w: Array, *, mean: str = "geometric") -> Found:
    """c_k is the bound with w_k replaced by a mean of the others (Mnih & Rezende 2016).

    `mean` is "arithmetic" or, as there, "geometric".
    """
    if mean not in MEANS:
        raise ValueError(f"vimco:mean must be {' or '.join(MEANS)}, not {mean!r}")
    num_samples = check_several(log_w, "vimco")
    weights, without, centred = normalised_weights(log_w), log_without(log_w), _centred(log_w)
    if mean == "arithmetic":
        gain = math.log1p(-1.0 / num_samples) - without
    else:
        every = log_sum_exp(centred)
        gain = every - namespace(log_w).logaddexp(every + without, _means_of_others(centred))
    return iwae_bound(log_w), Weights(weights, None, gain - weights)


def ovis(log_w: Array, *, gamma: float = 1.0) -> Found:
    """The optimal control variate for large K in closed form (Liévin et al. 2020).

    Scores are gamma log(1 - 1/K) - log(1 - v_k) - (1 - gamma) v_k. 0 suits a large effective sample
    size and is unbiased. 1 suits a small one; it adds gamma Σ v_k h_k, the direction of `rws`.
    """
    check_between_0_and_1("ovis:gamma", gamma)
    num_samples = check_several(log_w, "ovis")
    weights = normalised_weights(log_w)
    score = gamma * math.log1p(-1.0 / num_samples) - log_without(log_w) - (1.0 - gamma) * weights
    return iwae_bound(log_w), Weights(weights, None, score)


def ovis_mc(log_w: Array, *, aux: int = 10) -> Found:
    """c_k is d_k on average over auxiliary draws in the place of z_k (Liévin et al. 2020).

    The last `aux` rows of `log_w` are those of the auxiliary draws, of q(z|x) like the samples.
    They count for nothing else: bound and weights are of the K samples, and theirs are zero.
    """
    num_samples = log_w.shape[0] - aux
    if aux < 1 or num_samples < 2:
        raise ValueError(
            f"ovis-mc:aux={aux} needs that many rows of log_w, at least 1, after those of at least "
            f"2 samples, not {log_w.shape[0]} rows in all"
        )
    xp, centred = namespace(log_w), _centred(log_w)
    drawn, log_w = centred[num_samples:, ...], log_w[:num_samples, ...]
    weights, every = normalised_weights(log_w), log_sum_exp(centred[:num_samples, ...])
    replaced = xp.logaddexp((every + log_without(log_w))[:, None, ...], drawn)  # (K, aux, N)
    control = xp.mean(replaced - xp.exp(drawn - replaced), axis=1)
    zeros = xp.zeros_like(drawn)
    score = xp.concat([every - weights - control, zeros])
    return iwae_bound(log_w), Weights(xp.concat([weights, zeros]), None, score)


def rws(log_w: Array) -> Found:
    """Reweighted wake-sleep with two wake phases (Bornschein & Bengio 2015; Le et al. 2019).

    The encoder ascends log q under the posterior, of which v is a self-normalised estimate.
    """
    weights = normalised_weights(log_w)
    return iwae_bound(log_w), Weights(weights, None, weights)


def tvo(log_w: Array, *, partitions: int = 5, log10_beta: float = -1.1) -> Found:
    """The thermodynamic variational objective (Masrani et al. 2019), a left Riemann sum.

    Of E_b[log w] over b from 0 to 1, under q w^b, at `partitions` points: 0 and, evenly spaced in
    the logarithm, from 10^log10_beta on. The gradient of a point is E_b[d log w] and its covariance
    with log w, estimated by weights v ∝ w^b and K/(K-1). One partition is the ELBO.
    """
    xp, num_samples = namespace(log_w), check_several(log_w, "tvo")
    bound, log_w = xp.max(log_w, axis=0), _centred(log_w)
    model = score = 0.0
    for beta, after in pairwise(_points(partitions, log10_beta)):
        weights = normalised_weights(beta * log_w)
        mean = xp.sum(weights * log_w, axis=0)
        covariance = num_samples / (num_samples - 1) * weights * (log_w - mean)
        bound = bound + (after - beta) * mean
        model = model + (after - beta) * (weights + beta * covariance)
        score = score + (after - beta) * ((1.0 - beta) * covariance - weights)
    return bound, Weights(model, None, score)


def _points(partitions, log10_beta):
    """0 = b_0 < 10^log10_beta = b_1 < … < b_J = 1, for J partitions."""
    if partitions < 1:
        raise ValueError(f"tvo:partitions must be at least 1, not {partitions}")
    if log10_beta >= 0:
        raise ValueError(f"tvo:log10-beta must be below 0, not {log10_beta}")
    exponents = [log10_beta * (1.0 - j / (partitions - 1)) for j in range(partitions - 1)]
    return [0.0, *(10.0**exponent for exponent in exponents), 1.0]


def _centred(log_w):
    """Log-weights below the largest: differences of these are as exact as the log-weights allow."""
    return log_w - namespace(log_w).max(log_w, axis=0)


def _means_of_others(log_w):
    """Mean of the other samples' log-weights, shape (K, N): sums before and after each."""
    xp, num_samples = namespace(log_w), log_w.shape[0]
    before = xp.cumulative_sum(log_w, axis=0, include_initial=True)[:num_samples, ...]
    after = xp.cumulative_sum(xp.flip(log_w, axis=0), axis=0, include_initial=True)
    return (before + xp.flip(after[:num_samples, ...], axis=0)) / (num_samples - 1)
