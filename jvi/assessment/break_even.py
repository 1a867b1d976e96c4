"""When taking the bias from the model's gradient pays: bias and noise of several estimators.

The mean over N data points, with fresh draws for each, of a gradient with bias b and variance V
errs by ‖b‖² + V/N on average, apart from what data points differ by, which all estimators share.
Less bias at more variance therefore pays from

    N* = (V - V_IWAE) / (‖b_IWAE‖² - ‖b‖²)

data points on that one direction is averaged over. All lengths are Euclidean, of all parameters of
log p(x, z). Estimates are from folds of other data points and other noise, and squares are products
of two folds, which no noise makes larger: ‖b‖² = Σ_{f≠g} b_f·b_g / F(F-1).
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from jvi.compat.chainer7 import chainer
from jvi.engine.random import BatchSource, stream
from jvi.evidence.bounds import effective_sample_size
from jvi.evidence.estimators import Estimator, estimator
from jvi.functions import weighted_sum
from jvi.models.protocol import tree

__all__ = [
    "BreakEven",
    "Fold",
    "Number",
    "break_even",
    "fold",
    "generator",
    "gradients",
    "unbiased",
]

REFERENCE = "jvi-model"  # its bias is O(K^-2)


class Number(NamedTuple):
    """An estimate and its standard error, by the jackknife over folds."""

    value: float
    error: float


class Fold(NamedTuple):
    """What one fold of data points says; P parameters.

    Attributes
    ----------
    bias : dict of str to array, shape (P,)
        Mean gradient less that of the reference, by estimator.
    variance : dict of str to float
        Of the gradient of one data point, over draws, summed over parameters.
    ess : float
        Mean effective sample size of the K weights.
    """

    bias: dict[str, Any]
    variance: dict[str, float]
    ess: float


class BreakEven(NamedTuple):
    """Of one estimator: squared bias, variance, and N* against IWAE.

    `per_point` is 1 / N*, which is a number with an error where N* has none. It is not above zero
    where one of the two has less of both, so that the number of data points does not matter.
    """

    squared_bias: Number
    variance: Number
    per_point: Number

    @property
    def points(self) -> float:
        """N*, data points; infinite where there is none."""
        return 1 / self.per_point.value if self.per_point.value > 0 else math.inf


def unbiased(
    link: Any, x: Any, num_samples: int, draws: int, rng: Callable[..., np.random.Generator]
) -> Any:
    """The reference: the mean gradient over data points of `jvi-model`, shape (P,), at large K."""
    rules, total = {REFERENCE: estimator(REFERENCE)}, 0.0
    for number in range(draws):
        total = (
            total + gradients(link, x, rules, num_samples, rng("reference", number))[0][REFERENCE]
        )
    return total / draws


def fold(
    link: Any,
    x: Any,
    names: Sequence[str],
    num_samples: int,
    draws: int,
    reference: Any,
    rng: Callable[..., np.random.Generator],
) -> Fold:
    """Measure the model's gradient on some data points.

    Parameters
    ----------
    link : jvi.models.LatentVariableModel
        Reparameterised.
    x : array, shape (N, …)
    names : sequence of str
        Estimators, of which only the weights for the model are looked at.
    num_samples : int
        K.
    draws : int
        Independent draws for each data point, at least 2.
    reference : array, shape (P,)
        The mean gradient without bias, as `unbiased` has it.
    rng : callable
        From ("draw" or "reference", number) to a generator.
    """
    rules = {name: estimator(name) for name in names}
    means, squares, ess = dict.fromkeys(names, 0.0), dict.fromkeys(names, 0.0), 0.0
    for number in range(draws):
        found, spread = gradients(link, x, rules, num_samples, rng("draw", number))
        for name, vector in found.items():
            means[name] = means[name] + vector / draws
            squares[name] += float(vector @ vector) / draws
        ess += spread / draws
    scale = link.num_points(x) * draws / (draws - 1)
    variance = {n: scale * (squares[n] - float(means[n] @ means[n])) for n in names}
    return Fold({name: means[name] - reference for name in names}, variance, ess)


def gradients(
    link: Any,
    x: Any,
    rules: dict[str, Estimator],
    num_samples: int,
    rng: np.random.Generator,
) -> tuple[dict[str, Any], float]:
    """({name: mean gradient over the data points, shape (P,)} from the same draws, mean ESS)."""
    source = BatchSource(rng, link.num_points(x), link.device)
    with chainer.no_backprop_mode():
        z, log_q = link.draw(link.infer(x), source, num_samples)
    log_px, log_pz = link.log_joint(x, tree(lambda each: chainer.as_variable(each).array, z))
    log_w = np.float64(log_px.array) + np.float64(log_pz.array) - np.float64(log_q.array)
    found = {}
    for name, rule in rules.items():
        link.cleargrads()
        weights = (rule(log_w).model / log_w.shape[1]).astype(log_px.dtype)
        weighted_sum([(weights, log_px), (weights, log_pz)]).backward()
        found[name] = np.concatenate(  # of what log p(x, z) depends on; the encoder has no part
            [
                np.float64(p.grad.ravel())
                for _, p in sorted(link.namedparams())
                if p.grad is not None
            ]
        )
    return found, float(effective_sample_size(log_w).mean())


def break_even(folds: Sequence[Fold], less: str = "iwae") -> dict[str, BreakEven]:
    """Bias, noise and N* of every estimator in the folds, against the one with more bias.

    Raises
    ------
    ValueError
        For fewer than three folds, which have no error.
    """
    if len(folds) < 3:
        raise ValueError(f"bias and noise need at least 3 folds, not {len(folds)}")
    return {name: BreakEven(*_numbers(folds, name, less)) for name in folds[0].bias}


def _numbers(folds, name, less):
    whole = _values(folds, name, less)
    parts = np.array([_values(each, name, less) for each in _leaving_one_out(folds)])
    spread = ((parts - parts.mean(axis=0)) ** 2).sum(axis=0) * (len(folds) - 1) / len(folds)
    return [Number(*map(float, pair)) for pair in zip(whole, np.sqrt(spread), strict=True)]


def _leaving_one_out(folds: Sequence[Fold]) -> Iterator[list[Fold]]:
    return ([each for i, each in enumerate(folds) if i != left] for left in range(len(folds)))


def _values(folds, name, less):
    """(‖b‖², V, 1 / N*), the last zero of the same variance."""
    of, of_less = (_square([each.bias[key] for each in folds]) for key in (name, less))
    noise, least = (np.mean([each.variance[key] for each in folds]) for key in (name, less))
    return of, noise, (of_less - of) / (noise - least) if noise != least else 0.0


def _square(vectors):
    """The squared length of their mean, from products of two different ones."""
    total, count = sum(vectors), len(vectors)
    return (total @ total - sum(each @ each for each in vectors)) / (count * (count - 1))


def generator(seed: int, number: int) -> Callable[[str, int], np.random.Generator]:
    """The noise of fold `number`, as `fold` asks for it."""
    kinds = ("draw", "reference")
    return lambda what, repeat: stream(seed, "gradient noise", number, kinds.index(what), repeat)
