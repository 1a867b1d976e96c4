"""Rules whose model ascends an estimate with less bias than IWAE, and whose encoder follows `dreg`.

Taking the bias from the encoder, too, would take its signal (docs/estimators.md). `jvi_model` is
the jackknife in its variants; `sumo` and `mlmc` use a random number of a data point's K samples, at
whatever K, and have the mean of all K.
"""

import math
from itertools import accumulate
from typing import Any

from jvi.evidence.arrays import Array, at_least, namespace
from jvi.evidence.bounds import effective_sample_size
from jvi.evidence.jackknife import ZERO, jackknife_and_weights
from jvi.evidence.pathwise import dreg
from jvi.evidence.weights import (
    Found,
    Weights,
    check_between_0_and_1,
    in_groups,
    iwae_bound,
    normalised_weights,
)

__all__ = ["jvi_model", "mlmc", "mlmc_levels", "sumo", "sumo_tail", "uniform_of"]

TURNS = 500 * (1 + math.sqrt(5))  # a nat; irrational, as floats lie on a grid


def jvi_model(
    log_w: Array,
    *,
    order: int = 1,
    groups: int = 0,
    share: float = 1.0,
    ess: float = 0.0,
    alpha: float = 0.0,
    kl: Any = 1.0,
) -> Found:
    """JVI for the model, negative weights and all, `dreg` for the encoder.

    With `groups` G, 0 for K, the jackknife leaves out one of G groups of consecutive samples at a
    time, which are weighed within a group as by IWAE: 2 is 2 L_K less the mean bound of the halves.
    `share` λ is IWAE + λ (JVI - IWAE). Where the effective sample size is below `ess` K, a data
    point has IWAE instead.
    """
    check_between_0_and_1("jvi-model:share", share)
    check_between_0_and_1("jvi-model:ess", ess)
    bound, (weights, path, _) = dreg(log_w, alpha=alpha, kl=kl)
    value, debiased = _jackknife_of_groups(log_w, groups or log_w.shape[0], order)
    spread = effective_sample_size(log_w, check_finite=False) < ess * log_w.shape[0]
    where = namespace(log_w).where
    value, debiased = where(spread, bound, value), where(spread, weights, debiased)
    value = (1.0 - share) * bound + share * value
    return value, Weights((1.0 - share) * weights + share * debiased, path, None)


