"""Annealed importance sampling by Hamiltonian Monte Carlo, and bidirectional Monte Carlo.

Between a start, q(z|x) or the prior, and the joint p(x, z) lie the densities (docs/ais.md)

    log f_b(z) = (1 - b) log f_0(z) + b log p(x, z),        0 = b_0 < b_1 < .. < b_T = 1,

and a chain from the start that moves by a kernel which leaves f_b_t alone has the log-weight

    log w = Σ_{t=1}^T (b_t - b_{t-1}) [log p(x, z_{t-1}) - log f_0(z_{t-1})],    E[w] = p(x).

z has shape (K, N, D): K chains for each of N data points, all moved in one call.
"""

import math
from concurrent.futures import CancelledError
from typing import Any, NamedTuple

import chainer
import numpy as np
from tqdm import tqdm

from jvi import backend
from jvi.bounds import effective_sample_size, iwae
from jvi.diagnostics import pareto_k
from jvi.evaluation import sampling_error, standard_error, summarise

__all__ = [
    "SCHEDULES",
    "AnnealedSamples",
    "Sandwich",
    "ais",
    "bdmc",
    "check_request",
    "evaluations",
    "sandwich",
    "simulate",
]

ACCEPTANCE = 0.65  # that step sizes aim at (Neal 2011, section 5.4.4.3)
FIRST_STEP = 0.1  # where the search for a step size begins
WARM_UP = 50  # transitions of that search before its annealing begins
MAX_ROWS = 2**16  # chains moved in one call: 1.5 GB on a GPU at the paper's sizes

# Streams of a data point.
TUNING, FORWARD, SIMULATED, REVERSE = range(4)

# Temperatures b at the fractions s in [0, 1] of the way.
SCHEDULES = {
    "sigmoid": lambda s: 0.5 + 0.5 * np.tanh(2.0 * (2.0 * s - 1.0)) / np.tanh(2.0),
    "geometric": lambda s: np.expm1(np.log(1000.0) * s) / 999.0,
    "linear": lambda s: s,
}


class AnnealedSamples(NamedTuple):
    """Weights of annealed chains.

    Attributes
    ----------
    log_w : numpy.ndarray, shape (K, N), float64
        In nats; `jvi.iwae` of it is the estimate of log p(x), below it on average.
    acceptance : numpy.ndarray, shape (N,)
        Share of accepted transitions; nan where there were none.
    step_size : numpy.ndarray, shape (N,)
        Of the leapfrog integrator, averaged over temperatures.
    """

    log_w: np.ndarray
    acceptance: np.ndarray
    step_size: np.ndarray


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


class Chains(NamedTuple):
    """Where the chains are: (log f_0, log p(x, z)) of shape (2, K, N), and derivatives by z."""

    z: Any  # (K, N, D)
    log_f: Any  # (2, K, N), float64
    grad: Any  # (2, K, N, D)


class Kernel(NamedTuple):
    """Hamiltonian Monte Carlo on the densities of one block of data points."""

    chains_at: Any  # from z to `Chains`
    sigma: float  # standard deviation of the momentum, so its mass is sigma²
    num_steps: int  # of the leapfrog integrator


