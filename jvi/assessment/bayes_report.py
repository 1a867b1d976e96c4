"""What is told of a Bayesian network: scores, evidence and pruning, as rows.

A row is a dict: `part` of the data, `measure`, `at` (draws of the weights, or a share of them that
is gone), `value` and its standard error, `error`; nan is what cannot be known.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jvi.assessment.calibration import scores
from jvi.assessment.network_evidence import annealed, bracket, importance
from jvi.assessment.predictive import predict
from jvi.assessment.pruning import SHARES, Pruned, pruning_curve
from jvi.assessment.tables import versions
from jvi.datasets.table_file import Columns
from jvi.datasets.tabular import Scaling
from jvi.evidence.jackknife import MAX_ORDER
from jvi.files import write_csv, write_json
from jvi.spec import number_of
from jvi.text import table

__all__ = [
    "EVIDENCE",
    "check_evidence",
    "evidence_rows",
    "predicted",
    "pruned",
    "pruning_rows",
    "score_rows",
    "scores_text",
    "text",
    "write_rows",
]

KEYS = "part", "measure", "at", "value", "error"

EVIDENCE = "elbo", "iwae", "jvi", "ais", "bdmc"  # and jvi-1, jvi-2, …
ANNEALED = "ais", "bdmc"

MEASURES = {
    "log_density": "log p(y|x), nats",
    "rmse": "RMSE",
    "coverage": "within intervals",
    "calibration_error": "calibration error",
}

Row = dict[str, Any]


def predicted(model: Any, rows: np.ndarray, columns: Columns, **options: Any) -> tuple[Any, Any]:
    """(predictions, targets) in the target's own unit.

    Parameters
    ----------
    model : jvi.Model
    rows : array, shape (B, F + 1), or (B, F) where targets are unknown
        Standardised.
    columns : Columns
    **options
        Of `jvi.assessment.predictive.predict`.
    """
    features, targets = _parts(rows, columns)
    return predict(model, features, targets, scaling=_unit(columns), **options), targets


def pruned(model: Any, rows: np.ndarray, columns: Columns, **options: Any) -> list[Pruned]:
    """Scores of `rows`, which have targets, at the shares of Table 2 and between."""
    shares = sorted({*SHARES, 0.25, 0.9})
    features, targets = _parts(rows, columns)
    return pruning_curve(model, features, targets, shares, scaling=_unit(columns), **options)


def _parts(rows, columns):
    count = len(columns.names)
    targets = columns.scaling.target(rows[:, count]) if rows.shape[1] > count else None
    return rows[:, :count], targets


def _unit(columns):
    """The scaling of the target alone."""
    scaling = columns.scaling
    zeros = np.zeros(len(columns.names))
    return Scaling(zeros, zeros + 1, scaling.target_mean, scaling.target_scale)


def score_rows(part: str, predictions: Any, targets: np.ndarray, num_samples: int) -> list[Row]:
    """Of predictions that were made with their targets."""
    found = scores(predictions, targets)
    return [_row(part, name, num_samples, *score) for name, score in found.items()]


def pruning_rows(part: str, curve: Sequence[Pruned]) -> list[Row]:
    """Of every share of weights that are gone: the accuracy or the error, and the log-density."""
    return [
        _row(part, f"pruned {name}", each.share, *score)
        for each in curve
        for name, score in each.scores.items()
        if name in ("accuracy", "rmse", "log_density")
    ]


def check_evidence(names: Sequence[str], num_samples: int) -> None:
    """Refuse names of estimates that there are not, or too few samples for an order.

    Raises
    ------
    ValueError
        Naming it.
    """
    for name in names:
        order = number_of(name.removeprefix("jvi-"), int) if name.startswith("jvi-") else 1
        if order is None or (order == 1 and name not in (*EVIDENCE, "jvi-1")):
            raise ValueError(f"unknown estimate {name!a}: choose from {', '.join(EVIDENCE)}, jvi-2")
        if not 1 <= order <= MAX_ORDER:
            raise ValueError(f"jvi-M must be from jvi-1 to jvi-{MAX_ORDER}, not {name}")
        if name.startswith("jvi") and num_samples <= order:
            raise ValueError(f"jackknife order {order} needs more than {order} draws")


def evidence_rows(
    model: Any,
    rows: np.ndarray,
    columns: Columns,
    names: Sequence[str],
    num_samples: int,
    num_chains: int,
    num_temps: int,
    seed: int,
) -> tuple[list[Row], list[str]]:
    """(estimates of log p(targets|features), reasons not to believe them).

    Parameters
    ----------
    model : jvi.Model
    rows : array, shape (B, F + 1)
        What it was trained on, standardised; log-densities are of targets in their own unit.
    columns : Columns
    names : sequence of str
        Of `EVIDENCE`, or "jvi-M" for order M; "jvi" is "jvi-1".
    num_samples : int
        Of importance sampling from q.
    num_chains, num_temps : int
        Of annealing, from the prior.
    seed : int
    """
    found: list[Row] = []
    doubts: list[str] = []
    shift = len(rows) * math.log(columns.scaling.target_scale)
    about: dict[str, Any] = {"seed": seed, "progress": True}
    sampled = ["jvi-1" if name == "jvi" else name for name in names if name not in ANNEALED]
    if sampled:
        orders = [int(name[4:]) for name in sampled if name.startswith("jvi-")]
        each = importance(model, rows, num_samples, orders, **about)
        found += [_estimate(each, name, shift) for name in sampled]
        found += [
            _row("train", "effective sample size", num_samples, each.ess, math.nan),
            _row("train", "Pareto k", num_samples, each.pareto_k, math.nan),
        ]
        doubts += each.doubts
    if "ais" in names:
        each = annealed(model, rows, num_chains, num_temps, **about)
        found.append(_estimate(each, "ais-prior", shift))
        doubts += [f"annealing: {doubt}" for doubt in each.doubts]
    if "bdmc" in names:
        ends = bracket(model, rows, num_chains, num_temps, seed=seed)
        found.append(_row("simulated", "bdmc-gap", num_chains, ends.gap, math.nan))
    return found, doubts


def _estimate(found, name, shift):
    value, error = found.values[name] - shift, found.errors[name]
    return _row("train", f"evidence {name}", found.num_samples, value, error)


def _row(part, measure, at, value, error):
    return dict(zip(KEYS, (part, measure, at, value, error), strict=True))


def text(rows: Sequence[Row]) -> str:
    """A table, in which what is not known is "-"."""
    cells = [
        [row["part"], MEASURES.get(row["measure"], row["measure"]), f"{row['at']:g}"]
        + [_shown(row[key]) for key in ("value", "error")]
        for row in rows
    ]
    return table(cells, ["data", "measure", "at", "value", "± error"])


def scores_text(rows: Sequence[Row]) -> str:
    """A table of `score_rows`, a line for each part of the data."""
    found: dict[str, dict[str, str]] = {}
    for row in rows:
        error = "" if math.isnan(row["error"]) else f" ± {_shown(row['error'])}"
        found.setdefault(row["part"], {})[row["measure"]] = _shown(row["value"]) + error
    names = list(next(iter(found.values())))
    lines = [[part, *(each[name] for name in names)] for part, each in found.items()]
    return table(lines, ["data", *(MEASURES.get(name, name) for name in names)])


def _shown(value):
    return "-" if math.isnan(value) else f"{value:.4f}"


def write_rows(prefix: str, rows: Sequence[Row], about: Mapping[str, Any]) -> None:
    """PREFIX.json: the rows with what they are about; PREFIX.csv: the rows alone."""
    write_json(f"{prefix}.json", {**about, "versions": versions(), "rows": list(rows)})
    write_csv(f"{prefix}.csv", rows, KEYS)
