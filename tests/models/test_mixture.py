"""The mixture of Gaussians: everything about it by summing over its components."""

import numpy as np
import pytest
from scipy import stats

import jvi
from jvi.engine.random import Given, PointSource
from jvi.evidence.estimators import estimator
from jvi.models import Mixture
from jvi.models.mixture import l2_errors, posterior, true_prior
from jvi.training.objective import Objective, draw, loss

DATA = jvi.load_dataset("mixture")
C = 4
X = np.array([[-3.0], [4.0], [11.0], [26.0], [33.0]])


def link_of(components=C, seed=1):
    """A link in float64, its prior and its encoder far from even."""
    rng = np.random.default_rng(seed)
    link = Mixture(1, components, rng)
    for parameter in link.params():
        parameter.array = rng.normal(0, 0.6, parameter.shape)
    return link


def softmax(logits):
    p = np.exp(logits)
    return p / p.sum(axis=-1, keepdims=True)


def every_state(num_points=5):
    """Every z, as samples: shape (C, N, C)."""
    return np.repeat(np.eye(C)[:, None], num_points, axis=1)


def test_densities_are_the_formulas():
    link, z = link_of(), every_state()
    hidden = np.tanh(X @ link.encode.lin0.W.array.T + link.encode.lin0.b.array)
    q = softmax(hidden @ link.encode.lin1.W.array.T + link.encode.lin1.b.array)
    assert link.encode.lin0.W.shape == (16, 1) and link.encode.lin1.W.shape == (C, 16)
    np.testing.assert_allclose(np.exp(link.log_q(link.infer(X), z).array), q.T, rtol=1e-10)
    log_px, log_pz = link.log_joint(X, z)
    expected = stats.norm.logpdf(X[:, 0], 10 * np.arange(C)[:, None], 5)
    np.testing.assert_allclose(log_px.array, expected, rtol=1e-12)
    p = softmax(link.prior.array)
    np.testing.assert_allclose(np.exp(log_pz.array), np.tile(p[:, None], len(X)), rtol=1e-12)
    total = np.exp(log_px.array + log_pz.array).sum(axis=0)
    np.testing.assert_allclose(link.log_evidence(X), np.log(total), rtol=1e-12)
    np.testing.assert_allclose(link.kl(link.infer(X)).array, (q * np.log(q / p)).sum(-1), rtol=1e-9)
    np.testing.assert_allclose(link.latent_means(link.infer(X), z)[0], q, rtol=1e-10)
    np.testing.assert_array_equal(link.typical(link.infer(X))[0].argmax(-1), q.argmax(-1))
    np.testing.assert_array_equal(link.mean(z).array[:, 0, 0], 10 * np.arange(C))


def test_the_evidence_of_a_far_away_point_does_not_underflow():
    link = link_of()
    x = np.array([[1e4], [-1e4]])
    assert np.isfinite(link.log_evidence(x)).all()
    assert (link.log_evidence(x) < -1e6).all()


def test_the_evidence_integrates_to_one():
    x = np.linspace(-60, 90, 30_001).reshape(-1, 1)
    assert np.exp(link_of().log_evidence(x)).sum() * 150 / 30_000 == pytest.approx(1, rel=1e-9)


def test_draws_come_with_their_probabilities():
    """From q and from the prior: one-hot, with frequencies within 4.5 standard errors."""
    link, count = link_of(), 40_000
    q = link.infer(X)
    z, log_q = link.draw(q, PointSource((0, "evaluation noise"), range(len(X))).part(), count)
    assert set(np.unique(z)) == {0, 1} and (z.sum(axis=-1) == 1).all()
    np.testing.assert_array_equal(log_q.array, link.log_q(q, z).array)
    prior = link.draw_prior(PointSource((0, "pictures"), range(len(X))).part(), count, len(X))
    for found, p in [(z, link.latent_means(q, z)[0]), (prior, softmax(link.prior.array))]:
        assert (abs(found.mean(axis=0) - p) < 4.5 * np.sqrt(p * (1 - p) / count)).all()


def test_the_ends_of_the_unit_interval_are_components():
    link = link_of()
    z, _ = link.draw(link.infer(X), Given([np.array([[0.0] * 5, [1 - 1e-16] * 5])]), 2)
    np.testing.assert_array_equal(z.argmax(axis=-1), [[0] * 5, [C - 1] * 5])


