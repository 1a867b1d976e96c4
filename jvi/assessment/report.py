"""One HTML page about a trained model, which needs nothing but itself."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jvi.assessment import plots
from jvi.assessment.assessed import Assessed, assess, check_fit
from jvi.assessment.captions import CAPTIONS, LABELS
from jvi.assessment.cross import cross
from jvi.assessment.evaluation import latent_means
from jvi.assessment.grid import GRID
from jvi.assessment.page import tag
from jvi.assessment.parts import (
    chart,
    doubts_list,
    image,
    page,
    png,
    section,
    side,
    sides,
    strip,
    strips,
    table,
)
from jvi.assessment.pictures import Pictures
from jvi.assessment.plots import number, with_error
from jvi.assessment.rows import KL
from jvi.assessment.tables import counted
from jvi.assessment.told import (
    about,
    active,
    evaluated,
    first_images,
    heavy_tails,
    kept,
    log_of,
    reasons,
    seen_as,
)
from jvi.datasets import NATS, Dataset
from jvi.evidence.arrays import host
from jvi.evidence.diagnostics import MIN_TAIL, pareto_threshold
from jvi.models.files import ModelFiles

__all__ = ["report"]

LISTED = 8  # images in each table


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
        check_fit(model, each, num_images)
    numbers = num_images, num_samples, seed, progress
    assessed = assess(model, data, *numbers)
    x, result = assessed.x, assessed.result
    means = latent_means(model, x, seed) if hasattr(model.link, "latent_means") else []
    pictures = Pictures(model, x, data.image_shape)
    log = log_of(files)
    since = kept(files, log)
    images = first_images(data, len(x))
    what = about(files, since)
    what |= {"data": f"{data.name}, {images}, {seen_as(data)}"}
    what |= evaluated(f"K = {num_samples} per image, seed {seed}", date)
    doubtful = doubts_list(reasons(files, result))
    sections = {
        "Estimates": [*doubtful, side(*_estimates(assessed, means, images, what))],
        "Other data sets": sides(*_crossed([assessed, *_others(model, others, numbers)], files)),
        "Training": [side(*_curve(log, since), _settings(files))],
        "Pictures": sides(*_pairs(pictures), *_samples(pictures, seed)),
        "Latent space": sides(*_latent(pictures, means, result.per_image["iwae"])),
        "Log-likelihoods and weights": sides(*_charts(result)),
        "Images to look at": sides(*_listed(pictures, result)),
    }
    parts = [section(*each) for each in sections.items() if each[1]]
    return page(Path(files.prefix).name, str(files.path), parts)


def _others(model, others, numbers):
    """An `Assessed` of each, without its log-weights."""
    for data in others:
        assessed = assess(model, data, *numbers)
        yield assessed._replace(result=assessed.result._replace(log_w=None))


def _estimates(assessed, means, images, what):
    unit, caption = assessed.data.unit, CAPTIONS["bounds"].format(images=images)
    result, (*bounds, gap) = assessed.result, [_told(row, unit) for row in assessed.rows]
    measured = [gap, *(_told(row, unit) for row in assessed.measures)]
    ess = f"{number(result.per_image['ess'].mean(), '.1f')} of {result.num_samples}"
    diagnosis = {"effective sample size, mean": ess} | heavy_tails(result)
    if means:
        diagnosis["active latent units"] = counted(*active(means))
    header = "bound or estimate", "nats per image", "± images", "± samples"
    if unit != NATS:
        header, caption = (*header, f"{unit.name} ± images"), caption + CAPTIONS["bits"]
    tables = table("bounds", bounds, header, caption), table("diagnosis", diagnosis.items())
    beside = table("measures", measured, ("beside bounds", "mean", *header[2:]))
    return tag("div", *tables, beside), table("about", what.items())


def _told(row, unit):
    """The cells of a row of the evaluation, or of what is measured."""
    more = [""] if unit != NATS else []
    if "measure" in row:
        error = row["standard_error"]
        given = "" if math.isnan(error) else number(error, ".3f")
        return LABELS[row["measure"]], number(row["mean"], ".3f"), given, "", *more
    errors = number(row["standard_error"]), number(row["sampling_error"], ".3f")
    if more:
        more = [with_error(row["value"], row["value_standard_error"], ".4f")]
    return LABELS[row["estimate"]], number(row["mean"]), *errors, *more


def _crossed(assessed: Sequence[Assessed], files):
    """The table of several data sets; nothing for one."""
    if len(assessed) < 2:
        return
    reports = {each.data.name: {"rows": each.rows, "measures": each.measures} for each in assessed}
    columns, found = cross(reports, list(assessed[0].result.mean))
    header = [LABELS[column.partition("@")[0]] for column in columns]
    rows = [(name, *map(_pair, columns, cells)) for name, cells in found.items()]
    trained_on = files.meta.get("--dataset", "unknown data")
    caption = CAPTIONS["cross"].format(trained_on=trained_on)
    yield table("cross", rows, ("tested on", *header), caption)


def _pair(column, cell):
    """A mean and its standard error."""
    form = ".2f" if column == KL or "@" in column else ".3f"
    return "" if cell is None else with_error(*cell, form)


def _curve(log, since):
    drawn = any(key in entry for entry in log for key in plots.CURVES)
    return [chart("curve", plots.draw_curve, log, since.epoch)] if drawn else []


def _settings(files):
    given = [(k, v) for k, v in files.meta.items() if v is not None and v is not False]
    return table("settings", given)


def _pairs(pictures):
    if pictures.decoded is None:
        return
    x, decoded = pictures.x, pictures.decoded
    columns = min(10, len(x))
    rows = min(3, len(x) // columns)
    pairs = np.stack([a[: rows * columns].reshape(rows, columns, -1) for a in (x, decoded)], axis=1)
    pairs = pairs.reshape(2 * rows * columns, -1)
    yield image(CAPTIONS["reconstructions"], pairs, pictures.shape, columns)


def _samples(pictures, seed):
    samples = pictures.prior(60, seed)
    if samples is not None:
        yield image(CAPTIONS["samples"], samples, pictures.shape)


def _latent(pictures, means, log_px):
    if not (pictures.can("mean", "prior_quantile") and len(means) == 1):
        return []
    [q_mean] = means
    return (_plane if q_mean.shape[1] == 2 else _traversals)(pictures, q_mean, log_px)


def _plane(pictures, q_mean, log_px):
    side = _centres(12)
    u = np.stack(np.meshgrid(side, side[::-1]), axis=-1).reshape(-1, 2)
    plane = host(pictures.model.decode(pictures.model.link.prior_quantile(u)))
    yield image(CAPTIONS["map"], plane, pictures.shape, len(side))
    yield chart("latent", plots.draw_latent, q_mean, log_px <= np.quantile(log_px, 0.1))


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
        (f"unit {unit} ({number(variance[unit])})", strip(row, pictures.shape, f"Unit {unit}"))
        for unit, row in zip(units, images, strict=True)
    ]
    yield strips("traversals", rows)


def _centres(count):
    """Quantiles at the centres of `count` parts of equal probability."""
    return (np.arange(count) + 0.5) / count


def _charts(result):
    num_samples, values = result.num_samples, result.per_image
    bounds = {LABELS[name]: values[name] for name in ("iwae", "jvi")}
    ess, k = values["ess"], values["pareto_k"]
    yield chart("likelihoods", plots.draw_likelihoods, bounds)
    yield chart("concentration", plots.draw_concentration, *_concentration(result.log_w))
    yield chart("ess", plots.draw_ess, ess, num_samples)
    if num_samples >= MIN_TAIL:
        threshold = pareto_threshold(num_samples)
        yield chart("pareto", plots.draw_pareto, ess, k, num_samples, threshold)


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
        yield table(name, rows, header, CAPTIONS[key])


def _beside(pictures, i):
    """A picture of image number i, beside its reconstruction where there is one."""
    if pictures.shape is None:
        return
    images, alt = pictures.x[i : i + 1], f"Image {i}"
    if pictures.decoded is not None:
        images = np.concatenate([images, pictures.decoded[i : i + 1]])
        alt += " and its reconstruction"
    yield png(images, pictures.shape, 2, alt)


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
