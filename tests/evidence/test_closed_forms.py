"""Weights of hand-made log-weights against definitions, worked out with 150 digits.

Bounds are written down as they are defined. Their first and second derivatives by one log-weight
are differences, which so many digits make exact; control variates are the bound with a weight left
out or replaced.
"""

from decimal import ROUND_FLOOR, Decimal, localcontext
from itertools import pairwise

import numpy as np
import pytest

from jvi.evidence.estimators import ESTIMATORS, TOTAL, estimator

COLUMNS = [
    [0.0, 0.0, 0.0, 0.0],
    [0.0, 0.7, 1.1, 2.3],
    [-90.0, -91.5, -89.0, -94.0],
    [5.0, 5.0, -60.0, -61.0],
    [3.0, -37.0, -38.0, -300.0],
    [-5000.0, -80.0, -2083.0, -2080.0],
]
STEP = Decimal("1e-30")
HALF, TENTH = Decimal("0.5"), Decimal("0.1")


@pytest.fixture(autouse=True)
def digits():
    with localcontext() as context:
        context.prec = 150
        yield


# --- Bounds, of lists of weights ------------------------------------------------------------------


def elbo(w):
    return sum(each.ln() for each in w) / len(w)


def iwae(w):
    return (sum(w) / len(w)).ln()


def jvi(w):
    """Of order 1."""
    leave_one_out = sum(iwae(without(w, k)) for k in range(len(w))) / len(w)
    return len(w) * iwae(w) - (len(w) - 1) * leave_one_out


def miwae(w):
    return (iwae(w[:2]) + iwae(w[2:])) / 2


def ciwae(w):
    return TENTH * elbo(w) + (1 - TENTH) * iwae(w)


def renyi(alpha):
    return lambda w: iwae([each ** (1 - alpha) for each in w]) / (1 - alpha)


def tvo(w):
    """Of two partitions, 0 to 0.1 to 1, under self-normalised weights."""
    values = 0
    for beta, after in pairwise([Decimal(0), TENTH, Decimal(1)]):
        v = normalised([each**beta for each in w])
        values += (after - beta) * sum(a * b.ln() for a, b in zip(v, w, strict=True))
    return values


def normalised(w):
    return [each / sum(w) for each in w]


def without(w, k):
    return w[:k] + w[k + 1 :]


# --- Weights --------------------------------------------------------------------------------------


def moved(w, k, step):
    return [*w[:k], w[k] * step.exp(), *w[k + 1 :]]


def first(bound):
    """u: the derivatives of a bound by each log-weight."""
    return lambda w: [
        (bound(moved(w, k, STEP)) - bound(moved(w, k, -STEP))) / (2 * STEP) for k in range(len(w))
    ]


def doubly(bound):
    """u_k less its own derivative by log w_k."""

    def path(w):
        up, down = ([bound(moved(w, k, s)) for k in range(len(w))] for s in (STEP, -STEP))
        return [
            (a - b) / (2 * STEP) - (a - 2 * bound(w) + b) / STEP**2
            for a, b in zip(up, down, strict=True)
        ]

    return path


def minus(weights):
    return lambda w: [-each for each in weights(w)]


def between(alpha):
    """The family from IWAE to reweighted wake-sleep, from v and 1 - v as a sum of others."""

    def path(w):
        others = [sum(without(normalised(w), k)) for k in range(len(w))]
        return [
            v * (alpha * o + (1 - alpha) * v) for v, o in zip(normalised(w), others, strict=True)
        ]

    return path


def signal(w, k):
    """d_k: the bound less the sample's share."""
    return iwae(w) - normalised(w)[k]


def controlled(control):
    return lambda w: [signal(w, k) - control(w, k) for k in range(len(w))]


def vimco(mean, bound=iwae):
    return controlled(lambda w, k: bound([*w[:k], mean(without(w, k)), *w[k + 1 :]]))


# Of the Rényi bound and with a weight of log p(z) - log q(z|x): the bound's own derivatives.


def share(bound, w, k):
    """The derivative of a bound by log w_k."""
    return first(bound)(w)[k]


