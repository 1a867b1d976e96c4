"""Pictures of several models in one chart."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jvi.assessment.plots import INK, column, legend_above, number

__all__ = ["Curve", "draw_curves", "draw_differences", "draw_overlaid", "has_curve"]

# Of models one after the other; all can be seen on white and on black.
COLOURS = ["#3f83c9", "#d9731f", "#2f9e6e", "#b057c9", "#b8921e", "#d6486b", "#1f9aad", "#848b95"]
STYLES = ("-", "--", ":", "-.")  # once the colours are used up

LONGEST = 24  # characters of a name in a legend
VALIDATION = "validation/main/iwae"


class Curve(NamedTuple):
    """The log of a model's training, and the epoch that its parameters are of, if known."""

    log: Sequence[Mapping[str, float]]
    kept: float | None


def draw_differences(
    axes: Any, differences: Mapping[str, np.ndarray], names: Sequence[str]
) -> None:
    """Differences image by image, arrays of shape (N,) by model, each from least to largest.

    A model has the colour of its place in `names`, as in the other charts.
    """
    for name, values in differences.items():
        share, look = (np.arange(len(values)) + 0.5) / len(values), _look(names.index(name))
        axes.plot(100 * share, np.sort(values), label=_short(name), linewidth=1.2, **look)
    axes.axhline(0, color=INK, linewidth=0.7)
    axes.set(xlabel="images, %", ylabel="nats", xlim=(0, 100))
    legend_above(axes)


def draw_overlaid(axes: Any, values: Mapping[str, np.ndarray]) -> None:
    """Histograms of log p(x), arrays of shape (N,) by model, with their means."""
    edges = np.histogram_bin_edges(np.concatenate(list(values.values())), 40)
    for i, (name, array) in enumerate(values.items()):
        told, look = f"{_short(name)}, mean {number(array.mean())}", _look(i)
        axes.hist(array, edges, histtype="step", label=told, **look)
        axes.axvline(array.mean(), color=look["color"], linestyle="--", linewidth=1)
    axes.set(xlabel="log p(x), nats", ylabel="images")
    axes.yaxis.get_major_locator().set_params(integer=True)
    legend_above(axes)


def draw_curves(axes: Any, curves: Mapping[str, Curve]) -> None:
    """IWAE of validation by epoch, of the models whose logs have it."""
    for i, (name, (log, kept)) in enumerate(curves.items()):
        if not has_curve(log):
            continue
        epochs, values, look = column(log, "epoch"), -column(log, VALIDATION), _look(i)
        axes.plot(epochs, values, label=_short(name), linewidth=1.2, **look)
        at = np.flatnonzero(epochs == kept)
        axes.plot(epochs[at], values[at], "o", markersize=5, color=look["color"])
    axes.set(xlabel="epoch", ylabel="nats per image", ylim=(_lowest(curves), None))
    axes.xaxis.get_major_locator().set_params(integer=True)
    legend_above(axes)


def has_curve(log: Sequence[Mapping[str, float]]) -> bool:
    """Whether there is something of it to draw."""
    return bool(log) and bool(np.isfinite(column(log, VALIDATION)).any())


def _lowest(curves):
    """The bottom of the chart: first epochs, far below all others, would flatten the rest."""
    third = [-column(log[2:3], VALIDATION) for log, _ in curves.values() if len(log) > 10]
    known = [value[0] for value in third if np.isfinite(value[0])]
    return min(known) if len(known) == len(curves) else None


def _look(i):
    return {
        "color": COLOURS[i % len(COLOURS)],
        "linestyle": STYLES[i // len(COLOURS) % len(STYLES)],
    }


def _short(name):
    """The end of a long name is what tells it from others."""
    return name if len(name) <= LONGEST else f"…{name[1 - LONGEST :]}"
