"""Evidence of a trained model on a data set, in bounded memory."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from tqdm import tqdm

from jvi.assessment.estimates import Evaluation, check_bounds, in_blocks, joined
from jvi.assessment.grid import BLOCK, block_size, draw_terms
from jvi.datasets import NATS, Unit
from jvi.engine.devices import rows_at_once
from jvi.engine.ranks import ranks
from jvi.engine.threads import parallel_map, shared_map
from jvi.evidence.arrays import host
from jvi.evidence.quantities import bound
from jvi.models.protocol import lacking

__all__ = [
    "Evaluation",
    "agree",
    "check_request",
    "elbo_name",
    "evaluate",
    "evaluations",
    "latent_means",
]

# Draws for the mean of q(z|x) in layers above the first.
MEAN_SAMPLES = 256


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

    Examples
    --------
    >>> import jvi
    >>> data = jvi.load_dataset("gaussian-toy")
    >>> model = jvi.model("gaussian-toy", data)
    >>> result = jvi.evaluate(model, data.test, 16, ("iwae", "jvi"))
    >>> list(result.mean), result.per_image["jvi"].shape == data.test.shape[:1]
    (['iwae', 'jvi'], True)
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
        return in_blocks(terms, sample_counts, bounds, order, detail), terms.log_w if keep else None

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
    return joined(parts, sample_counts, bounds, order, kept, unit)


def agree(model: Any, x: Any, *options: Any) -> None:
    """Raise ValueError for ranks that do not evaluate the same."""
    parameters = [each.array for each in model.link.params()]
    ranks().agree(data=x, parameters=parameters, options=options)


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
    check_bounds(sample_counts, bounds, order, others)
    if batch_size < 1:
        raise ValueError(f"the batch size must be at least 1, not {batch_size}")
    for name in () if link is None else bounds:
        needs = None if name in others else bound(name, order).needs
        problem = needs and lacking(link, needs, name)
        if problem:
            raise ValueError(f"{problem}: ask for elbo, which is sampled")


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
