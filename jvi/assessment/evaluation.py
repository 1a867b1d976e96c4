"""Evidence of a trained model on a data set, in bounded memory."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from jvi.assessment.grid import BLOCK, block_size, draw_terms
from jvi.datasets import NATS, Unit
from jvi.engine.devices import rows_at_once
from jvi.engine.ranks import ranks
from jvi.engine.threads import parallel_map, shared_map
from jvi.evidence.arrays import host
from jvi.evidence.bounds import effective_sample_size
from jvi.evidence.diagnostics import jackknife_error, pareto_k, trust
from jvi.evidence.jackknife import jackknife
from jvi.evidence.quantities import BOUNDS, Bound, Terms, bound
from jvi.models.protocol import lacking

__all__ = [
    "Evaluation",
    "agree",
    "check_request",
    "elbo_name",
    "evaluate",
    "evaluations",
    "latent_means",
    "num_groups",
    "sampling_error",
    "standard_error",
    "summarise",
]

# Groups of samples for the sampling error. Averaged over images, it is as exact as from more; the
# jackknife of orders above 2 is an integral and takes 20 times as long.
GROUPS = {"quick": 8, "slow": 4}

# Draws for the mean of q(z|x) in layers above the first.
MEAN_SAMPLES = 256

# Of `jvi.diagnostics.Trust`: why the jackknife's value of an image may be wrong.
FLAGS = ("heavy_tail", "few_samples", "large_correction")


class Evaluation(NamedTuple):
    """Estimates of log p(x), all numbers in nats, from the same samples.

    Attributes
    ----------
    mean : dict of str to float
        By bound, averaged over data points.
    standard_error : dict of str to float
        Of that mean, from the spread over data points (nan for a single one).
    per_image : dict of str to array, shape (N,), float64
        By bound; under "ess" the effective sample size. With a jackknife among the bounds also
        "pareto_k" and the flags of `jvi.diagnostics.Trust`, for the highest order. In detail also
        the Monte-Carlo standard errors "BOUND_error", and for the largest number of samples that
        of the difference between the ELBO and IWAE, "vae-iwae_error" or "elbo-iwae_error".
    num_samples : int
    sampling_error : dict of str to float
        By bound, in detail: Monte-Carlo standard error of the mean, √Σ_n error_n² / N; nan where
        there are too few samples to tell.
    log_w : array, shape (K, N), float64, or None
        The log-weights, where they were asked for.
    unit : jvi.datasets.Unit
        Of the data, in which `repr` and `in_unit` tell the means, too.
    """

    mean: dict[str, float]
    standard_error: dict[str, float]
    per_image: dict[str, np.ndarray]
    num_samples: int
    sampling_error: dict[str, float]
    log_w: np.ndarray | None = None
    unit: Unit = NATS

    def __repr__(self) -> str:
        count, ess = len(self.per_image["ess"]), self.per_image["ess"].mean()
        lines = [f"<evaluation of {count:,} data points, K = {self.num_samples:,}, ESS {ess:.1f}>"]
        width = max(map(len, self.mean), default=0)
        for name, mean in self.mean.items():
            lines.append(f"{name:{width}} {mean:11.4f} ± {self.standard_error[name]:.4f} nats")
            if self.unit != NATS:
                value, error = self.in_unit[name]
                lines[-1] += f", {value:.4f} ± {error:.4f} {self.unit.name}"
        if self.doubts:
            lines.append(f"{self.doubts['doubtful']:,} jackknife values are not to be trusted")
        return "\n  ".join(lines)

    @property
    def in_unit(self) -> dict[str, tuple[float, float]]:
        """(mean, standard error) by bound, in `unit`."""
        errors = self.standard_error
        return {
            name: (self.unit.value(mean), self.unit.error(errors[name]))
            for name, mean in self.mean.items()
        }

    @property
    def doubts(self) -> dict[str, int]:
        """How many images the jackknife's value is not to be trusted of, by reason; or {}."""
        if FLAGS[0] not in self.per_image:
            return {}
        flags = [self.per_image[name] for name in FLAGS]
        counts = {name: int(flag.sum()) for name, flag in zip(FLAGS, flags, strict=True)}
        return counts | {"doubtful": int(np.logical_or.reduce(flags).sum())}


