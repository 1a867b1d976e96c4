"""Rows as a table with notes on it, as JSON and CSV, and arrays for a file (docs/evaluation.md)."""

import itertools
import math
import platform
import re
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from jvi.assessment.cross import Cell
from jvi.assessment.estimates import EXACT, STARTS, Evaluation
from jvi.assessment.in_unit import VALUES
from jvi.assessment.rows import DIFFERENCE, KEYS, KL, NUMBERS, Row, difference_error, largest
from jvi.evidence.diagnostics import MIN_TAIL, pareto_threshold
from jvi.files import write_csv, write_json
from jvi.text import table

__all__ = [
    "NOISY",
    "annealing_notes",
    "cells",
    "counted",
    "crossed",
    "doubted",
    "free_prefix",
    "known_cells",
    "per_image",
    "result_lines",
    "start_notes",
    "summary",
    "text",
    "unit_of",
    "versions",
    "write",
    "write_beside",
]

# Columns of the table: the key of a row, and how its values are printed.
IN_UNIT = "in the unit of the data"  # in the place of which its name is printed
COLUMNS = {
    "estimate": ("estimate", "{estimate}"),
    "samples": ("samples", "{samples}"),
    IN_UNIT: ("told", "{told}"),
    "nats": ("mean", "{mean:.4f}"),
    "± images": ("standard_error", "{standard_error:.4f}"),
    "± samples": ("sampling_error", "{sampling_error:.4f}"),
    "± reps": ("spread", "{spread:.4f}"),
    "ESS": ("ess", "{ess:.1f}"),
    "heavy tails": ("heavy_tails", "{heavy_tails:.1%} (k > {k_threshold:.2f})"),
}

# Mean acceptance of annealing's moves, between which its steps are neither too long nor too short.
ACCEPTANCE = (0.2, 0.98)

NOISY = 256  # samples, below which more than one in 20 images is above the threshold by chance

# Packages that the numbers may depend on.
PACKAGES = ("chainer", "numpy", "scipy", "scikit-image", "cupy-cuda12x", "cupy-cuda13x")


def text(rows: Sequence[Row]) -> str:
    """The table that is printed."""
    return table(*cells(rows))


def cells(rows: Sequence[Row]) -> tuple[list[list[str]], list[str]]:
    """The table's cells, row by row, and its header; columns without a number are left out."""
    rows = [{"samples": str(row["num_samples"]), "told": _in_unit(row)} | row for row in rows]
    return known_cells(rows, COLUMNS, {IN_UNIT: f"{unit_of(rows)} ± images"})


def known_cells(
    rows: Sequence[Row], columns: Mapping[str, tuple[str, str]], headings: Mapping[str, str]
) -> tuple[list[list[str]], list[str]]:
    """Cells and header of columns, as `COLUMNS` are, of which something is known.

    `headings` are printed in the place of the names of columns.
    """
    known = {
        header: [_cell(row, key, form) for row in rows] for header, (key, form) in columns.items()
    }
    known = {header: cells for header, cells in known.items() if set(cells) != {"-"}}
    header = [headings.get(each, each) for each in known]
    return [list(row) for row in zip(*known.values(), strict=True)], header


def unit_of(rows: Iterable[Row]) -> str:
    """The name of the unit that rows are told in beside nats; "" without one."""
    return next((row["unit"] for row in rows if "unit" in row), "")


def result_lines(rows: Iterable[Row], label: str = "") -> list[str]:
    """In the original's format, with the name of the data set where there are several."""
    return [
        f"{row['mean']:.8f} +/- {row['standard_error']:.8f} "
        f"# logp({row['estimate']}) {row['num_samples']} {label}".rstrip()
        for row in rows
    ]


def _in_unit(row):
    """A mean and its standard error in the unit of the data, where that is not nats."""
    if "unit" not in row:
        return None
    return _pair(Cell(row["value"], row["value_standard_error"]))


def _cell(row, key, form):
    value = row.get(key)
    known = isinstance(value, str) or (value is not None and not math.isnan(value))
    return form.format(**row) if known else "-"


def counted(counts: int | Sequence[int], totals: int | Sequence[int]) -> str:
    """How many of each stochastic layer's units: "8 of 8", or "45 of 100 + 12 of 50"."""
    pairs = zip(np.atleast_1d(counts), np.atleast_1d(totals), strict=True)
    return " + ".join(f"{count} of {total}" for count, total in pairs)


