"""One HTML page that compares trained models on the same images, and needs nothing but itself."""

from collections.abc import Mapping, Sequence
from typing import Any

from jvi.assessment import several_tables
from jvi.assessment.captions import CAPTIONS
from jvi.assessment.page import tag
from jvi.assessment.paired_rows import ERRORS
from jvi.assessment.parts import chart, doubts_list, image, page, section, sides, strip, strips
from jvi.assessment.plots_of_several import (
    Curve,
    draw_curves,
    draw_differences,
    draw_overlaid,
    has_curve,
)
from jvi.assessment.several import One, record, several
from jvi.assessment.told import evaluated, first_images, seen_as
from jvi.datasets import Dataset
from jvi.models.files import ModelFiles

__all__ = ["report_of_several"]

DECODED, DRAWN = 10, 30  # images in a strip, and of each prior


def report_of_several(
    models: Sequence[tuple[Any, ModelFiles]],
    data: Dataset,
    num_images: int,
    num_samples: int,
    seed: int = 0,
    progress: bool = False,
    date: str | None = None,
) -> tuple[str, dict[str, Any]]:
    """What models are, which is better by how much, and where they differ.

    What a model cannot do, or data have no pictures of, is left out.

    Parameters
    ----------
    models : list of (jvi.Model, ModelFiles)
        At least two.
    data : jvi.datasets.Dataset
    num_images : int
        N, at most: the first ones of the test set, observed as `evaluate.py` does, the same for
        all.
    num_samples : int
        K, per image and model.
    seed : int
    progress : bool
        Show progress after two seconds.
    date : str, optional
        Of the evaluation, to be said beside the version.

    Returns
    -------
    page : str
        Of HTML; the same arguments give the same page.
    record : dict
        The numbers of it: "models", and the "rows" of `jvi.compare`.

    Raises
    ------
    ValueError
        When images do not fit one of the models, which is named, or log-weights are not finite.
    """
    found = several(models, data, num_images, num_samples, seed, progress)
    ones, paired = found.models, found.paired
    images = first_images(data, len(next(iter(ones.values())).assessed.x))
    said = f"K = {num_samples} per image and model, seed {seed}"
    about = {"data": f"{data.name}, {images}, {seen_as(data)}"} | evaluated(said, date)
    doubts = [f"{name}: {reason}" for name, one in ones.items() for reason in one.reasons]
    sections = {
        "Which is better": [
            tag("p", _verdict(paired)),
            several_tables.paired(paired),
            *doubts_list([*paired.notes, *doubts]),
        ],
        "Estimates": [*several_tables.estimates(ones, data.unit, images)],
        "Image by image": sides(*_charts(ones, paired)),
        "The models": sides(several_tables.models(ones, about), *_curves(ones)),
        "Reconstructions": sides(*_decoded(ones)),
        "Samples from the prior": [*_drawn(ones, seed)],
        "Where they differ": [several_tables.apart(ones)],
    }
    parts = [section(*each) for each in sections.items() if each[1]]
    return page(" · ".join(ones), "compared on the same images", parts), record(
        found, data, num_samples, seed
    )


def _verdict(paired):
    """Which model is the best, and which may be as good."""
    best, rows = paired.reference, [row for row in paired.rows if row["estimate"] == "iwae"]
    near = [row["model"] for row in rows if row["verdict"] == "undecided"]
    if near:
        close = f"but {several_tables.listed(near)} cannot be told from it."
    else:
        close = f"by more than {ERRORS:g} standard errors of the difference."
    return f"{best} has the highest IWAE, {close}"


def _charts(ones: Mapping[str, One], paired):
    """Of IWAE, for each image."""
    best = paired.reference
    others = {n: v for n, v in paired.differences["iwae"].items() if n != best}
    caption = CAPTIONS["differences"].format(reference=best)
    yield chart("differences", draw_differences, others, list(ones), caption=caption)
    values = {name: one.assessed.result.per_image["iwae"] for name, one in ones.items()}
    yield chart("overlaid", draw_overlaid, values)


def _curves(ones):
    curves = {name: Curve(one.log, one.since.epoch) for name, one in ones.items()}
    if any(has_curve(each.log) for each in curves.values()):
        yield chart("curves", draw_curves, curves)


def _decoded(ones):
    """The first images, and below them what each model makes of them."""
    able = {name: one.pictures for name, one in ones.items() if one.pictures.decoded is not None}
    if not able:
        return
    first = next(iter(able.values()))
    every = {"test image": first.x} | {name: each.decoded for name, each in able.items()}
    for start in range(0, min(len(first.x), 2 * DECODED), DECODED):
        rows = [
            (name, strip(images[start : start + DECODED], first.shape, name))
            for name, images in every.items()
        ]
        last = start + len(first.x[start : start + DECODED]) - 1
        yield strips("decoded", rows, CAPTIONS["decoded"].format(first=start, last=last))


def _drawn(ones, seed):
    """Samples of each model, side by side."""
    figures = []
    for name, one in ones.items():
        samples = one.pictures.prior(DRAWN, seed)
        if samples is not None:
            caption = CAPTIONS["drawn"].format(name=name)
            figures.append(image(caption, samples, one.pictures.shape, 6))
    if figures:
        yield tag("div", *figures, class_="columns")
