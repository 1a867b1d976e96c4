"""Data sets by name, from files, or of arrays."""

from pathlib import Path
from typing import Any

from jvi.datasets import cifar10, digits, fashion_mnist, grey, mnist, omniglot, static_mnist, toy
from jvi.datasets.dataset import (
    Dataset,
    as_it_is,
    binarise,
    dequantise,
    observe_each,
    of_bytes,
)
from jvi.datasets.files import ENDINGS, is_path, read_parts
from jvi.datasets.own import of_arrays
from jvi.evidence.unit import NATS, Unit, bits_per_dimension

__all__ = [
    "DATASETS",
    "NATS",
    "Dataset",
    "Unit",
    "as_dataset",
    "as_it_is",
    "binarise",
    "bits_per_dimension",
    "dequantise",
    "load",
    "observe_each",
    "of_arrays",
    "of_bytes",
]

DATASETS = {
    "digits": digits.load,
    "mnist": mnist.load,
    "omniglot": omniglot.load,
    "fashion-mnist": fashion_mnist.load,
    "static-mnist": static_mnist.load,
    "digits-grey": grey.digits_grey,
    "mnist-grey": grey.mnist_grey,
    "cifar10": cifar10.load,
    "cifar10-part": cifar10.load_part,
    "gaussian-toy": toy.gaussian_toy,
    "mixture": toy.mixture,
}


def load(name: str | Path, data_dir: str | Path | None = None) -> Dataset:
    """Load a data set.

    Parameters
    ----------
    name : str or Path
        A key of `DATASETS`, or a file of one's own: a Path, or a text that has a folder or an
        ending (.npz, .npy, .gz, .idx, -ubyte). So "mnist" never is a file, and "./mnist" always.

        A file is an .npz with the arrays `train` and, optionally, `validation` and `test`, or with
        one array; an .npy; or an idx file, gzipped or not. `of_arrays` says how arrays are observed
        and how a part that is missing is split off.
    data_dir : str or Path, optional
        For the keys of `DATASETS`, a folder of local files that holds a folder for each;
        without it, the environment variable JVI_DATA, and without that, the user's cache, which
        is filled by downloading.

    Returns
    -------
    Dataset

    Raises
    ------
    ValueError
        When `name` is unknown, or a file is damaged or not what its name says.
    FileNotFoundError
        When a folder or file is missing (and cannot be downloaded).

    Examples
    --------
    >>> import jvi
    >>> digits = jvi.load_dataset("digits")
    >>> digits.test.shape, digits.image_shape
    ((300, 64), (8, 8))
    """
    if is_path(name):
        path = Path(name).expanduser()
        return of_arrays(**read_parts(path), name=str(path))
    if name not in DATASETS:
        raise ValueError(
            f"unknown data set {name!r}: choose one of {', '.join(DATASETS)}, or name a file with "
            f"its ending ({', '.join(ENDINGS)}) or folder (./{name})"
        )
    return DATASETS[name](data_dir)


def as_dataset(data: Any) -> Dataset:
    """A `Dataset` itself, what `load` makes of a name or path, or `of_arrays` of an array."""
    if isinstance(data, Dataset):
        return data
    return load(data) if isinstance(data, str | Path) else of_arrays(data)
