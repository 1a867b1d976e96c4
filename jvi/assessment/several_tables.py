"""The tables of a page that compares models."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from jvi.assessment.captions import CAPTIONS, LABELS
from jvi.assessment.estimates import EXACT
from jvi.assessment.measures import UNITS
from jvi.assessment.page import Html, tag
from jvi.assessment.paired import Comparison
from jvi.assessment.paired_rows import Row
from jvi.assessment.parts import png, scroll, table
from jvi.assessment.plots import number, with_error
from jvi.assessment.several import BOUNDS, One
from jvi.assessment.told import about
from jvi.datasets import NATS, Unit

__all__ = ["apart", "estimates", "listed", "models", "paired"]

LISTED = 8  # images on which models differ


def paired(found: Comparison) -> Html:
    """How far each model is from the best, with the verdict by IWAE."""
    bounds = list(found.differences)
    by_model: dict[str, dict[str, Row]] = {row["model"]: {} for row in found.rows}
    for row in found.rows:
        by_model[row["model"]][row["estimate"]] = row
    rows = [
        (
            name,
            *(with_error(each[b]["difference"], each[b]["paired_error"], ".3f") for b in bounds),
            f"{each['iwae']['better']:,} of {each['iwae']['num_images']:,}",
            each["iwae"]["verdict"],
        )
        for name, each in by_model.items()
        if name != found.reference
    ]
    header = ("model", *(LABELS[bound] for bound in bounds), "better on", "verdict")
    caption = CAPTIONS["paired"].format(reference=found.reference)
    return scroll(table("paired", rows, header, caption))


def estimates(ones: Mapping[str, One], unit: Unit, images: str) -> Iterator[Html]:
    """Bounds in nats and in the unit of the data, and what is measured beside them."""
    names = [*BOUNDS, *([EXACT] if any(_row(one, EXACT) for one in ones.values()) else [])]
    header = ("model", *(LABELS[name] for name in names))
    yield scroll(_means("means", ones, names, header, CAPTIONS["means"].format(images=images)))
    if unit != NATS:
        caption = CAPTIONS["units"].format(unit=unit.name)
        yield scroll(_means("units", ones, names, header, caption, "value_", ".4f"))
    yield scroll(_beside(ones))


def _means(kind, ones, names, header, caption, prefix="", form=".2f"):
    """A table of means of estimates and their errors over images."""
    keys = prefix.rstrip("_") or "mean", f"{prefix}standard_error"
    rows = []
    for name, one in ones.items():
        found = (_row(one, each) for each in names)
        cells = (with_error(*(row[k] for k in keys), form) if row else "" for row in found)
        rows.append((name, *cells))
    return table(kind, rows, header, caption)


def _row(one, name):
    """Of an estimate, the ELBO under either name; None without it."""
    wanted = ("vae", "elbo") if name == "elbo" else (name,)
    rows = (row for row in one.assessed.rows if row["estimate"] in wanted)
    return next(rows, None)


def _beside(ones):
    """The inference gap, how far to trust estimates, and measures."""
    cells = {name: dict(_told(one)) for name, one in ones.items()}
    header = list(dict.fromkeys(key for each in cells.values() for key in each))
    rows = [(name, *(each.get(key, "") for key in header)) for name, each in cells.items()]
    samples = next(iter(ones.values())).assessed.result.num_samples
    caption = CAPTIONS["beside"].format(samples=f"{samples:,} samples")
    return table("beside", rows, ("model", *header), caption)


def _told(one):
    """Pairs of a heading and a cell, for a model."""
    gap, weighted = one.assessed.rows[-1], _row(one, "iwae")
    yield LABELS[gap["estimate"]], with_error(gap["mean"], gap["standard_error"])
    yield "ESS", number(weighted["ess"], ".1f")
    if not math.isnan(weighted["heavy_tails"]):
        yield "heavy tails", f"{weighted['heavy_tails']:.0%}"
    if one.units:
        yield "active units", one.units
    for row in one.assessed.measures:
        if not row["measure"].startswith(UNITS):
            yield LABELS[row["measure"]], with_error(row["mean"], row["standard_error"], ".3f")


def models(ones: Mapping[str, One], said: Mapping[str, Any]) -> Html:
    """What each model is, and what all were evaluated on."""
    rows = [(name, _lines(_about(one))) for name, one in ones.items()]
    rows += [(key, value) for key, value in said.items()]
    return table("models", rows)


def _about(one):
    what = about(one.files, one.since)
    trained_on = one.files.meta.get("--dataset", "unknown data")
    yield f"trained as {what['trained as']} on {trained_on}"
    yield str(what["network"])
    yield f"parameters {what['parameters']}"


def _lines(texts):
    return Html("".join(tag("div", text) for text in texts))


def apart(ones: Mapping[str, One]) -> Html:
    """The images on which models differ most, by IWAE."""
    values = np.array([one.assessed.result.per_image["iwae"] for one in ones.values()])
    order = np.argsort(values.min(axis=0) - values.max(axis=0), kind="stable")[:LISTED]
    rows = [
        (i, *_beside_each_other(ones, i), *(number(value, ".1f") for value in values[:, i]))
        for i in order
    ]
    shown = ["image"] if _shape(ones) else []
    decoders = [name for name, one in ones.items() if one.pictures.decoded is not None]
    key = "apart" if shown and decoders else "apart-plain"
    caption = CAPTIONS[key].format(decoders=listed(decoders))
    return scroll(table("apart", rows, ("no.", *shown, *ones), caption))


def _beside_each_other(ones, i):
    """A picture of image number i beside what each model makes of it."""
    shape, x = _shape(ones), next(iter(ones.values())).pictures.x
    if shape is None:
        return
    decoded = [one.pictures.decoded for one in ones.values() if one.pictures.decoded is not None]
    images = np.stack([np.ravel(each[i]) for each in (x, *decoded)])
    yield png(images, shape, len(images), f"Image {i}" + " and its reconstructions" * bool(decoded))


def _shape(ones):
    return next(iter(ones.values())).pictures.shape


def listed(names: Sequence[str]) -> str:
    """Names in a sentence."""
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))
