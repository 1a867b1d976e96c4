"""Each correction of IWAE's bias has the bias, and the variance, that theory gives it."""

import math

import numpy as np
import pytest
from scipy.special import digamma, polygamma

from jvi.evidence.bounds import iwae
from jvi.evidence.corrections import (
    _sumo_cut,
    antithetic_mlmc,
    delta_method,
    nested_jackknife,
    sumo,
)
from jvi.evidence.debiased import sumo_tail
from jvi.evidence.jackknife import jackknife, jackknife_coefficients

DRAWS = 40_000


def gamma_log_weights(shape, seed=3):
    """A draw(num_samples) of log-weights with w ~ Gamma(shape, 1), so that log E[w] = log a."""
    rng = np.random.default_rng(seed)
    return lambda num_samples: np.log(rng.gamma(shape, size=(num_samples, DRAWS)))


def expected_iwae(num_samples, shape):
    return digamma(num_samples * shape) - math.log(num_samples)


def variance_of_prefixes(factors, shape):
    """Variance of Σ_n factors[n] log(w_1 + .. + w_n): the covariance is ψ₁(a max(n, n'))."""
    return sum(
        f * g * polygamma(1, shape * max(n, k))
        for n, f in factors.items()
        for k, g in factors.items()
    )


def assert_mean_and_variance(sample, mean, variance):
    assert abs(sample.mean() - mean) < 4.0 * sample.std() / sample.size**0.5
    assert sample.var() == pytest.approx(variance, rel=0.06)


def test_delta_method_is_the_correction_by_sample_moments():
    log_w = np.random.default_rng(0).normal(size=(7, 4)) * 2.0
    w = np.exp(log_w)
    correction = w.var(axis=0, ddof=1) / (2.0 * 7 * w.mean(axis=0) ** 2)
    np.testing.assert_allclose(delta_method(log_w), iwae(log_w) + correction, rtol=1e-13)
    np.testing.assert_allclose(delta_method(log_w.T - 1e4, axis=1), delta_method(log_w) - 1e4)


@pytest.mark.parametrize(("shape", "num_samples"), [(1.0, 2), (1.0, 8), (0.2, 16)])
def test_bias_of_the_delta_method(shape, num_samples):
    """For Gamma weights E[s² / w̄²] = K / (K a + 1)."""
    log_w = gamma_log_weights(shape)(num_samples)
    correction = delta_method(log_w) - iwae(log_w)
    expected = 1.0 / (2.0 * (num_samples * shape + 1.0))
    assert abs(correction.mean() - expected) < 4.0 * correction.std() / DRAWS**0.5
    bias = expected_iwae(num_samples, shape) - math.log(shape) + expected
    assert abs(bias) < 1.5 / (num_samples * shape) ** 2


@pytest.mark.parametrize(("shape", "num_samples", "order"), [(1.0, 5, 1), (1.0, 8, 2), (0.5, 6, 3)])
def test_nested_jackknife_has_the_bias_of_jvi_and_more_variance(shape, num_samples, order):
    log_w = gamma_log_weights(shape)(num_samples)
    factors = {
        num_samples - j: float(c) for j, c in enumerate(jackknife_coefficients(num_samples, order))
    }
    mean = sum(f * expected_iwae(n, shape) for n, f in factors.items())
    nested = nested_jackknife(log_w, order)
    assert_mean_and_variance(nested, mean, variance_of_prefixes(factors, shape))
    assert nested.var() > 2.0 * jackknife(log_w, order).var()


def test_nested_jackknife_leaves_out_the_last_samples():
    log_w = np.random.default_rng(0).normal(size=(6, 5, 4)) + 1e4
    exact = sum(
        float(c) * iwae(log_w[:, : 5 - j], axis=1)
        for j, c in enumerate(jackknife_coefficients(5, 2))
    )
    np.testing.assert_allclose(nested_jackknife(log_w, 2, axis=1), exact, rtol=1e-13)
    np.testing.assert_allclose(nested_jackknife(log_w, 0, axis=1), iwae(log_w, axis=1), rtol=1e-15)


class Fixed:
    """A generator that always answers the same."""

    def __init__(self, uniform=None, level=None):
        self.random = lambda: uniform
        self.geometric = lambda p: level


