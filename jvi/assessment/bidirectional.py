"""Bidirectional Monte Carlo: log p(x) of simulated data between two stochastic bounds.

Where z, then x was drawn from the model, z is an exact draw from p(z|x). Chains annealed backwards
from there have weights with E[1/w] = 1/p(x), hence an upper bound (Grosse et al. 2015).
"""

from typing import Any, NamedTuple

import numpy as np

from jvi.assessment.annealing import ais, check_request
from jvi.assessment.block import SIMULATED
from jvi.assessment.estimates import standard_error
from jvi.compat.chainer7 import chainer
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

    Examples
    --------
    >>> import numpy as np
    >>> import jvi
    >>> rng = np.random.default_rng(0)
    >>> model = jvi.model("gaussian-toy", jvi.dataset(rng.standard_normal((20, 2))))
    >>> z, x = np.zeros((2, 3, 2))
    >>> found = jvi.ais.sandwich(model, z, x, num_chains=4, num_temps=1)
    >>> found.lower.shape, found.upper.shape
    ((3,), (3,))
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
    num_chains, num_temps, seed : int
        As for `ais`.
    **options
        As for `ais`.

    Returns
    -------
    Sandwich

    Raises
    ------
    ValueError
        As `ais` and `simulate`.

    Examples
    --------
    >>> import numpy as np
    >>> import jvi
    >>> model = jvi.model("mlp:hidden=4,latent=2", jvi.dataset(np.eye(9)))
    >>> found = jvi.ais.bdmc(model, num_images=20, num_temps=5, step_size=0.5)
    >>> found.gap < 0.5
    True
    """
    prior = options.get("prior", False)
    check_request(num_chains, num_temps, prior=prior, link=model.link)
    z, x = simulate(model, num_images, seed)
    return sandwich(model, z, x, num_chains, num_temps, seed=seed, **options)


def simulate(model: Any, num_images: int, seed: int = 0) -> tuple[Any, np.ndarray]:
    """z from the prior and x from p(x|z), binary or bytes, on the host.

    Parameters
    ----------
    model : jvi.Model
    num_images : int
        N, how many to simulate.
    seed : int
        Of the draws.

    Returns
    -------
    z : array, shape (N, D), or tuple of such
    x : array, shape (N, …), float32

    Raises
    ------
    ValueError
        For no images, or a model that has no prior to draw from or whose x is neither.

    Examples
    --------
    >>> import numpy as np
    >>> import jvi
    >>> model = jvi.model("mlp:hidden=4,latent=2", jvi.dataset(np.eye(9)))
    >>> z, x = jvi.ais.simulate(model, 5)
    >>> z.shape, x.shape
    ((5, 2), (5, 9))
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
        Observed data points.
    num_chains, num_temps : int
        As for `ais`.
    **options
        As for `ais`.

    Returns
    -------
    Sandwich

    Raises
    ------
    ValueError
        As `ais`.

    Examples
    --------
    >>> import numpy as np
    >>> import jvi
    >>> rng = np.random.default_rng(0)
    >>> model = jvi.model("gaussian-toy", jvi.dataset(rng.standard_normal((20, 2))))
    >>> x = rng.normal(0.0, 2**0.5, (20, 2))  # p(x) = N(0, 2 I), p(z|x) = N(x / 2, I / 2)
    >>> z = rng.normal(x / 2, 0.5**0.5)
    >>> found = jvi.ais.sandwich(model, z, x, num_temps=10, step_size=1.0)
    >>> exact = model.link.log_evidence(x).mean()
    >>> bool(found.mean_lower - 0.1 < exact < found.mean_upper + 0.1)
    True
    """
    forward = ais(model, x, num_chains, num_temps, **options)
    reverse = ais(model, x, num_chains, num_temps, reverse_from=z, **options)
    lower, upper = iwae(forward.log_w), -iwae(-reverse.log_w)
    ends = lower, upper, upper - lower
    means = [float(values.mean()) for values in ends]
    acceptance = float(np.mean([forward.acceptance, reverse.acceptance]))
    step_size = float(np.mean([forward.step_size, reverse.step_size]))
    return Sandwich(lower, upper, *means, *map(standard_error, ends), acceptance, step_size)
