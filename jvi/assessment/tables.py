"""Results of evaluations as rows, and rows as a table, JSON and CSV (docs/evaluation.md)."""

import csv
import itertools
import json
import math
import platform
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from jvi.assessment.evaluation import Evaluation, standard_error
from jvi.evidence.diagnostics import MIN_TAIL, PARETO_K
from jvi.files import atomic_write
from jvi.text import table

__all__ = [
    "KL",
    "annealing_notes",
    "combine",
    "counted",
    "free_prefix",
    "kl_row",
    "per_image",
    "rows",
    "sandwich_rows",
    "summary",
    "text",
    "versions",
    "write",
    "write_beside",
]

KL = "-KL(q||p)"  # the name of that row

# What a row is of, and its numbers, which are averaged over replications.
KEYS = ("data", "estimate", "num_samples", "num_images")
ANNEALED = ("acceptance", "step_size")
NUMBERS = ("mean", "standard_error", "sampling_error", "ess", "heavy_tails", *ANNEALED, "seconds")

# Columns of the table: the key of a row, and how its value is printed.
COLUMNS = {
    "estimate": ("estimate", "{}"),
    "samples": ("num_samples", "{}"),
    "nats": ("mean", "{:.4f}"),
    "± images": ("standard_error", "{:.4f}"),
    "± samples": ("sampling_error", "{:.4f}"),
    "± reps": ("spread", "{:.4f}"),
    "ESS": ("ess", "{:.1f}"),
    f"k > {PARETO_K}": ("heavy_tails", "{:.1%}"),
}

# Mean acceptance of annealing's moves, between which its steps are neither too long nor too short.
ACCEPTANCE = (0.2, 0.98)

# Packages that the numbers may depend on.
PACKAGES = ("chainer", "numpy", "scipy", "cupy-cuda12x", "cupy-cuda13x")


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
    """Of one estimate of an `Evaluation`; nan is what cannot be known or does not apply."""
    values, weighted = evaluation.per_image, name not in ("vae", "elbo")
    k = values["pareto_k"]
    known = weighted and evaluation.num_samples >= MIN_TAIL
    return {
        "data": "test",
        "estimate": name,
        "num_samples": evaluation.num_samples,
        "num_images": len(k),
        "mean": evaluation.mean[name],
        "standard_error": evaluation.standard_error[name],
        "sampling_error": evaluation.sampling_error[name],
        "ess": float(values["ess"].mean()) if weighted else math.nan,
        "heavy_tails": float((k > PARETO_K).mean()) if known else math.nan,
        **{key: float(values[key].mean()) for key in ANNEALED if key in values},
        "seconds": seconds,
    }


def kl_row(evaluations: Iterable[Evaluation], elbo: str = "vae") -> Row:
    """ELBO minus log p(x) by annealing, where there is any, else by IWAE, each of most samples.

    `elbo` is the name of the bound that is the ELBO.
    """
    most = {}
    for evaluation in sorted(evaluations, key=lambda evaluation: evaluation.num_samples):
        most |= dict.fromkeys(evaluation.mean, evaluation)
    best = "ais" if "ais" in most else "iwae"
    gap = most[elbo].per_image[elbo] - most[best].per_image[best]
    return {
        "data": "test",
        "estimate": KL,
        "num_samples": most[elbo].num_samples,
        "num_images": len(gap),
        "mean": float(gap.mean()),
        "standard_error": standard_error(gap),
        "log_likelihood": best,
    }


def sandwich_rows(ends: Any, num_chains: int, seconds: float) -> list[Row]:
    """Of a `jvi.ais.Sandwich`: both ends and the gap, on simulated data."""
    numbers = {
        "bdmc-lower": (ends.mean_lower, ends.lower_error),
        "bdmc-upper": (ends.mean_upper, ends.upper_error),
        "bdmc-gap": (ends.gap, ends.gap_error),
    }
    row = {"data": "simulated", "num_samples": num_chains, "num_images": len(ends.lower)}
    row |= {key: getattr(ends, key) for key in ANNEALED}
    return [
        {**row, "estimate": name, "mean": mean, "standard_error": error, "seconds": seconds}
        for name, (mean, error) in numbers.items()
    ]


def combine(replications: Iterable[Sequence[Row]]) -> list[Row]:
    """Rows of one replication from those of several.

    Numbers are averaged (sampling errors by their squares, seconds are added). "spread" is the
    standard deviation between the "means" of the replications, nan for a single one.
    """
    return [_combine(same) for same in zip(*replications, strict=True)]


def _combine(same):
    values = {key: np.array([row.get(key, math.nan) for row in same]) for key in NUMBERS}
    means = values["mean"]
    return {
        **same[0],
        **{key: float(value.mean()) for key, value in values.items()},
        "sampling_error": float(np.sqrt((values["sampling_error"] ** 2).mean())),
        "seconds": float(values["seconds"].sum()),
        "spread": float(means.std(ddof=1)) if len(means) > 1 else math.nan,
        "means": means.tolist(),
    }


def text(rows: Sequence[Row]) -> str:
    """The table that is printed; columns that no row has a number for are left out."""
    columns = {
        header: [_cell(row.get(key), form) for row in rows]
        for header, (key, form) in COLUMNS.items()
    }
    columns = {header: cells for header, cells in columns.items() if set(cells) != {"-"}}
    return table([list(cells) for cells in zip(*columns.values(), strict=True)], list(columns))


def _cell(value, form):
    known = isinstance(value, str) or (value is not None and not math.isnan(value))
    return form.format(value) if known else "-"


