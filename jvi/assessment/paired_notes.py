"""Reasons to doubt a comparison of models, a sentence each."""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from jvi.assessment.advice import about_axes, about_zeros
from jvi.assessment.comparable import name_in
from jvi.assessment.estimates import Evaluation
from jvi.assessment.paired_rows import ERRORS
from jvi.assessment.tables import NOISY

__all__ = ["notes_on"]

TAILS = 0.05  # share of images with a heavy tail, above which the bias of IWAE may matter
ALIKE = 2.0  # a correlation below so many of its standard errors, 1 / √N, is hardly one
FEWEST = 20  # images, of which a correlation or a standard error says something


def notes_on(
    evaluations: Mapping[str, Evaluation],
    rows: Sequence[Mapping[str, Any]],
    left_out: Iterable[str],
    reference: str,
) -> list[str]:
    """Notes on the rows of `jvi.compare`, of evaluations by the name of the model.

    `left_out` are bounds that were asked for and that one of them does not have.
    """
    parts = (
        (_left_out(evaluations, bound) for bound in left_out),
        _samples(evaluations),
        _few(rows),
        _unlike(evaluations, rows, reference),
        _weights(evaluations),
        _bias(rows),
        _contradictions(rows),
    )
    return list(itertools.chain.from_iterable(parts))


def _left_out(evaluations, bound):
    without = [name for name, each in evaluations.items() if name_in(each, bound) is None]
    return f"{bound} is left out: not known of {', '.join(without)}"


def _samples(evaluations):
    """Of bounds of different K."""
    counts = {name: each.num_samples for name, each in evaluations.items()}
    if len(set(counts.values())) > 1:
        told = ", ".join(f"{name} {count:,}" for name, count in counts.items())
        yield f"different numbers of samples ({told}): of bounds of different K the bias differs"


def _few(rows):
    """Of so few images that two standard errors are no interval of 95%."""
    count = rows[0]["num_images"]
    if count < FEWEST:
        yield f"{count} images are few: verdicts by {ERRORS:g} errors are wrong more often than 5%"


def _unlike(evaluations, rows, reference):
    """Of models that do not agree at all on what is likely: pairs of images may be none."""
    bound = "iwae" if any(row["estimate"] == "iwae" for row in rows) else rows[0]["estimate"]
    values = {n: each.per_image[name_in(each, bound)] for n, each in evaluations.items()}
    for name, array in values.items():
        both = np.stack([array, values[reference]])
        both = both[:, np.isfinite(both).all(axis=0)]
        count = both.shape[1]
        if count < FEWEST or (np.ptp(both, axis=1) == 0).any():
            continue
        correlation = np.corrcoef(both)[0, 1]
        if correlation < ALIKE / math.sqrt(count):
            yield (
                f"{name} and {reference} hardly agree on which images are likely (correlation "
                f"{correlation:.2f}): are they of the same images, in the same order?"
            )


def _weights(evaluations):
    """Of log-weights, where they are known, what speaks against them."""
    for name, each in evaluations.items():
        if each.log_w is not None:
            for note in about_axes(each.log_w) + about_zeros(each.log_w):
                yield f"{name}: {note}"


def _bias(rows):
    """Of heavy tails, where they are more than the noise of Pareto k."""
    known = [row for row in rows if row["num_samples"] >= NOISY]
    heavy = {row["model"]: row["heavy_tails"] for row in known if row["heavy_tails"] > TAILS}
    if heavy:
        told = ", ".join(f"{name} {share:.0%}" for name, share in heavy.items())
        yield (
            f"weights have heavy tails (share of images: {told}): iwae would rise with more "
            "samples, not alike for all models"
        )


def _contradictions(rows):
    """Where IWAE and the jackknife come to different verdicts."""
    verdicts = {(row["estimate"], row["model"]): row["verdict"] for row in rows}
    for (bound, name), verdict in verdicts.items():
        by_iwae = verdicts.get(("iwae", name))
        if bound.startswith("jvi") and by_iwae is not None and by_iwae != verdict:
            yield (
                f"{name} is {by_iwae} by iwae and {verdict} by {bound}: the difference may be one "
                "of bias, so take more samples"
            )
