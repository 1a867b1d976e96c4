"""Models of a flow experiment side by side, from the files of their runs alone."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jvi.assessment.estimates import standard_error
from jvi.assessment.factorised import Baseline
from jvi.assessment.flow_experiments import FlowRun
from jvi.datasets import Unit
from jvi.evidence.diagnostics import half_width
from jvi.text import table

__all__ = ["by_label", "rows", "show", "unit_of"]

BOUNDS = ("elbo", "iwae")

Results = Sequence[Mapping[str, Any]]


def unit_of(results: Results) -> Unit:
    """That of the data, as the runs have written it down."""
    return Unit(**results[0]["unit"])


def by_label(results: Results) -> dict[str, list[Mapping[str, Any]]]:
    """Results of each model, in the order of the experiment's, by what they are told apart by."""
    order = [FlowRun(model, 0).label for model in results[0]["settings"]["models"]]
    found = {label: [r for r in results if r["run"]["label"] == label] for label in order}
    return {label: same for label, same in found.items() if same}


def rows(results: Results) -> list[dict[str, Any]]:
    """A row for each model.

    Returns
    -------
    list of dict
        "model", "seeds", "parameters", "epochs" (the mean), "cpu_seconds" (the mean); of each bound
        its mean over seeds, in the data set's unit, "…_seeds", the standard error of that,
        "…_images" and "…_samples", those within a run, on average; and for all but the first model
        "…_difference" from it over the seeds that both have, with "…_difference_half", half of its
        95% interval by Student's t, and "…_difference_images", its error by the choice of images.
    """
    groups, unit = by_label(results), unit_of(results)
    first = next(iter(groups.values()))
    return [_row(label, same, first, unit) for label, same in groups.items()]


def _row(label, results, first, unit):
    training = [result["training"] for result in results]
    row: dict[str, Any] = {
        "model": label,
        "seeds": len(results),
        "parameters": results[0]["parameters"],
        "epochs": float(np.mean([each["epochs"] for each in training])),
        "cpu_seconds": float(np.mean([each["cpu_seconds"] for each in training])),
    }
    base = {result["run"]["seed"]: result for result in first}
    pairs = [(r, base[r["run"]["seed"]]) for r in results if r["run"]["seed"] in base]
    for bound in BOUNDS:
        found = [result["test"][bound] for result in results]
        means = unit.value(np.array([each["mean"] for each in found]))
        row |= {bound: float(means.mean()), f"{bound}_seeds": standard_error(means)}
        for error in ("images", "samples"):
            row[f"{bound}_{error}"] = unit.error(float(np.mean([each[error] for each in found])))
        if pairs and results is not first:
            row |= _difference(bound, pairs, unit)
    return row


def _difference(bound, pairs, unit):
    """(runs, images) of differences, and what is said of them."""
    values = [[each["test"][bound]["per_image"] for each in pair] for pair in pairs]
    differences = unit.difference(np.array([np.subtract(*pair) for pair in values]))
    name, runs = f"{bound}_difference", differences.mean(axis=1)
    error = standard_error(runs)
    return {
        name: float(runs.mean()),
        f"{name}_half": half_width(np.array([error]), len(runs)) if len(runs) > 1 else math.nan,
        f"{name}_images": standard_error(differences.mean(axis=0)),
    }


def show(results: Results, lines: Mapping[str, Baseline]) -> str:
    """As text, with the baselines of bytes."""
    found, unit = rows(results), unit_of(results)
    num_samples = results[0]["test"]["num_samples"]
    form = ".2f" if unit.name == "nats" else ".4f"
    header = ["model", "seeds", "epochs", "CPU min"]
    for bound in ("ELBO", f"IWAE-{num_samples}"):
        header += [f"{bound}, {unit.name}", "± images", "± samples", "difference"]
    cells = [_cells(row, form) for row in found]
    blank = ["-"] * 6
    cells += [
        [name, "-", "-", "-", format(line.mean, form), format(line.standard_error, form), *blank]
        for name, line in lines.items()
    ]
    return table(cells, header)


def _cells(row, form):
    cells = [row["model"], str(row["seeds"]), f"{row['epochs']:.0f}"]
    cells.append(f"{row['cpu_seconds'] / 60:.1f}")
    for bound in BOUNDS:
        cells.append(_pair(row[bound], row[f"{bound}_seeds"], form))
        cells += [format(row[f"{bound}_{error}"], form) for error in ("images", "samples")]
        name = f"{bound}_difference"
        cells.append(_pair(row[name], row[f"{name}_half"], form, "+") if name in row else "-")
    return cells


def _pair(value, error, form, sign=""):
    text = format(value, f"{sign}{form}")
    return text if math.isnan(error) else f"{text} ± {error:{form}}"
