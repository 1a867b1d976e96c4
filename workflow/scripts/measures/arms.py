"""Compare arms that went on from the same models: differences by image and by seed.

Usage:
  arms.py [options] <runs>
  arms.py (-h | --help)

Options:
  -h --help            Show this help screen.
  -o <prefix>          Write PREFIX.json [default: arms].
  --of <labels>        Evaluate jobs of these labels, separated by commas [default: score].
  --pairs <pairs>      ARM:OTHER, separated by commas: the first less the second.
  --key <estimates>    Estimates, as NAME@SAMPLES, separated by commas; those that are not there
                       are left out [default: iwae@5000].
  --overwrite          Replace an existing file.

<runs> is the folder of a target's runs, where LABEL-[NET-]SEED-ARM/run.npz is what such a job wrote
with --per-image. Jobs that differ in nothing but the arm are a pair, compared on the images that
both have; those that are not there yet are left out. In the file are rows, one for each pair and
seed, with the mean difference of each estimate in nats and its standard error over images, and for
each pair the mean over seeds with its standard errors over seeds and over images, which all seeds
share.
"""

import re
from itertools import product
from pathlib import Path

from per_image import read

from jvi.cli import UsageError, arguments_of, check_outputs, command
from jvi.text import table

HEADER = ["arm", "estimate", "nats", "± seeds", "± images", "seeds"]

NAME = re.compile(r"(?:(?P<net>[^-]+)-)?(?P<seed>[0-9]+)-(?P<arm>[^-]+)")


@command
def main(argv=None):
    from jvi.files import write_json

    arguments, _ = arguments_of(__doc__, argv)
    path = f"{arguments['-o']}.json"
    check_outputs({"-o": path}, arguments["--overwrite"])
    pairs = _pairs(arguments["--pairs"])
    found = jobs(
        Path(arguments["<runs>"]), arguments["--of"].split(","), arguments["--key"].split(",")
    )
    rows, summary = compared(found, pairs)
    if not rows:
        raise UsageError(f"{arguments['<runs>']} has no pair of {arguments['--pairs']} yet")
    write_json(path, {**summary, "rows": rows})
    print(_shown(summary))


def _pairs(text):
    pairs = [tuple(each.split(":")) for each in (text or "").split(",")]
    if not all(len(pair) == 2 and all(pair) for pair in pairs):
        raise UsageError(f"--pairs must be ARM:OTHER, separated by commas, not {text}")
    return pairs


def jobs(runs, labels, keys):
    """(values, images, {key: one number an image}) of every evaluation of these labels there is.

    Parameters
    ----------
    runs : Path
    labels, keys : sequence of str

    Returns
    -------
    list of (dict, array of shape (N,), dict of str to array of shape (N,))
    """
    found = []
    for path in sorted(runs.glob("*/run.npz")):
        values = _values(path.parent.name, labels)
        if values:
            there = {key: read(path, key) for key in keys}
            kept = {key: each for key, each in there.items() if each}
            if not kept:
                raise UsageError(f"{path} has none of {', '.join(keys)}: give others with --key")
            images = next(iter(kept.values()))[0]
            found.append((values, images, {key: each[1] for key, each in kept.items()}))
    return found


def _values(job, labels):
    """What a job's name says: LABEL-[NET-]SEED-ARM; None for a job of other labels."""
    label = max((each for each in labels if job.startswith(f"{each}-")), key=len, default=None)
    named = label and NAME.fullmatch(job[len(label) + 1 :])
    if not named:
        return None
    net = {"net": named["net"]} if named["net"] else {}
    return net | {"seed": int(named["seed"]), "arm": named["arm"]}


def compared(found, pairs):
    """(rows, summary) of the pairs that are there.

    Parameters
    ----------
    found : list of (dict, array of shape (N,), dict of str to array of shape (N,))
        As `jobs` gives them.
    pairs : list of (str, str)

    Returns
    -------
    rows : list of dict
        Values of the job, "less", and of each estimate the difference and its error over images.
    summary : dict of str to dict
        By the values that are no seed and "ARM less OTHER": of each estimate the difference and its
        errors, and the number of seeds.

    Raises
    ------
    ValueError
        Where a pair has no image in common, or other images with another seed.
    """
    rows, by_pair = [], {}
    for arm, other in pairs:
        for one, two in product(found, found):
            if _same(one[0], two[0], arm, other):
                images, both = _differences(one, two)
                means = {key: _mean(each) for key, each in both.items()}
                rows.append(one[0] | {"less": other} | means)
                by_pair.setdefault(_name(one[0], other), []).append((images, both))
    return rows, {name: _over_seeds(name, each) for name, each in by_pair.items()}


def _same(values, other_values, arm, other):
    return values["arm"] == arm and other_values == values | {"arm": other}


def _differences(one, two):
    """(images of both, {key: array})."""
    import numpy as np

    images, here, there = np.intersect1d(one[1], two[1], return_indices=True)
    if not len(images):
        raise ValueError(f"{one[0]} and {two[0]} have no image in common: evaluate them alike")
    return images, {key: one[2][key][here] - two[2][key][there] for key in one[2] if key in two[2]}


def _name(values, other):
    rest = [str(value) for key, value in values.items() if key not in ("seed", "arm")]
    return " ".join([*rest, values["arm"], "less", other])


def _mean(difference):
    error = difference.std(ddof=1) / len(difference) ** 0.5
    return {"value": float(difference.mean()), "images": float(error)}


def _over_seeds(name, found):
    """Of (images, {key: array (N,)}), one a seed; the images' error is that of the mean over seeds.

    Of the estimates that all seeds have.
    """
    import numpy as np

    images, differences = zip(*found, strict=True)
    if not all(np.array_equal(each, images[0]) for each in images):
        raise ValueError(f"{name}: seeds are of different images: evaluate them alike")
    summary = {"number": len(differences)}
    for key in (k for k in differences[0] if all(k in each for each in differences)):
        each = [difference[key] for difference in differences]
        means = [float(values.mean()) for values in each]
        spread = float(np.std(means, ddof=1) / len(means) ** 0.5) if len(means) > 1 else None
        summary[key] = {"nats": _mean(np.mean(each, axis=0)), "seeds": spread}
    return summary


def _shown(summary):
    rows = []
    for name, found in summary.items():
        for key in (key for key in found if key != "number"):
            nats, seeds = found[key]["nats"], found[key]["seeds"]
            spread = "" if seeds is None else f"{seeds:.3f}"
            line = [name, key, f"{nats['value']:+.3f}", spread, f"{nats['images']:.3f}"]
            rows.append([*line, str(found["number"])])
    return table(rows, HEADER)


if __name__ == "__main__":
    main()
