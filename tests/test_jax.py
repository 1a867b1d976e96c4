"""The loss for JAX against NumPy: finite differences, gradients by hand, enumeration."""

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
    source,
)

import jvi
from jvi.evidence.estimators import estimator

jax = pytest.importorskip("jax", reason="JAX is not installed")
import jax.numpy as jnp  # noqa: E402

import jvi.jax  # noqa: E402  needs JAX

detach = jax.lax.stop_gradient
eager_and_jit = pytest.mark.parametrize("how", [lambda f: f, jax.jit], ids=["eager", "jit"])


@pytest.fixture(autouse=True)
def _no_flag_is_left_switched_on():
    yield
    assert not jax.config.jax_enable_x64


@pytest.fixture
def float64():
    """JAX's flag for double precision, which a user may have set."""
    with jax.enable_x64(True):
        yield


def value_and_gradient(log_w, name, how=lambda f: f):
    """Of the loss of log-weights alone."""
    return how(jax.value_and_grad(lambda w: jvi.jax.loss(w, name)))(log_w)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("order", [2, 3])
def test_gradient_is_that_of_the_jackknife(order):
    _, found = value_and_gradient(LOG_W, f"jvi:order={order}")
    np.testing.assert_allclose(found, -jvi.jackknife_weights(LOG_W, order) / 5, rtol=1e-12)
    expected = central_differences(lambda w: -jvi.jackknife(w, order).mean(), LOG_W, 1e-4)
    np.testing.assert_allclose(found, expected, atol=1e-7)


def gaussian(name, how, alone=False):
    """The loss and its gradient."""

    def loss(theta, phi):
        x, noise = jnp.asarray(Gaussian.x), jnp.asarray(Gaussian.noise)
        log_w, parts = Gaussian.parts(name, theta, phi, x, noise, detach)
        return jvi.jax.loss(log_w, name, **({} if alone else parts))

    value, gradients = how(jax.value_and_grad(loss, (0, 1)))(Gaussian.theta, Gaussian.phi)
    return [float(value), *map(float, gradients)]


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", NAMES)
def test_parts_give_the_value_and_gradient_derived_by_hand(name):
    np.testing.assert_allclose(gaussian(name, jax.jit), Gaussian.by_hand(name), rtol=1e-12)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", ALONE)
def test_log_weights_alone_say_all_of_a_total_derivative(name):
    np.testing.assert_allclose(gaussian(name, jax.jit, True), Gaussian.by_hand(name), rtol=1e-12)


@eager_and_jit
@pytest.mark.parametrize("name", ["jvi-clip:order=2", "reinforce"])
def test_parts_in_float32(name, how):
    np.testing.assert_allclose(gaussian(name, how), Gaussian.by_hand(name), rtol=1e-5)


@pytest.mark.usefixtures("float64")
def test_reinforce_is_unbiased_for_discrete_latents():
    def mean(theta, phi):
        total = 0.0
        for pair in Bernoulli.pairs:
            z = Bernoulli.states[list(pair)][:, None, :]
            model, score = Bernoulli.log_joint(z, theta), Bernoulli.log_q(z, phi, jnp.log)
            each = jvi.jax.loss(model - score, "reinforce", model=model, score=score)
            total = total + Bernoulli.probability(pair) * each
        return total

    value, gradients = jax.jit(jax.value_and_grad(mean, (0, 1)))(Bernoulli.theta, Bernoulli.phi)
    exact = Bernoulli.expected_iwae
    by_theta = central_differences(lambda t: exact(t, Bernoulli.phi), Bernoulli.theta)
    by_phi = central_differences(lambda p: exact(Bernoulli.theta, p), Bernoulli.phi)
    assert float(value) == pytest.approx(-exact(Bernoulli.theta, Bernoulli.phi), rel=1e-12)
    np.testing.assert_allclose(gradients[0], -by_theta, atol=1e-9)
    np.testing.assert_allclose(gradients[1], -by_phi, atol=1e-9)


@eager_and_jit
def test_float32_stays_float32_and_its_weights_are_those_of_float64(how):
    log_w = LOG_W.astype(np.float32)
    value, weights = value_and_gradient(log_w, "jvi:order=2", how)
    assert value.dtype == weights.dtype == jnp.float32
    assert float(value) == np.float32(-jvi.jackknife(log_w, 2).mean())
    np.testing.assert_allclose(weights, -jvi.jackknife_weights(log_w, 2) / 5, rtol=3e-7)


@eager_and_jit
@pytest.mark.parametrize("name", ["iwae", "jvi"])
def test_nan_is_not_silent(name, how):
    log_w = LOG_W.copy()
    log_w[2, 3] = np.nan
    assert np.isnan(value_and_gradient(log_w, name, how)[0])


def test_a_zero_weight_has_no_gradient():
    log_w = LOG_W.copy()
    log_w[2, 3] = -np.inf
    value, found = value_and_gradient(log_w, "iwae")
    assert float(value) == pytest.approx(-jvi.iwae(log_w).mean())
    assert found[2, 3] == 0 and float(found[:, 3].sum()) == pytest.approx(-1 / 5)


@pytest.mark.parametrize("name", ["iwae", "jvi:order=2"])
def test_one_loss_for_each_of_many_models(name):
    many = jnp.asarray(np.stack([LOG_W, 2 * LOG_W]))
    found = jax.vmap(lambda log_w: jvi.jax.loss(log_w, name))(many)
    expected = [float(jvi.jax.loss(each, name)) for each in many]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("transform", [jax.jit, lambda f: lambda w: jax.vmap(f)(w[None])])
def test_orders_that_cannot_be_traced_say_so(transform):
    loss = transform(lambda log_w: jvi.jax.loss(log_w, "jvi:order=3"))
    with pytest.raises(ValueError, match=r"^jvi:order=3 cannot be traced .*an order of at most 2"):
        loss(jnp.asarray(LOG_W))


@pytest.mark.parametrize("name", NOT_ALONE)
def test_what_log_weights_do_not_say_must_be_passed(name):
    message = rf"^{estimator(name)} needs all of model=.*, not log_w alone$"
    with pytest.raises(ValueError, match=message):
        jvi.jax.loss(LOG_W, name)


def test_documentation_runs():
    exec(source("jax"), {})
    assert doctest.testmod(jvi.jax).attempted
    assert not doctest.testmod(jvi.jax).failed
