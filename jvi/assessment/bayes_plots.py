"""Pictures of a Bayesian network: its curve, calibration, weights, and what pruning costs."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jvi.assessment.calibration import Reliability
from jvi.assessment.plots import BLUE, ORANGE, new_figure, save_png
from jvi.assessment.pruning import Pruned

__all__ = [
    "draw_bands",
    "draw_coverage",
    "draw_pruning",
    "draw_reliability",
    "draw_weights",
    "picture",
]

DIAGONAL = {"color": "gray", "linestyle": ":", "linewidth": 1}


def picture(path: str | Path, draw: Callable, *arguments: Any, panels: int = 1) -> None:
    """What `draw(axes, *arguments)` draws, as a PNG; of several panels, axes are an array."""
    figure = new_figure(1.2 + 4.4 * panels, 4.0)
    axes = figure.subplots(1, panels)
    draw(axes, *arguments)
    for each in np.ravel(axes):
        each.grid(alpha=0.3)
    save_png(figure, path)


def draw_bands(
    axes: Any, grid: np.ndarray, bands: Sequence[Any], points: np.ndarray, names: tuple[str, str]
) -> None:
    """A regression on one feature (Blundell et al. 2015, Figure 5).

    Parameters
    ----------
    axes : matplotlib.axes.Axes
    grid : array, shape (n,)
        Values of the feature.
    bands : sequence of NumberPredictions
        Of the grid, for several levels, the widest first.
    points : array, shape (B, 2)
        Of the training data.
    names : (str, str)
        Of feature and target.
    """
    axes.plot(*points.T, ".", color="gray", markersize=3, alpha=0.4, label="training data")
    for number, each in enumerate(bands):
        look = {"color": BLUE, "linewidth": 0, "alpha": 0.2 + 0.2 * number}
        axes.fill_between(
            grid, each.lower, each.upper, label=f"{each.level:.0%} of targets", **look
        )
    inner = bands[-1]
    for side in (-1, 1):
        label = "mean ± std of the weights alone" if side > 0 else None
        edge = inner.mean + side * inner.weight_std
        axes.plot(grid, edge, color=ORANGE, linewidth=0.8, label=label)
    axes.plot(grid, inner.mean, color=BLUE, linewidth=1.5, label="mean")
    axes.set(xlabel=names[0], ylabel=names[1])
    axes.legend(frameon=False, fontsize="small")


def draw_reliability(axes: Any, found: Reliability) -> None:
    """Accuracy against confidence, bin by bin, with the share of rows in each."""
    middle, width = 0.5 * (found.edges[1:] + found.edges[:-1]), np.diff(found.edges)
    axes.bar(
        middle, found.counts / found.counts.sum(), width, color="gray", alpha=0.3, label="rows"
    )
    axes.plot(found.confidence, found.accuracy, "o-", color=BLUE, markersize=4, label="accuracy")
    axes.plot([0, 1], [0, 1], **DIAGONAL)
    axes.set(xlabel="probability of the most probable class", ylabel="share", ylim=(0, 1.02))
    axes.set_title(f"calibration error {found.error:.4f}")
    axes.legend(frameon=False, loc="upper left")


def draw_coverage(axes: Any, levels: np.ndarray, shares: np.ndarray) -> None:
    """Share of targets in the central intervals against their level."""
    axes.plot(levels, shares, "o-", color=BLUE, markersize=4)
    axes.plot([0, 1], [0, 1], **DIAGONAL)
    axes.set(xlabel="level of the interval", ylabel="share of targets in it")


def draw_weights(axes: Sequence[Any], means: np.ndarray, ratios: np.ndarray) -> None:
    """Histograms of the weights' means and of their |mean| / sigma in decibels, (P,) each."""
    axes[0].hist(means, _edges(means), color=BLUE, alpha=0.6)
    axes[0].set(xlabel="mean of a weight", ylabel="weights", yscale="log")
    decibels = 20 * np.log10(np.maximum(ratios, 1e-6))
    axes[1].hist(decibels, _edges(decibels), color=BLUE, alpha=0.6)
    axes[1].set(xlabel="|mean| / sigma of a weight, dB", ylabel="weights")


def _edges(values):
    """Bins between the extremes, where there is more than one value."""
    low, high = float(values.min()), float(values.max())
    return np.linspace(low, high if high > low else low + 1, 61)


def draw_pruning(axes: Any, curve: Sequence[Pruned]) -> None:
    """What is lost with a share of the weights (Blundell et al. 2015, Table 2)."""
    name = "accuracy" if "accuracy" in curve[0].scores else "rmse"
    shares = [each.share for each in curve]
    values, errors = np.array([each.scores[name] for each in curve]).T
    if name == "accuracy":
        values, name = 1 - values, "share of wrong classes"
    axes.errorbar(shares, values, errors, fmt="o-", color=BLUE, markersize=4)
    label = "RMSE" if name == "rmse" else name
    axes.set(xlabel="share of weights pruned by |mean| / sigma", ylabel=label)
