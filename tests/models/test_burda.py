"""IWAE's networks against their formulas in NumPy, and their sizes against the paper."""

import numpy as np
import pytest
from scipy import stats

from jvi.engine.random import Given
from jvi.models import Burda

RNG = np.random.default_rng(5)
N, K, PIXELS = 3, 2, 6


def model(layers):
    link = Burda(PIXELS, layers, RNG)
    for parameter in link.params():
        parameter.array = RNG.normal(0, 0.1, parameter.shape)
    return link


def affine(layer, h):
    return h @ layer.W.array.T + layer.b.array


def gaussian(chain, h):
    h = np.tanh(affine(chain.lin1, np.tanh(affine(chain.lin0, h))))
    return affine(chain.lin_mu, h), affine(chain.lin_ln_var, h)


def log_normal(z, mean, ln_var):
    return stats.norm.logpdf(z, mean, np.exp(0.5 * ln_var)).sum(axis=-1)


def log_bernoulli(x, logits):
    return stats.bernoulli.logpmf(x, 1 / (1 + np.exp(-logits))).sum(axis=-1)


@pytest.mark.parametrize("layers", [1, 2])
def test_densities_are_the_formulas(layers):
    link = model(layers)
    x = (RNG.random((N, PIXELS)) < 0.5).astype(float)
    eps = [RNG.normal(size=(K, N, size)) for size in ((50,) if layers == 1 else (100, 50))]
    z, log_q = link.draw(link.infer(x), Given(eps), K)
    log_px, log_pz = link.log_joint(x, z)

    mean, ln_var = gaussian(link.encode[0], x)
    expected = [mean + np.exp(0.5 * ln_var) * eps[0]]
    q = log_normal(expected[0], mean, ln_var)
    p = 0.0
    if layers == 2:
        mean, ln_var = gaussian(link.encode[1], expected[0])
        expected.append(mean + np.exp(0.5 * ln_var) * eps[1])
        q = q + log_normal(expected[1], mean, ln_var)
        p = log_normal(expected[0], *gaussian(link.decode[1], expected[1]))
    p = p + stats.norm.logpdf(expected[-1]).sum(axis=-1)
    hidden = link.decode[0]
    h = np.tanh(affine(hidden.lin1, np.tanh(affine(hidden.lin0, expected[0]))))
    for found, wanted in zip(z if layers == 2 else [z], expected, strict=True):
        np.testing.assert_allclose(found.array, wanted, rtol=1e-10)
    np.testing.assert_allclose(log_q.array, q, rtol=1e-10)
    np.testing.assert_allclose(log_pz.array, p, rtol=1e-10)
    np.testing.assert_allclose(log_px.array, log_bernoulli(x, affine(link.pixels, h)), rtol=1e-10)


def test_sizes_are_the_papers():
    """Burda et al. 2016, section 5: x-200-200-50, and 100 units in the layers of the second."""
    one, two = ({n: p.shape for n, p in Burda(784, k).namedparams()} for k in (1, 2))
    assert one["/encode/0/lin0/W"] == (200, 784) and one["/encode/0/lin_mu/W"] == (50, 200)
    assert one["/decode/0/lin0/W"] == (200, 50) and one["/pixels/W"] == (784, 200)
    assert two["/encode/0/lin_mu/W"] == (100, 200) and two["/encode/1/lin0/W"] == (100, 100)
    assert two["/encode/1/lin_mu/W"] == (50, 100) and two["/decode/1/lin0/W"] == (100, 50)
    assert two["/decode/1/lin_mu/W"] == (100, 100) and two["/decode/0/lin0/W"] == (200, 100)
