"""Predictions of networks whose predictions are known, and how they are judged."""

import numpy as np
import pytest
from scipy import stats

import jvi
from jvi.assessment.calibration import coverage, mean_score, reliability, scores
from jvi.assessment.predictive import draw_targets, draw_weights, mixture_quantile, predict
from jvi.datasets.tabular import Scaling
from jvi.functions.softplus_gaussian import inverse_softplus
from jvi.models import build

LINEAR = "bayes-mlp:hidden=none,noise=0.5"
MEAN, SIGMA = np.array([0.8, -0.4, 0.3]), np.array([0.2, 0.5, 0.1])
SCALING = Scaling(np.array([5.0, -1.0]), np.array([2.0, 10.0]), 100.0, 20.0)


def model_of(spec, columns=3):
    return jvi.Model(build(spec, columns, np.random.default_rng(0)))


def linear(mean=MEAN, sigma=SIGMA, spec=LINEAR):
    model = model_of(spec)
    model.link.mu.array = np.asarray(mean, np.float32)
    model.link.rho.array = inverse_softplus(np.asarray(sigma, float)).astype(np.float32)
    return model


def features_of(rows=6):
    return np.random.default_rng(1).normal(size=(rows, 2))


def test_linear_regression_by_its_closed_form():
    """With q Gaussian and the output linear in z, the predictive density is Gaussian."""
    features, draws = features_of(), 20_000
    design = np.column_stack([features, np.ones(6)])
    mean, weight_std = design @ MEAN, np.sqrt(design**2 @ SIGMA**2)
    std = np.hypot(0.5, weight_std)
    targets = mean + np.linspace(-2, 2, 6) * std
    found = predict(linear(), features, targets, draws, level=0.9)
    error = weight_std / np.sqrt(draws)
    assert (np.abs(found.mean - mean) < 4 * error).all()
    np.testing.assert_allclose(found.weight_std, weight_std, rtol=4 / np.sqrt(2 * draws))
    np.testing.assert_allclose(found.data_std, 0.5, rtol=1e-6)
    np.testing.assert_allclose(found.std**2, found.data_std**2 + found.weight_std**2)
    for ends, share in ((found.lower, 0.05), (found.upper, 0.95)):
        np.testing.assert_allclose(ends, stats.norm.ppf(share, mean, std), atol=0.04 * std.max())
    np.testing.assert_allclose(found.log_density, stats.norm.logpdf(targets, mean, std), atol=0.06)
    np.testing.assert_allclose(found.below, stats.norm.cdf(targets, mean, std), atol=0.02)


