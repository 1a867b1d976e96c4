"""Rows of the table: what each says of evaluations and of replications (docs/evaluation.md).

A row is a dict; nan is what cannot be known or does not apply.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from jvi.assessment.estimates import STARTS, Evaluation, num_groups, sampling_error, standard_error
from jvi.evidence.bounds import iwae
from jvi.evidence.diagnostics import half_width, pareto_threshold

__all__ = [
    "ANNEALED",
    "DIFFERENCE",
    "KEYS",
    "KL",
    "NUMBERS",
    "Row",
    "combine",
    "difference_error",
    "kl_row",
    "largest",
    "rows",
    "sandwich_rows",
    "start_row",
]

KL = "-KL(q||p)"  # the name of that row
DIFFERENCE = " - ".join(STARTS)  # and of that of annealing from q against that from the prior
LEVEL = 0.99  # at which the two are said to disagree

# What a row is of, and its numbers, which are averaged over replications.
KEYS = ("data", "estimate", "num_samples", "num_images")
ANNEALED = ("acceptance", "step_size")
ERRORS = ("sampling_error", "half_width")  # averaged by their squares
NUMBERS = ("mean", "standard_error", *ERRORS, "ess", "heavy_tails", *ANNEALED, "seconds")

UNWEIGHTED = ("vae", "elbo")

Row = dict[str, Any]


def rows(results: Sequence[tuple[Evaluation, float]], names: Iterable[str]) -> list[Row]:
    """One replication's rows, from pairs of an `Evaluation` and the seconds that it took."""
    return [
        _row(evaluation, name, seconds)
        for name in names
        for evaluation, seconds in results
        if name in evaluation.mean
    ]


def _row(evaluation, name, seconds):
    """Of one estimate of an `Evaluation`."""
    values, weighted = evaluation.per_image, name not in UNWEIGHTED
    k, threshold = values["pareto_k"], pareto_threshold(evaluation.num_samples)
    known = weighted and not math.isnan(threshold)
    return {
        "data": "test",
        "estimate": name,
        "num_samples": evaluation.num_samples,
        "num_images": len(k),
        "mean": evaluation.mean[name],
        "standard_error": evaluation.standard_error[name],
        "sampling_error": evaluation.sampling_error[name],
        "ess": float(values["ess"].mean()) if weighted else math.nan,
        "heavy_tails": float((k > threshold).mean()) if known else math.nan,
        "k_threshold": threshold if known else math.nan,
        **{key: float(values[key].mean()) for key in ANNEALED if key in values},
        "seconds": seconds,
    }


def largest(evaluations: Iterable[Evaluation]) -> dict[str, Evaluation]:
    """By name of an estimate the evaluation of most samples that has it."""
    most: dict[str, Evaluation] = {}
    for evaluation in sorted(evaluations, key=lambda evaluation: evaluation.num_samples):
        most |= dict.fromkeys(evaluation.mean, evaluation)
    return most


def kl_row(evaluations: Iterable[Evaluation], elbo: str = "vae", against: str | None = None) -> Row:
    """ELBO minus log p(x) by annealing, where there is any, else by IWAE, each of most samples.

    Parameters
    ----------
    evaluations : iterable of Evaluation
    elbo : str
        The name of the bound that is the ELBO.
    against : str, optional
        What log p(x) is estimated by; of two starts of annealing by default the one that has the
        higher mean, both being bounds from below.
    """
    most = largest(evaluations)
    annealed = [name for name in STARTS if name in most]
    best = against or max(annealed, key=lambda name: most[name].mean[name], default="iwae")
    ours, other = most[elbo], most[best]
    parts = f"{elbo}@{ours.num_samples} - {best}@{other.num_samples}"
    if ours is other:
        parts = f"{elbo} - {best}, both {ours.num_samples} samples"
    return {
        **_difference(ours, elbo, other, best),
        "estimate": KL,
        "log_likelihood": best,
        "parts": parts,
    }


def start_row(evaluations: Iterable[Evaluation]) -> Row | None:
    """Annealing from q against that from the prior, of most chains; None without both.

    "half_width" is that of a 99% interval around the difference, for these images: outside it
    the two disagree.
    """
    most = largest(evaluations)
    if not STARTS.keys() <= most.keys():
        return None
    (one, first), (two, second) = ((name, most[name]) for name in STARTS)
    groups, errors = num_groups(first.num_samples), difference_error(first, one, second, two)
    return {
        **_difference(first, one, second, two),
        "estimate": DIFFERENCE,
        "half_width": half_width(errors, groups, LEVEL) if groups > 1 else math.nan,
    }


def _difference(first, one, second, two):
    """The row of estimate `one` of an evaluation minus `two` of another, image by image."""
    gap = first.per_image[one] - second.per_image[two]
    errors = difference_error(first, one, second, two)
    counts = dict.fromkeys((first.num_samples, second.num_samples))
    return {
        "data": "test",
        "num_samples": first.num_samples,
        "samples": ", ".join(map(str, counts)),
        "num_images": len(gap),
        "mean": float(gap.mean()),
        "standard_error": standard_error(gap),
        "sampling_error": float(np.linalg.norm(errors) / len(gap)),
    }


def difference_error(first: Evaluation, one: str, second: Evaluation, two: str) -> np.ndarray:
    """Sampling error of estimate `one` of an evaluation minus `two` of another, shape (N,).

    Of the same samples it was computed from them. Chains from either start have the same noise,
    one by one, and are left out together. All else is independent.
    """
    if first is second:
        return first.per_image[f"{one}-{two}_error"]
    if {one, two} == STARTS.keys():
        both = np.stack([first.log_w, second.log_w], axis=1)
        return sampling_error(lambda log_w: iwae(log_w[:, 0]) - iwae(log_w[:, 1]), both)
    return np.hypot(first.per_image[f"{one}_error"], second.per_image[f"{two}_error"])


def sandwich_rows(ends: Any, num_chains: int, seconds: float, name: str = "bdmc") -> list[Row]:
    """Of a `jvi.ais.Sandwich`: both ends and the gap, on simulated data."""
    numbers = {
        "lower": (ends.mean_lower, ends.lower_error),
        "upper": (ends.mean_upper, ends.upper_error),
        "gap": (ends.gap, ends.gap_error),
    }
    row = {"data": "simulated", "num_samples": num_chains, "num_images": len(ends.lower)}
    row |= {key: getattr(ends, key) for key in ANNEALED}
    return [
        {**row, "estimate": f"{name}-{end}", "mean": mean, "standard_error": error}
        | {"seconds": seconds}
        for end, (mean, error) in numbers.items()
    ]


def combine(replications: Iterable[Sequence[Row]]) -> list[Row]:
    """Rows of one replication from those of several.

    Numbers are averaged (sampling errors by their squares, seconds are added). "spread" is the
    standard deviation between the "means" of the replications, nan for a single one.
    """
    return [_combine(same) for same in zip(*replications, strict=True)]


def _combine(same: Sequence[Mapping[str, Any]]) -> Row:
    values = {key: np.array([row.get(key, math.nan) for row in same]) for key in NUMBERS}
    means = values["mean"]
    return {
        **same[0],
        **{key: float(value.mean()) for key, value in values.items()},
        **{key: float(np.sqrt((values[key] ** 2).mean())) for key in ERRORS},
        "seconds": float(values["seconds"].sum()),
        "spread": float(means.std(ddof=1)) if len(means) > 1 else math.nan,
        "means": means.tolist(),
    }
