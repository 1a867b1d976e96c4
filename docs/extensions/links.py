"""Every link within the site leads somewhere, and no page needs the network.

Checked when the site is built, in the pages as they are: files, anchors, and what a page loads.
"""

from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

# Attributes whose value a browser fetches when it shows the page; of <link>, these kinds.
LOADED = {"img": "src", "script": "src", "iframe": "src", "source": "src", "video": "src"}
LINKED = {"stylesheet", "icon", "preload", "modulepreload", "preconnect", "shortcut icon"}


class Page(HTMLParser):
    """Of an HTML page the anchors, the targets of links and what is loaded from elsewhere."""

    def __init__(self, text: str):
        super().__init__()
        self.anchors: set[str] = set()
        self.targets: set[str] = set()
        self.loads: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag, pairs):
        found = {key: value for key, value in pairs if value}
        self.anchors |= {found[key] for key in ("id", "name") if key in found}
        self.targets |= {found[key] for key in ("href", "src") if key in found}
        loaded = found.get(LOADED.get(tag, ""))
        if tag == "link" and found.get("rel") in LINKED:
            loaded = found.get("href")
        if loaded:
            self.loads.add(loaded)


def broken(folder: Path) -> list[str]:
    """A sentence for each thing that is wrong with the HTML pages below a folder."""
    folder = folder.resolve()
    paths = sorted(path for path in folder.rglob("*.html") if "_static" not in path.parts)
    pages = {path: Page(path.read_text("utf-8")) for path in paths}
    return [
        f"{path.relative_to(folder)}: {said}"
        for path, page in pages.items()
        for said in _wrong(path, page, pages)
    ]


def _wrong(path, page, pages):
    for target in sorted(page.loads):
        if urlsplit(target).netloc:
            yield f"{target} is loaded from the network"
    for target in sorted(page.targets):
        parts = urlsplit(target)
        if not (parts.scheme or parts.netloc):
            yield from _leads_nowhere(target, parts, path, pages)


def _leads_nowhere(target, parts, path, pages):
    there = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    if not there.exists():
        yield f"{target} does not exist"
    elif parts.fragment and there in pages and unquote(parts.fragment) not in pages[there].anchors:
        yield f"{target} has no such anchor"


def _check(app, error):
    from sphinx.util import logging

    if error is None and app.builder.format == "html":
        for sentence in broken(Path(app.outdir)):
            logging.getLogger(__name__).warning(sentence, type="links")


def setup(app):
    app.connect("build-finished", _check)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