def test_predictions_of_a_few_draws_are_a_mixture_by_hand():
    features, targets = features_of(), np.linspace(-1, 1, 6)
    z = draw_weights(linear(), 5, seed=3).astype(float)
    means = z @ np.column_stack([features.astype(np.float32), np.ones(6)]).T
    found = predict(linear(), features, targets, 5, seed=3)
    np.testing.assert_allclose(found.mean, means.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(found.weight_std, means.std(axis=0), rtol=1e-12)
    each = stats.norm.pdf(targets, means, 0.5)
    np.testing.assert_allclose(found.log_density, np.log(each.mean(axis=0)), rtol=1e-6)
    below = stats.norm.cdf(found.upper, means, 0.5).mean(axis=0)
    np.testing.assert_allclose(below, 0.975, atol=1e-7)
    below = stats.norm.cdf(found.lower, means, 0.5).mean(axis=0)
    np.testing.assert_allclose(below, 0.025, atol=1e-7)


@pytest.mark.parametrize("sigma", [1e-6, 0.3, 50.0])
@pytest.mark.parametrize("share", [0.001, 0.5, 0.9])
def test_quantiles_of_mixtures(sigma, share):
    """Of one Gaussian in closed form; of several, also far apart, by their distribution."""
    one = np.array([[-3.0, 7.0]])
    np.testing.assert_allclose(
        mixture_quantile(one, sigma, share), stats.norm.ppf(share, one[0], sigma), rtol=1e-9
    )
    means = np.random.default_rng(0).normal(size=(7, 20)) * 5
    x = mixture_quantile(means, sigma, share)
    np.testing.assert_allclose(stats.norm.cdf((x - means) / sigma).mean(axis=0), share, atol=1e-8)


def test_numbers_come_back_in_their_own_units():
    features, targets = features_of(), np.linspace(-1, 1, 6)
    own = features * SCALING.scale + SCALING.mean
    plain = predict(linear(), features, targets, 50)
    scaled = predict(linear(), own, targets * 20 + 100, 50, scaling=SCALING)
    for name in ("mean", "lower", "upper"):
        np.testing.assert_allclose(getattr(scaled, name), 100 + 20 * getattr(plain, name))
    for name in ("std", "data_std", "weight_std"):
        np.testing.assert_allclose(getattr(scaled, name), 20 * getattr(plain, name), rtol=1e-6)
    np.testing.assert_allclose(scaled.log_density, plain.log_density - np.log(20), atol=1e-6)
    np.testing.assert_allclose(scaled.below, plain.below, atol=1e-6)
    drawn = draw_targets(linear(), features, 3, seed=2)
    in_unit = draw_targets(linear(), own, 3, seed=2, scaling=SCALING)
    np.testing.assert_allclose(in_unit, 100 + 20 * drawn, rtol=1e-6)


SPECS = {
    "regression": "bayes-mlp:hidden=5",
    "binary": "bayes-mlp:hidden=5,task=binary",
    "classification": "bayes-mlp:hidden=5,task=classification,classes=3,perturbation=flipout",
}


@pytest.mark.parametrize("name", SPECS)
def test_neither_rows_nor_pieces_change_a_number(name, monkeypatch):
    model, features, targets = model_of(SPECS[name]), features_of(9), np.tile([0, 1, 0], 3)
    whole = predict(model, features, targets, 12, seed=4)
    weights = draw_weights(model, 12, seed=4)
    drawn = draw_targets(model, features, 12, seed=4)
    monkeypatch.setattr("jvi.assessment.predictive.NUMBERS", 70)
    pieces = predict(model, features, targets, 12, seed=4)
    single = predict(model, features[3:4], targets[3:4], 12, seed=4)
    for all_, some, one in zip(whole, pieces, single, strict=True):
        np.testing.assert_allclose(some, all_, rtol=1e-9, atol=1e-12)
        if isinstance(all_, np.ndarray):
            np.testing.assert_allclose(one, all_[3:4], rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(draw_weights(model, 7, seed=4), weights[:7])
    np.testing.assert_allclose(draw_targets(model, features, 12, seed=4), drawn, rtol=1e-5)
    other = predict(model, features, targets, 12, seed=5)
    assert not np.array_equal(other.log_density, whole.log_density)


@pytest.mark.parametrize("name", ["binary", "classification"])
def test_entropy_is_that_of_the_data_and_that_of_the_weights(name):
    model, features = model_of(SPECS[name]), features_of(8)
    model.link.rho.array[:] = 1.0  # weights that are uncertain
    labels = np.arange(8) % (2 if name == "binary" else 3)
    found = predict(model, features, labels, 40)
    z = draw_weights(model, 40)[:, None].astype(float)
    f = model.link.outputs(features.astype(np.float32).astype(float), z)
    if name == "binary":
        f = np.concatenate([np.zeros_like(f), f], axis=-1)
    each = np.exp(f) / np.exp(f).sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(found.probabilities, each.mean(axis=0), rtol=1e-9)
    np.testing.assert_allclose(found.entropy, stats.entropy(each.mean(axis=0), axis=1), rtol=1e-9)
    np.testing.assert_allclose(
        found.data_entropy, stats.entropy(each, axis=-1).mean(axis=0), rtol=1e-9
    )
    divergence = stats.entropy(each, found.probabilities[None], axis=-1).mean(axis=0)
    np.testing.assert_allclose(found.weight_entropy, divergence, rtol=1e-8)
    assert (found.weight_entropy > 0.05).all()
    chosen = found.probabilities[np.arange(8), labels]
    np.testing.assert_allclose(found.log_density, np.log(chosen), rtol=1e-9)


def test_weights_without_doubt_leave_the_doubt_of_the_data():
    found = predict(linear(sigma=np.full(3, 1e-12)), features_of(), None, 9)
    np.testing.assert_allclose(found.weight_std, 0, atol=1e-6)
    np.testing.assert_allclose(found.upper - found.mean, 0.5 * stats.norm.ppf(0.975), rtol=1e-6)
    assert found.log_density is None and found.below is None
    sure = linear(sigma=np.full(3, 1e-12), spec="bayes-mlp:hidden=none,task=binary")
    assert (predict(sure, features_of(), None, 9).weight_entropy < 1e-9).all()


def test_intervals_cover_what_the_network_itself_draws():
    features = features_of(1_500)
    targets = np.diag(draw_targets(linear(), features, 1_500, seed=8))  # each by its own weights
    found = predict(linear(), features, targets, 400, level=0.8)
    result = scores(found, targets)
    inside = result["coverage"]
    assert inside.error == pytest.approx(np.sqrt(0.8 * 0.2 / 1_500), rel=0.1)
    assert abs(inside.value - 0.8) < 4 * inside.error
    assert coverage(found, 0.8) == inside.value
    assert (np.abs(coverage(found, [0.5, 0.95]) - [0.5, 0.95]) < 0.05).all()
    assert result["calibration_error"].value < 0.03
    narrow = predict(linear(sigma=np.full(3, 1e-6)), features, targets, 2)
    assert scores(narrow, targets)["calibration_error"].value > 0.05


def test_scores_by_hand():
    features, targets = features_of(5), np.array([0.0, 1.0, -1.0, 2.0, 0.5])
    found = predict(linear(), features, targets, 10)
    result = scores(found, targets)
    squares = (targets - found.mean) ** 2
    assert result["rmse"].value == pytest.approx(np.sqrt(squares.mean()))
    expected = squares.std(ddof=1) / np.sqrt(5) / (2 * np.sqrt(squares.mean()))
    assert result["rmse"].error == pytest.approx(expected)
    assert result["log_density"] == mean_score(found.log_density)
    model = model_of(SPECS["classification"])
    labels = np.array([0, 1, 2, 0, 1])
    found = predict(model, features, labels, 10)
    right = found.probabilities.argmax(axis=1) == labels
    result = scores(found, labels)
    assert result["accuracy"] == (right.mean(), right.std(ddof=1) / np.sqrt(5))
    assert "±" in str(result["accuracy"])


def test_calibration_error_of_constructed_cases():
    sure = np.array([0.95] * 20 + [0.65] * 20)
    probabilities = np.column_stack([sure, 1 - sure])
    labels = np.array([0] * 19 + [1] + [0] * 13 + [1] * 7)
    calibrated = reliability(probabilities, labels, 10)
    assert calibrated.error == pytest.approx(0, abs=1e-12)
    assert calibrated.counts.tolist() == [0] * 6 + [20, 0, 0, 20]
    np.testing.assert_allclose(calibrated.accuracy[[6, 9]], [0.65, 0.95])
    np.testing.assert_allclose(calibrated.confidence[[6, 9]], [0.65, 0.95])
    assert np.isnan(calibrated.accuracy[:6]).all()
    wrong = reliability(probabilities, np.ones(40), 10)
    assert wrong.error == pytest.approx(0.8)
    half = reliability(np.array([[1.0, 0.0], [0.0, 1.0]]), [0, 0], 3)
    assert half.error == pytest.approx(0.5) and half.counts[-1] == 2


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: predict(m, features_of(), None, 0), "at least 1 draw of the weights"),
        (lambda m: predict(m, features_of(), level=1.0), "level between 0 and 1, not 1"),
        (lambda m: predict(m, features_of()[0]), r"features have shape \(2,\)"),
        (lambda m: predict(m, features_of(), [1.0]), "6 rows, but targets of shape"),
        (lambda m: predict(m, np.zeros((2, 5))), "the model expects"),
        (lambda m: draw_targets(m, features_of(), 0), "at least 1 draw"),
        (lambda m: scores(predict(m, features_of(), None, 2), []), "made without targets"),
        (lambda m: reliability([[0.5, 0.5]], [0], 0), "0 bins"),
        (lambda m: predict(model_of("gaussian-vae:hidden=3,latent=1"), features_of()), "predict"),
    ],
)
def test_what_cannot_be_predicted_is_one_sentence(call, message):
    with pytest.raises(ValueError, match=message):
        call(linear())


def test_damaged_parameters_are_said_to_be():
    model = linear()
    model.link.mu.array[:] = np.inf
    with pytest.raises(ValueError, match="outputs that are not finite"):
        predict(model, features_of())
