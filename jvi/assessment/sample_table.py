"""Tables of samples in text: a line for each, a column for each data point."""

from array import array
from pathlib import Path

import numpy as np

__all__ = ["of_text"]


def of_text(content: bytes, path: str | Path) -> np.ndarray:
    """The numbers of a table, a sample a line, below a line of names or without one.

    Parameters
    ----------
    content : bytes
        Of a file in UTF-8, with commas between numbers, or without any, spaces or tabs.
    path : str or Path
        What errors begin with.

    Returns
    -------
    numpy.ndarray, shape (K, N), float64
        Whatever Python takes for a number: "nan" and "inf", too.

    Raises
    ------
    ValueError
        For anything else than such a table, naming the line.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: byte {error.start} is not text in UTF-8") from None
    lines = text.splitlines()
    split = _commas if "," in next(filter(str.strip, reversed(lines)), "") else str.split
    rows, count, named = array("d"), 0, None
    for place, line in enumerate(lines, 1):
        if not line.strip():
            continue
        cells = split(line)
        if named is None:
            named = _names(cells, path)
            if named:
                continue
        count = count or len(cells)
        if len(cells) != count:
            raise ValueError(f"{path}: line {place} has {len(cells)} values, others {count}")
        odd = next((cell for cell in cells if not _is_number(cell)), None)
        if odd is not None:
            raise ValueError(f"{path}: line {place} has {odd[:50]!a} where a number should be")
        rows.extend(map(float, cells))
    if not rows:
        raise ValueError(f"{path}: has no lines of numbers, one for each sample")
    return np.frombuffer(rows).reshape(-1, count)


def _commas(line):
    return [cell.strip() for cell in line.split(",")]


def _is_number(cell):
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell  # which Python takes for a separator


def _names(cells, path):
    """Whether a first line names the columns: without a number, or with those of the columns."""
    if cells[0] == "":
        raise ValueError(
            f"{path}: its first column has no name, so seems to number the lines: leave it out "
            "(index=False in pandas)"
        )
    counted = [[str(i + first) for i in range(len(cells))] for first in (0, 1)]
    return (len(cells) > 1 and cells in counted) or not any(map(_is_number, cells))
