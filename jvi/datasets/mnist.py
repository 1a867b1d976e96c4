"""MNIST, checked against the official content whichever way the files came."""

import hashlib
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jvi.datasets.dataset import Dataset
from jvi.datasets.fetch import obtain
from jvi.datasets.idx import parse_idx, read_bounded

__all__ = ["load"]

MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist",
    "https://storage.googleapis.com/cvdf-datasets/mnist",
    "https://raw.githubusercontent.com/fgnt/mnist/master",
)


class File(NamedTuple):
    """An official file: name, length and SHA-256 in hexadecimal, all of the unpacked content."""

    name: str
    length: int
    sha256: str


TRAIN = File(
    "train-images-idx3-ubyte",
    16 + 60_000 * 784,
    "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
)
TEST = File(
    "t10k-images-idx3-ubyte",
    16 + 10_000 * 784,
    "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
)
ADVICE = (
    f"put {TRAIN.name}.gz and {TEST.name}.gz into FOLDER/mnist "
    "and name FOLDER by --data-dir or JVI_DATA"
)


def load(data_dir: str | Path | None = None) -> Dataset:
    """Load MNIST: 50,000 training, 10,000 validation and 10,000 test images of 28 × 28.

    The validation images are the last 10,000 of the official training file, as in Nowozin (2018).
    The labels are not read.

    Parameters
    ----------
    data_dir : str or Path, optional
        A folder that holds `mnist/` with the two idx files of images, gzipped or not (where both
        are, their content is the same: it is checked); else JVI_DATA; else they are downloaded
        once and cached.

    Returns
    -------
    Dataset

    Raises
    ------
    FileNotFoundError, ValueError
        As `jvi.load_dataset`.
    """
    images, test = _images(TRAIN, data_dir), _images(TEST, data_dir)
    parts = images[:-10_000], images[-10_000:], test
    split = "the last 10,000 of the official training images are for validation"
    return Dataset("mnist", *parts, (28, 28), split=split)


def _images(file, data_dir):
    """One file's images as float32 rows, from the user's folder or by way of the cache."""
    names = f"{file.name}.gz", file.name
    return obtain(names, "mnist", data_dir, MIRRORS, partial(_read, file), ADVICE)


def _read(file, path):
    """The images of `path`, which must have exactly the content of the official `file`."""
    content = read_bounded(path, file.length)
    images = parse_idx(content, path)
    if hashlib.sha256(content).hexdigest() != file.sha256:
        raise ValueError(f"{path} is not MNIST's {file.name}: the SHA-256 of its content differs")
    return images.reshape(len(images), -1) / np.float32(255)
