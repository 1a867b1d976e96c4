"""Independent pixels: masses add up, fits are maxima, bits per dimension are those of a code."""

import math

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit
from scipy.stats import logistic

from jvi.assessment import factorised
from jvi.assessment.factorised import BASELINES, baselines, counts, fit, histogram, log_masses
from jvi.datasets import Dataset, bits_per_dimension, load, of_bytes

EDGES = np.arange(1, 256) / 256


def data(train, test):
    unit = bits_per_dimension(train.shape[1])
    return Dataset("bytes", train, train[:2], test, None, of_bytes, unit)


def drawn(mean, log_scale, number, seed=0):
    """Bytes of logistic draws, those outside at the ends."""
    mean, scale = np.asarray(mean), np.exp(log_scale)
    x = logistic.rvs(mean, scale, size=(number, len(mean)), random_state=seed)
    return np.clip(np.floor(256 * x), 0, 255).astype(np.uint8)


def test_masses_are_differences_of_the_distribution_function_with_the_tails_at_the_ends():
    mean, log_scale = np.array([0.5, 0.02, 0.99]), np.array([-2.0, -3.0, 0.5])
    cdf = expit((EDGES[:, None] - mean) / np.exp(log_scale))
    found = np.exp(log_masses(mean, log_scale))
    assert found[0] == pytest.approx(cdf[0]) and found[255] == pytest.approx(1 - cdf[-1])
    assert found[1:255] == pytest.approx(np.diff(cdf, axis=0), rel=1e-9)


@pytest.mark.parametrize("log_scale", [-9.0, -8.0, -5.0, 0.0, 1.3])
def test_masses_of_all_bytes_add_up_to_one(log_scale):
    mean = np.linspace(-0.1, 1.1, 50)
    masses = np.exp(log_masses(mean, np.full(50, log_scale)))
    assert masses.sum(axis=0) == pytest.approx(1, abs=1e-12)


def test_a_tiny_scale_puts_everything_into_the_byte_that_holds_the_mean():
    bytes_ = np.array([0, 1, 128, 254, 255])
    found = log_masses((bytes_ + 0.5) / 256, np.full(5, -9.0))
    assert np.argmax(found, axis=0).tolist() == bytes_.tolist()
    assert found[bytes_, np.arange(5)] == pytest.approx(0, abs=1e-6)
    assert np.isfinite(found).all() and found.min() < -1000


def test_a_huge_scale_leaves_half_to_each_end():
    found = np.exp(log_masses(np.array([0.5]), np.array([9.0])))
    assert found[[0, 255], 0] == pytest.approx(0.5, abs=1e-3)


def test_counts_are_by_pixel():
    rows = np.array([[0, 255], [0, 3], [7, 255]], np.uint8)
    found = counts(rows)
    assert found.shape == (256, 2) and found.sum() == 6
    assert (found[0, 0], found[7, 0], found[3, 1], found[255, 1]) == (2, 1, 1, 2)


def test_the_histogram_is_laplaces_rule():
    seen = counts(np.array([[9]] * 3 + [[10]], np.uint8))
    found = np.exp(histogram(seen))[:, 0]
    assert found[[9, 10, 11]] == pytest.approx([4 / 260, 2 / 260, 1 / 260])
    assert found.sum() == pytest.approx(1)


def test_known_parameters_are_recovered_within_their_errors():
    mean, log_scale = np.array([0.5, 0.3, 0.8]), np.array([-3.0, -2.5, -4.0])
    number = 20_000
    found = fit(counts(drawn(mean, log_scale, number)))
    # Fisher's information of a logistic: 1 / (3 s²) for the mean, (3 + π²) / 9 for log s
    errors = np.exp(log_scale) * math.sqrt(3 / number), math.sqrt(9 / (3 + math.pi**2) / number)
    assert np.all(np.abs(found[0] - mean) < 4 * errors[0])
    assert np.all(np.abs(found[1] - log_scale) < 4 * errors[1])
    assert np.any(np.abs(found[0] - mean) > 0.05 * errors[0])


def test_the_fit_is_what_another_optimizer_finds():
    rng = np.random.default_rng(1)
    two_hills = np.where(rng.random((500, 1)) < 0.4, 30, 200) + rng.integers(-9, 9, (500, 1))
    skewed = np.minimum(rng.geometric(0.05, (500, 1)), 255)
    seen = counts(np.concatenate([two_hills, skewed], axis=1).astype(np.uint8))
    found = np.stack(fit(seen))
    for pixel in range(2):
        share = seen[:, pixel] / 500

        def loss(values, share=share):
            return -share @ log_masses(values[:1], values[1:])[:, 0]

        other = minimize(loss, [0.5, -2.0], method="Nelder-Mead", options={"xatol": 1e-9})
        assert found[:, pixel] == pytest.approx(other.x, abs=1e-4)
        assert loss(found[:, pixel]) <= other.fun + 1e-9


def test_slopes_are_differences_and_zero_at_the_maximum():
    seen = counts(drawn([0.5, 0.01, 0.97], np.array([-3.0, -2.0, -3.0]), 300))
    share, values = seen / 300, np.array([[0.4, 0.1, 0.9], [-2.5, -1.0, -2.0]])
    _, slope, curvature = factorised._likelihood(share, values)
    for i in range(2):
        step = np.zeros_like(values)
        step[i] = 1e-5
        up, down = (factorised._likelihood(share, values + sign * step) for sign in (1, -1))
        assert slope[i] == pytest.approx((up[0] - down[0]) / 2e-5, rel=1e-5, abs=1e-8)
        assert curvature[i : i + 2] == pytest.approx((up[1] - down[1]) / 2e-5, rel=1e-4, abs=1e-6)
    best = np.stack(fit(seen))
    assert factorised._likelihood(share, best)[1] == pytest.approx(0, abs=1e-6)


@pytest.mark.filterwarnings("error")
def test_pixels_that_never_change_stay_within_bounds():
    rows = np.tile(np.array([0, 255, 77, 128], np.uint8), (9, 1))
    mean, log_scale = fit(counts(rows))
    assert np.all((mean >= -1) & (mean <= 2) & np.isfinite(log_scale))
    found = log_masses(mean, log_scale)[rows[0], np.arange(4)]
    assert found == pytest.approx(0, abs=1e-3)


def test_no_table_beats_the_training_histogram_on_it():
    train = load("digits-grey").train
    seen = counts(train)
    share = seen / len(train)
    tables = {name: fitted(seen) for name, fitted in BASELINES.items()}
    entropy = -np.where(share > 0, share * np.log(np.where(share > 0, share, 1)), 0).sum()
    for table in tables.values():
        assert -(share * table).sum() > entropy


def test_baselines_are_bits_per_dimension_of_the_test_rows():
    rng = np.random.default_rng(0)
    train, test = (rng.integers(0, 256, (n, 4)).astype(np.uint8) for n in (5000, 400))
    found = baselines(data(train, test))
    table = histogram(counts(train))
    bits = [-sum(table[v, d] for d, v in enumerate(row)) / (4 * math.log(2)) for row in test]
    assert found["histogram"].mean == pytest.approx(np.mean(bits))
    assert found["histogram"].standard_error == pytest.approx(np.std(bits, ddof=1) / 20)
    assert found["histogram"].mean == pytest.approx(8, abs=0.1)  # uniform bytes
    assert found["discretised logistic"].mean > 8


def test_only_bytes_have_these_baselines():
    with pytest.raises(ValueError, match="digits is no data set of bytes"):
        baselines(load("digits"))
