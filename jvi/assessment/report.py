"""One HTML page about a trained model, which needs nothing but itself."""

import base64
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import jvi
from jvi.assessment import plots
from jvi.assessment.assessed import Assessed, assess, observed
from jvi.assessment.captions import CAPTIONS, LABELS
from jvi.assessment.cross import cross
from jvi.assessment.doubts import binary_pixels, doubts, read_log, trained_as, trainer_state
from jvi.assessment.evaluation import latent_means
from jvi.assessment.grid import GRID
from jvi.assessment.page import POLICY, STYLE, Html, tag
from jvi.assessment.plots import number
from jvi.assessment.rows import KL
from jvi.assessment.tables import counted
from jvi.datasets import NATS, Dataset, binarise, dequantise, of_bytes
from jvi.engine.random import stream
from jvi.evidence.arrays import host
from jvi.evidence.diagnostics import MIN_TAIL, active_units, pareto_threshold
from jvi.models.files import ModelFiles

__all__ = ["report"]

LISTED = 8  # images in each table

SEEN = {binarise: "binarised", of_bytes: "bytes / 256", dequantise: "(bytes + noise) / 256"}


def report(
    model: Any,
    files: ModelFiles,
    data: Dataset,
    num_images: int,
    num_samples: int,
    seed: int = 0,
    progress: bool = False,
    date: str | None = None,
    others: Sequence[Dataset] = (),
) -> str:
    """What a model is, how good it is, how far its estimates can be trusted, and what it draws.

    What a model cannot do, or data have no pictures of, is left out.

    Parameters
    ----------
    model : jvi.Model
    files : jvi.models.files.ModelFiles
        Of the same model.
    data : jvi.datasets.Dataset
    num_images : int
        N, at most: the first ones of the test set, observed as `evaluate.py` does.
    num_samples : int
        K, per image.
    seed : int
    progress : bool
        Show progress after two seconds.
    date : str, optional
        Of the evaluation, to be said beside the version.
    others : sequence of Dataset
        To be compared with: as many images of each, in one table.

    Returns
    -------
    str
        An HTML page; the same arguments give the same page.

    Raises
    ------
    ValueError
        When the images do not fit the model, or its log-weights are not finite.
    """
    for each in (data, *others):
        _check(model, each, num_images)
    numbers = num_images, num_samples, seed, progress
    assessed = assess(model, data, *numbers)
    x, result = assessed.x, assessed.result
    means = latent_means(model, x, seed) if hasattr(model.link, "latent_means") else []
    pictures = _Pictures(model, x, data.image_shape)
    log = _log(files)
    kept = _kept(files, log)
    said = {
        "samples": f"K = {num_samples} per image, seed {seed}",
        "evaluated by": f"jvi {jvi.__version__}" + f", {date}" * bool(date),
    }
    images = f"first {len(x):,} of {len(data.test):,} test images"
    about = _about(files, data, images, kept) | said
    sections = {
        "Estimates": [*_doubts(files, result), _side(*_estimates(assessed, means, images, about))],
        "Other data sets": _sides(*_crossed([assessed, *_others(model, others, numbers)], files)),
        "Training": [_side(*_curve(log, kept), _settings(files))],
        "Pictures": _sides(*_pairs(pictures), *_samples(pictures, seed)),
        "Latent space": _sides(*_latent(pictures, means, result.per_image["iwae"])),
        "Log-likelihoods and weights": _sides(*_charts(result)),
        "Images to look at": _sides(*_listed(pictures, result)),
    }
    return _page(files, [_section(*each) for each in sections.items() if each[1]])


def _check(model, data, num_images):
    """Raise ValueError naming the first image that does not fit, and the data set."""
    try:
        observed(model, data, data.test[:num_images], 0)
    except ValueError as error:
        raise ValueError(f"{data.name}: {error}") from None


def _others(model, others, numbers):
    """An `Assessed` of each, without its log-weights."""
    for data in others:
        assessed = assess(model, data, *numbers)
        yield assessed._replace(result=assessed.result._replace(log_w=None))


