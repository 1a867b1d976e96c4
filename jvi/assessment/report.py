"""One HTML page about a trained model, which needs nothing but itself."""

import base64
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

import jvi
from jvi.assessment import plots
from jvi.assessment.doubts import binary_pixels, doubts, read_log, trained_as
from jvi.assessment.evaluation import elbo_name, evaluate, latent_means
from jvi.assessment.grid import GRID
from jvi.assessment.tables import counted
from jvi.datasets import Dataset, binarise, observe_each
from jvi.engine.random import stream
from jvi.evidence.arrays import host
from jvi.evidence.diagnostics import MIN_TAIL, PARETO_K, active_units
from jvi.models.files import ModelFiles

__all__ = ["report"]

LISTED = 8  # images in each table
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"

# Below each table and picture: what it is, and what to look for.
CAPTIONS = {
    "bounds": "Log-likelihood of the test images, mean ± standard error over images. In "
    "expectation ELBO ≤ IWAE ≤ log p(x); JVI is an estimate and may exceed it.",
    "diagnosis": "Where many images have k > 0.7, expect IWAE and JVI to rise further with K. A "
    "unit is active if the mean of q(z|x) has a variance over images above 0.01.",
    "about": "The model, and what it was evaluated on.",
    "settings": "Training settings, as its meta file has them.",
    "curve": "Objective (JVI's may exceed every bound) and validation bound by epoch: a "
    "validation curve that turns down while training rises is overfitting; one that still rises "
    "at the end was stopped early.",
    "reconstructions": "Test images, each above its reconstruction (pixel probabilities at the "
    "mean of q(z|x)): look for lost details and for reconstructions of another class.",
    "samples": "Samples from the prior (pixel probabilities): where they are unlike test images, "
    "q(z|x) over the data leaves parts of the prior unvisited.",
    "map": "The latent plane decoded at the prior's quantiles, z₁ to the right, z₂ upwards: equal "
    "areas have equal prior probability, so what fills a large area is sampled often.",
    "latent": "Means of q(z|x), with the circles that hold 50% and 95% of the prior: holes inside "
    "and crowds outside are where prior and data disagree.",
    "traversals": "Latent traversals: each row moves one unit through the prior's quantiles 0.05 "
    "to 0.95, starting from the first test image; a row without change is a unit that the decoder "
    "ignores there. From the top, with the variance of the mean of q(z|x) over images, ",
    "likelihoods": "Log-likelihoods image by image: a long left tail is of images that the model "
    "has no place for; where the two histograms differ, K is too small for either.",
    "concentration": "Share of the total importance weight that the m largest of K samples carry: "
    "a curve that starts near 1 means that one sample makes the estimate.",
    "ess": "Effective sample size 1 / Σ v² of the normalised weights v: below 2, one sample has "
    "more weight than all others together.",
    "pareto": "Pareto k, the shape of the weights' tail: above 0.7 (dashed) larger weights are yet "
    "to come, so that a large effective sample size is not to be believed either.",
    "worst": "The lowest log-likelihoods, each image beside its reconstruction: with a bad one the "
    "model cannot express the image, with a good one the prior or q(z|x) gives it little weight.",
    "lowest": "The lowest log-likelihoods.",
    "unsure": "The estimates least to be trusted, by Pareto k, then by effective sample size "
    "(ESS): with k > 0.7 or ESS < 2 the true log p(x) is likely higher.",
}

