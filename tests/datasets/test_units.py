"""Bytes, how they are observed, and bits per dimension, by numbers worked out by hand."""

import math

import numpy as np
import pytest
from scipy import stats

from jvi import datasets
from jvi.datasets import NATS, bits_per_dimension
from jvi.engine.random import BatchSource

BYTES = np.arange(256, dtype=np.uint8).reshape(4, 64)


@pytest.fixture(autouse=True)
def nothing_of_the_users(monkeypatch):
    monkeypatch.delenv("JVI_DATA", raising=False)


def source(seed, num_rows):
    return BatchSource(np.random.default_rng(seed), num_rows)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_bytes_are_observed_exactly(dtype):
    found = datasets.of_bytes(BYTES.astype(dtype), None)
    assert found.dtype == np.float32 and found.shape == (4, 64)
    assert [each * 256 for each in found.ravel().tolist()] == list(range(256))


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_noise_fills_the_cell_of_each_byte_and_no_other(dtype):
    rows = np.repeat(BYTES.reshape(1, 256), 2_000, axis=0).astype(dtype)
    found = datasets.dequantise(rows, source(0, 2_000))
    assert found.dtype == np.float32 and found.shape == rows.shape
    np.testing.assert_array_equal(np.floor(found * np.float32(256)), rows)
    assert found.max() < 1
    noise = found.astype(np.float64) * 256 - rows
    assert stats.kstest(noise.ravel(), "uniform").pvalue > 1e-3
    assert abs(np.corrcoef(noise.ravel()[1:], noise.ravel()[:-1])[0, 1]) < 5 / math.sqrt(noise.size)


def test_noise_that_is_almost_one_stays_in_the_cell():
    class Most:
        def uniform(self, shape):
            return np.full(shape, np.nextafter(1.0, 0.0))

    found = datasets.dequantise(BYTES, Most())
    np.testing.assert_array_equal(np.floor(found * np.float32(256)), BYTES)


def test_noise_is_new_every_time_but_fixed_by_image_in_an_evaluation():
    data = datasets.load("digits-grey")._replace(observe=datasets.dequantise)
    rows, draws = data.test[:5], source(1, 5)
    assert not np.array_equal(datasets.dequantise(rows, draws), datasets.dequantise(rows, draws))
    whole = datasets.observe_each(data, rows, 3)
    np.testing.assert_array_equal(datasets.observe_each(data, rows[2:], 3, 2), whole[2:])


@pytest.mark.parametrize("observe", [datasets.of_bytes, datasets.dequantise])
@pytest.mark.parametrize("number", [-1, 256, 0.5, np.nan])
def test_what_is_no_byte_is_refused(observe, number):
    with pytest.raises(ValueError, match="whole numbers from 0 to 255"):
        observe(np.array([[3, number]], np.float32), source(0, 1))


def test_nats_are_nats():
    assert (NATS.value(-3.5), NATS.difference(-3.5), NATS.error(2.0)) == (-3.5, -3.5, 2.0)


def test_a_uniform_code_takes_eight_bits_per_byte():
    """p(x) = 256^-D: log p(x) = -D log 256."""
    unit = bits_per_dimension(3072)
    assert unit.name == "bits/dim"
    assert unit.value(-3072 * math.log(256)) == pytest.approx(8, rel=1e-14)


def test_bits_per_dimension_by_hand():
    """Two bytes, one certain and one of two equally likely values: one bit of two dimensions."""
    unit = bits_per_dimension(2)
    assert unit.value(math.log(0.5)) == pytest.approx(0.5)
    assert unit.value(np.log([0.5, 1.0])).tolist() == pytest.approx([0.5, 0.0])
    assert unit.difference(math.log(2)) == pytest.approx(-0.5)  # more nats are fewer bits
    assert unit.error(math.log(2)) == pytest.approx(0.5)


def test_published_bits_are_these_nats():
    """3.11 bits/dim of a CIFAR-10 image are 6,622.2 nats: 3.11 * 3072 * 0.693147."""
    assert bits_per_dimension(3072).value(-6622.2) == pytest.approx(3.11, abs=1e-4)


def test_a_density_has_eight_bits_more():
    """The uniform density of dequantised bytes is 1, log p = 0: again 8 bits for each byte."""
    unit = bits_per_dimension(5, dequantised=True)
    assert unit.value(0.0) == 8
    # Half of the unit interval in each dimension: density 2^5, one bit less.
    assert unit.value(5 * math.log(2)) == pytest.approx(7)
    assert unit.difference(5 * math.log(2)) == pytest.approx(-1)
    assert unit.error(5 * math.log(2)) == pytest.approx(1)


def test_dequantised_density_bounds_the_probability_of_bytes():
    """Of p(x) = 2x on [0, 1): log P(byte) against the mean of log p over its cell (Jensen)."""
    edges = np.arange(257) / 256
    probability = edges[1:] ** 2 - edges[:-1] ** 2

    def whole(x):  # of log 2x
        return x * (math.log(2) - 1) + np.where(x > 0, x * np.log(np.maximum(x, 1e-300)), 0)

    mean = 256 * (whole(edges[1:]) - whole(edges[:-1]))
    bits = bits_per_dimension(1).value(np.log(probability))
    bound = bits_per_dimension(1, dequantised=True).value(mean)
    assert np.all(bound >= bits - 1e-12)
    np.testing.assert_allclose(bound[128:], bits[128:], atol=1e-5)


def test_grey_digits_are_the_digits():
    data, plain = datasets.load("digits-grey", "ignored"), datasets.load("digits")
    assert data.name == "digits-grey" and data.image_shape == (8, 8)
    assert data.unit == bits_per_dimension(64) and data.observe is datasets.of_bytes
    for part, same in zip(data[1:4], plain[1:4], strict=True):
        assert part.dtype == np.uint8
        np.testing.assert_array_equal(np.rint(part * np.float32(16 / 255)), same * 16)
    assert len(np.unique(data.train)) == 17 and data.train.max() == 255
    assert "bits/dim" in repr(data)


def test_grey_mnist_is_what_is_published(shared):
    data = datasets.load("mnist-grey", shared / "data")
    plain = datasets.load("mnist", shared / "data")
    assert data.unit == bits_per_dimension(784) and data.split == plain.split
    assert data.test.dtype == np.uint8 and data.test.max() == 255
    np.testing.assert_array_equal(data.test / np.float32(255), plain.test)
