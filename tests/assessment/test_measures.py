"""What is measured beside bounds: against its definition, and refused where it cannot be had."""

import math

import numpy as np
import pytest
from scipy import special, stats

from jvi import datasets
from jvi.assessment import measures, similarity
from jvi.assessment.measures import MEASURES, able, check, check_names, measure, units
from jvi.assessment.similarity import ssim
from jvi.models import build
from jvi.models.model import Model

DIGITS, MIXTURE = datasets.load("digits"), datasets.load("mixture")


def model_of(name, columns=64):
    return Model(build(name, columns, np.random.default_rng(0)))


def digits(count=150):
    return datasets.observe_each(DIGITS, DIGITS.test[:count], 0)


def test_ssim_is_of_images_as_the_model_sees_them_and_their_reconstructions():
    model, x = model_of("mlp:hidden=8,latent=3"), digits()
    [row] = measure("ssim", model, x, DIGITS)
    values = ssim(x, model.reconstruct(x), (8, 8))
    assert row["measure"] == "ssim" and row["num_images"] == 150
    assert row["mean"] == pytest.approx(values.mean(), rel=1e-5)
    assert row["standard_error"] == pytest.approx(values.std(ddof=1) / math.sqrt(150), rel=1e-4)
    assert -1 < row["mean"] < 0.9


def test_ssim_of_a_model_that_forgets_nothing_is_one(monkeypatch):
    model = model_of("mlp:hidden=8,latent=3")
    monkeypatch.setattr(model, "reconstruct", lambda x: x)
    [row] = measure("ssim", model, digits(), DIGITS)
    assert row["mean"] == pytest.approx(1, abs=1e-9) and row["standard_error"] < 1e-9


def test_ssim_does_not_depend_on_blocks(monkeypatch):
    model, x = model_of("burda:layers=2"), digits(9)
    [whole] = measure("ssim", model, x, DIGITS)
    monkeypatch.setattr(measures, "BLOCK", 2)
    monkeypatch.setattr(measures, "rows_at_once", lambda *_: 1)
    [parts] = measure("ssim", model, x, DIGITS)
    assert parts["mean"] == pytest.approx(whole["mean"], abs=1e-6)


def test_units_of_each_layer_are_counted():
    """One encoder unit of the first layer is cut off, which makes it constant."""
    model = model_of("burda:layers=2")
    head = model.link.encode[0].lin_mu
    head.W.array[7], head.b.array[7] = 0, 3
    first, second = measure("active-units", model, digits(), DIGITS)
    assert [row["measure"] for row in (first, second)] == ["active-units-1", "active-units-2"]
    mean = model.encode(digits())[0].astype(np.float64)
    assert first["mean"] == (mean.var(axis=0) > 0.01).sum() <= 99 and first["total"] == 100
    assert 0 <= second["mean"] <= second["total"] == 50
    told = units([first, second])
    assert told == {"active_units": [first["mean"], second["mean"]], "latent_units": [100, 50]}
    [alone] = measure("active-units", model_of("mlp:hidden=8,latent=3"), digits(1), DIGITS)
    assert math.isnan(alone["mean"])
    assert units([alone]) == {"active_units": None, "latent_units": 3}
    assert units([]) == {"active_units": None, "latent_units": None}


def test_l2_errors_are_those_of_le_et_al():
    """Against SciPy's densities, for components in proportion to c + 5."""
    model, x = model_of("mixture", 1), MIXTURE.test[:40]
    model.link.prior.array[:] = np.linspace(-1, 1, 20)
    posterior, prior = measure("l2-errors", model, x, MIXTURE)
    truth = (np.arange(20) + 5) / 290
    exact = truth * stats.norm.pdf(x, 10 * np.arange(20), 5)
    exact /= exact.sum(axis=-1, keepdims=True)
    q = special.softmax(model.encode(x).astype(np.float64), axis=-1)
    away = np.sqrt(((q - exact) ** 2).sum(axis=-1))
    assert [posterior["measure"], prior["measure"]] == ["l2-posterior", "l2-prior"]
    assert posterior["mean"] == pytest.approx(away.mean(), rel=1e-6)
    assert posterior["standard_error"] == pytest.approx(stats.sem(away), rel=1e-6)
    expected = np.linalg.norm(special.softmax(np.linspace(-1, 1, 20)) - truth)
    assert prior["mean"] == pytest.approx(expected, rel=1e-6)
    assert math.isnan(prior["standard_error"])


def test_what_cannot_be_measured_is_said_with_the_option():
    with pytest.raises(ValueError, match="unknown measure 'psnr': choose from ssim, active-units"):
        check_names(["ssim", "psnr"])
    mlp, mixture = (model_of(*each).link for each in (("mlp", 64), ("mixture", 1)))
    with pytest.raises(ValueError, match=r"--measures l2-errors needs the distances .* mlp does"):
        check(["ssim", "l2-errors"], mlp, DIGITS)
    with pytest.raises(ValueError, match="--measures ssim needs images, which mixture does not"):
        check(["ssim"], mixture, MIXTURE)
    with pytest.raises(ValueError, match="--measures ssim needs images of at least 3 x 3 pixels"):
        check(["ssim"], mlp, DIGITS._replace(image_shape=(2, 32)))
    check(MEASURES.keys() - {"l2-errors"}, mlp, DIGITS)


@pytest.mark.parametrize("capability", ["mean", "typical"])
def test_ssim_needs_reconstructions(monkeypatch, capability):
    link = model_of("mlp").link
    owner = next(each for each in type(link).__mro__ if capability in vars(each))
    monkeypatch.delattr(owner, capability)
    with pytest.raises(ValueError, match=r"--measures ssim needs .*, which mlp does not have"):
        check(["ssim"], link, DIGITS)


def test_what_a_model_is_able_to(monkeypatch):
    mlp, mixture = (model_of(*each).link for each in (("mlp", 64), ("mixture", 1)))
    assert able(mlp, DIGITS) == ["ssim", "active-units"]
    assert able(mixture, MIXTURE) == ["active-units", "l2-errors"]
    monkeypatch.setattr(similarity, "find_spec", lambda _: None)
    assert able(mlp, DIGITS) == ["active-units"]
