"""The passes over a network's weights: Numba's and NumPy's against definitions in more digits."""

import numpy as np
import pytest
from scipy import stats
from scipy.special import expit

from jvi.functions.kernels import weights

RNG = np.random.default_rng(12)
LONG = 9_001  # more than Numba's kernels work on at a time, and no multiple of it


@pytest.fixture(params=["numpy", "numba"])
def kernels(request):
    if request.param == "numpy":
        return weights
    return pytest.importorskip(
        "jvi.functions.kernels.weights_on_numba", reason="Numba is not installed"
    )


def normal(*shape, scale=1.0):
    return RNG.normal(0, scale, shape).astype(np.float32)


def test_log_softplus_is_its_definition_wherever_rho_is(kernels):
    rho = np.concatenate([normal(2, LONG, scale=6), np.float32([[-1e4] * 9, [3e4] * 9])], axis=1)
    rho[0, :7] = [0, -0.0, 1e-6, -1e-6, -15, -87, 88]
    values, slopes = kernels.log_softplus(rho)
    exact = rho.astype(np.longdouble)
    sigma = np.logaddexp(0, exact)
    np.testing.assert_allclose(values, np.log(sigma), rtol=3e-7, atol=2e-7)
    expected = np.exp(-np.logaddexp(0, -exact) - np.log(sigma))
    np.testing.assert_allclose(slopes, expected, rtol=1e-6)
    assert values.dtype == slopes.dtype == np.float32 and values.shape == rho.shape


def test_log_softplus_keeps_what_is_not_finite(kernels):
    with np.errstate(all="ignore"):
        values, _ = kernels.log_softplus(np.float32([np.nan, np.inf, -np.inf]))
    np.testing.assert_array_equal(values, [np.nan, np.inf, -np.inf])


@pytest.mark.parametrize("shape", [(1, 1, LONG), (3, 2, LONG), (2, 1, 1)])
def test_draws_and_their_derivatives_are_the_formulas(kernels, shape):
    mean, ln_sigma, eps = normal(*shape[1:]), normal(*shape[1:], scale=3), normal(*shape)
    g, total = normal(*shape), RNG.normal(size=shape[1])
    z, sigma, log_q = kernels.normal_draw(mean, ln_sigma, eps)
    by_mean, by_ln_sigma = kernels.normal_draw_backward(g, sigma, eps, total)
    s, e, d = (np.asarray(each, float) for each in (np.exp(ln_sigma.astype(float)), eps, g))
    np.testing.assert_allclose(sigma, s, rtol=2e-6)
    np.testing.assert_allclose(z, mean + s * e, rtol=2e-6, atol=2e-6)
    densities = stats.norm.logpdf(mean + s * e, mean, s).sum(axis=-1)
    constant = 0.5 * shape[-1] * np.log(2 * np.pi)
    np.testing.assert_allclose(log_q - constant, densities, rtol=1e-7)
    np.testing.assert_allclose(by_mean, d.sum(axis=0), rtol=1e-5, atol=1e-6)
    expected = s * (d * e).sum(axis=0) - total[:, None]
    np.testing.assert_allclose(by_ln_sigma, expected, rtol=1e-5, atol=1e-5 * s.max())
    assert z.dtype == by_ln_sigma.dtype == np.float32 and log_q.dtype == np.float64


def test_deviations_out_of_range_are_tiny_huge_or_nan(kernels):
    ln_sigma = np.float32([[-200, 80, np.nan]])
    z, sigma, _ = kernels.normal_draw(np.zeros_like(ln_sigma), ln_sigma, np.ones((1, 1, 3), "f"))
    assert 0 <= sigma[0, 0] < 1e-37 and sigma[0, 1] == pytest.approx(np.exp(80), rel=1e-5)
    assert np.isnan(sigma[0, 2]) and np.isnan(z[0, 0, 2])


