"""MNIST binarised once and for all, as text files of zeros and ones."""

import hashlib
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jvi.compat.reading import read_file
from jvi.datasets.dataset import Dataset, as_it_is
from jvi.datasets.fetch import obtain

__all__ = ["load"]

MIRRORS = (
    "https://www.cs.toronto.edu/~larocheh/public/datasets/binarized_mnist",
    "http://www.cs.toronto.edu/~larocheh/public/datasets/binarized_mnist",
)

PIXELS = 784
LINE = 2 * PIXELS  # bytes: a digit, and a space or the end of the line
BLOCK = 4096  # lines that are looked at at once


class File(NamedTuple):
    """A published file: name, number of images, and SHA-256 in hexadecimal."""

    name: str
    count: int
    sha256: str


FILES = (
    File(
        "binarized_mnist_train.amat",
        50_000,
        "ad693b29f94c14277b095f5238ddefbbdaaae0939789dd2f4f0205278cee3e4d",
    ),
    File(
        "binarized_mnist_valid.amat",
        10_000,
        "1de3d397c40fe8eeb33dafd4099a1f665ec01e96d9be234aaeeac8a34930e2e2",
    ),
    File(
        "binarized_mnist_test.amat",
        10_000,
        "e6687bfea3f820c174f33b7865140b2a2dd2930ef786f35d45795fc193b5ab2c",
    ),
)
ADVICE = (
    "put binarized_mnist_train.amat, …_valid.amat and …_test.amat into FOLDER/static-mnist "
    "and name FOLDER by --data-dir or JVI_DATA"
)


def load(data_dir: str | Path | None = None) -> Dataset:
    """Load MNIST's fixed binarisation: 50,000, 10,000 and 10,000 images of 28 × 28 zeros and ones.

    Log-likelihoods must not be compared with those of `mnist`, whose pixels are drawn anew.

    Parameters
    ----------
    data_dir : str or Path, optional
        A folder that holds `static-mnist/` with the three files; else JVI_DATA; else they are
        downloaded once and cached.

    Returns
    -------
    Dataset

    Raises
    ------
    FileNotFoundError, ValueError
        As `jvi.load_dataset`.

    Source: Larochelle and Murray (2011), The neural autoregressive distribution estimator; the
    binarisation is that of Salakhutdinov and Murray (2008).
    """
    parts = [_images(file, data_dir) for file in FILES]
    return Dataset("static-mnist", *parts, (28, 28), as_it_is, split="the published files")


def _images(file, data_dir):
    """One file's images as float32 rows, from the user's folder or by way of the cache."""
    read = partial(_read, file)
    return obtain([file.name], "static-mnist", data_dir, MIRRORS, read, ADVICE)


def _read(file, path):
    """The images of `path`, which must have exactly the content of the published `file`."""
    size = file.count * LINE
    content = read_file(path, 2 * size)
    if len(content) != size:
        expected = f"{size} of {file.count} lines of {PIXELS} digits"
        raise ValueError(f"{path} has {len(content)} bytes, not the {expected}")
    images = np.empty((file.count, PIXELS), np.float32)
    lines = np.frombuffer(content, np.uint8).reshape(file.count, LINE)
    for start in range(0, file.count, BLOCK):
        part = lines[start : start + BLOCK]
        _check(part, path, start)
        images[start : start + BLOCK] = part[:, ::2] & 1
    if hashlib.sha256(content).hexdigest() != file.sha256:
        raise ValueError(f"{path} is not the published {file.name}: its SHA-256 differs")
    return images


def _check(lines, path, start):
    """Refuse anything but zeros and ones, spaces between them and an end of the line."""
    good = ((lines[:, ::2] | 1) == ord("1")).all(axis=1)
    good &= (lines[:, 1:-1:2] == ord(" ")).all(axis=1) & (lines[:, -1] == ord("\n"))
    if not good.all():
        raise ValueError(
            f"{path}: line {start + int(good.argmin()) + 1} should be {PIXELS} zeros and ones "
            "with spaces between them"
        )
