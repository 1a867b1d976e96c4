"""What to do about log-weights: a sentence for each reason."""

import math

import numpy as np

from jvi.assessment.estimates import Evaluation
from jvi.assessment.tables import NOISY
from jvi.evidence.diagnostics import MIN_TAIL, PARETO_K, pareto_threshold

__all__ = ["about_axes", "about_tails", "about_zeros"]

# How much more the rows of log-weights vary than chance, and columns at most, if samples are not
# first; of the ratio of variances, where there are enough of both.
ROWS_VARY, COLUMNS_VARY, ENOUGH = 5.0, 2.0, 8
CORNER = 512  # rows and columns that are looked at

REMEDY = "estimate log p(x) by annealed importance sampling (docs/ais.md), or train a better q"


def about_tails(evaluation: Evaluation) -> list[str]:
    """What to do about heavy tails, if there are any or nobody can know.

    Parameters
    ----------
    evaluation : Evaluation
        Of most samples, with "pareto_k" for each data point.

    Returns
    -------
    list of str
    """
    num_samples, k = evaluation.num_samples, evaluation.per_image["pareto_k"]
    if num_samples < MIN_TAIL:
        return [f"nothing is known of heavy tails: draw {MIN_TAIL} samples or more"]
    heavy = k > pareto_threshold(num_samples)
    hopeless = k > PARETO_K
    if not heavy.any():
        return []
    if num_samples < NOISY:
        return [
            f"Pareto k is uncertain: draw {NOISY} samples or more; where it stays above "
            f"{PARETO_K}, {REMEDY}"
        ]
    notes = []
    if hopeless.any():
        notes.append(
            f"Pareto k > {PARETO_K} for {hopeless.sum()} of {len(k)} data points, where more "
            f"samples hardly help: {REMEDY}"
        )
    if (heavy & ~hopeless).any():
        needed = 10 ** (1 / (1 - k[heavy & ~hopeless].max()))
        unit = 10 ** math.floor(
            math.log10(needed)
        )  # of its first digit, which is all that is known
        notes.append(
            f"{num_samples} samples are too few for the Pareto k of {(heavy & ~hopeless).sum()} of "
            f"{len(k)} data points: draw {unit * math.ceil(needed / unit):,} or more"
        )
    return notes


def about_zeros(log_w: np.ndarray) -> list[str]:
    """How many data points have zero weights, and what follows, of log-weights (K, N)."""
    zeros = log_w.min(axis=0) == -np.inf
    if not zeros.any():
        return []
    nothing = int((log_w.max(axis=0) == -np.inf).sum())
    lost = f", {nothing} of them no other: nothing is known of their log p(x)" if nothing else ""
    count = f"{zeros.sum()} of {len(zeros)} data points"
    return [f"{count} have zero weights (-inf), so an ELBO of -inf{lost}"]


def about_axes(log_w: np.ndarray) -> list[str]:
    """A doubt where the axes of log-weights (K, N) seem to be exchanged.

    Samples of a data point are alike, data points are not: columns differ in their means, rows only
    by chance. The test is that of a two-way analysis of variance.
    """
    if min(log_w.shape) < ENOUGH or not np.isfinite(log_w.min()):
        return []
    part = log_w[:CORNER, :CORNER]
    total, row, column = part.mean(), part.mean(axis=1), part.mean(axis=0)
    num_rows, num_columns = part.shape
    by_row = num_columns * np.sum((row - total) ** 2)
    by_column = num_rows * np.sum((column - total) ** 2)
    rest = np.sum((part - total) ** 2) - by_row - by_column
    rest /= (num_rows - 1) * (num_columns - 1)
    by_row, by_column = by_row / (num_rows - 1), by_column / (num_columns - 1)
    if not (by_row > ROWS_VARY * rest and by_column < COLUMNS_VARY * rest):
        return []
    return [
        f"rows differ and columns do not, as if these were {log_w.shape[1]} samples of each "
        f"of {len(log_w)} data points: log-weights are (K, N), samples first; transpose them if so"
    ]