def powers(bound, control, kl=1):
    """bound - kl u_k - c_k."""
    return lambda w: [bound(w) - kl * share(bound, w, k) - control(w, k) for k in range(len(w))]


def replaced_by(mean, bound):
    return lambda w, k: bound([*w[:k], mean(without(w, k)), *w[k + 1 :]])


def ovis_of_powers(gamma, alpha, kl=1):
    """Its control variate has the bound without the sample; at gamma = 0 the constant is left."""
    bound, scale = renyi(alpha), 1 / (1 - alpha)

    def control(w, k):
        constant = scale * (1 - gamma) * (1 - 1 / Decimal(len(w))).ln()
        return bound(without(w, k)) - gamma * share(bound, w, k) + constant

    return powers(bound, control, kl)


def ovis_mc_of_powers(alpha, kl=1):
    bound = renyi(alpha)

    def weights(w):
        def signal(w, k):
            return bound(w) - kl * share(bound, w, k)

        def control(k):
            return sum(signal([*w[:2][:k], aux, *w[:2][k + 1 :]], k) for aux in w[2:]) / 2

        return [*(signal(w[:2], k) - control(k) for k in range(2)), 0, 0]

    return weights


def part_doubly(bound, kl):
    """u_k less kl times its own derivative by log w_k."""
    return lambda w: [
        (1 - kl) * u + kl * b for u, b in zip(first(bound)(w), doubly(bound)(w), strict=True)
    ]


def arithmetic(w):
    return sum(w) / len(w)


def geometric(w):
    return elbo(w).exp()


def ovis(gamma):
    def control(w, k):
        share, rest = normalised(w)[k], (1 - 1 / Decimal(len(w))).ln()
        return iwae(without(w, k)) - gamma * share + (1 - gamma) * rest

    return controlled(control)


def samples(weights):
    """Of the first two rows, zeros for the two auxiliary ones."""
    return lambda w: [*weights(w[:2]), 0, 0]


def ovis_mc(w):
    def control(k):
        return sum(signal([*w[:2][:k], aux, *w[:2][k + 1 :]], k) for aux in w[2:]) / 2

    return [*(signal(w[:2], k) - control(k) for k in range(2)), 0, 0]


def tvo_weights(of_beta):
    """`of_beta` is what an expectation and a covariance with log w count for."""

    def weights(w):
        found = [0] * len(w)
        correction = Decimal(len(w)) / (len(w) - 1)
        for beta, after in pairwise([Decimal(0), TENTH, Decimal(1)]):
            v, (mean, factor) = normalised([each**beta for each in w]), of_beta(beta)
            for k, each in enumerate(w):  # Cov(f, g) = Σ_kl v_k v_l (f_k - f_l) g_k
                pairs = v[k] * sum(b * (each / c).ln() for b, c in zip(v, w, strict=True))
                found[k] += (after - beta) * (mean * v[k] + factor * correction * pairs)
        return found

    return weights


def halves(w):
    return 2 * iwae(w) - miwae(w)


def mixed(share, bound):
    return lambda w: share * bound(w) + (1 - share) * iwae(w)


def gated(threshold, bound):
    """The derivative of the bound where the effective sample size is no less, else IWAE's."""

    def weights(w):
        ess = 1 / sum(v**2 for v in normalised(w))
        return first(bound if ess >= threshold * len(w) else iwae)(w)

    return weights


# SUMO and multilevel Monte Carlo at the level that the sum of the log-weights says.


def uniform(w):
    turns = sum(each.ln() for each in w) * 500 * (1 + Decimal(5).sqrt())
    return turns - turns.to_integral_value(ROUND_FLOOR)


def sumo_cut(w, m):
    return max(k for k in range(1, len(w) - m + 1) if uniform(w) < 1 / Decimal(k))


def sumo(m):
    def weights(w):
        def bound(each):
            steps = (iwae(each[: m + k]) - iwae(each[: m + k - 1]) for k in range(1, cut + 1))
            return iwae(each[:m]) + sum(k * step for k, step in enumerate(steps, start=1))

        cut = sumo_cut(w, m)
        return first(bound)(w)

    return weights


