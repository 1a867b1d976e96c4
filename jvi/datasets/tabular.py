"""Tables as data sets: rows of standardised features with the target as the last column.

Scales are learned on the training part alone, and kept, so that predictions come back in the
target's own unit.
"""

import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jvi.datasets.csv_table import Table, is_number, of_columns
from jvi.datasets.dataset import Dataset, as_it_is, shuffled

__all__ = ["BUILT_IN", "Scaling", "Tabular", "built_in", "coded", "prepared", "scaling_of"]

# Of scikit-learn, by its function's name, and how its target is named.
BUILT_IN = {
    "diabetes": ("load_diabetes", "progression"),
    "breast-cancer": ("load_breast_cancer", "diagnosis"),
    "wine": ("load_wine", "cultivar"),
    "digits": ("load_digits", "digit"),
    "california": ("fetch_california_housing", "value"),
}
REGRESSION, CLASSIFICATION, BINARY = TASKS = "regression", "classification", "binary"

MOST_CLASSES = 2**10
FEWEST_ROWS = 5


class Scaling(NamedTuple):
    """What standardised numbers were before: value = scale · standardised + mean.

    Attributes
    ----------
    mean, scale : numpy.ndarray, shape (F,), float64
        Of the features.
    target_mean, target_scale : float
        0 and 1 where the target is a class.
    """

    mean: np.ndarray
    scale: np.ndarray
    target_mean: float = 0.0
    target_scale: float = 1.0

    def features(self, values: Any) -> np.ndarray:
        """Features in their own units, (B, F), as the model takes them: float32."""
        return ((np.asarray(values, np.float64) - self.mean) / self.scale).astype(np.float32)

    def rows(self, features: Any, target: Any) -> np.ndarray:
        """And targets, (B,), as the last column: float32, shape (B, F + 1)."""
        scaled = (np.asarray(target, np.float64) - self.target_mean) / self.target_scale
        return np.column_stack([self.features(features), scaled.astype(np.float32)])

    def target(self, values: Any) -> np.ndarray:
        """Predicted targets in their own unit, float64, of any shape."""
        return np.asarray(values, np.float64) * self.target_scale + self.target_mean

    def deviation(self, values: Any) -> np.ndarray:
        """Standard deviations of the target in its own unit."""
        return np.asarray(values, np.float64) * self.target_scale

    def log_density(self, values: Any) -> np.ndarray:
        """Log-densities of targets in their own unit, in nats."""
        return np.asarray(values, np.float64) - math.log(self.target_scale)


class Tabular(NamedTuple):
    """A table made ready for a network.

    Attributes
    ----------
    data : Dataset
        Rows are standardised features and the target: standardised, or the number of its class.
    scaling : Scaling
    task : str
        "regression", "classification" or "binary".
    classes : tuple of str
        Their names by number; () for regression.
    names : tuple of str
        Of the features.
    target_name : str
    """

    data: Dataset
    scaling: Scaling
    task: str
    classes: tuple[str, ...]
    names: tuple[str, ...]
    target_name: str


def built_in(name: str, data_dir: str | Path | None = None) -> Table:
    """A table that scikit-learn has; nothing is downloaded.

    Parameters
    ----------
    name : str
        A key of `BUILT_IN`.
    data_dir : str or Path, optional
        scikit-learn's folder, for "california", which it keeps as a file of its own kind there.

    Raises
    ------
    ValueError
        For an unknown name.
    FileNotFoundError
        For "california" where scikit-learn has not downloaded it.
    """
    from sklearn import datasets

    if name not in BUILT_IN:
        raise ValueError(f"unknown table {name!r}: choose from {', '.join(BUILT_IN)}")
    function, target_name = BUILT_IN[name]
    options = {"data_home": data_dir, "download_if_missing": False} if name == "california" else {}
    try:
        found = getattr(datasets, function)(**options)
    except OSError:
        raise FileNotFoundError(
            "scikit-learn has not downloaded the California housing data: call "
            "sklearn.datasets.fetch_california_housing() once, where there is a network"
        ) from None
    target, names = found.target, found.get("target_names")
    if names is not None and name != "california":
        target = np.asarray(names)[target].astype(str)
    return of_columns(found.data, target, name, list(map(str, found.feature_names)), target_name)


