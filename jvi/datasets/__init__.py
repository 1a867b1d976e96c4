"""Data sets by name, and the binarisation of their images.

>>> from jvi import datasets
>>> digits = datasets.load("digits")
>>> digits.test.shape, digits.image_shape
((300, 64), (8, 8))
"""

import numpy as np

from jvi.backend import stream
from jvi.datasets import digits, mnist, omniglot
from jvi.datasets.dataset import Dataset

__all__ = ["DATASETS", "Dataset", "binarise", "binarise_each", "check_pixels", "load"]

DATASETS = {"digits": digits.load, "mnist": mnist.load, "omniglot": omniglot.load}


def load(name, data_dir=None):
    """Load a data set.

    Parameters
    ----------
    name : str
        A key of `DATASETS`.
    data_dir : str or Path, optional
        A folder of local files that holds `mnist/`, `omniglot/`; without it, the environment
        variable JVI_DATA, and without that, the user's cache, which is filled by downloading.

    Returns
    -------
    Dataset

    Raises
    ------
    ValueError
        When `name` is unknown, or a file is damaged or not what its name says.
    FileNotFoundError
        When a folder or file is missing (and cannot be downloaded).
    """
    if name not in DATASETS:
        raise ValueError(f"unknown data set {name!r}: choose one of {', '.join(DATASETS)}")
    return DATASETS[name](data_dir)


def binarise(images, rng):
    """Draw every pixel from the Bernoulli distribution that its grey value is the mean of.

    Called on every batch anew, this is the dynamic binarisation of Burda et al. (2016), section 5.

    Parameters
    ----------
    images : array of any shape
        Pixels in [0, 1].
    rng : numpy.random.Generator

    Returns
    -------
    float32 array of the same shape, every pixel 0 or 1.

    Raises
    ------
    ValueError
        When a pixel is outside [0, 1].
    """
    images = np.asarray(images)
    check_pixels(images)
    return (rng.random(images.shape) < images).astype(np.float32)


def check_pixels(images):
    """Raise ValueError for images that cannot be binarised."""
    if not np.all((images >= 0) & (images <= 1)):
        raise ValueError("only pixels in [0, 1] can be binarised")


def binarise_each(images, seed, start=0):
    """Draw fixed binary images: image i only ever depends on its pixels, its index and the seed.

    Parameters
    ----------
    images : array of shape (N, ...)
        Pixels in [0, 1] of the images number start, start + 1, … of their data set.
    seed : int
    start : int
        Index of the first image, so that batches give what the whole would.

    Returns
    -------
    float32 array of the same shape, every pixel 0 or 1.

    Raises
    ------
    ValueError
        When a pixel is outside [0, 1].
    """
    binary = np.empty(np.shape(images), np.float32)
    for i, image in enumerate(images):
        binary[i] = binarise(image, stream(seed, "binarisation", start + i))
    return binary
