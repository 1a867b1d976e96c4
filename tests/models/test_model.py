"""A loaded model: the original's numbers, plain arrays, clear refusals."""

import numpy as np
import pytest

import jvi
from jvi.engine import devices
from jvi.models import MLP, Burda

ORIGINALS = ["tiny_vae", "tiny_iwae", "tiny_jvielbo", "iwae8", "jvielbo8", "jvi8slow"]


@pytest.fixture(scope="module")
def model():
    return jvi.Model(MLP(12, 5, 3, np.random.default_rng(0)))


@pytest.fixture(scope="module")
def x():
    return (np.random.default_rng(1).random((7, 12)) < 0.5).astype(np.float32)


@pytest.mark.parametrize("name", ORIGINALS)
def test_originals_give_the_originals_numbers(legacy, name):
    golden = np.load(f"{legacy(name)}.golden.npz")
    model = jvi.load(legacy(name))
    q_mean, q_ln_var = model.encode(golden["x"])
    np.testing.assert_allclose(q_mean, golden["q_mean"], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(q_ln_var, golden["q_ln_var"], rtol=1e-5, atol=1e-5)
    log_w = model.log_weights(golden["x"], eps=golden["eps"])
    assert log_w.dtype == np.float32
    np.testing.assert_allclose(log_w, golden["log_w"], rtol=1e-5)


def test_log_weights_are_the_densities_of_the_docstring(model, x):
    """log p(x|z) + log p(z) - log q(z|x) from `decode` and scipy's distributions."""
    from scipy import stats

    eps = np.random.default_rng(2).normal(size=(4, 7, 3)).astype(np.float32)
    mean, ln_var = (array.astype(np.float64) for array in model.encode(x))
    scale = np.exp(0.5 * ln_var)
    z = mean + scale * eps
    p = model.decode(z).astype(np.float64)
    log_px = np.where(x > 0, np.log(p), np.log1p(-p)).sum(axis=-1)
    log_pz = stats.norm.logpdf(z).sum(axis=-1)
    log_qz = stats.norm(mean, scale).logpdf(z).sum(axis=-1)
    expected = log_px + log_pz - log_qz
    np.testing.assert_allclose(model.log_weights(x, eps=eps), expected, rtol=2e-5)


def test_log_weights_do_not_depend_on_the_chunks(monkeypatch, model, x):
    eps = np.random.default_rng(3).normal(size=(10, 7, 3)).astype(np.float32)
    whole = model.log_weights(x, eps=eps)
    drawn = model.log_weights(x, 10, np.random.default_rng(4))
    monkeypatch.setattr(devices, "ROWS", 20)
    np.testing.assert_allclose(model.log_weights(x, eps=eps), whole, rtol=1e-6)
    again = model.log_weights(x, 10, np.random.default_rng(4))
    np.testing.assert_allclose(again, drawn, rtol=1e-6)


def test_pictures(model, x):
    rng = np.random.default_rng
    for images in (
        model.sample_prior(5, rng(0)),
        model.reconstruct(x),
        model.reconstruct(x, rng(0)),
    ):
        assert images.shape[1] == 12 and images.dtype == np.float32
        assert ((images > 0) & (images < 1)).all()
    np.testing.assert_array_equal(model.reconstruct(x), model.decode(model.encode(x)[0]))
    z = rng(5).standard_normal((5, 3), dtype=np.float32)
    np.testing.assert_array_equal(model.sample_prior(5, rng(5)), model.decode(z))


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros((7, 64)), r"images have shape \(7, 64\), the model expects \(N, 12\)"),
        (np.zeros(12), "the model expects"),
        (np.full((2, 12), np.nan), "outside"),
        (np.full((2, 12), 255.0), "outside"),
    ],
)
def test_images_that_do_not_fit_are_refused(model, x, message):
    with pytest.raises(ValueError, match=message):
        model.encode(x)


def test_noise_that_does_not_fit_is_refused(model, x):
    with pytest.raises(
        ValueError, match=r"noise has shape \(4, 7, 2\), the model expects \(4, 7, 3\)"
    ):
        model.log_weights(x, eps=np.zeros((4, 7, 2)))
    with pytest.raises(ValueError, match="give num_samples"):
        model.log_weights(x)
    with pytest.raises(ValueError, match="its last axis should be 3"):
        model.decode(np.zeros((4, 2)))


def test_no_model_is_a_clear_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="no model there"):
        jvi.load(tmp_path / "nothing")


def test_models_say_what_they_are(model):
    text = repr(model)
    assert text.startswith("<jvi.Model mlp:pixels=12,hidden=5,latent=3>")
    assert "parameters on @numpy" in text and "without log_evidence" in text


def test_models_by_name(x):
    data = jvi.dataset(np.concatenate([x] * 3))
    model = jvi.model("sbn:layers=2,units=4", data, seed=3)
    assert str(model.link.spec) == "sbn:pixels=12,layers=2,units=4"
    assert model.log_weights(x, 6, np.random.default_rng(0)).shape == (6, 7)
    again = jvi.model("sbn:layers=2,units=4", data, seed=3)
    for a, b in zip(model.link.params(), again.link.params(), strict=True):
        np.testing.assert_array_equal(a.array, b.array)


def test_means_of_upper_layers_are_averages_over_draws_of_a_data_points_own(x):
    link = Burda(12, 2, np.random.default_rng(1))
    means = jvi.Model(link).latent_means(x)
    assert [each.shape for each in means] == [(7, 100), (7, 50)]
    alone = jvi.Model(link).latent_means(x[3:5], start=3)
    for a, b in zip(means, alone, strict=True):
        np.testing.assert_allclose(a[3:5], b, rtol=1e-5, atol=1e-6)
