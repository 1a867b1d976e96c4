"""Tables of numbers from CSV files: a header, features, and a target in one of the columns."""

import csv
import io
import re
from array import array
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jvi.compat.reading import read_file

__all__ = ["Table", "is_number", "of_columns", "read_csv"]

MOST_BYTES, MOST_ROWS, MOST_COLUMNS = 2**27, 2**22, 2**14
MOST_LETTERS = 100  # of a class: an array of texts is as wide as the longest

LARGEST = 1e100  # whose square is a number

# A row of numbers at once, which is ten times as fast as one by one. Digits have one way to match.
NUMBER = r"[-+]?(?:[0-9]{1,40}(?:\.[0-9]{0,40})?|\.[0-9]{1,40})(?:[eE][-+]?[0-9]{1,4})?"
ONE, NUMBERS = re.compile(NUMBER), re.compile(rf"{NUMBER}(?:,{NUMBER})*")

# How files say that there is no value, in small letters.
MISSING = {"", "?", "-", "na", "n/a", "nan", "null", "none", "missing"}


class Table(NamedTuple):
    """Features and targets as they were given.

    Attributes
    ----------
    name : str
        What it is called, in errors, too.
    features : numpy.ndarray, shape (B, F), float64
        Finite.
    target : numpy.ndarray, shape (B,)
        float64, finite; or texts, where one of them is no number.
    names : tuple of str
        Of the features.
    target_name : str
    """

    name: str
    features: np.ndarray
    target: np.ndarray
    names: tuple[str, ...]
    target_name: str


def read_csv(path: str | Path, target: str | None = None) -> Table:
    """A table from a file: UTF-8, commas, names of the columns in its first line.

    Parameters
    ----------
    path : str or Path
        A file of at most 128 MiB, 4 million rows and 16,384 columns.
    target : str, optional
        Name of the column with the targets, the last one unless given. Text in it makes classes.

    Raises
    ------
    FileNotFoundError
        When there is no such file.
    ValueError
        For anything else than such a table, naming row and column of a value that is missing or no
        number.
    """
    path = Path(path)
    content = read_file(path, MOST_BYTES)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: byte {error.start} is not text in UTF-8") from None
    reader = csv.reader(io.StringIO(text, newline=""), skipinitialspace=True, strict=True)
    try:
        names = _header(next(reader, []), path)
        place = _place(names, target, path)
        features, targets = _values(reader, names, place, path)
    except csv.Error as error:
        raise ValueError(f"{path}: line {reader.line_num}: {error}") from None
    kept = tuple(name for number, name in enumerate(names) if number != place)
    _check_size(features, kept, path, first=1)
    targets = _numbers(targets)
    if targets.dtype.kind == "f":
        _check_size(targets[:, None], names[place : place + 1], path, first=1)
    return Table(str(path), features, targets, kept, names[place])


def of_columns(
    features: Any, target: Any, name: str = "data", names: Any = None, target_name: str = "target"
) -> Table:
    """A table of arrays.

    Parameters
    ----------
    features : array, shape (B, F)
        Finite numbers.
    target : array, shape (B,)
        Numbers, or texts or booleans that name classes.
    names : sequence of str, optional
        Of the features; "x0", "x1", … unless given.

    Raises
    ------
    ValueError
        For other shapes, or naming the first value that is missing or no number.
    """
    features, target = _array(features, f"{name}: features"), np.asarray(target)
    if features.ndim != 2 or target.shape != features.shape[:1] or 0 in features.shape:
        raise ValueError(
            f"{name}: features have shape {features.shape} and targets {target.shape}: they should "
            "be (B, F) and (B,), not empty"
        )
    names = tuple(names or (f"x{number}" for number in range(features.shape[1])))
    _check_size(features, names, name)
    if target.dtype.kind in "biuf":
        target = target.astype(np.float64)
    else:
        target = _numbers([str(each) for each in target])
    if target.dtype.kind == "f":
        _check_size(target[:, None], (target_name,), name)
    return Table(name, features, target, names, target_name)


