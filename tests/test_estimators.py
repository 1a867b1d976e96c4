"""Gradient weights against finite differences of the scalar that they should ascend."""

import numpy as np
import pytest

import jvi
from jvi.estimators import ESTIMATORS

LOG_W = np.random.default_rng(3).normal(-80, 2, size=(6, 5))

# What each estimator's model and path weights are the derivatives of, by log w.
SCALARS = {
    "elbo": (lambda w, m: jvi.elbo(w), lambda w, m: jvi.elbo(w)),
    "iwae": (lambda w, m: jvi.iwae(w), lambda w, m: jvi.iwae(w)),
    "jvi": (jvi.jackknife, jvi.jackknife),
    "jvi_iwae": (jvi.jackknife, lambda w, m: jvi.iwae(w)),
    "jvi_elbo": (jvi.jackknife, lambda w, m: jvi.elbo(w)),
}

# Those whose encoder follows no scalar: what their model weights are the derivatives of.
DOUBLY_REPARAMETERISED = {"dreg": lambda w, m: jvi.iwae(w), "jvi_dreg": jvi.jackknife}


def derivative(function, log_w, step=1e-4):
    """Central differences; each data point's value depends on its own column only."""
    out = np.empty_like(log_w)
    for k in range(len(log_w)):
        up, down = log_w.copy(), log_w.copy()
        up[k] += step
        down[k] -= step
        out[k] = (function(up) - function(down)) / (2 * step)
    return out


def test_every_estimator_is_specified_here():
    assert SCALARS.keys() | DOUBLY_REPARAMETERISED.keys() | {"jvi_clip"} == ESTIMATORS.keys()


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("name", SCALARS)
def test_weights_are_derivatives_of_the_bounds_that_they_ascend(name, order):
    weights = ESTIMATORS[name](LOG_W, order)
    for found, scalar in zip(weights[:2], SCALARS[name], strict=True):
        expected = derivative(lambda w, scalar=scalar: scalar(w, order), LOG_W)
        np.testing.assert_allclose(found, expected, atol=1e-7)
        np.testing.assert_allclose(found.sum(axis=0), 1.0, rtol=1e-12)
    assert weights.score is None


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("name", DOUBLY_REPARAMETERISED)
def test_doubly_reparameterised_gradients_square_the_path_weight_and_drop_the_score(name, order):
    weights = ESTIMATORS[name](LOG_W, order)
    expected = derivative(lambda w: DOUBLY_REPARAMETERISED[name](w, order), LOG_W)
    np.testing.assert_allclose(weights.model, expected, atol=1e-7)
    w = np.exp(LOG_W - LOG_W.max(axis=0))
    np.testing.assert_allclose(weights.path, (w / w.sum(axis=0)) ** 2, rtol=1e-12)
    assert not weights.score.any()


@pytest.mark.parametrize("order", [0, 1, 2])
def test_clipped_weights_are_the_positive_ones_in_proportion(order):
    raw = ESTIMATORS["jvi"](LOG_W, order).model
    assert (raw < 0).any() == (order > 0)
    found = ESTIMATORS["jvi_clip"](LOG_W, order)
    np.testing.assert_allclose(found.model.sum(axis=0), 1.0, rtol=1e-12)
    for column in range(LOG_W.shape[1]):
        positive = [max(u, 0.0) for u in raw[:, column]]
        expected = [u / sum(positive) for u in positive]
        np.testing.assert_allclose(found.model[:, column], expected, rtol=1e-12)
    np.testing.assert_array_equal(found.path, ESTIMATORS["dreg"](LOG_W).path)


@pytest.mark.parametrize("name", ["elbo", "iwae", "jvi"])
def test_gradients_of_one_scalar_say_so_by_sharing_one_array(name):
    weights = ESTIMATORS[name](LOG_W, 1)
    assert weights.path is weights.model


@pytest.mark.parametrize("name", ESTIMATORS)
def test_nothing_leaves_the_device(name, strict):
    put, get = strict
    for found, expected in zip(
        ESTIMATORS[name](put(LOG_W), 1), ESTIMATORS[name](LOG_W, 1), strict=True
    ):
        if expected is not None:
            np.testing.assert_allclose(get(found), expected, rtol=1e-12)
