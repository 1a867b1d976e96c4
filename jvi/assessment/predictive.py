"""What a Bayesian network predicts: its weights integrated out, by draws from q.

p(y|features) is the mean over S draws z of the weights of p(y|features, z). Its uncertainty has two
parts: that of the data, which stays however many there are (noise, or classes that overlap), and
that of the weights, which more data would take away (Depeweg et al. 2018, section 3).
"""

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from scipy.special import entr, logsumexp, ndtr, ndtri
from tqdm import tqdm

from jvi.compat.chainer7 import chainer
from jvi.datasets.tabular import Scaling
from jvi.engine.random import PointSource
from jvi.evidence.arrays import host
from jvi.models.model import Model

__all__ = [
    "ClassPredictions",
    "NumberPredictions",
    "draw_targets",
    "draw_weights",
    "mixture_quantile",
    "predict",
]

NUMBERS = 2**23  # of weights, or of outputs, at once: 64 MB
WEIGHTS, TARGETS = 1, 2  # what noise is for, beside what is drawn for an evaluation
AS_IT_IS = Scaling(np.zeros(1), np.ones(1))


class NumberPredictions(NamedTuple):
    """Of a regression, for each of B rows, in the target's unit; arrays (B,), float64.

    Attributes
    ----------
    mean : numpy.ndarray
    std : numpy.ndarray
        Of a target: std² = data_std² + weight_std².
    data_std, weight_std : numpy.ndarray
        Of the noise, and of the network's output under q.
    lower, upper : numpy.ndarray
        Ends of the central interval: exact quantiles of the mixture of S Gaussians.
    log_density : numpy.ndarray or None
        log p(target|features), in nats, where targets were given.
    below : numpy.ndarray or None
        P(a target is smaller than the one that was given), uniform where predictions are right.
    level : float
        Probability of the interval.

    Examples
    --------
    >>> import numpy as np
    >>> import jvi
    >>> X, y = np.arange(10.0)[:, None], 2.0 * np.arange(10.0)
    >>> network = jvi.BayesianMLPRegressor(hidden=(), noise=1.0, epochs=100).fit(X, y)
    >>> found = network.predictive([[3.0]], level=0.9)
    >>> bool(found.lower[0] < found.mean[0] < found.upper[0]), found.data_std.round(6)
    (True, array([1.]))
    """

    mean: np.ndarray
    std: np.ndarray
    data_std: np.ndarray
    weight_std: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    log_density: np.ndarray | None
    below: np.ndarray | None
    level: float


class ClassPredictions(NamedTuple):
    """Of classes, for each of B rows; float64. Entropies are in nats.

    Attributes
    ----------
    probabilities : numpy.ndarray, shape (B, C)
        C is 2 for a binary target.
    entropy : numpy.ndarray, shape (B,)
        Of the probabilities: data_entropy + weight_entropy.
    data_entropy : numpy.ndarray, shape (B,)
        What it is on average with known weights.
    weight_entropy : numpy.ndarray, shape (B,)
        Mutual information of target and weights.
    log_density : numpy.ndarray, shape (B,), or None
        log p(target|features), where targets were given.

    Examples
    --------
    >>> import numpy as np
    >>> import jvi
    >>> X = np.arange(10.0)[:, None]
    >>> network = jvi.BayesianMLPClassifier(hidden=(), epochs=100).fit(X, X[:, 0] > 4)
    >>> found = network.predictive(X)
    >>> bool(np.allclose(found.entropy, found.data_entropy + found.weight_entropy))
    True
    """

    probabilities: np.ndarray
    entropy: np.ndarray
    data_entropy: np.ndarray
    weight_entropy: np.ndarray
    log_density: np.ndarray | None


