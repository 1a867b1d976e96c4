"""Optimizers by name: their options reach the step, clipping can be left out."""

import chainer
import numpy as np
import pytest

from jvi.functions.kernels import on_numpy
from jvi.models import build
from jvi.models.model import Model
from jvi.training import optimizers
from jvi.training.optimizers import (
    CLIP,
    OPTIMIZERS,
    learning_rate,
    make_optimizer,
    optimizer_for,
    set_learning_rate,
)


@pytest.fixture
def model():
    return Model(build("mlp:hidden=3,latent=2", 5, np.random.default_rng(0)))


def gradients(model, step, scale):
    rng = np.random.default_rng(step)
    return [(scale * rng.normal(size=p.shape)).astype(np.float32) for p in model.link.params()]


@pytest.mark.parametrize(
    ("name", "beta1", "beta2", "eps"),
    [
        ("adam", 0.9, 0.999, 1e-8),
        ("adam:eps=1e-4", 0.9, 0.999, 1e-4),
        ("adam:beta1=0.5,beta2=0.9,eps=0.01", 0.5, 0.9, 0.01),
    ],
)
def test_adams_steps_are_those_written_by_hand(model, name, beta1, beta2, eps):
    """With gradients as small as eps, so that it counts."""
    optimizer = optimizer_for(name, 0.1, model.link)
    values = [p.array.astype(np.float64) for p in model.link.params()]
    m, v = ([np.zeros_like(value) for value in values] for _ in range(2))
    for t in range(1, 5):
        found = gradients(model, t, 1e-3)
        for parameter, gradient in zip(model.link.params(), found, strict=True):
            parameter.grad = gradient
        optimizer.update()
        size = 0.1 * np.sqrt(1 - beta2**t) / (1 - beta1**t)
        for i, gradient in enumerate(found):
            m[i] += (1 - beta1) * (gradient - m[i])
            v[i] += (1 - beta2) * (gradient.astype(np.float64) ** 2 - v[i])
            values[i] -= size * m[i] / (np.sqrt(v[i]) + eps)
    for parameter, value in zip(model.link.params(), values, strict=True):
        np.testing.assert_allclose(parameter.array, value, rtol=2e-4, atol=1e-6)


def stepped_by_adamax(model, name, scale, steps=6):
    """(parameters after steps, and as algorithm 2 of the paper has them, in float64).

    The last parameter has no gradient, which is 0/0 in the paper; here it stays.
    """
    optimizer, parameters = optimizer_for(name, 0.1, model.link, clip=0), list(model.link.params())
    h = optimizer.hyperparam
    theta = [p.array.astype(np.float64) for p in parameters]
    m, u = ([np.zeros_like(value) for value in theta] for _ in range(2))
    for t in range(1, steps + 1):
        found = gradients(model, t, scale / t)
        found[-1][...] = 0
        for parameter, gradient in zip(parameters, found, strict=True):
            parameter.grad = gradient
        optimizer.update()
        for i, gradient in enumerate(found[:-1]):
            m[i] = h.beta1 * m[i] + (1 - h.beta1) * gradient
            u[i] = np.maximum(h.beta2 * u[i], np.abs(gradient.astype(np.float64)))
            theta[i] -= 0.1 / (1 - h.beta1**t) * m[i] / u[i]
    return [p.array for p in parameters], theta


@pytest.mark.parametrize("name", ["adamax", "adamax:beta1=0.5,beta2=0.3,eps=1e-12"])
@pytest.mark.parametrize("compiled", [True, False])
def test_adamaxs_steps_are_the_papers(model, monkeypatch, name, compiled):
    if not compiled:
        monkeypatch.setattr(optimizers, "kernels_for", lambda array: on_numpy)
    for value, expected in zip(*stepped_by_adamax(model, name, 1e-3), strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-6)


def test_adamax_divides_by_eps_where_gradients_are_smaller(model):
    """All of them: its steps are then those of a mean of gradients."""
    before = [p.array.copy() for p in model.link.params()]
    optimizer = optimizer_for("adamax:eps=10", 0.1, model.link, clip=0)
    found = gradients(model, 0, 1.0)
    for parameter, gradient in zip(model.link.params(), found, strict=True):
        parameter.grad = gradient
    optimizer.update()
    for parameter, old, gradient in zip(model.link.params(), before, found, strict=True):
        np.testing.assert_allclose(old - parameter.array, 0.1 * gradient / 10, atol=1e-6)