@pytest.mark.parametrize("scales", [(1.0, 0.0025), (0.1, 3.0), (1e6, 1e-6), (0.5, 0.5)], ids=str)
def test_the_mixture_is_its_definition(kernels, scales):
    """In extended precision, for weights of either part's scale, and where both have shares."""
    z = normal(2, 1, LONG) * np.float32(scales)[:, None, None]
    if scales[0] != scales[1]:
        ratio, gap = np.log(scales[0] / scales[1]), scales[1] ** -2 - scales[0] ** -2
        z[0, 0, ::2] = np.sqrt(2 * ratio / gap) * RNG.uniform(0.5, 1.5, len(z[0, 0, ::2]))
    logs = np.log(0.3) - np.log(scales[0]), np.log(0.7) - np.log(scales[1])
    values, slopes = kernels.mixture(z, logs, scales, True)
    exact = z.astype(np.longdouble)
    a, b = (log - 0.5 * (exact / scale) ** 2 for log, scale in zip(logs, scales, strict=True))
    both, share = np.logaddexp(a, b).sum(axis=-1), expit((a - b).astype(float))
    np.testing.assert_allclose(values, both.astype(float), rtol=2e-7)
    other = expit((b - a).astype(float))
    expected = -z.astype(float) * (share / scales[0] ** 2 + other / scales[1] ** 2)
    # What the rounding of a - b to float32 leaves of its exponential.
    loss = 1e-6 * (1 + np.minimum(abs(a - b), 90).astype(float))
    assert (abs(slopes - expected) <= loss * abs(expected) + 1e-30).all()
    again, nothing = kernels.mixture(z, logs, scales, False)
    assert nothing is None
    np.testing.assert_allclose(values, again, rtol=1e-10)


def test_the_mixture_of_half_a_million_weights_is_exact_to_a_hundredth_of_a_nat(kernels):
    """Of -60,000: constants of float32 alone would be 0.003 off, sums of float32 far more."""
    z, scales = normal(1, 1, 478_410, scale=0.05), (1.0, 0.0025)
    logs = np.log(0.5), np.log(0.5) - np.log(0.0025)
    found, slopes = kernels.mixture(z, logs, scales, True)
    exact, expected = weights.mixture(z.astype(float), logs, scales, True)
    assert found[0, 0] == pytest.approx(exact[0, 0], abs=1e-3)
    np.testing.assert_allclose(slopes, expected, rtol=1e-5)


def test_one_nan_is_a_nan_of_its_own_draw_alone(kernels):
    z = normal(2, 1, LONG)
    z[1, 0, 700] = np.nan
    values, slopes = kernels.mixture(z, (0.0, 0.0), (1.0, 2.0), True)
    np.testing.assert_array_equal(np.isnan(values), [[False], [True]])
    np.testing.assert_array_equal(np.isnan(slopes), np.isnan(z))
    np.testing.assert_array_equal(np.isnan(kernels.sum_of_squares(z)), [[False], [True]])


def test_squares_are_added_in_double_precision(kernels):
    z = normal(3, 2, LONG, scale=100)
    expected = np.einsum("knd,knd->kn", z.astype(float), z.astype(float))
    np.testing.assert_allclose(kernels.sum_of_squares(z), expected, rtol=2e-9)
    assert kernels.sum_of_squares(z[::2, :, ::3]).shape == (2, 2)


def test_a_weighted_pair_is_its_formula_for_every_draw(kernels):
    a, b, x, y = normal(3, 2), RNG.normal(size=(3, 2)), normal(3, 2, LONG), normal(3, 2, LONG)
    found = kernels.weighted_pair(a, x, b, y)
    np.testing.assert_allclose(found, a[..., None] * x + b[..., None] * y, rtol=1e-4, atol=1e-6)
    assert found.dtype == np.float32


def test_arrays_that_do_not_fit_are_refused():
    on_numba = pytest.importorskip("jvi.functions.kernels.weights_on_numba")
    mean, eps = normal(1, 5), normal(2, 1, 4)
    with pytest.raises(ValueError, match="normal_draw: arrays of shapes"):
        on_numba.normal_draw(mean, mean, eps)
    with pytest.raises(ValueError, match="normal_draw_backward: arrays of shapes"):
        on_numba.normal_draw_backward(eps, mean, eps, np.zeros(1))
    with pytest.raises(ValueError, match="weighted_pair: arrays of shapes"):
        on_numba.weighted_pair(np.ones((2, 1)), eps, np.ones((1, 1)), eps)
