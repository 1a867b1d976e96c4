"""Pictures of a training run, of what the model has learnt and of its importance weights."""

import io
import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import jvi
from jvi.evidence.arrays import host
from jvi.files import atomic_write

__all__ = [
    "CURVES",
    "INK",
    "best_epoch",
    "column",
    "draw_concentration",
    "draw_curve",
    "draw_ess",
    "draw_latent",
    "draw_likelihoods",
    "draw_pareto",
    "grid",
    "legend_above",
    "new_figure",
    "number",
    "picture_of_run",
    "png",
    "save_png",
    "svg",
    "with_error",
]

# Both can be seen on white and on black; INK stands for the text's colour, whatever that is.
BLUE, ORANGE, INK = "#3f83c9", "#d9731f", "#010203"

CURVES = {
    "main/obj": "objective, training batches",
    "p_obj/obj": "objective, training batches",  # of the original's "jvi+elbo"
    "validation/main/obj": "objective, validation",
    "validation/main/iwae": "IWAE, validation",
}

_SVG = {
    **dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color"), INK),
    **dict.fromkeys(("axes.edgecolor", "grid.color"), INK),
    **dict.fromkeys(("axes.spines.top", "axes.spines.right"), False),
    "axes.grid": True,
    "grid.alpha": 0.15,
    "legend.frameon": False,
    "font.size": 8.5,
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "jvi",  # the same picture has the same bytes
}


def number(value: float, form: str = ".2f") -> str:
    """A number as pages and pictures show it, with the minus sign that axes have."""
    form = form if abs(value) < 1e6 else ".3g"  # of models that diverged
    return format(value, form).replace("-", "\N{MINUS SIGN}")


def with_error(mean: float, error: float, form: str = ".2f") -> str:
    """A mean and its standard error, where there is one."""
    return number(mean, form) + ("" if math.isnan(error) else f" ± {number(error, form)}")


