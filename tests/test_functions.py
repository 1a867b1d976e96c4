"""Fused Chainer functions against the plain formula in float64 and finite differences."""

import chainer
import chainer.functions as F
import numpy as np
import pytest
from scipy import stats

from jvi.functions import (
    Route,
    crelu_decoder_log_density,
    gaussian_log_density,
    gaussian_sample,
    standard_normal_log_density,
)
from jvi.functions.bernoulli import bernoulli

RNG = np.random.default_rng(4)


def plain_bernoulli(x, h):
    """log p(x|h) and its derivative, in float64 by the plain formulas."""
    x, h = x.astype(np.float64), h.astype(np.float64)
    value = (x * h - np.logaddexp(0, h)).sum(axis=-1)
    return value, x - np.exp(-np.logaddexp(0, -h))


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 5, 7), (2, 130, 784), (2, 3, 24)])
@pytest.mark.parametrize("spread", [0.1, 4.0, 30.0])
def test_bernoulli_value_and_derivative(shape, spread):
    x = (RNG.random(shape[1:]) < 0.5).astype(np.float32)
    logits = RNG.normal(0, spread, shape).astype(np.float32)
    bias = RNG.normal(size=shape[2]).astype(np.float32)
    value, derivative = plain_bernoulli(x, logits + bias)
    out = bernoulli(x, logits, bias, residual=True)
    assert out.dtype == np.float32
    np.testing.assert_allclose(out, value, rtol=1e-6, atol=2e-7 * shape[2])
    np.testing.assert_allclose(logits, derivative, atol=2e-7)


def test_bernoulli_does_not_lose_small_values_among_large_logits():
    """A confident model: logits of 30, all right but one; the sum is near that one's term."""
    x = (RNG.random((1, 784)) < 0.5).astype(np.float32)
    h = (30 * (2 * x - 1))[None]
    h[0, 0, 5] *= -0.01
    value, _ = plain_bernoulli(x, h)
    out = bernoulli(x, h, np.zeros(784, np.float32))
    np.testing.assert_allclose(out, value, rtol=1e-6)


@pytest.mark.parametrize("value", [0.0, -0.0, 1e-40, -1e-40, 30.0, -30.0, 1e4, -1e4])
@pytest.mark.parametrize("pixel", [0.0, 1.0, 0.25])
def test_bernoulli_at_extremes(value, pixel):
    x = np.full((1, 3), pixel, np.float32)
    h = np.full((1, 1, 3), value, np.float32)
    expected, derivative = plain_bernoulli(x, h)
    out = bernoulli(x, h, np.zeros(3, np.float32), residual=True)
    np.testing.assert_allclose(out, expected, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(h, derivative, atol=1e-7)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_bernoulli_does_not_hide_what_is_not_finite(value):
    h = np.zeros((1, 1, 2), np.float32)
    h[0, 0, 0] = value
    with np.errstate(invalid="ignore"):
        out = bernoulli(np.full((1, 2), 0.5, np.float32), h, np.zeros(2, np.float32))
    assert not np.isfinite(out).any()


def decoder_inputs(dtype):
    """z and the parameters of a decoder with 3 hidden units and 10 pixels; K = 2, N = 4, D = 2."""
    shapes = (2, 4, 2), (3, 2), (3,), (3, 6), (3,), (10, 6), (10,)
    rng = np.random.default_rng(5)
    return [chainer.Variable(rng.normal(size=shape).astype(dtype)) for shape in shapes]


def plain_decoder(x, z, w0, b0, w1, b1, w2, b2):
    """Layer by layer with Chainer's own functions."""
    h = F.reshape(z, (-1, z.shape[-1]))
    h = F.crelu(F.linear(h, w0, b0))
    h = F.crelu(F.linear(h, w1, b1))
    h = F.reshape(F.linear(h, w2, b2), (*z.shape[:2], -1))
    return F.sum(x * h - F.softplus(h), axis=-1)


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-11), (np.float32, 2e-5)])
def test_decoder_is_its_layers(dtype, tolerance):
    x = (RNG.random((4, 10)) < 0.5).astype(dtype)
    cotangent = RNG.normal(size=(2, 4)).astype(dtype)
    values, gradients = [], []
    for function in (crelu_decoder_log_density, plain_decoder):
        inputs = decoder_inputs(dtype)
        out = function(x, *inputs)
        F.sum(out * cotangent).backward()
        values.append(out.array)
        gradients.append([variable.grad for variable in inputs])
    assert values[0].dtype == dtype
    np.testing.assert_allclose(values[0], values[1], rtol=tolerance)
    for found, expected in zip(*gradients, strict=True):
        assert found.dtype == dtype
        assert np.linalg.norm(found - expected) < tolerance * np.linalg.norm(expected)


def test_decoder_keeps_nothing_where_nothing_is_differentiated():
    x = np.zeros((4, 10), np.float32)
    with chainer.no_backprop_mode():
        out = crelu_decoder_log_density(x, *decoder_inputs(np.float32))
    assert out.creator is None


def gaussian_inputs():
    """z (K, N, D), mean and ln_var (N, D) in float64."""
    shapes = (3, 4, 5), (4, 5), (4, 5)
    return [chainer.Variable(RNG.normal(size=shape)) for shape in shapes]


def test_gaussian_densities_are_scipys():
    z, mean, ln_var = (variable.array for variable in gaussian_inputs())
    expected = stats.norm(mean, np.exp(0.5 * ln_var)).logpdf(z).sum(axis=-1)
    np.testing.assert_allclose(gaussian_log_density(z, mean, ln_var).array, expected, rtol=1e-12)
    standard = stats.norm.logpdf(z).sum(axis=-1)
    np.testing.assert_allclose(standard_normal_log_density(z).array, standard, rtol=1e-12)


def test_gaussian_sample_is_its_formula():
    eps, mean, ln_var = (variable.array for variable in gaussian_inputs())
    out = gaussian_sample(mean, ln_var, eps)
    np.testing.assert_allclose(out.array, mean + np.sqrt(np.exp(ln_var)) * eps, rtol=1e-12)


@pytest.mark.parametrize(
    "function",
    [
        lambda z, mean, ln_var: gaussian_log_density(z, mean, ln_var),
        lambda z, mean, ln_var: standard_normal_log_density(z) + F.sum(mean * ln_var),
        lambda z, mean, ln_var: gaussian_sample(mean, ln_var, z.array) * z.array,
    ],
    ids=["density", "standard density", "sample"],
)
def test_gaussian_gradients_by_finite_differences(function):
    inputs = gaussian_inputs()
    cotangent = RNG.normal(size=function(*inputs).shape)
    F.sum(function(*inputs) * cotangent).backward()
    for variable in inputs:
        if variable.grad is None:
            continue  # the noise of a sample
        start, direction = variable.array, RNG.normal(size=variable.shape)
        sums = []
        for step in (1e-6, -1e-6):
            variable.array = start + step * direction
            sums.append((function(*inputs).array * cotangent).sum())
        variable.array = start
        slope = (variable.grad * direction).sum()
        assert slope == pytest.approx((sums[0] - sums[1]) / 2e-6, rel=1e-7, abs=1e-7)


def test_route_scales_the_gradient_of_each_sample_and_nothing_else():
    z = chainer.Variable(RNG.normal(size=(2, 3, 4)))
    route = Route()
    out = route(z)
    np.testing.assert_array_equal(out.array, z.array)
    route.scale = RNG.normal(size=(2, 3))
    out.grad = np.ones_like(z.array)
    out.backward()
    np.testing.assert_array_equal(z.grad, np.broadcast_to(route.scale[:, :, None], z.shape))
