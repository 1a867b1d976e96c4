"""Tables of samples in text: a line for each, a column for each data point."""

from array import array
from io import BytesIO, TextIOWrapper
from itertools import chain, islice
from pathlib import Path

import numpy as np

__all__ = ["of_text"]

MOST_IN_LINE = 2**22  # characters, of which a value takes two or more and 72 bytes when it is read


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
        content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: byte {error.start} is not text in UTF-8") from None
    split = _commas if b"," in content.rstrip().rpartition(b"\n")[2] else str.split
    # One by one: a list of lines would be many times as large as the file.
    text = TextIOWrapper(BytesIO(content), encoding="utf-8-sig")
    filled = ((place, line) for place, line in enumerate(text, 1) if line.strip())
    lines = ((place, split(_short(line, place, path))) for place, line in filled)
    first = [(place, cells) for place, cells in islice(lines, 1) if not _names(cells, path)]
    rows, count = array("d"), 0
    for place, cells in chain(first, lines):
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


def _short(line, place, path):
    """A line, unless it is so long that it would take far more memory than the file."""
    if len(line) > MOST_IN_LINE:
        raise ValueError(
            f"{path}: line {place} has more than {MOST_IN_LINE:,} characters: write .npz instead"
        )
    return line


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
    counted = len(cells) > 1 and any(
        all(cell == str(i) for i, cell in enumerate(cells, first)) for first in (0, 1)
    )
    return counted or not any(map(_is_number, cells))
