"""Elements of an HTML page that needs nothing but itself, and how it looks."""

from html import escape
from typing import Any

__all__ = ["POLICY", "STYLE", "Html", "tag"]

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"

STYLE = """
:root { color-scheme: light; --ink: #1b1f24; --soft: #57606a; --line: #d5dae0; --warn: #9a4b00;
  font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: #fff }
@media screen and (prefers-color-scheme: dark) {
  :root { color-scheme: dark; --ink: #e3e7ec; --soft: #9da7b3; --line: #363d46; --warn: #f0a45d;
    background: #14171b }
  img:not(.colour) { filter: invert(.92) } }
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
.traversals th { white-space: nowrap; vertical-align: middle }
.traversals td { width: 100% }
.traversals td img { height: auto; width: 100% }
.decoded th, .models th { vertical-align: middle; min-width: 4rem; overflow-wrap: anywhere }
.decoded td { width: 100% }
.decoded td img { height: auto; width: 100% }
.models td { text-align: left }
.scroll { overflow-x: auto }
.scroll td { overflow-wrap: normal }
.scroll tbody th { overflow-wrap: anywhere; min-width: 3.5rem }
.scroll .apart th { overflow-wrap: normal; min-width: 0 }
.scroll + .scroll { margin-top: 1.4rem }
.columns { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr));
  align-items: start; max-width: 100% }
.columns img { max-width: 18rem }
.about th, .settings th { vertical-align: top }
.about td, .settings td { text-align: left }
td img { display: block; height: 2.4rem; width: auto; margin-left: auto }
.doubts { color: var(--warn) }
@media (max-width: 30rem) { .worst, .unsure, .scroll table { font-size: .8rem }
  .apart td img { height: 1.8rem } th, td { padding-left: .4rem } }
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
