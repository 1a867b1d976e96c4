"""Pictures of a flow experiment: learning curves against time, samples and reconstructions."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jvi.assessment.factorised import Baseline
from jvi.assessment.flow_tables import by_label, unit_of
from jvi.assessment.plots import grid, new_figure, save_png
from jvi.datasets import Dataset, observe_each
from jvi.engine.random import stream
from jvi.evidence.arrays import host

__all__ = ["draw_curves", "draw_images"]

COLUMNS = 10
SKIPPED = 0.05  # share of the time at the start, which would flatten the rest


def draw_curves(
    path: Path, results: Sequence[Mapping[str, Any]], lines: Mapping[str, Baseline]
) -> None:
    """The validation bound of every run against processor time, and baselines, as a PNG.

    Parameters
    ----------
    path : Path
    results : sequence of dict
        As `jvi.assessment.flow_experiments.complete` gives them.
    lines : mapping from name to Baseline
    """
    figure, unit = new_figure(7.2, 4.6), unit_of(results)
    axes, late = figure.subplots(), []
    for i, (label, same) in enumerate(by_label(results).items()):
        for j, result in enumerate(same):
            curve = result["training"]["curve"]
            minutes = np.array([point["cpu"] for point in curve]) / 60
            values = unit.value(np.array([point["validation"] for point in curve]))
            axes.plot(minutes, values, color=f"C{i}", label=None if j else label, linewidth=1.1)
            late += list(values[minutes >= SKIPPED * minutes[-1]])
    for i, (name, line) in enumerate(lines.items()):
        axes.axhline(line.mean, color="black", linestyle=("--", ":")[i % 2], label=name)
        late.append(line.mean)
    margin = 0.05 * (max(late) - min(late)) + 1e-3
    axes.set_ylim(min(late) - margin, max(late) + margin)
    axes.set(xlabel="minutes of processor time", ylabel=f"ELBO of validation images, {unit.name}")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small", frameon=False)
    save_png(figure, path)


def draw_images(path: Path, model: Any, data: Dataset, seed: int = 0) -> None:
    """Test images beside their reconstructions, and draws from the prior, as a PNG.

    Parameters
    ----------
    path : Path
    model : jvi.Model
    data : Dataset
        Of images.
    seed : int
        Of the draws.
    """
    x = observe_each(data, data.test[: 3 * COLUMNS], 0)
    rng = stream(seed, "pictures")
    made = host(model.reconstruct(x))
    drawn = host(model.sample_prior(6 * COLUMNS, rng))
    pairs = np.concatenate(
        [part for i in range(0, len(x), COLUMNS) for part in (x[i:][:COLUMNS], made[i:][:COLUMNS])]
    )
    figure = new_figure(10.4, 3.6)
    for axes, title, rows in zip(
        figure.subplots(1, 2),
        ("image above reconstruction", "samples from the prior (means)"),
        (pairs, drawn),
        strict=True,
    ):
        tiled = np.clip(grid(rows, data.image_shape, COLUMNS), 0, 1)
        axes.imshow(tiled, cmap="gray", vmin=0, vmax=1)
        axes.set_title(title, fontsize="medium")
        axes.set_axis_off()
    save_png(figure, path)
