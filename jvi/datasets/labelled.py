"""Data with a target by name or from a CSV file, ready for a network."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from jvi.datasets.blundell_curve import blundell_curve
from jvi.datasets.csv_table import Table, read_csv
from jvi.datasets.files import is_path
from jvi.datasets.mnist_labels import labelled_mnist
from jvi.datasets.tabular import BUILT_IN, CLASSIFICATION, Tabular, built_in, prepared

__all__ = ["LABELLED", "is_file", "labelled"]

MNIST = "mnist"  # which comes in parts

# Tables by name; each is a function of the folder of data sets.
TABLES: dict[str, Callable[[Any], Table]] = {
    "blundell-curve": lambda data_dir: blundell_curve(),
    **{name: partial(built_in, name) for name in BUILT_IN},
}
LABELLED = (*TABLES, MNIST)

# Images of digits: some of their pixels are always empty, and their numbers are names.
IMAGES = {"digits"}


def labelled(
    name: str,
    target: str | None = None,
    task: str | None = None,
    data_dir: str | Path | None = None,
) -> Tabular:
    """One of `LABELLED`, or the table in a CSV file.

    Parameters
    ----------
    name : str
        A text that ends in .csv or has a folder is the path of a file.
    target : str, optional
        Of a file: the column with the targets, its last one unless given.
    task : str, optional
        As for `jvi.datasets.tabular.prepared`.
    data_dir : str or Path, optional
        For "mnist", as `jvi.datasets.mnist.load` has it; scikit-learn's own for "california".

    Raises
    ------
    FileNotFoundError
        Where there are no such data.
    ValueError
        For an unknown name, or data that cannot be used, naming row or column.
    """
    if is_file(name):
        return prepared(read_csv(Path(name).expanduser(), target), task)
    if name not in LABELLED:
        raise ValueError(
            f"unknown data set {name!a}: choose one of {', '.join(LABELLED)}, or name a file with "
            f"its ending or folder (./{name})"
        )
    if target is not None:
        raise ValueError(f"{name} has its target: a column of a CSV file can be chosen")
    if name != MNIST:
        images, table = name in IMAGES, TABLES[name](data_dir)
        return prepared(table, task or CLASSIFICATION * images or None, keep_constant=images)
    if task not in (None, CLASSIFICATION):
        raise ValueError(f"{name} is for {CLASSIFICATION}, not {task}")
    return labelled_mnist(data_dir)


def is_file(name: str) -> bool:
    """Whether this names a file, as `labelled` has it."""
    return name.lower().endswith(".csv") or is_path(name)