def evaluate(
    model: Any,
    x: Any,
    num_samples: int,
    bounds: Iterable[str] = ("iwae", "jvi"),
    order: int = 1,
    seed: int = 0,
    *,
    replication: int = 0,
    batch_size: int = 4096,
    progress: bool = False,
    keep: bool = False,
    unit: Unit = NATS,
) -> Evaluation:
    """Bounds on and estimates of log p(x) for each data point and on average.

    The noise of a data point is drawn from a stream of its own, so that the result depends on
    `seed` but not on `batch_size` (up to rounding), and memory stays bounded for any `num_samples`.

    Parameters
    ----------
    model : jvi.Model
    x : array, shape (N, …)
        Observed data points: for models of binary images, binary ones.
    num_samples : int
        K, samples per data point.
    bounds : iterable of str
        Of "vae" (the ELBO with analytic KL divergence), "elbo" (the sampled one), "iwae", "jvi"
        (of the given order), "jvi-M" (of order M), "iwae++" (JVI-1) and "is".
    order : int
        Of "jvi", less than K.
    seed, replication : int
        Select the noise.
    batch_size : int
        At most so many data points are worked on at a time.
    progress : bool
        Show a progress bar after two seconds.
    keep : bool
        Keep the log-weights.
    unit : jvi.datasets.Unit
        In which means are told beside nats: that of the data set, `data.unit`.

    Returns
    -------
    Evaluation

    Raises
    ------
    ValueError
        For impossible numbers, data that do not fit the model, bounds that it does not have, or
        non-finite log-weights.
    """
    options = {"replication": replication, "batch_size": batch_size, "progress": progress}
    options |= {"keep": keep, "unit": unit}
    return evaluations(model, x, [num_samples], bounds, order, seed, **options)[0]


def evaluations(
    model: Any,
    x: Any,
    sample_counts: Iterable[int],
    bounds: Iterable[str] = ("iwae", "jvi"),
    order: int = 1,
    seed: int = 0,
    *,
    replication: int = 0,
    batch_size: int = 4096,
    progress: bool = False,
    detail: bool = False,
    keep: bool = False,
    unit: Unit = NATS,
) -> list[Evaluation]:
    """`evaluate` for several numbers of samples at once: a list of `Evaluation`.

    Samples are drawn for the largest number; smaller ones use the first of them, and so give
    what they give alone. A jackknife is left out of those that are too few for its order.

    Parameters
    ----------
    sample_counts : iterable of int
        Values of K.
    detail : bool
        Also Monte-Carlo standard errors, by `jvi.diagnostics.jackknife_error`, and Pareto k
        without a jackknife, too. They cost eight times the bounds.

    Everything else is as for `evaluate`.
    """
    sample_counts, bounds = list(sample_counts), list(bounds)
    check_request(sample_counts, bounds, order, batch_size, link=model.link)
    most = max(sample_counts)
    if len(x) > 1 and model.link.num_points(x) == 1:
        raise ValueError(
            f"all rows of {model.link.spec.name} share one z, whose evidence is a single number: "
            "jvi-bayesnet evaluate estimates it"
        )
    if len(x) == 0:
        raise ValueError("there are no images to evaluate")
    x = model.images(x)
    agree(model, x, sample_counts, bounds, order, seed, replication, batch_size, detail, keep)
    block = ranks().first(block_size(len(x), most, batch_size, model.device))
    starts = range(0, len(x), block)

    def values(start):
        """For each number of samples, of the block that begins at `start`; its log-weights."""
        rows = slice(start, min(start + block, len(x)))
        terms = draw_terms(model, x[rows], most, seed, replication, start)
        found = [
            _values(_first(terms, num), possible(bounds, order, num), order, detail)
            for num in sample_counts
        ]
        if detail:
            found[sample_counts.index(most)] |= _gap_error(terms, bounds)
        return found, terms.log_w if keep else None

    def shared():
        """Of this rank's blocks."""
        own, parts = starts[ranks().share(len(starts))], []
        count = sum(min(block, len(x) - start) for start in own)
        with tqdm(total=count, unit="image", disable=None if progress else True, delay=2) as bar:
            for part in parallel_map(values, own, model.device):
                parts.append(part)
                bar.update(len(part[0][0]["ess"]))
        return parts

    parts, log_w = zip(*ranks().gather(shared), strict=True)
    kept = np.concatenate(log_w, axis=1) if keep else None
    found = []
    for values, num in zip(zip(*parts, strict=True), sample_counts, strict=True):
        names = possible(bounds, order, num)
        found.append(summarise(_joined(values), names, num, kept[:num] if keep else None, unit))
    return found


def agree(model: Any, x: Any, *options: Any) -> None:
    """Raise ValueError for ranks that do not evaluate the same."""
    parameters = [each.array for each in model.link.params()]
    ranks().agree(data=x, parameters=parameters, options=options)


def _first(terms, num_samples):
    """The terms of the first samples."""
    return Terms(terms.log_w[:num_samples], terms.log_px[:num_samples], terms.kl)


def _joined(parts):
    """What blocks of data points gave, of all data points."""
    return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}


def check_request(
    sample_counts: Sequence[int],
    bounds: Iterable[str],
    order: int,
    batch_size: int,
    others: Sequence[str] = (),
    link: Any = None,
) -> None:
    """Raise ValueError, in one line, for a request that no evaluation, or not this model, can meet.

    `others` are names that may occur in `bounds` but are not evaluated here.
    """
    if not sample_counts:
        raise ValueError("give at least one number of samples")
    if min(sample_counts) < 1:
        raise ValueError(f"the number of samples must be at least 1, not {min(sample_counts)}")
    most = max(sample_counts)
    if batch_size < 1:
        raise ValueError(f"the batch size must be at least 1, not {batch_size}")
    for name in bounds:
        if name in others:
            continue
        found = bound(name, order, tuple(others))
        if found.order is not None and not 0 <= found.order < most:
            raise ValueError(
                f"jackknife order {found.order} needs more than {found.order} samples, not {most}"
            )
        problem = found.needs and link is not None and lacking(link, found.needs, name)
        if problem:
            raise ValueError(f"{problem}: ask for elbo, which is sampled")


