"""The 8 × 8 handwritten digits that scikit-learn contains: for demonstrations, no download."""

from pathlib import Path

import numpy as np

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
    from sklearn.datasets import load_digits

    images = shuffled(load_digits().data.astype(np.float32) / 16)
    parts = images[:1297], images[1297:1497], images[1497:]
    return Dataset("digits", *parts, (8, 8), split="shuffled by one permutation for ever")
