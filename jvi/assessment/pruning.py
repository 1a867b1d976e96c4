"""Weights that a Bayesian network can do without (Blundell et al. 2015, section 5.4).

A weight whose mean is small beside its standard deviation says little. Those with the smallest
|mean| / sigma are set to zero, mean and deviation alike: for good, and in every draw.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jvi.assessment.calibration import Score, scores
from jvi.assessment.predictive import predict
from jvi.evidence.arrays import host
from jvi.models.model import Model

__all__ = ["SHARES", "Pruned", "prune", "pruning_curve", "signal_to_noise"]

SHARES = 0.0, 0.5, 0.75, 0.95, 0.98  # of table 2

# Of a weight that is gone: a standard deviation of 4e-31, no digit of any sum.
GONE = -70.0


class Pruned(NamedTuple):
    """A network without a share of its weights.

    Attributes
    ----------
    share : float
    num_weights : int
        That are left, biases among them.
    scores : dict of str to jvi.assessment.calibration.Score
    """

    share: float
    num_weights: int
    scores: dict[str, Score]


def signal_to_noise(model: Any) -> np.ndarray:
    """|mean| / sigma of each weight, (P,), float64; zero of those that are gone."""
    mean, sigma = (host(each).astype(np.float64) for each in _link(model).posterior())
    return np.abs(mean) / np.maximum(sigma, np.finfo(np.float32).tiny)


def prune(model: Any, share: float) -> Model:
    """A copy without the share of weights that say least; of equal ones the first go.

    Parameters
    ----------
    model : jvi.Model or chainer.Link
        A Bayesian network.
    share : float
        From 0 to 1, of all weights and biases.

    Raises
    ------
    ValueError
        For another share, or another kind of model.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"the share of weights to prune must be from 0 to 1, not {share:g}")
    order = np.argsort(signal_to_noise(model), kind="stable")
    gone = order[: round(share * len(order))]
    link = _link(model).copy(mode="copy")
    for parameter, value in ((link.mu, 0.0), (link.rho, GONE)):
        values = host(parameter.array).copy()
        values[gone] = value
        parameter.array = link.device.send(values)
    return Model(link, *_place(model))


def pruning_curve(
    model: Any, features: Any, targets: Any, shares: Sequence[float] = SHARES, **options: Any
) -> list[Pruned]:
    """Scores of predictions against the share of weights that are gone (figure 4, table 2).

    Parameters
    ----------
    model, features, targets, **options
        As for `jvi.assessment.predictive.predict`; all shares see the same noise.
    shares : sequence of float

    Raises
    ------
    ValueError
        As `prune` and `predict`.
    """
    count = len(signal_to_noise(model))
    return [
        Pruned(
            float(share),
            count - round(share * count),
            scores(predict(prune(model, share), features, targets, **options), targets),
        )
        for share in shares
    ]


def _link(model):
    link = model.link if isinstance(model, Model) else model
    if not hasattr(link, "posterior"):
        raise ValueError(f"{link.spec.name} has no distribution of weights to prune by")
    return link


def _place(model):
    """Device and meta data of a copy."""
    if not isinstance(model, Model):
        return ()
    number = getattr(getattr(model.device, "device", None), "id", -1)
    return number, dict(model.meta)
