"""Mean gradients of every estimator against exact ones, with every sum and integral worked out.

Two models have expectations without sampling: a one-dimensional Gaussian by Gauss-Hermite
quadrature over the noise of four draws, and two bits by enumeration of four draws. A column of
log-weights is one outcome of all four, with its probability, so that one call of an estimator
gives its mean gradient. The exact gradients are central differences of mean bounds.
"""

import itertools
import math
from functools import cache

import numpy as np
import pytest

import jvi
from jvi.evidence.estimators import ESTIMATORS, SCORE, SLEEP, TOTAL, Weights, estimator

ROWS = 4  # of log_w
RENYI = 0.3


class Gaussian:
    """p(z) = N(0, 1), p(x|z) = N(theta z, 1), q(z) = N(mu, sigma²), by theta, mu and log sigma."""

    x, start, num_model = 1.3, np.array([0.8, 0.35, math.log(0.85)]), 1
    nodes = 14

    @classmethod
    def outcomes(cls, parameters, rows):
        """Draws z, shape (rows, N), and the probability of each column."""
        at, mass = np.polynomial.hermite_e.hermegauss(cls.nodes)
        _, mu, log_sigma = parameters
        return mu + math.exp(log_sigma) * columns(at, rows), columns(mass / mass.sum(), rows).prod(
            0
        )

    @classmethod
    def log_w(cls, z, parameters, kl=1.0):
        theta, mu, log_sigma = parameters
        noise = (z - mu) / math.exp(log_sigma)
        log_px = -0.5 * (cls.x - theta * z) ** 2 - 0.5 * math.log(2 * math.pi)
        return log_px + kl * (0.5 * (noise**2 - z**2) + log_sigma)

    @classmethod
    def routes(cls, z, kl=1.0):
        """What each route's weights multiply, by parameter: lists of (K, N) arrays or 0."""
        theta, mu, log_sigma = cls.start
        sigma = math.exp(log_sigma)
        noise = (z - mu) / sigma
        along = (cls.x - theta * z) * theta + kl * (noise / sigma - z)
        model = [(cls.x - theta * z) * z, 0.0, 0.0]
        return model, [0.0, along, along * sigma * noise], [0.0, noise / sigma, noise**2 - 1]


class Finely(Gaussian):
    """With the more nodes that weights of a wider spread need."""

    nodes = 18


class Bits:
    """Two bits: p(z) uniform, p(x|z) = N(theta·z, 1), q(z_d = 1) = 1 / (1 + exp(-phi_d))."""

    x, start, num_model = 0.8, np.array([1.5, -0.6, 0.4, -0.9]), 2
    states = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])

    @classmethod
    def outcomes(cls, parameters, rows):
        """Draws z, shape (rows, N, 2), and the probability of each column."""
        mass = np.exp(cls.log_q(cls.states, parameters))
        return cls.states[columns(np.arange(4), rows)], columns(mass, rows).prod(axis=0)

    @staticmethod
    def log_q(z, parameters):
        on = 1 / (1 + np.exp(-parameters[2:]))
        return (z * np.log(on) + (1 - z) * np.log(1 - on)).sum(-1)

    @classmethod
    def log_w(cls, z, parameters, kl=1.0):
        log_px = -0.5 * (cls.x - z @ parameters[:2]) ** 2
        return log_px - kl * (math.log(4) + cls.log_q(z, parameters))

    @classmethod
    def routes(cls, z, kl=1.0):
        theta, on = cls.start[:2], 1 / (1 + np.exp(-cls.start[2:]))
        off = (cls.x - z @ theta)[..., None] * z
        score = z - on
        zeros = [0.0, 0.0]
        return [off[..., 0], off[..., 1], *zeros], None, [*zeros, score[..., 0], score[..., 1]]


def columns(values, rows):
    """All combinations of one value in each row, shape (rows, len(values)^rows)."""
    return np.stack(np.meshgrid(*[values] * rows, indexing="ij")).reshape(rows, -1)


def gradient(function, at, step=1e-5):
    """Central differences of a function of a vector."""
    steps = step * np.eye(len(at))
    return np.array([(function(at + each) - function(at - each)) / (2 * step) for each in steps])


def mean_of(bound, model, rows, kl=1.0):
    """The gradient of a bound's mean; every parameter moves the draws and their weights."""

    def mean(parameters):
        z, probability = model.outcomes(parameters, rows)
        return probability @ bound(model.log_w(z, parameters, kl))

    return gradient(mean, model.start)


