"""Annealed importance sampling (Neal 2001) by Hamiltonian Monte Carlo.

Between a start, q(z|x) or the prior, and the joint p(x, z) lie the densities (docs/ais.md) ::

    log f_b(z) = (1 - b) log f_0(z) + b log p(x, z),        0 = b_0 < b_1 < .. < b_T = 1,

and a chain from the start that moves by a kernel which leaves f_b_t alone has the log-weight ::

    log w = Σ_{t=1}^T (b_t - b_{t-1}) [log p(x, z_{t-1}) - log f_0(z_{t-1})],    E[w] = p(x).
"""

import math
from collections.abc import Iterable
from concurrent.futures import CancelledError
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from jvi.assessment.block import Settings, annealed_block
from jvi.assessment.estimates import STARTS, Evaluation, sampling_error, summarise
from jvi.assessment.evaluation import agree
from jvi.assessment.flat import flatten, leaves
from jvi.assessment.temperatures import SCHEDULES, tuning_transitions
from jvi.compat.chainer7 import chainer
from jvi.engine.devices import rows_at_once
from jvi.engine.random import PointSource
from jvi.engine.ranks import ranks
from jvi.engine.threads import parallel_map, stopped
from jvi.evidence.arrays import host
from jvi.evidence.bounds import effective_sample_size, iwae
from jvi.evidence.diagnostics import pareto_k
from jvi.models.protocol import LatentVariableModel, lacking, points

__all__ = ["STARTS", "AnnealedSamples", "ais", "check_request", "evaluations"]

