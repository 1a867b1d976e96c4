"""Rules whose encoder learns through log q(z|x) alone: the samples may be discrete.

With h_k = d/dphi log q(z_k|x), d_k = bound - v_k and a control variate c_k that does not depend on
z_k, the mean of Σ_k (d_k - c_k) h_k is the gradient of the bound by the encoder's parameters. All
but `tvo` take the normalised weights v for the model.

Rules with an `alpha` follow the Rényi bound (Liévin et al. 2020, section 3.4): with power
1 - alpha, its v ∝ w^power, and its log mean(w^power) is divided by the power. 0 is IWAE. Those with
a `kl` take log-weights in which log p(z) - log q(z|x) has that weight, hence d_k = bound - kl v_k.
"""

import math
from itertools import pairwise
from typing import Any

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
    renyi_bound,
)
from jvi.spec import LEARNED

__all__ = ["ovis", "ovis_mc", "reinforce", "rws", "tvo", "vimco", "wake_sleep"]

MEANS = "arithmetic", "geometric"
NONE = "none"


def reinforce(log_w: Array, *, alpha: float = 0.0, baseline: str = NONE, kl: Any = 1.0) -> Found:
    """Scores d_k - c(x), without a control variate of other samples.

    Unbiased and of high variance (Mnih & Rezende 2016, equation 5; Liévin et al. 2020). `baseline`
    is "none", "learned" (Mnih & Gregor 2014: a network that predicts d_k from x, in training), or
    its values c(x), an array (N,).
    """
    if isinstance(baseline, str):
        if baseline not in (NONE, LEARNED):
            raise ValueError(f'reinforce:baseline must be "none" or "learned", not {baseline!r}')
        if baseline == LEARNED:
            raise ValueError("reinforce:baseline=learned needs its values, which training has")
        baseline = 0.0
    _, bound, log_w = _powers(log_w, alpha, "reinforce")
    weights = normalised_weights(log_w)
    return bound, Weights(weights, None, bound - baseline - kl * weights)


def vimco(log_w: Array, *, mean: str = "geometric", alpha: float = 0.0, kl: Any = 1.0) -> Found:
    """c_k is the bound with w_k replaced by a mean of the others (Mnih & Rezende 2016).

    `mean` is "arithmetic" or, as there, "geometric".
    """
    if mean not in MEANS:
        raise ValueError(f"vimco:mean must be {' or '.join(MEANS)}, not {mean!r}")
    num_samples = check_several(log_w, "vimco")
    power, bound, log_w = _powers(log_w, alpha, "vimco")
    weights, without, centred = normalised_weights(log_w), log_without(log_w), _centred(log_w)
    if mean == "arithmetic":
        gain = math.log1p(-1.0 / num_samples) - without
    else:
        every = log_sum_exp(centred)
        gain = every - namespace(log_w).logaddexp(every + without, _means_of_others(centred))
    return bound, Weights(weights, None, gain / power - kl * weights)


def ovis(log_w: Array, *, gamma: float = 1.0, alpha: float = 0.0, kl: Any = 1.0) -> Found:
    """The optimal control variate for large K in closed form (Liévin et al. 2020).

    Scores are gamma log(1 - 1/K) - log(1 - v_k) - (1 - gamma) v_k. 0 suits a large effective sample
    size and is unbiased. 1 suits a small one; it adds gamma Σ v_k h_k, the direction of `rws`.
    """
    check_between_0_and_1("ovis:gamma", gamma)
    num_samples = check_several(log_w, "ovis")
    power, bound, log_w = _powers(log_w, alpha, "ovis")
    weights = normalised_weights(log_w)
    gain = (gamma * math.log1p(-1.0 / num_samples) - log_without(log_w)) / power
    return bound, Weights(weights, None, gain - (kl - gamma) * weights)


def ovis_mc(log_w: Array, *, aux: int = 10, alpha: float = 0.0, kl: Any = 1.0) -> Found:
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
    power, bound, _ = _powers(log_w[:num_samples, ...], alpha, "ovis-mc")
    xp, centred = namespace(log_w), power * _centred(log_w)
    drawn, log_w = centred[num_samples:, ...], centred[:num_samples, ...]
    weights, every = normalised_weights(log_w), log_sum_exp(log_w)
    replaced = xp.logaddexp((every + log_without(log_w))[:, None, ...], drawn)  # (K, aux, N)
    control = xp.mean(replaced / power - kl * xp.exp(drawn - replaced), axis=1)
    zeros = xp.zeros_like(drawn)
    score = xp.concat([every / power - kl * weights - control, zeros])
    return bound, Weights(xp.concat([weights, zeros]), None, score)


def wake_sleep(log_w: Array) -> Found:
    """The wake phase of the model; the encoder learns asleep, from data that the model dreams.

    There it ascends log q(z|x) on average over p(x, z), which is no matter of log-weights (Hinton
    et al. 1995; with K samples, Bornschein & Bengio 2015).
    """
    return iwae_bound(log_w), Weights(normalised_weights(log_w), None, None)


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


def _powers(log_w, alpha, name):
    """(1 - alpha, the Rényi bound, the log-weights times 1 - alpha)."""
    if isinstance(alpha, float) and alpha == 0:
        return 1.0, iwae_bound(log_w), log_w
    return 1.0 - alpha, renyi_bound(log_w, alpha, name), (1.0 - alpha) * log_w


def _centred(log_w):
    """Log-weights below the largest: differences of these are as exact as the log-weights allow."""
    return log_w - namespace(log_w).max(log_w, axis=0)


def _means_of_others(log_w):
    """Mean of the other samples' log-weights, shape (K, N): sums before and after each."""
    xp, num_samples = namespace(log_w), log_w.shape[0]
    before = xp.cumulative_sum(log_w, axis=0, include_initial=True)[:num_samples, ...]
    after = xp.cumulative_sum(xp.flip(log_w, axis=0), axis=0, include_initial=True)
    return (before + xp.flip(after[:num_samples, ...], axis=0)) / (num_samples - 1)