def _page(files, sections):
    name = Path(files.prefix).name
    body = [tag("header", tag("h1", name), tag("p", files.path)), *sections]
    head = [
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", f"{name}: report of jvi"),
        tag("style", Html(STYLE)),
    ]
    page = tag("html", tag("head", *head), tag("body", tag("main", *body)), lang="en")
    return f"<!DOCTYPE html>\n{page}\n"


class _Pictures:
    """The images of a report, as far as data and model have any; `shape` is None without."""

    def __init__(self, model, x, shape):
        self.model, self.x, self.shape = model, x, shape
        self.decoded = host(model.reconstruct(x)) if self.can("mean", "typical") else None

    def can(self, *capabilities):
        """Whether there can be pictures that need these of the model."""
        return self.shape is not None and all(hasattr(self.model.link, c) for c in capabilities)


def _doubts(files, result):
    reasons = doubts(files)
    positive = int(((result.per_image["iwae"] > 0) | (result.per_image["jvi"] > 0)).sum())
    if positive and binary_pixels(files.link) is not None:
        reasons.append(f"{positive} estimates are above 0 nats, which no image of such pixels has")
    title, items = tag("p", "Reasons for doubt:"), [tag("li", reason) for reason in reasons]
    return [tag("div", title, tag("ul", *items), class_="doubts")] if reasons else []


def _estimates(assessed, means, images, about):
    unit, caption = assessed.data.unit, CAPTIONS["bounds"].format(images=images)
    result, (*bounds, gap) = assessed.result, [_told(row, unit) for row in assessed.rows]
    measured = [gap, *(_told(row, unit) for row in assessed.measures)]
    ess = f"{number(result.per_image['ess'].mean(), '.1f')} of {result.num_samples}"
    diagnosis = {"effective sample size, mean": ess} | _heavy_tails(result)
    if means:
        active = [active_units(mean) for mean in means]
        diagnosis["active latent units"] = counted([a.sum() for a in active], [*map(len, active)])
    header = "bound or estimate", "nats per image", "± images", "± samples"
    if unit != NATS:
        header, caption = (*header, f"{unit.name} ± images"), caption + CAPTIONS["bits"]
    tables = _table("bounds", bounds, header, caption), _table("diagnosis", diagnosis.items())
    beside = _table("measures", measured, ("beside bounds", "mean", *header[2:]))
    return tag("div", *tables, beside), _table("about", about.items())


def _told(row, unit):
    """The cells of a row of the evaluation, or of what is measured."""
    more = [""] if unit != NATS else []
    if "measure" in row:
        error = row["standard_error"]
        given = "" if math.isnan(error) else number(error, ".3f")
        return LABELS[row["measure"]], number(row["mean"], ".3f"), given, "", *more
    errors = map(number, (row["standard_error"], row["sampling_error"]))
    if more:
        more = [f"{number(row['value'], '.4f')} ± {number(row['value_standard_error'], '.4f')}"]
    return LABELS[row["estimate"]], number(row["mean"]), *errors, *more


def _crossed(assessed: Sequence[Assessed], files):
    """The table of several data sets; nothing for one."""
    if len(assessed) < 2:
        return
    reports = {each.data.name: {"rows": each.rows, "measures": each.measures} for each in assessed}
    columns, table = cross(reports, list(assessed[0].result.mean))
    header = [LABELS[column.partition("@")[0]] for column in columns]
    rows = [(name, *map(_pair, columns, cells)) for name, cells in table.items()]
    trained_on = files.meta.get("--dataset", "unknown data")
    caption = CAPTIONS["cross"].format(trained_on=trained_on)
    yield _table("cross", rows, ("tested on", *header), caption)


def _pair(column, cell):
    """A mean and its standard error."""
    if cell is None:
        return ""
    form = ".2f" if column == KL or "@" in column else ".3f"
    error = "" if math.isnan(cell.error) else f" ± {number(cell.error, form)}"
    return f"{number(cell.mean, form)}{error}"


def _heavy_tails(result):
    threshold = pareto_threshold(result.num_samples)
    if math.isnan(threshold):
        return {"images with Pareto k above its limit": f"unknown: K < {MIN_TAIL}"}
    share = np.mean(result.per_image["pareto_k"] > threshold)
    return {f"images with Pareto k > {threshold:.2f}": f"{share:.0%}"}


