"""Check that a data set is there, and write down what it is.

Usage:
  data.py <dataset> <out>
  data.py (-h | --help)

Data sets are looked for in the folder that the variable JVI_DATA names, and else downloaded.
"""

import hashlib

from docopt import docopt

from jvi.cli import command
from jvi.files import write_json


@command
def main(argv=None):
    arguments = docopt(__doc__, argv)
    from jvi import datasets

    name = arguments["<dataset>"]
    data = datasets.load(name)
    parts = {key: getattr(data, key) for key in ("train", "validation", "test")}
    write_json(
        arguments["<out>"],
        {
            "dataset": name,
            "rows": {key: len(part) for key, part in parts.items()},
            "sha256": {
                key: hashlib.sha256(part.tobytes()).hexdigest() for key, part in parts.items()
            },
        },
    )


if __name__ == "__main__":
    main()
