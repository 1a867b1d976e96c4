"""Fashion-MNIST: articles of clothing in the form of MNIST."""

import hashlib
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jvi.compat.reading import read_file
from jvi.datasets import mnist
from jvi.datasets.dataset import Dataset
from jvi.datasets.fetch import obtain
from jvi.datasets.idx import parse_idx, unpacked

__all__ = ["load"]

MIRRORS = (
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
    "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion",
)


class File(NamedTuple):
    """An official file: name, number of images, and SHA-256 of it as it is published, gzipped."""

    name: str
    count: int
    sha256: str


TRAIN = File(
    "train-images-idx3-ubyte",
    60_000,
    "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
)
TEST = File(
    "t10k-images-idx3-ubyte",
    10_000,
    "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
)
ADVICE = (
    f"put {TRAIN.name}.gz and {TEST.name}.gz into FOLDER/fashion-mnist "
    "and name FOLDER by --data-dir or JVI_DATA"
)


def load(data_dir: str | Path | None = None) -> Dataset:
    """Load Fashion-MNIST: 50,000 training, 10,000 validation and 10,000 test images of 28 × 28.

    The validation images are the last 10,000 of the official training file, as for MNIST. The
    labels are not read. A download is checked by the SHA-256 of the published file. A local file
    may be unpacked, or packed anew: it must have the right sizes and must not be MNIST's, whose
    files have the same names.

    Parameters
    ----------
    data_dir : str or Path, optional
        A folder that holds `fashion-mnist/` with the two idx files of images, gzipped or not; else
        JVI_DATA; else they are downloaded once and cached.

    Returns
    -------
    Dataset

    Raises
    ------
    FileNotFoundError, ValueError
        As `jvi.load_dataset`; the second for MNIST's files, too.

    Source: Xiao, Rasul and Vollgraf (2017), arXiv 1708.07747.
    """
    images, test = _images(TRAIN, data_dir), _images(TEST, data_dir)
    parts = images[:-10_000], images[-10_000:], test
    split = "the last 10,000 of the official training images are for validation"
    return Dataset("fashion-mnist", *parts, (28, 28), split=split)


def _images(file, data_dir):
    """One file's images as float32 rows, from the user's folder or by way of the cache."""
    names = f"{file.name}.gz", file.name
    readers = partial(_read, file), ADVICE, partial(_read_published, file)
    return obtain(names, "fashion-mnist", data_dir, MIRRORS, *readers)


def _read_published(file, path):
    content = read_file(path, _most(file))
    if hashlib.sha256(content).hexdigest() != file.sha256:
        raise ValueError(f"{path} is not Fashion-MNIST's {file.name}.gz: its SHA-256 differs")
    return _parse(content, file, path)


def _read(file, path):
    return _parse(read_file(path, _most(file)), file, path)


def _most(file):
    """Bytes that a file may have; packing can make it longer by little."""
    return 2 * file.count * 784


def _parse(content, file, path):
    """The images of a file's content, packed or not, checked."""
    content = unpacked(content, path, 16 + file.count * 784)
    images = parse_idx(content, path)
    if images.shape != (file.count, 28, 28):
        needed = f"{file.count} images of 28 x 28"
        raise ValueError(f"{path} has sizes {list(images.shape)}, not {needed}")
    if hashlib.sha256(content).hexdigest() in (mnist.TRAIN.sha256, mnist.TEST.sha256):
        raise ValueError(f"{path} is MNIST's, not Fashion-MNIST's: {ADVICE}")
    return images.reshape(file.count, -1) / np.float32(255)
