"""Signal-to-noise ratio of gradient estimates: of any estimator, model and group of parameters."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial, reduce
from itertools import pairwise
from typing import Any

import numpy as np

from jvi.compat.chainer7 import chainer
from jvi.engine.devices import on_host, training_pieces
from jvi.engine.random import BatchSource, stream
from jvi.engine.threads import parallel_map
from jvi.evidence.estimators import Estimator
from jvi.evidence.estimators import estimator as estimator_of
from jvi.evidence.gradient_noise import Noise, merge, moments, noise, reference, scores, turns
from jvi.models.protocol import tree
from jvi.training.objective import Objective, check_fit, draw, loss

__all__ = ["groups_of", "measure", "third_pass"]

FOLDS = 4
NUMBERS = 2**19  # of an array with a row for each sample: as much as fits the caches
PARTS = 32  # that the repeats are worked on in, whatever the number of threads


def measure(
    link: Any,
    x: Any,
    estimator: str | Estimator | Objective,
    num_samples: int,
    *,
    repeats: int = 256,
    num_estimates: int = 1,
    seed: int = 0,
    groups: Mapping[str, Sequence[str]] | None = None,
    passed: Callable[[int], Any] | None = None,
) -> dict[str, Noise]:
    """Signal and noise of the gradient that an estimator has for a model on some data.

    The data stay the same, and the gradient is that of their mean: what varies is the draws of z.
    Every estimate is drawn twice, some three times, from one key, so that none is kept.

    Parameters
    ----------
    link : jvi.models.LatentVariableModel
    x : array, shape (N, …)
        Observations.
    estimator : str, Estimator or Objective
        Its name, as `jvi.estimator` takes it, or what that stands for.
    num_samples : int
        K.
    repeats : int
        Estimates of the gradient to measure from, at least 8. Ratios of a parameter are known to
        about 1/√repeats.
    num_estimates : int
        M: each estimate of the gradient is the mean of that many independent ones.
    seed : int
    groups : mapping from str to sequence of str, optional
        Names of parameters, as `link.namedparams` has them, by the name of their group; else those
        of `groups_of`.
    passed : callable, optional
        Called with a number of estimates that are done, of 2 repeats + `third_pass` in all.

    Returns
    -------
    dict from str to jvi.evidence.gradient_noise.Noise
        By the name of the group. The same numbers for any number of threads.

    Raises
    ------
    ValueError
        Where estimator, model and K do not go together, a group names no parameter, or there are
        too few repeats.
    ArithmeticError
        For gradients that are not finite.
    """
    objective = _objective(estimator)
    check_fit(objective, link, num_samples)
    if repeats < 2 * FOLDS or num_estimates < 1:
        raise ValueError(
            f"signal and noise need at least {2 * FOLDS} repeats of at least 1 estimate, not "
            f"{repeats} of {num_estimates}"
        )
    x = link.check(link.device.send(np.asarray(x) if isinstance(x, list) else x))
    groups = groups_of(link, x[:1]) if groups is None else _checked(link, groups)
    gradient = partial(_gradient, link, x, objective, num_samples, num_estimates, seed, groups)
    in_folds = partial(_in_folds, gradient, link.device, passed)
    folds = in_folds(repeats, {name: [_itself] * FOLDS for name in groups})
    against = {name: [reference(of, i) for i in range(FOLDS)] for name, of in folds.items()}
    second = {name: [partial(scores, against=a) for a in of] for name, of in against.items()}
    scored = _merged(in_folds(repeats, second))
    third = {
        name: [partial(turns, against=a, of_scores=scored[name]) for a in of]
        for name, of in against.items()
    }
    turned = _merged(in_folds(third_pass(repeats), third))
    return {name: noise(scored[name], turned[name]) for name in groups}


def third_pass(repeats: int) -> int:
    """How many estimates are drawn a third time, for the error of one number."""
    return min(repeats, max(16, repeats // 4))


def groups_of(link: Any, x: Any) -> dict[str, list[str]]:
    """Names of parameters by what depends on them.

    Parameters
    ----------
    link : jvi.models.LatentVariableModel
    x : array, shape (N, …)
        Observations, as `link.check` gives them; one is enough.

    Returns
    -------
    dict
        "model": those of log p(x, z), "inference": those of log q(z|x), without those that are
        empty.
    """
    link = link.copy()
    source = BatchSource(np.random.default_rng(0), link.num_points(x), link.device)
    q = link.infer(x)
    z, log_q = link.draw(q, source, 1)
    z = tree(lambda each: chainer.as_variable(each).array, z)
    log_px, log_pz = link.log_joint(x, z)
    found = {"model": _behind(link, log_px + log_pz), "inference": _behind(link, log_q)}
    return {name: names for name, names in found.items() if names}


def _objective(estimator):
    return estimator if isinstance(estimator, Objective) else Objective(estimator_of(estimator))


def _checked(link, groups):
    """The groups, none of them empty and all of parameters that there are."""
    known = dict(link.namedparams())
    for group, names in groups.items():
        unknown = [name for name in names if name not in known] or (not names and ["none"])
        if unknown:
            raise ValueError(
                f"group {group} names {unknown[0]}: the parameters are {', '.join(sorted(known))}"
            )
    return groups


def _in_folds(gradient, device, passed, repeats, functions):
    """Moments of `functions[group][fold]` of all gradients: {group: one for each fold}.

    Parts, their folds and the order in which they are merged do not depend on threads.
    """
    bounds = np.linspace(0, repeats, min(PARTS, repeats) + 1).astype(int).tolist()
    parts = [range(*pair) for pair in pairwise(bounds)]
    work = [
        (part, {name: by_fold[i % FOLDS] for name, by_fold in functions.items()})
        for i, part in enumerate(parts)
    ]
    folds: dict[str, list] = {name: [None] * FOLDS for name in functions}
    for i, found in enumerate(parallel_map(partial(_part, gradient), work, device)):
        for name, new in found.items():
            old = folds[name][i % FOLDS]
            folds[name][i % FOLDS] = new if old is None else merge(old, new)
        if passed is not None:
            passed(len(parts[i]))
    return folds


def _merged(folds):
    return {name: reduce(merge, of) for name, of in folds.items()}


def _part(gradient, work):
    """Moments of the functions, by group, of the gradients of some repeats."""
    part, functions = work
    found: dict[str, Any] = {}
    for repeat in part:
        for name, vector in gradient(repeat).items():
            new = moments(functions[name](vector))
            found[name] = merge(found[name], new) if name in found else new
    return found


def _itself(vector):
    return vector


def _gradient(link, x, objective, num_samples, num_estimates, seed, groups, repeat):
    """Estimate number `repeat` of the gradient, {group: vector}, the mean of M."""
    link = link.copy()  # shares the parameters, not their gradients
    link.cleargrads()
    with chainer.using_config("type_check", False):
        for number in range(num_estimates):
            rng = stream(seed, "gradient noise", repeat, number)
            source = BatchSource(rng, link.num_points(x), link.device)
            _accumulate(link, x, objective, num_samples, source, 1 / num_estimates)
    parameters = dict(link.namedparams())
    found = {name: _flat(link, parameters, names) for name, names in groups.items()}
    if not all(bool(link.xp.isfinite(vector).all()) for vector in found.values()):
        raise ArithmeticError(
            f"a gradient of {objective.estimator} is not finite: the model has diverged"
        )
    return found


def _accumulate(link, x, objective, num_samples, source, share):
    """Add a share of one estimate to the gradients of the parameters, in pieces of the data."""
    num_points = link.num_points(x)
    pieces = _pieces(link, x, num_samples + objective.estimator.num_auxiliary)
    for rows, own in [(rows, source.rows(rows)) for rows in pieces]:
        draws = draw(link, x[rows], own, num_samples, objective)
        _, weights = objective.estimator.with_bound(draws.log_w)
        part = loss(link, draws, objective, weights)
        (part * (share * draws.log_w.shape[1] / num_points)).backward()


def _pieces(link, x, num_samples):
    """Slices of the data points to work on at once: more than in training where each is small."""
    num_points = link.num_points(x)
    if not on_host(link.device):
        return training_pieces(num_points, num_samples, link.device, link)
    size = max(1, NUMBERS * num_points // (x.size * num_samples))
    return [slice(start, start + size) for start in range(0, num_points, size)]


def _flat(link, parameters, names):
    """Gradients of the parameters of these names as one vector; what there is none of is 0."""
    found = [parameters[name] for name in names]
    zeros = [p.xp.zeros(p.size, p.dtype) if p.grad is None else p.grad.ravel() for p in found]
    return link.xp.concatenate(zeros)


def _behind(link, densities):
    """Names of the parameters that a Variable is computed from."""
    link.cleargrads()
    chainer.functions.sum(densities).backward()
    return [name for name, parameter in sorted(link.namedparams()) if parameter.grad is not None]
