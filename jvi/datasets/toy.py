"""Data drawn from the models of two papers, by seeds that never change."""

from pathlib import Path

import numpy as np
from scipy.special import ndtri

from jvi.datasets.dataset import Dataset, as_it_is
from jvi.models.mixture import SCALE, SPACING, true_prior

__all__ = ["gaussian_toy", "mixture"]

DIM = 20
COMPONENTS = 20


def gaussian_toy(data_dir: str | Path | None = None) -> Dataset:
    """Load Rainforth's toy data: 1,024 rows of 20 numbers in each part.

    x ~ N(mu, 2 I) with mu ~ N(0, I), as in section 4 of Rainforth et al. (2018), who have training
    data only.

    Parameters
    ----------
    data_dir : ignored
        The data are drawn, by a fixed seed.

    Returns
    -------
    Dataset
    """
    rng, size = np.random.PCG64(2018), 1024
    mu = _normal(rng, (1, DIM))
    rows = (mu + 2**0.5 * _normal(rng, (3 * size, DIM))).astype(np.float32)
    split = "drawn alike"
    return Dataset("gaussian-toy", *np.split(rows, 3), observe=as_it_is, split=split)


def mixture(data_dir: str | Path | None = None) -> Dataset:
    """Load data of a mixture of 20 Gaussians: 100,000, 1,000 and 1,000 rows of one number.

    x ~ N(10 c, 5²), where c = 0 … 19 has a probability in proportion to c + 5, as in section 6.2
    of Le et al. (2019). There data are drawn anew at every step of training, 100 of them; here
    100,000 steps see every row 100 times.

    Parameters
    ----------
    data_dir : ignored
        The data are drawn, by a fixed seed.

    Returns
    -------
    Dataset
    """
    rng, sizes = np.random.PCG64(2019), (100_000, 1_000, 1_000)
    count = sum(sizes)
    component = np.searchsorted(np.cumsum(true_prior(COMPONENTS))[:-1], _uniform(rng, count))
    rows = SPACING * component[:, None] + SCALE * _normal(rng, (count, 1))
    parts = np.split(rows.astype(np.float32), np.cumsum(sizes)[:-1])
    return Dataset("mixture", *parts, observe=as_it_is, split="drawn alike")


def _uniform(rng, shape):
    """Numbers between 0 and 1, neither of which occurs."""
    # Raw output is the one thing of a generator that NumPy promises never to change.
    raw = rng.random_raw(int(np.prod(shape))).reshape(shape)
    return ((raw >> np.uint64(12)) + 0.5) / 2**52


def _normal(rng, shape):
    return ndtri(_uniform(rng, shape))
