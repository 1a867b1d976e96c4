"""Bytes as independent pixels: a line that a model of images has to fall below.

Every pixel and channel has a distribution of its own: a discretised logistic, fitted by maximum
likelihood, or its histogram, which with enough images is the best that independent pixels come to.
Both are tables of log P(byte), shape (256, D), in nats.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy.special import expit

from jvi.assessment.estimates import standard_error
from jvi.datasets import Dataset

__all__ = ["BASELINES", "Baseline", "baselines", "counts", "fit", "histogram", "log_masses"]

BYTES = 256
STEPS = 200  # Newton's, at most; twenty are usual
TOLERANCE = 1e-10  # nats a pixel: a step that gains less is the last
ROUNDING = 1e-13

# Of (mean, log scale), where x is byte / 256: a pixel that never changes has no maximum inside.
LOWEST, HIGHEST = (-1.0, -math.log(4096)), (2.0, math.log(4))


class Baseline(NamedTuple):
    """-log P(x) of independent pixels, on average over test images, in the data set's unit."""

    mean: float
    standard_error: float


def baselines(data: Dataset) -> dict[str, Baseline]:
    """Each of `BASELINES` fitted to the training images, on the test images.

    Parameters
    ----------
    data : Dataset
        Of bytes.

    Raises
    ------
    ValueError
        For rows that are no bytes.
    """
    for part in (data.train, data.test):
        if part.dtype != np.uint8:
            raise ValueError(f"{data.name} is no data set of bytes, which this is the baseline of")
    found, pixels = {}, np.arange(data.test.shape[1])
    for name, fitted in BASELINES.items():
        table = fitted(counts(data.train))
        values = data.unit.value(np.array([table[row, pixels].sum() for row in data.test]))
        found[name] = Baseline(float(values.mean()), standard_error(values))
    return found


def counts(rows: np.ndarray) -> np.ndarray:
    """How often each byte is each pixel's: uint8 (N, D) to int64 (256, D)."""
    number = rows.shape[1]
    places = rows.astype(np.int64) * number + np.arange(number)
    return np.bincount(places.ravel(), minlength=BYTES * number).reshape(BYTES, number)


def histogram(seen: np.ndarray) -> np.ndarray:
    """log((count + 1) / (N + 256)), Laplace's rule: no byte is impossible."""
    return np.log(seen + 1.0) - np.log(seen.sum(axis=0) + float(BYTES))


def log_masses(mean: np.ndarray, log_scale: np.ndarray) -> np.ndarray:
    """log P(byte) of logistic distributions cut into bytes, whose ends take the tails.

    Parameters
    ----------
    mean, log_scale : array, shape (D,)
        Of x = byte / 256.

    Returns
    -------
    float64 array, shape (256, D)
    """
    return _cells(np.asarray(mean), np.asarray(log_scale)).log_p


