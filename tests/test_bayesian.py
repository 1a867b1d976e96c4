"""The estimators of scikit-learn: their contract, closed forms in the user's units, and errors."""

import pickle
import warnings

import numpy as np
import pytest
from scipy import stats
from sklearn.datasets import load_wine
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.utils.estimator_checks import check_estimator

import jvi
from jvi.assessment.calibration import coverage, scores

NOISE, SCALE = 30.0, 0.7
QUICK = {"hidden": (4,), "epochs": 10, "num_predictions": 20}


def numbers_of(rows=24):
    """A target far from standard, and features that hardly depend on each other."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(rows, 2)) * [3.0, 0.01] + [50.0, 0.0]
    return X, 1000 + 20 * (X[:, 0] - 50) - 4000 * X[:, 1] + NOISE * rng.normal(size=rows)


def exact_of_linear(X, y, noise=NOISE):
    """Of the weights, in standardised units, the posterior mean, and the deviations of the
    independent Gaussians that are closest to it; and log p(y|X) of y as it is."""
    design = np.column_stack([(X - X.mean(axis=0)) / X.std(axis=0), np.ones(len(X))])
    covariance = noise**2 * np.eye(len(X)) + (SCALE * y.std()) ** 2 * design @ design.T
    evidence = stats.multivariate_normal(np.full(len(X), y.mean()), covariance).logpdf(y)
    of_noise = (noise / y.std()) ** 2
    precision = design.T @ design / of_noise + np.eye(3) / SCALE**2
    standard = (y - y.mean()) / y.std()
    mean = np.linalg.solve(precision, design.T @ standard / of_noise)
    return mean, np.diag(precision) ** -0.5, evidence


@pytest.fixture(scope="module")
def linear():
    X, y = numbers_of()
    about = {"hidden": (), "noise": NOISE, "prior_scale": SCALE, "num_predictions": 4_000}
    return jvi.BayesianMLPRegressor(**about).fit(X, y), X, y


@pytest.mark.slow
@pytest.mark.parametrize("name", ["BayesianMLPRegressor", "BayesianMLPClassifier"])
def test_the_contract_of_scikit_learn(name):
    estimator = getattr(jvi, name)(hidden=(8,), epochs=40)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = check_estimator(estimator, on_skip=None)
    assert len(results) > 40
    for result in results:
        missing = "pandas is not installed" in str(result["exception"])
        assert result["status"] == "passed" or missing or "array_api" in result["check_name"]


def test_the_posterior_is_that_of_linear_regression(linear):
    regressor, X, y = linear
    mean, deviation, _ = exact_of_linear(X, y)
    found, sigma = regressor.model_.link.posterior()
    assert (np.abs(found - mean) < 0.3 * deviation).all()
    np.testing.assert_allclose(sigma, deviation, rtol=0.2)


def test_predictions_are_those_of_linear_regression_in_its_units(linear):
    regressor, X, y = linear
    mean, deviation, _ = exact_of_linear(X, y)
    new = X[:5] + np.array([1.0, 0.005])
    design = np.column_stack([(new - X.mean(axis=0)) / X.std(axis=0), np.ones(5)])
    found, std = regressor.predict(new, return_std=True)
    expected = y.mean() + y.std() * design @ mean
    of_weights = y.std() * np.sqrt(design**2 @ deviation**2)
    np.testing.assert_allclose(found, expected, atol=0.4 * of_weights.min())
    np.testing.assert_allclose(std, np.hypot(NOISE, of_weights), rtol=0.03)
    np.testing.assert_allclose(regressor.predictive(new).data_std, NOISE, rtol=1e-5)
    assert regressor.noise_ == pytest.approx(NOISE, rel=1e-5)
    drawn = regressor.sample(new, 4_000)
    assert drawn.shape == (4_000, 5) and regressor.sample(num_draws=3).shape == (3, 3)
    np.testing.assert_allclose(drawn.mean(axis=0), found, atol=4 * std.max() / np.sqrt(4_000))
    np.testing.assert_allclose(drawn.std(axis=0), std, rtol=0.06)


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("iwae", {"num_samples": 4_000}),
        ("jvi", {"num_samples": 4_000, "order": 2}),
        ("ais", {"num_samples": 24, "num_temps": 150}),
    ],
    ids=["iwae", "jvi", "ais"],
)
def test_evidence_is_that_of_linear_regression_in_its_units(linear, method, options):
    regressor, X, y = linear
    _, _, exact = exact_of_linear(X, y)
    found = regressor.log_evidence(X, y, method, **options)
    assert 0 < found.error < 0.5
    assert abs(found.value - exact) < 4 * found.error
    assert found.num_samples == options["num_samples"] and not found.doubts
    assert "nats" in repr(found)


def test_the_loss_is_minus_the_elbo_in_the_units_of_the_target(linear):
    regressor, X, y = linear
    _, _, exact = exact_of_linear(X, y)
    assert len(regressor.loss_curve_) == 500
    assert -exact - 1 < regressor.loss_curve_[-100:].mean() < -exact + 2


def test_evidence_has_doubts_where_q_is_far_from_the_posterior(linear):
    regressor, X, y = linear
    found = regressor.log_evidence(X, y + 500, num_samples=200)
    assert any("too far from the posterior" in each for each in found.doubts)
    assert "too far" in repr(found)


def test_a_network_learns_a_curve_and_its_noise():
    rng = np.random.default_rng(1)
    X = rng.uniform(-3, 3, size=(900, 1))
    y = 10 * np.sin(X[:, 0]) + 2 * rng.normal(size=900)
    about = {"hidden": (20,), "epochs": 300}
    regressor = jvi.BayesianMLPRegressor(**about).fit(X[:300], y[:300])
    assert regressor.score(X[300:], y[300:]) > 0.9
    assert regressor.noise_ == pytest.approx(2, rel=0.15)
    found = regressor.predictive(X[300:], y[300:])
    assert 0.93 <= coverage(found, 0.95) <= 0.97
    assert scores(found, y[300:])["rmse"].value == pytest.approx(2, rel=0.15)
    outside = regressor.predictive([[0.0], [8.0]]).weight_std
    assert outside[1] > 3 * outside[0]


@pytest.mark.parametrize("hidden", [(), (10,)], ids=str)
def test_classes_are_found_by_their_names(hidden):
    X, y = load_wine(return_X_y=True)
    names = np.array(["red", "white", "rosé"])[y]
    classifier = jvi.BayesianMLPClassifier(hidden, epochs=60).fit(X[::2], names[::2])
    assert classifier.score(X[1::2], names[1::2]) > 0.93
    assert classifier.classes_.tolist() == ["red", "rosé", "white"]
    p = classifier.predict_proba(X)
    np.testing.assert_allclose(p.sum(axis=1), 1)
    np.testing.assert_allclose(classifier.predict_log_proba(X), np.log(p))
    found = classifier.predictive(X, names)
    chosen = p[np.arange(len(X)), np.searchsorted(classifier.classes_, names)]
    np.testing.assert_allclose(found.log_density, np.log(chosen), rtol=1e-9)
    drawn = classifier.sample(X[:2], 3_000)
    share = (drawn == "red").mean(axis=0)
    assert (np.abs(share - p[:2, 0]) < 0.05).all()


def test_evidence_of_logistic_regression_by_quadrature():
    """One weight and a bias: a sum over a grid of both."""
    X = np.array([[-2.0], [-1.0], [-0.5], [0.5], [1.0], [2.0]])
    y = np.array([0, 0, 1, 0, 1, 1])
    classifier = jvi.BayesianMLPClassifier((), epochs=400).fit(X, y)
    points, shares = np.polynomial.hermite_e.hermegauss(60)
    logits = points[:, None, None] * (X[:, 0] / X.std()) + points[:, None]
    p = np.where(y == 1, 1 / (1 + np.exp(-logits)), 1 / (1 + np.exp(logits))).prod(axis=-1)
    exact = np.log(shares @ p @ shares / (2 * np.pi))
    for method, samples in (("iwae", 4_000), ("ais", 40)):
        found = classifier.log_evidence(X, y, method, num_samples=samples, num_temps=40)
        assert 0 < found.error < 0.2
        assert abs(found.value - exact) < 4 * found.error


OPTIONS = {
    "regressor": ("BayesianMLPRegressor", {}),
    "blundell": ("BayesianMLPRegressor", {"kl_weighting": "blundell", "batch_size": 7}),
    "local": ("BayesianMLPRegressor", {"perturbation": "local"}),
    "iwae": ("BayesianMLPRegressor", {"estimator": "iwae"}),
    "jvi": ("BayesianMLPRegressor", {"estimator": "jvi", "noise": 20.0}),
    "flipout": ("BayesianMLPClassifier", {"perturbation": "flipout", "prior": "mixture"}),
    "dreg": ("BayesianMLPClassifier", {"estimator": "dreg", "activation": "tanh"}),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_the_same_seed_gives_the_same_numbers(name):
    kind, options = OPTIONS[name]
    X, y = numbers_of()
    y = y if kind.endswith("Regressor") else y > 1000
    first, second, other = (
        getattr(jvi, kind)(**QUICK | options, seed=seed).fit(X, y) for seed in (3, 3, 4)
    )
    np.testing.assert_array_equal(first.predict(X), second.predict(X))
    for one, two in zip(first.predictive(X, y), second.predictive(X, y), strict=True):
        np.testing.assert_array_equal(one, two)
    assert first.log_evidence(X, y, num_samples=50) == second.log_evidence(X, y, num_samples=50)
    assert not np.array_equal(first.sample(), other.sample())
    again = pickle.loads(pickle.dumps(first))
    np.testing.assert_array_equal(first.predict(X), again.predict(X))
    np.testing.assert_allclose(first.predict(X[:2]), first.predict(X)[:2])


def test_a_network_of_fresh_weights_is_annealed_like_any_other():
    X, y = numbers_of()
    found = [
        jvi.BayesianMLPRegressor(**QUICK, noise=20.0, perturbation=way)
        .fit(X, y)
        .log_evidence(X, y, "ais", num_samples=3, num_temps=4)
        for way in ("shared", "local")
    ]
    assert found[0].value == pytest.approx(found[1].value, rel=1e-6)  # from the prior: without q


def test_a_grid_search_takes_it():
    X, y = numbers_of()
    grid = {"hidden": [(), (3,)], "prior": ["normal", "mixture"]}
    search = GridSearchCV(jvi.BayesianMLPRegressor(epochs=5, num_predictions=5), grid, cv=2)
    assert np.isfinite(search.fit(X, y).cv_results_["mean_test_score"]).all()


def test_constant_features_say_nothing():
    X, y = numbers_of()
    with_constant = np.column_stack([X, np.full(len(X), 7.0)])
    regressor = jvi.BayesianMLPRegressor(**QUICK).fit(with_constant, y)
    assert np.isfinite(regressor.predict(with_constant)).all()


REGRESSION = [
    ({"hidden": (0,)}, "hidden must be"),
    ({"hidden": ("a",)}, "hidden must be"),
    ({"activation": "elu"}, "activation must be one of relu, tanh"),
    ({"noise": "much"}, "noise must be a number or 'learned'"),
    ({"noise": -1.0}, "noise must be from"),
    ({"prior": "cauchy"}, "prior must be one of normal, mixture"),
    ({"prior_scale": 0.0}, "prior-scale must be"),
    ({"estimator": "best"}, "unknown estimator 'best'"),
    ({"estimator": "iwae", "perturbation": "local"}, "needs one draw for all rows"),
    ({"epochs": 0}, "epochs must be at least 1"),
    ({"num_samples": 0}, "num_samples must be at least 1"),
    ({"batch_size": 0}, "batch_size must be at least 1"),
    ({"learning_rate": -1.0}, "must be positive"),
    ({"kl_weighting": "thirds"}, "choose from blundell, uniform"),
]


@pytest.mark.parametrize(
    ("options", "message"),
    REGRESSION,
    ids=[" ".join(f"{k}={v}" for k, v in o.items()) for o, _ in REGRESSION],
)
def test_options_that_cannot_be_are_one_sentence(options, message):
    with pytest.raises(ValueError, match=message):
        jvi.BayesianMLPRegressor(**QUICK | options).fit(*numbers_of())


def test_data_that_cannot_be_are_one_sentence():
    X, y = numbers_of()
    regressor = jvi.BayesianMLPRegressor(**QUICK)
    for call, message in (
        (lambda: regressor.fit(X, np.ones(len(X))), "the target has one value only"),
        (lambda: regressor.fit(np.where(X > 50, np.nan, X), y), "Input X contains NaN"),
        (lambda: regressor.fit(X, y).predict(X[:, :1]), "1 features"),
        (lambda: regressor.log_evidence(X, y, num_samples=0), "number of samples must be"),
        (lambda: regressor.log_evidence(X, y, "nuts"), "choose from iwae, jvi, ais"),
        (lambda: jvi.BayesianMLPClassifier().fit(X, np.full(len(X), "a")), "one class only, a"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    classifier = jvi.BayesianMLPClassifier(**QUICK).fit(X, np.where(y > 1000, "a", "b"))
    with pytest.raises(ValueError, match="was not fitted to: c"):
        classifier.predictive(X[:1], ["c"])
    with pytest.raises(NotFittedError):
        _ = jvi.BayesianMLPClassifier().model_
