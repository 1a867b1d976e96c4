"""Signal and noise of a gradient estimator, from a stream of its estimates in passes.

The first pass merges `Moments` of every parameter's gradient, in folds; the second, over the same
estimates drawn again, takes the `scores` of each against a `Reference` made of these. The mean of
the scores is the estimate and their spread its standard error; a third, over some of them, takes
what comes of the direction of the mean not being known (`turns`). `noise` puts them together.
Nothing is ever kept but a few vectors for each fold. docs/signal-to-noise.md has the derivation.
"""

import math
from collections.abc import Sequence
from functools import reduce
from typing import NamedTuple

import numpy as np

from jvi.evidence.arrays import Array, float64, float64_context, host, namespace

__all__ = [
    "Moments",
    "Noise",
    "Reference",
    "merge",
    "moments",
    "noise",
    "reference",
    "scores",
    "turns",
]

OVIS_VARIANCE = 1e-15  # parameters whose gradient varies less are left out of OVIS's average

COLUMNS = 5  # of scores: the numbers of `Noise`, in its order
DSNR = 2  # the place of one of them


class Moments(NamedTuple):
    """Of vectors, what their mean and variance take.

    Attributes
    ----------
    number : int
        How many vectors.
    mean : array, shape (P,), float64
    squares : array, shape (P,), float64
        Sum of squared deviations from the mean.

    Examples
    --------
    >>> import numpy as np
    >>> import jvi
    >>> jvi.diagnostics.Moments(number=2, mean=np.array([2.0]), squares=np.array([2.0])).mean
    array([2.])
    """

    number: int
    mean: Array
    squares: Array


class Reference(NamedTuple):
    """What a gradient of one fold is held against; arrays of shape (P,).

    Attributes
    ----------
    mean, deviation : array
        Of all folds; the deviation is the root of the mean square.
    own, others : array
        The mean of all folds and that of the other folds, of length 1: their signs and directions.
    varying, varying_ovis : array
        What a parameter weighs in the two averages: 1 / (how many count), or 0.
    number : int
        Of gradients in all folds.

    Examples
    --------
    >>> import numpy as np
    >>> import jvi
    >>> folds = [jvi.diagnostics.moments(np.array([g])) for g in (1.0, 3.0)]
    >>> against = jvi.diagnostics.reference(folds, fold=0)
    >>> against.mean, against.deviation, against.own
    (array([2.]), array([1.]), array([1.]))
    """

    mean: Array
    deviation: Array
    own: Array
    others: Array
    varying: Array
    varying_ovis: Array
    number: int


class Noise(NamedTuple):
    """A group of parameters' gradient, each number with its error.

    An average of absolute values comes out too high by all that is taken for signal, and too low
    where signs and directions are those of other estimates, which may be wrong. The number is the
    middle of the two, and its error √(standard error² + half their distance²): a number below two
    errors is no signal.

    Attributes
    ----------
    snr, snr_error : float
        abs(E g_i) / σ(g_i) (Rainforth et al. 2018, equation 4), the mean over all parameters i
        whose gradient varies at all.
    snr_ovis, snr_ovis_error : float
        The same over those whose variance exceeds 1e-15, as in the code of Liévin et al. 2020.
    dsnr, dsnr_error : float
        E ‖g_∥‖ / ‖g_⊥‖, the parts along the mean gradient and across it (Rainforth et al. 2018,
        equation 12); nan for a single parameter.
    magnitude, magnitude_error : float
        The mean over all parameters of abs(E g_i).
    variance, variance_error : float
        The mean over all parameters of σ²(g_i).
    number : int
        How many estimates of the gradient they are from.

    Examples
    --------
    `noise` makes one, as here of two estimates of one parameter's gradient:

    >>> import numpy as np
    >>> from jvi import diagnostics
    >>> of_scores = diagnostics.Moments(2, np.zeros(11), np.zeros(11))
    >>> of_turns = diagnostics.Moments(2, np.zeros(1), np.zeros(1))
    >>> diagnostics.noise(of_scores, of_turns).snr
    0.0
    """

    snr: float
    snr_error: float
    snr_ovis: float
    snr_ovis_error: float
    dsnr: float
    dsnr_error: float
    magnitude: float
    magnitude_error: float
    variance: float
    variance_error: float
    number: int


def moments(vector: Array) -> Moments:
    """`Moments` of a single vector.

    Parameters
    ----------
    vector : array, shape (P,)

    Returns
    -------
    Moments

    Examples
    --------
    >>> import numpy as np
    >>> import jvi
    >>> jvi.diagnostics.moments(np.array([1.0, 2.0]))
    Moments(number=1, mean=array([1., 2.]), squares=array([0., 0.]))
    """
    with float64_context(vector):
        mean = float64(vector)
        return Moments(1, mean, namespace(mean).zeros_like(mean))


