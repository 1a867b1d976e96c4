"""Predictions of a Bayesian network as a CSV file."""

import csv
from pathlib import Path
from typing import Any

import numpy as np

from jvi.assessment.predictive import NumberPredictions
from jvi.datasets.table_file import Columns
from jvi.files import atomic_write

__all__ = ["write_predictions"]


def write_predictions(
    path: str | Path, predictions: Any, columns: Columns, targets: np.ndarray | None = None
) -> None:
    """A CSV file with a line for each row, in the target's own unit; targets where they are known.

    Of a regression mean, std, data_std, weight_std, lower and upper; of classes the most probable
    one, the probabilities p(NAME) of all, entropy, data_entropy and weight_entropy.
    """
    found = _number_columns if isinstance(predictions, NumberPredictions) else _class_columns
    values = found(predictions, columns)
    if targets is not None:
        known = targets if not columns.classes else [columns.classes[int(t)] for t in targets]
        values = {columns.target_name: known, **values, "log_density": predictions.log_density}
    lines = zip(*(_listed(each) for each in values.values()), strict=True)
    with (
        atomic_write(path) as temporary,
        open(temporary, "w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["row", *values])
        writer.writerows([n, *line] for n, line in enumerate(lines, 1))


def _number_columns(predictions, columns):
    names = "mean", "std", "data_std", "weight_std", "lower", "upper"
    return {name: getattr(predictions, name) for name in names}


def _class_columns(predictions, columns):
    best = [columns.classes[number] for number in predictions.probabilities.argmax(axis=1)]
    probable = zip(columns.classes, predictions.probabilities.T, strict=True)
    return {
        "class": best,
        **{f"p({name})": each for name, each in probable},
        "entropy": predictions.entropy,
        "data_entropy": predictions.data_entropy,
        "weight_entropy": predictions.weight_entropy,
    }


def _listed(values):
    return [f"{each:.7g}" if isinstance(each, float) else each for each in list(values)]
