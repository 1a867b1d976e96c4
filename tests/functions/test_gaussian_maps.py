"""Gaussians over feature maps against scipy, and their derivatives."""

import chainer
import chainer.functions as F
import numpy as np
import pytest
from by_hand import central_differences
from scipy import stats

from jvi.functions.gaussian_maps import (
    gaussian_maps_log_density,
    gaussian_maps_sample,
    standard_normal_maps,
)

SHAPES = [(4, 3, 2, 5), (4, 5)]


def arrays(shape, count, seed=0):
    rng = np.random.default_rng(seed)
    return [0.7 * rng.normal(size=shape) for _ in range(count)]


def of_each_map(values):
    return values.sum(axis=tuple(range(1, values.ndim - 1)))


@pytest.mark.parametrize("shape", SHAPES, ids=["maps", "units"])
def test_densities_are_scipys(shape):
    z, mean, ln_sd = arrays(shape, 3)
    expected = of_each_map(stats.norm(mean, np.exp(ln_sd)).logpdf(z))
    np.testing.assert_allclose(gaussian_maps_log_density(z, mean, ln_sd).array, expected, 1e-12)
    expected = of_each_map(stats.norm.logpdf(z))
    np.testing.assert_allclose(standard_normal_maps(z).array, expected, 1e-12)


@pytest.mark.parametrize("shape", SHAPES, ids=["maps", "units"])
def test_draws_have_their_density(shape):
    mean, ln_sd, eps = arrays(shape, 3)
    z, log_q = gaussian_maps_sample(mean, ln_sd, eps)
    np.testing.assert_allclose(z.array, mean + np.exp(ln_sd) * eps, 1e-12)
    np.testing.assert_allclose(log_q.array, gaussian_maps_log_density(z, mean, ln_sd).array, 1e-12)


@pytest.mark.parametrize("shape", SHAPES, ids=["maps", "units"])
def test_sums_of_float32_are_float64(shape):
    z, mean, ln_sd = (each.astype(np.float32) for each in arrays(shape, 3))
    assert gaussian_maps_log_density(z, mean, ln_sd).dtype == np.float64
    drawn, log_q = gaussian_maps_sample(mean, ln_sd, z)
    assert (drawn.dtype, log_q.dtype) == (np.float32, np.float64)


def check_gradients(function, inputs):
    """Of a weighted sum of all outputs, by central differences."""
    weights = [np.random.default_rng(1).normal(size=each.shape) for each in function(*inputs)]

    def loss(*inputs):
        pairs = zip(weights, function(*inputs), strict=True)
        return sum(F.sum(weight * output) for weight, output in pairs)

    variables = [chainer.Variable(each) for each in inputs]
    loss(*variables).backward()
    for place, variable in enumerate(variables):
        expected = central_differences(
            lambda at, place=place: loss(*inputs[:place], at, *inputs[place + 1 :]).array,
            inputs[place],
        )
        found = 0 if variable.grad is None else variable.grad
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("shape", SHAPES, ids=["maps", "units"])
def test_gradients_are_those_of_finite_differences(shape):
    """Of densities; of draws and their density, both and each alone."""
    mean, ln_sd, eps = arrays(shape, 3)
    check_gradients(lambda *inputs: [gaussian_maps_log_density(*inputs)], arrays(shape, 3))
    check_gradients(lambda z: [standard_normal_maps(z)], arrays(shape, 1))
    for part in (slice(None), slice(1), slice(1, 2)):
        check_gradients(
            lambda *inputs, part=part: gaussian_maps_sample(*inputs, eps)[part], [mean, ln_sd]
        )