def mlmc_level(w):
    """(samples, probability) of the levels of four samples, from one on."""
    second = Decimal(2) ** Decimal("-1.5")
    low = 1 / (1 + second)
    return (2, low) if uniform(w) < low else (4, 1 - low)


def mlmc(w):
    size, probability = mlmc_level(w)

    def bound(each):
        if size == 2:
            return elbo(each[:2]) + (iwae(each[:2]) - elbo(each[:2])) / probability
        return elbo(each) + (iwae(each) - miwae(each)) / probability

    return first(bound)(w)


def of_first(count, path):
    """A path of the first samples alone."""
    return lambda w: path(w[: count(w)]) + [0] * (len(w) - count(w))


# Model, path and score weights.
EXPECTED = {
    "elbo": (first(elbo), first(elbo), minus(first(elbo))),
    "iwae": (first(iwae), first(iwae), minus(first(iwae))),
    "jvi": (first(jvi), first(jvi), minus(first(jvi))),
    "jvi-iwae": (first(jvi), first(iwae), minus(first(iwae))),
    "jvi-elbo": (first(jvi), first(elbo), minus(first(elbo))),
    "miwae": (first(miwae), first(miwae), minus(first(miwae))),
    "piwae": (first(iwae), first(miwae), minus(first(miwae))),
    "ciwae:beta=0.1": (first(ciwae), first(ciwae), minus(first(ciwae))),
    **{
        f"renyi:alpha={a}": (first(renyi(a)), first(renyi(a)), minus(first(renyi(a))))
        for a in (Decimal("-1.5"), HALF, Decimal(3))
    },
    "stl": (first(iwae), first(iwae), None),
    "dreg": (first(iwae), doubly(iwae), None),
    "dreg:alpha=0.1": (first(iwae), between(TENTH), None),
    "rws-dreg": (first(iwae), between(1), None),
    **{
        f"renyi-dreg:alpha={a}": (first(renyi(a)), doubly(renyi(a)), None)
        for a in (Decimal("-1.5"), HALF, Decimal(3))
    },
    "jvi-clip": (
        lambda w: normalised([max(u, Decimal(0)) for u in first(jvi)(w)]),
        doubly(iwae),
        None,
    ),
    "jvi-dreg": (first(jvi), doubly(jvi), None),
    "jvi-model": (first(jvi), doubly(iwae), None),
    "jvi-model:alpha=0.1": (first(jvi), between(TENTH), None),
    "jvi-model:groups=2": (first(halves), doubly(iwae), None),
    "jvi-model:groups=2,share=0.1": (first(mixed(TENTH, halves)), doubly(iwae), None),
    "jvi-model:ess=0.3": (gated(Decimal("0.3"), jvi), doubly(iwae), None),
    **{
        f"sumo:min-samples={m}": (
            sumo(m),
            of_first(lambda w, m=m: m + sumo_cut(w, m), doubly(iwae)),
            None,
        )
        for m in (1, 2, 3)
    },
    "mlmc": (mlmc, of_first(lambda w: mlmc_level(w)[0], doubly(iwae)), None),
    "reinforce": (normalised, None, controlled(lambda w, k: 0)),
    "vimco:mean=arithmetic": (normalised, None, vimco(arithmetic)),
    "vimco:mean=geometric": (normalised, None, vimco(geometric)),
    "ovis:gamma=0": (normalised, None, ovis(0)),
    "ovis:gamma=0.5": (normalised, None, ovis(HALF)),
    "ovis:gamma=1": (normalised, None, ovis(1)),
    "ovis-mc:aux=2": (samples(normalised), None, ovis_mc),
    "reinforce:alpha=0.5": (first(renyi(HALF)), None, powers(renyi(HALF), lambda w, k: 0)),
    **{
        f"vimco:alpha=0.5,mean={mean.__name__}": (
            first(renyi(HALF)),
            None,
            # The mean is of powers, so that the arithmetic one leaves the others' bound.
            powers(renyi(HALF), replaced_by(of_powers, renyi(HALF))),
        )
        for mean, of_powers in (
            (arithmetic, lambda w: arithmetic([each**HALF for each in w]) ** 2),
            (geometric, geometric),
        )
    },
    **{
        f"ovis:alpha=0.5,gamma={gamma}": (first(renyi(HALF)), None, ovis_of_powers(gamma, HALF))
        for gamma in (Decimal(0), HALF, Decimal(1))
    },
    "ovis-mc:aux=2,alpha=0.5": (samples(first(renyi(HALF))), None, ovis_mc_of_powers(HALF)),
    "rws": (normalised, None, normalised),
    "wake-sleep": (normalised, None, None),
    "tvo:partitions=2,log10-beta=-1": (
        tvo_weights(lambda beta: (1, beta)),
        None,
        tvo_weights(lambda beta: (-1, 1 - beta)),
    ),
}


