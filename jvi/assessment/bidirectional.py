"""Bidirectional Monte Carlo: log p(x) of simulated data between two stochastic bounds.

Where z, then x was drawn from the model, z is an exact draw from p(z|x). Chains annealed backwards
from there have weights with E[1/w] = 1/p(x), hence an upper bound (Grosse et al. 2015).
"""

from typing import Any, NamedTuple

import chainer
import numpy as np

from jvi.assessment.annealing import ais, check_request
from jvi.assessment.block import SIMULATED
from jvi.assessment.evaluation import standard_error
from jvi.engine.random import PointSource
from jvi.evidence.arrays import host
from jvi.evidence.bounds import iwae
from jvi.models.protocol import tree

__all__ = ["Sandwich", "bdmc", "sandwich", "simulate"]


class Sandwich(NamedTuple):
    """Both ends of a bracket around log p(x) of simulated data, in nats.

    Attributes
    ----------
    lower, upper : numpy.ndarray, shape (N,), float64
        Stochastic bounds of each data point: in expectation they lie on either side.
    mean_lower, mean_upper, gap : float
        Averages over data points, and their difference.
    lower_error, upper_error, gap_error : float
        Standard errors of these over data points; nan for a single one.
    acceptance, step_size : float
        As in `AnnealedSamples`, averaged over data points and both ways.
    """

    lower: np.ndarray
    upper: np.ndarray
    mean_lower: float
    mean_upper: float
    gap: float
    lower_error: float
    upper_error: float
    gap_error: float
    acceptance: float
    step_size: float


def bdmc(
    model: Any,
    num_images: int = 100,
    num_chains: int = 16,
    num_temps: int = 3000,
    *,
    seed: int = 0,
    **options: Any,
) -> Sandwich:
    """Bidirectional Monte Carlo (Grosse et al. 2015) on images simulated from the model.

    Parameters
    ----------
    model : jvi.Model
    num_images : int
        N, how many to simulate.
    num_chains, num_temps, seed, **options
        As for `ais`.

    Raises
    ------
    ValueError
        As `ais` and `simulate`.
    """
    prior = options.get("prior", False)
    check_request(num_chains, num_temps, prior=prior, link=model.link)
    z, x = simulate(model, num_images, seed)
    return sandwich(model, z, x, num_chains, num_temps, seed=seed, **options)


def simulate(model: Any, num_images: int, seed: int = 0) -> tuple[Any, np.ndarray]:
    """z from the prior and x from p(x|z), binary or bytes, on the host.

    Returns
    -------
    z : array, shape (N, D), or tuple of such
    x : array, shape (N, …), float32

    Raises
    ------
    ValueError
        For no images, or a model that has no prior to draw from or whose x is neither.
    """
    if num_images < 1:
        raise ValueError(f"the number of images must be at least 1, not {num_images}")
    for capability in ("draw_prior", "mean"):
        model.require(capability, "simulation")
    points = range(num_images)
    source = PointSource((seed, "annealing noise", 0), points, (SIMULATED,), model.device)
    if getattr(model.link, "of_bytes", False):
        part = source.part()
        with chainer.no_backprop_mode():
            z = model.link.draw_prior(part, 1, num_images)
            x = host(model.link.draw_x(z, part))[0]
        return tree(lambda each: host(each)[0], z), x
    with chainer.no_backprop_mode():
        z = model.link.draw_prior(source.part(), 1, num_images)
        means = host(model.link.mean(z).array)[0]
    if ((means < 0) | (means > 1)).any():
        raise ValueError(f"simulation needs binary data, which {model.link.spec.name} is not for")
    uniform = np.stack([source.rng(0, i).random(means.shape[1:], np.float32) for i in points])
    return tree(lambda each: host(each)[0], z), (uniform < means).astype(np.float32)


def sandwich(
    model: Any, z: Any, x: Any, num_chains: int = 16, num_temps: int = 3000, **options: Any
) -> Sandwich:
    """Lower bounds from `ais`, upper bounds from chains annealed backwards from a true z.

    Parameters
    ----------
    model : jvi.Model
    z : array, shape (N, D), or tuple of such
        Exact draws from p(z|x), as they are where z, then x was drawn from the model.
    x : array, shape (N, …)
    num_chains, num_temps, **options
        As for `ais`.
    """
    forward = ais(model, x, num_chains, num_temps, **options)
    reverse = ais(model, x, num_chains, num_temps, reverse_from=z, **options)
    lower, upper = iwae(forward.log_w), -iwae(-reverse.log_w)
    ends = lower, upper, upper - lower
    means = [float(values.mean()) for values in ends]
    acceptance = float(np.mean([forward.acceptance, reverse.acceptance]))
    step_size = float(np.mean([forward.step_size, reverse.step_size]))
    return Sandwich(lower, upper, *means, *map(standard_error, ends), acceptance, step_size)
