"""Write the page of a target from its collected results: numbers, claims, verdict, cost.

Usage:
  page.py <target> <collected> <out>
  page.py (-h | --help)
"""

from collections import Counter

from cells import cells
from docopt import docopt
from results import read_collected
from targets import figures_of, read
from verdicts import verdict

from jvi.cli import command
from jvi.files import atomic_write


@command
def main(argv=None):
    arguments = docopt(__doc__, argv)
    name, found = arguments["<target>"], read_collected(arguments["<collected>"])
    target = read(name)
    parts = [f"# {target['title']}", f"{target['source']}.", target["about"].strip()]
    parts += shown(name, target, found)
    with atomic_write(arguments["<out>"]) as temporary:
        temporary.write_text("\n\n".join(parts) + "\n")


def shown(name, target, collected):
    """The paragraphs on one budget."""
    results, budget = collected["results"], collected["settings"]
    said = verdict(target, budget, results)
    parts = [
        f"## Budget: {collected['budget']}",
        f"**Verdict: {said.word}.** {said.why}." if said.why else f"**Verdict: {said.word}.**",
        target.get("remarks", {}).get(collected["budget"], "").strip(),
    ]
    for table in target.get("tables", []):
        caption = table["caption"].strip().rstrip(".")
        found = cells(table, results)
        parts += [f"{caption}. {legend(table, found)}", numbers(table, found)]
    if said.decisions:
        parts += [
            "Claims, and what these numbers say to them:",
            markdown(["claim", "", "first less second"], map(_claim, said.decisions)),
        ]
    for file, figure in figures_of(target, name).items():
        parts.append(f"![{figure['caption'].strip()}]({file}.png)\n\n{figure['caption'].strip()}")
    return [each for each in [*parts, cost(name, collected)] if each]


def _claim(decision):
    return f"{decision.says}{' (ours)' if decision.ours else ''}", decision.outcome, decision.number


def markdown(header, rows):
    """A table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def numbers(table, found):
    """Ours, as `cells` found them, and in italics what was published."""
    printed = table.get("published", [[]] * len(table["rows"]))
    rows = []
    for row, line, texts in zip(table["rows"], found, printed, strict=True):
        texts = [*texts, *[None] * (len(line) - len(texts))]
        if all(each is None for each in (*line, *texts)):
            continue  # of another budget
        digits = [column.get("digits", table.get("digits", 2)) for column in table["columns"]]
        rows.append([row["label"], *map(_entry, line, texts, digits)])
    header = [table.get("corner", ""), *(column["label"] for column in table["columns"])]
    return markdown(header, rows)


def _entry(ours, theirs, digits):
    text = "-" if ours is None else _ours(ours, digits)
    return text if theirs is None else f"{text}<br>*{theirs}*"


def _ours(cell, digits):
    errors = (cell.seeds, cell.samples if cell.images is None else cell.images)
    return " ± ".join(
        f"{number:.{digits}f}" for number in (cell.value, *errors) if number is not None
    )


def legend(table, cells_of_rows):
    """What the numbers behind ± are."""
    found = [each for row in cells_of_rows for each in row if each is not None]
    kinds = []
    if any(each.seeds is not None for each in found):
        count = max(len(each.by_seed) for each in found)
        kinds.append(f"over {count} seeds")
    if any(each.images is not None for each in found):
        kinds.append("over test images")
    elif any(each.samples is not None for each in found):
        kinds.append("of sampling")
    said = f"± are standard errors {', then '.join(kinds)}." if kinds else ""
    return f"{said} *Published* below ours.".strip() if table.get("published") else said


def cost(name, collected):
    """How to run it again, what that took, and with what."""
    results = collected["results"]
    seconds, most = sum(r["cpu_seconds"] for r in results), max(r["seconds"] for r in results)
    machines = Counter(r["hardware"]["processor"] for r in results)
    versions = results[0]["versions"]
    budget = collected["settings"]
    settings = ", ".join(f"{k} {v}" for k, v in budget.items() if k not in ("cost", "levels"))
    return "\n".join(
        [
            f"```sh\nmake reproduce TARGET={name} BUDGET={collected['budget']}\n```\n",
            f"- {len(results)} jobs took {minutes(seconds)} of processor time, the longest "
            f"{minutes(most)}, on {', '.join(machines)}.",
            f"- Settings: {settings}." if settings else "- No settings.",
            f"- With {', '.join(f'{k} {v}' for k, v in versions.items())}.",
            f"- Budgets: {_budgets(name)}",
        ]
    )


def _budgets(name):
    return "; ".join(
        f"{k}: {v.get('cost', 'not measured')}" for k, v in read(name)["budgets"].items()
    )


def minutes(seconds):
    """Seconds in the unit that one would say."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


if __name__ == "__main__":
    main()