def towards_posterior(model, rows, bound=jvi.iwae, kl=1.0):
    """E Σ v_k h_k: minus the gradient of a bound's mean by a q whose draws stay where they are."""
    z, probability = model.outcomes(model.start, rows)
    return -gradient(lambda p: probability @ bound(model.log_w(z, p, kl)), model.start) / kl


def renyi(log_w):
    return np.log(np.exp((1 - RENYI) * log_w).mean(axis=0)) / (1 - RENYI)


@cache
def exact(model, kl=1.0):
    """The gradients that TARGETS is about, by name."""
    found = {f"L{rows}": mean_of(jvi.iwae, model, rows, kl) for rows in (1, 2, 3, 4)}
    found["renyi"] = mean_of(renyi, model, ROWS, kl)
    found["renyi of 2"] = mean_of(renyi, model, 2, kl)
    found["v h"] = towards_posterior(model, ROWS, kl=kl)
    found["renyi v h"] = towards_posterior(model, ROWS, renyi, kl)
    # Of means alone: the jackknife is 4 L4 - 3 times the mean L3 of the subsets of three.
    return found | {"jvi": 4 * found["L4"] - 3 * found["L3"]}


L4 = {"L4": 1.0}

# The mean ascent direction of model and encoder, in multiples of exact gradients; None for one that
# is unbiased for nothing known. "L4" is the gradient of IWAE, "v h" that of log q(z|x) on average
# over the posterior, as four self-normalised weights estimate it.
TARGETS = {
    "elbo": ({"L1": 1}, {"L1": 1}),
    "iwae": (L4, L4),
    "jvi": ({"jvi": 1}, {"jvi": 1}),
    "jvi-iwae": ({"jvi": 1}, L4),
    "jvi-elbo": ({"jvi": 1}, {"L1": 1}),
    "miwae": ({"L2": 1}, {"L2": 1}),
    "miwae:groups=1": (L4, L4),
    "miwae:groups=4": ({"L1": 1}, {"L1": 1}),
    "piwae": (L4, {"L2": 1}),
    "piwae:groups=4": (L4, {"L1": 1}),
    "ciwae:beta=0.2": ({"L1": 0.2, "L4": 0.8}, {"L1": 0.2, "L4": 0.8}),
    f"renyi:alpha={RENYI}": ({"renyi": 1}, {"renyi": 1}),
    "stl": (L4, {"L4": 1, "v h": 1}),
    "dreg": (L4, L4),
    "dreg:alpha=0.3": (L4, {"L4": 0.7, "v h": 0.3}),
    "dreg:alpha=0.5": (L4, {"L4": 0.5, "v h": 0.5}),
    "rws-dreg": (L4, {"v h": 1}),
    f"renyi-dreg:alpha={RENYI}": ({"renyi": 1}, {"renyi": 1}),
    "jvi-clip": (None, L4),
    "jvi-dreg": ({"jvi": 1}, {"jvi": 1}),
    "jvi-model": ({"jvi": 1}, L4),
    "jvi-model:alpha=0.3": ({"jvi": 1}, {"L4": 0.7, "v h": 0.3}),
    "jvi-model:share=0.4": ({"jvi": 0.4, "L4": 0.6}, L4),
    "jvi-model:groups=2": ({"L4": 2, "L2": -1}, L4),
    "sumo": (L4, {"L2": 1 / 2, "L3": 1 / 6, "L4": 1 / 3}),
    "sumo:min-samples=2": (L4, {"L3": 1 / 2, "L4": 1 / 2}),
    "mlmc": (L4, {"L2": 1 / (1 + 2**-1.5), "L4": 1 / (1 + 2**1.5)}),
    "mlmc:min-samples=2": (L4, L4),
    "reinforce": (L4, L4),
    "vimco:mean=arithmetic": (L4, L4),
    "vimco:mean=geometric": (L4, L4),
    "ovis:gamma=0": (L4, L4),
    "ovis:gamma=0.4": (L4, {"L4": 1, "v h": 0.4}),
    "ovis:gamma=1": (L4, {"L4": 1, "v h": 1}),
    "ovis-mc:aux=2": ({"L2": 1}, {"L2": 1}),
    f"reinforce:alpha={RENYI}": ({"renyi": 1}, {"renyi": 1}),
    f"vimco:alpha={RENYI}": ({"renyi": 1}, {"renyi": 1}),
    f"vimco:mean=arithmetic,alpha={RENYI}": ({"renyi": 1}, {"renyi": 1}),
    f"ovis:gamma=0,alpha={RENYI}": ({"renyi": 1}, {"renyi": 1}),
    f"ovis:gamma=0.4,alpha={RENYI}": ({"renyi": 1}, {"renyi": 1, "renyi v h": 0.4}),
    f"ovis-mc:aux=2,alpha={RENYI}": ({"renyi of 2": 1}, {"renyi of 2": 1}),
    "rws": (L4, {"v h": 1}),
    "wake-sleep": (L4, None),
    "tvo:partitions=1": ({"L1": 1}, {"L1": 1}),
}


