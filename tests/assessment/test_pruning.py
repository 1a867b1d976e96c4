"""Networks without the weights that say least."""

import numpy as np
import pytest

import jvi
from jvi.assessment.predictive import draw_weights, predict
from jvi.assessment.pruning import prune, pruning_curve, signal_to_noise
from jvi.functions.softplus_gaussian import inverse_softplus
from jvi.models import build

MEAN = np.array([3.0, 0.1, -2.0, 0.5])  # three features and a bias
SIGMA = np.array([0.5, 0.1, 1.0, 0.01])  # signals of 6, 1, 2 and 50


@pytest.fixture
def model():
    link = build("bayes-mlp:hidden=none,noise=0.5", 4, np.random.default_rng(0))
    link.mu.array = MEAN.astype(np.float32)
    link.rho.array = inverse_softplus(SIGMA).astype(np.float32)
    return jvi.Model(link, meta={"--model": "kept"})


def test_signals_are_means_over_deviations(model):
    np.testing.assert_allclose(signal_to_noise(model), [6, 1, 2, 50], rtol=1e-6)
    np.testing.assert_array_equal(signal_to_noise(model.link), signal_to_noise(model))


def test_pruning_leaves_the_function_of_what_is_left(model):
    features = np.random.default_rng(1).normal(size=(5, 3))
    half = prune(model, 0.5)
    z = draw_weights(model, 8)
    np.testing.assert_allclose(draw_weights(half, 8), z * [1, 0, 0, 1], atol=1e-29)
    expected = np.outer(z[:, 0], features[:, 0].astype(np.float32)) + z[:, 3:]
    found = predict(half, features, None, 8)
    np.testing.assert_allclose(found.mean, expected.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(found.weight_std, expected.std(axis=0), rtol=1e-5)
    assert half.meta == model.meta and signal_to_noise(half)[1:3].tolist() == [0, 0]
    np.testing.assert_array_equal(model.link.mu.array, MEAN.astype(np.float32))  # untouched
    np.testing.assert_array_equal(prune(half, 0.5).link.rho.array, half.link.rho.array)


def test_all_and_nothing(model):
    features = np.ones((2, 3))
    gone = predict(prune(model, 1.0), features, None, 4)
    np.testing.assert_allclose([*gone.mean, *gone.weight_std], 0, atol=1e-29)
    np.testing.assert_array_equal(draw_weights(prune(model, 0.0), 3), draw_weights(model, 3))


def test_the_curve_has_scores_for_each_share(model):
    rng = np.random.default_rng(2)
    features = rng.normal(size=(200, 3))
    targets = features @ MEAN[:3] + MEAN[3] + 0.5 * rng.normal(size=200)
    curve = pruning_curve(model, features, targets, (0.0, 0.25, 0.75), num_samples=20, seed=1)
    assert [(each.share, each.num_weights) for each in curve] == [(0, 4), (0.25, 3), (0.75, 1)]
    errors = [each.scores["rmse"].value for each in curve]
    assert errors[1] == pytest.approx(errors[0], abs=0.1) and errors[2] > 3
    whole = predict(model, features, targets, 20, seed=1)
    assert curve[0].scores["log_density"].value == pytest.approx(whole.log_density.mean())


@pytest.mark.parametrize("share", [-0.1, 1.5])
def test_impossible_shares_are_refused(model, share):
    with pytest.raises(ValueError, match="from 0 to 1"):
        prune(model, share)


def test_other_models_are_refused():
    other = build("gaussian-vae:hidden=3,latent=1", 4, np.random.default_rng(0))
    with pytest.raises(ValueError, match="gaussian-vae has no distribution of weights"):
        prune(other, 0.5)
