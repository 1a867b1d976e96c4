"""The regression toy of Blundell et al. (2015), Figure 5: a curve known on half of an interval."""

import numpy as np
from scipy.special import ndtri

from jvi.datasets.csv_table import Table, of_columns

__all__ = ["blundell_curve"]

ROWS, LAST, NOISE = 1000, 0.5, 0.02


def blundell_curve(num_rows: int = ROWS) -> Table:
    """y = x + 0.3 sin(2π(x + ε)) + 0.3 sin(4π(x + ε)) + ε with ε ~ N(0, 0.02²), x in [0, 0.5].

    Section 5.2 of the paper, which says neither how many points there are nor where: here x is
    uniform. They are drawn by a fixed seed.
    """
    raw = np.random.PCG64(2015).random_raw(2 * num_rows)  # NumPy promises never to change it
    x, noise = (((raw >> np.uint64(12)) + 0.5) / 2**52).reshape(2, num_rows)
    x, noise = LAST * x, NOISE * ndtri(noise)
    waves = np.sin(2 * np.pi * (x + noise)) + np.sin(4 * np.pi * (x + noise))
    return of_columns(x[:, None], x + 0.3 * waves + noise, "blundell-curve", ["x"], "y")