def weighs_kl(name):
    return estimator(name).weighs_kl


CASES = [(name, Gaussian) for name in TARGETS]
CASES += [(name, Bits) for name in TARGETS if estimator(name).route in (SCORE, SLEEP)]
KL = 0.6


def test_every_estimator_has_its_target():
    assert {name.partition(":")[0] for name in TARGETS} == ESTIMATORS.keys()


# One number of each interval between those that change a random level, and the interval's length.
LEVELS = {"sumo": np.array([0, 1 / 3, 1 / 2, 1]), "mlmc": np.array([0, 1 / (1 + 2**-1.5), 1])}


def weights_of(name, log_w, **now):
    """The estimator's weights, where its level is random their mean over levels."""
    rule = estimator(name)
    if rule.spec.name not in LEVELS:
        return rule(log_w, **now)
    edges, every = LEVELS[rule.spec.name], 0.0 * log_w[0, :]
    each = [rule(log_w, uniform=every + u, **now) for u in ((edges[:-1] + edges[1:]) / 2).tolist()]
    means = [
        sum(float(length) * found for length, found in zip(np.diff(edges), route, strict=True))
        for route in list(zip(*each, strict=True))[:2]
    ]
    return Weights(*means, None)


@cache
def outcomes(model, rows=ROWS, kl=1.0):
    """Draws, probability and log-weights of each column, at the model's own parameters."""
    z, probability = model.outcomes(model.start, rows)
    return z, probability, model.log_w(z, model.start, kl)


def on_numpy(model, name):
    return weights_of(name, outcomes(model)[2])


def on_strict(model, name):
    import array_api_strict

    return bring_back(weights_of(name, array_api_strict.asarray(outcomes(model)[2])))


def on_jax(model, name):
    return bring_back(compiled(model)[name])


@cache
def compiled(model):
    """The weights of every case, by one function that JAX compiles."""
    jax = pytest.importorskip("jax", reason="JAX is not installed")
    names = [name for name, other in CASES if other is model]
    with jax.enable_x64(True):
        every = jax.jit(lambda log_w: {name: weights_of(name, log_w) for name in names})
        return every(outcomes(model)[2])


def bring_back(weights):
    return [None if weight is None else np.asarray(weight) for weight in weights]


def mean_gradient(model, weights, rows=ROWS, kl=1.0):
    """Of the ascent direction that `weights` say, by parameter."""
    z, probability, _ = outcomes(model, rows)
    mean = np.zeros(len(model.start))
    for weight, parts in zip(weights, model.routes(z, kl), strict=True):
        for i, part in enumerate(parts or []):
            if weight is not None:
                mean[i] += probability @ (weight * part).sum(axis=0)
    return mean


@pytest.mark.parametrize("weights_on", [on_numpy, on_strict, on_jax])
@pytest.mark.parametrize("name, model", CASES, ids=lambda each: getattr(each, "__name__", each))
def test_the_mean_gradient_is_the_exact_one(name, model, weights_on):
    check(TARGETS[name], model, mean_gradient(model, weights_on(model, name)))


# Sticking the landing leaves out the score of log q, which has the weight, too.
WEIGHED = TARGETS | {"stl": (L4, {"L4": 1, "v h": KL})}


@pytest.mark.parametrize(
    "name, model",
    [(name, Finely if model is Gaussian else model) for name, model in CASES if weighs_kl(name)],
    ids=lambda each: getattr(each, "__name__", each),
)
def test_so_it_is_where_the_kl_part_has_a_weight(name, model):
    """The exact ones are of the bounds of log p(x|z) + kl (log p(z) - log q(z|x))."""
    rule = estimator(name)
    weights = weights_of(name, outcomes(model, kl=KL)[2], kl=KL)
    if rule.route == TOTAL:  # of log w, in which log q has the weight
        weights = weights._replace(score=KL * weights.score)
    check(WEIGHED[name], model, mean_gradient(model, weights, kl=KL), KL)


def check(targets, model, found, kl=1.0):
    split = slice(None, model.num_model), slice(model.num_model, None)
    for part, target in zip(split, targets, strict=True):
        if target is not None:
            expected = sum(factor * exact(model, kl)[key][part] for key, factor in target.items())
            np.testing.assert_allclose(found[part], expected, rtol=0, atol=2e-8)