def is_number(text: str) -> bool:
    """Whether a text is a number in ASCII digits."""
    return ONE.fullmatch(text) is not None


def _array(values, what):
    try:
        return np.asarray(values, np.float64)
    except (ValueError, TypeError):
        raise ValueError(f"{what} must be numbers in rows of one length") from None


def _check_size(values, names, where, first=0):
    """Refuse the first number that is not finite, or too large; rows are counted from `first`."""
    bad = np.argwhere(~(np.abs(values) <= LARGEST))
    if len(bad):
        row, column = bad[0]
        raise ValueError(
            f"{where}: row {row + first} has {values[row, column]:g} in column {names[column]!a}: "
            f"numbers must be finite, and at most {LARGEST:g}"
        )


def _header(row, path):
    names = [name.strip() for name in row]
    if len(names) < 2:
        raise ValueError(
            f"{path}: its first line should name two columns or more, separated by commas"
        )
    if len(names) > MOST_COLUMNS:
        raise ValueError(f"{path}: has {len(names)} columns, at most {MOST_COLUMNS} are read")
    if all(map(ONE.fullmatch, names)):
        raise ValueError(f"{path}: its first line should name the columns, but holds numbers")
    if "" in names:
        raise ValueError(f"{path}: its first line has no name for column {names.index('') + 1}")
    name, times = Counter(names).most_common(1)[0]
    if times > 1:
        raise ValueError(f"{path}: its first line has the name {name[:50]!a} {times} times")
    return names


def _place(names, target, path):
    """Number of the target's column."""
    if target is None:
        return len(names) - 1
    if target not in names:
        listed = ", ".join(map(ascii, names[:10])) + (", …" if len(names) > 10 else "")
        raise ValueError(f"{path}: has no column {target[:50]!a}: it has {listed}")
    return names.index(target)


def _values(reader, names, place, path):
    """(features, (B, F) float64, list of the targets' texts) of all rows but the first."""
    found, targets = array("d"), []
    for cells in reader:
        if not cells:
            continue  # an empty line
        where = f"{path}: row {len(targets) + 1} (line {reader.line_num})"
        if len(targets) == MOST_ROWS:
            raise ValueError(f"{path}: has more rows than the {MOST_ROWS} that are read")
        if len(cells) != len(names):
            raise ValueError(f"{where} has {len(cells)} values, the first line {len(names)} names")
        cells = [cell.strip() for cell in cells]
        features = cells[:place] + cells[place + 1 :]
        if cells[place].lower() in MISSING or not _are_numbers(features):
            _refuse(cells, names, place, where)
        if len(cells[place]) > MOST_LETTERS:
            raise ValueError(f"{where} has more than {MOST_LETTERS} letters in {names[place]!a}")
        found.extend(map(float, features))
        targets.append(cells[place])
    if not targets:
        raise ValueError(f"{path}: has no rows below its first line")
    return np.array(found).reshape(len(targets), -1), targets


def _are_numbers(cells):
    joined = ",".join(cells)
    return NUMBERS.fullmatch(joined) and joined.count(",") == len(cells) - 1


def _refuse(cells, names, place, where):
    """Name the first value that is missing or, but for targets, no number."""
    for number, (cell, name) in enumerate(zip(cells, names, strict=True)):
        if cell.lower() in MISSING:
            shown = f" ({cell})" if cell else ""
            raise ValueError(
                f"{where} has no value in column {name!a}{shown}: complete such rows, or leave "
                "them out"
            )
        if number != place and not ONE.fullmatch(cell):
            raise ValueError(f"{where} has {cell[:50]!a} in column {name!a}, which is no number")


def _numbers(texts):
    """Of texts, where all are numbers; themselves otherwise."""
    if all(map(ONE.fullmatch, texts)):
        return np.array([float(text) for text in texts])
    return np.array(texts)
