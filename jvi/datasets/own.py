"""Data sets of arrays of one's own: checked, scaled and split."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from jvi.datasets.dataset import Dataset, as_it_is, binarise, shuffled
from jvi.datasets.files import PARTS

__all__ = ["of_arrays"]

BINARY, UNIT, BYTES, REAL = "only 0 and 1", "values in [0, 1]", "bytes", "other numbers"


def of_arrays(train: Any, validation: Any = None, test: Any = None, name: str = "data") -> Dataset:
    """A data set of arrays.

    A part that is not given is a tenth of the rows of `train` (rounded down, but at least one):
    these are shuffled by one permutation for ever, and from their end validation and test are
    taken, in this order. One array alone so becomes 80% / 10% / 10%.

    How rows are observed follows from all values together:

    - only 0 and 1: as they are;
    - integers from 0 to 255: divided by 255, then as the next;
    - numbers in [0, 1]: binarised, every pixel drawn with its value as the mean;
    - any other numbers: as they are, which models of binary pixels refuse.

    Parameters
    ----------
    train, validation, test : array or nested lists, shape (N, D) or (N, rows, columns)
        Booleans, integers or real numbers; images are flattened.
    name : str
        What it is called, in errors, too.

    Returns
    -------
    Dataset
        `image_shape` is (rows, columns); for rows of D numbers (√D, √D), or None where √D is
        not whole.

    Raises
    ------
    ValueError
        For anything but finite numbers of these shapes, parts that differ in shape or scale, an
        empty part, or fewer than three rows to split.

    Examples
    --------
    >>> import jvi
    >>> jvi.dataset([[0, 1], [1, 1], [1, 0]])
    <data set data: 1 training, 1 validation, 1 test rows of 2>
      observed: as it is
      log-likelihoods: nats
      split: validation and test: each a tenth of the 3 rows, shuffled by one permutation for ever
    """
    given = {"train": train, "validation": validation, "test": test}
    checked = {
        part: _checked(rows, f"{name}: {part}")
        for part, rows in given.items()
        if part == "train" or rows is not None
    }
    image_shape = _image_shape(checked, name)
    divisor, observe = _observation(checked, name)
    parts = {part: rows / divisor if divisor != 1 else rows for part, (rows, *_) in checked.items()}
    parts, split = _split(parts, name)
    return Dataset(name, *(parts[part] for part in PARTS), image_shape, observe, split=split)


class _Part(NamedTuple):
    rows: np.ndarray  # float32, (N, D)
    shape: tuple[int, ...]  # of a row as it was given
    scale: str


def _checked(given, what):
    """The `_Part` of an array that is what the docstring of `of_arrays` says."""
    try:
        array = np.asarray(given)
    except ValueError:
        raise ValueError(f"{what} has rows of different lengths") from None
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{what} must be an array of numbers, not of type {array.dtype}")
    if array.ndim not in (2, 3):
        raise ValueError(f"{what} has shape {array.shape}: make it (N, D) or (N, rows, columns)")
    if array.size == 0:
        raise ValueError(f"{what} is empty: its shape is {array.shape}")
    with np.errstate(over="ignore"):
        rows = array.reshape(len(array), -1).astype(np.float32, copy=False)
    finite = np.isfinite(rows).all(axis=1)
    if not finite.all():
        raise ValueError(f"{what} has values in row {finite.argmin()} that are not finite numbers")
    return _Part(rows, array.shape[1:], _scale(rows, array.dtype.kind != "f"))


def _scale(rows, whole):
    """BINARY, UNIT, BYTES or REAL, for rows that were of an integer type or not."""
    low, high = rows.min(), rows.max()
    if low >= 0 and high <= 1:
        return BINARY if whole or not np.any((rows > 0) & (rows < 1)) else UNIT
    return BYTES if whole and low >= 0 and high <= 255 else REAL


def _image_shape(checked, name):
    shapes = {part: each.shape for part, each in checked.items()}
    if len(set(shapes.values())) > 1:
        listed = ", ".join(f"{part} {shape}" for part, shape in shapes.items())
        raise ValueError(f"{name}: the rows of all parts must have one shape, not {listed}")
    shape = shapes["train"]
    if len(shape) == 2:
        return shape
    side = math.isqrt(shape[0])
    return (side, side) if side**2 == shape[0] else None


def _observation(checked, name) -> tuple[np.float32, Callable]:
    """(what to divide by, how rows are observed), from the scales of all parts."""
    scales = {part: each.scale for part, each in checked.items()}
    found = set(scales.values())
    if REAL in found or found == {BINARY}:
        return np.float32(1), as_it_is
    if found == {BYTES}:
        return np.float32(255), binarise
    if BYTES in found:
        listed = ", ".join(f"{part} {scale}" for part, scale in scales.items())
        raise ValueError(f"{name}: all parts must have one scale: here are in {listed}")
    return np.float32(1), binarise


def _split(parts, name):
    """(all parts by name, in words how they were made)."""
    missing = [part for part in PARTS if part not in parts]
    if not missing:
        return parts, "as given"
    rows = parts["train"]
    if len(rows) < 3:
        few = f"{name}: train has fewer than 3 rows ({len(rows)})"
        raise ValueError(f"{few}: give more, or validation and test, too")
    rows, tenth = shuffled(rows), max(1, len(rows) // 10)
    taken = np.split(rows, [len(rows) - tenth * left for left in range(len(missing), 0, -1)])
    made = dict(zip(("train", *missing), taken, strict=True))
    share = f"a tenth of the {len(rows):,} rows, shuffled by one permutation for ever"
    return parts | made, f"{' and '.join(missing)}: {'each ' * (len(missing) > 1)}{share}"