def fit(seen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The (mean, log scale) of greatest likelihood, each (D,), for `counts` (256, D).

    Newton's method on all pixels at once. A step's matrix has a multiple of the identity added,
    less after a step that was better and more after one that was not (Levenberg, Marquardt); what
    stands at a bound and wants beyond stays there.
    """
    share = seen / np.maximum(seen.sum(axis=0), 1)
    values = np.stack(_start(share))
    damping = np.full(share.shape[1], 1e-3)
    best, slope, curvature = _likelihood(share, values)
    for _ in range(STEPS):
        tried = _bounded(values + _step(values, slope, curvature, damping))
        found = _likelihood(share, tried)
        better = found[0] >= best - ROUNDING
        gain = np.max(np.where(better, found[0] - best, 0.0))
        values = np.where(better, tried, values)
        slope = np.where(better, found[1], slope)
        curvature = np.where(better, found[2], curvature)
        best = np.where(better, found[0], best)
        if gain < TOLERANCE and better.all():
            break
        damping = np.clip(np.where(better, damping / 8, damping * 8), 1e-12, 1e12)
    return values[0], values[1]


def logistic(seen: np.ndarray) -> np.ndarray:
    """`log_masses` of the `fit`."""
    return log_masses(*fit(seen))


BASELINES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "discretised logistic": logistic,
    "histogram": histogram,
}


def _start(share):
    """Mean and, for a logistic of that standard deviation, scale of the bytes' middles."""
    x = (np.arange(BYTES)[:, None] + 0.5) / BYTES
    mean = (share * x).sum(axis=0)
    variance = (share * (x - mean) ** 2).sum(axis=0)
    return _bounded(np.stack([mean, 0.5 * np.log(3 * variance / math.pi**2 + 1e-7)]))


def _bounded(values):
    return np.clip(values, np.array(LOWEST)[:, None], np.array(HIGHEST)[:, None])


def _step(values, slope, curvature, damping):
    """Newton's step (2, D), from the slope (2, D) and the curvature (3, D): mm, mt, tt."""
    low, high = np.array(LOWEST)[:, None], np.array(HIGHEST)[:, None]
    held = ((values <= low) & (slope < 0)) | ((values >= high) & (slope > 0))
    slope = np.where(held, 0.0, slope)
    # the mean is told in scales, so that one damping fits both
    unit = np.stack([np.exp(values[1]), np.ones_like(values[1])])
    g = slope * unit
    mm, mt, tt = curvature * np.stack([unit[0] ** 2, unit[0], unit[1]])
    mm, tt = np.where(held[0], -1.0, mm), np.where(held[1], -1.0, tt)
    mt = np.where(held.any(axis=0), 0.0, mt)
    # of -H + shift, positive definite
    lowest = -(mm + tt) / 2 - np.hypot((mm - tt) / 2, mt)
    shift = damping + np.maximum(0.0, -lowest)
    mm, tt = shift - mm, shift - tt
    return unit * np.stack([tt * g[0] + mt * g[1], mt * g[0] + mm * g[1]]) / (mm * tt - mt * mt)


def _likelihood(share, values):
    """Mean log P of each pixel (D,), slope (2, D) and curvature (3, D) by mean and log scale."""
    c = _cells(*values)
    w = np.exp(-values[1])
    both = c.ga + c.gb
    slope = np.stack([-w * both, -(c.a * c.ga + c.b * c.gb)])
    curvature = np.stack(
        [
            w * w * (c.gaa + 2 * c.gab + c.gbb),
            w * (both + c.a * c.gaa + (c.a + c.b) * c.gab + c.b * c.gbb),
            -slope[1] + c.a**2 * c.gaa + 2 * c.a * c.b * c.gab + c.b**2 * c.gbb,
        ]
    )
    mean = (share * c.log_p).sum(axis=0)
    return mean, (share * slope).sum(axis=1), (share * curvature).sum(axis=1)


class _Cells(NamedTuple):
    """Of each byte and pixel, log(σ(b) - σ(a)) and its derivatives by the ends a and b.

    An end that is infinite is told as the other one; its derivatives are 0.
    """

    a: Any
    b: Any
    log_p: Any
    ga: Any
    gb: Any
    gaa: Any
    gab: Any
    gbb: Any


def _cells(mean, log_scale):
    ends = (np.arange(1, BYTES)[:, None] / BYTES - mean) * np.exp(-log_scale)
    a, b = np.concatenate([ends[:1], ends]), np.concatenate([ends, ends[-1:]])
    width = np.log(-np.expm1(-np.exp(-log_scale) / BYTES))
    log_p = width - _softplus(a) - _softplus(-b)
    ga = -np.exp(_softplus(-b) - _softplus(-a) - width)
    gb = np.exp(_softplus(a) - _softplus(b) - width)
    log_p[0], ga[0], gb[0] = -_softplus(-b[0]), 0.0, expit(-b[0])
    log_p[-1], ga[-1], gb[-1] = -_softplus(a[-1]), -expit(a[-1]), 0.0
    gaa = ga * (1 - 2 * expit(a)) - ga * ga
    gbb = gb * (1 - 2 * expit(b)) - gb * gb
    return _Cells(a, b, log_p, ga, gb, gaa, -ga * gb, gbb)


def _softplus(value):
    return np.logaddexp(0, value)
