"""The 8 × 8 handwritten digits that scikit-learn contains: for demonstrations, no download."""

import numpy as np

from jvi.datasets.dataset import Dataset

__all__ = ["load"]


def load(data_dir=None):
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

    images = load_digits().data.astype(np.float32) / 16
    # Raw output is the one thing of a generator that NumPy promises never to change.
    images = images[np.argsort(np.random.PCG64(0).random_raw(len(images)))]
    return Dataset("digits", images[:1297], images[1297:1497], images[1497:], (8, 8))
