"""Rainforth's toy problem: densities, the exact evidence, and the optimum of every bound."""

import numpy as np
import pytest
from scipy import stats

import jvi
from jvi.engine.random import Given, PointSource
from jvi.models import GaussianToy
from jvi.models.gaussian_toy import near_optimum

DIM = 20
DATA = jvi.load_dataset("gaussian-toy")


def link_of(dim, seed=7):
    """A link in float64 whose numbers are all in play."""
    rng = np.random.default_rng(seed)
    link = GaussianToy(dim, rng)
    for parameter in link.params():
        parameter.array = rng.normal(0, 0.5, parameter.shape)
    return link


def at_optimum():
    model = jvi.model("gaussian-toy", DATA)
    near_optimum(model.link, DATA.train, np.random.default_rng(0), scale=0)
    return model


def test_densities_are_the_formulas():
    rng, link = np.random.default_rng(1), link_of(3)
    x, eps, mu = rng.normal(size=(4, 3)), rng.normal(size=(5, 4, 3)), link.mu.array
    q = link.infer(x)
    z, log_q = link.draw(q, Given([eps]), 5)
    mean = x @ link.encode.W.array.T + link.encode.b.array
    np.testing.assert_allclose(z.array, mean + (2 / 3) ** 0.5 * eps, rtol=1e-12)
    expected = stats.norm.logpdf(z.array, mean, (2 / 3) ** 0.5).sum(axis=-1)
    np.testing.assert_allclose(log_q.array, expected, rtol=1e-12)
    log_px, log_pz = link.log_joint(x, z)
    np.testing.assert_allclose(log_px.array, stats.norm.logpdf(x, z.array).sum(-1), rtol=1e-12)
    np.testing.assert_allclose(log_pz.array, stats.norm.logpdf(z.array, mu).sum(-1), rtol=1e-12)
    expected = stats.norm.logpdf(x, mu, 2**0.5).sum(axis=-1)
    np.testing.assert_allclose(link.log_evidence(x), expected, rtol=1e-12)
    variance = 2 / 3
    expected = 0.5 * ((mean - mu) ** 2 + variance - np.log(variance) - 1).sum(axis=-1)
    np.testing.assert_allclose(link.kl(q).array, expected, rtol=1e-12)


def test_the_evidence_is_the_integral():
    """By quadrature in one dimension, of exp(log p(x|z) + log p(z))."""
    link, z = link_of(1), np.linspace(-15, 15, 20_001).reshape(-1, 1, 1)
    x = np.array([[0.3], [-2.0], [4.0]])
    log_px, log_pz = link.log_joint(x, np.broadcast_to(z, (len(z), len(x), 1)))
    total = np.exp(log_px.array + log_pz.array).sum(axis=0) * (z[1] - z[0]).item()
    np.testing.assert_allclose(link.log_evidence(x), np.log(total), rtol=1e-9)


def test_prior_draws_and_quantiles_follow_the_prior():
    link = link_of(2)
    z = link.draw_prior(PointSource((0, "pictures"), range(4)), 10_000, 4).reshape(-1, 2)
    error = 4 / len(z) ** 0.5
    np.testing.assert_allclose(z.mean(axis=0), link.mu.array, atol=error)
    np.testing.assert_allclose(z.var(axis=0), 1, atol=2 * error)
    u = np.random.default_rng(0).random((6, 2))
    expected = stats.norm.ppf(u, link.mu.array)
    np.testing.assert_allclose(link.prior_quantile(u), expected, rtol=1e-5)