def merge(one: Moments, other: Moments) -> Moments:
    """`Moments` of the vectors of both (Chan, Golub & LeVeque 1983, equations 2.1).

    Parameters
    ----------
    one, other : Moments
        Of vectors of the same length.

    Returns
    -------
    Moments

    Examples
    --------
    >>> import numpy as np
    >>> from jvi.evidence.diagnostics import merge, moments
    >>> merge(moments(np.array([1.0])), moments(np.array([3.0])))
    Moments(number=2, mean=array([2.]), squares=array([2.]))
    """
    count = one.number + other.number
    with float64_context(one.mean):
        away = other.mean - one.mean
        mean = one.mean + away * (other.number / count)
        squares = one.squares + other.squares + away**2 * (one.number * other.number / count)
    return Moments(count, mean, squares)


def reference(folds: Sequence[Moments], fold: int) -> Reference:
    """What gradients of one fold are held against.

    Parameters
    ----------
    folds : sequence of Moments
        Of the gradients of each fold.
    fold : int
        The place of the one.

    Returns
    -------
    Reference

    Raises
    ------
    ValueError
        For fewer than two folds, of which there is no other.

    Examples
    --------
    >>> import numpy as np
    >>> import jvi
    >>> folds = [jvi.diagnostics.moments(np.array(g)) for g in ([1.0, 0.0], [0.0, 2.0])]
    >>> jvi.diagnostics.reference(folds, fold=0).others  # the direction of the other fold's mean
    array([0., 1.])
    """
    if len(folds) < 2:
        raise ValueError("signal and noise need at least 2 folds of gradients")
    whole = reduce(merge, folds)
    others = reduce(merge, [each for i, each in enumerate(folds) if i != fold]).mean
    with float64_context(others):
        xp = namespace(others)
        variance = whole.squares / (whole.number - 1)
        return Reference(
            whole.mean,
            xp.sqrt(whole.squares / whole.number),
            _unit(whole.mean),
            _unit(others),
            _shares(variance > 0.0),
            _shares(variance > OVIS_VARIANCE),
            whole.number,
        )


def scores(gradient: Array, against: Reference) -> Array:
    """What one estimate of the gradient speaks for.

    With m, s the mean and deviation of a parameter's gradient g, and σ the sign of a mean, it
    speaks for the signal-to-noise ratio ::

        σ g/s - |m| ((g - m)²/s² - 1) / (2 s).

    The first term's mean is the ratio. The second has mean 0, and adds to the spread what comes of
    s not being known: the error is the delta method's, for any distribution and any correlation of
    parameters (the infinitesimal jackknife, Efron 1982, chapter 6).

    Parameters
    ----------
    gradient : array, shape (P,)
    against : Reference
        Of the fold that the estimate belongs to.

    Returns
    -------
    array, shape (10 + P,), float64
        The first five are the mean of two answers, one with signs and direction of the mean of all
        folds and one with those of the other folds; the next five are half their difference: each
        time (snr, snr_ovis, dsnr, magnitude, variance). What follows is dsnr's derivative by the
        direction.

    Examples
    --------
    >>> import numpy as np
    >>> import jvi
    >>> gradients = np.array([[1.0, -1.0], [3.0, -3.0]])
    >>> folds = [jvi.diagnostics.moments(g) for g in gradients]
    >>> found = jvi.diagnostics.scores(gradients[0], jvi.diagnostics.reference(folds, 0))
    >>> float(found[3])  # of the magnitude
    1.0
    """
    with float64_context(against.mean):
        g, m, s = float64(gradient), against.mean, against.deviation
        xp, n = namespace(m), against.number
        spread = (g - m) ** 2
        for_s = _over(xp.abs(m), 2.0 * s) * (_over(spread, s**2) - 1.0)
        rows = []
        for unit in (against.own, against.others):
            signal = xp.sign(unit) * g
            # m/s is too large by a factor of 1 + 5/(4 n) for Gaussian g (Hedges 1981).
            ratio = (_over(signal, s) - for_s) * (1.0 - 1.25 / n)
            rows += [
                xp.sum(ratio * against.varying),
                xp.sum(ratio * against.varying_ovis),
                _directional(g, unit),
                xp.mean(signal),
                xp.mean(spread) * (n / (n - 1)),
            ]
        own, others = xp.stack(rows[:5]), xp.stack(rows[5:])
        return xp.concat([0.5 * (own + others), 0.5 * (own - others), _steer(g, against.own)])


