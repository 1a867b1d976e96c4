"""What every data set is once it is loaded."""

from typing import NamedTuple

import numpy as np

__all__ = ["Dataset"]


class Dataset(NamedTuple):
    """Grey images in three parts; pixels are in [0, 1] and not binarised.

    Attributes
    ----------
    name : str
        The name that `jvi.datasets.load` knows it by.
    train, validation, test : float32 arrays of shape (N, rows * columns)
        One image a row.
    image_shape : tuple of int
        (rows, columns) of an image.
    """

    name: str
    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    image_shape: tuple[int, int]
