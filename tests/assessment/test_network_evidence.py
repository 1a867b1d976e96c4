"""Evidence of networks whose evidence is known: linear regression, and one hidden unit."""

import numpy as np
import pytest
from scipy import stats

import jvi
from jvi.assessment.bidirectional import sandwich
from jvi.assessment.network_evidence import (
    annealed,
    bracket,
    importance,
    log_weights,
    simulated,
)
from jvi.functions.softplus_gaussian import inverse_softplus
from jvi.models import build

NOISE, SCALE = 0.4, 0.8
LINEAR = f"bayes-mlp:hidden=none,noise={NOISE},prior-scale={SCALE}"


def model_of(spec, columns):
    return jvi.Model(build(spec, columns, np.random.default_rng(0)))


def set_q(model, mean, sigma):
    model.link.mu.array = np.asarray(mean, np.float32)
    model.link.rho.array = inverse_softplus(np.asarray(sigma, float)).astype(np.float32)


def data_of(features):
    rng = np.random.default_rng(3)
    targets = features @ np.array([0.9, -0.5]) + 0.3 + NOISE * rng.normal(size=len(features))
    return np.column_stack([features, targets]).astype(np.float32)


def exact_of_linear(x):
    """log N(y; 0, NOISE² I + SCALE² A Aᵀ), A with a column of ones; and the exact posterior."""
    design = np.column_stack([x[:, :-1], np.ones(len(x))]).astype(float)
    covariance = NOISE**2 * np.eye(len(x)) + SCALE**2 * design @ design.T
    evidence = stats.multivariate_normal(np.zeros(len(x)), covariance).logpdf(x[:, -1])
    precision = design.T @ design / NOISE**2 + np.eye(3) / SCALE**2
    mean = np.linalg.solve(precision, design.T @ x[:, -1].astype(float) / NOISE**2)
    return evidence, mean, precision


@pytest.fixture(scope="module")
def correlated():
    rng = np.random.default_rng(1)
    features = rng.normal(size=(15, 2)) @ np.array([[1.0, 0.5], [0.0, 0.8]])
    x = data_of(features)
    evidence, mean, precision = exact_of_linear(x)
    model = model_of(LINEAR, 3)
    set_q(model, mean, np.diag(precision) ** -0.5)  # what minimises the divergence
    return model, x, evidence, mean, precision


def test_with_the_exact_posterior_every_weight_is_the_evidence():
    """Orthogonal columns have independent weights, which a diagonal q can have, too."""
    signs = np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]] * 5, float)
    x = data_of(signs)
    evidence, mean, precision = exact_of_linear(x)
    model = model_of(LINEAR, 3)
    set_q(model, mean, np.diag(precision) ** -0.5)
    np.testing.assert_allclose(log_weights(model, x, 50), evidence, atol=2e-4)
    found = importance(model, x, 50)
    assert found.ess == pytest.approx(50, abs=1e-3) and not found.doubts


def test_importance_sampling_finds_the_evidence_of_linear_regression(correlated):
    model, x, evidence, *_ = correlated
    found = importance(model, x, 4_000, (1, 2))
    assert list(found.values) == ["elbo", "iwae", "jvi-1", "jvi-2"]
    for name in ("iwae", "jvi-1", "jvi-2"):
        assert 0 < found.errors[name] < 0.1
        assert abs(found.values[name] - evidence) < 4 * found.errors[name]
    assert found.values["elbo"] < evidence - 0.1 and found.pareto_k < 0.7 and not found.doubts
    assert "jvi-1" in repr(found)


def test_draws_are_the_first_of_more_and_rows_may_come_in_pieces(correlated, monkeypatch):
    model, x, *_ = correlated
    many = log_weights(model, x, 40)
    monkeypatch.setattr("jvi.assessment.network_evidence.NUMBERS", 10)
    np.testing.assert_allclose(log_weights(model, x, 20), many[:20], rtol=1e-6)
    assert not np.array_equal(log_weights(model, x, 20, seed=1), many[:20])


def test_a_q_that_is_too_far_away_is_said_to_be(correlated):
    _, x, evidence, mean, precision = correlated
    far = model_of(LINEAR, 3)
    set_q(far, mean + 1.0, 0.2 * np.diag(precision) ** -0.5)
    found = importance(far, x, 400)
    assert found.values["iwae"] < evidence - 3
    assert any("Pareto k" in each and "too far from the posterior" in each for each in found.doubts)


def test_annealing_brackets_the_evidence_of_linear_regression(correlated):
    """From an exact draw of the posterior backwards, it is an upper bound on average."""
    model, x, evidence, mean, precision = correlated
    options = {"num_chains": 24, "num_temps": 60, "num_steps": 5, "step_size": 0.06}
    found = annealed(model, x, **options)
    assert found.errors["ais-prior"] < 0.5
    assert abs(found.values["ais-prior"] - evidence) < 4 * found.errors["ais-prior"]
    rng = np.random.default_rng(5)
    z = rng.multivariate_normal(mean, np.linalg.inv(precision), size=1)
    ends = sandwich(model, z, x, prior=True, **options)
    assert ends.lower[0] == found.values["ais-prior"]
    assert ends.lower[0] - 0.5 < evidence < ends.upper[0] + 0.5
    assert ends.gap < 2
    from_q = annealed(model, x, 8, 3, prior=False, step_size=0.05)
    assert abs(from_q.values["ais"] - evidence) < 4 * from_q.errors["ais"] + 0.02


