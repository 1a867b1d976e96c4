"""What pages on models are made of: sections, tables, charts and pictures with their captions."""

import base64
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from jvi.assessment import plots
from jvi.assessment.captions import CAPTIONS
from jvi.assessment.page import POLICY, STYLE, Html, tag

__all__ = [
    "chart",
    "doubts_list",
    "image",
    "page",
    "png",
    "scroll",
    "section",
    "side",
    "sides",
    "strip",
    "strips",
    "table",
]


def page(title: str, below: str, sections: Iterable[Html]) -> str:
    """An HTML page of sections, with a line below its title."""
    body = [tag("header", tag("h1", title), tag("p", below)), *sections]
    head = [
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", f"{title}: report of jvi"),
        tag("style", Html(STYLE)),
    ]
    text = tag("html", tag("head", *head), tag("body", tag("main", *body)), lang="en")
    return f"<!DOCTYPE html>\n{text}\n"


def section(title: str, children: Iterable[Html]) -> Html:
    """A part of a page under a title."""
    return tag("section", tag("h2", title), *children)


def doubts_list(reasons: Sequence[str]) -> list[Html]:
    """Reasons for doubt as a list of one element, which is empty without them."""
    title, items = tag("p", "Reasons for doubt:"), [tag("li", reason) for reason in reasons]
    return [tag("div", title, tag("ul", *items), class_="doubts")] if reasons else []


def side(*children: Html) -> Html:
    """Elements beside each other where there is room."""
    return tag("div", *children, class_="side")


def sides(*children: Html) -> list[Html]:
    """`side`, in a list that is empty without children."""
    return [side(*children)] if children else []


def chart(name: str, draw: Callable, *arguments: Any, caption: str | None = None) -> Html:
    """What `draw(axes, *arguments)` draws, with the caption of that name or another."""
    drawn, caption = Html(plots.svg(name, draw, *arguments)), caption or CAPTIONS[name]
    picture = tag("div", drawn, role="img", aria_label=_alt(caption))
    return tag("figure", picture, tag("figcaption", caption))


def image(caption: str, images: np.ndarray, shape: tuple[int, ...], columns: int = 10) -> Html:
    """Images, shape (n, pixels), as one picture with a caption."""
    picture = png(images, shape, columns, _alt(caption))
    return tag("figure", picture, tag("figcaption", caption))


def strips(name: str, rows: Iterable[Sequence[Any]], caption: str | None = None) -> Html:
    """Rows of a name and a `strip`, a table of that class with the caption of that name."""
    body = tag("table", tag("tbody", *map(_row, rows)), class_=name)
    return tag("figure", body, tag("figcaption", caption or CAPTIONS[name]))


def strip(images: np.ndarray, shape: tuple[int, ...], alt: str) -> Html:
    """Images, shape (n, pixels), side by side."""
    return png(images, shape, len(images), alt)


def scroll(*children: Html) -> Html:
    """Elements that may be wider than the page."""
    return tag("div", *children, class_="scroll")


def png(images: np.ndarray, shape: tuple[int, ...], columns: int, alt: str) -> Html:
    """Images, shape (n, pixels), as one picture."""
    tiled = plots.grid(images, shape, columns)
    data = base64.b64encode(plots.png(tiled)).decode()
    height, width, *colours = tiled.shape
    look = {"class_": "colour"} if colours else {}
    size = {"width": width, "height": height}
    return tag("img", src=f"data:image/png;base64,{data}", alt=alt, **size, **look)


def table(
    name: str,
    rows: Iterable[Sequence[Any]],
    header: Sequence[Any] = (),
    caption: str | None = None,
) -> Html:
    """A table of a class of that name, the first cell of whose rows is their name."""
    head = tag("tr", *(tag("th", cell, scope="col") for cell in header))
    parts = [tag("thead", head)] * bool(header) + [tag("tbody", *map(_row, rows))]
    return tag("table", tag("caption", caption or CAPTIONS[name]), *parts, class_=name)


def _alt(caption):
    return caption.partition(":")[0]


def _row(cells):
    first, *rest = cells
    return tag("tr", tag("th", first, scope="row"), *(tag("td", cell) for cell in rest))
