"""How good predictions are, and whether they are as sure as they should be, with errors."""

import math
from typing import Any, NamedTuple

import numpy as np

from jvi.assessment.estimates import standard_error
from jvi.assessment.predictive import ClassPredictions, NumberPredictions

__all__ = ["Reliability", "Score", "coverage", "mean_score", "reliability", "scores"]

LEVELS = tuple(np.arange(0.05, 1.0, 0.05))


class Score(NamedTuple):
    """A number and its standard error over rows; nan where it has none."""

    value: float
    error: float

    def __str__(self) -> str:
        return f"{self.value:.4g} ± {self.error:.2g}"


class Reliability(NamedTuple):
    """Rows by how sure their most probable class was (Guo et al. 2017, section 2).

    Attributes
    ----------
    error : float
        Expected calibration error: |accuracy - confidence| on average over rows, bin by bin.
    edges : numpy.ndarray, shape (bins + 1,)
    confidence, accuracy : numpy.ndarray, shape (bins,)
        Means of a bin; nan where it is empty.
    counts : numpy.ndarray, shape (bins,), int
    """

    error: float
    edges: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray
    counts: np.ndarray


def reliability(probabilities: Any, labels: Any, bins: int = 15) -> Reliability:
    """The reliability diagram of class probabilities, in bins of one width.

    Parameters
    ----------
    probabilities : array, shape (B, C)
    labels : array, shape (B,)
        Numbers of the true classes.
    bins : int
        A confidence on an edge belongs to the bin below.

    Raises
    ------
    ValueError
        For no bins, or shapes that do not go together.
    """
    probabilities, labels = np.asarray(probabilities, np.float64), np.asarray(labels)
    if bins < 1 or probabilities.ndim != 2 or labels.shape != probabilities.shape[:1]:
        raise ValueError(
            f"{bins} bins of probabilities {probabilities.shape} and labels {labels.shape}: there "
            "must be bins, and shapes (B, C) and (B,)"
        )
    sure, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    edges = np.linspace(0, 1, bins + 1)
    place = np.clip(np.searchsorted(edges, sure) - 1, 0, bins - 1)
    counts, confidence, accuracy = (
        np.bincount(place, weights, bins) for weights in (None, sure, right)
    )
    error = float(np.abs(accuracy - confidence).sum() / max(1, len(labels)))
    with np.errstate(invalid="ignore"):
        return Reliability(error, edges, confidence / counts, accuracy / counts, counts)


def coverage(predictions: NumberPredictions, levels: Any = LEVELS) -> np.ndarray:
    """Shares of targets in the central intervals of some levels, shape like `levels`.

    Parameters
    ----------
    predictions : NumberPredictions
        Of rows whose targets were given.
    levels : array
        Probabilities.
    """
    _check_known(predictions)
    outermost = np.abs(2 * predictions.below - 1)  # level of the interval that ends at the target
    return (outermost[:, None] <= np.ravel(levels)).mean(axis=0).reshape(np.shape(levels))


def mean_score(values: Any) -> Score:
    """The mean of independent values, with its standard error."""
    values = np.asarray(values, np.float64)
    return Score(float(values.mean()), standard_error(values))


def scores(
    predictions: NumberPredictions | ClassPredictions, targets: Any, bins: int = 15
) -> dict[str, Score]:
    """What predictions were worth, by name.

    Parameters
    ----------
    predictions : NumberPredictions or ClassPredictions
        Made with the targets.
    targets : array, shape (B,)
        Numbers, or numbers of classes.
    bins : int
        Of the calibration error of classes.

    Returns
    -------
    dict of str to Score
        "log_density" on average over rows, in nats; of a regression "rmse", "coverage", the share
        of targets in the intervals, and "calibration_error", |coverage - level| on average over
        levels; of classes "accuracy" and "calibration_error" (`reliability`). The last ones are no
        means over rows and have no error.
    """
    _check_known(predictions)
    targets = np.asarray(targets)
    found = {"log_density": mean_score(predictions.log_density)}
    if isinstance(predictions, NumberPredictions):
        inside = (predictions.lower <= targets) & (targets <= predictions.upper)
        off = np.abs(coverage(predictions) - LEVELS).mean()
        squares = mean_score((targets - predictions.mean) ** 2)
        return found | {
            "rmse": _root(squares),
            "coverage": mean_score(inside),
            "calibration_error": Score(float(off), math.nan),
        }
    right = predictions.probabilities.argmax(axis=1) == targets
    off = reliability(predictions.probabilities, targets, bins).error
    return found | {"accuracy": mean_score(right), "calibration_error": Score(off, math.nan)}


def _check_known(predictions):
    if predictions.log_density is None:
        raise ValueError("these predictions were made without targets: give them to predict")


def _root(score):
    """The root of a mean, its error by the delta method."""
    value = math.sqrt(score.value)
    return Score(value, score.error / (2 * value) if value else 0.0)