def possible(bounds: Iterable[str], order: int, num_samples: int) -> list[str]:
    """The bounds that so many samples are enough for."""
    return [name for name in bounds if (bound(name, order).order or 0) < num_samples]


def elbo_name(link: Any) -> str:
    """The bound that is the ELBO of a model: "vae", or "elbo" where that needs what it lacks."""
    return "elbo" if lacking(link, bound("vae").needs, "vae") else "vae"


def latent_means(model: Any, x: Any, seed: int = 0) -> list[np.ndarray]:
    """E[z|x] under q of each stochastic layer, in bounded memory.

    Parameters
    ----------
    model : jvi.Model
    x : array, shape (N, …)
    seed : int
        Of the draws that layers above the first need; results do not depend on blocks.

    Returns
    -------
    list of numpy.ndarray, shape (N, D)

    Raises
    ------
    ValueError
        For a model without such means.
    """
    model.require("latent_means", "the number of active units")
    block = max(BLOCK, rows_at_once(model.device, model.link) // MEAN_SAMPLES)

    def means(start):
        part = model.latent_means(x[start : start + block], MEAN_SAMPLES, seed, start)
        return [host(mean) for mean in part]

    parts = shared_map(means, range(0, len(x), block), model.device)
    return [np.concatenate(layer) for layer in zip(*parts, strict=True)]


def _values(terms, bounds, order, detail):
    """What `Evaluation.per_image` says, for a block of data points."""
    log_w = terms.log_w
    values = {"ess": effective_sample_size(log_w)}
    found = {name: bound(name, order) for name in bounds}
    for name, each in found.items():
        values[name] = each.function(terms)
    highest = max(bounds, key=lambda name: found[name].order or 0, default=None)
    if highest is not None and found[highest].order:
        flags = trust(log_w, found[highest].order, values[highest])
        values |= {name: getattr(flags, name) for name in ("pareto_k", *FLAGS)}
    if detail:
        values.setdefault("pareto_k", pareto_k(log_w))
        values |= {f"{name}_error": _error(each, terms) for name, each in found.items()}
    return values


def _error(bound: Bound, terms: Terms):
    """Sampling error of a bound for each data point."""
    if bound.order is not None:
        return sampling_error(lambda part: jackknife(part, bound.order), terms.log_w, bound.order)
    return _error_of(bound.function, terms)


def _error_of(function, terms):
    """Sampling error of a function of `Terms`, up to what depends on the divergence alone."""
    both = np.stack([terms.log_w, terms.log_px], axis=1)
    return sampling_error(lambda p: function(Terms(p[:, 0], p[:, 1], 0.0)), both)


def _gap_error(terms, bounds):
    """Sampling error of the ELBO minus IWAE, which the same samples make; {} without both."""
    elbo = next((name for name in ("vae", "elbo") if name in bounds), None)
    if elbo is None or "iwae" not in bounds:
        return {}
    one, two = BOUNDS[elbo].function, BOUNDS["iwae"].function
    return {f"{elbo}-iwae_error": _error_of(lambda terms: one(terms) - two(terms), terms)}


def num_groups(num_samples: int, order: int = 0) -> int:
    """Groups of samples that `sampling_error` makes."""
    return min(num_samples, GROUPS["quick" if order <= 2 else "slow"])


def sampling_error(estimator: Callable, log_w: np.ndarray, order: int = 0) -> np.ndarray:
    """`jackknife_error`, shape (N,), or nan where it would leave too few samples for an order."""
    num_samples = len(log_w)
    groups = num_groups(num_samples, order)
    if num_samples - -(-num_samples // groups) <= order:
        return np.full(log_w.shape[-1], np.nan)
    return jackknife_error(estimator, log_w, groups)


def summarise(
    per_image: dict[str, np.ndarray],
    bounds: Iterable[str],
    num_samples: int,
    log_w: np.ndarray | None = None,
    unit: Unit = NATS,
) -> Evaluation:
    """`Evaluation` of values for each data point."""
    mean = {name: float(per_image[name].mean()) for name in bounds}
    error = {name: standard_error(per_image[name]) for name in bounds}
    sampling = {
        name: float(np.linalg.norm(per_image[f"{name}_error"]) / len(per_image[name]))
        for name in bounds
        if f"{name}_error" in per_image
    }
    return Evaluation(mean, error, per_image, num_samples, sampling, log_w, unit)


def standard_error(values: np.ndarray) -> float:
    """Standard error of the mean of `values`, shape (N,); nan for a single value."""
    count = len(values)
    return float(values.std(ddof=1) / math.sqrt(count)) if count > 1 else math.nan
