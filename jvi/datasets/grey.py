"""Digits as grey images: the bytes themselves, for likelihoods of bytes, in bits per dimension."""

import math
from pathlib import Path

import numpy as np

from jvi.datasets import digits, mnist
from jvi.datasets.dataset import Dataset, of_bytes
from jvi.evidence.unit import bits_per_dimension

__all__ = ["digits_grey", "mnist_grey"]


def digits_grey(data_dir: str | Path | None = None) -> Dataset:
    """The images of `jvi.datasets.digits`, their 17 grey values spread over the bytes 0 to 255.

    Returns
    -------
    Dataset
        Of 1,297, 200 and 300 rows of 8 × 8 bytes.
    """
    return _in_grey(digits.load(data_dir))


def mnist_grey(data_dir: str | Path | None = None) -> Dataset:
    """The images of `jvi.datasets.mnist` as they are published, 28 × 28 bytes, in the same parts.

    Parameters
    ----------
    data_dir : str or Path, optional
        As for `jvi.datasets.mnist.load`, with the same folder `mnist/`; it raises the same errors.
    """
    return _in_grey(mnist.load(data_dir))


def _in_grey(data):
    """A data set of pixels in [0, 1] with the bytes nearest to 255 times these."""
    parts = {part: _bytes(getattr(data, part)) for part in ("train", "validation", "test")}
    unit = bits_per_dimension(math.prod(data.image_shape))
    return data._replace(name=f"{data.name}-grey", **parts, observe=of_bytes, unit=unit)


def _bytes(rows):
    return np.rint(rows * np.float32(255)).astype(np.uint8)
