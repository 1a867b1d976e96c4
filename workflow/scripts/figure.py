"""Draw a figure of a target from its collected results.

Usage:
  figure.py <target> <figure> <collected> <out>
  figure.py (-h | --help)
"""

from cells import cell, matches
from docopt import docopt
from results import read_collected, records
from targets import figures_of, read

from jvi.cli import command
from jvi.files import atomic_write

MARKS = "osD^vPX*<>"


@command
def main(argv=None):
    arguments = docopt(__doc__, argv)
    name = arguments["<target>"]
    figure = figures_of(read(name), name)[arguments["<figure>"]]
    lines = curves(figure, read_collected(arguments["<collected>"])["results"])
    draw(figure, lines, arguments["<out>"])


def curves(figure, results):
    """Lines of points (x, y, error or None) by name, in the order of the target's `lines`, if any.

    Raises
    ------
    ValueError
        Where nothing is there to draw.
    """
    key, by, error = figure["y"], figure.get("by"), figure.get("error", "")
    found = {}
    for record in records(results, figure["job"]):
        if matches(record, figure.get("where", {})) and record.get(figure["x"]) is not None:
            found.setdefault(str(record.get(by, "")), {}).setdefault(
                record[figure["x"]], []
            ).append(record)
    names = figure.get("lines") or list(found)
    lines = {}
    for name in (str(each) for each in names if str(each) in found):
        points = []
        for x, group in sorted(found[name].items()):
            try:
                points.append((x, cell(group, key, error)))
            except ValueError as problem:
                if not str(problem).startswith("no result"):
                    raise
        if points:
            lines[name] = [(x, each.value, _error(each)) for x, each in points]
    if not lines:
        raise ValueError(f"no result has {key}")
    return lines


def _error(each):
    return each.seeds if each.seeds is not None else each.error


def draw(figure, lines, out):
    """Write a picture with a line for each name."""
    from matplotlib.figure import Figure

    canvas = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = canvas.add_subplot()
    for mark, (name, points) in zip(MARKS * len(lines), lines.items(), strict=False):
        x, y, errors = zip(*points, strict=True)
        bars = [error or 0 for error in errors] if any(errors) else None
        style = "" if name in figure.get("points", []) else "-"
        axes.errorbar(x, y, yerr=bars, marker=mark, ms=4, lw=1.2, ls=style, label=name, capsize=2)
    if "x" in figure.get("log", ""):
        axes.set_xscale("log")
    if "y" in figure.get("log", ""):
        axes.set_yscale("log")
    axes.set(xlabel=figure["labels"][0], ylabel=figure["labels"][1])
    axes.grid(alpha=0.3)
    if len(lines) > 1:
        axes.legend(fontsize="small")
    with atomic_write(out) as temporary:
        canvas.savefig(temporary, format="png", dpi=110, metadata={"Software": None})


if __name__ == "__main__":
    main()
