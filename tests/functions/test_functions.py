"""Fused Chainer functions against the plain formula in float64 and finite differences."""

import chainer
import chainer.functions as F
import numpy as np
import pytest
from scipy import stats

from jvi.functions import (
    Route,
    bernoulli_log_density,
    bernoulli_sample,
    crelu_decoder_log_density,
    crelu_encoder,
    gaussian_log_density,
    gaussian_sample,
    standard_normal_log_density,
    weighted_sum,
)
from jvi.functions import kernels as kernels_module
from jvi.functions.kernels import kernels_for, on_numpy

RNG = np.random.default_rng(4)


@pytest.fixture(params=["numpy", "numba"])
def kernels(request):
    """Each implementation of the kernels for the CPU."""
    if request.param == "numpy":
        return on_numpy
    return pytest.importorskip("jvi.functions.kernels.on_numba", reason="Numba is not installed")


def plain_bernoulli(x, h):
    """log p(x|h) and its derivative, in float64 by the plain formulas."""
    x, h = x.astype(np.float64), h.astype(np.float64)
    value = (x * h - np.logaddexp(0, h)).sum(axis=-1)
    return value, x - np.exp(-np.logaddexp(0, -h))


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 5, 7), (2, 300, 784), (300, 2, 113), (2, 3, 24)])
@pytest.mark.parametrize("spread", [0.1, 4.0, 30.0])
def test_bernoulli_value_and_derivative(kernels, shape, spread):
    x = (RNG.random(shape[1:]) < 0.5).astype(np.float32)
    logits = RNG.normal(0, spread, shape).astype(np.float32)
    bias = RNG.normal(size=shape[2]).astype(np.float32)
    expected, derivative = plain_bernoulli(x, logits + bias)
    value = kernels.bernoulli(x, logits.copy(), bias, False)
    value_again = kernels.bernoulli(x, logits, bias, True)
    assert value.dtype == value_again.dtype == np.float32
    for found in (value, value_again):
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=2e-7 * shape[2])
    np.testing.assert_allclose(logits, derivative, atol=2e-7)


def test_bernoulli_does_not_lose_small_values_among_large_logits(kernels):
    """A confident model: logits of 30, all right but one; the sum is near that one's term."""
    x = (RNG.random((1, 784)) < 0.5).astype(np.float32)
    h = (30 * (2 * x - 1))[None]
    h[0, 0, 5] *= -0.01
    value, _ = plain_bernoulli(x, h)
    out = kernels.bernoulli(x, h, np.zeros(784, np.float32), False)
    np.testing.assert_allclose(out, value, rtol=1e-6)


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("value", [0.0, -0.0, 1e-40, -1e-40, 30.0, -30.0, 1e4, -1e4])
@pytest.mark.parametrize("pixel", [0.0, 1.0, 0.25])
def test_bernoulli_at_extremes(kernels, value, pixel, residual):
    x = np.full((1, 3), pixel, np.float32)
    h = np.full((1, 1, 3), value, np.float32)
    expected, derivative = plain_bernoulli(x, h)
    out = kernels.bernoulli(x, h, np.zeros(3, np.float32), residual)
    np.testing.assert_allclose(out, expected, rtol=1e-6, atol=1e-6)
    if residual:
        np.testing.assert_allclose(h, derivative, atol=1e-7)


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_bernoulli_does_not_hide_what_is_not_finite(kernels, value, residual):
    h = np.zeros((1, 1, 2), np.float32)
    h[0, 0, 0] = value
    x = np.full((1, 2), 0.5, np.float32)
    with np.errstate(invalid="ignore"):
        out = kernels.bernoulli(x, h, np.zeros(2, np.float32), residual)
    assert not np.isfinite(out).any()


EXTREMES = [0.0, -0.0, 1e-40, -1e-40, 1.5, -1.5, 1e4, -1e4]


def extreme_rows(num_rows=37):
    """h (rows, H) with every extreme number in it, and a bias (H,) that is 0 under them."""
    h = RNG.normal(size=(num_rows, 20)).astype(np.float32)
    h[3, : len(EXTREMES)] = EXTREMES
    bias = RNG.normal(size=20).astype(np.float32)
    bias[: len(EXTREMES)] = 0
    return h, bias


def test_crelu_is_both_halves(kernels):
    h, bias = extreme_rows()
    shifted = h + bias
    expected = np.concatenate([np.maximum(shifted, 0), np.maximum(-shifted, 0)], axis=1)
    np.testing.assert_array_equal(kernels.crelu(h, bias), expected)


