"""Write the page of all targets, with the verdicts of those that have results.

Usage:
  index.py <results> <out>
  index.py (-h | --help)
"""

from pathlib import Path

import places
from docopt import docopt
from page import markdown, minutes
from results import read_collected
from targets import BUDGETS, names, read
from verdicts import verdict

from jvi.cli import command
from jvi.files import atomic_write

HEAD = """# Published tables and figures, run again

Each line is one command, `make reproduce TARGET=…`, and a page: the published numbers, ours with
their errors, what the paper claims and what these numbers say to that, and what it took. These
pages are made from result files alone. [How this works](../reproduce.md).
"""


@command
def main(argv=None):
    arguments = docopt(__doc__, argv)
    rows = [row for name in names() for row in rows_of(name, Path(arguments["<results>"]))]
    header = ["target", "what", "budget", "verdict", "processor time"]
    with atomic_write(arguments["<out>"]) as temporary:
        temporary.write_text(f"{HEAD}\n{markdown(header, rows)}\n")


def rows_of(name, results):
    """A line for each budget that a target has results of, or one that says it has none."""
    target, rows = read(name), []
    for budget in BUDGETS:
        path = places.collected(results, budget, name)
        if path.exists():
            found = read_collected(path)
            said = verdict(target, found["settings"], found["results"])
            spent = sum(each["cpu_seconds"] for each in found["results"])
            link = f"[{name}]({name}.md)"
            rows.append([link, target["title"], budget, said.word, minutes(spent)])
    return rows or [[name, target["title"], "-", "not run", "-"]]


if __name__ == "__main__":
    main()
