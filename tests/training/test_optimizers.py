"""Optimizers by name: their options reach the step, clipping can be left out."""

import chainer
import numpy as np
import pytest

from jvi.models import build
from jvi.models.model import Model
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


@pytest.mark.parametrize("name", OPTIMIZERS)
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
        ("adam:epsilon=1", "optimizer adam has no option 'epsilon': it has beta1, beta2, eps"),
    ],
)
def test_what_is_no_optimizer(name, message):
    with pytest.raises(ValueError, match=message):
        make_optimizer(name, 0.1)
