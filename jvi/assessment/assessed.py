"""A model on one data set with one number of samples: what a page tells of it."""

from typing import Any, NamedTuple

import numpy as np

from jvi.assessment import exact, measures
from jvi.assessment.evaluation import Evaluation, elbo_name, evaluations
from jvi.assessment.in_unit import in_unit
from jvi.assessment.rows import Row, rows
from jvi.datasets import Dataset, observe_each
from jvi.datasets.dataset import check_likelihood

__all__ = ["Assessed", "assess", "check_fit", "observed"]


class Assessed(NamedTuple):
    """What is known of the first test images of a data set.

    Attributes
    ----------
    data : jvi.datasets.Dataset
    x : array, shape (N, …)
        The images, observed.
    result : Evaluation
        ELBO, IWAE and JVI-1, with the log-weights.
    rows : list of dict
        Of these, of log p(x) where the model knows it, and of the inference gap, which is last; in
        the unit of the data, too.
    measures : list of dict
        Of what can be measured, but for active units.
    """

    data: Dataset
    x: np.ndarray
    result: Evaluation
    rows: list[Row]
    measures: list[Row]


def observed(model: Any, data: Dataset, rows: np.ndarray, seed: int) -> np.ndarray:
    """Rows of a data set as the model is given them, float32, of the same shape.

    Raises
    ------
    ValueError
        For rows that the model does not take, the first of them named.
    """
    check_likelihood(data, model.link)
    if rows.dtype == np.uint8:
        model.images(x := observe_each(data, rows, seed))
        return x
    model.images(rows)  # what binarising would refuse without a name
    return observe_each(data, rows, seed)


def check_fit(model: Any, data: Dataset, num_images: int) -> None:
    """Raise ValueError naming the first image that does not fit, and the data set."""
    try:
        observed(model, data, data.test[:num_images], 0)
    except ValueError as error:
        raise ValueError(f"{data.name}: {error}") from None


def assess(
    model: Any,
    data: Dataset,
    num_images: int,
    num_samples: int,
    seed: int = 0,
    progress: bool = False,
) -> Assessed:
    """Evaluate and measure a model on the first `num_images` test images, with K samples each.

    Raises
    ------
    ValueError
        When the images do not fit the model, or its log-weights are not finite.
    """
    x = observed(model, data, data.test[:num_images], seed)
    elbo = elbo_name(model.link)
    options = {"progress": progress, "detail": True, "keep": True, "unit": data.unit}
    bounds = elbo, "iwae", "jvi"
    [result] = evaluations(model, x, [num_samples], bounds, 1, seed, **options)
    found = [result]
    if hasattr(model.link, "log_evidence"):
        found.append(exact.evaluation(model, x))
    told = rows([(each, 0.0) for each in found], [*bounds, exact.EXACT])
    names = [name for name in measures.able(model.link, data) if name != measures.UNITS]
    measured = [
        row for name in names for row in measures.measure(name, model, x, data, seed, progress)
    ]
    told = in_unit([*told, exact.inference_gap(found, elbo)], data.unit)
    return Assessed(data, x, result, told, measured)