def turns(gradient: Array, against: Reference, of_scores: Moments) -> Array:
    """What one estimate adds to dsnr, by itself and by turning the direction, shape (1,).

    The direction u = m/‖m‖ of the mean follows an estimate g by (g - (g·u) u)/(n ‖m‖), and dsnr
    follows u by the derivative that `scores` has on average.

    Parameters
    ----------
    gradient : array, shape (P,)
    against : Reference
        Of the fold that the estimate belongs to.
    of_scores : Moments
        Of the scores of all estimates.

    Returns
    -------
    array, shape (1,), float64

    Examples
    --------
    Where every estimate has the direction of the mean, nothing is across it:

    >>> import numpy as np
    >>> from functools import reduce
    >>> from jvi import diagnostics
    >>> gradients = np.array([[1.0, 0.0], [3.0, 0.0]])
    >>> folds = [diagnostics.moments(g) for g in gradients]
    >>> against = diagnostics.reference(folds, 0)
    >>> parts = [diagnostics.moments(diagnostics.scores(g, against)) for g in gradients]
    >>> diagnostics.turns(gradients[0], against, reduce(diagnostics.merge, parts))
    array([0.])
    """
    with float64_context(against.mean):
        xp, u, g = namespace(against.mean), against.own, float64(gradient)
        steer = of_scores.mean[2 * COLUMNS :]
        across = g - xp.sum(g * u) * u
        turned = _over(xp.sum(steer * across), xp.sqrt(xp.sum(against.mean**2)))
        return xp.stack([_directional(g, u) + turned])


def noise(of_scores: Moments, of_turns: Moments) -> Noise:
    """Signal and noise of the gradient, in the three passes that docs/signal-to-noise.md derives.

    Parameters
    ----------
    of_scores : Moments
        Of the `scores` of all estimates.
    of_turns : Moments
        Of the `turns` of some of them.

    Returns
    -------
    Noise

    Examples
    --------
    >>> from functools import reduce
    >>> import numpy as np
    >>> from jvi import diagnostics as d
    >>> estimates = 1.0 + 2.0 * np.random.default_rng(0).standard_normal((400, 3))  # SNR 1/2
    >>> folds = [reduce(d.merge, map(d.moments, estimates[i::2])) for i in (0, 1)]
    >>> against = [d.reference(folds, i) for i in (0, 1)] * 200
    >>> rows = [d.scores(g, a) for g, a in zip(estimates, against)]
    >>> of_scores = reduce(d.merge, map(d.moments, rows))
    >>> turned = [d.turns(g, a, of_scores) for g, a in zip(estimates, against)]
    >>> found = d.noise(of_scores, reduce(d.merge, map(d.moments, turned)))
    >>> bool(abs(found.snr - 0.5) < 2 * found.snr_error), found.snr_error < 0.1
    (True, True)
    """
    count = of_scores.number
    values, doubt = host(of_scores.mean)[: 2 * COLUMNS].reshape(2, COLUMNS)
    variances = host(of_scores.squares)[:COLUMNS] / (count - 1)
    variances[DSNR] = host(of_turns.squares)[0] / (of_turns.number - 1)
    errors = np.hypot(np.sqrt(variances / count), doubt)
    pairs: list[float] = np.stack([values, errors], axis=1).ravel().tolist()
    return Noise._make([*pairs, count])


def _directional(gradient, unit):
    """‖g_∥‖ / ‖g_⊥‖ along a vector of length 1; nan for one parameter, which has no g_⊥."""
    along, across = _parts(gradient, unit)
    return _over(namespace(unit).abs(along), across) + (math.nan if unit.shape[0] < 2 else 0.0)


def _steer(gradient, unit):
    """The derivative of `_directional` by the vector."""
    along, across = _parts(gradient, unit)
    rate = namespace(unit).sign(along) * _over(along**2 + across**2, across**3)
    return rate * gradient


def _parts(gradient, unit):
    xp = namespace(unit)
    along = xp.sum(gradient * unit)
    return along, xp.sqrt(xp.sum((gradient - along * unit) ** 2))


def _unit(vector):
    xp = namespace(vector)
    return _over(vector, xp.sqrt(xp.sum(vector**2)))


def _over(a, b):
    """a / b, and 0 where b is: a parameter without noise weighs nothing in what it is for."""
    xp = namespace(b)
    positive = b > 0.0
    return xp.where(positive, a / xp.where(positive, b, 1.0), 0.0)


def _shares(counts):
    """1 / (how many count) where they do; nan where none does."""
    xp = namespace(counts)
    share = xp.astype(counts, xp.float64)
    return share / xp.sum(share) if bool(xp.any(counts)) else share + math.nan