def _about(files, data, images, kept):
    """What was evaluated, and on what."""
    seen = SEEN.get(data.observe, data.observe.__name__.replace("_", " "))
    return {
        "trained as": trained_as(files),
        "network": files.link.spec,
        "parameters": kept.text,
        "data": f"{data.name}, {images}, {seen}",
    }


class _Kept(NamedTuple):
    """When in its training the parameters of a model were taken: the epoch, if known; in words."""

    epoch: int | None
    text: str


def _kept(files, log):
    try:
        iteration, _ = trainer_state(files.path)
    except ValueError:  # which is among the doubts
        iteration = None
    if iteration is None:
        return _Kept(None, "of an unknown epoch: not a trainer's snapshot")
    epochs = [each.get("epoch") for each in log if each.get("iteration") == iteration]
    if not epochs:
        return _Kept(None, f"of iteration {iteration:,}")
    return _Kept(epochs[0], f"of epoch {epochs[0]} of {log[-1]['epoch']}, iteration {iteration:,}")


def _log(files):
    try:
        return read_log(files.prefix)
    except (ValueError, FileNotFoundError):  # which is among the doubts
        return []


def _curve(log, kept):
    drawn = any(key in entry for entry in log for key in plots.CURVES)
    return [_chart("curve", plots.draw_curve, log, kept.epoch)] if drawn else []


def _settings(files):
    given = [(k, v) for k, v in files.meta.items() if v is not None and v is not False]
    return _table("settings", given)


