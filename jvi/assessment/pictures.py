"""The images of a page on a model, as far as its data and the model have any."""

from typing import Any

import numpy as np

from jvi.engine.random import stream
from jvi.evidence.arrays import host

__all__ = ["Pictures"]


class Pictures:
    """Of images x, shape (N, …), and a model.

    Attributes
    ----------
    shape : tuple of int or None
        Of an image; None of data that are none.
    decoded : numpy.ndarray, shape (N, pixels), or None
        The reconstructions, where the model can make some.
    """

    def __init__(self, model: Any, x: np.ndarray, shape: tuple[int, ...] | None) -> None:
        self.model, self.x, self.shape = model, x, shape
        self.decoded = host(model.reconstruct(x)) if self.can("mean", "typical") else None

    def can(self, *capabilities: str) -> bool:
        """Whether there can be pictures that need these of the model."""
        return self.shape is not None and all(hasattr(self.model.link, c) for c in capabilities)

    def prior(self, count: int, seed: int) -> np.ndarray | None:
        """Samples from the prior, shape (count, pixels), where the model can draw them."""
        if not self.can("mean", "draw_prior"):
            return None
        return host(self.model.sample_prior(count, stream(seed, "pictures")))
