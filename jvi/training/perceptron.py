"""Ordinary perceptrons, with dropout or without: what Bayesian networks are compared with."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import chainer
import chainer.functions as F
import numpy as np

from jvi.engine.random import stream
from jvi.engine.threads import parallel_map
from jvi.models.layers import Affine
from jvi.training.optimizers import optimizer_for

__all__ = ["Perceptron", "error_of", "fitted"]

BLOCK = 2048  # rows that are predicted at once


class Perceptron(chainer.Chain):
    """ReLU layers and the logits of classes.

    Parameters
    ----------
    sizes : sequence of int
        Features, units of each hidden layer, classes.
    rng : numpy.random.Generator
        Source of the initial weights (He's).
    dropout : float
        Share of the hidden units that a training step leaves out (Srivastava et al. 2014).
    """

    def __init__(self, sizes, rng, dropout=0.0):
        super().__init__()
        self.dropout = dropout
        pairs = list(pairwise(sizes))
        with self.init_scope():
            self.layers = chainer.ChainList(*(Affine(*pair, rng, gain=2.0) for pair in pairs))

    def forward(self, features, rng=None):
        """Logits, (B, classes); with `rng`, the source of what is dropped, as in training."""
        h = features
        for number, layer in enumerate(self.layers):
            if number:
                h = F.relu(h)
                if rng is not None and self.dropout:
                    kept = rng.random(h.shape, np.float32) >= self.dropout
                    h = h * (kept.astype(np.float32) / (1 - self.dropout))
            h = layer(h)
        return h


def fitted(
    link: Perceptron, rows: Any, optimizer: str, lr: float, batch_size: int, epochs: int, seed: int
) -> Iterator[int]:
    """Train on rows of features and a class's number; yields after each epoch, its number.

    The loss is the mean cross entropy. Order and dropout depend on (seed, epoch) alone.
    """
    updates = optimizer_for(optimizer, lr, link, clip=0)
    for epoch in range(epochs):
        order = stream(seed, "order", epoch).permutation(len(rows))
        rng = stream(seed, "training noise", epoch)
        for start in range(0, len(rows) - batch_size + 1, batch_size):
            part = rows[order[start : start + batch_size]]
            link.cleargrads()
            logits = link(part[:, :-1], rng)
            F.softmax_cross_entropy(logits, part[:, -1].astype(np.int32)).backward()
            updates.update()
        yield epoch + 1


def error_of(link: Perceptron, rows: Any) -> np.ndarray:
    """Whether each row's class is mistaken: array of bool, (B,)."""

    def mistaken(start):
        part = rows[start : start + BLOCK]
        with chainer.no_backprop_mode():
            logits = link(part[:, :-1]).array
        return logits.argmax(axis=1) != part[:, -1]

    starts = range(0, len(rows), BLOCK)
    return np.concatenate(list(parallel_map(mistaken, starts, link.device)))