def test_at_the_optimum_the_gaps_are_the_published_ones():
    """ELBO: 0.45651 nats; Var[w]/Z² = 0.906721, so IWAE's bias tends to -0.45336/K."""
    model = at_optimum()
    link, x = model.link, DATA.train
    exact = link.log_evidence(x)
    mean = link.infer(x)[0].array
    # E_q log N(x; z, I) = log N(x; mean of q, I) - D (2/3) / 2
    elbo = stats.norm.logpdf(x, mean).sum(axis=-1) - DIM / 3 - link.kl(link.infer(x)).array
    np.testing.assert_allclose(exact - elbo, 0.45651, atol=2e-5)
    result = jvi.evaluate(model, x, 2_000, ["elbo", "iwae"], keep=True)
    error = 4 * result.log_w.std() / result.log_w.size**0.5
    assert exact.mean() - result.mean["elbo"] == pytest.approx(0.45651, abs=error)
    w = np.exp(result.log_w - exact)
    assert w.mean() == pytest.approx(1, abs=4 * (0.906721 / w.size) ** 0.5)
    moments = (w**2).reshape(-1)
    error = 4 * moments.std() / moments.size**0.5
    assert error < 0.02
    assert moments.mean() - 1 == pytest.approx(0.906721, abs=error)
    bias = (result.per_image["iwae"] - exact).mean()
    assert bias == pytest.approx(-0.45336 / 2_000, abs=4 * (0.906721 / w.size) ** 0.5)


def test_the_optimum_is_one():
    """The gradient of the mean ELBO with the closed-form KL divergence is 0 there, exactly."""
    link = link_of(DIM)
    near_optimum(link, DATA.train, np.random.default_rng(0), scale=0)
    x = DATA.train.astype(np.float64)
    z, _ = link.draw(link.infer(x), Given([np.zeros((1, *x.shape))]), 1)
    log_px, _ = link.log_joint(x, z)  # its mean over z is this minus a constant
    link.cleargrads()
    bound = (log_px[0] - link.kl(link.infer(x))) / len(x)
    bound.grad = np.ones_like(bound.array)
    bound.backward()
    for name, parameter in link.namedparams():
        np.testing.assert_allclose(parameter.grad, 0, atol=1e-12, err_msg=name)


def test_near_the_optimum_every_number_has_noise_of_its_own():
    link = GaussianToy(DIM)
    near_optimum(link, DATA.train, np.random.default_rng(3))
    mean = DATA.train.astype(np.float64).mean(axis=0)
    away = [
        link.mu.array - mean,
        link.encode.W.array - np.eye(DIM) / 2,
        link.encode.b.array - mean / 2,
    ]
    away = np.concatenate([each.ravel() for each in away]) / 0.01
    assert away.size == DIM**2 + 2 * DIM and link.mu.array.dtype == np.float32
    assert stats.kstest(away, "norm").pvalue > 0.01


def test_iwae_with_many_samples_is_the_evidence_and_training_finds_the_optimum(tmp_path):
    fit = jvi.train("gaussian-toy", DATA, "iwae", 8, 40, lr=0.03, quiet=True, output=tmp_path / "m")
    bounds = [-epoch["validation/main/iwae"] for epoch in fit.history]
    assert bounds[-1] > bounds[0] + 5
    link = fit.link
    assert abs(link.mu.array - DATA.train.mean(axis=0)).max() < 0.2
    x = DATA.test[:200]
    result = jvi.evaluate(fit, x, 5_000, ["iwae"], keep=True)
    error = np.exp(result.log_w - link.log_evidence(x)).std(axis=0) / 5_000**0.5
    away = (result.per_image["iwae"] - link.log_evidence(x)) / error
    assert abs(away.mean()) < 4 / 200**0.5
    assert repr(fit).startswith("<jvi.Model gaussian-toy:dim=20>\n  440 parameters on")
    again = jvi.load(tmp_path / "m")
    assert again.link.spec == link.spec
    for ours, theirs in zip(again.link.params(), link.params(), strict=True):
        np.testing.assert_array_equal(ours.array, theirs.array)


def test_what_it_has_no_likelihood_for_is_refused():
    with pytest.raises(ValueError, match=r"data have shape \(300, 64\), the model expects \(N, 20"):
        at_optimum().images(jvi.load_dataset("digits").test)
    bad = DATA.test.copy()
    bad[3, 2] = np.nan
    with pytest.raises(ValueError, match="row 3 has values that are not finite"):
        at_optimum().images(bad)
    with pytest.raises(ValueError, match="of 5 dim, but the data have 20"):
        jvi.model("gaussian-toy:dim=5", DATA)
