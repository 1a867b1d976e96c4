"""The 8 × 8 handwritten digits that scikit-learn contains: for demonstrations, no download."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np

from jvi.compat.reading import present
from jvi.datasets.dataset import Dataset, shuffled

__all__ = ["load"]


def load(data_dir: str | Path | None = None) -> Dataset:
    """Load the digits: 1,297 training, 200 validation and 300 test images.

    The file is ordered by writer, so the images are shuffled first, by one permutation for ever:
    all parts have all classes and the same writers (no writer is held out).

    Parameters
    ----------
    data_dir : ignored
        The images come with scikit-learn.

    Returns
    -------
    Dataset

    Source: the test part of Alpaydin and Kaynak (1998), Optical Recognition of Handwritten Digits.
    """
    images = shuffled(_pixels().astype(np.float32) / 16)
    parts = images[:1297], images[1297:1497], images[1497:]
    return Dataset("digits", *parts, (8, 8), split="shuffled by one permutation for ever")


def _pixels():
    """Of scikit-learn's file: to import it all takes longer than to train a small model.

    Values 0 to 16, shape (1797, 64).
    """
    (folder,) = find_spec("sklearn").submodule_search_locations
    path = Path(folder, "datasets", "data", "digits.csv.gz")
    if present(path):
        return np.loadtxt(path, delimiter=",")[:, :-1]
    from sklearn.datasets import load_digits  # which knows where another version has it

    return load_digits().data
