"""A Bayesian network as its files have it, and the rows that it is to be tested on."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jvi.datasets.labelled import is_file, labelled
from jvi.datasets.table_file import Columns, columns_of, read_columns, same_columns, table_path
from jvi.datasets.table_rows import read_rows
from jvi.datasets.tabular import Tabular
from jvi.models.files import ModelFiles, read_model
from jvi.models.model import Model, from_files

__all__ = ["HeldOut", "TrainedNetwork", "held_out", "load_network", "own_table"]


class TrainedNetwork(NamedTuple):
    """A network and the columns of its table."""

    files: ModelFiles
    model: Model
    columns: Columns


class HeldOut(NamedTuple):
    """Rows for a test, standardised, (B, F + 1); and the table that they are of.

    `table` is the one that the network was trained on, or None where they are of another file.
    """

    name: str
    rows: np.ndarray
    table: Tabular | None


def load_network(prefix: str | Path, device: int = -1) -> TrainedNetwork:
    """A network that was trained on a table.

    Parameters
    ----------
    prefix : str or Path
        As for `jvi.load`.
    device : int

    Raises
    ------
    FileNotFoundError, ValueError
        As `jvi.load`, also for another kind of model, or one without its table's columns.
    """
    files = read_model(prefix)
    link = files.link
    if not hasattr(link, "log_likelihood_rows"):
        raise ValueError(f"{files.prefix} is of {link.spec.name}, not a Bayesian network")
    options = link.spec.options
    about = options["task"], options["columns"], options.get("classes", 0)
    columns = read_columns(table_path(files.prefix), *about)
    return TrainedNetwork(files, from_files(files, device), columns)


def own_table(network: TrainedNetwork, name: str | None, data_dir: str | None = None) -> Tabular:
    """The table that a network was trained on, again.

    Parameters
    ----------
    network : TrainedNetwork
    name : str, optional
        As for `labelled`: where it is now, unless the model's files have it right.
    data_dir : str, optional

    Raises
    ------
    FileNotFoundError, ValueError
        As `labelled`, or for another table.
    """
    found = _table(network, name or _recorded(network), data_dir)
    if not same_columns(columns_of(found), network.columns):
        raise ValueError(
            f"{found.data.name} is not what {network.files.prefix} was trained on: columns or "
            "scales differ"
        )
    return found


def held_out(network: TrainedNetwork, name: str | None, data_dir: str | None = None) -> HeldOut:
    """The test part of the network's own table, or all rows of another CSV file.

    Parameters
    ----------
    network, name, data_dir
        As for `own_table`.

    Raises
    ------
    FileNotFoundError, ValueError
        As `own_table` and `jvi.datasets.table_rows.read_rows`.
    """
    name = name or _recorded(network)
    if is_file(name):
        rows = read_rows(Path(name).expanduser(), network.columns)
        try:
            table = own_table(network, name, data_dir)
        except ValueError:  # another one, perhaps of too few rows for three parts, or of one class
            return HeldOut(name, rows, None)
    else:
        table = own_table(network, name, data_dir)
    return HeldOut(name, table.data.test, table)


def _table(network: TrainedNetwork, name: str, data_dir: Any) -> Tabular:
    target = network.columns.target_name if is_file(name) else None
    return labelled(name, target, network.columns.task, data_dir)


def _recorded(network):
    name = network.files.meta.get("--dataset")
    if not isinstance(name, str):
        raise ValueError(
            f"{network.files.prefix} does not say what it was trained on: give the data with -d"
        )
    return name
