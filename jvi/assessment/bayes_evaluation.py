"""All that is asked of a Bayesian network after training, and the files that it goes to."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jvi.assessment import bayes_plots
from jvi.assessment.bayes_report import (
    Row,
    evidence_rows,
    predicted,
    pruned,
    pruning_rows,
    score_rows,
    scores_text,
    write_rows,
)
from jvi.assessment.calibration import LEVELS, coverage, reliability
from jvi.assessment.predictive import predict
from jvi.assessment.pruning import signal_to_noise
from jvi.assessment.trained_network import HeldOut, TrainedNetwork, load_network
from jvi.datasets.tabular import Tabular
from jvi.evidence.arrays import host

__all__ = ["Assessment", "Request", "assess", "assessment_files", "told", "write"]

MOST_ROWS = 10_000  # of each part, in what is told at the end of a training
CURVE = 400  # points of a curve


class Request(NamedTuple):
    """What is asked for: names of `jvi.assessment.bayes_report.EVIDENCE`, and how to estimate it.

    `num_samples` draws of the weights are for predictions and importance sampling.
    """

    evidence: Sequence[str] = ()
    prune: bool = False
    num_samples: int = 100
    num_chains: int = 16
    num_temps: int = 1000
    level: float = 0.95
    seed: int = 0


class Assessment(NamedTuple):
    """Rows, reasons to doubt those of the evidence, and pictures by name: what draws them."""

    rows: list[Row]
    doubts: list[str]
    pictures: dict[str, tuple[Any, ...]]


def told(prefix: str, table: Tabular, num_samples: int, seed: int) -> str:
    """What is told at the end of a training: scores of all parts, up to 10,000 rows of each."""
    network, options = load_network(prefix), _options(num_samples, seed)
    rows: list[Row] = []
    for part in ("train", "validation", "test"):
        x = getattr(table.data, part)[:MOST_ROWS]
        found = predicted(network.model, x, network.columns, **options)
        rows += score_rows(part, *found, num_samples)
    about = f"{table.data.name}: {table.task} of {table.target_name}, {len(table.names)} features"
    lines, noise = [about, scores_text(rows)], network.model.link.noise
    if noise is not None:
        sigma = float(network.columns.scaling.deviation(noise))
        lines.append(f"standard deviation of the noise: {sigma:.4g}")
    return "\n".join([*lines, f"model: {network.files.path}"])


def assess(network: TrainedNetwork, held: HeldOut, request: Request) -> Assessment:
    """Everything that a request asks for.

    Raises
    ------
    ValueError
        For the evidence where the training data are not known, and as what estimates it.
    """
    model, columns = network.model, network.columns
    if request.evidence and held.table is None:
        raise ValueError(
            f"the evidence is that of the training data, which {held.name} are not: leave -d out"
        )
    options = _options(request.num_samples, request.seed) | {"level": request.level}
    found, targets = predicted(model, held.rows, columns, **options)
    rows, doubts = score_rows("test", found, targets, request.num_samples), list[str]()
    pictures = {"calibration": _calibration(found, targets), "weights": _weights(model)}
    if held.table is not None and not columns.classes and len(columns.names) == 1:
        pictures["curve"] = _curve(network, held.table, request)
    if request.prune:
        curve = pruned(model, held.rows, columns, **options)
        rows += pruning_rows("test", curve)
        pictures["pruning"] = bayes_plots.draw_pruning, 1, curve
    if request.evidence and held.table is not None:
        numbers = request.num_samples, request.num_chains, request.num_temps, request.seed
        train = held.table.data.train
        estimates, doubts = evidence_rows(model, train, columns, request.evidence, *numbers)
        rows += estimates
    return Assessment(rows, doubts, pictures)


def _options(num_samples, seed):
    """Of predictions, to the seventh digit and in half of the time."""
    return {"num_samples": num_samples, "seed": seed, "dtype": np.float32, "progress": True}


def _calibration(found, targets):
    if hasattr(found, "probabilities"):
        return bayes_plots.draw_reliability, 1, reliability(found.probabilities, targets)
    return bayes_plots.draw_coverage, 1, np.array(LEVELS), coverage(found, LEVELS)


def _weights(model):
    means, _ = model.link.posterior()
    return bayes_plots.draw_weights, 2, host(means), signal_to_noise(model)


def _curve(network, table, request):
    """Of one feature, and half of its range beyond it on either side."""
    scaling, train = network.columns.scaling, table.data.train
    x = train[:, 0].astype(np.float64) * scaling.scale + scaling.mean
    spare = 0.5 * (x.max() - x.min())
    grid = np.linspace(x.min() - spare, x.max() + spare, CURVE)
    options = {"num_samples": request.num_samples, "seed": request.seed, "scaling": scaling}
    bands = [predict(network.model, grid[:, None], level=level, **options) for level in (0.95, 0.5)]
    points = np.column_stack([x, scaling.target(train[:, 1])])
    names = network.columns.names[0], network.columns.target_name
    return bayes_plots.draw_bands, 1, grid, bands, points, names


def assessment_files(prefix: str, network: TrainedNetwork, prune: bool) -> list[str]:
    """All files that `write` may write."""
    names = ["calibration", "weights", *(["pruning"] if prune else [])]
    if not network.columns.classes and len(network.columns.names) == 1:
        names.append("curve")
    return [f"{prefix}.json", f"{prefix}.csv", *(f"{prefix}.{name}.png" for name in names)]


def write(prefix: str, found: Assessment, about: Mapping[str, Any]) -> None:
    """PREFIX.json with what it is about, PREFIX.csv, and PREFIX.NAME.png of each picture."""
    write_rows(prefix, found.rows, {**about, "doubts": found.doubts})
    for name, (draw, panels, *arguments) in found.pictures.items():
        bayes_plots.picture(f"{prefix}.{name}.png", draw, *arguments, panels=panels)