def summary(report: Mapping[str, Any], evaluations: Iterable[Evaluation]) -> str:
    """What is printed of a report: its tables, and how far to trust it."""
    evaluations = list(evaluations)
    simulated = [row for row in report["rows"] if row["data"] == "simulated"]
    test = [row for row in report["rows"] if row["data"] != "simulated"]
    kl, active = test[-1], report["active_units"]
    units = ""
    if active is not None:
        units = f"; {counted(active, report['latent_units'])} latent units are active"
    lines = [text(test), f"{KL} is {kl['parts']}{units}"]
    lines += doubted(evaluations, "last replication: " * (len(kl["means"]) > 1))
    if report.get("measures"):
        lines += [_measures(report["measures"])]
    if simulated:
        lines += [
            f"{simulated[0]['num_images']} images simulated from the model, between forward and "
            "reverse annealing:",
            text(simulated),
        ]
    lines += [_compared(row) for row in _differences(test) if not _disagree(row)]
    lines += [
        f"{name}: {row['acceptance']:.1%} of the moves accepted, mean step size "
        f"{row['step_size']:.3g}"
        for name, row in _annealed(report["rows"]).items()
    ]
    return "\n".join(lines)


def _measures(rows):
    """The table of what was measured beside bounds."""
    told = [
        [row["measure"], _measured(row), _cell(row, "standard_error", "{standard_error:.4f}")]
        for row in rows
    ]
    return table(told, ["measure", "mean", "± images"])


def _measured(row):
    form = "{mean:.4f}" if math.isnan(row["total"]) else "{mean:.0f} of {total}"
    return _cell(row, "mean", form)


def crossed(
    columns: Sequence[str], found: Mapping[str, Sequence[Cell | None]], trained_on: str | None
) -> str:
    """The table of `jvi.assessment.cross.cross`, as it is printed."""
    rows = [[name, *map(_pair, row)] for name, row in found.items()]
    return table(rows, [f"trained on {trained_on or 'unknown data'}, tested on", *columns])


def _pair(cell):
    if cell is None or math.isnan(cell.mean):
        return "-"
    if math.isnan(cell.error):
        return f"{cell.mean:.4g}"
    return f"{cell.mean:.4f} ± {cell.error:.4f}"


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
    """A row that knows its acceptance (the same for all that do) of each annealing."""
    known = [row for row in rows if not math.isnan(row["acceptance"])]
    return {re.sub("-(lower|upper|gap)$", "", row["estimate"]): row for row in known}


def start_notes(rows: Iterable[Row]) -> list[str]:
    """A warning where annealing from q and from the prior do not give the same."""
    return [
        f"{_compared(row)}: the lower one misses a part of p(z|x) or has not converged. Take the "
        "higher one, and compare again with more --ais-temps"
        for row in _differences(rows)
        if _disagree(row)
    ]


def _differences(rows):
    return [row for row in rows if row["estimate"] == DIFFERENCE]


def _disagree(row):
    return abs(row["mean"]) > row["half_width"] / _root(row)


def _compared(row):
    """What the difference between the two starts is in its errors."""
    error = row["sampling_error"] / _root(row)
    if math.isnan(error):
        return f"{DIFFERENCE} cannot be judged with one chain"
    z = row["mean"] / error if error else math.copysign(math.inf, row["mean"])
    verdict = "disagree" if _disagree(row) else "agree"
    return f"{DIFFERENCE} is {row['mean']:.4f} ± {error:.4f} nats (z = {z:.1f}): they {verdict}"


def _root(row):
    """By what errors of a mean over replications are smaller than those of one."""
    return math.sqrt(len(row["means"]))


def doubted(evaluations: Sequence[Evaluation], before: str = "", always: bool = True) -> list[str]:
    """A sentence for each evaluation with a jackknife: how many of its values are in doubt.

    With `always` also where none is.
    """
    several = len(evaluations) > 1
    return [
        f"{each.num_samples} samples: " * several + before + _doubts(each)
        for each in evaluations
        if each.doubts and (always or each.doubts["doubtful"])
    ]


