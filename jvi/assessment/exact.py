"""Bounds against log p(x), for models that know it."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from jvi.assessment.estimates import EXACT, Evaluation, standard_error
from jvi.assessment.rows import KL, Row, kl_row, rows
from jvi.compat.chainer7 import chainer
from jvi.evidence.arrays import host

__all__ = ["EXACT", "evaluation", "exact_rows", "gap_row", "inference_gap"]


def evaluation(model: Any, x: Any) -> Evaluation:
    """log p(x) itself, as an estimate "exact" that no samples went into.

    Parameters
    ----------
    model : jvi.Model
        With the capability `log_evidence`.
    x : array, shape (N, …)
    """
    model.require("log_evidence", EXACT)
    with chainer.no_backprop_mode():
        log_px = host(model.link.log_evidence(model.images(x))).astype(np.float64)
    unknown = dict.fromkeys(("ess", "pareto_k"), np.full(len(log_px), np.nan))
    values = {EXACT: log_px, f"{EXACT}_error": np.zeros(len(log_px)), **unknown}
    mean, error = {EXACT: float(log_px.mean())}, {EXACT: standard_error(log_px)}
    return Evaluation(mean, error, values, 0, {EXACT: 0.0})


def exact_rows(results: Sequence[tuple[Evaluation, float]], names: Iterable[str]) -> list[Row]:
    """Of one replication: log p(x), and every estimate less it, paired image by image.

    Parameters
    ----------
    results : list of (Evaluation, float)
        Evaluations and the seconds that each took.
    names : iterable of str
        Of the estimates.

    Returns
    -------
    list of dict
        Empty where the exact evidence is not among the evaluations.
    """
    known = rows(results, [EXACT])
    if not known:
        return []
    exact = next(each for each, _ in results if EXACT in each.mean)
    gaps = [
        gap_row([each, exact], name) for name in names for each, _ in results if name in each.mean
    ]
    return [known[0] | {"samples": "-"}, *gaps]


def gap_row(evaluations: Iterable[Evaluation], name: str) -> Row:
    """An estimate, of most samples, less log p(x)."""
    row = kl_row(evaluations, name, EXACT)
    count = row["num_samples"]
    parts = f"{name}@{count} - {EXACT}"
    return row | {"estimate": f"{name} - {EXACT}", "samples": str(count), "parts": parts}


def inference_gap(
    evaluations: Sequence[Evaluation], elbo: str = "vae", against: str | None = None
) -> Row:
    """`kl_row`, against the exact log p(x) where that is among the evaluations."""
    if any(EXACT in each.mean for each in evaluations):
        return gap_row(evaluations, elbo) | {"estimate": KL}
    return kl_row(evaluations, elbo, against)
