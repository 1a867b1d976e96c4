"""Rows of a CSV file for a network that was trained on another table with the same columns."""

import csv
import io
from pathlib import Path

import numpy as np

from jvi.compat.reading import read_file
from jvi.datasets.csv_table import MOST_BYTES, is_number, read_csv
from jvi.datasets.table_file import Columns

__all__ = ["read_features", "read_rows"]


def read_features(path: str | Path, columns: Columns) -> np.ndarray:
    """Standardised features, float32, shape (B, F), in the order that the network has them.

    The file names its columns, in any order. One with the target may be among them.

    Raises
    ------
    FileNotFoundError
        When there is no such file.
    ValueError
        As `jvi.datasets.csv_table.read_csv`, or naming a column that is missing or too many.
    """
    known = columns.target_name in _header(path)
    table = read_csv(path, columns.target_name if known else None)
    names, values = table.names, table.features
    if not known:  # the last one is a feature like the others
        names = (*names, table.target_name)
        values = np.column_stack([values, _numbers(table)])
    missing = [name for name in columns.names if name not in names]
    strange = [name for name in names if name not in columns.names]
    if missing:
        raise ValueError(f"{path}: has no column {missing[0]!a}, which the network was trained on")
    if strange:
        raise ValueError(
            f"{path}: has a column {strange[0]!a} that the network was not trained on: leave it out"
        )
    return columns.scaling.features(values[:, [names.index(name) for name in columns.names]])


def read_rows(path: str | Path, columns: Columns) -> np.ndarray:
    """And targets, as the network takes them, in the last column: float32, shape (B, F + 1).

    Raises
    ------
    FileNotFoundError, ValueError
        As `read_features`, or for targets that are missing or of another kind.
    """
    features, table = read_features(path, columns), read_csv(path, columns.target_name)
    if not columns.classes:
        scaling = columns.scaling
        target = (_numbers(table) - scaling.target_mean) / scaling.target_scale
    else:
        target = _codes(table, columns)
    return np.column_stack([features, target.astype(np.float32)])


def _header(path):
    """Names of the columns, as far as they can be read: what is wrong, `read_csv` says."""
    text = read_file(path, MOST_BYTES).decode("utf-8-sig", "replace")
    try:
        return [name.strip() for name in next(csv.reader(io.StringIO(text, newline="")), [])]
    except csv.Error:
        return []


def _numbers(table):
    """The table's target as numbers."""
    if table.target.dtype.kind == "f":
        return table.target
    row = next(number for number, each in enumerate(table.target) if not is_number(each))
    _refuse(table, row, "which is no number")


def _codes(table, columns):
    """Of targets that are classes, their numbers."""
    known = {name: number for number, name in enumerate(columns.classes)}
    if table.target.dtype.kind == "f":  # as "3", where it stands for 3.0
        names = [str(int(each)) if each.is_integer() else str(each) for each in table.target]
    else:
        names = list(map(str, table.target))
    codes = np.array([known.get(name, -1) for name in names])
    if codes.min() < 0:
        _refuse(table, int(codes.argmin()), f"which is none of the {len(known)} classes")
    return codes


def _refuse(table, row, why):
    value = str(table.target[row])[:50]
    raise ValueError(
        f"{table.name}: row {row + 1} has {value!a} in column {table.target_name!a}, {why}"
    )
