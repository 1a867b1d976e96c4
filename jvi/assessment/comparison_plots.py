"""Pictures of a comparison, from the files of its runs alone."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jvi.assessment.plots import new_figure, number, save_png

__all__ = ["draw_curves", "draw_numbers", "lowest_shown"]


def draw_numbers(
    path: Path, rows: Sequence[Mapping[str, Any]], key: str, label: str, log: bool = False
) -> None:
    """A number of each estimator with its standard error over seeds, as a PNG.

    Parameters
    ----------
    path : Path
    rows : sequence of dict
        Of `jvi.assessment.comparison_tables.rows`; those without the number are left out.
    key : str
    label : str
        Of its axis.
    log : bool
        Whether that is logarithmic.
    """
    rows = [row for row in rows if row.get(key) is not None][::-1]
    several = len({row["num_samples"] for row in rows}) > 1
    names = [
        f"{row['estimator']}, K = {row['num_samples']}" if several else row["estimator"]
        for row in rows
    ]
    figure = new_figure(7.2, 0.7 + 0.24 * len(rows))
    axes = figure.subplots()
    errors = np.nan_to_num([row.get(f"{key}_error", 0.0) for row in rows])
    axes.errorbar([row[key] for row in rows], range(len(rows)), xerr=errors, fmt="o", ms=4)
    axes.set_yticks(range(len(rows)), names)
    axes.set(xlabel=f"{label}, ± standard error over seeds", ylim=(-0.7, len(rows) - 0.3))
    if log:
        axes.set_xscale("log")
    else:
        _mark_outliers(axes, [row[key] for row in rows])
    axes.grid(alpha=0.3)
    save_png(figure, path)


def lowest_shown(values: Sequence[float]) -> float:
    """Where an axis of these begins.

    What lies more than four times as far from the best as the median does has gone astray, and
    would flatten the rest.
    """
    best, middle = max(values), float(np.median(values))
    if best == middle:
        return min(values)
    return max(min(values), best - 4.0 * (best - middle))


def _mark_outliers(axes, values):
    low, best = lowest_shown(values), max(values)
    if low <= min(values):
        return
    axes.set_xlim(low, best + 0.05 * (best - low))
    for place, value in enumerate(values):
        if value < low:
            axes.annotate(f"\u25c0 {number(value)}", (low, place), va="center")


def draw_curves(
    path: Path,
    results: Sequence[Mapping[str, Any]],
    key: str,
    labels: tuple[str, str],
    log: bool = False,
) -> None:
    """A number of every epoch by estimator, the mean over seeds, as a PNG.

    Parameters
    ----------
    path : Path
    results : sequence of dict
        As `jvi.assessment.comparison.complete` gives them; for one K.
    key : str
        Of the curve.
    labels : tuple of str
        Key of the horizontal axis, and label of the vertical one.
    log : bool
        Whether that is logarithmic.
    """
    figure = new_figure(7.2, 5.0)
    axes = figure.subplots()
    by_name: dict[str, list] = {}
    for result in results:
        by_name.setdefault(result["run"]["estimator"], []).append(result["training"]["curve"])
    for i, (name, curves) in enumerate(by_name.items()):
        x, low, mean, high = _band(curves, labels[0], key)
        look = {"color": f"C{i % 10}", "linestyle": ("-", "--", ":")[i // 10]}
        axes.plot(x, mean, label=name, linewidth=1.2, **look)
        axes.fill_between(x, low, high, color=look["color"], alpha=0.15, linewidth=0)
    if log:
        axes.set_yscale("log")
    else:
        _leave_out_the_start(axes, by_name, key)
    axes.set(xlabel=f"{labels[0]} (bands: lowest to highest seed)", ylabel=labels[1])
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small", loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    save_png(figure, path)


def _band(curves, place, key):
    """(places, lowest, mean, highest) over seeds, as far as all of them came."""
    length = min(map(len, curves))
    values = np.array([[point[key] for point in curve[:length]] for curve in curves], dtype=float)
    return (
        [point[place] for point in curves[0][:length]],
        values.min(axis=0),
        values.mean(axis=0),
        values.max(axis=0),
    )


def _leave_out_the_start(axes, by_name, key):
    """The first epochs, and what went astray, lie far below and would flatten the rest."""
    curves = [curve for same in by_name.values() for curve in same]
    values = [point[key] for curve in curves for point in curve[len(curve) // 4 :]]
    values = [value for value in values if value is not None]
    if values and min(values) < max(values):
        low, best = lowest_shown(values), max(values)
        axes.set_ylim(low, best + 0.05 * (best - low))
