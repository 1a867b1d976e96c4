"""JVI of any order agrees with its definition, its expectation and its own derivative."""

import math
import tracemalloc
from decimal import Decimal, localcontext
from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import digamma

from jvi.evidence.jackknife import (
    count_terms,
    jackknife,
    jackknife_and_weights,
    jackknife_coefficients,
    jackknife_weights,
)
from jvi.scripts import jackknife_figure

extended = pytest.mark.skipif(
    np.finfo(np.longdouble).eps > 1e-18, reason="no extended precision on this machine"
)

LOG_WEIGHTS = {
    "spread of 1 nat": lambda rng, k: rng.normal(size=k),
    "spread of 10 nats": lambda rng, k: 10.0 * rng.normal(size=k),
    "spread of 100 nats": lambda rng, k: 100.0 * rng.normal(size=k),
    "one dominant weight": lambda rng, k: np.r_[0.0, rng.normal(size=k - 1) - 60.0],
    "two equal dominant weights": lambda rng, k: np.r_[
        rng.normal(size=k - k // 2) - 100.0, np.zeros(min(k // 2, 2)), np.full(k // 2, -90.0)
    ][:k],
    "a ladder of weights": lambda rng, k: -38.0 * np.arange(k),
    "all equal": lambda rng, k: np.full(k, -3.0),
    "ties": lambda rng, k: np.repeat(rng.normal(size=k), 3)[:k],
    "offset of +1e4": lambda rng, k: rng.integers(-64, 64, size=k) / 16.0 + 1e4,
    "offset of -1e4": lambda rng, k: rng.integers(-64, 64, size=k) / 16.0 - 1e4,
}


def enumerate_subsets(log_w, order):
    """Value and derivative by the definition, one column, in extended precision."""
    num_samples = log_w.shape[0]
    w = np.exp((log_w - log_w.max()).astype(np.longdouble))
    value, weights = np.longdouble(log_w.max()), np.zeros_like(w)
    for j, c in enumerate(jackknife_coefficients(num_samples, order)):
        left_out = list(combinations(range(num_samples), j))
        keep = np.ones((len(left_out), num_samples), bool)
        keep[np.arange(len(left_out))[:, None], np.array(left_out, int)] = False
        c = np.longdouble(c.numerator) / np.longdouble(c.denominator)
        total = (keep * w).sum(axis=1)
        value += c * np.mean(np.log(total) - np.log(np.longdouble(num_samples - j)))
        weights += c * np.mean(keep * w / total[:, None], axis=0)
    return value, weights


@extended
@pytest.mark.parametrize("case", LOG_WEIGHTS)
@pytest.mark.parametrize("num_samples", range(1, 17))
def test_value_and_weights_agree_with_the_definition(num_samples, case):
    log_w = LOG_WEIGHTS[case](np.random.default_rng(num_samples), num_samples)
    for order in range(min(num_samples, 6)):
        value, weights = jackknife_and_weights(log_w, order)
        exact_value, exact_weights = enumerate_subsets(log_w, order)
        assert abs(value - exact_value) < (1e-9 if "offset" in case else 1e-12)
        assert np.abs(weights - exact_weights).max() < 1e-12


def leave_out_pairs(log_w):
    """JVI-2 from sums between the two samples left out, in extended precision, O(K²)."""
    num_samples = log_w.shape[0]
    w = np.exp(log_w.astype(np.longdouble) - log_w.max())
    before = np.concatenate([[0], np.cumsum(w)])
    after = np.concatenate([np.cumsum(w[::-1])[::-1], [0]])
    pairs = np.longdouble(0)
    for i in range(num_samples - 1):
        between = np.concatenate([[0], np.cumsum(w[i + 1 : -1])])
        pairs += np.log(before[i] + between + after[i + 2 :]).sum()
    means = [
        np.log(after[0]),
        np.log(before[:-1] + after[1:]).mean(),
        pairs / math.comb(num_samples, 2),
    ]
    return log_w.max() + combine(means, num_samples, order=2)


def leave_out_triples(log_w):
    """JVI-3 from sums between the three samples left out, in extended precision, O(K³)."""
    num_samples = log_w.shape[0]
    w = np.exp(log_w.astype(np.longdouble) - log_w.max())
    between = np.zeros((num_samples + 2, num_samples + 1), np.longdouble)  # of a <= k < b
    for a in range(num_samples):
        between[a, a + 1 :] = np.cumsum(w[a:])
    means = [np.log(between[0, num_samples])]
    for j in range(1, 4):
        left_out = np.array(list(combinations(range(num_samples), j)))
        total = between[0, left_out[:, 0]] + between[left_out[:, -1] + 1, num_samples]
        for a, b in zip(left_out.T[:-1], left_out.T[1:], strict=True):
            total += between[a + 1, b]
        means.append(np.log(total).mean())
    return log_w.max() + combine(means, num_samples, order=3)


def combine(means, num_samples, order):
    """Σ_j c_j (mean log sum over the subsets of K - j, minus log(K - j))."""
    return sum(
        np.longdouble(c.numerator) / c.denominator * (mean - np.log(np.longdouble(num_samples - j)))
        for (j, c), mean in zip(
            enumerate(jackknife_coefficients(num_samples, order)), means, strict=True
        )
    )


@extended
@pytest.mark.parametrize("case", [c for c in LOG_WEIGHTS if c != "a ladder of weights"])
@pytest.mark.parametrize(
    ("num_samples", "reference", "order"),
    [
        (16, leave_out_pairs, 2),
        (4096, leave_out_pairs, 2),
        (64, leave_out_triples, 3),
        pytest.param(256, leave_out_triples, 3, marks=pytest.mark.slow),
    ],
)
def test_many_samples_agree_with_the_definition(num_samples, reference, order, case):
    log_w = LOG_WEIGHTS[case](np.random.default_rng(0), num_samples)
    assert abs(jackknife(log_w, order) - reference(log_w)) < 1e-9


def two_kinds_of_weights(log_ratio, heavy, num_samples, order):
    """JVI-m in 150 digits where `heavy` weights are exp(log_ratio) and the others 1."""
    with localcontext() as context:
        context.prec = 150
        weight, value = Decimal(log_ratio).exp(), Decimal(0)
        for j, c in enumerate(jackknife_coefficients(num_samples, order)):
            for i in range(max(0, j - num_samples + heavy), min(j, heavy) + 1):
                subsets = math.comb(heavy, i) * math.comb(num_samples - heavy, j - i)
                share = c * subsets / math.comb(num_samples, j)
                total = (heavy - i) * weight + (num_samples - heavy - j + i)
                value += (
                    Decimal(share.numerator) / share.denominator * (total / (num_samples - j)).ln()
                )
        return float(value)


@pytest.mark.parametrize("log_ratio", [0.5, 5, 39, 41, 100, 5000])
@pytest.mark.parametrize(
    ("num_samples", "order"),
    [(17, 16), (40, 16), (64, 9), (1000, 6), (4096, 2), (65536, 1), (65536, 2), (65536, 4)],
)
def test_every_order_and_number_of_samples(num_samples, order, log_ratio):
    for heavy in {1, 2, order, order + 1, num_samples // 2}:
        log_w = np.where(np.arange(num_samples) < heavy, float(log_ratio), 0.0)
        exact = two_kinds_of_weights(log_ratio, heavy, num_samples, order)
        assert jackknife(log_w, order) == pytest.approx(exact, rel=1e-12, abs=1e-9)


def test_two_samples_in_closed_form():
    log_w = np.random.default_rng(0).normal(size=(2, 50)) * 5.0
    value, weights = jackknife_and_weights(log_w, 1)
    log_mean = np.logaddexp(*log_w) - math.log(2.0)
    np.testing.assert_allclose(value, 2.0 * log_mean - log_w.mean(axis=0), atol=1e-13)
    np.testing.assert_allclose(weights, 2.0 * np.exp(log_w - log_mean) / 2.0 - 0.5, atol=1e-13)


@pytest.mark.parametrize("order", range(5))
def test_weights_are_the_derivative(order):
    log_w = np.random.default_rng(0).normal(size=(40, 6)) * np.array([0.1, 1, 2, 4, 8, 20])
    weights = jackknife_weights(log_w, order)
    for k in range(40):
        step = 1e-5 * (np.arange(40) == k)[:, None]
        slope = (jackknife(log_w + step, order) - jackknife(log_w - step, order)) / 2e-5
        np.testing.assert_allclose(weights[k], slope, atol=2e-8)
    np.testing.assert_allclose(weights.sum(axis=0), 1.0, atol=1e-11)


@pytest.mark.parametrize(("num_samples", "order"), [(17, 16), (300, 10), (65536, 3)])
def test_weights_sum_to_one_at_high_orders(num_samples, order):
    log_w = np.random.default_rng(0).normal(size=(num_samples, 1)) * 4.0
    assert jackknife_weights(log_w, order).sum() == pytest.approx(1.0, abs=1e-9)


log_weights = st.integers(6, 20).flatmap(
    lambda k: st.lists(st.floats(-200, 200, width=16), min_size=k, max_size=k)
)


@settings(max_examples=60, deadline=None)
@given(log_weights, st.integers(0, 5), st.integers(-1000, 1000), st.randoms())
def test_shifting_and_shuffling_commute_with_the_jackknife(column, order, shift, random):
    log_w = np.array(column)
    shuffle = np.array(random.sample(range(log_w.size), log_w.size))
    value, weights = jackknife_and_weights(log_w, order)
    shuffled_value, shuffled_weights = jackknife_and_weights(log_w[shuffle] + shift, order)
    assert shuffled_value == pytest.approx(value + shift, abs=1e-9)
    np.testing.assert_allclose(shuffled_weights, weights[shuffle], atol=1e-9)
    assert weights.sum() == pytest.approx(1.0, abs=1e-9)


def gamma_bias(shape, num_samples, order):
    """E[JVI-m] - log E[w] for w ~ Gamma(shape, 1): IWAE's is ψ(K a) - log(K a)."""
    return sum(
        float(c) * (digamma((num_samples - j) * shape) - math.log((num_samples - j) * shape))
        for j, c in enumerate(jackknife_coefficients(num_samples, order))
    )


@pytest.mark.parametrize(
    ("shape", "num_samples", "exact"),
    [
        (1.0, 4, [-0.1301766927, 0.006777089957, 0.0003123496991, -0.0001227865118]),
        (1.0, 32, [-0.01570637226, 8.397998327e-5, 2.707255402e-8, -9.606412006e-9]),
        (0.1, 8, [-0.7418650154, 0.1085201452, 0.02811676337, 0.006656806968]),
        (0.1, 64, [-0.08015459448, 0.002051712025, 1.527425679e-5, -4.854771857e-6]),
    ],
)
def test_expectation_over_gamma_weights(shape, num_samples, exact):
    """IWAE is subtracted draw by draw: its expectation is known and most noise goes with it."""
    rng = np.random.default_rng(7)
    log_w = np.log(rng.gamma(shape, size=(num_samples, 30_000)))
    iwae = jackknife(log_w, 0)
    assert abs(iwae.mean() - math.log(shape) - exact[0]) < 4.0 * iwae.std() / 30_000**0.5
    for order, bias in enumerate(exact):
        assert gamma_bias(shape, num_samples, order) == pytest.approx(bias, rel=1e-8, abs=5e-11)
        correction = jackknife(log_w, order) - iwae
        standard_error = correction.std() / 30_000**0.5
        assert abs(correction.mean() - (bias - exact[0])) <= 4.0 * standard_error


def test_order_zero_is_iwae():
    log_w = np.random.default_rng(0).normal(size=(5, 7)) * 30.0
    value, weights = jackknife_and_weights(log_w, 0)
    np.testing.assert_allclose(value, np.logaddexp.reduce(log_w) - math.log(5.0), atol=1e-13)
    np.testing.assert_allclose(weights, np.exp(log_w - np.logaddexp.reduce(log_w)), atol=1e-15)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_no_more_non_zero_weights_than_the_order_has_an_infinite_limit(order):
    for non_zero in range(5):
        log_w = np.where(np.arange(8) < non_zero, np.arange(8.0), -math.inf)
        value, weights = jackknife_and_weights(log_w, order)
        far = jackknife_and_weights(np.where(np.arange(8) < non_zero, np.arange(8.0), -1e6), order)
        if non_zero == 0:
            assert value == -math.inf
        elif non_zero > order:
            assert value == pytest.approx(far[0], abs=1e-12)
        else:
            assert value == math.inf * (-1) ** (non_zero + 1) == math.inf * np.sign(far[0])
        np.testing.assert_allclose(weights, far[1], atol=1e-12)


def test_float32_is_computed_in_float64():
    log_w = (np.random.default_rng(0).normal(size=(64, 9)) * 10.0).astype(np.float32)
    value, weights = jackknife_and_weights(log_w, 2)
    assert value.dtype == weights.dtype == np.float64
    np.testing.assert_array_equal(value, jackknife(log_w.astype(np.float64), 2))


@pytest.mark.parametrize("order", [0, 1, 2, 3])
def test_any_axis_shape_and_block(order):
    log_w = np.random.default_rng(0).normal(size=(3, 12, 70, 80))
    value, weights = jackknife_and_weights(log_w, order, axis=1)
    assert value.shape == (3, 70, 80)
    assert weights.shape == log_w.shape
    one_value, one_weights = jackknife_and_weights(log_w[2, :, 69, 1], order, axis=-1)
    assert one_value.shape == ()
    assert value[2, 69, 1] == pytest.approx(one_value, abs=1e-12)
    np.testing.assert_allclose(weights[2, :, 69, 1], one_weights, atol=1e-12)
    assert jackknife(np.zeros((9, 0)), order).shape == (0,)


@pytest.mark.parametrize("order", [1, 2, 4])
def test_memory_is_a_few_copies_of_the_input_however_many_subsets(order):
    log_w = np.random.default_rng(0).normal(size=(1024, 256))
    tracemalloc.start()
    try:
        jackknife_and_weights(log_w, order)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4.0 * log_w.nbytes + 2**26


LIBRARIES = ["array_api_strict", "array_api_strict:device1", "torch", "jax.numpy", "cupy"]


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("order", [0, 1, 2, 3])
def test_every_array_library_gives_the_same_numbers(order, library):
    name, _, device = library.partition(":")
    xp = pytest.importorskip(name)
    log_w = np.random.default_rng(0).normal(size=(9, 5)) * np.array([1, 3, 10, 30, 100])
    log_w[4, 0], log_w = -math.inf, log_w.astype(np.float32)
    there = xp.asarray(log_w, device=xp.Device(device)) if device else xp.asarray(log_w)
    for ours, theirs in zip(
        jackknife_and_weights(log_w, order), jackknife_and_weights(there, order), strict=True
    ):
        assert type(theirs) is type(there)
        assert "float64" in str(theirs.dtype)
        if device:
            assert theirs.device == there.device
            theirs = xp.asarray(theirs, device=xp.Device("CPU_DEVICE"))
        theirs = theirs.get() if name == "cupy" else np.asarray(theirs)
        np.testing.assert_allclose(theirs, ours, rtol=1e-12, atol=1e-12)


def test_coefficients_and_terms_are_exact():
    assert jackknife_coefficients(8, 2) == (Fraction(32), Fraction(-49), Fraction(18))
    assert sum(jackknife_coefficients(10**6, 40)) == 1
    assert count_terms(64, 3)[3][:2] == (3, 41664)
    assert sum(subsets for _, subsets, _ in count_terms(64, 3)) == 43745


@pytest.mark.parametrize(
    ("num_samples", "order", "message"),
    [
        (8, -1, "orders 0 to 7, not -1"),
        (8, 8, "orders 0 to 7, not 8"),
        (8, 1.0, "the order must be an integer, not 1.0"),
        (8, True, "the order must be an integer, not True"),
        (0, 0, "the number of samples must be at least 1, not 0"),
        (64, 17, "the largest safe order for 64 samples is 16"),
    ],
)
def test_impossible_orders_are_refused_in_one_line(num_samples, order, message):
    with pytest.raises(ValueError, match=message) as error:
        jackknife(np.zeros((num_samples, 2)), order)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("order", [0, 1, 3])
def test_weights_that_are_no_numbers_are_refused(order, bad):
    log_w = np.zeros((4, 3))
    log_w[2, 1] = bad
    with pytest.raises(ValueError, match=r"log_w holds NaN or \+inf"):
        jackknife(log_w, order)


def test_axis_outside_the_array_is_refused():
    with pytest.raises(ValueError, match="axis 2 is not among them"):
        jackknife(np.zeros((4, 3)), 1, axis=2)


@pytest.mark.slow
def test_figures_are_drawn_from_exact_biases(tmp_path, capsys):
    for order, num_samples, shape in [(0, 7, 1.0), (1, 16, 0.1), (3, 8, 0.1)]:
        exact = jackknife_figure.exact_bias(num_samples, order, Decimal(str(shape)))
        assert float(exact) == pytest.approx(gamma_bias(shape, num_samples, order), rel=1e-9)
    jackknife_figure.main(["-o", str(tmp_path), "--draws", "500", "--largest", "64"])
    assert capsys.readouterr().out.splitlines()[-1].startswith("64 ")
    for name in ("jackknife_bias.png", "jackknife_runtime.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
