"""What share of the divergence each minibatch pays, where all data have one latent in common.

With F = KL(q | p) - Σ_rows E log p(row|z) and M batches to an epoch, batch i has the loss

    F_i = π_i KL(q | p) - Σ_{rows of the batch} E log p(row|z),        Σ_i π_i = 1,

so that ΣF_i = F, gradient and all, however the rows fall into batches (Blundell et al. 2015,
section 3.4). To the step π_i is the weight "kl" of log p(z) - log q(z).
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from jvi.training.annealed import KL

__all__ = ["SCHEMES", "Reweighted", "kl_weights", "reweighted"]


def _blundell(num_batches):
    """π_i = 2^(M-i) / (2^M - 1) = 2^-i / (1 - 2^-M): the first batches follow the prior most."""
    return np.ldexp(1.0, -np.arange(1, num_batches + 1)) / -np.expm1(-num_batches * np.log(2.0))


def _uniform(num_batches):
    """π_i = 1 / M (Graves 2011)."""
    return np.full(num_batches, 1.0 / num_batches)


SCHEMES: dict[str, Callable[[int], np.ndarray]] = {"blundell": _blundell, "uniform": _uniform}


def kl_weights(scheme: str, num_batches: int) -> np.ndarray:
    """π_1, …, π_M, shape (M,), float64, that sum to 1.

    Parameters
    ----------
    scheme : str
        A key of `SCHEMES`.
    num_batches : int
        M. Beyond 1,074 the last of "blundell" are zero, as no float is as small.

    Raises
    ------
    ValueError
        For an unknown scheme, or no batches.
    """
    if scheme not in SCHEMES:
        raise ValueError(f"unknown weighting {scheme!r}: choose from {', '.join(SCHEMES)}")
    if num_batches < 1:
        raise ValueError(f"the number of batches must be at least 1, not {num_batches}")
    return SCHEMES[scheme](num_batches)


class Reweighted(NamedTuple):
    """The weight "kl" at every step, an entry of `Objective.annealed`; made by `reweighted`.

    A data set that is no multiple of the batch has batches with rows of two epochs: each belongs to
    the epoch that it begins in, whose number of batches M then is one of two.

    Attributes
    ----------
    scheme : str
    num_rows, batch_size : int
        Of the training data.
    """

    scheme: str
    num_rows: int
    batch_size: int

    @property
    def option(self) -> str:
        """What it is the value of."""
        return KL

    @property
    def start(self) -> float:
        """π_1 of the first epoch."""
        return self.at(0.0)

    @property
    def end(self) -> float:
        """1: of validation data, which are one batch."""
        return 1.0

    def at(self, epoch: float) -> float:
        """π_i of the batch that begins after so many epochs, whole or not."""
        iteration = round(epoch * self.num_rows / self.batch_size)
        number = iteration * self.batch_size // self.num_rows
        first, last = (-(-n * self.num_rows // self.batch_size) for n in (number, number + 1))
        return float(kl_weights(self.scheme, last - first)[iteration - first])

    def __str__(self) -> str:
        return f"{KL}={self.scheme}"


def reweighted(scheme: str, num_rows: int, batch_size: int) -> Reweighted:
    """`Reweighted`, checked.

    Raises
    ------
    ValueError
        For an unknown scheme, impossible sizes, or so many batches that some would be without any
        weight.
    """
    if num_rows < 1 or batch_size < 1:
        raise ValueError(f"no batches of {batch_size} can be made of {num_rows} rows")
    size = min(batch_size, num_rows)
    batches = -(-num_rows // size)
    if kl_weights(scheme, batches)[-1] == 0:
        raise ValueError(
            f"{batches:,} batches are more than {scheme!r} has weights for, as 2^-{batches} is no "
            "float: make batches larger, or choose uniform"
        )
    return Reweighted(scheme, num_rows, size)
