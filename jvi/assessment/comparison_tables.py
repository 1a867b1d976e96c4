"""Estimators side by side, from the files of their runs alone."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jvi.assessment.estimates import standard_error
from jvi.evidence.diagnostics import half_width
from jvi.files import atomic_write
from jvi.text import table

__all__ = ["COLUMNS", "markdown", "rows", "show", "write_markdown"]

# What is averaged over seeds, by its name in a row: where a result has it.
NUMBERS: dict[str, tuple[str, ...]] = {
    "log_p": ("likelihood", "log_p"),
    "minus_kl": ("likelihood", "minus_kl"),
    "elbo": ("likelihood", "elbo"),
    "snr_inference": ("signal", "inference", "snr"),
    "snr_model": ("signal", "model", "snr"),
    "dsnr_inference": ("signal", "inference", "dsnr"),
    "dsnr_model": ("signal", "model", "dsnr"),
    "truth_posterior": ("truth", "posterior"),
    "truth_prior": ("truth", "prior"),
    "seconds_per_epoch": ("training", "seconds_per_epoch"),
    "cpu_seconds_per_epoch": ("training", "cpu_seconds_per_epoch"),
}

# Errors that a number has within each run; the mean over seeds is in a row.
WITHIN = ("log_p_images", "log_p_samples", "minus_kl_images", "minus_kl_samples")

# What is compared with the reference, seed by seed.
PAIRED = ("log_p", "minus_kl", "truth_posterior", "truth_prior")


def rows(results: Sequence[Mapping[str, Any]], reference: str) -> list[dict[str, Any]]:
    """A row for each estimator and K, in the order of the results.

    Parameters
    ----------
    results : sequence of dict
        As `jvi.assessment.comparison.complete` gives them.
    reference : str
        The estimator that differences are taken from, for each seed and K.

    Returns
    -------
    list of dict
        "estimator", "num_samples", "seeds" (how many runs did not diverge) and "diverged" (how many
        did); the mean over seeds of each number that there is, and under "…_error" its standard
        error over seeds; "…_images" and "…_samples", the errors within a run, on average; for those
        that are paired "…_difference" from the reference with "…_difference_error" and
        "…_difference_half", half of the 95% interval by Student's t over the seeds that both have,
        and "log_p_difference_images", its error by the choice of test images.
    """
    found: dict[tuple, list] = {}
    for result in results:
        run = result["run"]
        found.setdefault((run["estimator"], run["num_samples"]), []).append(result)
    return [
        _row(name, num, same, found.get((reference, num), []))
        for (name, num), same in found.items()
    ]


def _row(name, num_samples, results, reference):
    good, base = _by_seed(results), _by_seed(reference)
    row = {
        "estimator": name,
        "num_samples": num_samples,
        "seeds": len(good),
        "diverged": len(results) - len(good),
    }
    for key, path in NUMBERS.items():
        row |= _averaged(key, [_at(result, path) for result in good.values()])
    for key in WITHIN:
        values = _known(_at(result, ("likelihood", key)) for result in good.values())
        if values:
            row[key] = float(np.mean(values))
    both = [seed for seed in good if seed in base]
    if both and results[0] is not reference[0]:
        for key in PAIRED:
            row |= _difference(key, [(good[seed], base[seed]) for seed in both])
    return row


def _by_seed(results):
    return {each["run"]["seed"]: each for each in results if each["diverged"] is None}


def _at(value, path):
    """What a result has at a path, or None."""
    for key in path:
        value = (value or {}).get(key)
    return value


def _known(values):
    return [value for value in values if value is not None]


def _averaged(key, values):
    """The mean and its standard error, where there are numbers."""
    values = _known(values)
    if not values:
        return {}
    return {key: float(np.mean(values)), f"{key}_error": standard_error(np.array(values))}


def _difference(key, pairs):
    path = NUMBERS[key]
    differences = _known(_less(_at(one, path), _at(other, path)) for one, other in pairs)
    if not differences:
        return {}
    name, error = f"{key}_difference", standard_error(np.array(differences))
    found = {name: float(np.mean(differences)), f"{name}_error": error}
    if len(differences) > 1:
        found[f"{name}_half"] = half_width(np.array([error]), len(differences))
    if key == "log_p":
        path = ("likelihood", "per_image")
        by_image = [np.subtract(_at(one, path), _at(other, path)) for one, other in pairs]
        found[f"{name}_images"] = standard_error(np.mean(by_image, axis=0))
    return found


HUGE = 1e5


def _less(one, other):
    return None if one is None or other is None else one - other


def _number(form: str) -> Callable[[float | None], str]:
    """Of a number, which is none beyond all measure in a run that went astray."""

    def text(value):
        if value is None or math.isnan(value):
            return "-"
        return format(value, form if abs(value) < HUGE else f"{form[:-3]}.1e")

    return text


def _with_error(key, form):
    """Column of a number ± its error over seeds."""
    return lambda row: _pair(row, key, f"{key}_error", form)


def _pair(row, key, error, form):
    if row.get(key) is None:
        return "-"
    half = _number(form.removeprefix("+"))(row.get(error))
    return f"{_number(form)(row[key])} ± {half}"


def _nats(row):
    """Of numbers a few nats large more digits are shown than of an image's."""
    return ".2f" if abs(row.get("log_p", 0.0)) > 20.0 else ".4f"


# Columns of a table: heading, and from a row to text. Those without any number are left out.
COLUMNS: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "K": lambda row: str(row["num_samples"]),
    "log p(x)": lambda row: _pair(row, "log_p", "log_p_error", _nats(row)),
    "images": lambda row: _number(_nats(row))(row.get("log_p_images")),
    "samples": lambda row: _number(".3f")(row.get("log_p_samples")),
    "difference": lambda row: _pair(
        row, "log_p_difference", "log_p_difference_half", f"+{_nats(row)}"
    ),
    "-KL(q|p)": _with_error("minus_kl", ".2f"),
    "posterior L2": _with_error("truth_posterior", ".4f"),
    "prior L2": _with_error("truth_prior", ".4f"),
    "SNR encoder": _with_error("snr_inference", ".3f"),
    "SNR decoder": _with_error("snr_model", ".3f"),
    "s/epoch": lambda row: _number(".3g")(row.get("seconds_per_epoch")),
    "CPU s/epoch": lambda row: _number(".3g")(row.get("cpu_seconds_per_epoch")),
    "diverged": lambda row: f"{row['diverged']} of {row['seeds'] + row['diverged']}",
}


def _cells(rows):
    """(cells, header) of the columns that say something."""
    columns = {
        name: [cell(row) for row in rows]
        for name, cell in COLUMNS.items()
        if any(cell(row) != "-" for row in rows)
    }
    names = [row["estimator"] for row in rows]
    return list(zip(names, *columns.values(), strict=True)), ["estimator", *columns]


def show(rows: Sequence[Mapping[str, Any]]) -> str:
    """As text."""
    return table(*_cells(rows))


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """As a table of Markdown."""
    cells, header = _cells(rows)
    rule = ["---", *["---:"] * (len(header) - 1)]
    first = [(f"`{name}`", *rest) for name, *rest in cells]
    return "".join(f"| {' | '.join(line)} |\n" for line in (header, rule, *first))


def write_markdown(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    with atomic_write(path) as temporary:
        temporary.write_text(markdown(rows))
