"""Probabilities of bytes against the logistic's distribution function in many digits."""

from decimal import Decimal, localcontext

import chainer
import chainer.functions as F
import numpy as np
import pytest
from by_hand import central_differences

from jvi.functions.discretised_logistic import (
    discretised_logistic_log_density,
    discretised_logistic_sample,
)

BYTES = np.arange(256)


def log_probability(byte, mean, ln_scale):
    """By the definition, with the tails in the first and the last bin."""
    with localcontext() as context:
        context.prec = 60 if ln_scale > -5 else 700
        scale = Decimal(ln_scale).exp()

        def below(edge):
            return 1 / (1 + (-(Decimal(edge) / 256 - Decimal(mean)) / scale).exp())

        high = below(byte + 1) if byte < 255 else Decimal(1)
        low = below(byte) if byte > 0 else Decimal(0)
        return float((high - low).ln())


def log_density(bytes_, mean, ln_scale, dtype=np.float64):
    """Each byte alone: shape of `bytes_`."""
    x = np.asarray(bytes_, dtype)[:, None] / 256
    mean = chainer.Variable(np.broadcast_to(np.asarray(mean, dtype), (1, len(x)))[..., None].copy())
    scale = chainer.Variable(np.asarray(ln_scale, dtype))
    return discretised_logistic_log_density(x, mean, scale)


@pytest.mark.parametrize("ln_scale", [-7.0, -3.0, 0.0])
@pytest.mark.parametrize("mean", [-0.3, 0.002, 0.5, 1.0])
def test_it_is_the_definition(mean, ln_scale):
    some = [0, 1, 127, 128, 254, 255] if ln_scale < -5 else range(256)
    found = log_density(some, mean, ln_scale).array[0]
    expected = [log_probability(byte, mean, ln_scale) for byte in some]
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)
    single = log_density(some, mean, ln_scale, np.float32).array[0]
    np.testing.assert_allclose(single, expected, rtol=2e-4, atol=2e-6)


@pytest.mark.parametrize("ln_scale", [-8.0, -2.0, 3.0])
def test_the_256_probabilities_add_up_to_one(ln_scale):
    assert np.exp(log_density(BYTES, 0.37, ln_scale).array).sum() == pytest.approx(1, abs=1e-12)


def test_sums_over_pixels_are_float64():
    rng = np.random.default_rng(0)
    x = (rng.integers(0, 256, (3, 50)) / 256).astype(np.float32)
    mean = rng.random((2, 3, 50), dtype=np.float32)
    found = discretised_logistic_log_density(x, chainer.Variable(mean), np.array(-2, "f"))
    each = log_density((256 * np.tile(x, (2, 1, 1))).ravel(), mean.ravel(), -2.0).array
    assert found.dtype == np.float64
    np.testing.assert_allclose(found.array, each.reshape(2, 3, 50).sum(-1), rtol=1e-6)


def test_gradients_are_those_of_finite_differences():
    rng = np.random.default_rng(1)
    x = rng.integers(0, 256, (3, 40)) / 256
    x[:, :5], x[:, 5:10] = 0, 255 / 256
    inputs = rng.random((2, 3, 40)), np.array(-2.5)
    weights = rng.normal(size=(2, 3))

    def loss(*inputs):
        return (discretised_logistic_log_density(x, *inputs) * weights).array.sum()

    variables = [chainer.Variable(each) for each in inputs]
    F.sum(discretised_logistic_log_density(x, *variables) * weights).backward()
    for place, variable in enumerate(variables):
        expected = central_differences(
            lambda at, place=place: loss(*inputs[:place], at, *inputs[place + 1 :]), inputs[place]
        )
        np.testing.assert_allclose(variable.grad, expected, rtol=1e-6, atol=1e-7)


def test_draws_have_these_probabilities():
    """A chi-squared statistic of 20,000 draws, in units of its own deviation."""
    count, mean, ln_scale = 20_000, 0.95, -2.0
    uniform = np.random.default_rng(2).random((1, 1, count))
    drawn = discretised_logistic_sample(np.full((1, 1, count), mean), np.array(ln_scale), uniform)
    assert np.array_equal(256 * drawn, np.floor(256 * drawn))
    found = np.bincount((256 * drawn).astype(int).ravel(), minlength=256)
    expected = count * np.exp(log_density(BYTES, mean, ln_scale).array[0])
    common = expected > 5
    squares = ((found - expected)[common] ** 2 / expected[common]).sum()
    degrees = common.sum() - 1
    assert abs(squares - degrees) < 4 * (2 * degrees) ** 0.5
