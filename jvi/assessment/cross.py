"""A model on several data sets: what was found on each, in one report and one small table."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jvi.assessment.rows import KL, Row

__all__ = ["Cell", "cross", "merged", "split_names"]

PER_SET = ("active_units", "latent_units")  # of a report on one data set


class Cell(NamedTuple):
    """A mean and its standard error over images, nan where it has none."""

    mean: float
    error: float


def split_names(text: str | None) -> list[str]:
    """Names of data sets in a text with commas; that of a file that has one is left whole.

    Raises
    ------
    ValueError
        Where one of them is empty or occurs twice.
    """
    if not text or Path(text).expanduser().exists():
        return [text] if text else []
    names = text.split(",")
    for i, name in enumerate(names):
        if not name or name in names[:i]:
            problem = f"{name} twice" if name else "a name missing"
            raise ValueError(f"--dataset has {problem}")
    return names


def merged(
    reports: Mapping[str, Mapping[str, Any]], trained_on: str | None = None
) -> dict[str, Any]:
    """One report of those on several data sets, by the name of the data set.

    "data" is the list of names, and there is "trained_on". What is known of each data set by itself
    becomes a dict by its name; lists are joined. "test", as the data of a row, becomes the name; a
    row on simulated data stays that. A single report stays as it is, with its name as "data".
    """
    if len(reports) == 1:
        [(name, report)] = reports.items()
        return {"data": name, **report}
    found: dict[str, Any] = {"data": list(reports), "trained_on": trained_on}
    for name, report in reports.items():
        for key, value in report.items():
            if key in PER_SET:
                found.setdefault(key, {})[name] = value
            else:
                found[key] = found.get(key, []) + [_named(each, name) for each in value]
    return found


def _named(each, name):
    if isinstance(each, dict) and each["data"] == "test":
        return each | {"data": name}
    return each


def cross(
    reports: Mapping[str, Mapping[str, Any]], names: Sequence[str]
) -> tuple[list[str], dict[str, list[Cell | None]]]:
    """What a model reaches on each data set.

    Parameters
    ----------
    reports : dict
        By the name of the data set; each has "rows" and may have "measures".
    names : list of str
        Of estimates; those of most samples are taken.

    Returns
    -------
    columns : list of str
        ESTIMATE@K, the inference gap, and the measures.
    table : dict
        By the name of the data set the cells of these columns, None where there is nothing.
    """
    found = {name: _cells(report, names) for name, report in reports.items()}
    columns = list(dict.fromkeys(column for cells in found.values() for column in cells))
    return columns, {name: [cells.get(c) for c in columns] for name, cells in found.items()}


def _cells(report, names):
    """By column."""
    rows = [row for row in report["rows"] if row["data"] != "simulated"]
    chosen = [_largest(rows, name) for name in names] + [r for r in rows if r["estimate"] == KL]
    cells = {
        row["estimate"] if row["estimate"] == KL else f"{row['estimate']}@{row['num_samples']}": row
        for row in chosen
    }
    cells |= {row["measure"]: row for row in report.get("measures", [])}
    return {column: Cell(row["mean"], row["standard_error"]) for column, row in cells.items()}


def _largest(rows: Sequence[Row], name: str) -> Row:
    """The row of an estimate that has most samples."""
    return max((r for r in rows if r["estimate"] == name), key=lambda row: row["num_samples"])
