"""The gallery: every figure of the pages, with its caption and the page that it belongs to."""

import re
from pathlib import Path
from typing import NamedTuple

from markdown_pages import images, title

PAGES = Path(__file__).resolve().parent.parent
CARD = """::::{{grid-item-card}} {title}
:link: {page}
:link-type: doc
:img-top: {file}
:img-alt: {caption}

{caption}
::::
"""


class Figure(NamedTuple):
    """A picture: its file, its caption, the page that it is on and that page's title."""

    file: str
    caption: str
    page: str
    title: str


def figures(folder: Path = PAGES) -> list[Figure]:
    """Of the pages in docs/ and docs/reproduction/, each file once, in the pages' order."""
    found = {}
    for page in [*sorted(folder.glob("*.md")), *sorted(folder.glob("reproduction/*.md"))]:
        text = page.read_text(encoding="utf-8")
        for caption, target in images(text):
            file = (page.parent / target).resolve()
            if file.suffix == ".png" and file.is_relative_to(folder) and page.stem != "index":
                name = page.relative_to(folder).with_suffix("").as_posix()
                inside = file.relative_to(folder).as_posix()
                found.setdefault(file, Figure(inside, caption, name, title(text)))
    return list(found.values())


def grid(found: list[Figure]) -> str:
    """A card for each, in Markdown."""
    cards = "\n".join(
        CARD.format(
            title=_literal(each.title),
            page=f"/{each.page}",
            file=each.file,
            caption=_literal(each.caption),
        )
        for each in found
    )
    return f":::::{{grid}} 1 1 2 3\n:gutter: 3\n:class-container: figures\n\n{cards}\n:::::\n"


def _literal(text):
    return re.sub(r"([\\*`_<>\[\]$|])", r"\\\1", text)


def write(app) -> None:
    """What docs/gallery.md includes."""
    path = PAGES / "generated" / "figures.inc"
    path.parent.mkdir(exist_ok=True)
    text = grid(figures())
    if not path.exists() or path.read_text("utf-8") != text:
        path.write_text(text, "utf-8")


def setup(app) -> dict:
    app.connect("builder-inited", write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
