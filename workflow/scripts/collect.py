"""Collect the results of all jobs of a target into one file.

Usage:
  collect.py [--work <folder>] <target> <budget> <out>
  collect.py (-h | --help)

Options:
  --work <folder>  Folder of runs [default: reproduction].
"""

from pathlib import Path

import places
from docopt import docopt
from results import FORMAT, read_result
from states import write_json
from targets import budget_of, jobs, read

from jvi.cli import command


@command
def main(argv=None):
    arguments = docopt(__doc__, argv)
    name, budget = arguments["<target>"], arguments["<budget>"]
    work = Path(arguments["--work"])
    paths = [places.result(work, budget, name, job.kind, job.name)
             for job in jobs(name, budget).values()]  # fmt: skip
    found = {
        "format": FORMAT,
        "target": name,
        "budget": budget,
        "settings": budget_of(read(name), name, budget),
        "results": [read_result(path) for path in paths],
    }
    write_json(arguments["<out>"], found)


if __name__ == "__main__":
    main()