def _pairs(pictures):
    if pictures.decoded is None:
        return
    x, decoded = pictures.x, pictures.decoded
    columns = min(10, len(x))
    rows = min(3, len(x) // columns)
    pairs = np.stack([a[: rows * columns].reshape(rows, columns, -1) for a in (x, decoded)], axis=1)
    pairs = pairs.reshape(2 * rows * columns, -1)
    yield _image("reconstructions", pairs, pictures.shape, columns)


def _samples(pictures, seed):
    if pictures.can("mean", "draw_prior"):
        samples = host(pictures.model.sample_prior(60, stream(seed, "pictures")))
        yield _image("samples", samples, pictures.shape)


def _latent(pictures, means, log_px):
    if not (pictures.can("mean", "prior_quantile") and len(means) == 1):
        return []
    [q_mean] = means
    return (_plane if q_mean.shape[1] == 2 else _traversals)(pictures, q_mean, log_px)


def _plane(pictures, q_mean, log_px):
    side = _centres(12)
    u = np.stack(np.meshgrid(side, side[::-1]), axis=-1).reshape(-1, 2)
    plane = host(pictures.model.decode(pictures.model.link.prior_quantile(u)))
    yield _image("map", plane, pictures.shape, len(side))
    yield _chart("latent", plots.draw_latent, q_mean, log_px <= np.quantile(log_px, 0.1))


def _traversals(pictures, q_mean, log_px):
    variance = q_mean.var(axis=0)
    units = np.argsort(-variance, kind="stable")[:8]
    u = np.repeat(_centres(10)[:, None], len(variance), axis=1)
    quantiles = pictures.model.link.prior_quantile(u)
    z = np.tile(q_mean[0], (len(units), len(u), 1))
    for row, unit in zip(z, units, strict=True):
        row[:, unit] = quantiles[:, unit]
    images = host(pictures.model.decode(z.reshape(-1, z.shape[-1]))).reshape(*z.shape[:2], -1)
    rows = [
        (f"unit {unit} ({number(variance[unit])})", _strip(row, pictures.shape, f"Unit {unit}"))
        for unit, row in zip(units, images, strict=True)
    ]
    caption = tag("figcaption", CAPTIONS["traversals"])
    table = tag("table", tag("tbody", *map(_row, rows)), class_="traversals")
    yield tag("figure", table, caption)


def _strip(images, shape, alt):
    """Images side by side."""
    return _png(images, shape, len(images), alt)


def _centres(count):
    """Quantiles at the centres of `count` parts of equal probability."""
    return (np.arange(count) + 0.5) / count


def _charts(result):
    num_samples, values = result.num_samples, result.per_image
    bounds = {LABELS[name]: values[name] for name in ("iwae", "jvi")}
    ess, k = values["ess"], values["pareto_k"]
    yield _chart("likelihoods", plots.draw_likelihoods, bounds)
    yield _chart("concentration", plots.draw_concentration, *_concentration(result.log_w))
    yield _chart("ess", plots.draw_ess, ess, num_samples)
    if num_samples >= MIN_TAIL:
        threshold = pareto_threshold(num_samples)
        yield _chart("pareto", plots.draw_pareto, ess, k, num_samples, threshold)


def _listed(pictures, result):
    """The tables of the worst images and of those whose estimates are the worst."""
    values = result.per_image
    k = np.nan_to_num(values["pareto_k"], nan=-np.inf)
    order = {"worst": np.argsort(values["iwae"], kind="stable")}
    order["unsure"] = np.lexsort((values["ess"], -k))
    shown = ["image"] if pictures.shape else []
    header = "no.", *shown, LABELS["iwae"], LABELS["jvi"], "ESS", "Pareto k"
    for name, indices in order.items():
        rows = []
        for i in indices[:LISTED]:
            told = (number(values[key][i], ".1f") for key in ("iwae", "jvi", "ess"))
            rows.append((i, *_beside(pictures, i), *told, number(values["pareto_k"][i])))
        key = "lowest" if name == "worst" and pictures.decoded is None else name
        yield _table(name, rows, header, CAPTIONS[key])


def _beside(pictures, i):
    """A picture of image number i, beside its reconstruction where there is one."""
    if pictures.shape is None:
        return
    images, alt = pictures.x[i : i + 1], f"Image {i}"
    if pictures.decoded is not None:
        images = np.concatenate([images, pictures.decoded[i : i + 1]])
        alt += " and its reconstruction"
    yield _png(images, pictures.shape, 2, alt)


def _concentration(log_w):
    """(count, shares): the part of the weight that the largest samples of each image have.

    `log_w` has shape (K, N), `count` (M,) and `shares` (M, N).
    """
    num_samples, num_images = log_w.shape
    count = np.unique(np.geomspace(1, num_samples, 60).round().astype(int))
    block = max(1, GRID // num_samples)
    parts = [_shares(log_w[:, i : i + block], count) for i in range(0, num_images, block)]
    return count, np.concatenate(parts, axis=1)


def _shares(log_w, count):
    log_w = np.sort(log_w, axis=0)[::-1]
    total = np.cumsum(np.exp(log_w - log_w[0]), axis=0)
    return total[count - 1] / total[-1]


def _section(title, children):
    return tag("section", tag("h2", title), *children)


def _side(*children):
    return tag("div", *children, class_="side")


def _sides(*children):
    """`_side`, in a list that is empty without children."""
    return [_side(*children)] if children else []


def _chart(name, draw, *arguments):
    drawn = Html(plots.svg(name, draw, *arguments))
    picture = tag("div", drawn, role="img", aria_label=_alt(name))
    return tag("figure", picture, tag("figcaption", CAPTIONS[name]))


def _image(name, images, shape, columns=10):
    picture = _png(images, shape, columns, _alt(name))
    return tag("figure", picture, tag("figcaption", CAPTIONS[name]))


def _alt(name):
    return CAPTIONS[name].partition(":")[0]


def _png(images, shape, columns, alt):
    """Images, shape (n, pixels), as one picture."""
    tiled = plots.grid(images, shape, columns)
    data = base64.b64encode(plots.png(tiled)).decode()
    height, width, *colours = tiled.shape
    look = {"class_": "colour"} if colours else {}
    size = {"width": width, "height": height}
    return tag("img", src=f"data:image/png;base64,{data}", alt=alt, **size, **look)


def _table(name, rows, header=(), caption=None):
    """A table, the first cell of whose rows is their name."""
    head = tag("tr", *(tag("th", cell, scope="col") for cell in header))
    parts = [tag("thead", head)] * bool(header) + [tag("tbody", *map(_row, rows))]
    return tag("table", tag("caption", caption or CAPTIONS[name]), *parts, class_=name)


def _row(cells):
    first, *rest = cells
    return tag("tr", tag("th", first, scope="row"), *(tag("td", cell) for cell in rest))
