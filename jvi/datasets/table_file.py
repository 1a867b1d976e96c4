"""What a network's table was, kept beside the network: columns, classes and scales, as JSON."""

import json
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jvi.compat.reading import read_file
from jvi.datasets.csv_table import LARGEST, MOST_COLUMNS
from jvi.datasets.tabular import MOST_CLASSES, REGRESSION, TASKS, Scaling, Tabular
from jvi.files import atomic_write

__all__ = ["Columns", "columns_of", "read_columns", "same_columns", "table_path", "write_columns"]

MOST_BYTES = 2**23
MOST_LETTERS = 10_000  # of a name

# The file's keys, and the types of their values.
KEYS = {
    "task": str,
    "target": str,
    "classes": list,
    "features": list,
    "mean": list,
    "scale": list,
    "target_mean": float,
    "target_scale": float,
}


class Columns(NamedTuple):
    """A table without its rows.

    Attributes
    ----------
    names : tuple of str
        Of the features, in the order of the network's inputs.
    target_name : str
    task : str
    classes : tuple of str
    scaling : Scaling
    """

    names: tuple[str, ...]
    target_name: str
    task: str
    classes: tuple[str, ...]
    scaling: Scaling


def columns_of(table: Tabular) -> Columns:
    """Of a table that is ready for a network.

    Raises
    ------
    ValueError
        For names with characters that a terminal would obey.
    """
    found = Columns(table.names, table.target_name, table.task, table.classes, table.scaling)
    _check_names(found, table.data.name)
    return found


def table_path(prefix: str | Path) -> Path:
    """Where the columns are of a model with this prefix: PREFIX/table.json."""
    return Path(prefix) / "table.json"


def write_columns(path: str | Path, columns: Columns) -> None:
    """Write a file, whole or not at all."""
    with atomic_write(path) as temporary:
        temporary.write_text(_text(columns), encoding="utf-8")


def _text(columns):
    scaling = columns.scaling
    values = {
        "task": columns.task,
        "target": columns.target_name,
        "classes": columns.classes,
        "features": columns.names,
        "mean": scaling.mean.tolist(),
        "scale": scaling.scale.tolist(),
        "target_mean": scaling.target_mean,
        "target_scale": scaling.target_scale,
    }
    return json.dumps(values, indent=1) + "\n"


def same_columns(one: Columns, other: Columns) -> bool:
    """Whether two are of one table, scales up to rounding."""
    first, second = (np.hstack(each.scaling) for each in (one, other))
    return one[:4] == other[:4] and np.allclose(first, second, 1e-9, 0)


def read_columns(path: str | Path, task: str, num_columns: int, num_classes: int = 0) -> Columns:
    """A file that `write_columns` wrote, which is trusted in nothing.

    Parameters
    ----------
    path : str or Path
    task : str
        Of the network beside which it lies, as are its sizes:
    num_columns : int
        Features and the target.
    num_classes : int
        Of classification.

    Raises
    ------
    FileNotFoundError
        When there is no such file.
    ValueError
        When it is anything else, or another network's, naming the file and the key.
    """
    content = read_file(path, MOST_BYTES)
    try:
        found = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError):  # also for numbers of too many digits
        raise ValueError(f"{path}: not JSON in UTF-8") from None
    try:
        columns = _columns(found)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    _check_names(columns, path)
    kind = columns.task, len(columns.names) + 1
    if kind != (task, num_columns) or (num_classes and num_classes != len(columns.classes)):
        raise ValueError(
            f"{path}: is of {kind[0]} with {len(columns.names)} features and "
            f"{len(columns.classes)} classes, but the network beside it is not"
        )
    return columns


def _columns(found):
    if not isinstance(found, dict) or found.keys() != KEYS.keys():
        raise ValueError(f"should be an object with the keys {', '.join(KEYS)}")
    for key, kind in KEYS.items():
        if not isinstance(found[key], kind):
            raise ValueError(f"{key} is no {kind.__name__}")
    names, classes = _texts(found, "features"), _texts(found, "classes")
    if not 1 <= len(names) < MOST_COLUMNS or len(classes) > MOST_CLASSES:
        raise ValueError(f"has {len(names)} features and {len(classes)} classes")
    numbers = {"mean": found["mean"], "scale": found["scale"]}
    for key, values in numbers.items():
        if len(values) != len(names):
            raise ValueError(f"{key} has {len(values)} values, one for each feature are needed")
    target = {key: [found[key]] for key in ("target_mean", "target_scale")}
    for key, values in (numbers | target).items():
        _check_numbers(key, values, positive=key.endswith("scale"))
    _check_task(found, len(classes))
    mean, scale = (np.array(values, np.float64) for values in numbers.values())
    scaling = Scaling(mean, scale, found["target_mean"], found["target_scale"])
    return Columns(names, found["target"], found["task"], classes, scaling)


def _texts(found, key):
    """A list of different texts."""
    if not all(isinstance(each, str) for each in found[key]):
        raise ValueError(f"{key} holds other things than texts")
    if len(set(found[key])) < len(found[key]):
        raise ValueError(f"{key} has a name twice")
    return tuple(found[key])


def _check_numbers(key, values, positive):
    for value in values:
        number = type(value) is float and math.isfinite(value) and abs(value) <= LARGEST
        if not number or (positive and value <= 0):
            raise ValueError(f"{key} has {str(value)[:50]!a}, which it cannot be")


def _check_task(found, num_classes):
    task = found["task"]
    few = {REGRESSION: num_classes == 0, "binary": num_classes == 2}
    if task not in TASKS or not few.get(task, num_classes >= 2):
        raise ValueError(f"task is {task[:50]!a}, with {num_classes} classes")


def _check_names(columns, where):
    for name in (*columns.names, columns.target_name, *columns.classes):
        if not name.isprintable() or len(name) > MOST_LETTERS:
            raise ValueError(f"{where}: the name {name[:50]!a} cannot be shown: give another")