def test_adamax_is_pytorchs(model):
    """Whose eps is added to gradients, which are much larger."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    optimizer = optimizer_for("adamax:beta2=0.9", 0.02, model.link, clip=0)
    theirs = [torch.nn.Parameter(torch.tensor(p.array)) for p in model.link.params()]
    updates = torch.optim.Adamax(theirs, lr=0.02, betas=(0.9, 0.9), eps=1e-8)
    for t in range(8):
        pairs = zip(model.link.params(), theirs, gradients(model, t, 1.0), strict=True)
        for ours, other, gradient in pairs:
            ours.grad, other.grad = gradient, torch.tensor(gradient)
        optimizer.update()
        updates.step()
    for ours, other in zip(model.link.params(), theirs, strict=True):
        np.testing.assert_allclose(ours.array, other.detach().numpy(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kernels", ["on_numpy", "on_numba"])
def test_adamax_refuses_sizes_that_do_not_fit_and_keeps_what_is_not_a_number(kernels):
    module = pytest.importorskip(f"jvi.functions.kernels.{kernels}", reason="without Numba")
    arrays = [np.zeros(9, np.float32) for _ in range(4)]
    for i in range(4):
        wrong = [*arrays[:i], np.zeros(8, np.float32), *arrays[i + 1 :]]
        with pytest.raises(ValueError, match="adamax"):
            module.adamax(*wrong, 0.9, 0.999, 0.1, 1e-8)
    arrays[1][3] = np.nan
    module.adamax(*arrays, 0.9, 0.999, 0.1, 1e-8)
    for array in (arrays[0], *arrays[2:]):
        assert list(np.flatnonzero(np.isnan(array))) == [3]


@pytest.mark.parametrize("name", [name for name in OPTIMIZERS if name != "adamax"])
def test_plain_names_have_chainers_numbers(name):
    theirs = {
        "sgd": chainer.optimizers.SGD,
        "smorms3": chainer.optimizers.SMORMS3,
        "adam": chainer.optimizers.Adam,
    }[name]().hyperparam.get_dict()
    ours = make_optimizer(name, 0.5).hyperparam.get_dict()
    rate = "alpha" if name == "adam" else "lr"
    assert ours == theirs | {rate: 0.5}


def test_the_rate_can_be_set_whatever_it_is_called():
    for name in OPTIMIZERS:
        optimizer = make_optimizer(name, 0.5)
        assert learning_rate(optimizer) == 0.5
        set_learning_rate(optimizer, 0.25)
        assert learning_rate(optimizer) == 0.25


@pytest.mark.parametrize(("clip", "length"), [(CLIP, 4.0), (1.0, 1.0), (0.0, None), (1e9, None)])
def test_gradients_are_clipped_by_their_common_norm_or_not_at_all(model, clip, length):
    optimizer = optimizer_for("sgd", 1.0, model.link, clip)
    before = [p.array.copy() for p in model.link.params()]
    found = gradients(model, 0, 10.0)
    for parameter, gradient in zip(model.link.params(), found, strict=True):
        parameter.grad = gradient.copy()
    optimizer.update()
    whole = np.sqrt(sum((g.astype(np.float64) ** 2).sum() for g in found))
    scale = 1.0 if length is None else length / whole
    assert whole > 10
    for parameter, old, gradient in zip(model.link.params(), before, found, strict=True):
        np.testing.assert_allclose(old - parameter.array, scale * gradient, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("lbfgs", "unknown optimizer 'lbfgs': choose from sgd, smorms3, adam"),
        ("sgd:eps=1", "optimizer sgd has no option 'eps': it has none"),
        ("adam:eps=0", "adam:eps must be positive, not 0.0"),
        ("smorms3:eps=-1", "smorms3:eps must be positive"),
        ("adam:beta1=1", "adam:beta1 must be at least 0 and below 1, not 1.0"),
        ("adam:beta2=-0.1", "adam:beta2 must be at least 0 and below 1"),
        ("adamax:beta2=1", "adamax:beta2 must be at least 0 and below 1, not 1.0"),
        ("adamax:eps=0", "adamax:eps must be positive, not 0.0"),
        ("adam:epsilon=1", "optimizer adam has no option 'epsilon': it has beta1, beta2, eps"),
    ],
)
def test_what_is_no_optimizer(name, message):
    with pytest.raises(ValueError, match=message):
        make_optimizer(name, 0.1)