def test_targets_of_the_model_itself_are_bracketed(correlated):
    model, x, *_ = correlated
    z, drawn = simulated(model, x, seed=4)
    assert z.shape == (1, 3) and drawn.shape == x.shape and drawn.dtype == np.float32
    np.testing.assert_array_equal(drawn[:, :-1], x[:, :-1])
    evidence, *_ = exact_of_linear(drawn)
    ends = bracket(model, x, 16, 60, seed=4, num_steps=5, step_size=0.06)
    assert ends.lower[0] - 1 < evidence < ends.upper[0] + 1 and ends.gap < 3


def evidence_of_one_unit(x, noise):
    """By quadrature over the hidden unit's two weights; the outer two are a linear regression."""
    points, shares = np.polynomial.hermite_e.hermegauss(80)
    terms = []
    for v, share_v in zip(points, shares, strict=True):
        hidden = np.tanh(np.outer(points, np.ones(len(x))) + v * x[:, 0])  # a row for each bias
        for h, share_b in zip(hidden, shares, strict=True):
            # N(y; 0, noise² I + h hᵀ + 1 1ᵀ), by the matrix determinant lemma
            design = np.column_stack([h, np.ones(len(x))])
            inner = np.eye(2) + design.T @ design / noise**2
            projected = design.T @ x[:, 1] / noise**2
            fit = projected @ np.linalg.solve(inner, projected)
            terms.append(
                np.log(share_v * share_b / (2 * np.pi))
                - 0.5 * (np.log(np.linalg.det(inner)) + x[:, 1] @ x[:, 1] / noise**2 - fit)
            )
    normaliser = len(x) * (np.log(noise) + 0.5 * np.log(2 * np.pi))
    return np.logaddexp.reduce(terms) - normaliser


@pytest.fixture(scope="module")
def one_unit():
    rng = np.random.default_rng(2)
    features = rng.normal(size=5)
    targets = np.tanh(1.2 * features) + 0.5 * rng.normal(size=5)
    x = np.column_stack([features, targets]).astype(np.float32)
    model = model_of("bayes-mlp:hidden=1,activation=tanh,noise=0.5", 2)
    set_q(model, np.zeros(4), np.ones(4))  # the prior
    return model, x, evidence_of_one_unit(x.astype(float), 0.5)


def test_one_hidden_unit_by_quadrature(one_unit):
    """Two modes, as signs may change: from the prior both are found."""
    model, x, exact = one_unit
    found = importance(model, x, 40_000)
    assert found.errors["iwae"] < 0.05
    for name in ("iwae", "jvi-1"):
        assert abs(found.values[name] - exact) < 4 * found.errors[name]
    chains = annealed(model, x, 48, 40, num_steps=4, step_size=0.15)
    assert chains.errors["ais-prior"] < 0.3
    assert abs(chains.values["ais-prior"] - exact) < 4 * chains.errors["ais-prior"]


def test_a_q_that_misses_a_mode_is_below_the_evidence(one_unit):
    """log 2 is what a network of one unit loses by knowing one of two equal modes."""
    model, x, exact = one_unit
    grid = log_weights(model, x, 20_000)
    shares = np.exp(grid - grid.max())
    one = model_of(str(model.link.spec), 2)
    z = _draws(model, 20_000)
    positive = z[:, :1] > 0
    shares = shares * positive / (shares * positive).sum()
    mean = (shares * z).sum(axis=0)
    set_q(one, mean, np.sqrt((shares * (z - mean) ** 2).sum(axis=0)))
    found = importance(one, x, 4_000)
    assert exact - 1.2 < found.values["iwae"] < exact - 0.3


def _draws(model, count):
    from jvi.engine.random import PointSource

    return PointSource((0, "evaluation noise", 0), [0]).part().normal((count, 1, 4))[:, 0]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m, x: importance(m, x, 0), "number of samples must be at least 1|jackknife order"),
        (lambda m, x: importance(m, x, 3, (3,)), "jackknife order 3 must be"),
        (lambda m, x: log_weights(m, x[:0], 3), "there are no rows"),
        (lambda m, x: log_weights(m, x[:, :1], 3), "the model expects"),
    ],
)
def test_what_cannot_be_evaluated_is_one_sentence(one_unit, call, message):
    with pytest.raises(ValueError, match=message):
        call(*one_unit[:2])


def test_models_of_data_points_are_sent_elsewhere():
    model = model_of("gaussian-vae:hidden=3,latent=1", 2)
    with pytest.raises(ValueError, match=r"gaussian-vae has latents .* jvi\.evaluate"):
        importance(model, np.zeros((3, 2), np.float32), 4)


def test_parameters_that_are_damaged_are_said_to_be(one_unit):
    model, x, _ = one_unit
    damaged = model_of(str(model.link.spec), 2)
    damaged.link.mu.array[:] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        log_weights(damaged, x, 3)
