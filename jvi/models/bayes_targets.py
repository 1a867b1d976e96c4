"""What a network's outputs say of a target: log-densities, their derivatives, means and draws.

f is an array (K, B, O) of outputs, y of targets, (B,), ln_sigma the logarithm of the noise, (1,).
Sources are asked for numbers of shape (K, 1, …), as all rows share one draw of the weights.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from chainer.backend import get_array_module

from jvi.functions.softplus_gaussian import sigmoid, softplus

__all__ = ["TASKS", "Density", "Task"]


class Density(NamedTuple):
    """Of each row: log p(y|f), (K, B); its derivative by f, (K, B, O), and by ln_sigma, (K, B)."""

    values: Any
    by_output: Any
    by_ln_sigma: Any = None


class Task(NamedTuple):
    """A kind of target.

    Attributes
    ----------
    density : callable
        Of f, y and ln_sigma: a `Density`.
    mean : callable
        Of f: E[y|f], (K, B, 1), or the classes' probabilities, (K, B, C).
    draw : callable
        Of f, a source of random numbers and ln_sigma: targets, (K, B).
    allowed : callable
        Of y and the number of classes: which targets can be, an array of bool.
    what : str
        The targets that can be, in words.
    """

    density: Callable[[Any, Any, Any], Density]
    mean: Callable[[Any], Any]
    draw: Callable[[Any, Any, Any], Any]
    allowed: Callable[[Any, int], Any]
    what: str


def _gaussian(f, y, ln_sigma):
    inverse = get_array_module(f).exp(-ln_sigma)
    standard = (y - f[..., 0]) * inverse
    squares = standard * standard
    values = -0.5 * squares - (ln_sigma + 0.5 * math.log(2 * math.pi))
    return Density(values, (standard * inverse)[..., None], squares - 1)


def _bernoulli(f, y, _):
    logit = f[..., 0]
    return Density(y * logit - softplus(logit), (y - sigmoid(logit))[..., None])


def _categorical(f, y, _):
    xp, log_p = get_array_module(f), _log_softmax(f)
    chosen = xp.arange(f.shape[-1]) == y[:, None]
    values = xp.where(chosen, log_p, 0).sum(axis=-1)
    return Density(values, chosen.astype(f.dtype) - xp.exp(log_p))


def _log_softmax(f):
    f = f - f.max(axis=-1, keepdims=True)
    return f - get_array_module(f).log(get_array_module(f).exp(f).sum(axis=-1, keepdims=True))


def _draw_number(f, source, ln_sigma):
    eps = source.normal((len(f), 1, f.shape[1]))[:, 0]
    return f[..., 0] + get_array_module(f).exp(ln_sigma) * eps


def _draw_bit(f, source, _):
    return (source.uniform((len(f), 1, f.shape[1]))[:, 0] < sigmoid(f[..., 0])).astype(f.dtype)


def _draw_class(f, source, _):
    """By the Gumbel trick, whose numbers may not be infinite."""
    xp = get_array_module(f)
    uniform = source.uniform((len(f), 1, f.shape[1] * f.shape[2])).reshape(f.shape)
    gumbel = -xp.log(-xp.log(xp.maximum(uniform, np.finfo(np.float64).tiny)))
    return (f + gumbel).argmax(axis=-1).astype(f.dtype)


TASKS = {
    "regression": Task(
        _gaussian,
        lambda f: f,
        _draw_number,
        lambda y, _: y == y,
        "numbers",
    ),
    "binary": Task(
        _bernoulli,
        sigmoid,
        _draw_bit,
        lambda y, _: (y == 0) | (y == 1),
        "0 or 1",
    ),
    "classification": Task(
        _categorical,
        lambda f: get_array_module(f).exp(_log_softmax(f)),
        _draw_class,
        lambda y, classes: (y >= 0) & (y < classes) & (y == get_array_module(y).floor(y)),
        "the numbers of classes, from 0 to {}",
    ),
}
