"""Rows of a comparison of models: of each bound and model its mean, and how far it is from another.

A row is a dict, as `jvi.assessment.paired.Comparison` says; nan is what is not known.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jvi.assessment.comparable import name_in
from jvi.assessment.estimates import Evaluation, standard_error
from jvi.assessment.rows import UNWEIGHTED
from jvi.evidence.diagnostics import pareto_threshold
from jvi.evidence.unit import NATS

__all__ = ["ERRORS", "REFERENCE", "Row", "paired_rows"]

ERRORS = 2.0  # standard errors, beyond which a difference is said to be one
REFERENCE = "reference"  # the verdict on what the others are compared with

Row = dict[str, Any]


def paired_rows(
    evaluations: Mapping[str, Evaluation], bounds: Sequence[str], reference: str
) -> tuple[list[Row], dict[str, dict[str, np.ndarray]]]:
    """Rows of bounds that all evaluations have, by the name of the model, and the differences.

    Returns
    -------
    rows : list of dict
    differences : dict of str to dict of str to array, shape (N,)
        By bound and model, from the reference, in nats.
    """
    rows, differences = [], {}
    for bound in bounds:
        values = {name: _values(each, bound) for name, each in evaluations.items()}
        with np.errstate(invalid="ignore"):  # of zero weights
            gaps = {name: value - values[reference] for name, value in values.items()}
            for name, each in evaluations.items():
                row = _row(each, bound) | {"model": name, "reference": reference}
                rows.append(row | _difference(evaluations, bound, name, reference, gaps[name]))
        differences[bound] = gaps
    return rows, differences


def _values(evaluation, bound):
    return evaluation.per_image[name_in(evaluation, bound)]


def _row(evaluation, bound):
    """What is known of one model."""
    values, name = evaluation.per_image, name_in(evaluation, bound)
    threshold = pareto_threshold(evaluation.num_samples)
    weighted = bound not in UNWEIGHTED
    tails = weighted and "pareto_k" in values and not math.isnan(threshold)
    mean, error = evaluation.mean[name], evaluation.standard_error[name]
    row = {
        "estimate": bound,
        "model": "",
        "reference": "",
        "num_samples": evaluation.num_samples,
        "num_images": len(values[name]),
        "mean": mean,
        "standard_error": error,
        "sampling_error": evaluation.sampling_error.get(name, math.nan),
        "ess": float(values["ess"].mean()) if weighted else math.nan,
        "heavy_tails": float((values["pareto_k"] > threshold).mean()) if tails else math.nan,
        "k_threshold": threshold if tails else math.nan,
    }
    unit = evaluation.unit
    if unit != NATS:
        row |= {"unit": unit.name, "value": unit.value(mean)}
        row |= {"value_standard_error": unit.error(error)}
    return row


def _difference(evaluations, bound, name, reference, gap):
    """How far a model is from the reference; nothing is known of that itself."""
    if name == reference:
        unknown = dict.fromkeys(("paired_error", "difference_sampling_error", "z"), math.nan)
        nothing = {"difference": 0.0, **unknown, "better": 0, "equal": len(gap)}
        return nothing | {"verdict": REFERENCE}
    difference, error = float(gap.mean()), standard_error(gap)
    errors = [
        each.sampling_error.get(name_in(each, bound), math.nan)
        for each in (evaluations[name], evaluations[reference])
    ]
    z = _ratio(difference, error)
    return {
        "difference": difference,
        "paired_error": error,
        "difference_sampling_error": math.hypot(*errors),
        "z": z,
        "better": int((gap > 0).sum()),
        "equal": int((gap == 0).sum()),
        "verdict": _verdict(z),
    }


def _ratio(difference, error):
    """A difference in its errors: 0 where there is none at all."""
    if difference == 0:
        return 0.0
    return difference / error if error else math.copysign(math.inf, difference)


def _verdict(z):
    """In a word; of a single image, whose error is not known, there is none."""
    if not abs(z) > ERRORS:  # nan, too
        return "undecided"
    return "better" if z > 0 else "worse"
