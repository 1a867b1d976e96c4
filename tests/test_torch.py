"""The loss for PyTorch against NumPy: finite differences, gradients by hand, enumeration."""

import doctest

import numpy as np
import pytest
from by_hand import (
    ALONE,
    LOG_W,
    NAMES,
    NOT_ALONE,
    Bernoulli,
    Gaussian,
    central_differences,
    parts_of,
    source,
)

import jvi
from jvi.evidence.estimators import estimator

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
import jvi.torch  # noqa: E402  needs PyTorch

NO_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch sees no GPU")


def leaf(array, dtype=torch.float64):
    return torch.tensor(array, dtype=dtype).requires_grad_()


def gradient(array, name, dtype=torch.float64):
    """Of the loss of log-weights alone."""
    log_w = leaf(array, dtype)
    jvi.torch.loss(log_w, name).backward()
    return log_w.grad


@pytest.mark.parametrize("order", [0, 1, 2, 3])
def test_gradient_is_that_of_the_jackknife(order):
    found = gradient(LOG_W, f"jvi:order={order}")
    np.testing.assert_allclose(found, -jvi.jackknife_weights(LOG_W, order) / 5, rtol=1e-12)
    expected = central_differences(lambda w: -jvi.jackknife(w, order).mean(), LOG_W, 1e-4)
    np.testing.assert_allclose(found, expected, atol=1e-7)


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=NO_GPU)])
@pytest.mark.parametrize("name", NAMES)
def test_value_is_minus_the_bound_on_average(name, device):
    log_w = torch.tensor(LOG_W, device=device)
    parts = {} if name in ALONE else dict.fromkeys(parts_of(name), log_w)
    found = jvi.torch.loss(log_w, name, **parts)
    assert found.shape == () and found.device == log_w.device
    bound, _ = estimator(name).with_bound(LOG_W)
    assert float(found) == pytest.approx(-bound.mean(), rel=1e-14)


@pytest.mark.parametrize("name", NAMES)
def test_parts_give_the_gradient_derived_by_hand(name):
    theta, phi = leaf(Gaussian.theta), leaf(Gaussian.phi)
    x, noise = torch.tensor(Gaussian.x), torch.tensor(Gaussian.noise)
    log_w, parts = Gaussian.parts(name, theta, phi, x, noise, torch.Tensor.detach)
    found = jvi.torch.loss(log_w, name, **parts)
    found.backward()
    by_phi = 0.0 if phi.grad is None else phi.grad.item()
    numbers = [found.item(), theta.grad.item(), by_phi]
    np.testing.assert_allclose(numbers, Gaussian.by_hand(name), rtol=1e-12)


@pytest.mark.parametrize("name", ALONE)
def test_log_weights_alone_say_all_of_a_total_derivative(name):
    theta, phi = leaf(Gaussian.theta), leaf(Gaussian.phi)
    x, noise = torch.tensor(Gaussian.x), torch.tensor(Gaussian.noise)
    log_w, _ = Gaussian.parts(name, theta, phi, x, noise, torch.Tensor.detach)
    found = jvi.torch.loss(log_w, name)
    found.backward()
    numbers = [found.item(), theta.grad.item(), phi.grad.item()]
    np.testing.assert_allclose(numbers, Gaussian.by_hand(name), rtol=1e-12)


def test_reinforce_is_unbiased_for_discrete_latents():
    theta, phi = leaf(Bernoulli.theta), leaf(Bernoulli.phi)
    mean = 0.0
    for pair in Bernoulli.pairs:
        z = torch.tensor(Bernoulli.states[list(pair)])[:, None, :]
        model, score = Bernoulli.log_joint(z, theta), Bernoulli.log_q(z, phi, torch.log)
        each = jvi.torch.loss(model - score, "reinforce", model=model, score=score)
        mean = mean + Bernoulli.probability(pair) * each
    mean.backward()
    exact = Bernoulli.expected_iwae
    by_theta = central_differences(lambda t: exact(t, Bernoulli.phi), Bernoulli.theta)
    by_phi = central_differences(lambda p: exact(Bernoulli.theta, p), Bernoulli.phi)
    assert mean.item() == pytest.approx(-exact(Bernoulli.theta, Bernoulli.phi), rel=1e-12)
    np.testing.assert_allclose(theta.grad, -by_theta, atol=1e-9)
    np.testing.assert_allclose(phi.grad, -by_phi, atol=1e-9)


def test_float32_stays_float32_and_its_weights_are_those_of_float64():
    log_w = LOG_W.astype(np.float32)
    found = jvi.torch.loss(torch.tensor(log_w), "jvi:order=2")
    assert found.dtype == torch.float32
    assert found.item() == np.float32(-jvi.jackknife(log_w, 2).mean())
    weights = gradient(log_w, "jvi:order=2", torch.float32)
    assert weights.dtype == torch.float32
    np.testing.assert_allclose(weights, -jvi.jackknife_weights(log_w, 2) / 5, rtol=3e-7)


@pytest.mark.parametrize("name", ALONE)
def test_nan_is_not_silent(name):
    log_w = LOG_W.copy()
    log_w[2, 3] = np.nan
    assert torch.isnan(jvi.torch.loss(torch.tensor(log_w), name))


def test_a_zero_weight_has_no_gradient():
    log_w = LOG_W.copy()
    log_w[2, 3] = -np.inf
    assert jvi.torch.loss(torch.tensor(log_w)).item() == pytest.approx(-jvi.iwae(log_w).mean())
    found = gradient(log_w, "iwae")
    assert found[2, 3] == 0 and found[:, 3].sum() == pytest.approx(-1 / 5)


def test_values_need_no_gradient():
    with torch.no_grad():
        assert not jvi.torch.loss(leaf(LOG_W)).requires_grad


@pytest.mark.parametrize("name", ["iwae", "jvi:order=3"])
def test_compiled_is_eager(name):
    compiled = torch.compile(lambda log_w: jvi.torch.loss(2 * log_w, name), backend="eager")
    log_w = leaf(LOG_W)
    compiled(log_w).backward()
    assert torch.equal(log_w.grad, 2 * gradient(2 * LOG_W, name))


@pytest.mark.parametrize("name", NOT_ALONE)
def test_what_log_weights_do_not_say_must_be_passed(name):
    message = rf"^{estimator(name)} needs all of model=.*, not log_w alone$"
    with pytest.raises(ValueError, match=message):
        jvi.torch.loss(leaf(LOG_W), name)


def test_documentation_runs():
    exec(source("torch"), {})
    assert doctest.testmod(jvi.torch).attempted
    assert not doctest.testmod(jvi.torch).failed
