"""Collect the results of all jobs of a target into one file.

Usage:
  collect.py <target> <budget> <out> <result>...
  collect.py (-h | --help)
"""

from docopt import docopt
from results import FORMAT, read_result
from targets import budget_of, read

from jvi.cli import command
from jvi.files import write_json


@command
def main(argv=None):
    arguments = docopt(__doc__, argv)
    name, budget = arguments["<target>"], arguments["<budget>"]
    found = {
        "format": FORMAT,
        "target": name,
        "budget": budget,
        "settings": budget_of(read(name), name, budget),
        "results": [read_result(path) for path in arguments["<result>"]],
    }
    write_json(arguments["<out>"], found)


if __name__ == "__main__":
    main()
