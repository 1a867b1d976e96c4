"""Fused Chainer functions against the plain formula in float64 and finite differences."""

import chainer
import chainer.functions as F
import numpy as np
import pytest
from scipy import stats

from jvi.functions import (
    Route,
    bernoulli_log_density,
    gaussian_log_density,
    gaussian_sample,
    standard_normal_log_density,
)

RNG = np.random.default_rng(4)


def plain_bernoulli(x, h):
    x, h = x.astype(np.float64), h.astype(np.float64)
    return (x * h - np.logaddexp(0, h)).sum(axis=-1)


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 5, 7), (2, 130, 784)])
def test_bernoulli_value_and_gradient(shape):
    x = (RNG.random(shape[1:]) < 0.5).astype(np.float32)
    h = chainer.Variable(RNG.normal(0, 4, shape).astype(np.float32))
    out = bernoulli_log_density(x, h)
    assert out.shape == shape[:2] and out.dtype == np.float32
    np.testing.assert_allclose(out.array, plain_bernoulli(x, h.array), rtol=1e-5)

    g = RNG.normal(size=shape[:2]).astype(np.float32)
    out.grad = g
    out.backward()
    residual = x - 1 / (1 + np.exp(-h.array.astype(np.float64)))
    assert h.grad.dtype == np.float32
    np.testing.assert_allclose(h.grad, g[..., None] * residual, atol=3e-7 * np.abs(g).max())


def test_bernoulli_gradient_by_finite_differences():
    x = (RNG.random((4, 6)) < 0.5).astype(np.float64)
    h = chainer.Variable(RNG.normal(size=(2, 4, 6)))
    F.sum(bernoulli_log_density(x, h)).backward()
    step = np.zeros_like(h.array)
    step[1, 2, 3] = 1e-5
    up, down = (plain_bernoulli(x, h.array + s).sum() for s in (step, -step))
    assert h.grad[1, 2, 3] == pytest.approx((up - down) / 2e-5, rel=1e-7)


@pytest.mark.parametrize("value", [0.0, -0.0, 1e-40, -1e-40, 30.0, -30.0, 1e4, -1e4])
@pytest.mark.parametrize("pixel", [0.0, 1.0, 0.25])
def test_bernoulli_at_extremes(value, pixel):
    x = np.full((1, 3), pixel, np.float32)
    h = chainer.Variable(np.full((1, 1, 3), value, np.float32))
    out = bernoulli_log_density(x, h)
    expected = plain_bernoulli(x, h.array)
    np.testing.assert_allclose(out.array, expected, rtol=1e-6, atol=1e-6)
    out.grad = np.ones((1, 1), np.float32)
    out.backward()
    sigmoid = np.exp(-np.logaddexp(0, -np.float64(value)))
    np.testing.assert_allclose(h.grad, pixel - sigmoid, atol=1e-7)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_bernoulli_does_not_hide_what_is_not_finite(value):
    h = np.zeros((1, 1, 2), np.float32)
    h[0, 0, 0] = value
    with np.errstate(invalid="ignore"):
        out = bernoulli_log_density(np.full((1, 2), 0.5, np.float32), h)
    assert not np.isfinite(out.array).any()


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
