"""What every data set is once it is loaded, and how its rows become observations."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from jvi.engine.random import PointSource

__all__ = ["NATS", "Dataset", "Unit", "as_it_is", "binarise", "observe_each", "shuffled"]

BLOCK = 1024  # rows that are observed at once


class Unit(NamedTuple):
    """What log-likelihoods of a data set are told in: nats * factor + offset.

    Bits per dimension of D bytes that were divided by 256 have the factor 1 / (D log 2) and the
    offset -8.
    """

    name: str
    factor: float = 1.0
    offset: float = 0.0


NATS = Unit("nats")


def binarise(rows: Any, source: Any) -> Any:
    """Draw every pixel from the Bernoulli distribution that its grey value is the mean of.

    Called on every batch anew, this is the dynamic binarisation of Burda et al. (2016), section 5.

    Parameters
    ----------
    rows : array, shape (N, …), of NumPy or CuPy
        Pixels in [0, 1].
    source : jvi.engine.random.Source

    Returns
    -------
    float32 array of the same shape, every pixel 0 or 1.

    Raises
    ------
    ValueError
        For a pixel outside [0, 1], on the CPU. A GPU would have to wait for the answer; what it
        trains on, the model has checked before.
    """
    if type(rows) is np.ndarray and not np.all((rows >= 0) & (rows <= 1)):
        raise ValueError("only pixels in [0, 1] can be binarised")
    return (source.uniform((1, *rows.shape))[0] < rows).astype(np.float32)


def as_it_is(rows: Any, source: Any) -> Any:
    """The rows themselves, float32."""
    return rows.astype(np.float32, copy=False)


class Dataset(NamedTuple):
    """Data in three parts, a data point a row.

    Attributes
    ----------
    name : str
        What `jvi.load_dataset` knows it by, if it does.
    train, validation, test : float32 arrays of shape (N, …)
        Images have shape (N, rows * columns) and pixels in [0, 1].
    image_shape : tuple of int, optional
        (rows, columns) of an image.
    observe : callable
        From (rows, source of random numbers) to what a model sees: `binarise` or `as_it_is`.
    unit : Unit
        Of log-likelihoods.
    split : str
        How the parts were made.
    """

    name: str
    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    image_shape: tuple[int, int] | None = None
    observe: Callable[[Any, Any], Any] = binarise
    unit: Unit = NATS
    split: str = "as given"

    def __repr__(self) -> str:
        named = zip(("training", "validation", "test"), self[1:4], strict=True)
        sizes = ", ".join(f"{len(part):,} {name}" for name, part in named)
        shape = "x".join(map(str, self.image_shape or self.train.shape[1:]))
        observed = getattr(self.observe, "__name__", str(self.observe)).replace("_", " ")
        lines = [
            f"<data set {self.name}: {sizes} rows of {shape}>",
            f"observed: {observed}",
            f"log-likelihoods: {self.unit.name}",
            f"split: {self.split}",
        ]
        return "\n  ".join(lines)


def shuffled(rows: np.ndarray) -> np.ndarray:
    """The rows in another order, by one permutation for ever for every number of them."""
    # Raw output is the one thing of a generator that NumPy promises never to change.
    return rows[np.argsort(np.random.PCG64(0).random_raw(len(rows)))]


def observe_each(data: Dataset, rows: np.ndarray, seed: int, start: int = 0) -> np.ndarray:
    """Fixed observations: number i only ever depends on its row, its index and the seed.

    Parameters
    ----------
    data : Dataset
        That the rows are of, for how they are observed.
    rows : array, shape (N, …)
    seed : int
    start : int
        Index of the first row, so that batches give what the whole would.

    Returns
    -------
    float32 array of the same shape.

    Raises
    ------
    ValueError
        Where pixels to be binarised are outside [0, 1].
    """
    rows = np.asarray(rows)
    observed = np.empty(rows.shape, np.float32)
    for first in range(0, len(rows), BLOCK):
        part = rows[first : first + BLOCK]
        points = range(start + first, start + first + len(part))
        source = PointSource((seed, "binarisation"), points).part()
        observed[first : first + BLOCK] = data.observe(part, source)
    return observed
