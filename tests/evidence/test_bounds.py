"""Bounds against closed forms and plain arithmetic, on every array library at hand."""

import math

import numpy as np
import pytest
from by_hand import NAMES

import jvi
from jvi.evidence.bounds import effective_sample_size, log_sum_exp, normalised_weights
from jvi.evidence.estimators import estimator
from jvi.evidence.quantities import QUANTITIES, Terms

RNG = np.random.default_rng(1)
LOG_W = RNG.normal(-90, 5, size=(7, 11))
FUNCTIONS = [
    jvi.elbo,
    jvi.iwae,
    jvi.jackknife,
    log_sum_exp,
    normalised_weights,
    effective_sample_size,
]


def test_elbo_is_the_mean_and_iwae_the_log_of_the_mean_weight():
    w = np.exp(LOG_W + 90)
    np.testing.assert_allclose(jvi.elbo(LOG_W), LOG_W.mean(axis=0), rtol=1e-14)
    np.testing.assert_allclose(jvi.iwae(LOG_W), np.log(w.mean(axis=0)) - 90, rtol=1e-13)
    np.testing.assert_allclose(normalised_weights(LOG_W), w / w.sum(axis=0), rtol=1e-12)
    ess = w.sum(axis=0) ** 2 / (w**2).sum(axis=0)
    np.testing.assert_allclose(effective_sample_size(LOG_W), ess, rtol=1e-12)


@pytest.mark.parametrize("function", [jvi.elbo, jvi.iwae, jvi.jackknife])
def test_equal_weights_give_their_common_value_and_an_offset_moves_it(function):
    np.testing.assert_allclose(function(np.full((5, 2), -3.0)), -3.0, rtol=1e-14)
    np.testing.assert_allclose(function(LOG_W + 1e4), function(LOG_W) + 1e4, rtol=1e-12)


@pytest.mark.parametrize("shift", [-1e4, 0.0, 1e4])
def test_weights_far_apart_do_not_overflow(shift):
    log_w = np.array([[0.0], [-2000.0], [-5000.0]]) + shift
    assert jvi.iwae(log_w)[0] == pytest.approx(shift - math.log(3), abs=1e-11)
    assert effective_sample_size(log_w)[0] == 1.0


def test_a_weight_of_zero_counts_as_a_sample():
    log_w = np.array([[0.0, -np.inf], [-np.inf, -np.inf]])
    with np.errstate(divide="ignore"):
        np.testing.assert_array_equal(jvi.iwae(log_w), [-math.log(2), -np.inf])


def test_gamma_weights_have_the_bias_of_the_closed_form():
    """E[IWAE_K] = psi(K a) - log K for Gamma(a, 1) weights; within 4 standard errors."""
    from scipy.special import digamma

    log_w = np.log(np.random.default_rng(2).gamma(1.0, size=(8, 200_000)))
    value = jvi.iwae(log_w)
    error = value.std() / math.sqrt(len(value))
    assert abs(value.mean() - (digamma(8) - math.log(8))) < 4 * error


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("function", FUNCTIONS)
def test_weights_that_are_no_numbers_are_refused(function, bad):
    log_w = LOG_W.copy()
    log_w[2, 1] = bad
    for values, axis in ((log_w, 0), (log_w.T, 1)):
        with pytest.raises(ValueError) as refused:
            function(values, axis=axis)
        message = "log_w holds NaN or +inf: check what computed these log-weights"
        assert str(refused.value) == message


UNCHECKED = {"check_finite": False}


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("function", [f for f in FUNCTIONS if f is not jvi.jackknife])
def test_unchecked_they_show_in_the_data_point_that_has_them(function, bad):
    log_w = LOG_W.copy()
    log_w[2, 1] = bad
    with np.errstate(invalid="ignore"):
        found = function(log_w, **UNCHECKED)
    assert not np.isfinite(found[..., 1]).any()
    others = np.delete(np.arange(LOG_W.shape[1]), 1)
    np.testing.assert_array_equal(found[..., others], function(LOG_W)[..., others])


@pytest.mark.parametrize("function", FUNCTIONS)
def test_no_data_points_have_no_values(function):
    assert function(np.zeros((3, 0))).shape in ((0,), (3, 0))


@pytest.mark.parametrize("function", [f for f in FUNCTIONS if f is not jvi.jackknife])
def test_unchecked_they_can_be_traced(function):
    jax = pytest.importorskip("jax")
    with jax.enable_x64(True):
        traced = jax.jit(lambda log_w: function(log_w, **UNCHECKED))(LOG_W)
    np.testing.assert_allclose(np.asarray(traced), function(LOG_W), rtol=1e-12)


def quantities_of(log_w):
    terms = Terms(log_w, log_w, log_w[0])
    return [each(terms) for each in QUANTITIES.values()]


def rules_of(log_w):
    return [estimator(name).with_bound(log_w[:6]) for name in NAMES]


@pytest.mark.parametrize("what", [quantities_of, rules_of])
def test_training_waits_for_no_check(what):
    """No array of JAX can be looked into while a function is traced, nor a GPU's recorded."""
    jax = pytest.importorskip("jax")
    with jax.enable_x64(True):
        jax.eval_shape(what, jax.ShapeDtypeStruct(LOG_W.shape, np.float64))


@pytest.mark.parametrize("order", [1, 2])
def test_clipped_weights_of_jax_are_float64_without_its_flag(order):
    jnp = pytest.importorskip("jax.numpy")
    log_w = LOG_W.astype(np.float32)
    rule = estimator(f"jvi-clip:order={order}")
    found, expected = rule.with_bound(jnp.asarray(log_w)), rule.with_bound(log_w)
    for one, other in zip((found[0], *found[1][:2]), (expected[0], *expected[1][:2]), strict=True):
        assert one.dtype == np.float64
        np.testing.assert_allclose(np.asarray(one), other, rtol=1e-12)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_float32_and_any_axis_give_float64_on_the_right_axis(function):
    expected = function(LOG_W.astype(np.float32))
    assert expected.dtype == np.float64
    moved = function(LOG_W.T.astype(np.float32), axis=1)
    np.testing.assert_allclose(moved.T, expected, rtol=1e-13)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_the_array_standard_is_enough_and_nothing_leaves_the_device(function, strict):
    put, get = strict
    out = get(function(put(LOG_W.astype(np.float32))))
    assert out.dtype == np.float64
    np.testing.assert_allclose(out, function(LOG_W.astype(np.float32)), rtol=1e-13)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_pytorch_tensors(function):
    torch = pytest.importorskip("torch")
    out = function(torch.tensor(LOG_W, dtype=torch.float32))
    assert out.dtype == torch.float64
    np.testing.assert_allclose(out.numpy(), function(LOG_W.astype(np.float32)), rtol=1e-13)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_jax_arrays(function):
    jnp = pytest.importorskip("jax.numpy")
    out = function(jnp.asarray(LOG_W, dtype=jnp.float32))
    assert out.dtype == np.float64
    np.testing.assert_allclose(np.asarray(out), function(LOG_W.astype(np.float32)), rtol=1e-12)