MAX_ROWS = 2**16  # chains moved in one call: 1.5 GB on a GPU at the paper's sizes


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

    Examples
    --------
    >>> import numpy as np
    >>> import jvi
    >>> rng = np.random.default_rng(0)
    >>> model = jvi.model("gaussian-toy", jvi.dataset(rng.standard_normal((20, 2))))
    >>> samples = jvi.ais.ais(model, np.zeros((3, 2)), num_chains=4, num_temps=1)
    >>> samples.log_w.shape, samples.acceptance  # with one temperature no chain moves
    ((4, 3), array([nan, nan, nan]))
    """

    log_w: np.ndarray
    acceptance: np.ndarray
    step_size: np.ndarray


def ais(
    model: Any,
    x: Any,
    num_chains: int = 16,
    num_temps: int = 3000,
    *,
    prior: bool = False,
    sigma: float = 1.0,
    num_steps: int = 10,
    step_size: float | None = None,
    schedule: str = "sigmoid",
    seed: int = 0,
    replication: int = 0,
    progress: bool = False,
    reverse_from: Any = None,
) -> AnnealedSamples:
    """Log-weights of annealed importance sampling for each data point.

    Step sizes are found beforehand, for each data point and temperature, by a shorter annealing
    whose chains are thrown away. Each data point has random streams of its own. Memory is bounded
    by blocks of data points whose size only depends on K: trajectories amplify rounding errors,
    so other blocks would give the same distribution of results, but not the same numbers.

    Parameters
    ----------
    model : jvi.Model
        Its z must be continuous; the start must have a density and draws.
    x : array, shape (N, …)
        Observed data points.
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
    reverse_from : array, shape (N, D), or tuple of such, optional
        Exact draws from p(z|x): anneal from them back to the start, and return the log-weights of
        that way with the opposite sign. Then E[1/w] = 1/p(x).

    Returns
    -------
    AnnealedSamples

    Raises
    ------
    ValueError
        For impossible numbers, a model that cannot be annealed, data that do not fit it, or
        non-finite log-weights.

    Examples
    --------
    >>> import numpy as np
    >>> import jvi
    >>> rng = np.random.default_rng(0)
    >>> model = jvi.model("gaussian-toy", jvi.dataset(rng.standard_normal((20, 2))))
    >>> samples = jvi.ais.ais(model, np.zeros((1, 2)), num_temps=20, step_size=1.0)
    >>> exact = -np.log(4 * np.pi)  # x = 0, and p(x) = N(0, 2 I)
    >>> bool(abs(jvi.iwae(samples.log_w)[0] - exact) < 0.1)
    True
    """
    check_request(num_chains, num_temps, sigma, num_steps, step_size, schedule, prior, model.link)
    if len(x) == 0:
        raise ValueError("there are no images to evaluate")
    x = model.images(x)
    like, num_points = _any_z(model, x), model.link.num_points(x)
    ends = None if reverse_from is None else _checked_ends(reverse_from, like, num_points)
    schedule = SCHEDULES[schedule]
    settings = Settings(num_chains, num_temps, prior, sigma, num_steps, step_size, schedule)
    rows = min(MAX_ROWS, rows_at_once(model.device, model.link))
    block = max(1, rows // num_chains)

    def samples(first):
        part = slice(first, min(first + block, num_points))
        end = None if ends is None else ends[part]
        passed = partial(_advance, bar, part.stop - first)
        of_part = points(model.link, x, part)
        return annealed_block(
            model, of_part, settings, (seed, replication), first, passed, like, end
        )

    each = num_temps - 1 + (tuning_transitions(num_temps) if settings.tunes else 0)
    agree(model, x, *settings[:-1], schedule.__name__, seed, replication, ends)
    starts = range(0, num_points, block)
    own = starts[ranks().share(len(starts))]
    steps = sum(min(block, num_points - start) for start in own) * each
    with tqdm(total=steps, unit="step", disable=None if progress else True, delay=2) as bar:
        parts = ranks().gather(lambda: list(parallel_map(samples, own, model.device)))
    return AnnealedSamples(
        *(np.concatenate(values, axis=-1) for values in zip(*parts, strict=True))
    )


def evaluations(
    model: Any,
    x: Any,
    sample_counts: Iterable[int],
    num_temps: int = 3000,
    *,
    prior: bool = False,
    **options: Any,
) -> list[Evaluation]:
    """Estimates of log p(x) from the first K chains, for each K: "ais", from the prior "ais-prior".

    Parameters
    ----------
    model : jvi.Model
    x : array, shape (N, …)
        Observed data points.
    sample_counts : iterable of int
        Values of K, numbers of chains. All chains of an image share its step sizes, so fewer chains
        in a run of their own are others.
    num_temps : int
        As for `ais`.
    prior : bool
        As for `ais`.
    **options
        As for `ais`.

    Returns
    -------
    list of Evaluation
        With their log-weights.

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
    >>> found = jvi.ais.evaluations(model, np.zeros((3, 2)), [2, 4], num_temps=1)
    >>> [(each.num_samples, each.log_w.shape, *each.mean) for each in found]
    [(2, (2, 3), 'ais'), (4, (4, 3), 'ais')]
    """
    sample_counts = list(sample_counts)
    samples = ais(model, x, max(sample_counts), num_temps, prior=prior, **options)
    name = next(name for name, start in STARTS.items() if start == prior)
    return [_evaluation(samples, name, num_chains) for num_chains in sample_counts]


def _evaluation(samples, name, num_chains):
    log_w = samples.log_w[:num_chains]
    per_image = {
        "ess": effective_sample_size(log_w),
        name: iwae(log_w),
        f"{name}_error": sampling_error(iwae, log_w),
        "pareto_k": pareto_k(log_w),
        "acceptance": samples.acceptance,
        "step_size": samples.step_size,
    }
    return summarise(per_image, (name,), num_chains, log_w)


def check_request(
    num_chains: int = 16,
    num_temps: int = 3000,
    sigma: float = 1.0,
    num_steps: int = 10,
    step_size: float | None = None,
    schedule: str = "sigmoid",
    prior: bool = False,
    link: LatentVariableModel | None = None,
) -> None:
    """Refuse what `ais` cannot do, or not with this model, before any work.

    Parameters
    ----------
    num_chains, num_temps : int
        As for `ais`, like all that follow.
    sigma : float
    num_steps : int
    step_size : float, optional
    schedule : str
    prior : bool
    link : jvi.models.LatentVariableModel, optional
        The model.

    Raises
    ------
    ValueError
        Saying what cannot be.

    Examples
    --------
    >>> import jvi
    >>> jvi.ais.check_request(num_chains=0)
    Traceback (most recent call last):
    ValueError: the number of chains must be at least 1, not 0
    """
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
    problem = _problem(link, prior) if link is not None else None
    if problem:
        raise ValueError(problem)


def _problem(link, prior):
    """Why a model cannot be annealed from this start, or None."""
    if not link.reparameterised:
        return f"annealing needs continuous latents, which {link.spec.name} does not have"
    if prior:
        problem, other = lacking(link, "draw_prior", "annealing from the prior"), "q(z|x)"
    else:
        problem, other = lacking(link, "log_q", "annealing from q(z|x)"), "the prior"
    return problem and f"{problem}: start from {other}"


def _any_z(model, x):
    """z of one sample of one data point, for its shapes."""
    source = PointSource((0, "annealing noise"), [0], device=model.device)
    with chainer.no_backprop_mode(), np.errstate(all="ignore"):
        return model.link.draw(model.link.infer(x[:1]), source.part(), 1)[0]


def _checked_ends(z, like, num_points):
    """Where reverse chains begin, on the host: (N, D) float32."""
    arrays = [np.asarray(host(each), np.float32) for each in leaves(z)]
    shapes = [each.shape for each in arrays]
    expected = [(num_points, *each.shape[2:]) for each in leaves(like)]
    if shapes != expected:
        given, wanted = (", ".join(map(str, each)) for each in (shapes, expected))
        raise ValueError(f"reverse_from has shape {given}, it should be {wanted}")
    return flatten(arrays, lead=1)


def _advance(bar, count):
    """Count a transition of so many data points; the last one where another block has failed."""
    if stopped():
        raise CancelledError("another block has failed or was interrupted")
    with bar.get_lock():  # blocks run in threads
        bar.update(count)