@pytest.mark.parametrize("cut", [1, 2, 7, 95])
@pytest.mark.parametrize("first", [1, 4])
def test_sumo_given_its_number_of_terms(cut, first):
    uniform = sumo_tail(cut) * 0.999
    assert _sumo_cut(uniform) == cut
    draw, num_samples = gamma_log_weights(1.0), []

    def counting_draw(n):
        num_samples.append(n)
        return draw(n)

    estimate = sumo(counting_draw, Fixed(uniform=uniform), repeats=2, min_samples=first)
    assert num_samples == [first + cut] * 2
    assert estimate.num_samples == sum(num_samples)
    factors = dict.fromkeys(range(first, first + cut + 1), 0.0)
    factors[first] = 1.0
    for k in range(1, cut + 1):
        factors[first + k] += 1.0 / sumo_tail(k)
        factors[first + k - 1] -= 1.0 / sumo_tail(k)
    mean = sum(f * expected_iwae(n, 1.0) for n, f in factors.items())
    variance = variance_of_prefixes(factors, 1.0)
    assert_mean_and_variance(estimate.value, mean, variance / 2.0)
    assert estimate.sample_variance.mean() == pytest.approx(variance / 2.0, rel=0.06)


def test_sumo_draws_its_number_of_terms_with_the_probabilities_it_divides_by():
    uniforms = (np.arange(200_000) + 0.5) / 200_000
    cuts = np.array([_sumo_cut(u) for u in uniforms])
    for k in (1, 2, 3, 10, 79, 80, 81, 100):
        assert np.mean(cuts >= k) == pytest.approx(sumo_tail(k), abs=1.1 / 200_000)
    tails = [sumo_tail(k) for k in range(1, 400)]
    assert tails[0] == 1.0
    assert sum(tails) == pytest.approx(5.0784, abs=1e-3)  # mean number of terms


@pytest.mark.parametrize("level", [1, 2, 4])
@pytest.mark.parametrize("first", [1, 3])
def test_antithetic_estimate_given_its_level(level, first):
    probability = (1.0 - 2.0**-1.5) * 2.0 ** (-1.5 * (level - 1))
    estimate = antithetic_mlmc(gamma_log_weights(1.0), Fixed(level=level), 2, min_samples=first)
    half, full = first * 2 ** (level - 1), first * 2**level
    assert estimate.num_samples == 2 * full
    difference = expected_iwae(full, 1.0) - expected_iwae(half, 1.0)
    spread = 0.5 * polygamma(1, half) - polygamma(1, full)  # variance of that difference
    mean = expected_iwae(first, 1.0) + difference / probability
    variance = polygamma(1, first) / 2**level + spread * (1.0 / probability - 2.0) / probability
    assert_mean_and_variance(estimate.value, mean, variance / 2.0)
    assert estimate.sample_variance.mean() == pytest.approx(variance / 2.0, rel=0.06)


@pytest.mark.parametrize(("estimator", "largest_error"), [(sumo, 0.13), (antithetic_mlmc, 0.03)])
def test_unbiased_estimates_reach_the_evidence_within_the_error_they_report(
    estimator, largest_error
):
    """IWAE with as many samples on average is off by more than 0.08 nats."""
    rng = np.random.default_rng(1)

    def draw(num_samples):
        return np.log(rng.gamma(1.0, size=(num_samples, 40)))

    estimate = estimator(draw, rng, repeats=4000)
    standard_error = estimate.sample_variance**0.5
    assert estimate.value.shape == standard_error.shape == (40,)
    assert np.all(standard_error < largest_error)
    assert abs(estimate.value.mean()) < min(3.0 * standard_error.mean(), 0.04)
    assert estimate.num_samples < 7.0 * 4000
    assert np.mean(np.abs(estimate.value) < 2.0 * standard_error) > 0.8


def normal_draw(rng, num_points=40):
    return lambda num_samples: rng.normal(size=(num_samples, num_points))