def grid(images: np.ndarray, image_shape: tuple[int, ...], columns: int) -> np.ndarray:
    """Tile images, shape (n, pixels), row by row into one array with a pixel between them.

    That has two axes, or three where `image_shape` is (rows, columns, 3) of images in colour.
    """
    rows = -(-len(images) // columns)
    height, width, *colours = image_shape
    tiled = np.full((rows * (height + 1) + 1, columns * (width + 1) + 1, *colours), 0.5)
    for index, image in enumerate(images):
        top = 1 + (index // columns) * (height + 1)
        left = 1 + (index % columns) * (width + 1)
        tiled[top : top + height, left : left + width] = image.reshape(image_shape)
    return tiled


def png(tiled: np.ndarray) -> bytes:
    """A file in memory, bytes, of what `grid` makes.

    Of shape (rows, columns), 0 is white and 1 black; of shape (rows, columns, 3) it is in colour.
    """
    from matplotlib.image import imsave

    file = io.BytesIO()
    look = {"cmap": "gray_r", "vmin": 0, "vmax": 1}
    imsave(file, np.clip(tiled, 0, 1), format="png", metadata={"Software": None}, **look)
    return file.getvalue()


def svg(name: str, draw: Callable, *arguments: Any) -> str:
    """What `draw(axes, *arguments)` draws, as an element to put into an HTML page.

    It takes the colour of the page's text, its ids begin with `name`, and it refers to nothing
    outside.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    file = io.StringIO()
    with rc_context(_SVG):
        figure = Figure(figsize=(4.4, 2.9), layout="constrained", facecolor="none")
        axes = figure.subplots()
        axes.set(facecolor="none", axisbelow=True)
        draw(axes, *arguments)
        metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(file, format="svg", dpi=200, metadata=metadata)
    text = file.getvalue()
    text = text[text.index("<svg") :].replace(INK, "currentColor")
    text = re.sub(r' xmlns(:\w+)?="[^"]*"| (width|height)="[\d.]+pt"', "", text)
    return re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", text)


def picture_of_run(
    path: str | Path,
    log: Sequence[Mapping[str, float]],
    model: Any,
    images: np.ndarray,
    image_shape: tuple[int, ...],
    rng: np.random.Generator,
) -> None:
    """Training curve, reconstructions and samples from the prior, as one PNG.

    Parameters
    ----------
    path : str or Path
    log : list of dict
        As Chainer's LogReport keeps it.
    model : jvi.Model
    images : array, shape (n, pixels)
        Images to reconstruct as the model is given them: binary ones, or bytes / 256.
    image_shape : tuple of int
        (rows, columns) of an image, or (rows, columns, 3).
    rng : numpy.random.Generator
        For the samples from the prior.
    """
    figure = new_figure(13, 4.2)
    curve, reconstructed, sampled = figure.subplots(1, 3, width_ratios=(1.3, 1, 1))
    kept = best_epoch(log)
    draw_curve(curve, log, kept)
    if kept is not None:
        told = f"epoch {kept} of {log[-1]['epoch']}, jvi {jvi.__version__}"
        figure.supxlabel(told, x=0.99, ha="right", fontsize="small")
    pairs = np.stack([images, host(model.reconstruct(images))], axis=1)
    pairs = pairs.reshape(-1, images.shape[1])
    _draw_images(reconstructed, "image | reconstruction", grid(pairs, image_shape, 8))
    samples = host(model.sample_prior(64, rng))
    _draw_images(sampled, "samples from the prior", grid(samples, image_shape, 8))
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")


def new_figure(width: float, height: float) -> Any:
    """A figure of these inches that belongs to no window."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save_png(figure: Any, path: str | Path, dpi: int = 110) -> None:
    """Write a figure, whole or not at all, with the same bytes for the same picture."""
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format="png", dpi=dpi, metadata={"Software": None})


def best_epoch(log: Sequence[Mapping[str, float]]) -> float | None:
    """The epoch whose parameters training keeps: of the best validation IWAE; None if unknown."""
    values = -column(log, "validation/main/iwae")
    if not np.isfinite(values).any():
        return None
    return log[int(np.nanargmax(values))].get("epoch")


def draw_curve(axes: Any, log: Sequence[Mapping[str, float]], kept: float | None = None) -> None:
    """Objectives by epoch, of a log as Chainer's LogReport keeps it; epoch `kept` is marked."""
    epochs = column(log, "epoch")
    for key, label in CURVES.items():
        if any(key in entry for entry in log):
            style = "--" if key.endswith("iwae") else "-"  # may lie on the objective
            marker = "." if len(log) < 30 else ""
            axes.plot(epochs, -column(log, key), style, label=label, linewidth=1, marker=marker)
    low = -column(log[2:3], "validation/main/obj")
    if len(log) > 10 and np.isfinite(low[0]):  # the first epochs, far below, would flatten the rest
        axes.set_ylim(bottom=low[0])
    if kept is not None:
        look = {"color": "gray", "linestyle": ":", "linewidth": 1}
        axes.axvline(kept, label=f"kept, epoch {kept}", **look)
    axes.set(xlabel="epoch", ylabel="nats per image")
    axes.xaxis.get_major_locator().set_params(integer=True)
    legend_above(axes)


def legend_above(axes: Any) -> None:
    """A legend that no curve can run through."""
    place = {"loc": "lower left", "bbox_to_anchor": (0, 1), "borderaxespad": 0.3}
    tight = {"borderpad": 0, "columnspacing": 1.2, "handlelength": 1.6, "handletextpad": 0.6}
    axes.legend(ncols=2, frameon=False, **tight, **place)


def column(log: Sequence[Mapping[str, float]], key: str) -> np.ndarray:
    """Numbers of a log, without those that no axis can hold."""
    values = np.array([entry.get(key, math.nan) for entry in log], dtype=float)
    return np.where(np.abs(values) < 1e100, values, math.nan)


def _draw_images(axes, title, tiled):
    axes.imshow(np.clip(tiled, 0, 1), cmap="gray_r", vmin=0, vmax=1)
    axes.set(title=title, xticks=[], yticks=[])


def draw_likelihoods(axes: Any, values: Mapping[str, np.ndarray]) -> None:
    """Histograms of log p(x), two arrays by label, with their means."""
    edges = np.histogram_bin_edges(np.concatenate(list(values.values())), 40)
    looks = (BLUE, {"alpha": 0.5}), (ORANGE, {"histtype": "step"})
    for (label, array), (colour, look) in zip(values.items(), looks, strict=True):
        axes.hist(array, edges, color=colour, label=label, **look)
        mean = array.mean()
        told = f"mean of {label}, {number(mean)}"
        axes.axvline(mean, color=colour, linestyle="--", linewidth=1, label=told)
    axes.set(xlabel="log p(x), nats", ylabel="images")
    axes.yaxis.get_major_locator().set_params(integer=True)
    legend_above(axes)


def draw_latent(axes: Any, q_mean: np.ndarray, lowest: np.ndarray) -> None:
    """Means of q(z|x), shape (N, 2), those of `lowest` apart, over the prior's mass."""
    for mask, colour, label in (
        (~lowest, BLUE, "test images"),
        (lowest, ORANGE, "the tenth with the lowest log p(x)"),
    ):
        _draw_points(axes, *q_mean[mask].T, color=colour, label=label)
    axes.figure.set_size_inches(4.4, 4.4)
    angle = np.linspace(0, 2 * np.pi, 200)
    for mass in (0.5, 0.95):
        radius = math.sqrt(-2 * math.log(1 - mass))
        axes.plot(radius * np.cos(angle), radius * np.sin(angle), color=INK, linewidth=0.7)
        axes.annotate(f"{mass:.0%}", (0, radius), ha="center", va="bottom")
    axes.set(xlabel="z₁", ylabel="z₂", aspect="equal")
    axes.figure.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=2)


