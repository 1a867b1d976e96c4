"""Units in which evidence is told beside nats."""

import math
from typing import Any, NamedTuple

__all__ = ["NATS", "Unit", "bits_per_dimension"]


class Unit(NamedTuple):
    """What log-likelihoods of a data set are told in: nats * factor + offset.

    A negative factor means that lower is better, as for `bits_per_dimension`.
    """

    name: str
    factor: float = 1.0
    offset: float = 0.0

    def value(self, nats: Any) -> Any:
        """A log-likelihood in this unit."""
        return nats * self.factor + self.offset

    def difference(self, nats: Any) -> Any:
        """Of two log-likelihoods, the difference of their values."""
        return nats * self.factor

    def error(self, nats: Any) -> Any:
        """A standard error or half a width, which has no sign."""
        return nats * abs(self.factor)


NATS = Unit("nats")


def bits_per_dimension(num_dims: int, dequantised: bool = False) -> Unit:
    """-log₂ p(x) / D of D bytes, positive: how long a lossless code of a byte is, on average.

    Parameters
    ----------
    num_dims : int
        D, of a row: rows * columns * channels.
    dequantised : bool
        Whether log p(x) is a density of (byte + u) / 256, as `jvi.datasets.dequantise` makes it,
        not the probability of the bytes: 256 cells to a unit make 8 bits more. The density bounds
        the probability: log P(x) ≥ E_u[log p] - D log 256 (Theis et al. 2016, section 3.1).
    """
    return Unit("bits/dim", -1 / (num_dims * math.log(2)), 8.0 if dequantised else 0.0)
