"""Gradient weights against finite differences of the scalar that they should ascend."""

import math

import numpy as np
import pytest

import jvi
from jvi.evidence.estimators import ESTIMATORS, PATH, SCORE, TOTAL, Weights, estimator
from jvi.spec import options_of

LOG_W = np.random.default_rng(3).normal(-80, 2, size=(6, 5))

# What each estimator's model and path weights are the derivatives of, by log w.
SCALARS = {
    "elbo": (lambda w, m: jvi.elbo(w), lambda w, m: jvi.elbo(w)),
    "iwae": (lambda w, m: jvi.iwae(w), lambda w, m: jvi.iwae(w)),
    "jvi": (jvi.jackknife, jvi.jackknife),
    "jvi-iwae": (jvi.jackknife, lambda w, m: jvi.iwae(w)),
    "jvi-elbo": (jvi.jackknife, lambda w, m: jvi.elbo(w)),
}

# Those whose encoder follows no scalar: what their model weights are the derivatives of.
DOUBLY_REPARAMETERISED = {"dreg": lambda w, m: jvi.iwae(w), "jvi-dreg": jvi.jackknife}

# The value that each reports.
BOUNDS = {name: scalars[0] for name, scalars in SCALARS.items()} | {
    **DOUBLY_REPARAMETERISED,
    "jvi-clip": jvi.jackknife,
    "reinforce": lambda w, m: jvi.iwae(w),
}


def of_order(name, order):
    """The estimator, with that order where it has one."""
    ordered = "order" in options_of(ESTIMATORS[name].function)
    return estimator(f"{name}:order={order}" if ordered else name)


def normalised(log_w):
    w = np.exp(log_w - log_w.max(axis=0))
    return w / w.sum(axis=0)


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
    specified = SCALARS.keys() | DOUBLY_REPARAMETERISED.keys() | {"jvi-clip", "reinforce"}
    assert specified == ESTIMATORS.keys()


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("name", SCALARS)
def test_weights_are_derivatives_of_the_bounds_that_they_ascend(name, order):
    weights = of_order(name, order)(LOG_W)
    for found, scalar in zip(weights[:2], SCALARS[name], strict=True):
        expected = derivative(lambda w, scalar=scalar: scalar(w, order), LOG_W)
        np.testing.assert_allclose(found, expected, atol=1e-7)
        np.testing.assert_allclose(found.sum(axis=0), 1.0, rtol=1e-12)


@pytest.mark.parametrize("name", SCALARS)
def test_a_total_derivative_takes_the_score_as_it_takes_the_path(name):
    weights = of_order(name, 2)(LOG_W)
    np.testing.assert_array_equal(weights.score, -weights.path)
    assert estimator(name).route == TOTAL


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("name", DOUBLY_REPARAMETERISED)
def test_doubly_reparameterised_gradients_square_the_path_weight_and_drop_the_score(name, order):
    weights = of_order(name, order)(LOG_W)
    expected = derivative(lambda w: DOUBLY_REPARAMETERISED[name](w, order), LOG_W)
    np.testing.assert_allclose(weights.model, expected, atol=1e-7)
    np.testing.assert_allclose(weights.path, normalised(LOG_W) ** 2, rtol=1e-12)
    assert weights.score is None
    assert estimator(name).route == PATH


@pytest.mark.parametrize("order", [0, 1, 2])
def test_clipped_weights_are_the_positive_ones_in_proportion(order):
    raw = of_order("jvi", order)(LOG_W).model
    assert (raw < 0).any() == (order > 0)
    found = of_order("jvi-clip", order)(LOG_W)
    np.testing.assert_allclose(found.model.sum(axis=0), 1.0, rtol=1e-12)
    for column in range(LOG_W.shape[1]):
        positive = [max(u, 0.0) for u in raw[:, column]]
        expected = [u / sum(positive) for u in positive]
        np.testing.assert_allclose(found.model[:, column], expected, rtol=1e-12)
    np.testing.assert_array_equal(found.path, estimator("dreg")(LOG_W).path)
    assert found.score is None
    assert estimator("jvi-clip").route == PATH


def test_reinforce_scores_a_sample_by_the_bound_less_its_share():
    model, path, score = estimator("reinforce")(LOG_W)
    v = normalised(LOG_W)
    np.testing.assert_allclose(model, v, rtol=1e-12)
    assert path is None
    for n in range(LOG_W.shape[1]):
        bound = LOG_W[:, n].max() + math.log(np.exp(LOG_W[:, n] - LOG_W[:, n].max()).mean())
        for k in range(LOG_W.shape[0]):
            assert score[k, n] == pytest.approx(bound - v[k, n], rel=1e-14)
    assert estimator("reinforce").route == SCORE


def test_reinforce_in_closed_form():
    weights = estimator("reinforce")(np.log([[1.0], [3.0]]))  # the mean weight is 2
    np.testing.assert_allclose(weights.model, [[0.25], [0.75]], rtol=1e-15)
    np.testing.assert_allclose(
        weights.score, [[math.log(2) - 0.25], [math.log(2) - 0.75]], rtol=1e-14
    )