KL = Decimal("0.3")
WEIGHED = {
    "stl": (first(iwae), first(iwae), None),
    "dreg": (first(iwae), part_doubly(iwae, KL), None),
    "renyi-dreg:alpha=0.5": (first(renyi(HALF)), part_doubly(renyi(HALF), KL), None),
    "jvi-dreg": (first(jvi), part_doubly(jvi, KL), None),
    "jvi-clip": (EXPECTED["jvi-clip"][0], part_doubly(iwae, KL), None),
    "jvi-model": (first(jvi), part_doubly(iwae, KL), None),
    "sumo": (
        sumo(1),
        of_first(lambda w: 1 + sumo_cut(w, 1), part_doubly(iwae, KL)),
        None,
    ),
    "mlmc": (mlmc, of_first(lambda w: mlmc_level(w)[0], part_doubly(iwae, KL)), None),
    "reinforce": (normalised, None, powers(iwae, lambda w, k: 0, KL)),
    "vimco": (normalised, None, powers(iwae, replaced_by(geometric, iwae), KL)),
    "ovis:gamma=0.5,alpha=0.5": (first(renyi(HALF)), None, ovis_of_powers(HALF, HALF, KL)),
    "ovis-mc:aux=2,alpha=0.5": (samples(first(renyi(HALF))), None, ovis_mc_of_powers(HALF, KL)),
}


def test_every_estimator_has_its_definition():
    assert {name.partition(":")[0] for name in EXPECTED} == ESTIMATORS.keys()
    weighing = {name for name in ESTIMATORS if estimator(name).weighs_kl}
    there = {name.partition(":")[0] for name in WEIGHED}
    assert there == {name for name in weighing if ESTIMATORS[name].route != TOTAL}


@pytest.mark.parametrize("column", COLUMNS, ids=str)
@pytest.mark.parametrize("name", EXPECTED)
def test_weights_are_those_of_the_definition(name, column):
    check(estimator(name)(np.array(column)[:, None]), EXPECTED[name], column)


@pytest.mark.parametrize("column", COLUMNS, ids=str)
@pytest.mark.parametrize("name", WEIGHED)
def test_so_they_are_where_the_kl_part_has_a_weight(name, column):
    check(estimator(name)(np.array(column)[:, None], kl=float(KL)), WEIGHED[name], column)


def check(found, expected, column):
    w = [Decimal(each).exp() for each in column]
    for weights, definition in zip(found, expected, strict=True):
        assert (weights is None) == (definition is None)
        if definition is not None:
            expected = [float(each) for each in definition(w)]
            np.testing.assert_allclose(
                weights[:, 0], expected, rtol=1e-12, atol=3e-14, err_msg=weights
            )


def test_the_bound_of_the_thermodynamic_objective():
    name = "tvo:partitions=2,log10-beta=-1"
    for column in COLUMNS:
        value, _ = estimator(name).with_bound(np.array(column)[:, None])
        expected = float(tvo([Decimal(each).exp() for each in column]))
        np.testing.assert_allclose(value, expected, rtol=1e-14, atol=1e-14)
