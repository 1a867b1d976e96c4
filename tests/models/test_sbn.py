"""Sigmoid belief networks: densities and gradients by enumeration of every state."""

from itertools import product

import numpy as np
import pytest

from jvi.engine.random import Given
from jvi.evidence.estimators import estimator
from jvi.models import SBN
from jvi.training.objective import Objective, draw, loss

RNG = np.random.default_rng(6)
PIXELS, UNITS = 4, 2


def model(layers):
    link = SBN(PIXELS, layers, UNITS, RNG)
    for parameter in link.params():
        parameter.array = RNG.normal(0, 0.7, parameter.shape)
    return link


def states(layers):
    """Every z of one data point, as samples: a list of arrays (S, 1, UNITS), lowest first."""
    every = np.array(list(product([0.0, 1.0], repeat=layers * UNITS)))
    return [every[:, None, i * UNITS : (i + 1) * UNITS] for i in range(layers)]


def joined(layers):
    return tuple(layers) if len(layers) > 1 else layers[0]


X = np.array([[1.0, 0.0, 1.0, 1.0]])


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_densities_sum_to_one(layers):
    link, z = model(layers), states(layers)
    images = np.array(list(product([0.0, 1.0], repeat=PIXELS)))
    _, log_pz = link.log_joint(X, joined(z))
    assert np.exp(log_pz.array).sum() == pytest.approx(1, rel=1e-12)
    assert np.exp(link.log_q(link.infer(X), joined(z)).array).sum() == pytest.approx(1, rel=1e-12)
    repeated = [np.repeat(each, len(images), axis=1) for each in z]
    log_px, _ = link.log_joint(images, joined(repeated))
    np.testing.assert_allclose(np.exp(log_px.array).sum(axis=1), 1, rtol=1e-12)


@pytest.mark.parametrize("layers", [1, 2])
def test_draws_come_with_their_probabilities(layers):
    """From q and from the prior: frequencies within 4.5 standard errors."""
    link, count = model(layers), 40_000
    places = 2 ** np.arange(layers * UNITS)[::-1]
    uniform = [RNG.random((count, 1, UNITS)) for _ in range(layers)]
    log_q = link.log_q(link.infer(X), joined(states(layers))).array
    _, log_pz = link.log_joint(X, joined(states(layers)))
    drawn = [link.draw(link.infer(X), Given(list(uniform)), count)[0]]
    drawn.append(link.draw_prior(Given(list(uniform)), count, 1))
    for z, log_p in zip(drawn, (log_q, log_pz.array), strict=True):
        flat = np.concatenate(z if layers > 1 else [z], axis=-1).reshape(count, -1)
        found = np.bincount((flat @ places).astype(int), minlength=2 ** (layers * UNITS)) / count
        p = np.exp(log_p[:, 0])
        assert (abs(found - p) < 4.5 * np.sqrt(p * (1 - p) / count)).all()


def expected_bound(link, num_samples):
    """E[log mean w] over all draws of K samples, exactly."""
    z = states(1)[0]
    log_px, log_pz = link.log_joint(X, z)
    log_q = link.log_q(link.infer(X), z).array[:, 0]
    w = np.exp(log_px.array[:, 0] + log_pz.array[:, 0] - log_q)
    total = 0.0
    for chosen in product(range(len(w)), repeat=num_samples):
        chosen = list(chosen)
        total += np.exp(log_q[chosen].sum()) * np.log(w[chosen].mean())
    return total


@pytest.mark.parametrize("num_samples", [1, 2, 3])
def test_reinforce_is_the_gradient_of_the_expected_iwae_bound(num_samples):
    """Its expectation over all draws by enumeration, against finite differences of the bound."""
    link, z = model(1), states(1)[0]
    objective = Objective(estimator("reinforce"))
    log_q = link.log_q(link.infer(X), z).array[:, 0]
    total = {name: np.zeros(p.shape) for name, p in link.namedparams()}
    for chosen in product(range(len(z)), repeat=num_samples):
        chosen = list(chosen)
        link.cleargrads()
        # uniform numbers of 0 make a unit 1, of nearly 1 make it 0
        uniform = [np.where(z[chosen] > 0, 1e-12, 1 - 1e-12)]
        draws = draw(link, X, Given(uniform), num_samples, objective)
        np.testing.assert_array_equal(draws.z, z[chosen])
        loss(link, draws, objective, objective.estimator(draws.log_w)).backward()
        for name, parameter in link.namedparams():
            total[name] -= np.exp(log_q[chosen].sum()) * parameter.grad
    for name, parameter in link.namedparams():
        direction = RNG.normal(size=parameter.shape)
        start, step = parameter.array, 1e-6
        parameter.array = start + step * direction
        up = expected_bound(link, num_samples)
        parameter.array = start - step * direction
        down = expected_bound(link, num_samples)
        parameter.array = start
        slope = (up - down) / (2 * step)
        assert (total[name] * direction).sum() == pytest.approx(slope, rel=1e-6, abs=1e-9), name