def test_posterior_and_l2_errors_are_those_of_le_et_al():
    prior = np.array([0.4, 0.3, 0.2, 0.1])
    exact = posterior(X, prior)
    expected = prior * stats.norm.pdf(X, 10 * np.arange(C), 5)
    expected /= expected.sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(exact, expected, rtol=1e-10)
    link = Mixture(1, C, np.random.default_rng(0))
    link.prior.array = np.log(prior)
    q = softmax(link.infer(X.astype(np.float32)).array)
    errors = l2_errors(link, X, prior)
    assert errors.prior == pytest.approx(0, abs=1e-15)
    assert errors.posterior == pytest.approx(np.mean(np.sqrt(((q - exact) ** 2).sum(-1))), rel=1e-6)
    link.prior.array = np.zeros(C)
    away = [0.15, 0.05, 0.05, 0.15]
    assert l2_errors(link, X, prior).prior == pytest.approx(np.sqrt(np.square(away).sum()))
    assert l2_errors(link, X).prior == pytest.approx(np.linalg.norm(true_prior(C) - 0.25))
    away, from_prior = link.l2_errors(X)
    assert (away.mean(), from_prior) == pytest.approx(l2_errors(link, X)) and len(away) == len(X)
    assert true_prior(20) == pytest.approx((np.arange(20) + 5) / 290)


def test_reinforce_is_the_gradient_of_the_expected_elbo():
    """With K = 1: its expectation over every z, against finite differences of the exact ELBO."""
    link, objective = link_of(), Objective(estimator("reinforce"))
    x = X[1:2]

    def elbo():
        log_px, _ = link.log_joint(x, every_state(1))
        q = link.latent_means(link.infer(x), None)[0][0]
        return (q * log_px.array[:, 0]).sum() - link.kl(link.infer(x)).array[0]

    q = link.latent_means(link.infer(x), None)[0][0]
    total = {name: np.zeros(p.shape) for name, p in link.namedparams()}
    for c, middle in enumerate(np.cumsum(q) - q / 2):
        link.cleargrads()
        draws = draw(link, x, Given([np.array([[middle]])]), 1, objective)
        assert draws.z.argmax() == c
        loss(link, draws, objective, objective.estimator(draws.log_w)).backward()
        for name, parameter in link.namedparams():
            total[name] -= q[c] * parameter.grad
    for name, parameter in link.namedparams():
        direction = np.random.default_rng(0).normal(size=parameter.shape)
        start, step = parameter.array, 1e-6
        parameter.array = start + step * direction
        up = elbo()
        parameter.array = start - step * direction
        slope = (up - elbo()) / (2 * step)
        parameter.array = start
        assert (total[name] * direction).sum() == pytest.approx(slope, rel=1e-6, abs=1e-9), name


def test_iwae_with_many_samples_is_the_evidence():
    rng, x = np.random.default_rng(3), X.astype(np.float32)
    model = jvi.Model(Mixture(1, C, rng))
    model.link.prior.array = rng.normal(size=C).astype(np.float32)
    exact = model.link.log_evidence(x)
    q = model.link.latent_means(model.link.infer(x), None)[0]
    variance = (posterior(x, softmax(model.link.prior.array)) ** 2 / q).sum(axis=-1) - 1
    result = jvi.evaluate(model, x, 50_000, ["vae", "iwae"])
    error = (variance / 50_000) ** 0.5
    assert error.max() < 0.05
    assert (abs(result.per_image["iwae"] - exact) < 4 * error).all()
    elbo = (q * np.log(posterior(x, softmax(model.link.prior.array)) / q)).sum(axis=-1) + exact
    assert (abs(result.per_image["vae"] - elbo) < 0.2).all() and (elbo < exact).all()


def test_training_improves_the_bound_and_the_encoder(tmp_path):
    part = DATA._replace(train=DATA.train[:10_000], validation=DATA.validation[:500])
    before = jvi.model("mixture", part)
    fit = jvi.train("mixture", part, "reinforce", 8, 5, lr=2e-3, quiet=True, output=tmp_path / "m")
    bounds = [-epoch["validation/main/iwae"] for epoch in fit.history]
    assert bounds[-1] > bounds[0] + 0.5
    x = DATA.test[:200]
    assert l2_errors(fit.link, x).posterior < l2_errors(before.link, x).posterior
    assert repr(fit).startswith("<jvi.Model mixture:columns=1,components=20>\n  392 parameters on")
    again = jvi.load(tmp_path / "m")
    assert again.link.spec == fit.link.spec
    np.testing.assert_array_equal(again.link.prior.array, fit.link.prior.array)
    assert l2_errors(again.link, x) == l2_errors(fit.link, x)


def test_what_it_cannot_be_of_is_refused():
    with pytest.raises(ValueError, match="data in one column, not in 20"):
        jvi.model("mixture", jvi.load_dataset("gaussian-toy"))
    with pytest.raises(ValueError, match="mixture:components must be at most 1024, not 99999"):
        jvi.model("mixture:components=99999", DATA)
    with pytest.raises(ValueError, match="iwae needs draws of z that can be differentiated"):
        jvi.train("mixture", DATA, "iwae", 2, 1, quiet=True)