@pytest.mark.parametrize("scaled", [False, True])
def test_crelu_backward_is_its_derivative(kernels, scaled):
    h, bias = extreme_rows()
    scale = RNG.normal(size=len(h)).astype(np.float32)
    g = RNG.normal(size=(len(h), 40)).astype(np.float32)
    shifted = h + bias
    expected = g[:, :20] * (shifted > 0) - g[:, 20:] * (shifted < 0)
    if scaled:
        expected *= scale[:, None]
    out = kernels.crelu(h, bias)
    found = kernels.crelu_backward(g, out, scale if scaled else None)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_absolute_beside_and_its_sign(kernels):
    h, bias = extreme_rows()
    z, shifted = RNG.normal(size=(len(h), 3)).astype(np.float32), h + bias
    out = kernels.absolute_beside(h, bias, z)
    np.testing.assert_array_equal(out, np.concatenate([abs(shifted), z], axis=1))
    np.testing.assert_array_equal(h, shifted)
    g = RNG.normal(size=out.shape).astype(np.float32)
    expected = g.copy()
    expected[:, :20] *= np.sign(shifted)
    kernels.times_sign(g, h)
    np.testing.assert_array_equal(g, expected)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_layers_do_not_hide_what_is_not_finite(kernels, value):
    h, bias, z = np.full((1, 1), value, np.float32), np.zeros(1, np.float32), np.ones((1, 1))
    with np.errstate(invalid="ignore"):
        assert not np.isfinite(kernels.crelu(h.copy(), bias)).all()
    assert not np.isfinite(kernels.absolute_beside(h, bias, z.astype(np.float32))).all()


def test_adam_is_chainers(kernels):
    """A few of its steps, from the same gradients, beside Chainer's own rule."""
    param, m, v = (np.zeros((130, 129), np.float32) for _ in range(3))
    rule = chainer.optimizers.adam.AdamRule()
    reference = chainer.Parameter(param.copy())
    for t in range(1, 6):
        grad = RNG.normal(size=param.shape).astype(np.float32)
        step = 1e-3 * np.sqrt(1 - 0.999**t) / (1 - 0.9**t)
        kernels.adam(param, grad, m, v, (1 - 0.9, 1 - 0.999), step, 1e-8)
        reference.grad = grad
        rule.update(reference)
    pairs = (param, reference.array), (m, rule.state["m"]), (v, rule.state["v"])
    for found, expected in pairs:
        assert np.linalg.norm(found - expected) < 1e-6 * np.linalg.norm(expected)


def test_numba_is_for_float32_and_can_be_switched_off(monkeypatch):
    on_numba = pytest.importorskip("jvi.functions.kernels.on_numba")
    assert kernels_for(np.zeros(1, np.float32)) is on_numba
    assert kernels_for(np.zeros(1)) is on_numpy
    kernels_module._numba_kernels.cache_clear()
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")
    assert kernels_for(np.zeros(1, np.float32)) is on_numpy
    kernels_module._numba_kernels.cache_clear()


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


def encoder_inputs(dtype):
    """Parameters of an encoder of 10 pixels with 3 hidden units and 2 latent dimensions."""
    shapes = (3, 10), (3,), (3, 6), (3,), (2, 6), (2,), (2, 6), (2,)
    rng = np.random.default_rng(6)
    return [chainer.Variable(rng.normal(size=shape).astype(dtype)) for shape in shapes]


def plain_encoder(x, w0, b0, w1, b1, w_mean, b_mean, w_ln_var, b_ln_var):
    """Layer by layer with Chainer's own functions."""
    h = F.crelu(F.linear(F.crelu(F.linear(x, w0, b0)), w1, b1))
    return F.linear(h, w_mean, b_mean), F.linear(h, w_ln_var, b_ln_var)


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-11), (np.float32, 2e-5)])
@pytest.mark.parametrize("used", [(True, True), (True, False), (False, True)])
def test_encoder_is_its_layers(dtype, tolerance, used):
    x = (RNG.random((4, 10)) < 0.5).astype(dtype)
    cotangent = RNG.normal(size=(4, 2)).astype(dtype)
    values, gradients = [], []
    for function in (crelu_encoder, plain_encoder):
        inputs = encoder_inputs(dtype)
        outputs = function(x, *inputs)
        sum(F.sum(y * y * cotangent) for y, u in zip(outputs, used, strict=True) if u).backward()
        values.append([output.array for output in outputs])
        gradients.append([0.0 if v.grad is None else v.grad for v in inputs])
    for found, expected in zip(*values, strict=True):
        assert found.dtype == dtype
        np.testing.assert_allclose(found, expected, rtol=tolerance)
    for found, expected in zip(*gradients, strict=True):
        assert np.linalg.norm(found - expected) <= tolerance * np.linalg.norm(expected)


def test_decoder_differentiates_by_z_alone_when_only_that_is_asked_for():
    x = (RNG.random((4, 10)) < 0.5).astype(np.float64)
    inputs = decoder_inputs(np.float64)
    total = F.sum(crelu_decoder_log_density(x, *inputs))
    (alone,) = chainer.grad([total], inputs[:1])
    total.backward()
    np.testing.assert_array_equal(alone.array, inputs[0].grad)


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


def test_weighted_sum_has_the_weights_as_gradients():
    weights = [RNG.normal(size=shape) for shape in ((3, 4), (3, 4), (4,))]
    values = [chainer.Variable(RNG.normal(size=each.shape)) for each in weights]
    total = weighted_sum(zip(weights, values, strict=True))
    expected = sum(np.vdot(w, v.array) for w, v in zip(weights, values, strict=True))
    assert total.array == pytest.approx(expected)
    (2.0 * total).backward()
    for each, value in zip(weights, values, strict=True):
        np.testing.assert_allclose(value.grad, 2.0 * each)


