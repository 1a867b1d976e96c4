"""How a table of results looks outside a terminal: HTML in a notebook, or a DataFrame."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from jvi.assessment.page import Html, tag

__all__ = ["dataframe", "html_table"]


def html_table(
    cells: Iterable[Sequence[str]], header: Sequence[str], notes: Iterable[str] = ()
) -> Html:
    """Rows of text as a table, the first column left-aligned, with a line for each note below.

    It has no colours of its own, so that it suits a notebook's light or dark page.
    """
    left, right = "text-align: left", "text-align: right; font-variant-numeric: tabular-nums"
    styles = [left] + [right] * (len(header) - 1)

    def row(name, texts):
        return tag("tr", *(tag(name, t, style=s) for t, s in zip(texts, styles, strict=True)))

    head = tag("thead", row("th", header))
    body = tag("tbody", *(row("td", texts) for texts in cells))
    lines = (tag("p", note, style="font-size: smaller") for note in notes)
    return tag("div", tag("table", head, body), *lines)


def dataframe(rows: Sequence[Mapping[str, Any]]) -> Any:
    """Rows as a pandas DataFrame, which only this needs.

    Raises
    ------
    ImportError
        Without pandas, saying what to install.
    """
    try:
        import pandas
    except ImportError:
        raise ImportError("a DataFrame needs pandas: pip install pandas") from None
    return pandas.DataFrame(list(rows))