@pytest.mark.parametrize("model", [Gaussian, Bits])
def test_the_exact_gradients_can_be_told_apart(model):
    """By far more than the tolerance above, so that none passes for another."""
    encoder = {key: value[model.num_model :] for key, value in exact(model).items()}
    for one, a in encoder.items():
        for other, b in encoder.items():
            assert one == other or abs(a - b).max() > 1e-3


@pytest.mark.parametrize("name", ["stl", "dreg", "iwae"])
def test_of_one_sample_they_all_ascend_the_elbo(name):
    weights = estimator(name)(outcomes(Gaussian, 1)[2])
    found = mean_gradient(Gaussian, weights, 1)
    np.testing.assert_allclose(found, exact(Gaussian)["L1"], atol=1e-9)


# --- Biased for a fixed K, by no more than is known -----------------------------------------------


class Bit:
    """p(z = 1) = .3, p(x|z) = N(theta z, 1), q(z = 1) = 1 / (1 + exp(-phi)); any number of draws.

    What an estimator says does not depend on the order of draws, so a column stands for all orders:
    K + 1 of them are all outcomes.
    """

    x, prior, start = 0.8, np.array([0.7, 0.3]), np.array([1.7, -0.5])

    @classmethod
    def densities(cls, parameters):
        """(log p(x, z), log q(z)) for z = 0 and 1."""
        theta, phi = parameters
        log_p = np.log(cls.prior) - 0.5 * (cls.x - theta * np.arange(2)) ** 2
        return log_p, -np.log1p(np.exp(np.array([phi, -phi])))

    @classmethod
    def mean_gradient(cls, name, num_samples):
        from scipy.stats import binom

        theta, on = cls.start[0], 1 / (1 + math.exp(-cls.start[1]))
        z = (np.arange(num_samples)[:, None] < np.arange(num_samples + 1)).astype(int)
        log_p, log_q = cls.densities(cls.start)
        model, _, score = estimator(name)((log_p - log_q)[z])
        each = (model * z * (cls.x - theta)).sum(axis=0), (score * (z - on)).sum(axis=0)
        return np.array(each) @ binom.pmf(np.arange(num_samples + 1), num_samples, on)

    @classmethod
    def posterior(cls):
        log_p, _ = cls.densities(cls.start)
        return np.exp(log_p) / np.exp(log_p).sum()


def limit(sequence, num_samples=256):
    """Of a sequence with errors in 1/K, up to 1/K²."""
    return 2 * sequence(2 * num_samples) - sequence(num_samples)


def test_reweighted_wake_sleep_errs_as_a_self_normalised_mean_does():
    """E Σ v h is E[h|x] - E_q[(w/Z)² (h - E[h|x])]/K + O(K^-2)."""
    q, posterior = np.exp(Bit.densities(Bit.start)[1]), Bit.posterior()
    h = np.arange(2) - q[1]
    exact = posterior @ h
    bias = -q @ ((posterior / q) ** 2 * (h - exact))
    assert abs(bias) > 0.05
    assert limit(lambda k: Bit.mean_gradient("rws", k)[1]) == pytest.approx(exact, abs=1e-5)
    scaled = limit(lambda k: k * (Bit.mean_gradient("rws", k)[1] - exact))
    assert scaled == pytest.approx(bias, rel=1e-3)


@pytest.mark.parametrize("points", [[0.0], [0.0, 10**-0.4], [0.0, 0.01, 0.1]])
def test_the_thermodynamic_objective_is_that_of_its_partition_for_many_samples(points):
    """Its gradient, by the sum over both states; the error of K samples falls like 1/K."""

    def riemann(parameters):
        log_p, log_q = Bit.densities(parameters)
        value = 0.0
        for beta, after in itertools.pairwise([*points, 1.0]):
            path = np.exp(beta * log_p + (1 - beta) * log_q)
            value += (after - beta) * (path @ (log_p - log_q)) / path.sum()
        return value

    first = math.log10(points[1]) if len(points) > 1 else -1
    name = f"tvo:partitions={len(points)},log10-beta={first}"
    expected = gradient(riemann, Bit.start)
    np.testing.assert_allclose(
        limit(lambda k: Bit.mean_gradient(name, k)), expected, rtol=0, atol=1e-5
    )
    error = [abs(Bit.mean_gradient(name, k) - expected).max() for k in (256, 512)]
    assert error[1] < 1e-10 if len(points) == 1 else 1.9 < error[0] / error[1] < 2.1
