"""Claims of a paper, decided by numbers, and the verdict on a table."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from cells import Cell, agrees, cells, difference, published

__all__ = ["Decision", "Verdict", "decide", "verdict"]

HOLDS, CONTRADICTED, OPEN = "holds", "contradicted", "not decided"


class Decision(NamedTuple):
    """What became of a claim: `HOLDS`, `CONTRADICTED` or `OPEN`, and the number behind it.

    `ours` are claims that no paper makes; the verdict does not count them.
    """

    says: str
    outcome: str
    number: str
    ours: bool


class Verdict(NamedTuple):
    """In a word and in a sentence; and what became of every claim, ours among them."""

    word: str
    why: str
    decisions: list[Decision]


def decide(
    claims: Iterable[Mapping[str, Any]],
    tables: Sequence[Mapping[str, Any]],
    results: Iterable[Mapping[str, Any]],
) -> list[Decision]:
    """Decide claims by the numbers there are.

    Raises
    ------
    ValueError
        Where a claim names a cell that its table does not have.
    """
    results = list(results)
    found = [_named(table, cells(table, results)) for table in tables]
    return [_decided(claim, found) for claim in claims]


def _named(table, rows):
    return {
        f"{row['label']} / {column['label']}": rows[i][j]
        for i, row in enumerate(table["rows"])
        for j, column in enumerate(table["columns"])
    }


def _decided(claim, found):
    named, ours = found[claim.get("table", 0)], claim.get("ours", False)
    kind = "greater" if "greater" in claim else "near"
    for each in claim[kind]:
        if isinstance(each, str) and each not in named:
            raise ValueError(f"the claim {claim['says']!r}: no cell is {each!r}")
    one, two = (named[each] if isinstance(each, str) else each for each in claim[kind])
    if one is None or two is None:
        return Decision(claim["says"], OPEN, "no number", ours)
    compare = _greater if kind == "greater" else _near
    return Decision(
        claim["says"], *compare(_cell(one), _cell(two), claim.get("within")), bool(ours)
    )


def _cell(value):
    return value if isinstance(value, Cell) else Cell(float(value), None, None, None, {})


def _greater(one, two, within):
    """Beyond the 95% interval, where `within` is given after having been granted so much."""
    by, error, times = difference(one, two)
    most, above = times * (error or 0), by + (within or 0)
    outcome = HOLDS if above > most else CONTRADICTED if above < -most else OPEN
    return outcome, f"{by:+.4g}{f' ± {error:.2g}' if error else ''}"


def _near(one, two, within):
    """Within so much. Else within two standard errors; what is beyond the 95% interval is not."""
    by, error, times = difference(one, two)
    if within is not None:
        return HOLDS if abs(by) <= within else CONTRADICTED, f"{by:+.2g}, at most {within:.2g}"
    error = error or 0.0
    apart = CONTRADICTED if abs(by) > times * error else OPEN
    return HOLDS if abs(by) <= 2 * error else apart, f"{by:+.2g} ± {error:.2g}"


def verdict(
    target: Mapping[str, Any], budget: Mapping[str, Any], results: Iterable[Mapping[str, Any]]
) -> Verdict:
    """Reproduced, differs, or not reachable, and why.

    A budget's `levels` says why its numbers are not those of the paper; then claims alone decide.
    """
    results = list(results)
    tables, levels = target.get("tables", []), budget.get("levels")
    every = decide(target.get("claims", []), tables, results)
    decisions = [each for each in every if not each.ours]
    against = [each.says for each in decisions if each.outcome == CONTRADICTED]
    undecided = [each.says for each in decisions if each.outcome == OPEN]
    pairs = list(_beside_published(tables, results))
    compared = {} if levels else {name: near for name, near in pairs if near is not None}
    apart = [name for name, near in compared.items() if not near]
    held = len(decisions) - len(against) - len(undecided)
    why = [f"{held} of {len(decisions)} claims hold"] if decisions else []
    why += [f"against: {'; '.join(against)}"] if against else []
    why += [f"not decided: {'; '.join(undecided)}"] if undecided else []
    why += [f"{len(compared) - len(apart)} of {len(compared)} numbers agree"] if compared else []
    why += [f"other numbers: {', '.join(apart)}"] if apart else []
    why += [f"numbers themselves not reachable in this budget: {levels}"] if levels else []
    if not decisions and not compared:
        return Verdict("not reachable" if pairs else "measured", ". ".join(why), every)
    word = _word(held, against or apart, undecided, compared, levels)
    return Verdict(word, ". ".join(why), every)


def _beside_published(tables, results):
    """(name, whether ours agrees, None without ours) of every published number that counts."""
    for table in tables:
        rows = zip(table["rows"], cells(table, results), table.get("published", []), strict=False)
        for row, line, texts in rows:
            for column, ours, text in zip(table["columns"], line, texts, strict=False):
                chosen = {**table, **row, **column}
                if text is not None and chosen.get("compare") is not False:
                    within = chosen.get("within", 0)
                    near = None if ours is None else agrees(ours, published(text), within)
                    yield f"{row['label']} / {column['label']}", near


def _word(held, against, undecided, compared, levels):
    if against:
        return "differs"
    if undecided:
        return "partly reproduced" if held or compared else "not decided"
    return "reproduced in its claims" if levels else "reproduced"