def _jackknife_of_groups(log_w, groups, order):
    """JVI of the groups' mean weights, and its derivative by each log-weight."""
    xp, num_samples = namespace(log_w), log_w.shape[0]
    if groups < 1 or num_samples % groups:
        raise ValueError(
            f"jvi-model:groups must divide the {num_samples} samples: {groups} does not"
        )
    shape = (groups, num_samples // groups, *log_w.shape[1:])
    grouped = xp.reshape(at_least(log_w, ZERO), shape)
    bounds = iwae_bound(grouped, axis=1)
    value, weights = jackknife_and_weights(bounds, order, check_finite=False)
    weights = weights[:, None, ...] * normalised_weights(grouped, axis=1)
    return value, xp.reshape(weights, log_w.shape)


def sumo(
    log_w: Array,
    *,
    min_samples: int = 1,
    alpha: float = 0.0,
    kl: Any = 1.0,
    uniform: Array | None = None,
) -> Found:
    """The telescoping sum of IWAE bounds, cut at random, for the model (Luo et al. 2020).

    L_m + Σ_{k=1}^T (L_{m+k} - L_{m+k-1}) / P(T ≥ k), at most to K: its mean is that of L_K, from
    m + Σ_{k≤K-m} P(T ≥ k) samples on average, m + 1 + 1/2 + … + 1/(K-m) up to K - m = 80. `dreg`
    of the samples used is for the encoder. `uniform` is what decides T, else `uniform_of`.
    """
    xp, num_samples = namespace(log_w), log_w.shape[0]
    if not 1 <= min_samples <= num_samples:
        raise ValueError(
            f"sumo:min-samples must be from 1 to the {num_samples} samples, not {min_samples}"
        )
    uniform = uniform_of(log_w) if uniform is None else uniform
    tails = [sumo_tail(k) for k in range(1, 1 + num_samples - min_samples)]
    beyond = [xp.astype(uniform < tail, xp.float64) / tail for tail in tails]
    reached = xp.stack([xp.ones_like(uniform)] * min_samples + beyond)
    after = xp.concat([reached[1:, ...], xp.zeros_like(reached[:1, ...])])
    value, weights = _of_prefixes(log_w, reached - after)
    used = xp.where(reached > 0, log_w, -math.inf)
    return value + 0.0 * uniform, Weights(weights, dreg(used, alpha=alpha, kl=kl)[1].path, None)


def sumo_tail(k: int) -> float:
    """P(T ≥ k) of the number T of terms (Luo et al. 2020)."""
    return 1.0 / k if k < 80 else 0.9 ** (k - 80) / 80.0


def _of_prefixes(log_w, factors):
    """Σ_j factors_j L_j, L_j the bound of the first j samples, and its derivative."""
    xp, log_w = namespace(log_w), at_least(log_w, ZERO)
    rows = [log_w[k, ...] for k in range(log_w.shape[0])]
    sums = list(accumulate(rows, xp.logaddexp))
    bounds = [each - math.log(k) for k, each in enumerate(sums, start=1)]
    value = sum(factors[k, ...] * each for k, each in enumerate(bounds))
    weights, later, after = [], 0.0, sums[-1]  # later is Σ_{j≥k} factors_j S_k / S_j
    for k in reversed(range(len(rows))):
        later = factors[k, ...] + xp.exp(sums[k] - after) * later
        weights.append(xp.exp(rows[k] - sums[k]) * later)
        after = sums[k]
    return value, xp.stack(weights[::-1])


def mlmc(
    log_w: Array,
    *,
    min_samples: int = 1,
    alpha: float = 0.0,
    kl: Any = 1.0,
    uniform: Array | None = None,
) -> Found:
    """Antithetic multilevel Monte Carlo for the model (Ishikawa & Goda 2021; Shi & Cornish 2021).

    At a random level l ≥ 1, P(l) ∝ 2^(-3l/2), from 2^l m samples: the mean bound of groups of m,
    plus 1 / P(l) times the difference between the bound of all and the mean of its halves'. The
    last level is the largest with 2^l m ≤ K, and the mean that of its bound; samples beyond it are
    not used. Else as `sumo`.
    """
    uniform = uniform_of(log_w) if uniform is None else uniform
    xp, zero = namespace(log_w), 0.0 * uniform
    value, weights, count, start = zero, 0.0 * at_least(log_w, ZERO), zero, 0.0
    for size, probability in mlmc_levels(log_w.shape[0], min_samples):
        chosen = (uniform >= start) | (start == 0)
        found, of_used = _level(at_least(log_w[:size, ...], ZERO), size // min_samples, probability)
        padding = xp.zeros_like(log_w[size:, ...])
        value = xp.where(chosen, found, value)
        weights = xp.where(chosen, xp.concat([of_used, padding]), weights)
        count = xp.where(chosen, float(size), count)
        start += probability
    rows = xp.cumulative_sum(xp.ones_like(log_w), axis=0)
    used = xp.where(rows <= count, log_w, -math.inf)
    return value + zero, Weights(weights, dreg(used, alpha=alpha, kl=kl)[1].path, None)


def mlmc_levels(num_samples: int, min_samples: int) -> list[tuple[int, float]]:
    """(samples, probability) of each level of `mlmc`.

    Raises
    ------
    ValueError
        For too few samples for one level.
    """
    if not 1 <= min_samples <= num_samples // 2:
        raise ValueError(
            f"mlmc:min-samples must be from 1 to half of the {num_samples} samples, not "
            f"{min_samples}"
        )
    last = int(math.log2(num_samples // min_samples))
    masses = [2 ** (-1.5 * level) for level in range(last)]
    return [(min_samples * 2 ** (i + 1), mass / sum(masses)) for i, mass in enumerate(masses)]


def _level(log_w, groups, probability):
    """A level's value, of all of these samples in so many groups, and its derivative."""
    (base, of_base), (whole, of_all), (halves, of_halves) = (
        in_groups(log_w, count, "mlmc") for count in (groups, 1, 2)
    )
    value = base + (whole - halves) / probability
    return value, of_base + (of_all - of_halves) / probability


def uniform_of(log_w: Array) -> Array:
    """A number in [0, 1) for each data point, shape (N,), out of its log-weights' last digits.

    For continuous samples it is uniform, and independent of the log-weights to 1e-3 nats. So what
    is random needs no generator, and does not depend on how a batch is cut.
    """
    xp = namespace(log_w)
    turns = TURNS * xp.sum(xp.where(log_w == -math.inf, 0.0, log_w), axis=0)
    return turns - xp.floor(turns)
