"""From one density to another by way of temperatures: schedules, step sizes and weights."""

from collections.abc import Callable
from typing import Any

import numpy as np

from jvi.assessment.hmc import WARM_UP, Chains, Kernel, hmc, search_step_sizes
from jvi.compat.chainer7 import chainer
from jvi.engine.random import Source
from jvi.evidence.arrays import host

__all__ = ["SCHEDULES", "adapted_steps", "anneal", "tuning_transitions"]

# Temperatures b at the fractions s in [0, 1] of the way.
SCHEDULES: dict[str, Callable[[Any], Any]] = {
    "sigmoid": lambda s: 0.5 + 0.5 * np.tanh(2.0 * (2.0 * s - 1.0)) / np.tanh(2.0),
    "geometric": lambda s: np.expm1(np.log(1000.0) * s) / 999.0,
    "linear": lambda s: s,
}


def anneal(
    kernel: Kernel,
    chains: Chains,
    betas: np.ndarray,
    step_sizes: np.ndarray,
    source: Source,
    passed: Callable[[], None],
) -> tuple[np.ndarray, np.ndarray]:
    """Move chains through the temperatures, and weigh them.

    Parameters
    ----------
    kernel : Kernel
    chains : Chains
        At the first temperature.
    betas : array, shape (T + 1,)
        From 0 to 1, or from 1 to 0.
    step_sizes : array, shape (T + 1, N)
    source : jvi.engine.random.Source
    passed : callable
        Called after each transition.

    Returns
    -------
    log_w : numpy.ndarray, shape (K, N), float64
        Σ_t (b_t - b_{t-1}) [log f_1(z_{t-1}) - log f_0(z_{t-1})].
    acceptance : numpy.ndarray, shape (N,)
        Share of accepted transitions; nan where there were none.
    """
    xp = chainer.backend.get_array_module(chains.z)
    log_w, accepted = xp.zeros((2, *chains.log_f.shape[1:]))
    step_sizes = xp.asarray(step_sizes.astype(chains.z.dtype))
    for t in range(1, len(betas)):
        log_w += (betas[t] - betas[t - 1]) * (chains.log_f[1] - chains.log_f[0])
        if t < len(betas) - 1:  # what follows the last increment has no bearing on the weight
            chains, _, accept = hmc(kernel, chains, betas[t], step_sizes[t], source)
            accepted += accept
            passed()
    if len(betas) > 2:
        accepted /= len(betas) - 2
    else:
        accepted[...] = np.nan
    return host(log_w), host(accepted.mean(axis=0))


def tuning_transitions(num_temps: int) -> int:
    """How many the search for step sizes takes."""
    return WARM_UP + _tuning_temps(num_temps)


def _tuning_temps(num_temps):
    return max(100, num_temps // 10)


def adapted_steps(
    kernel: Kernel,
    chains: Chains,
    schedule: Callable[[Any], Any],
    num_temps: int,
    source: Source,
    passed: Callable[[], None],
) -> np.ndarray:
    """Step sizes for each temperature, shape (T + 1, N), by an annealing of their own.

    What depends on its random numbers is fixed before the real chains begin, whose weights are
    therefore exact.
    """
    temps = _tuning_temps(num_temps)
    betas = [float(schedule(np.float64(t / temps))) for t in range(temps)]
    path = host(search_step_sizes(kernel, chains, betas, source, passed))
    # At the same fractions of the way, whatever the number of temperatures there.
    where = np.arange(num_temps + 1) / num_temps * (temps - 1)
    below = np.minimum(where.astype(int), temps - 2)
    part = (where - below)[:, None]
    return np.exp((1 - part) * path[below] + part * path[below + 1])