STYLE = """
:root { color-scheme: light; --ink: #1b1f24; --soft: #57606a; --line: #d5dae0; --warn: #9a4b00;
  font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: #fff }
@media screen and (prefers-color-scheme: dark) {
  :root { color-scheme: dark; --ink: #e3e7ec; --soft: #9da7b3; --line: #363d46; --warn: #f0a45d;
    background: #14171b }
  img { filter: invert(.92) } }
body { max-width: 66rem; margin: 0 auto; padding: 1.5rem 1rem }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 }
h2 { font-size: 1.2rem; margin: 0 0 .8rem }
h1, p, td, li { overflow-wrap: anywhere }
section { border-top: 1px solid var(--line); margin-top: 2rem; padding-top: 1.2rem }
.side { display: grid; gap: 1.8rem 2.5rem; align-items: start;
  grid-template-columns: repeat(auto-fit, minmax(min(24rem, 100%), 1fr)) }
figure { margin: 0 }
figure > img, figure svg { display: block; width: 100%; height: auto }
img { image-rendering: pixelated }
svg text { font-family: inherit !important }
figcaption, caption, header p { color: var(--soft); font-size: .875rem; text-align: left }
figcaption, caption { padding-top: .5rem; caption-side: bottom }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums }
.side > div > table + table { margin-top: 1.8rem }
th, td { text-align: right; padding: .25rem 0 .25rem .7rem; border-bottom: 1px solid var(--line) }
th:first-child { text-align: left; padding-left: 0 }
tbody th { font-weight: 400 }
.about th, .settings th { vertical-align: top }
.about td, .settings td { text-align: left }
td img { display: block; height: 2.4rem; width: auto; margin-left: auto }
.doubts { color: var(--warn) }
@media (max-width: 30rem) { .worst, .unsure { font-size: .8rem } th, td { padding-left: .4rem } }
@media (min-width: 52rem) { .side > figure:only-child { display: grid; gap: 0 2.5rem;
  grid-template-columns: 3fr 2fr; max-width: none } }
@media print { :root { font-size: 11px } body { max-width: none; padding: 0 }
  .side { grid-template-columns: 1fr 1fr; gap: 1.5rem } h2 { break-after: avoid }
  figure, table, li { break-inside: avoid } }
"""


class Html(str):
    """Text that is HTML already; `tag` escapes all other."""

    __slots__ = ()


def tag(name: str, /, *children: Any, **attributes: Any) -> Html:
    """An element; `class_` and `aria_label` are the attributes class and aria-label."""
    start = name + "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(str(value))}"'
        for key, value in attributes.items()
    )
    inside = "".join(c if isinstance(c, Html) else escape(str(c)) for c in children)
    return Html(f"<{start}>" if name in ("img", "meta") else f"<{start}>{inside}</{name}>")