def predict(
    model: Any,
    features: Any,
    targets: Any = None,
    num_samples: int = 100,
    *,
    level: float = 0.95,
    seed: int = 0,
    scaling: Scaling | None = None,
    dtype: Any = np.float64,
    progress: bool = False,
) -> NumberPredictions | ClassPredictions:
    """Predictions for rows of features, averaged over draws of the weights.

    A seed gives the same draws for any rows, the first of any larger number, and memory depends on
    neither but for the result.

    Parameters
    ----------
    model : jvi.Model or chainer.Link
        A Bayesian network.
    features : array, shape (B, F)
    targets : array, shape (B,), optional
        Numbers, or numbers of classes, to have log-densities of.
    num_samples : int
        S.
    level : float
        Probability of a regression's intervals.
    seed : int
    scaling : jvi.datasets.tabular.Scaling, optional
        What the network was trained on: with it features and targets are taken, and predictions
        given, in their own units.
    dtype : dtype
        That the network computes in. With float32 it takes half the time, and which rows are
        predicted together shows in the seventh digit.
    progress : bool
        Show a progress bar after two seconds.

    Returns
    -------
    NumberPredictions or ClassPredictions

    Raises
    ------
    ValueError
        For impossible numbers, data that do not fit, another kind of model, or a network whose
        outputs are not finite.
    """
    if num_samples < 1 or not 0 < level < 1:
        raise ValueError(
            f"there must be at least 1 draw of the weights, not {num_samples}, and a level between "
            f"0 and 1, not {level:g}"
        )
    scaling = scaling or AS_IT_IS
    model, x = _checked(model, features, targets, scaling)
    y = None if targets is None else np.asarray(targets, np.float64)
    summarise = SUMMARIES[model.link.spec.options["task"]]
    some = max(1, NUMBERS // (num_samples * model.link.layout.sizes[-1]))
    parts = []
    with tqdm(total=len(x), unit="row", disable=None if progress else True, delay=2) as bar:
        for start in range(0, len(x), some):
            rows = slice(start, start + some)
            f = _outputs(model, x[rows, :-1].astype(dtype), num_samples, seed)
            parts.append(summarise(model.link, f, None if y is None else y[rows], scaling, level))
            bar.update(f.shape[1])
    return type(parts[0])(*map(_joined, zip(*parts, strict=True)))


def draw_weights(model: Any, num_samples: int, seed: int = 0) -> np.ndarray:
    """The weights that `predict` takes, draws from q: shape (S, P), float32."""
    return host(np.concatenate([host(z) for z in _weights(_model(model), num_samples, seed)])[:, 0])


def draw_targets(
    model: Any,
    features: Any,
    num_samples: int = 1,
    *,
    seed: int = 0,
    scaling: Scaling | None = None,
) -> np.ndarray:
    """Targets from p(y|features), those of a draw with the same weights: shape (S, B), float64.

    Parameters
    ----------
    model, features, num_samples, seed, scaling
        As for `predict`.

    Raises
    ------
    ValueError
        As `predict`.
    """
    if num_samples < 1:
        raise ValueError(f"there must be at least 1 draw of the weights, not {num_samples}")
    scaling = scaling or AS_IT_IS
    model, x = _checked(model, features, None, scaling)
    noise = PointSource((seed, "evaluation noise", 0), [0], (TARGETS,), model.device)
    drawn = [
        host(model.link.draw_targets(x[:, :-1], z, noise.part()))
        for z in _weights(model, num_samples, seed)
    ]
    return scaling.target(np.concatenate(drawn))


def mixture_quantile(means: np.ndarray, sigma: float, share: float) -> np.ndarray:
    """Where the mixtures of N(means_s, sigma²), s = 1 … S, have a share below: shape (B,).

    By Newton's method, and by bisection where it would leave what is known to hold the quantile.

    Parameters
    ----------
    means : numpy.ndarray, shape (S, B)
    sigma : float
        Positive.
    share : float
        Between 0 and 1, both excluded.
    """
    x = means.mean(axis=0) + np.hypot(means.std(axis=0), sigma) * ndtri(share)
    low, high = (end(axis=0) + sigma * ndtri(share) for end in (means.min, means.max))
    x = np.clip(x, low, high)
    for _ in range(200):  # bisections from 1e40 apart
        standard = (x - means) / sigma
        excess = ndtr(standard).mean(axis=0) - share
        density = np.exp(-0.5 * standard * standard).mean(axis=0) / (sigma * math.sqrt(2 * math.pi))
        low, high = np.where(excess < 0, x, low), np.where(excess < 0, high, x)
        new = x - excess / np.maximum(density, np.finfo(float).tiny)
        new = np.where((low <= new) & (new <= high), new, 0.5 * (low + high))
        moved, x = np.abs(new - x), new
        if (moved <= 1e-10 * sigma + 1e-15 * np.abs(x)).all():
            break
    return x


def _model(model):
    model = model if isinstance(model, Model) else Model(model)
    if not hasattr(model.link, "outputs"):
        raise ValueError(
            f"{model.link.spec.name} does not predict a target from features: a Bayesian network "
            "does"
        )
    return model


def _checked(model, features, targets, scaling):
    """The model, and rows as it takes them on its device, with zeros where targets are unknown."""
    model, features = _model(model), np.asarray(features)
    if features.ndim != 2 or not len(features):
        raise ValueError(f"features have shape {features.shape}, it should be (B, F), B from 1")
    known = np.full(len(features), scaling.target_mean) if targets is None else np.asarray(targets)
    if known.shape != (len(features),):
        raise ValueError(f"there are {len(features)} rows, but targets of shape {known.shape}")
    return model, model.images(scaling.rows(features, known))


def _weights(model: Any, num_samples: int, seed: int) -> Iterator[Any]:
    """Draws from q in pieces, (…, 1, P): the same ones at every call."""
    source = PointSource((seed, "evaluation noise", 0), [0], (WEIGHTS,), model.device)
    some = max(1, NUMBERS // model.link.num_latent)
    with chainer.no_backprop_mode():
        q = model.link.infer(())
        for start in range(0, num_samples, some):
            z, _ = model.link.draw(q, source.part(), min(some, num_samples - start))
            yield z.array


def _outputs(model, features, num_samples, seed):
    """(S, B, O), float64: the weights are drawn again for every piece of the rows."""
    found = [
        host(model.link.outputs(features, z.astype(features.dtype)))
        for z in _weights(model, num_samples, seed)
    ]
    f = np.concatenate(found, dtype=np.float64)
    if not np.isfinite(f).all():
        raise ValueError(
            "the network has outputs that are not finite: its parameters are damaged, or features "
            "are far from those that it was trained on"
        )
    return f


def _of_numbers(link, f, y, scaling, level):
    means, sigma = scaling.target(f[..., 0]), float(scaling.deviation(link.noise))
    weight_std = means.std(axis=0)
    lower, upper = (mixture_quantile(means, sigma, 0.5 + 0.5 * side * level) for side in (-1, 1))
    log_density = below = None
    if y is not None:
        standard = (y - means) / sigma
        normaliser = math.log(sigma * math.sqrt(2 * math.pi) * len(means))
        log_density = logsumexp(-0.5 * standard * standard, axis=0) - normaliser
        below = ndtr(standard).mean(axis=0)
    return NumberPredictions(
        means.mean(axis=0),
        np.hypot(sigma, weight_std),
        np.full(means.shape[1], sigma),
        weight_std,
        lower,
        upper,
        log_density,
        below,
        level,
    )


def _of_classes(link, f, y, scaling, level):
    task = link.network.task
    each = task.mean(f)
    if each.shape[-1] == 1:
        each = np.concatenate([task.mean(-f), each], axis=-1)
    probabilities = each.mean(axis=0)
    entropy, of_data = entr(probabilities).sum(axis=-1), entr(each).sum(axis=-1).mean(axis=0)
    log_density = None
    if y is not None:
        log_density = logsumexp(task.density(f, y, None).values, axis=0) - math.log(len(f))
    of_weights = np.maximum(entropy - of_data, 0)  # what rounding takes below it
    return ClassPredictions(probabilities, entropy, of_data, of_weights, log_density)


SUMMARIES: dict[str, Callable] = {
    "regression": _of_numbers,
    "binary": _of_classes,
    "classification": _of_classes,
}


def _joined(parts):
    """Arrays one after another; what is the same for all rows, once."""
    return np.concatenate(parts) if isinstance(parts[0], np.ndarray) else parts[0]
