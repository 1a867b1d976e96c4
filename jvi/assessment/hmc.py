"""Hamiltonian Monte Carlo on the densities between two ends (Neal 2011).

Of a start f_0 and an end f_1, neither of which need be normalised, it leaves

    log f_b(z) = (1 - b) log f_0(z) + b log f_1(z),        0 ≤ b ≤ 1,

alone. z has shape (K, N, D): K chains for each of N data points, all moved in one call.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from jvi.compat.chainer7 import chainer
from jvi.engine.random import Source

__all__ = ["WARM_UP", "Chains", "Kernel", "hmc", "leapfrog", "search_step_sizes"]

ACCEPTANCE = 0.65  # that step sizes aim at (Neal 2011, section 5.4.4.3)
FIRST_STEP = 0.1  # where the search for a step size begins
WARM_UP = 50  # transitions of that search before it goes through the densities


class Chains(NamedTuple):
    """Where the chains are: (log f_0, log f_1) of shape (2, K, N), and derivatives by z."""

    z: Any  # (K, N, D)
    log_f: Any  # (2, K, N), float64
    grad: Any  # (2, K, N, D)


class Kernel(NamedTuple):
    """Hamiltonian Monte Carlo on the densities of one block of data points."""

    chains_at: Callable[[Any], Chains]  # of z
    sigma: float  # standard deviation of the momentum, so its mass is sigma²
    num_steps: int  # of the leapfrog integrator


def hmc(
    kernel: Kernel, chains: Chains, beta: float, step_size: Any, source: Source
) -> tuple[Chains, Any, Any]:
    """One transition that leaves f_beta invariant.

    Parameters
    ----------
    kernel : Kernel
    chains : Chains
    beta : float
    step_size : array, shape (N,)
    source : jvi.engine.random.Source
        Asked for normal numbers of shape (K, N, D + 2): the momentum, and two to accept by.

    Returns
    -------
    Chains
    probability : array, shape (K, N)
        Of acceptance, float64.
    accept : array of bool, shape (K, N)
    """
    xp = chainer.backend.get_array_module(chains.z)
    noise = source.normal((*chains.z.shape[:-1], chains.z.shape[-1] + 2))
    momentum = kernel.sigma * noise[..., :-2]
    # Half the square of two normals is exponentially distributed, as -log(uniform) is.
    log_uniform = -0.5 * (noise[..., -2:].astype(np.float64) ** 2).sum(axis=-1)
    end, end_momentum = leapfrog(kernel, chains, momentum, beta, step_size)
    log_ratio = _energy(kernel, chains, momentum, beta) - _energy(kernel, end, end_momentum, beta)
    log_ratio = xp.where(xp.isnan(log_ratio), -np.inf, log_ratio)
    accept = log_uniform < log_ratio
    moved = Chains(
        xp.where(accept[:, :, None], end.z, chains.z),
        xp.where(accept, end.log_f, chains.log_f),
        xp.where(accept[:, :, None], end.grad, chains.grad),
    )
    return moved, xp.exp(xp.minimum(log_ratio, 0.0)), accept


def leapfrog(
    kernel: Kernel, chains: Chains, momentum: Any, beta: float, step_size: Any
) -> tuple[Chains, Any]:
    """(chains, momentum) after `num_steps` steps of size h along the Hamiltonian's flow.

    Each is p += h/2 ∇log f_beta(z), z += h p / sigma², p += h/2 ∇log f_beta(z): reversible in
    time and volume-preserving, with an error of the energy of O(h²).
    """
    h = step_size[:, None]
    for _ in range(kernel.num_steps):
        momentum = momentum + 0.5 * h * _between(beta, chains.grad)
        chains = kernel.chains_at(chains.z + h / kernel.sigma**2 * momentum)
        momentum = momentum + 0.5 * h * _between(beta, chains.grad)
    return chains, momentum


def _energy(kernel, chains, momentum, beta):
    kinetic = 0.5 * (momentum.astype(np.float64) ** 2).sum(axis=-1) / kernel.sigma**2
    return kinetic - _between(beta, chains.log_f)


def _between(beta, pair):
    """Of quantities at the two ends, that of f_beta."""
    beta = float(beta)  # no NumPy scalar, which would turn float32 into float64
    return (1.0 - beta) * pair[0] + beta * pair[1]


def search_step_sizes(
    kernel: Kernel,
    chains: Chains,
    betas: Sequence[float],
    source: Source,
    passed: Callable[[], None],
) -> Any:
    """Logarithms of step sizes that have 65% of the moves accepted, array (len(betas), N).

    A Robbins-Monro search (1951), during `WARM_UP` transitions on the first density, then one on
    each. `passed` is called after each transition.
    """
    xp = chainer.backend.get_array_module(chains.z)
    first = math.log(FIRST_STEP * kernel.sigma)
    log_step = xp.full(chains.z.shape[1], first, chains.z.dtype)
    path = []
    for t in range(-WARM_UP, len(betas)):
        rate = 0.3 + 0.7 * max(0.0, -t / WARM_UP)
        chains, probability, _ = hmc(kernel, chains, betas[max(0, t)], xp.exp(log_step), source)
        log_step = log_step + rate * (probability.mean(axis=0) - ACCEPTANCE).astype(log_step.dtype)
        if t >= 0:
            path.append(log_step)
        passed()
    return xp.stack(path)
