"""Annealing of the chains of a block of data points, there or back."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from jvi.assessment.flat import densities, start
from jvi.assessment.hmc import Kernel
from jvi.assessment.temperatures import adapted_steps, anneal
from jvi.compat.chainer7 import chainer
from jvi.engine.random import PointSource

__all__ = ["FORWARD", "SIMULATED", "Settings", "annealed_block"]

# Streams of a data point.
TUNING, FORWARD, SIMULATED, REVERSE = range(4)


class Settings(NamedTuple):
    """Options of `jvi.assessment.annealing.ais`."""

    num_chains: int
    num_temps: int
    prior: bool
    sigma: float
    num_steps: int
    step_size: float | None
    schedule: Callable[[Any], Any]

    @property
    def tunes(self) -> bool:
        """Whether step sizes are to be found."""
        return self.step_size is None and self.num_temps > 1


def annealed_block(
    model: Any,
    x: Any,
    settings: Settings,
    key: tuple[int, int],
    first: int,
    passed: Callable[[], None],
    like: Any,
    end: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(log_w, acceptance, step_size) of the data points from `first` on, on the host.

    Parameters
    ----------
    model : jvi.Model
    x : array, shape (N, …)
        The block, checked by `model.images`.
    settings : Settings
    key : (seed, replication)
    first : int
        Number of the block's first data point in its data set.
    passed : callable
        Called after each transition.
    like : array, or tuple of arrays
        Any z, for its shapes.
    end : array, shape (N, D), or None
        Flat z that chains are annealed backwards from; -log_w are then the weights of that way.

    Raises
    ------
    ValueError
        For log-weights that are not finite.
    """
    num_points = model.link.num_points(x)
    source = partial(_source, model, key, range(first, first + num_points))
    with np.errstate(all="ignore"):  # a trajectory that overflows is rejected
        with chainer.no_backprop_mode():
            q = model.link.infer(x)
        chains_at = densities(model.link, x, q, settings.prior, like)
        kernel = Kernel(chains_at, settings.sigma, settings.num_steps)
        shape = settings.num_chains, num_points

        def begin(noise):
            return chains_at(start(model.link, q, noise.part(), shape, settings.prior))

        betas = settings.schedule(np.arange(settings.num_temps + 1) / settings.num_temps)
        steps = _step_sizes(kernel, begin, settings, source(TUNING), num_points, passed)
        if end is None:
            noise = source(FORWARD)
            chains = begin(noise)
        else:
            noise, betas, steps = source(REVERSE), betas[::-1], steps[::-1]
            chains = chains_at(_repeated(end, settings.num_chains, model.device))
        log_w, acceptance = anneal(kernel, chains, betas, steps, noise, passed)
    _check_finite(log_w, first)
    return log_w if end is None else -log_w, acceptance, steps.mean(axis=0)


def _source(model, key, points, purpose):
    """A stream of each data point's own, that its chains begin with and go on from."""
    seed, replication = key
    return PointSource((seed, "annealing noise", replication), points, (purpose,), model.device)


def _step_sizes(kernel, begin, settings, noise, num_points, passed):
    """Step sizes for each temperature, shape (T + 1, N), on the host."""
    num_temps = settings.num_temps
    if not settings.tunes:
        return np.full((num_temps + 1, num_points), settings.step_size or np.nan)
    return adapted_steps(kernel, begin(noise), settings.schedule, num_temps, noise, passed)


def _repeated(end, num_chains, device):
    return device.xp.stack([device.send(end)] * num_chains)


def _check_finite(log_w, first):
    bad = ~np.isfinite(log_w).all(axis=0)
    if bad.any():
        raise ValueError(
            f"image {first + int(bad.argmax())} has log-weights that are not finite: "
            "the model's parameters are damaged or its training diverged"
        )
