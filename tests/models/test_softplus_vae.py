"""The VAE with a softplus for q's standard deviations against its formulas."""

import numpy as np
import pytest
from scipy import stats

from jvi.engine.random import Given
from jvi.models import SoftplusVAE

PIXELS, HIDDEN, LATENT = 6, 5, 2


def link_of(seed=2):
    """In float64."""
    rng = np.random.default_rng(seed)
    link = SoftplusVAE(PIXELS, HIDDEN, LATENT, rng)
    for parameter in link.params():
        parameter.array = rng.normal(0, 0.4, parameter.shape)
    return link


def affine(layer, h):
    return h @ layer.W.array.T + layer.b.array


def two_layers(chain, h):
    return np.tanh(affine(chain.lin1, np.tanh(affine(chain.lin0, h))))


def test_densities_are_the_formulas():
    rng, link = np.random.default_rng(1), link_of()
    x = (rng.random((4, PIXELS)) < 0.5).astype(float)
    eps = rng.normal(size=(3, 4, LATENT))
    h = two_layers(link.encode, x)
    mean, sigma = affine(link.encode.lin_mu, h), np.logaddexp(0, affine(link.encode.lin_rho, h))
    q = link.infer(x)
    z, log_q = link.draw(q, Given([eps]), 3)
    np.testing.assert_allclose(z.array, mean + sigma * eps, rtol=1e-10)
    expected = stats.norm.logpdf(mean + sigma * eps, mean, sigma).sum(axis=-1)
    np.testing.assert_allclose(log_q.array, expected, rtol=1e-10)
    logits = affine(link.pixels, two_layers(link.decode, z.array))
    p = 1 / (1 + np.exp(-logits))
    log_px, log_pz = link.log_joint(x, z)
    np.testing.assert_allclose(log_px.array, stats.bernoulli.logpmf(x, p).sum(axis=-1), rtol=1e-10)
    np.testing.assert_allclose(log_pz.array, stats.norm.logpdf(z.array).sum(axis=-1), rtol=1e-10)
    np.testing.assert_allclose(link.mean(z).array, p, rtol=1e-10)
    expected = 0.5 * (mean**2 + sigma**2 - 1).sum(axis=-1) - np.log(sigma).sum(axis=-1)
    np.testing.assert_allclose(link.kl(q).array, expected, rtol=1e-10)


@pytest.mark.parametrize("layer", ["lin_mu", "lin_rho", "lin0"])
def test_the_gradient_through_q_is_that_of_finite_differences(layer):
    rng, link = np.random.default_rng(1), link_of()
    x = (rng.random((4, PIXELS)) < 0.5).astype(float)
    eps, parameter = rng.normal(size=(3, 4, LATENT)), getattr(link.encode, layer).b

    def elbo():
        z, log_q = link.draw(link.infer(x), Given([eps]), 3)
        log_px, log_pz = link.log_joint(x, z)
        total = log_px + log_pz - log_q
        return (total.array.sum(), total)

    link.cleargrads()
    _, total = elbo()
    total.grad = np.ones(total.shape)
    total.backward()
    for i in range(parameter.size):
        sides = []
        for step in (1e-5, -1e-5):
            parameter.array[i] += step
            sides.append(elbo()[0])
            parameter.array[i] -= step
        np.testing.assert_allclose((sides[0] - sides[1]) / 2e-5, parameter.grad[i], rtol=1e-5)


@pytest.mark.parametrize("rho", [-300.0, 300.0])
def test_nothing_over_or_underflows(rho):
    """Far below zero the softplus is e^rho, far above it is rho."""
    link, x = SoftplusVAE(PIXELS, HIDDEN, LATENT, np.random.default_rng(0)), np.ones((1, PIXELS))
    link.encode.lin_rho.W.array[:] = 0
    link.encode.lin_rho.b.array[:] = rho
    mean, ln_var = link.infer(x.astype(np.float32))
    log_sigma = rho if rho < 0 else np.log(rho)
    np.testing.assert_allclose(ln_var.array, 2 * log_sigma, rtol=1e-6)
    expected = 0.5 * (mean.array**2 + np.exp(2 * log_sigma) - 2 * log_sigma - 1).sum(axis=-1)
    np.testing.assert_allclose(link.kl((mean, ln_var)).array, expected, rtol=1e-5)


def test_the_default_sizes_are_those_of_iwae():
    """Burda et al. 2016, section 5."""
    shapes = {name: p.shape for name, p in SoftplusVAE(784).namedparams()}
    assert shapes["/encode/lin0/W"] == (200, 784) and shapes["/encode/lin1/W"] == (200, 200)
    assert shapes["/encode/lin_mu/W"] == shapes["/encode/lin_rho/W"] == (50, 200)
    assert shapes["/decode/lin0/W"] == (200, 50) and shapes["/decode/lin1/W"] == (200, 200)
    assert shapes["/pixels/W"] == (784, 200)
