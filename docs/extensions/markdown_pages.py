"""What a git host makes of Markdown: the anchors of headings, links and images."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

CODE = re.compile(r"^(```|~~~).*?^\1[`~]*$", re.M | re.S)
COMMENT = re.compile(r"<!--.*?-->", re.S)
HEADING = re.compile(r"^#{1,6} +(.+?) *#*$", re.M)
INLINE_CODE = re.compile(r"`+[^`\n]+`+")
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\[\]]*\])*)\]\(<?([^)>\s]+)>?(?:\s+\"[^\"]*\")?\)")
DEFINED = re.compile(r"^\[[^\]]+\]: +<?(\S+?)>?$", re.M)


class Image(NamedTuple):
    """An image of a page: what stands in its place, and its file as the page names it."""

    text: str
    target: str


def prose(text: str) -> str:
    """A page without code blocks and comments."""
    return COMMENT.sub("", CODE.sub("", text))


def slug(heading: str) -> str:
    """The anchor of a heading, without the number of a second one of its kind."""
    kept = "".join(c for c in heading.strip().lower() if c.isalnum() or c in "-_ ")
    return kept.replace(" ", "-")


def title(text: str) -> str:
    """The first heading."""
    return plain(HEADING.search(prose(text)).group(1))


def plain(text: str) -> str:
    """A line of Markdown without links, images and the marks of code and emphasis."""
    return re.sub(r"[`*]|\$", "", LINK.sub(r"\2", text))


def anchors(text: str) -> set[str]:
    """Of all headings of a page."""
    found: dict[str, int] = {}
    names = set()
    for heading in HEADING.findall(prose(text)):
        name = slug(plain(heading))
        count = found.get(name, 0)
        names.add(f"{name}-{count}" if count else name)
        found[name] = count + 1
    return names


def images(text: str) -> Iterator[Image]:
    """The images of a page, in order."""
    for mark, label, target in LINK.findall(prose(text)):
        if mark:
            yield Image(plain(" ".join(label.split())), target)


def targets(text: str) -> Iterator[str]:
    """What a page's links and images lead to."""
    shown = INLINE_CODE.sub(lambda code: "" if "](" in code.group() else code.group(), prose(text))
    for _, label, target in LINK.findall(shown):
        yield target
        yield from (inner for _, _, inner in LINK.findall(label))
    yield from DEFINED.findall(shown)


def problems(page: Path) -> list[str]:
    """A sentence for each relative link of a page that leads nowhere.

    Of what has no scheme, the file has to exist and, where it is Markdown, the anchor as well.
    """
    text = page.read_text(encoding="utf-8")
    found = (_problem(page, text, target) for target in targets(text))
    return [sentence for sentence in found if sentence]


def _problem(page: Path, text: str, target: str) -> str | None:
    parts = urlsplit(target)
    if parts.scheme or parts.netloc:
        return None
    path = page.parent / unquote(parts.path) if parts.path else page
    if not path.exists():
        return f"{page.name}: {target} does not exist"
    if not parts.fragment or path.suffix != ".md":
        return None
    there = anchors(text if path == page else path.read_text(encoding="utf-8"))
    return None if parts.fragment in there else f"{page.name}: {target} has no such heading"
