"""MNIST with its labels, for classification."""

import hashlib
from functools import partial
from pathlib import Path

import numpy as np

from jvi.datasets import mnist
from jvi.datasets.dataset import Dataset, as_it_is
from jvi.datasets.fetch import obtain
from jvi.datasets.idx import parse_idx, read_bounded
from jvi.datasets.tabular import CLASSIFICATION, Scaling, Tabular

__all__ = ["labelled_mnist"]

TRAIN = mnist.File(
    "train-labels-idx1-ubyte",
    8 + 60_000,
    "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
)
TEST = mnist.File(
    "t10k-labels-idx1-ubyte",
    8 + 10_000,
    "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
)
ADVICE = (
    f"put {TRAIN.name}.gz and {TEST.name}.gz beside the images in FOLDER/mnist "
    "and name FOLDER by --data-dir or JVI_DATA"
)

# By what Blundell et al. (2015), section 5.1, divide pixels from 0 to 255.
DIVISOR = 126.0


def labelled_mnist(data_dir: str | Path | None = None) -> Tabular:
    """MNIST's images, pixels divided by 126, and their digits in the last column.

    Parameters
    ----------
    data_dir : str or Path, optional
        As for `jvi.datasets.mnist.load`; the two idx files of labels lie beside those of images.

    Returns
    -------
    Tabular
        Split as by `jvi.datasets.mnist.load`.

    Raises
    ------
    FileNotFoundError, ValueError
        As `jvi.datasets.mnist.load`.
    """
    labels = np.concatenate([_labels(file, data_dir) for file in (TRAIN, TEST)])
    images = mnist.load(data_dir)
    parts = images.train, images.validation, images.test
    known = np.split(labels, [50_000, 60_000])
    train, validation, test = map(_with, parts, known)
    data = Dataset("mnist", train, validation, test, observe=as_it_is, split=images.split)
    pixels = images.train.shape[1]
    scaling = Scaling(np.zeros(pixels), np.full(pixels, DIVISOR))
    names = tuple(f"pixel{number}" for number in range(pixels))
    return Tabular(data, scaling, CLASSIFICATION, tuple("0123456789"), names, "digit")


def _with(images, labels):
    rows = np.empty((len(images), images.shape[1] + 1), np.float32)
    np.multiply(images, 255 / DIVISOR, out=rows[:, :-1])
    rows[:, -1] = labels
    return rows


def _labels(file, data_dir):
    names = f"{file.name}.gz", file.name
    return obtain(names, "mnist", data_dir, mnist.MIRRORS, partial(_read, file), ADVICE)


def _read(file, path):
    """The labels of `path`, which must have exactly the content of the official `file`."""
    content = read_bounded(path, file.length)
    labels = parse_idx(content, path)
    if hashlib.sha256(content).hexdigest() != file.sha256:
        raise ValueError(f"{path} is not MNIST's {file.name}: the SHA-256 of its content differs")
    return labels