def counted(counts: int | Sequence[int], totals: int | Sequence[int]) -> str:
    """How many of each stochastic layer's units: "8 of 8", or "45 of 100 + 12 of 50"."""
    pairs = zip(np.atleast_1d(counts), np.atleast_1d(totals), strict=True)
    return " + ".join(f"{count} of {total}" for count, total in pairs)


def summary(report: Mapping[str, Any], evaluations: Iterable[Evaluation], elbo: str = "vae") -> str:
    """What is printed of a report: its tables, and how far to trust it."""
    evaluations = list(evaluations)
    test, simulated = (
        [row for row in report["rows"] if row["data"] == data] for data in ("test", "simulated")
    )
    kl, active = test[-1], report["active_units"]
    units = ""
    if active is not None:
        units = f"; {counted(active, report['latent_units'])} latent units are active"
    lines = [text(test), f"{KL} is {elbo} - {kl['log_likelihood']}{units}"]
    for evaluation in evaluations:
        if evaluation.doubts:
            label = f"{evaluation.num_samples} samples: " if len(evaluations) > 1 else ""
            last = "last replication: " if len(kl["means"]) > 1 else ""
            lines.append(label + last + _doubts(evaluation))
    if simulated:
        lines += [
            f"{simulated[0]['num_images']} images simulated from the model, between forward and "
            "reverse annealing:",
            text(simulated),
        ]
    lines += [
        f"{name}: {row['acceptance']:.1%} of the moves accepted, mean step size "
        f"{row['step_size']:.3g}"
        for name, row in _annealed(report["rows"]).items()
    ]
    return "\n".join(lines)


def annealing_notes(rows: Iterable[Row], explicit: bool) -> list[str]:
    """What to do where annealing's steps are too long, or, given explicitly, too short."""
    least, most = ACCEPTANCE
    remedy = "--ais-stepsize" + ", or none to have it adapted" * explicit
    notes = []
    for name, row in _annealed(rows).items():
        if row["acceptance"] < least:
            notes.append(f"{name}: nearly all moves are rejected: give a smaller {remedy}")
        elif explicit and row["acceptance"] > most:
            notes.append(f"{name}: the steps are so short that chains stay: give a larger {remedy}")
    return notes


def _annealed(rows):
    """A row that knows its acceptance (the same for all that do), of "ais" and of "bdmc"."""
    known = [row for row in rows if not math.isnan(row["acceptance"])]
    return {row["estimate"].partition("-")[0]: row for row in known}


def _doubts(result):
    """How many of the jackknife's values are not to be trusted, and why."""
    counts, num_images = result.doubts, len(result.per_image["ess"])
    tails = f"{counts['heavy_tail']} have Pareto k > {PARETO_K}"
    if result.num_samples < MIN_TAIL:
        tails = f"Pareto k is unknown below {MIN_TAIL} samples"
    return (
        f"{counts['doubtful']} of {num_images} values are not to be trusted: {tails}, "
        f"{counts['few_samples']} have an effective sample size < 2, "
        f"{counts['large_correction']} a correction above the standard error"
    )


def per_image(evaluations: Iterable[Evaluation], names: Sequence[str]) -> dict[str, np.ndarray]:
    """Arrays of the estimates `names` by name, for a file.

    The names are those of `Evaluation.per_image`, for more than one estimate or number of samples
    NAME@K; what else is known of annealed weights is then ais_NAME@K.
    """
    wanted = [each for each in evaluations if not set(names).isdisjoint(each.mean)]
    several = len(names) > 1 or len(wanted) > 1
    counts = sorted({each.num_samples for each in wanted})
    arrays = {"num_samples": np.array(counts if len(counts) > 1 else counts[0])}
    for each in wanted:
        others = set(each.mean) - set(names)
        for name, values in each.per_image.items():
            if name.removesuffix("_error") not in others:
                ais = "ais" in each.mean and not name.startswith("ais")
                full = f"{'ais_' * ais}{name}@{each.num_samples}"
                arrays[full if several else name] = values
    return arrays


def versions() -> dict[str, str]:
    """Of Python, this project and packages, by name."""
    from jvi import __version__

    found = {"python": platform.python_version(), "jvi": __version__}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except ImportError:  # PackageNotFoundError is one
            continue
    return found


def free_prefix(prefix: str) -> str:
    """PREFIX.evaluation, or the first of PREFIX.evaluation-2, -3, … that no table has yet.

    The name is taken by an empty .json file, so that two evaluations at once get two names.
    """
    for number in itertools.count(1):
        name = f"{prefix}.evaluation" + (f"-{number}" if number > 1 else "")
        if not Path(f"{name}.csv").exists():
            try:
                open(f"{name}.json", "x").close()
                return name
            except FileExistsError:
                pass


def write(prefix: str, report: Mapping[str, Any]) -> None:
    """PREFIX.json: `report`, a dict with "rows"; PREFIX.csv: its rows. Not a number is empty."""
    report = _plain(report)
    with atomic_write(f"{prefix}.json") as temporary:
        temporary.write_text(json.dumps(report, indent=2, allow_nan=False) + "\n")
    keys = (*KEYS, *NUMBERS, "replications", "spread")
    with atomic_write(f"{prefix}.csv") as temporary, open(temporary, "w", newline="") as file:
        lines = csv.DictWriter(file, keys, extrasaction="ignore", lineterminator="\n")
        lines.writeheader()
        lines.writerows({**row, "replications": len(row["means"])} for row in report["rows"])


def write_beside(prefix: str, report: Mapping[str, Any]) -> str:
    """`write` to the `free_prefix` of a model, which is returned, or is free again on failure."""
    name = free_prefix(prefix)
    try:
        write(name, report)
    except BaseException:
        Path(f"{name}.json").unlink(missing_ok=True)
        raise
    return name


def _plain(value):
    """For JSON: numbers that are not finite as None."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