def test_medians_and_ends_are_those_of_eight_means():
    """100 repeats that are known: batches of 12 and 13, in the order in which they came."""
    values = np.random.default_rng(0).normal(size=(100, 3))
    numbers = iter(values)
    estimate = antithetic_mlmc(lambda n: np.tile(next(numbers), (n, 1)), Fixed(level=2), 100)
    means = np.sort([each.mean(axis=0) for each in np.split(values, 100 * np.arange(1, 8) // 8)], 0)
    np.testing.assert_allclose(estimate.value, values.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(estimate.median, means[3:5].mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose([estimate.lower, estimate.upper], means[[0, -1]], rtol=1e-12)
    np.testing.assert_allclose(estimate.standard_error, values.std(axis=0, ddof=1) / 10, rtol=1e-12)


@pytest.mark.parametrize("repeats", [2, 5, 7])
def test_few_repeats_say_nothing_of_their_error(repeats):
    rng = np.random.default_rng(0)
    estimate = antithetic_mlmc(normal_draw(rng, 3), rng, repeats)
    assert np.isfinite(estimate.value).all() and np.isfinite(estimate.median).all()
    assert (estimate.lower == -np.inf).all() and (estimate.upper == np.inf).all()
    assert estimate.infinite_variance.all() and (estimate.standard_error == np.inf).all()


@pytest.mark.slow
def test_sumo_never_claims_a_standard_error():
    """Its mean over 400 runs of 200 is spread three times as far as the typical run says."""
    rng = np.random.default_rng(2)
    runs = [sumo(lambda n: np.log(rng.gamma(1.0, size=(n, 1))), rng, 200) for _ in range(400)]
    assert all(run.infinite_variance.all() and run.standard_error == np.inf for run in runs)
    values, variances, medians = (
        np.concatenate([getattr(run, name) for run in runs])
        for name in ("value", "sample_variance", "median")
    )
    assert values.std() > 2.0 * np.median(variances) ** 0.5
    assert medians.std() < values.std() / 2.0


@pytest.mark.parametrize(("spread", "least", "most"), [(0.5, 0.0, 0.4), (3.0, 0.9, 1.0)])
def test_a_multilevel_estimate_is_suspected_where_weights_are_spread_too_far(spread, least, most):
    rng = np.random.default_rng(3)
    flags = [
        antithetic_mlmc(lambda n: spread * rng.normal(size=(n, 4)), rng, 500).infinite_variance
        for _ in range(20)
    ]
    assert least <= np.mean(flags) <= most


def test_equal_weights_are_not_suspected():
    rng = np.random.default_rng(0)
    estimate = antithetic_mlmc(lambda n: np.full((n, 2), -3.0), rng, 64)
    assert not estimate.infinite_variance.any()
    np.testing.assert_allclose(estimate.standard_error, 0.0, atol=1e-14)
    np.testing.assert_allclose([estimate.lower, estimate.upper], -3.0, rtol=1e-14)


LIBRARIES = ["array_api_strict", "array_api_strict:device1", "torch", "jax.numpy", "cupy"]


@pytest.mark.parametrize("library", LIBRARIES)
def test_every_array_library_gives_the_same_numbers(library):
    name, _, device = library.partition(":")
    xp = pytest.importorskip(name)
    log_w = (np.random.default_rng(0).normal(size=(16, 5)) * 4.0).astype(np.float32)
    there = xp.asarray(log_w, device=xp.Device(device)) if device else xp.asarray(log_w)
    for function in (
        delta_method,
        lambda x: nested_jackknife(x, 2),
        lambda x: sumo(lambda n: x[:n, :], Fixed(uniform=0.3), repeats=2).value,
        lambda x: antithetic_mlmc(lambda n: x[:n, :], Fixed(level=2), repeats=2).value,
        lambda x: antithetic_mlmc(lambda n: x[:n, :], Fixed(level=2), repeats=9).median,
        lambda x: sumo(lambda n: x[:n, :], Fixed(uniform=0.3), repeats=9).upper,
    ):
        theirs = function(there)
        assert type(theirs) is type(there)
        if device:
            assert theirs.device == there.device
            theirs = xp.asarray(theirs, device=xp.Device("CPU_DEVICE"))
        theirs = theirs.get() if name == "cupy" else np.asarray(theirs)
        np.testing.assert_allclose(theirs, function(log_w), rtol=1e-12, atol=1e-12)


def test_too_few_samples_or_repeats_are_refused():
    with pytest.raises(ValueError, match="the delta method needs at least 2 samples, not 1"):
        delta_method(np.zeros((1, 3)))
    with pytest.raises(ValueError, match="orders 0 to 2, not 3"):
        nested_jackknife(np.zeros((3, 3)), 3)
    with pytest.raises(ValueError, match="the largest safe order for 65536 samples is 1"):
        nested_jackknife(np.zeros((65536, 1)), 2)
    for estimator in (sumo, antithetic_mlmc):
        with pytest.raises(ValueError, match="repeats must be at least 2"):
            estimator(lambda n: np.zeros((n, 3)), np.random.default_rng(0), repeats=1)
