"""Differences between evaluations of the same images: their mean, and both of its errors.

Usage:
  paired.py [options] <runs> <pair>...
  paired.py (-h | --help)

Options:
  -h --help              Show this help screen.
  -o <prefix>            Write PREFIX.json [default: paired].
  -k <key>, --key <key>  The estimate, NAME or NAME@SAMPLES [default: iwae].
  --overwrite            Replace an existing file.

<runs> is the folder of a target's runs, and a pair LABEL=ONE,OTHER: the number is that of job ONE
less that of job OTHER, in nats, from what evaluate.py wrote with --per-image as JOB/run.npz. Its
error over images is that of the differences. Pairs that are not both there are left out, for a
budget may have fewer jobs.
"""

from pathlib import Path

from per_image import read

from jvi.cli import arguments_of, check_outputs, command
from jvi.text import table


@command
def main(argv=None):
    from jvi.files import write_json

    arguments, _ = arguments_of(__doc__, argv)
    path = f"{arguments['-o']}.json"
    check_outputs({"-o": path}, arguments["--overwrite"])
    found = compared(Path(arguments["<runs>"]), arguments["<pair>"], arguments["--key"])
    write_json(path, found)
    rows = [[name, *(f"{each[key]:.4f}" for key in each)] for name, each in found.items()]
    print(table(rows, ["pair", "nats", "± images", "± samples"]))


def compared(runs, pairs, key):
    """Mean differences and their errors, by the pair's label.

    Parameters
    ----------
    runs : Path
    pairs : sequence of str
        LABEL=ONE,OTHER.
    key : str
        NAME or NAME@SAMPLES.

    Returns
    -------
    dict of str to dict
        With value, images and samples, in nats.

    Raises
    ------
    ValueError
        For what is no pair, where none is there, or where images differ.
    """
    named = [_pair(each) for each in pairs]
    there = [each for each in named if all((runs / job / "run.npz").exists() for job in each[1:])]
    if not there:
        raise ValueError(f"{runs} has no model of any pair: run the evaluations before")
    return {label: _difference(runs, one, other, key) for label, one, other in there}


def _pair(text):
    label, _, rest = text.partition("=")
    names = rest.split(",")
    if not label or len(names) != 2 or not all(names):
        raise ValueError(f"{text!a} is no pair: write LABEL=ONE,OTHER")
    return label, *names


def _difference(runs, one, other, key):
    import numpy as np

    both = [read(runs / job / "run.npz", key) for job in (one, other)]
    for job, found in zip((one, other), both, strict=True):
        if found is None or found[2] is None:
            raise ValueError(f"{runs / job / 'run.npz'} has no {key}: evaluate with it")
    (images, a, a_errors), (other_images, b, b_errors) = both
    if not np.array_equal(images, other_images):
        raise ValueError(f"{one} and {other} are of different images: evaluate them alike")
    difference, count = a - b, len(a)
    return {
        "value": float(difference.mean()),
        "images": float(difference.std(ddof=1) / np.sqrt(count)),
        "samples": float(np.sqrt((a_errors**2 + b_errors**2).sum()) / count),
    }


if __name__ == "__main__":
    main()
