"""What every data set is once it is loaded, and how its rows become observations."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from jvi.engine.random import PointSource
from jvi.evidence.unit import NATS, Unit

__all__ = [
    "Dataset",
    "as_it_is",
    "binarise",
    "check_likelihood",
    "dequantise",
    "observe_each",
    "of_bytes",
    "shuffled",
]

BLOCK = 1024  # rows that are observed at once


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


def of_bytes(rows: Any, source: Any) -> Any:
    """Bytes / 256, exactly, as likelihoods of bytes have them: float32.

    Parameters
    ----------
    rows : array, shape (N, …), of NumPy or CuPy
        Bytes, or the same whole numbers as float32, which is what a GPU is sent.
    source : ignored

    Raises
    ------
    ValueError
        For other numbers, on the CPU, as in `binarise`.
    """
    _check_bytes(rows)
    return rows.astype(np.float32) * np.float32(1 / 256)


def dequantise(rows: Any, source: Any) -> Any:
    """(byte + u) / 256 with u uniform in [0, 1), anew on every call: for densities.

    u has 16 bits, so that float32 holds the sum exactly: no number reaches the next byte's, or 1.

    Parameters, errors and result are as for `of_bytes`, but for the source of u.

    Source: Theis, van den Oord and Bethge (2016), section 3.1.
    """
    _check_bytes(rows)
    noise = np.floor(source.uniform((1, *rows.shape))[0] * 2.0**16) * 2.0**-16
    return ((rows + noise) * (1 / 256)).astype(np.float32)


def _check_bytes(rows):
    if type(rows) is not np.ndarray or rows.dtype == np.uint8:
        return
    if not np.all((rows >= 0) & (rows <= 255) & (rows == np.floor(rows))):
        raise ValueError("only bytes, whole numbers from 0 to 255, can be observed as images")


class Dataset(NamedTuple):
    """Data in three parts, a data point a row.

    Attributes
    ----------
    name : str
        What `jvi.load_dataset` knows it by, if it does.
    train, validation, test : float32 or uint8 arrays of shape (N, …)
        Images have shape (N, rows * columns * channels), in this order; their pixels are in [0, 1]
        (float32), or bytes. Only `observe` turns rows into what models, measures and pictures take.
    image_shape : tuple of int, optional
        (rows, columns) of an image, or (rows, columns, channels) of one in colour.
    observe : callable
        From (rows, source of random numbers) to what a model sees, float32: `binarise`,
        `as_it_is`, `of_bytes` or `dequantise`.
    unit : Unit
        Of log-likelihoods.
    split : str
        How the parts were made.

    Examples
    --------
    >>> import jvi
    >>> digits = jvi.load_dataset("digits")
    >>> digits
    <data set digits: 1,297 training, 200 validation, 300 test rows of 8x8>
      observed: binarise
      log-likelihoods: nats
      split: shuffled by one permutation for ever
    """

    name: str
    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    image_shape: tuple[int, ...] | None = None
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


def check_likelihood(data: Dataset, link: Any) -> None:
    """Refuse bytes for a model of other data: it would take them for probabilities.

    Raises
    ------
    ValueError
        Naming both.
    """
    if data.observe is of_bytes and not getattr(link, "of_bytes", False):
        raise ValueError(
            f"{data.name} is of bytes, for which {link.spec.name} has no likelihood: choose one "
            "that has, as iaf-resnet"
        )


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

    Examples
    --------
    The test images as evaluate.py binarises them:

    >>> import jvi
    >>> data = jvi.load_dataset("digits")
    >>> x = jvi.datasets.observe_each(data, data.test, seed=0)
    >>> x.shape, sorted(set(x.ravel().tolist()))
    ((300, 64), [0.0, 1.0])
    """
    rows = np.asarray(rows)
    observed = np.empty(rows.shape, np.float32)
    for first in range(0, len(rows), BLOCK):
        part = rows[first : first + BLOCK]
        points = range(start + first, start + first + len(part))
        source = PointSource((seed, "binarisation"), points).part()
        observed[first : first + BLOCK] = data.observe(part, source)
    return observed
