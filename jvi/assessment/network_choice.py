"""Networks compared by their evidence, beside what they say of data that they have not seen."""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from jvi.assessment.calibration import Score, mean_score
from jvi.assessment.network_evidence import annealed, importance
from jvi.assessment.predictive import predict
from jvi.engine.random import stream
from jvi.models import build
from jvi.models.model import Model
from jvi.text import table
from jvi.training.fit import fit
from jvi.training.network import network_objective
from jvi.training.trainer import Settings

__all__ = ["METHODS", "Candidate", "choice_table", "compare_networks"]

# How the evidence is estimated: what does it, and which of its values counts.
METHODS = {
    "iwae": (partial(importance, orders=()), "iwae"),
    "jvi": (importance, "jvi-1"),
    "ais": (annealed, "ais-prior"),
}


class Candidate(NamedTuple):
    """A network, and what speaks for it.

    Attributes
    ----------
    spec : str
        As it was given.
    evidence : Score
        Estimate of log p(targets|features) of the training rows, in nats, and its Monte-Carlo
        standard error.
    held_out : Score
        log p(target|features) of a row that was held out, on average, and its standard error.
    log_density : numpy.ndarray, shape (B,)
        Of each such row: networks are compared row by row, as their errors go together.
    doubts : tuple of str
        Why not to believe the evidence, in sentences.
    model : jvi.Model
        Fitted.
    """

    spec: str
    evidence: Score
    held_out: Score
    log_density: np.ndarray
    doubts: tuple[str, ...]
    model: Model


def compare_networks(
    specs: Sequence[str],
    rows: Any,
    held_out: Any,
    *,
    method: str = "ais",
    epochs: int = 1000,
    learning_rate: float = 0.05,
    num_samples: int = 4,
    num_predictions: int = 200,
    seed: int = 0,
    progress: bool = False,
    **options: Any,
) -> list[Candidate]:
    """Fit networks to few data, all in one batch, and estimate the evidence of each.

    Parameters
    ----------
    specs : sequence of str
        NAME[:key=value,…] of Bayesian networks, of widths or noise levels to choose from.
    rows, held_out : array, shapes (B, F + 1)
        Features and targets to fit, and to judge the choice by; standardised alike.
    method : str
        A key of `METHODS`: "ais" is the one to trust where there are hidden units.
    epochs, learning_rate, num_samples
        Of the fit of q, by which held-out rows are predicted, and which "iwae" and "jvi" draw from.
    num_predictions : int
        S, draws of the weights for the predictions.
    seed : int
    progress : bool
        Show a progress bar after two seconds.
    **options
        As for `jvi.assessment.network_evidence.importance` or `annealed`.

    Returns
    -------
    list of Candidate
        By falling evidence.

    Raises
    ------
    ValueError
        For an unknown method, nothing to compare, or as what it calls.
    """
    if method not in METHODS:
        raise ValueError(f"unknown method {method!r}: choose from {', '.join(METHODS)}")
    rows, held_out = (np.asarray(each, np.float32) for each in (rows, held_out))
    if not len(specs) or not len(held_out):
        raise ValueError("there are no networks to compare, or no held-out rows to compare them by")
    links = [build(spec, rows.shape[1], stream(seed, "initial parameters")) for spec in specs]
    settings = Settings(
        num_samples=num_samples,
        optimizer="adam",
        lr=learning_rate,
        epochs=epochs,
        batch_size=len(rows),
        seed=seed,
        quiet=True,
        clip=0.0,
    )
    found = []
    for spec, link in zip(
        tqdm(specs, unit="network", disable=None if progress else True, delay=2), links, strict=True
    ):
        model = _fitted(link, rows, settings)
        evidence, doubts = _evidence(model, rows, method, seed, options)
        about = {"num_samples": num_predictions, "seed": seed}
        density = predict(model, held_out[:, :-1], held_out[:, -1], **about).log_density
        found.append(Candidate(spec, evidence, mean_score(density), density, doubts, model))
    return sorted(found, key=lambda each: -each.evidence.value)


def _fitted(link, rows, settings):
    objective = network_objective("elbo", link, "uniform", len(rows), len(rows))
    model = Model(link)
    fit(model, rows, settings._replace(objective=objective))
    return model


def _evidence(model, rows, method, seed, options):
    """(`Score` of the evidence, doubts)."""
    estimate, name = METHODS[method]
    found = estimate(model, rows, seed=seed, **options)
    return Score(found.values[name], found.errors[name]), found.doubts


def choice_table(candidates: Sequence[Candidate]) -> str:
    """What `compare_networks` found, as text; what is doubtful has an asterisk."""
    best = candidates[0].log_density
    rows = [
        (
            each.spec,
            f"{each.evidence.value:.2f} ± {each.evidence.error:.2f}{'*' if each.doubts else ''}",
            f"{each.held_out.value:.3f} ± {each.held_out.error:.3f}",
            str(mean_score(each.log_density - best)) if number else "",
        )
        for number, each in enumerate(candidates)
    ]
    return table(rows, ("network", "evidence", "held out, a row", "less the first"))
