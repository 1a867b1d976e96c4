"""The scalar for automatic differentiation, without a framework: its value, and what it refuses."""

import importlib
import sys

import numpy as np
import pytest
from by_hand import ALONE, LOG_W, NAMES, parts_of

from jvi.evidence.estimators import PATH, Estimator, Rule, Weights, estimator
from jvi.evidence.surrogate import loss
from jvi.spec import Spec


def detach(array):
    """NumPy has no gradients to cut."""
    return array


@pytest.mark.parametrize("name", NAMES)
def test_value_is_minus_the_bound_on_average_on_every_device(name, strict):
    put, get = strict
    log_w = put(LOG_W)
    parts = {} if name in ALONE else dict.fromkeys(parts_of(name), log_w)
    bound, _ = estimator(name).with_bound(LOG_W)
    np.testing.assert_allclose(get(loss(log_w, name, parts, detach)), -bound.mean(), rtol=1e-14)


@pytest.mark.parametrize(
    "name, given, message",
    [
        ("iwae", ["path"], r"iwae needs log_w alone or all of model=.*score=.* not path$"),
        ("stl", [], r"^stl needs all of model=log p\(x, z\) at fixed z, path=.* not log_w alone$"),
        (
            "dreg",
            ["model"],
            r"dreg:alpha=0.0 needs all of model=.*, path=log w at fixed parameters and no",
        ),
        ("dreg", ["model", "path", "score"], r"and no more, not model, path, score$"),
        ("reinforce", ["model", "path"], r"model=.*, score=log q\(z\|x\) at fixed z and no more"),
    ],
)
def test_parts_that_do_not_fit_the_estimator_are_refused(name, given, message):
    with pytest.raises(ValueError, match=message):
        loss(LOG_W, name, dict.fromkeys(given, LOG_W), detach)


def test_log_weights_alone_have_too_much_of_the_score_for_a_route_along_the_path():
    def without_score(log_w):
        bound, weights = estimator("iwae").with_bound(log_w)
        return bound, Weights(weights.model, weights.model, None)

    sticking = Estimator(Spec("sticking", {}), Rule(without_score, PATH, "a test"))
    with pytest.raises(ValueError, match=r"^sticking needs all of model=.*, path=.*log_w alone$"):
        loss(LOG_W, sticking, {}, detach)


def test_a_part_has_a_number_for_every_log_weight():
    parts = {"model": LOG_W, "path": LOG_W[0]}
    message = r"^path has shape \(5,\), log_w \(6, 5\): give one number for every log-weight$"
    with pytest.raises(ValueError, match=message):
        loss(LOG_W, "dreg", parts, detach)


@pytest.mark.parametrize("shape", [(6,), (6, 0), (0, 5), (6, 5, 1)])
def test_log_weights_have_samples_and_data_points(shape):
    with pytest.raises(ValueError, match=r"^log_w must have shape \(samples, data points\), not"):
        loss(np.zeros(shape), "iwae", {}, detach)


@pytest.mark.parametrize("module, what", [("torch", "PyTorch"), ("jax", "JAX")])
def test_a_framework_that_is_not_installed_is_named(module, what, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(sys.modules, f"jvi.{module}", raising=False)
    message = f"^jvi.{module} needs {what}: pip install {module}$"
    with pytest.raises(ImportError, match=message):
        importlib.import_module(f"jvi.{module}")
