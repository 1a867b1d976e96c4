"""The VAE of real numbers against its formulas, and exactly where it is linear."""

import numpy as np
import pytest
from differences import slopes
from scipy import stats

import jvi
from jvi.engine.random import Given
from jvi.models import GaussianVAE

COLUMNS, HIDDEN, LATENT = 5, 7, 2


def link_of(columns=COLUMNS, hidden=HIDDEN, latent=LATENT, seed=2):
    rng = np.random.default_rng(seed)
    link = GaussianVAE(columns, hidden, latent, rng)
    for parameter in link.params():
        parameter.array = rng.normal(0, 0.4, parameter.shape)
    return link


def affine(layer, h):
    return h @ layer.W.array.T + layer.b.array


def two_layers(chain, h):
    return np.tanh(affine(chain.lin1, np.tanh(affine(chain.lin0, h))))


def of_line(num_rows=1_500):
    """Rows near a curve: three columns that one number decides, with noise of 0.1."""
    rng = np.random.default_rng(4)
    t, noise = rng.normal(size=(num_rows, 1)), 0.1 * rng.normal(size=(num_rows, 3))
    return np.concatenate([t, np.sin(2 * t), 0.5 * t**2], axis=1) + noise


def test_densities_are_the_formulas():
    rng, link = np.random.default_rng(1), link_of()
    x, eps = rng.normal(size=(4, COLUMNS)), rng.normal(size=(3, 4, LATENT))
    h = two_layers(link.encode, x)
    mean, ln_var = affine(link.encode.lin_mu, h), affine(link.encode.lin_ln_var, h)
    q = link.infer(x)
    z, log_q = link.draw(q, Given([eps]), 3)
    np.testing.assert_allclose(z.array, mean + np.exp(ln_var / 2) * eps, rtol=1e-12)
    expected = stats.norm.logpdf(z.array, mean, np.exp(ln_var / 2)).sum(axis=-1)
    np.testing.assert_allclose(log_q.array, expected, rtol=1e-12)
    log_px, log_pz = link.log_joint(x, z)
    center = affine(link.columns, two_layers(link.decode, z.array))
    np.testing.assert_allclose(link.mean(z).array, center, rtol=1e-12)
    expected = stats.norm.logpdf(x, center, np.exp(link.ln_var.array / 2)).sum(axis=-1)
    np.testing.assert_allclose(log_px.array, expected, rtol=1e-12)
    np.testing.assert_allclose(log_pz.array, stats.norm.logpdf(z.array).sum(axis=-1), rtol=1e-12)
    expected = 0.5 * (mean**2 + np.exp(ln_var) - ln_var - 1).sum(axis=-1)
    np.testing.assert_allclose(link.kl(q).array, expected, rtol=1e-12)


def test_the_gradient_of_the_likelihood_is_that_of_finite_differences():
    rng, link = np.random.default_rng(1), link_of()
    x, z = rng.normal(size=(4, COLUMNS)), rng.normal(size=(3, 4, LATENT))
    link.cleargrads()
    log_px = link.log_joint(x, z)[0]
    log_px.grad = weights = rng.normal(size=(3, 4))
    log_px.backward()
    parameters = [*link.decode.params(), *link.columns.params(), link.ln_var]
    assert len(parameters) == 7

    def weighted():
        return (weights * link.log_joint(x, z)[0].array).sum()

    for number, direction, slope in slopes(enumerate(parameters), weighted, rng):
        found = (parameters[number].grad * direction).sum()
        assert found == pytest.approx(slope, rel=1e-6, abs=1e-8)


@pytest.mark.slow
def test_iwae_approaches_the_evidence_by_quadrature(tmp_path):
    """One latent: log p(x) by a sum over a grid of z; and the noise's variance is learned."""
    data = jvi.dataset(of_line())
    fit = jvi.train(
        "gaussian-vae:hidden=20,latent=1", data, "iwae", 8, 50, lr=0.01, quiet=True,
        output=tmp_path / "m",
    )  # fmt: skip
    bounds = [-epoch["validation/main/iwae"] for epoch in fit.history]
    assert bounds[-1] > bounds[0] + 2
    assert (fit.link.ln_var.array < -2).all()  # from 0, on the way to 2 log 0.1 = -4.6
    x, z = data.test[:50], np.linspace(-7, 7, 2_001, dtype=np.float32).reshape(-1, 1, 1)
    log_px, log_pz = fit.link.log_joint(x, np.tile(z, (1, 50, 1)))
    log_joint = log_px.array.astype(np.float64) + log_pz.array
    exact = np.logaddexp.reduce(log_joint, axis=0) + np.log(14 / 2_000)
    result = jvi.evaluate(fit, x, 4_000, ["iwae"], keep=True)
    error = np.exp(result.log_w - exact).std(axis=0) / 4_000**0.5
    assert (abs(result.per_image["iwae"] - exact) < 5 * error + 1e-4).all()
    spec = "gaussian-vae:columns=3,hidden=20,latent=1"
    assert repr(fit).startswith(f"<jvi.Model {spec}>\n")
    again = jvi.load(tmp_path / "m")
    assert str(again.link.spec) == spec
    np.testing.assert_array_equal(again.reconstruct(x), fit.reconstruct(x))


def test_any_finite_numbers_are_its_data():
    link = link_of()
    x = 1e3 * np.random.default_rng(0).normal(size=(3, COLUMNS))
    assert link.check(x).dtype == np.float32
    with pytest.raises(ValueError, match=r"data have shape \(3, 4\), the model expects \(N, 5\)"):
        link.check(x[:, :4])
    x[2, 0] = np.inf
    with pytest.raises(ValueError, match="row 2 has values that are not finite numbers"):
        link.check(x)
    with pytest.raises(ValueError, match="row 0 has values that are not finite numbers"):
        link.check(np.full((1, COLUMNS), 1e300))  # too large for float32