def report(
    model: Any,
    files: ModelFiles,
    data: Dataset,
    num_images: int,
    num_samples: int,
    seed: int = 0,
    progress: bool = False,
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

    Returns
    -------
    str
        An HTML page; the same arguments give the same page.

    Raises
    ------
    ValueError
        When the images do not fit the model, or its log-weights are not finite.
    """
    rows = data.test[:num_images]
    model.images(rows)  # names the first that does not fit
    x = observe_each(data, rows, seed)
    bounds = elbo_name(model.link), "iwae", "jvi"
    result = evaluate(model, x, num_samples, bounds, 1, seed, progress=progress, keep=True)
    means = latent_means(model, x, seed) if hasattr(model.link, "latent_means") else []
    pictures = _Pictures(model, x, data.image_shape)
    estimates = _estimates(files, data, result, means, seed)
    sections = {
        "Estimates": [*_doubts(files, result), _side(*estimates)],
        "Training": [_side(*_curve(files), _settings(files))],
        "Pictures": _sides(*_pairs(pictures), *_samples(pictures, seed)),
        "Latent space": _sides(*_latent(pictures, means, result.per_image["iwae"])),
        "Log-likelihoods and weights": _sides(*_charts(result)),
        "Images to look at": _sides(*_listed(pictures, result)),
    }
    return _page(files, [_section(*each) for each in sections.items() if each[1]])


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
        reasons.append(f"{positive} estimates are above 0 nats, which no binary image reaches")
    title, items = tag("p", "Reasons for doubt:"), [tag("li", reason) for reason in reasons]
    return [tag("div", title, tag("ul", *items), class_="doubts")] if reasons else []


def _estimates(files, data, result, means, seed):
    num_samples, k = result.num_samples, result.per_image["pareto_k"]
    labels = "ELBO", f"IWAE-{num_samples}", f"JVI-1, K = {num_samples}"
    bounds = [
        (label, f"{_n(mean)} ± {_n(result.standard_error[name])}")
        for label, (name, mean) in zip(labels, result.mean.items(), strict=True)
    ]
    heavy = f"{np.mean(k > PARETO_K):.0%}" if num_samples >= MIN_TAIL else "unknown: K < 30"
    diagnosis = {
        "effective sample size, mean": f"{_n(result.per_image['ess'].mean(), 1)} of {num_samples}",
        "images with Pareto k > 0.7": heavy,
    }
    if means:
        active = [active_units(mean) for mean in means]
        diagnosis["active latent units"] = counted([a.sum() for a in active], [*map(len, active)])
    seen = "binarised" if data.observe is binarise else data.observe.__name__.replace("_", " ")
    about = {
        "trained as": trained_as(files),
        "network": files.link.spec,
        "data": f"{data.name}, first {len(k)} of {len(data.test)} test images, {seen}",
        "samples": f"K = {num_samples} per image, seed {seed}",
        "evaluated by": f"jvi {jvi.__version__}",
    }
    header = "bound or estimate", "nats per image"
    numbers = _table("bounds", bounds, header), _table("diagnosis", diagnosis.items())
    return tag("div", *numbers), _table("about", about.items())


def _curve(files):
    try:
        log = read_log(files.prefix)
    except (ValueError, FileNotFoundError):  # which is among the doubts
        log = []
    drawn = any(key in entry for entry in log for key in plots.CURVES)
    return [_chart("curve", plots.draw_curve, log)] if drawn else []


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
    images = host(pictures.model.decode(z.reshape(-1, z.shape[-1])))
    which = ", ".join(f"unit {unit} ({variance[unit]:.2f})" for unit in units)
    yield _image("traversals", images, pictures.shape, len(u), f"{which}.")


def _centres(count):
    """Quantiles at the centres of `count` parts of equal probability."""
    return (np.arange(count) + 0.5) / count


def _charts(result):
    num_samples, values = result.num_samples, result.per_image
    bounds = {f"IWAE-{num_samples}": values["iwae"], "JVI-1": values["jvi"]}
    ess, k = values["ess"], values["pareto_k"]
    yield _chart("likelihoods", plots.draw_likelihoods, bounds)
    yield _chart("concentration", plots.draw_concentration, *_concentration(result.log_w))
    yield _chart("ess", plots.draw_ess, ess, num_samples)
    if num_samples >= MIN_TAIL:
        yield _chart("pareto", plots.draw_pareto, ess, k, num_samples, PARETO_K)


def _listed(pictures, result):
    """The tables of the worst images and of those whose estimates are the worst."""
    values = result.per_image
    k = np.nan_to_num(values["pareto_k"], nan=-np.inf)
    order = {"worst": np.argsort(values["iwae"], kind="stable")}
    order["unsure"] = np.lexsort((values["ess"], -k))
    shown = ["image"] if pictures.shape else []
    header = "no.", *shown, f"IWAE-{result.num_samples}", "JVI-1", "ESS", "Pareto k"
    for name, indices in order.items():
        rows = []
        for i in indices[:LISTED]:
            numbers = (_n(values[key][i], 1) for key in ("iwae", "jvi", "ess"))
            rows.append((i, *_beside(pictures, i), *numbers, _n(values["pareto_k"][i])))
        caption = "lowest" if name == "worst" and pictures.decoded is None else name
        yield _table(name, rows, header, caption)


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


def _n(value, digits=2):
    text = f"{value:.{digits}f}" if abs(value) < 1e6 else f"{value:.3g}"
    return text.replace("-", "\N{MINUS SIGN}")


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


def _image(name, images, shape, columns=10, more=""):
    picture = _png(images, shape, columns, _alt(name))
    return tag("figure", picture, tag("figcaption", CAPTIONS[name] + more))


def _alt(name):
    return CAPTIONS[name].partition(":")[0]


def _png(images, shape, columns, alt):
    """Images, shape (n, pixels), as one picture."""
    tiled = plots.grid(images, shape, columns)
    data = base64.b64encode(plots.png(tiled)).decode()
    height, width = tiled.shape
    return tag("img", src=f"data:image/png;base64,{data}", alt=alt, width=width, height=height)


def _table(name, rows, header=(), caption=None):
    """A table, the first cell of whose rows is their name."""
    head = tag("tr", *(tag("th", cell, scope="col") for cell in header))
    body = [
        tag("tr", tag("th", first, scope="row"), *(tag("td", cell) for cell in rest))
        for first, *rest in rows
    ]
    parts = [tag("thead", head)] * bool(header) + [tag("tbody", *body)]
    return tag("table", tag("caption", CAPTIONS[caption or name]), *parts, class_=name)
