"""Numbers for tables: means over seeds with both standard errors, beside what was published."""

import math
import re
import statistics
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from results import records

__all__ = ["Cell", "Published", "agrees", "cell", "cells", "difference", "matches", "published"]

SEED = "seed"


class Cell(NamedTuple):
    """A mean over seeds.

    Attributes
    ----------
    value : float
    seeds : float or None
        Its standard error over seeds, where there are several.
    images, samples : float or None
        Standard errors for another test set, and for other noise in the evaluation.
    by_seed : dict
        The value of each seed.
    """

    value: float
    seeds: float | None
    images: float | None
    samples: float | None
    by_seed: dict[Any, float]

    @property
    def error(self) -> float | None:
        """For comparisons with what others measured: all errors that are known."""
        known = [e for e in (self.seeds, self.images, self.samples) if e is not None]
        return math.hypot(*known) if known else None


class Published(NamedTuple):
    """A number as printed, its standard error, where it has one, and half of its last digit."""

    value: float
    error: float | None
    rounding: float


def cell(found: Iterable[Mapping[str, Any]], key: str, error: str = "", scale: float = 1) -> Cell:
    """The mean over seeds of what records have under a key, or "one - another" of two keys.

    Parameters
    ----------
    found : iterable of dict
        Records, one for each seed; without seeds exactly one.
    key : str
    error : str
        The key of its standard error, for numbers that do not carry their own.
    scale : float

    Raises
    ------
    ValueError
        Where there is nothing, or two records have one seed.
    """
    by_seed: dict[Any, list] = {}
    for record in found:
        number = _number(record, key, error)
        if number is not None:
            if record.get(SEED) in by_seed:
                raise ValueError(f"two results have {key} of seed {record.get(SEED)}")
            by_seed[record.get(SEED)] = number
    if not by_seed:
        raise ValueError(f"no result has {key}")
    values = {seed: scale * number[0] for seed, number in by_seed.items()}
    n = len(values)
    return Cell(
        statistics.fmean(values.values()),
        statistics.stdev(values.values()) / math.sqrt(n) if n > 1 else None,
        _joint([abs(scale) * each[1] for each in by_seed.values() if each[1] is not None], 1),
        _joint([abs(scale) * each[2] for each in by_seed.values() if each[2] is not None], 2),
        values,
    )


def _joint(errors, kind):
    """Of a mean over seeds: the same images each time (1), but fresh noise (2)."""
    if not errors:
        return None
    return statistics.fmean(errors) if kind == 1 else math.hypot(*errors) / len(errors)


def _number(record, key, error):
    """(value, images, samples), or None."""
    if " - " in key:
        one, two = (_number(record, each.strip(), "") for each in key.split(" - "))
        if one is None or two is None:
            return None
        noise = [each[2] for each in (one, two) if each[2] is not None]
        return one[0] - two[0], None, math.hypot(*noise) if noise else None
    number = record.get(key)
    if not isinstance(number, Mapping):
        number = {"value": number, "samples": record.get(error)}
    number = [_real(number.get(each)) for each in ("value", "images", "samples")]
    return None if number[0] is None else number


def _real(value):
    """A number, or None for anything else."""
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def matches(record: Mapping[str, Any], where: Mapping[str, Any]) -> bool:
    """Whether a record has these values."""
    return all(str(record.get(key)) == str(value) for key, value in where.items())


def cells(table: Mapping[str, Any], results: Iterable[Mapping[str, Any]]) -> list[list[Any]]:
    """The cells of a table, rows of them; None where no result has one."""
    results = list(results)
    return [[_of(table, row, column, results) for column in table["columns"]]
            for row in table["rows"]]  # fmt: skip


def _of(table, row, column, results):
    chosen = {**table, **row, **column} | {
        "where": table.get("where", {}) | row.get("where", {}) | column.get("where", {}),
        "scale": table.get("scale", 1) * row.get("scale", 1) * column.get("scale", 1),
    }
    found = [r for r in records(results, chosen["job"]) if matches(r, chosen["where"])]
    try:
        return cell(found, chosen["key"], chosen.get("error", ""), chosen["scale"])
    except ValueError as problem:
        if str(problem).startswith("no result"):
            return None
        raise ValueError(f"{row['label']} / {column['label']}: {problem}") from None


def difference(one: Cell, two: Cell) -> tuple[float, float | None, float]:
    """Of two cells: its value, standard error, and half of its 95% interval in standard errors.

    By seed where they share at least two, else apart. The interval is Student's, for few seeds say
    little of their own spread: 12.7 standard errors with two, 4.3 with three, 2.8 with five.
    """
    shared = [seed for seed in one.by_seed if seed in two.by_seed]
    if len(shared) > 1:
        pairs = [one.by_seed[seed] - two.by_seed[seed] for seed in shared]
        error = statistics.stdev(pairs) / math.sqrt(len(pairs))
        return statistics.fmean(pairs), error, _half_interval(len(pairs))
    known = [each.error for each in (one, two) if each.error is not None]
    seeds = [len(each.by_seed) for each in (one, two) if each.seeds is not None]
    error = math.hypot(*known) if known else None
    return one.value - two.value, error, _half_interval(min(seeds, default=1))


def _half_interval(seeds):
    """95% of Student's t for so many seeds; two standard errors where seeds do not vary."""
    from scipy.stats import t

    return float(t.ppf(0.975, seeds - 1)) if seeds > 1 else 2.0


def published(text: Any) -> Published | None:
    """What "-88.66 ± 0.02", a plain number, or "86.76 (19)" stands for.

    Raises
    ------
    ValueError
        For anything else.
    """
    if text is None:
        return None
    found = re.fullmatch(
        r"\s*([-+]?[\d.]+(?:e[-+]?\d+)?)\s*(?:±\s*([\d.]+))?\s*(?:\(.*\))?\s*",
        str(text).replace("\N{MINUS SIGN}", "-"),
    )
    if not found:
        raise ValueError(f"{text!r} is no published number")
    digits, _, power = found[1].partition("e")
    last = int(power or 0) - len(digits.partition(".")[2])
    return Published(float(found[1]), float(found[2]) if found[2] else None, 0.5 * 10.0**last)


def agrees(ours: Cell, theirs: Published, within: float = 0.0) -> bool:
    """Whether they differ by at most two standard errors of the difference, rounding and `within`.

    `within` is for numbers without an error, as of active units.
    """
    most = 2 * math.hypot(ours.error or 0, theirs.error or 0) + 1.001 * theirs.rounding + within
    return abs(ours.value - theirs.value) <= most