@pytest.mark.parametrize("name", ["elbo", "iwae", "jvi"])
def test_gradients_of_one_scalar_say_so_by_sharing_one_array(name):
    weights = of_order(name, 1)(LOG_W)
    assert weights.path is weights.model


@pytest.mark.parametrize("order", [0, 1, 2])
@pytest.mark.parametrize("name", ESTIMATORS)
def test_the_value_is_that_of_the_bound(name, order):
    bound, weights = of_order(name, order).with_bound(LOG_W)
    np.testing.assert_allclose(bound, BOUNDS[name](LOG_W, order), rtol=1e-15)
    for found, expected in zip(weights, of_order(name, order)(LOG_W), strict=True):
        np.testing.assert_array_equal(found, expected)


# --- Arrays of other libraries --------------------------------------------------------------------


def assert_as_numpy(name, log_w, get):
    """Value and weights in float64, where `log_w` is, as those of NumPy."""
    found, expected = (of_order(name, 1).with_bound(each) for each in (log_w, LOG_W))
    assert isinstance(found[1], Weights)
    for one, other in zip((found[0], *found[1]), (expected[0], *expected[1]), strict=True):
        assert (one is None) == (other is None)
        if other is not None:
            assert get(one).dtype == np.float64
            np.testing.assert_allclose(get(one), other, rtol=1e-12)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_nothing_leaves_the_device(name, strict):
    put, get = strict
    assert_as_numpy(name, put(LOG_W), get)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_tensors_of_pytorch(name):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    assert_as_numpy(name, torch.tensor(LOG_W), torch.Tensor.numpy)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_arrays_of_jax_without_its_flag_for_float64(name):
    jax = pytest.importorskip("jax", reason="JAX is not installed")
    with jax.enable_x64(True):
        log_w = jax.numpy.asarray(LOG_W)
    assert_as_numpy(name, log_w, np.asarray)
    assert not jax.config.jax_enable_x64


# --- Names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, name, options",
    [
        ("iwae", "iwae", {}),
        ("jvi", "jvi", {"order": 1}),
        ("jvi-clip:order=2", "jvi-clip", {"order": 2}),
        (" jvi : order = 3 ", "jvi", {"order": 3}),
        ("jvi:order=007", "jvi", {"order": 7}),
    ],
)
def test_a_name_says_rule_and_options(text, name, options):
    found = estimator(text)
    assert found.spec == (name, options)
    assert found.rule is ESTIMATORS[name]
    assert estimator(str(found)) == found
    assert estimator(found) is found


@pytest.mark.parametrize("order", [0, 2, 3])
def test_the_order_is_that_of_the_name(order):
    found = estimator(f"jvi:order={order}")(LOG_W).model
    np.testing.assert_array_equal(found, jvi.jackknife_weights(LOG_W, order))


KNOWN = ", ".join(ESTIMATORS)


@pytest.mark.parametrize(
    "text, message",
    [
        ("vimcoo", f"unknown estimator 'vimcoo': choose from {KNOWN}"),
        ("", f"unknown estimator '': choose from {KNOWN}"),
        ("JVI", f"unknown estimator 'JVI': choose from {KNOWN}"),
        ("jvi:rank=2", "estimator jvi has no option 'rank': it has order"),
        ("iwae:order=2", "estimator iwae has no option 'order': it has none"),
        ("jvi:order=two", "jvi:order must be a whole number, not 'two'"),
        ("jvi:order=1.5", "jvi:order must be a whole number, not '1.5'"),
        ("jvi:order=", "jvi:order must be a whole number, not ''"),
        ("jvi:order=\uff12", "jvi:order must be a whole number, not '\uff12'"),
        ("jvi:order=²", "jvi:order must be a whole number, not '²'"),
        (f"jvi:order={'9' * 100}", f"jvi:order must be a whole number, not '{'9' * 100}'"),
        ("jvi:order=1,order=1", "'jvi:order=1,order=1': write NAME:key=value,key=value, each key "),
        ("jvi:2", "'jvi:2': write NAME:key=value,key=value, each key once"),
        ("jvi:=2", "'jvi:=2': write NAME:key=value,key=value, each key once"),
        ("jvi:order=1,", "'jvi:order=1,': write NAME:key=value,key=value, each key once"),
    ],
)
def test_a_name_that_cannot_be_read_is_refused_with_what_can_be(text, message):
    with pytest.raises(ValueError) as refused:
        estimator(text)
    assert str(refused.value).startswith(message)


def test_an_order_that_the_samples_do_not_allow_is_refused():
    with pytest.raises(ValueError, match="jackknife of 6 samples has orders 0 to 5, not 6"):
        estimator("jvi:order=6")(LOG_W)
    with pytest.raises(ValueError, match="orders 0 to 5, not -1"):
        estimator("jvi:order=-1")(LOG_W)