def prepared(
    table: Table,
    task: str | None = None,
    *,
    validation: float = 0.1,
    test: float = 0.1,
    keep_constant: bool = False,
) -> Tabular:
    """A table shuffled by one permutation for ever, split, and standardised by its training part.

    Parameters
    ----------
    table : Table
    task : str, optional
        "regression", "classification" or "binary". Unless given: targets of text are classes, two
        of them "binary"; numbers are "binary" where they are 0 and 1, and otherwise "regression".
    validation, test : float
        Shares of the rows, rounded down, but at least one row each.
    keep_constant : bool
        Let columns that have one value in the training part be zero, instead of refusing them, as
        pixels of images need it.

    Raises
    ------
    ValueError
        For fewer than 5 rows, one class only, too many of them, numbers that belong where text is,
        or, naming it, a column that says nothing.
    """
    count = len(table.target)
    if count < FEWEST_ROWS:
        raise ValueError(f"{table.name}: has {count} rows, at least {FEWEST_ROWS} are needed")
    task, classes, target = coded(table, task)
    rows = shuffled(np.column_stack([table.features, target]))
    parts = np.split(rows, _ends(count, validation, test))
    features, known = parts[0][:, :-1], parts[0][:, -1]
    scaling = scaling_of(features, known, task, table, keep_constant)
    scaled = [scaling.rows(part[:, :-1], part[:, -1]) for part in parts]
    split = "shuffled by one permutation for ever"
    data = Dataset(table.name, *scaled, observe=as_it_is, split=split)
    return Tabular(data, scaling, task, classes, table.names, table.target_name)


def coded(table: Table, task: str | None = None) -> tuple[str, tuple[str, ...], np.ndarray]:
    """(task, names of the classes, targets as numbers, float64), as `prepared` says."""
    where = f"{table.name}: column {table.target_name!a}"
    text = table.target.dtype.kind not in "biuf"
    labels, numbers = np.unique(table.target, return_inverse=True)
    if task is None:
        two = len(labels) == 2 and (text or list(labels) == [0, 1])
        task = BINARY if two else CLASSIFICATION if text else REGRESSION
    if task not in TASKS:
        raise ValueError(f"unknown task {task!r}: choose from {', '.join(TASKS)}")
    if task == REGRESSION:
        if text:
            row = next(n for n, each in enumerate(table.target) if not is_number(each))
            value = str(table.target[row])[:50]
            raise ValueError(f"{where} has {value!a} in row {row + 1}, which is no number")
        return task, (), table.target.astype(np.float64)
    if len(labels) < 2:
        raise ValueError(f"{where} has one class only, {_named(labels[0])}: there must be two")
    if task == BINARY and len(labels) > 2:
        raise ValueError(f"{where} has {len(labels)} classes: binary is of two")
    if len(labels) > MOST_CLASSES:
        raise ValueError(
            f"{where} has {len(labels)} classes, at most {MOST_CLASSES} can be: is it a regression?"
        )
    return task, tuple(map(_named, labels)), numbers.astype(np.float64)


def scaling_of(
    features: np.ndarray,
    target: np.ndarray,
    task: str,
    table: Table | None = None,
    keep_constant: bool = False,
) -> Scaling:
    """The `Scaling` that makes these features, and the target of a regression, standard.

    Parameters
    ----------
    features, target : array, shapes (B, F) and (B,)
    task : str
    table : Table, optional
        That they are of, for errors.
    keep_constant : bool
        As for `prepared`.

    Raises
    ------
    ValueError
        Naming a column that has one value only.
    """
    name = "" if table is None else f"{table.name}: "
    mean, scale = features.mean(axis=0), _deviation(features)
    constant = scale == 0
    if constant.any() and not keep_constant:
        number = int(constant.argmax())
        column = number if table is None else f"{table.names[number]!a}"
        raise ValueError(
            f"{name}column {column} has one value only, {features[0, number]:g}, in the training "
            "part, from which nothing can be learned: leave it out"
        )
    mean, scale = np.where(constant, features[0], mean), np.where(constant, 1.0, scale)
    if task != REGRESSION:
        return Scaling(mean, scale)
    spread = float(_deviation(target[:, None])[0])
    if spread == 0:
        column = "" if table is None else f" {table.target_name!a}"
        raise ValueError(f"{name}the target{column} has one value only, {target[0]:g}")
    return Scaling(mean, scale, float(target.mean()), spread)


def _deviation(values):
    """Standard deviations, (F,); exactly zero where all values are the same."""
    varies = (values != values[0]).any(axis=0)
    return np.where(varies, values.std(axis=0), 0.0)


def _ends(count, validation, test):
    """Where the training and the validation part end."""
    for name, share in {"validation": validation, "test": test}.items():
        if not 0 < share < 1:
            raise ValueError(f"the share of {name} rows must be between 0 and 1, not {share:g}")
    sizes = [max(1, int(share * count)) for share in (validation, test)]
    if count - sum(sizes) < 2:
        raise ValueError(f"of {count} rows, {sizes[0]} and {sizes[1]} held out leave too few")
    return [count - sum(sizes), count - sizes[1]]


def _named(label):
    """A class as text: of whole numbers, without a point."""
    whole = not isinstance(label, str) and float(label).is_integer()
    return str(int(label)) if whole else str(label)