@pytest.mark.parametrize("shared", [True, False])
def test_bernoulli_log_density_is_scipys_and_its_gradient_the_residual(shared):
    logits = RNG.normal(0, 3, (3, 4, 7))
    x = (RNG.random((4, 7) if shared else (3, 4, 7)) < 0.5).astype(float)
    weights, h = RNG.normal(size=(3, 4)), chainer.Variable(logits.copy())
    value = bernoulli_log_density(x, h)
    probability = 1 / (1 + np.exp(-logits))
    expected = stats.bernoulli.logpmf(x, probability).sum(axis=-1)
    np.testing.assert_allclose(value.array, expected, rtol=1e-10)
    weighted_sum([(weights, value)]).backward()
    np.testing.assert_allclose(h.grad, weights[:, :, None] * (x - probability), rtol=1e-9)


def test_bernoulli_draws_are_ones_with_their_probability():
    logits = np.array([-800.0, -2.0, 0.0, 1.0, 800.0])
    uniform = RNG.random((20_000, 5))
    uniform[0, :] = 0.0
    draws = bernoulli_sample(logits, uniform)
    assert set(np.unique(draws)) == {0.0, 1.0}
    probability = 1 / (1 + np.exp(-logits[1:4]))
    error = np.sqrt(probability * (1 - probability) / len(draws))
    assert (abs(draws[1:, 1:4].mean(axis=0) - probability) < 4.5 * error).all()
    assert draws[1:, 0].max() == 0 and draws[:, 4].min() == 1


def test_route_scales_every_array_of_a_tuple():
    a, b = (chainer.Variable(RNG.normal(size=(2, 3, size))) for size in (4, 5))
    route = Route()
    out = route(a, b)
    route.scale = RNG.normal(size=(2, 3))
    (F.sum(out[0]) + 2 * F.sum(out[1])).backward()
    np.testing.assert_allclose(a.grad, np.broadcast_to(route.scale[:, :, None], a.shape))
    np.testing.assert_allclose(b.grad, np.broadcast_to(2 * route.scale[:, :, None], b.shape))


# --- sizes that do not fit ------------------------------------------------------------------------


def zeros(*shape):
    return np.zeros(shape, np.float32)


def adam_arrays(*sizes):
    return [zeros(size) for size in sizes]


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("adam", [*adam_arrays(9, 9, 1, 9), (0.1, 0.1), 0.1, 1e-8]),
        ("adam", [*adam_arrays(9, 9, 9, 1), (0.1, 0.1), 0.1, 1e-8]),
        ("adam", [*adam_arrays(9, 9, 9, 10), (0.1, 0.1), 0.1, 1e-8]),
        ("adam", [*adam_arrays(9, 1, 9, 9), (0.1, 0.1), 0.1, 1e-8]),
        ("adam", [*adam_arrays(1, 9, 9, 9), (0.1, 0.1), 0.1, 1e-8]),
        ("adam", [zeros(3, 3), zeros(3, 3), zeros(9), zeros(3, 3), (0.1, 0.1), 0.1, 1e-8]),
        ("bernoulli", [zeros(2, 5), zeros(3, 2, 5), zeros(1), True]),
        ("bernoulli", [zeros(2, 1), zeros(3, 2, 5), zeros(5), True]),
        ("bernoulli", [zeros(1, 5), zeros(3, 2, 5), zeros(5), True]),
        ("bernoulli", [zeros(2, 5), zeros(3, 2, 1), zeros(5), True]),
        ("crelu", [zeros(4, 3), zeros(1)]),
        ("crelu", [zeros(4, 3), zeros(4)]),
        ("crelu_backward", [zeros(4, 6), zeros(4, 4), None]),
        ("crelu_backward", [zeros(4, 6), zeros(1, 6), None]),
        ("crelu_backward", [zeros(4, 6), zeros(4, 6), zeros(1)]),
        ("crelu_backward", [zeros(4, 6), zeros(4, 6), zeros()]),
        ("absolute_beside", [zeros(4, 3), zeros(1), zeros(4, 2)]),
        ("absolute_beside", [zeros(4, 3), zeros(3), zeros(1, 2)]),
        ("times_sign", [zeros(4, 2), zeros(4, 3)]),
        ("times_sign", [zeros(1, 3), zeros(4, 3)]),
    ],
)
def test_arrays_of_sizes_that_do_not_fit_are_refused_untouched(kernels, name, arguments):
    """Compiled loops would read and write beyond them: a heap was corrupted so."""
    before = [np.copy(a) for a in arguments if isinstance(a, np.ndarray)]
    with pytest.raises(ValueError, match=f"{name}: arrays of shapes"):
        getattr(kernels, name)(*arguments)
    after = [a for a in arguments if isinstance(a, np.ndarray)]
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
