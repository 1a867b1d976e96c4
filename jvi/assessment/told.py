"""What a page tells of a model in words: what it is, since when, and reasons to doubt it."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

import jvi
from jvi.assessment.doubts import binary_pixels, doubts, read_log, trained_as, trainer_state
from jvi.assessment.evaluation import Evaluation
from jvi.datasets import Dataset, binarise, dequantise, of_bytes
from jvi.evidence.diagnostics import MIN_TAIL, active_units, pareto_threshold
from jvi.models.files import ModelFiles

__all__ = [
    "Kept",
    "about",
    "active",
    "evaluated",
    "first_images",
    "heavy_tails",
    "kept",
    "log_of",
    "reasons",
    "seen_as",
]

SEEN = {binarise: "binarised", of_bytes: "bytes / 256", dequantise: "(bytes + noise) / 256"}


class Kept(NamedTuple):
    """When in its training the parameters of a model were taken: the epoch, if known; in words."""

    epoch: float | None
    text: str


def kept(files: ModelFiles, log: Sequence[Mapping[str, float]]) -> Kept:
    """When the parameters of a model were taken, of the log of its training."""
    try:
        iteration, _ = trainer_state(files.path)
    except ValueError:  # which is among the doubts
        iteration = None
    if iteration is None:
        return Kept(None, "of an unknown epoch: not a trainer's snapshot")
    epochs = [each.get("epoch") for each in log if each.get("iteration") == iteration]
    if not epochs:
        return Kept(None, f"of iteration {iteration:,}")
    return Kept(epochs[0], f"of epoch {epochs[0]} of {log[-1]['epoch']}, iteration {iteration:,}")


def log_of(files: ModelFiles) -> list[dict[str, float]]:
    """The entries of its log, none where it cannot be read."""
    try:
        return read_log(files.prefix)
    except (ValueError, FileNotFoundError):  # which is among the doubts
        return []


def about(files: ModelFiles, since: Kept) -> dict[str, Any]:
    """What a model is."""
    return {
        "trained as": trained_as(files),
        "network": files.link.spec,
        "parameters": since.text,
    }


def evaluated(samples: str, date: str | None) -> dict[str, str]:
    """How, by what and when."""
    return {"samples": samples, "evaluated by": f"jvi {jvi.__version__}" + f", {date}" * bool(date)}


def first_images(data: Dataset, count: int) -> str:
    """Which images of the test set were taken."""
    return f"first {count:,} of {len(data.test):,} test images"


def seen_as(data: Dataset) -> str:
    """How its rows are observed."""
    return SEEN.get(data.observe, data.observe.__name__.replace("_", " "))


def reasons(files: ModelFiles, result: Evaluation) -> list[str]:
    """Reasons to doubt a model, of its files and of what was estimated."""
    found = doubts(files)
    positive = int(((result.per_image["iwae"] > 0) | (result.per_image["jvi"] > 0)).sum())
    if positive and binary_pixels(files.link) is not None:
        found.append(f"{positive} estimates are above 0 nats, which no image of such pixels has")
    return found


def heavy_tails(result: Evaluation) -> dict[str, str]:
    """How many images have a heavy tail, by the words for it."""
    threshold = pareto_threshold(result.num_samples)
    if math.isnan(threshold):
        return {"images with Pareto k above its limit": f"unknown: K < {MIN_TAIL}"}
    share = np.mean(result.per_image["pareto_k"] > threshold)
    return {f"images with Pareto k > {threshold:.2f}": f"{share:.0%}"}


def active(means: Sequence[np.ndarray]) -> tuple[list[int], list[int]]:
    """How many latent units of each layer are active, by the means of q(z|x), and of how many."""
    return [int(active_units(mean).sum()) for mean in means], [mean.shape[1] for mean in means]
