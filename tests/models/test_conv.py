"""The convolutional VAE against convolutions written out, and as a density."""

from itertools import product

import numpy as np
import pytest
from differences import slopes
from scipy import stats

import jvi
from jvi.engine.random import Given
from jvi.models import Conv, build

CHANNELS, LATENT = 2, 2


def link_of(side, channels=CHANNELS, latent=LATENT, seed=2):
    rng = np.random.default_rng(seed)
    link = Conv(side**2, channels, latent, rng)
    for parameter in link.params():
        parameter.array = rng.normal(0, 0.5, parameter.shape)
    return link


def halve(layer, h):
    """A 3 × 3 convolution in steps of 2, output by output."""
    size = (h.shape[-1] + 1) // 2
    padded = np.pad(h, ((0, 0), (0, 0), (1, 2), (1, 2)))
    out = np.empty((len(h), len(layer.W.array), size, size))
    for i, j in product(range(size), repeat=2):
        patch = padded[:, :, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3]
        out[:, :, i, j] = np.einsum("ncxy,ocxy->no", patch, layer.W.array) + layer.b.array
    return out


def twice(layer, h, side):
    """Its transpose: every input spreads over 3 × 3 outputs."""
    spread = np.zeros((len(h), layer.W.shape[1], side + 4, side + 4))
    for i, j in product(range(h.shape[-1]), repeat=2):
        part = np.einsum("nc,coxy->noxy", h[:, :, i, j], layer.W.array)
        spread[:, :, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3] += part
    return spread[:, :, 1 : side + 1, 1 : side + 1] + layer.b.array[:, None, None]


def affine(layer, h):
    return h @ layer.W.array.T + layer.b.array


def relu(h):
    return np.maximum(h, 0)


@pytest.mark.parametrize("side", [4, 5, 6, 7, 8])
def test_networks_are_the_formulas(side):
    """Sides that halve, and that do not, the first time or the second."""
    rng, link = np.random.default_rng(1), link_of(side)
    x = (rng.random((3, side**2)) < 0.5).astype(np.float64)
    h = relu(halve(link.encode.conv0, x.reshape(3, 1, side, side)))
    h = relu(halve(link.encode.conv1, h)).reshape(3, -1)
    mean, ln_var = link.infer(x)
    np.testing.assert_allclose(mean.array, affine(link.encode.lin_mu, h), rtol=1e-10, atol=1e-12)
    expected = affine(link.encode.lin_ln_var, h)
    np.testing.assert_allclose(ln_var.array, expected, rtol=1e-10, atol=1e-12)
    z = rng.normal(size=(2, 3, LATENT))
    half, quarter = (side + 1) // 2, (side + 3) // 4
    h = relu(affine(link.decode.lin0, z)).reshape(6, 2 * CHANNELS, quarter, quarter)
    h = twice(link.decode.conv0, relu(twice(link.decode.conv1, h, half)), side)
    p = 1 / (1 + np.exp(-h.reshape(2, 3, -1)))
    np.testing.assert_allclose(link.mean(z).array, p, rtol=1e-9)
    log_px, log_pz = link.log_joint(x, z)
    np.testing.assert_allclose(log_px.array, stats.bernoulli.logpmf(x, p).sum(-1), rtol=1e-9)
    np.testing.assert_allclose(log_pz.array, stats.norm.logpdf(z).sum(axis=-1), rtol=1e-12)


def test_the_likelihood_sums_to_one_over_images():
    link = link_of(3)
    images = np.array(list(product([0.0, 1.0], repeat=9)))
    z = np.repeat(np.random.default_rng(0).normal(size=(2, 1, LATENT)), len(images), axis=1)
    np.testing.assert_allclose(
        np.exp(link.log_joint(images, z)[0].array).sum(axis=1), 1, rtol=1e-12
    )


def test_gradients_are_those_of_finite_differences():
    """Of the sum of all log-weights, through the draws, in every parameter."""
    rng, link = np.random.default_rng(1), link_of(5)
    x, eps = (rng.random((3, 25)) < 0.5).astype(np.float64), rng.normal(size=(2, 3, LATENT))

    def total():
        z, log_q = link.draw(link.infer(x), Given([eps]), 2)
        log_px, log_pz = link.log_joint(x, z)
        return log_px + log_pz - log_q

    link.cleargrads()
    log_w = total()
    log_w.grad = np.ones_like(log_w.array)
    log_w.backward()
    parameters = dict(link.namedparams())
    for name, direction, slope in slopes(parameters.items(), lambda: total().array.sum(), rng):
        found = (parameters[name].grad * direction).sum()
        assert found == pytest.approx(slope, rel=1e-5, abs=1e-6), name


def test_the_first_logits_are_of_moderate_size():
    """Neither vanishing nor saturated, at the sizes of MNIST."""
    rng = np.random.default_rng(0)
    link = build("conv", 784, rng)
    logits = link.decode(rng.normal(size=(1, 200, 32)).astype(np.float32)).array
    assert 0.5 < logits.std() < 2
    mean, ln_var = link.infer((rng.random((200, 784)) < 0.2).astype(np.float32))
    assert 0.1 < mean.array.std() < 2 and 0.1 < ln_var.array.std() < 2


def test_training_improves_the_bound_and_iwae_approaches_the_evidence(tmp_path):
    data = jvi.load_dataset("digits")
    name = "conv:channels=4,latent=1"
    fit = jvi.train(name, data, "iwae", 8, 4, lr=5e-3, quiet=True, output=tmp_path / "m")
    bounds = [-epoch["validation/main/iwae"] for epoch in fit.history]
    assert bounds[-1] > bounds[0] + 2
    x, z = np.rint(data.test[:20]), np.linspace(-7, 7, 2_001, dtype=np.float32).reshape(-1, 1, 1)
    log_px, log_pz = fit.link.log_joint(x, np.tile(z, (1, 20, 1)))
    log_joint = log_px.array.astype(np.float64) + log_pz.array
    exact = np.logaddexp.reduce(log_joint, axis=0) + np.log(14 / 2_000)
    result = jvi.evaluate(fit, x, 10_000, ["iwae"], keep=True)
    error = np.exp(result.log_w - exact).std(axis=0) / 100
    assert (abs(result.per_image["iwae"] - exact) < 5 * error + 1e-4).all()
    assert repr(fit).startswith("<jvi.Model conv:pixels=64,channels=4,latent=1>\n")
    again = jvi.load(tmp_path / "m")
    assert again.link.spec == fit.link.spec
    np.testing.assert_array_equal(again.reconstruct(x), fit.reconstruct(x))


@pytest.mark.parametrize(
    ("name", "pixels", "message"),
    [
        ("conv", 60, "conv needs square images: 60 pixels are none"),
        ("conv:channels=99999", 64, "conv:channels must be at most 1024, not 99999"),
        ("conv:channels=0", 64, "conv:channels must be at least 1, not 0"),
    ],
)
def test_what_it_cannot_be_is_refused(name, pixels, message):
    with pytest.raises(ValueError, match=message):
        build(name, pixels, np.random.default_rng(0))
