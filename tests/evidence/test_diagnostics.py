"""Diagnostics of weights: known tails, known standard errors, flags that go up and stay down."""

import math

import numpy as np
import pytest

from jvi import iwae, jackknife
from jvi.evidence.diagnostics import (
    PARETO_K,
    active_units,
    half_width,
    jackknife_error,
    pareto_k,
    pareto_threshold,
    trust,
)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize("k", [0.2, 0.5, 0.9, 1.3])
def test_pareto_k_of_pareto_weights(rng, k):
    """w = U^-k has exactly this tail; the fit leans towards 0.5 by a prior worth ten samples."""
    fitted = pareto_k(-k * np.log(rng.random((4000, 100))))
    tail = math.floor(3 * math.sqrt(4000))
    expected = (tail * k + 10 * 0.5) / (tail + 10)
    assert abs(fitted.mean() - expected) < 4 * fitted.std() / 10 + 0.02


@pytest.mark.parametrize("num_samples", [30, 64, 225, 226, 5000])
def test_pareto_k_is_that_of_arviz_stats(rng, num_samples):
    from arviz_stats.base import array_stats

    log_w = np.geomspace(0.01, 30, 12) * rng.normal(size=(num_samples, 12))
    log_w[: num_samples // 2, :6] = -1e4  # half of the weights are zero
    expected = [array_stats.psislw(-column)[1] for column in log_w.T]
    np.testing.assert_allclose(pareto_k(log_w), expected, rtol=1e-9, atol=1e-12)


def test_pareto_k_of_light_tails(rng):
    """Uniform weights have a tail of shape -1, log-normal ones of shape 0, slowly reached."""
    assert pareto_k(np.log(rng.random((5000, 20)))).mean() < -0.7
    assert (pareto_k(0.1 * rng.normal(size=(5000, 20))) < 0.2).all()
    assert (pareto_k(4.0 * rng.normal(size=(5000, 20))) > 0.7).all()


def test_pareto_k_knows_its_limits(rng):
    log_w = rng.normal(size=(64, 8))
    log_w[:, 0] = 3.0  # all weights equal
    log_w[:13, 1] = 9.0  # the tail of 12 equal, and what it exceeds
    log_w[0, 2] += 1e4
    log_w[1:, 3] = -np.inf
    log_w[:, 4] = -np.inf
    log_w[5, 5] = np.nan
    log_w[:32, 6] = -np.inf
    k = pareto_k(log_w)
    np.testing.assert_array_equal(k[:6], [-np.inf, -np.inf, np.inf, np.inf, np.nan, np.nan])
    assert np.isfinite(k[6:]).all()
    assert np.isnan(pareto_k(log_w[:29])).all()
    assert np.isfinite(pareto_k(log_w[:30, 7:])).all()


def test_pareto_k_ignores_offsets_and_finds_the_axis(rng):
    log_w = rng.normal(size=(100, 3, 2))
    k = pareto_k(log_w)
    assert k.shape == (3, 2)
    np.testing.assert_allclose(pareto_k(log_w - 2000.0), k, rtol=1e-9)
    np.testing.assert_array_equal(pareto_k(np.moveaxis(log_w, 0, 2), axis=-1), k)


@pytest.mark.parametrize("k", [0.35, 0.5, 0.6, 0.69])
def test_the_threshold_is_the_tail_for_which_the_samples_are_just_enough(k):
    """10^(1/(1-k)) of them (Vehtari et al. 2024, section 3.2.3)."""
    assert pareto_threshold(10 ** (1 / (1 - k))) == pytest.approx(k)


def test_the_threshold_of_small_and_large_numbers_of_samples():
    assert math.isnan(pareto_threshold(29))
    assert pareto_threshold(30) == pytest.approx(0.32301, abs=1e-5)
    assert pareto_threshold(64) == pytest.approx(0.44635, abs=1e-5)
    assert pareto_threshold(1000) == pytest.approx(2 / 3)
    assert pareto_threshold(2154) < pareto_threshold(2155) == pareto_threshold(10**6) == PARETO_K


@pytest.mark.parametrize(
    ("num_samples", "true_k", "constant", "threshold"),
    [
        (64, 0.3, 0.082, 0.396),
        (128, 0.3, 0.043, 0.190),
        (256, 0.3, 0.010, 0.058),
        (1000, 0.3, 0.000, 0.001),
        (64, 0.9, 0.457, 0.805),
        (1000, 0.9, 0.806, 0.860),
    ],
)
def test_how_many_data_sets_are_flagged(rng, num_samples, true_k, constant, threshold):
    """Whose tail has this shape exactly: the noise of the fit, as `pareto_threshold` says it.

    Shares of 1,000; the expected ones were measured with other seeds.
    """
    k = pareto_k(true_k * rng.exponential(size=(num_samples, 1000)))
    for limit, share in ((PARETO_K, constant), (pareto_threshold(num_samples), threshold)):
        error = math.sqrt(max(share * (1 - share), 0.001) / 1000)
        assert abs((k > limit).mean() - share) < 4 * error


def test_a_tail_too_heavy_for_so_few_samples_is_not_trusted(rng):
    """The flag is the threshold's of that K, not the constant."""
    log_w = 0.3 * rng.exponential(size=(64, 200))
    result = trust(log_w)
    np.testing.assert_array_equal(result.heavy_tail, result.pareto_k > pareto_threshold(64))
    assert (result.heavy_tail & (result.pareto_k < PARETO_K)).any()


@pytest.mark.parametrize("groups", [16, 100])
@pytest.mark.parametrize("order", [0, 1, 2])
def test_jackknife_error_is_the_spread_over_replications(rng, order, groups):
    values = rng.normal(size=(100, 3000))
    error = jackknife_error(lambda log_w: jackknife(log_w, order), values[:, :400], groups)
    expected = jackknife(values, order).std()
    assert math.sqrt((error**2).mean()) == pytest.approx(expected, rel=0.12)


def test_jackknife_error_of_a_mean_is_the_textbooks(rng):
    log_w = rng.normal(size=(10, 3))
    error = jackknife_error(lambda values: values.mean(axis=0), log_w)
    np.testing.assert_allclose(error, log_w.std(axis=0, ddof=1) / math.sqrt(10), rtol=1e-12)
    with pytest.raises(ValueError, match="at least 2"):
        jackknife_error(iwae, log_w[:1])


@pytest.mark.parametrize(("groups", "images", "normal"), [(8, 1, 0.91), (4, 1, 0.86), (4, 5, 0.93)])
def test_intervals_of_few_groups_take_students_t(rng, groups, images, normal):
    """4,000 of them cover in 95% (standard error 0.35%), ±1.96 standard errors in fewer."""
    log_w = 0.5 * rng.normal(size=(200, 4000 * images))
    values = iwae(log_w)
    off = np.abs((values - values.mean()).reshape(-1, images).mean(axis=1))
    errors = jackknife_error(iwae, log_w, groups).reshape(-1, images)
    widths = np.array([half_width(each, groups) for each in errors])
    assert (off < widths).mean() == pytest.approx(0.95, abs=0.015)
    assert (off < 1.96 * np.linalg.norm(errors, axis=1) / images).mean() < normal + 0.01


def test_half_widths_in_closed_form():
    """Student's t: 12.706 of 1 degree of freedom, 2.3646 of 7, 2.1448 of 14."""
    assert half_width(np.array([0.1]), 2) == pytest.approx(1.2706, abs=1e-4)
    assert half_width(np.array([0.1]), 8) == pytest.approx(0.23646, abs=1e-5)
    assert half_width(np.array([0.1, 1e-9]), 8) == pytest.approx(0.23646 / 2, abs=1e-5)
    assert half_width(np.array([0.1, 0.1]), 8) == pytest.approx(0.21448 / math.sqrt(2), abs=1e-5)
    assert half_width(np.full(10**4, 0.1), 8) == pytest.approx(1.96e-3, rel=1e-3)
    assert half_width(np.array([0.1]), 8, level=0.5) == pytest.approx(0.0711, abs=1e-4)
    assert half_width(np.zeros(3), 8) == 0.0
    assert math.isnan(half_width(np.array([0.1, math.nan]), 8))


@pytest.mark.parametrize(
    ("errors", "groups", "level"), [([0.1], 1, 0.95), ([], 8, 0.95), ([1], 8, 1)]
)
def test_impossible_intervals_are_refused(errors, groups, level):
    with pytest.raises(ValueError, match="an interval needs at least 2 groups, an error and a lev"):
        half_width(np.array(errors), groups, level)


@pytest.mark.parametrize("order", [1, 2])
def test_good_weights_are_trusted(rng, order):
    result = trust(0.5 * rng.normal(size=(1000, 50)), order)
    assert not result.doubtful.any()
    assert (result.ess > 500).all()


def test_equal_weights_are_trusted():
    assert not trust(np.full((64, 2), -90.0)).doubtful.any()


def test_one_dominant_weight_raises_every_flag(rng):
    log_w = 0.3 * rng.normal(size=(64, 3))
    log_w[7, 1] += 12.0
    result = trust(log_w, 1)
    for flag in (result.heavy_tail, result.few_samples, result.large_correction, result.doubtful):
        np.testing.assert_array_equal(flag, [False, True, False])
    np.testing.assert_allclose(result.correction, jackknife(log_w, 1) - iwae(log_w), rtol=1e-12)


def test_trust_takes_a_jackknife_that_is_known(rng):
    log_w = rng.normal(size=(64, 5))
    for one, other in zip(trust(log_w, 2, jackknife(log_w, 2)), trust(log_w, 2), strict=True):
        np.testing.assert_array_equal(one, other)
    assert trust(log_w, 2, iwae(log_w) + 9.0).large_correction.all()


def test_a_heavy_tail_alone(rng):
    """Among many samples no single weight counts, and JVI has little to correct."""
    result = trust(-0.9 * np.log(rng.random((5000, 50))))
    assert result.heavy_tail.mean() > 0.6
    assert result.few_samples.mean() < 0.1 and result.large_correction.mean() < 0.1


def test_few_samples_alone():
    """Weights 0.7 and 0.3: ESS 1/0.58; the correction is -log(0.3 * 0.7) - 1, the error √0.58."""
    log_w = np.full((10_000, 1), -60.0)
    log_w[:2, 0] = np.log([0.7, 0.3])
    result = trust(log_w)
    assert result.few_samples and not result.large_correction
    assert result.ess == pytest.approx(1 / 0.58)
    assert result.correction == pytest.approx(-math.log(0.21) - 1, abs=1e-3)
    assert result.error == pytest.approx(math.sqrt(0.58), abs=1e-3)


def test_the_error_is_that_of_the_estimate(rng):
    log_w = 0.7 * rng.normal(size=(256, 2000))
    assert trust(log_w[:, :100]).error.mean() == pytest.approx(iwae(log_w).std(), rel=0.05)


def test_leave_one_out_would_never_call_a_correction_large(rng):
    """Why `trust` does not use it: at order 1 it exceeds the correction whatever the weights."""
    for num_samples in (2, 5, 16):
        for spread in (0.3, 1.0, 3.0, 10.0):
            log_w = spread * rng.normal(size=(num_samples, 500))
            correction = jackknife(log_w, 1) - iwae(log_w)
            assert (np.abs(correction) < jackknife_error(iwae, log_w)).all()


def test_few_samples_leave_the_tail_unknown(rng):
    result = trust(rng.normal(size=(8, 4)))
    assert np.isnan(result.pareto_k).all() and not result.heavy_tail.any()


def test_active_units(rng):
    """Two units that vary, one that does not, one whose variance is just too small."""
    spread = np.array([1.0, 0.11, 0.0, 0.09])
    q_mean = np.array([5.0, 0, 3, 0]) + spread * rng.choice([-1.0, 1.0], size=(1000, 4))
    np.testing.assert_array_equal(active_units(q_mean), [True, True, False, False])


def test_any_array_library(strict, rng):
    put, get = strict
    log_w = rng.normal(size=(30, 4))
    np.testing.assert_array_equal(get(active_units(put(log_w))), active_units(log_w))
    np.testing.assert_allclose(
        get(jackknife_error(iwae, put(log_w))), jackknife_error(iwae, log_w), rtol=1e-12
    )
