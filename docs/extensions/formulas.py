"""Formulas as pictures within the page: no script, no font of the reader's, no network."""

import re
from html import escape

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

SIZE = 20.0  # pixels to draw at; the page scales to the size of its text
COMMAND = re.compile(r"\\[a-zA-Z]+")
GLYPH = re.compile(r'<symbol id="([^"]+)".*?(?:</symbol>|/>)', re.S)
OPENING = re.compile(r'<svg[^>]* width="([\d.]+)" height="([\d.]+)" (viewBox="[^"]+")>')


def svg(text: str, as_block: bool = False) -> str:
    """A formula in TeX as an element <svg>, of the colour and size of the text around it.

    Raises
    ------
    ValueError
        If it has a command that is not known.
    """
    import ziamath
    from latex2mathml.converter import convert

    source = re.sub(r"\\mathbb (\w)", r"\\mathbb{\1}", " ".join(text.split()))
    unknown = COMMAND.findall(convert(source))
    if unknown:
        raise ValueError(f"no such command: {', '.join(unknown)} in the formula {source}")
    drawn = ziamath.Latex(source, size=SIZE, color="currentColor", inline=not as_block)
    return OPENING.sub(lambda found: _opening(found, source, drawn.getyofst()), drawn.svg())


def _opening(found, source, below):
    width, height = (float(found.group(i)) / SIZE for i in (1, 2))
    style = f"width: {width:.3f}em; height: {height:.3f}em; vertical-align: {below / SIZE:.3f}em"
    label = escape(source, quote=True)
    return f'<svg class="formula" role="img" aria-label="{label}" style="{style}" {found.group(3)}>'


def drawn_once(picture: str, seen: set[str]) -> str:
    """The picture without the glyphs that a page has already, which are added to `seen`."""

    def kept(found):
        known = found.group(1) in seen
        seen.add(found.group(1))
        return "" if known else found.group()

    return GLYPH.sub(kept, picture)


def _inline(translator, node):
    translator.body.append(_shown(translator, node, False))
    raise nodes.SkipNode


def _block(translator, node):
    translator.body.append(f'<div class="formula">{_shown(translator, node, True)}</div>\n')
    raise nodes.SkipNode


def _shown(translator, node, as_block):
    seen = vars(translator).setdefault("glyphs_seen", set())
    try:
        return drawn_once(svg(node.astext(), as_block), seen)
    except ValueError as error:
        raise ExtensionError(f"{node.source}: {error}") from None


def setup(app: Sphinx) -> dict:
    app.add_html_math_renderer("svg", (_inline, None), (_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
