"""Signal-to-noise ratios of gradients: of estimates made one by one, and where they are known."""

import chainer
import numpy as np
import pytest

import jvi
from jvi.assessment.signal_to_noise import groups_of, measure, third_pass
from jvi.engine import threads
from jvi.engine.random import BatchSource, stream
from jvi.evidence.estimators import estimator
from jvi.models import Burda, Mixture
from jvi.models.gaussian_toy import GaussianToy, near_optimum
from jvi.models.sbn import SBN
from jvi.training.objective import Objective, draw, loss

X = jvi.load_dataset("gaussian-toy").train[:6]


@pytest.fixture
def toy():
    link = GaussianToy(20, np.random.default_rng(0))
    near_optimum(link, X, np.random.default_rng(1), scale=0.3)
    return link


def estimates(link, x, name, num_samples, repeats, num_estimates=1):
    """Every gradient, {parameter: array (repeats, P)}, by a call of the loss for each."""
    objective, found = Objective(estimator(name)), []
    for repeat in range(repeats):
        sums = {}
        for number in range(num_estimates):
            source = BatchSource(stream(3, "gradient noise", repeat, number), len(x))
            link.cleargrads()
            draws = draw(link, x, source, num_samples, objective)
            _, weights = objective.estimator.with_bound(draws.log_w)
            loss(link, draws, objective, weights).backward()
            for key, parameter in link.namedparams():
                part = parameter.grad.ravel().astype(np.float64) / num_estimates
                sums[key] = sums.get(key, 0.0) + part
        found.append(sums)
    return {key: np.array([each[key] for each in found]) for key in found[0]}


@pytest.mark.parametrize("num_estimates", [1, 3])
@pytest.mark.parametrize("name", ["iwae", "dreg", "ovis:gamma=0", "ovis-mc:aux=2"])
def test_moments_are_those_of_the_estimates_one_by_one(toy, name, num_estimates):
    gradients = estimates(toy, X, name, 4, 12, num_estimates)
    found = measure(toy, X, name, 4, repeats=12, num_estimates=num_estimates, seed=3)
    inference = np.concatenate([gradients["/encode/W"], gradients["/encode/b"]], axis=1)
    for group, expected in (("model", gradients["/mu"]), ("inference", inference)):
        variance = expected.var(axis=0, ddof=1).mean()
        assert found[group].variance == pytest.approx(variance, rel=1e-4)
        assert found[group].number == 12
        plain = np.abs(expected.mean(axis=0)) / expected.std(axis=0) * (1 - 1.25 / 12)
        # the middle of this and what signs of other estimates give, half their distance an error
        assert -1e-6 < plain.mean() - found[group].snr <= found[group].snr_error


def test_the_ratio_of_the_elbo_is_known():
    """K = 1: the gradient by mu of the mean of N points is that of z - mu, of variance 2/(3 N)."""
    link = GaussianToy(20, np.random.default_rng(0))
    near_optimum(link, X, np.random.default_rng(1), scale=0.3)
    mean = (link.infer(X)[0].array - link.mu.array).mean(axis=0)
    for num_estimates in (1, 4):
        truth = np.abs(mean) / (2 / 3 / len(X) / num_estimates) ** 0.5
        options = {"repeats": 64, "num_estimates": num_estimates, "groups": {"mu": ["/mu"]}}
        found = measure(link, X, "iwae", 1, **options)["mu"]
        assert abs(found.snr - truth.mean()) < 3 * found.snr_error < 0.35 * truth.mean()
        variance = 2 / 3 / len(X) / num_estimates
        assert abs(found.variance - variance) < 3 * found.variance_error < 0.35 * variance


def test_any_number_of_threads_gives_the_same_numbers(toy, monkeypatch):
    found = []
    for count in (1, 3):
        monkeypatch.setattr(threads, "cores", lambda count=count: count)
        found.append(measure(toy, X, "iwae", 3, repeats=40))
    assert found[0] == found[1]
    assert found[0] != measure(toy, X, "iwae", 3, repeats=40, seed=1)


def test_pieces_of_the_data_change_nothing_but_rounding(toy, monkeypatch):
    whole = measure(toy, X, "dreg", 3, repeats=8)["inference"]
    monkeypatch.setattr("jvi.assessment.signal_to_noise.NUMBERS", 100)
    pieces = measure(toy, X, "dreg", 3, repeats=8)["inference"]
    np.testing.assert_allclose(pieces, whole, rtol=1e-4)


@pytest.mark.parametrize(
    ("link", "model", "inference"),
    [
        (GaussianToy(20, np.random.default_rng(0)), "/mu", "/encode"),
        (Burda(20, 2, np.random.default_rng(0)), ("/decode", "/pixels"), "/encode"),
        (SBN(20, 2, 5, np.random.default_rng(0)), ("/decode", "/prior"), "/encode"),
        (Mixture(1, 5, np.random.default_rng(0)), "/prior", "/encode"),
    ],
    ids=["gaussian-toy", "burda", "sbn", "mixture"],
)
def test_groups_are_found(link, model, inference):
    x = np.zeros((1, 1 if isinstance(link, Mixture) else 20), np.float32)
    found = groups_of(link, x)
    names = {name for name, _ in link.namedparams()}
    assert set(found["model"]) == {name for name in names if name.startswith(model)}
    assert set(found["inference"]) == {name for name in names if name.startswith(inference)}


def test_discrete_latents_and_progress():
    link, passed = SBN(8, 2, 4, np.random.default_rng(0)), []
    x = np.eye(8, dtype=np.float32)
    found = measure(link, x, "ovis:gamma=1", 3, repeats=8, passed=passed.append)
    assert sum(passed) == 16 + third_pass(8) == 24
    assert all(np.isfinite(found[group]).all() for group in ("model", "inference"))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("iwae", {"repeats": 7}, "at least 8 repeats of at least 1 estimate, not 7 of 1"),
        ("iwae", {"num_estimates": 0}, "not 256 of 0"),
        ("iwae", {"groups": {"a": ["/nu"]}}, "group a names /nu: the parameters are /encode/W"),
        ("iwae", {"groups": {"a": []}}, "group a names none"),
        ("miwae:groups=2", {}, "groups must divide the 3 samples"),
        ("nonsense", {}, "unknown estimator"),
    ],
)
def test_mistakes_are_one_sentence(toy, name, options, message):
    with pytest.raises(ValueError, match=message):
        measure(toy, X, name, 3, **options)


def test_gradients_that_are_not_finite_are_said_so(toy):
    toy.mu.array[0] = np.nan
    with chainer.using_config("debug", False), pytest.raises(ArithmeticError, match="iwae"):
        measure(toy, X, "iwae", 3, repeats=8)