def draw_concentration(axes: Any, count: np.ndarray, shares: np.ndarray) -> None:
    """Share of the total weight, shape (len(count), N), that the `count` largest samples have."""
    low, median, high = np.quantile(shares, (0.1, 0.5, 0.9), axis=1)
    axes.fill_between(count, low, high, color=BLUE, alpha=0.3, linewidth=0, label="80% of images")
    axes.plot(count, median, color=BLUE, label="median image")
    axes.plot(count, count / count[-1], color=INK, linestyle=":", label="equal weights")
    axes.set(xlabel="largest m samples", ylabel="share of the weight", ylim=(0, 1.02))
    _log_axis(axes, count[-1])
    legend_above(axes)


def draw_ess(axes: Any, ess: np.ndarray, num_samples: int) -> None:
    """Histogram of effective sample sizes, shape (N,)."""
    axes.hist(ess, np.geomspace(1, num_samples, 40), color=BLUE, alpha=0.6)
    axes.axvline(np.median(ess), color=BLUE, linestyle="--", linewidth=1)
    axes.set(xlabel="effective sample size (dashed: median)", ylabel="images")
    _log_axis(axes, num_samples)


def draw_pareto(
    axes: Any, ess: np.ndarray, pareto_k: np.ndarray, num_samples: int, threshold: float
) -> None:
    """Pareto k against effective sample size, each of shape (N,)."""
    _draw_points(axes, ess, np.clip(pareto_k, -1, 3), color=BLUE)
    axes.axhline(
        threshold, color=ORANGE, linestyle="--", linewidth=1, label=f"limit {threshold:.2f}"
    )
    axes.set(xlabel="effective sample size", ylabel="Pareto k (clipped to [\N{MINUS SIGN}1, 3])")
    legend_above(axes)
    _log_axis(axes, num_samples)


def _draw_points(axes, x, y, **look):
    many = len(x) > 2000  # become pixels, or the file would grow with them
    axes.plot(x, y, ".", markersize=6, alpha=0.6, markeredgewidth=0, rasterized=many, **look)


def _log_axis(axes, largest):
    axes.set_xscale("log")
    axes.set_xlim(1, largest)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("")
