"""Measure what CIWAE's beta has become where it is learned: of runs, by their checkpoints and logs.

Usage:
  learned_beta.py [options] -o <prefix> <run>...
  learned_beta.py (-h | --help)

A run is the prefix that train.py wrote to, with --estimator ciwae:beta=learned.

Options:
  -h --help      Show this help screen.
  -o <prefix>    Write PREFIX.json.
  --overwrite    Replace an existing file.

The rows of the file have, of each run, "epoch" and "beta", its mean over the steps of that epoch;
epoch 0 has the 0.5 that it begins at, and a last row, of "end": 1, what it is after the last step.
"""

import json
from pathlib import Path

import numpy as np

from jvi.cli import arguments_of, check_outputs, command
from jvi.text import table

LOGIT = "updater/model:learned/logit"
BEGIN = 0.5


@command
def main(argv=None):
    from jvi.files import write_json

    arguments, _ = arguments_of(__doc__, argv)
    path = f"{arguments['-o']}.json"
    check_outputs({"-o": [path]}, arguments["--overwrite"])
    rows = [row for run in arguments["<run>"] for row in course(Path(run))]
    write_json(path, rows)
    shown = [
        [each["run"], f"{each['epoch']}", f"{each['beta']:.6f}"] for each in rows if "end" in each
    ]
    print(table(shown, ["run", "epochs", "beta"]))


def course(run):
    """Rows of one run.

    Raises
    ------
    FileNotFoundError
        Where it has no checkpoint.
    ValueError
        Where it learned no beta.
    """
    log, snapshot = run / "log", run / "snapshot_latest"
    for path in (log, snapshot):
        if not path.exists():
            raise FileNotFoundError(f"{path} is missing: train with -o {run} before")
    with np.load(snapshot, allow_pickle=False) as file:
        if LOGIT not in file:
            raise ValueError(f"{run} learned no beta: train it with ciwae:beta=learned")
        logit = float(file[LOGIT][0])
    means = [(each["epoch"], each["main/beta"]) for each in json.loads(log.read_text())]
    rows = [{"epoch": epoch, "beta": beta} for epoch, beta in [(0, BEGIN), *means]]
    end = {"epoch": means[-1][0], "beta": float(1 / (1 + np.exp(-logit))), "end": 1}
    return [{"run": run.parent.name, **row} for row in [*rows, end]]


if __name__ == "__main__":
    main()