def ais(
    model,
    x,
    num_chains=16,
    num_temps=3000,
    *,
    prior=False,
    sigma=1.0,
    num_steps=10,
    step_size=None,
    schedule="sigmoid",
    seed=0,
    replication=0,
    progress=False,
    reverse_from=None,
):
    """Log-weights of annealed importance sampling (Neal 2001) for each data point.

    Step sizes are found beforehand, for each data point and temperature, by a shorter annealing
    whose chains are thrown away. Each data point has random streams of its own. Memory is bounded
    by blocks of data points whose size only depends on K: trajectories amplify rounding errors,
    so other blocks would give the same distribution of results, but not the same numbers.

    Parameters
    ----------
    model : jvi.Model
    x : array, shape (N, pixels)
    num_chains : int
        K, chains per data point.
    num_temps : int
        T, increments of the temperature. With 1 this is plain importance sampling.
    prior : bool
        Start from the prior instead of q(z|x).
    sigma : float
        Standard deviation of the momentum.
    num_steps : int
        Leapfrog steps per transition.
    step_size : float, optional
        For all data points and temperatures, instead of the adapted ones.
    schedule : str
        Of the temperatures: "sigmoid" (Wu et al. 2017, section 4), "geometric" (increments grow by
        a constant ratio, a thousandfold in all) or "linear".
    seed, replication : int
        Select the noise.
    progress : bool
        Show a progress bar after two seconds.
    reverse_from : array, shape (N, D), optional
        Exact draws from p(z|x): anneal from them back to the start, and return the log-weights of
        that way with the opposite sign. Then E[1/w] = 1/p(x).

    Returns
    -------
    AnnealedSamples

    Raises
    ------
    ValueError
        For impossible numbers, images that do not fit the model, or non-finite log-weights.
    """
    check_request(num_chains, num_temps, sigma, num_steps, step_size, schedule)
    if len(x) == 0:
        raise ValueError("there are no images to evaluate")
    x = model.images(x)
    if reverse_from is not None and reverse_from.shape != (len(x), model.num_latent):
        expected = f"({len(x)}, {model.num_latent})"
        raise ValueError(f"reverse_from has shape {reverse_from.shape}, it should be {expected}")
    schedule = SCHEDULES[schedule]
    settings = _Settings(num_chains, num_temps, prior, sigma, num_steps, step_size, schedule)
    rows = min(MAX_ROWS, backend.rows_at_once(model.device))
    block = max(1, rows // num_chains)

    def samples(first):
        part = slice(first, min(first + block, len(x)))
        end = None if reverse_from is None else reverse_from[part]
        return _block(model, x[part], settings, (seed, replication), first, bar, end)

    transitions = len(x) * (num_temps - 1 + _tuning_transitions(settings))
    with tqdm(total=transitions, unit="step", disable=None if progress else True, delay=2) as bar:
        parts = list(backend.parallel_map(samples, range(0, len(x), block), model.device))
    return AnnealedSamples(
        *(np.concatenate(values, axis=-1) for values in zip(*parts, strict=True))
    )


def evaluations(model, x, sample_counts, num_temps=3000, **options):
    """Estimates "ais" of log p(x) from the first K chains, for each K: a list of `Evaluation`.

    Parameters
    ----------
    model : jvi.Model
    x : array, shape (N, pixels)
    sample_counts : list of int
        Values of K, numbers of chains. All chains of an image share its step sizes, so fewer chains
        in a run of their own are others.
    num_temps, **options
        As for `ais`.
    """
    samples = ais(model, x, max(sample_counts), num_temps, **options)
    return [_evaluation(samples, num_chains) for num_chains in sample_counts]


def _evaluation(samples, num_chains):
    log_w = samples.log_w[:num_chains]
    per_image = {
        "ess": effective_sample_size(log_w),
        "ais": iwae(log_w),
        "ais_error": sampling_error(iwae, log_w),
        "pareto_k": pareto_k(log_w),
        "acceptance": samples.acceptance,
        "step_size": samples.step_size,
    }
    return summarise(per_image, ("ais",), num_chains)


def bdmc(model, num_images=100, num_chains=16, num_temps=3000, *, seed=0, **options):
    """Bidirectional Monte Carlo (Grosse et al. 2015) on images simulated from the model.

    Parameters
    ----------
    model : jvi.Model
    num_images : int
        N, how many to simulate.
    num_chains, num_temps, seed, **options
        As for `ais`.

    Returns
    -------
    Sandwich
    """
    z, x = simulate(model, num_images, seed)
    return sandwich(model, z, x, num_chains, num_temps, seed=seed, **options)


def simulate(model, num_images, seed=0):
    """z (N, D) from the prior and binary x (N, pixels) from p(x|z), arrays on the host."""
    if num_images < 1:
        raise ValueError(f"the number of images must be at least 1, not {num_images}")
    rngs = [backend.stream(seed, "annealing noise", 0, i, SIMULATED) for i in range(num_images)]
    z = np.stack([rng.standard_normal(model.num_latent, np.float32) for rng in rngs])
    uniform = np.stack([rng.random(model.num_pixels, np.float32) for rng in rngs])
    return z, (uniform < backend.to_host(model.decode(z))).astype(np.float32)


def sandwich(model, z, x, num_chains=16, num_temps=3000, **options):
    """Lower bounds from `ais`, upper bounds from chains annealed backwards from a true z.

    Parameters
    ----------
    model : jvi.Model
    z : array, shape (N, D)
        Exact draws from p(z|x), as they are where z, then x was drawn from the model.
    x : array, shape (N, pixels)
    num_chains, num_temps, **options
        As for `ais`.

    Returns
    -------
    Sandwich
    """
    forward = ais(model, x, num_chains, num_temps, **options)
    reverse = ais(model, x, num_chains, num_temps, reverse_from=z, **options)
    lower, upper = iwae(forward.log_w), -iwae(-reverse.log_w)
    ends = lower, upper, upper - lower
    means = [float(values.mean()) for values in ends]
    acceptance = float(np.mean([forward.acceptance, reverse.acceptance]))
    step_size = float(np.mean([forward.step_size, reverse.step_size]))
    return Sandwich(lower, upper, *means, *map(standard_error, ends), acceptance, step_size)


class _Settings(NamedTuple):
    num_chains: int
    num_temps: int
    prior: bool
    sigma: float
    num_steps: int
    step_size: float | None
    schedule: Any


def check_request(
    num_chains=16, num_temps=3000, sigma=1.0, num_steps=10, step_size=None, schedule="sigmoid"
):
    """Raise ValueError, in one line, for a request that `ais` cannot meet."""
    counts = {
        "number of chains": num_chains,
        "number of temperatures": num_temps,
        "number of leapfrog steps": num_steps,
    }
    for name, value in counts.items():
        if value < 1:
            raise ValueError(f"the {name} must be at least 1, not {value}")
    for name, value in {"sigma": sigma, "step size": step_size}.items():
        if value is not None and not 0 < value < math.inf:
            raise ValueError(f"the {name} must be positive, not {value}")
    if schedule not in SCHEDULES:
        raise ValueError(f"unknown schedule {schedule!r}: choose from {', '.join(SCHEDULES)}")


def _tuning_transitions(settings):
    """How many the search for step sizes takes."""
    wanted = settings.step_size is None and settings.num_temps > 1
    return WARM_UP + _tuning_temps(settings.num_temps) if wanted else 0


def _tuning_temps(num_temps):
    return max(100, num_temps // 10)


def _block(model, x, settings, key, first, bar, end):
    """(log_w, acceptance, step_size) of the data points from `first` on, on the host."""
    with np.errstate(all="ignore"):  # a trajectory that overflows is rejected
        with chainer.no_backprop_mode():
            q = model.link.posterior(x)
        chains_at = _densities(model.link, x, q, settings.prior)
        kernel = Kernel(chains_at, settings.sigma, settings.num_steps)

        def noise(purpose):
            return _Noise(model, settings.num_chains, key, range(first, first + len(x)), purpose)

        def begin(source):
            eps = source.normals()
            with chainer.no_backprop_mode():
                return kernel.chains_at(eps if settings.prior else model.link.sample(q, eps).array)

        betas = settings.schedule(np.arange(settings.num_temps + 1) / settings.num_temps)
        source = noise(TUNING)
        steps = _step_sizes(kernel, begin(source), settings, source, bar)
        if end is None:
            source = noise(FORWARD)
            chains = begin(source)
        else:
            source, betas, steps = noise(REVERSE), betas[::-1], steps[::-1]
            end = model.device.send(np.asarray(end, np.float32))
            chains = kernel.chains_at(model.device.xp.stack([end] * settings.num_chains))
        log_w, acceptance = _anneal(kernel, chains, betas, steps, source, bar)
    bad = ~np.isfinite(log_w).all(axis=0)
    if bad.any():
        raise ValueError(
            f"image {first + int(bad.argmax())} has log-weights that are not finite: "
            "the model's parameters are damaged or its training diverged"
        )
    return log_w if end is None else -log_w, acceptance, steps.mean(axis=0)


class _Noise:
    """Random numbers of a block, from a stream for each data point, on the model's device."""

    def __init__(self, model, num_chains, key, points, purpose):
        seed, replication = key
        self.shape, self.device = (num_chains, model.num_latent), model.device
        self.rngs = [
            backend.stream(seed, "annealing noise", replication, point, purpose) for point in points
        ]

    def normals(self, extra=0):
        """Standard normal float32, shape (K, N, D + extra)."""
        num_chains, num_latent = self.shape
        noise = np.empty((len(self.rngs), num_chains, num_latent + extra), np.float32)
        for rng, out in zip(self.rngs, noise, strict=True):
            rng.standard_normal(dtype=np.float32, out=out)
        return self.device.send(noise.transpose(1, 0, 2))

    def transition(self):
        """Noise for the momentum (K, N, D), and log of uniform numbers (K, N)."""
        noise = self.normals(extra=2)
        # Half the square of two normals is exponentially distributed, as -log(uniform) is.
        return noise[..., :-2], -0.5 * (noise[..., -2:].astype(np.float64) ** 2).sum(axis=-1)


def _densities(link, x, q, prior):
    """The function from z, (K, N, D), to `Chains`; leaves the parameters' gradients alone."""

    def chains_at(z):
        with chainer.using_config("enable_backprop", True):
            at = chainer.Variable(z)
            log_pz = link.log_pz(at)
            start = log_pz if prior else link.log_qz(q, at)
            both = start, link.log_px(x, at) + log_pz
            grads = [chainer.grad([log_f], [at])[0].array for log_f in both]
        xp = chainer.backend.get_array_module(z)
        log_f = xp.stack([log_f.array for log_f in both]).astype(np.float64)
        return Chains(z, log_f, xp.stack(grads))

    return chains_at


def _anneal(kernel, chains, betas, step_sizes, noise, bar):
    """log_w (K, N) and acceptance rate (N,), on the host; -log_w where betas fall from 1 to 0."""
    xp = noise.device.xp
    log_w = xp.zeros(chains.log_f.shape[1:])
    accepted = xp.zeros(chains.log_f.shape[1:])
    step_sizes = noise.device.send(step_sizes.astype(chains.z.dtype))
    for t in range(1, len(betas)):
        log_w += (betas[t] - betas[t - 1]) * (chains.log_f[1] - chains.log_f[0])
        if t < len(betas) - 1:  # what follows the last increment has no bearing on the weight
            chains, _, accept = hmc(kernel, chains, betas[t], step_sizes[t], noise)
            accepted += accept
            _advance(bar, log_w.shape[1])
    if len(betas) > 2:
        accepted /= len(betas) - 2
    else:
        accepted[...] = np.nan
    return backend.to_host(log_w), backend.to_host(accepted.mean(axis=0))


def _step_sizes(kernel, chains, settings, noise, bar):
    """Step sizes for each temperature, shape (T + 1, N), on the host.

    A Robbins-Monro search for the acceptance rate wanted, during some transitions at the start and
    then an annealing of its own. What depends on its random numbers is fixed before the real
    chains begin, whose weights are therefore exact.
    """
    num_temps, num_points = settings.num_temps, chains.z.shape[1]
    if not _tuning_transitions(settings):
        return np.full((num_temps + 1, num_points), settings.step_size or np.nan)
    xp = noise.device.xp
    log_step = xp.full(num_points, math.log(FIRST_STEP * settings.sigma), chains.z.dtype)
    temps = _tuning_temps(num_temps)
    path = []
    for t in range(-WARM_UP, temps):
        rate = 0.3 + 0.7 * max(0.0, -t / WARM_UP)
        beta = float(settings.schedule(np.float64(max(0, t) / temps)))
        chains, probability, _ = hmc(kernel, chains, beta, xp.exp(log_step), noise)
        log_step = log_step + rate * (probability.mean(axis=0) - ACCEPTANCE).astype(log_step.dtype)
        if t >= 0:
            path.append(log_step)
        _advance(bar, num_points)
    path = backend.to_host(xp.stack(path))
    # At the same fractions of the way, whatever the number of temperatures there.
    where = np.arange(num_temps + 1) / num_temps * (temps - 1)
    below = np.minimum(where.astype(int), temps - 2)
    part = (where - below)[:, None]
    return np.exp((1 - part) * path[below] + part * path[below + 1])


def hmc(kernel, chains, beta, step_size, noise):
    """One transition of Hamiltonian Monte Carlo that leaves f_beta invariant (Neal 2011).

    Parameters
    ----------
    kernel : Kernel
    chains : Chains
    beta : float
    step_size : array, shape (N,)
    noise : object
        Its `transition()` gives standard normal numbers (K, N, D) and log-uniform ones (K, N).

    Returns
    -------
    Chains
    probability : array, shape (K, N)
        Of acceptance, float64.
    accept : array of bool, shape (K, N)
    """
    xp = chainer.backend.get_array_module(chains.z)
    normals, log_uniform = noise.transition()
    momentum = kernel.sigma * normals
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


def leapfrog(kernel, chains, momentum, beta, step_size):
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
    """Of quantities at the start and at the joint density, that of f_beta."""
    beta = float(beta)  # no NumPy scalar, which would turn float32 into float64
    return (1.0 - beta) * pair[0] + beta * pair[1]


def _advance(bar, count):
    """Count a transition of so many data points; the last one where another block has failed."""
    if backend.stopped():
        raise CancelledError("another block has failed or was interrupted")
    with bar.get_lock():  # blocks run in threads
        bar.update(count)