def _doubts(result):
    """How many of the jackknife's values are not to be trusted, and why."""
    counts, num_images = result.doubts, len(result.per_image["ess"])
    tails = f"Pareto k is unknown below {MIN_TAIL} samples"
    if result.num_samples >= MIN_TAIL:
        threshold = pareto_threshold(result.num_samples)
        noise = " (partly by the noise of k from few samples)" * (result.num_samples < NOISY)
        tails = f"{counts['heavy_tail']} have Pareto k > {threshold:.2f}{noise}"
    return (
        f"{counts['doubtful']} of {num_images} values are not to be trusted: {tails}, "
        f"{counts['few_samples']} have an effective sample size < 2, "
        f"{counts['large_correction']} a correction above the standard error"
    )


def per_image(
    evaluations: Iterable[Evaluation], names: Sequence[str], elbo: str = "vae"
) -> dict[str, np.ndarray]:
    """All that the rows of the table are made of, arrays by name, for a file.

    The names are those of `Evaluation.per_image`, for more than one estimate or number of samples
    NAME@K; what else is known of annealed weights is then ais_NAME@K. What only the divergence's
    row needs is always NAME@K, and so is the error of a difference, ONE-TWO_error@K.
    """
    evaluations = list(evaluations)
    wanted = [each for each in evaluations if not set(names).isdisjoint(each.mean)]
    several = len(names) > 1 or len(wanted) > 1
    counts = sorted({each.num_samples for each in wanted})
    arrays = {"num_samples": np.array(counts if len(counts) > 1 else counts[0])}
    for each in wanted:
        others = set(each.mean) - set(names)
        for name, values in each.per_image.items():
            if "-iwae_" not in name and name.removesuffix("_error") not in others:
                full = f"{_weights(each, name)}{name}@{each.num_samples}"
                arrays[full if several else name] = values
    for each in evaluations:
        if EXACT in each.mean:
            arrays[EXACT] = each.per_image[EXACT]
    return arrays | _of_divergence(evaluations, names, elbo) | _of_starts(evaluations)


def _weights(evaluation, name):
    """What a name begins with that is of annealed weights."""
    start = next((start for start in STARTS if start in evaluation.mean), None)
    return f"{start}_" if start and name.removesuffix("_error") != start else ""


def _of_divergence(evaluations, names, elbo):
    """Of ELBO and IWAE, of most samples, what was not asked for, and the error of the difference.

    IWAE only where nothing was annealed, and log p(x) is not known.
    """
    most = largest(evaluations)
    against = [] if {*STARTS, EXACT} & most.keys() else ["iwae"]
    keys = [f"{elbo}-iwae_error"] if against else []
    for name in {elbo, *against} - set(names):
        keys += [name, f"{name}_error"]
    count, values = most[elbo].num_samples, most[elbo].per_image
    return {f"{key}@{count}": values[key] for key in keys}


def _of_starts(evaluations):
    """The error of the difference between annealing from q and from the prior; {} without both."""
    most = largest(evaluations)
    if not STARTS.keys() <= most.keys():
        return {}
    (one, first), (two, second) = ((name, most[name]) for name in STARTS)
    errors = difference_error(first, one, second, two)
    return {f"{one}-{two}_error@{first.num_samples}": errors}


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


def free_prefix(prefix: str | Path) -> str:
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


def write(prefix: str | Path, report: Mapping[str, Any]) -> None:
    """PREFIX.json: `report`, a dict with "rows"; PREFIX.csv: its rows. Not a number is empty.

    What was measured beside bounds, under "measures", ends the CSV as rows without a K; rows of
    data that have another unit than nats have `jvi.assessment.in_unit.VALUES`, too.
    """
    more = VALUES if any("unit" in row for row in report["rows"]) else ()
    rows = [{**row, "replications": len(row["means"])} for row in report["rows"]]
    rows += [{**row, "estimate": row["measure"]} for row in report.get("measures", [])]
    write_json(f"{prefix}.json", report)
    write_csv(f"{prefix}.csv", rows, (*KEYS, *NUMBERS, "replications", "spread", *more))


def write_beside(prefix: str | Path, report: Mapping[str, Any]) -> str:
    """`write` to the `free_prefix` of a model, which is returned, or is free again on failure."""
    name = free_prefix(prefix)
    try:
        write(name, report)
    except BaseException:
        Path(f"{name}.json").unlink(missing_ok=True)
        raise
    return name
