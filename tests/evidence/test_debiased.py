"""Random levels: that they are random, how many samples they take, and their mean.

Weights by definition are in test_closed_forms.py, exact mean gradients in
test_expected_gradients.py.
"""

import math

import numpy as np
import pytest

import jvi
from jvi.evidence.debiased import mlmc_levels, uniform_of

NUM = 200_000


def drawn(num_samples, num_points=NUM, seed=4):
    return np.random.default_rng(seed).normal(-95, 1.5, (num_samples, num_points))


@pytest.mark.parametrize("precision", [np.float32, np.float64])
def test_the_last_digits_are_uniform_and_say_nothing_of_the_weights(precision):
    log_w = drawn(8).astype(precision).astype(np.float64)
    uniform = uniform_of(log_w)
    counts = np.histogram(uniform, 50, (0, 1))[0]
    squares = (counts - NUM / 50) ** 2 / (NUM / 50)
    assert squares.sum() < 49 + 4 * math.sqrt(98)
    for other in (*log_w, jvi.iwae(log_w), np.abs(log_w + 95).max(axis=0)):
        assert abs(np.corrcoef(uniform, other)[0, 1]) < 4 / math.sqrt(NUM)
        below = uniform < 0.1
        error = other.std() * math.sqrt(1 / below.sum())
        assert abs(other[below].mean() - other.mean()) < 4 * error


@pytest.mark.parametrize("name", ["sumo", "sumo:min-samples=3", "mlmc", "mlmc:min-samples=2"])
def test_the_mean_is_that_of_all_samples(name):
    """Paired with IWAE of the same samples, by the levels' own digits, within four errors."""
    log_w = drawn(8)
    value, (model, path, _) = jvi.estimator(name).with_bound(log_w)
    slopes = (model - jvi.estimator("iwae")(log_w).model) * log_w
    for difference in (value - jvi.iwae(log_w), slopes.sum(axis=0)):
        assert abs(difference.mean()) < 4 * difference.std() / math.sqrt(NUM)
    np.testing.assert_allclose(model.sum(axis=0), 1, atol=1e-12)
    assert ((model == 0) == (path == 0)).all()  # both of the samples used, and of no others


@pytest.mark.parametrize(
    ("name", "num_samples", "expected"),
    [
        ("sumo", 8, 1 + sum(1 / k for k in range(1, 8))),
        ("sumo:min-samples=4", 32, 4 + sum(1 / k for k in range(1, 29))),
        ("mlmc", 2, 2.0),
        ("mlmc:min-samples=2", 32, 6.726420666),
        ("mlmc:min-samples=2", 40, 6.726420666),
    ],
)
def test_how_many_samples_are_used_on_average(name, num_samples, expected):
    points = 20_000
    even = (np.arange(points) + 0.5) / points
    path = jvi.estimator(name)(drawn(num_samples, points), uniform=even).path
    assert (path > 0).sum(axis=0).mean() == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize(("num_samples", "least"), [(2, 1), (32, 2), (63, 2), (40, 5)])
def test_levels_double_up_to_all_samples(num_samples, least):
    sizes, masses = zip(*mlmc_levels(num_samples, least), strict=True)
    assert sizes == tuple(least * 2 ** (level + 1) for level in range(len(sizes)))
    assert sizes[-1] <= num_samples < 2 * sizes[-1]
    assert math.fsum(masses) == pytest.approx(1)
    np.testing.assert_allclose(np.diff(np.log2(masses)), -1.5)


def test_groups_are_the_jackknife_of_their_mean_weights():
    log_w = drawn(12, 5)
    groups = np.log(np.exp(log_w.reshape(4, 3, 5)).mean(axis=1))
    for order in (1, 2, 3):
        found, _ = jvi.estimator(f"jvi-model:groups=4,order={order}").with_bound(log_w)
        np.testing.assert_allclose(found, jvi.jackknife(groups, order), rtol=1e-13)


@pytest.mark.parametrize("share", [0.25, 0.5])
def test_gating_is_by_the_effective_sample_size(share):
    log_w = drawn(8, 1000)
    v = np.exp(log_w - log_w.max(axis=0))
    ess = v.sum(axis=0) ** 2 / (v**2).sum(axis=0)
    found = jvi.estimator(f"jvi-model:ess={share}")(log_w).model
    assert 100 < (ess < share * 8).sum() < 900
    for name, where in (("iwae", ess < share * 8), ("jvi", ess >= share * 8)):
        np.testing.assert_array_equal(found[:, where], jvi.estimator(name)(log_w).model[:, where])
