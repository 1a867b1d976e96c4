"""Measure how the signal-to-noise ratio of gradients depends on K, M and the estimator.

Usage:
  gradient_snr.py [options] [<modelprefix>]
  gradient_snr.py (-h | --help)

Without a model this is the toy problem of Rainforth et al. (2018), near its optimum. Prints slopes
of log SNR against log K (samples of an estimate) and log M (estimates that are averaged), fitted by
least squares weighted with the errors, beside those that are expected for large K, and writes every
point to PREFIX.csv, points and slopes to PREFIX.json and a plot to PREFIX.png.
docs/signal-to-noise.md says what is measured.

Options:
  -h --help                  Show this help screen.
  -o <prefix>                Of the files to write [default: gradient_snr].
  -f <figure>, --figure <figure>
                             "rainforth" (seven estimators; K = 8, 32, 128 and M = 1, 4, 16) or
                             "lievin" (three; K = 3, 10, 32, 100, and a group of /encode/b alone):
                             what the next four options are where they are not given
                             [default: rainforth].
  -e <estimators>, --estimators <estimators>
                             Separated by spaces, NAME[:key=value,…] as train.py has them.
  -s <numbers>, --samples <numbers>
                             Values of K, separated by commas, in rising order.
  -M <numbers>, --estimates <numbers>
                             Values of M, likewise; those above 1 are measured at the first K.
  -p <names>, --parameters <names>
                             Parameters, separated by commas (/encode/b,/mu), to be a group beside
                             "model" and "inference"; "none" for no such group.
  -r <number>, --repeats <number>
                             Gradient estimates of every point [default: 64].
  --points <number>          Data points that a gradient is averaged over, of the training data, at
                             most as many as there are [default: 512].
  --noise <scale>            Standard deviation of what the toy problem's optimal parameters are
                             moved by [default: 0.01].
  -d <dataset>, --dataset <dataset>
                             For a model: by default the one that it was trained on.
  --data-dir <folder>        Folder that holds mnist/, omniglot/ (else the variable JVI_DATA, else a
                             download).
  --seed <seed>              Seed of everything random [default: 0].
  --overwrite                Replace existing files.
  --quiet                    Print nothing.

The papers' numbers are of --points 1024 --repeats 10000; Liévin's K goes up to 1000.
"""

from typing import Any, NamedTuple

from jvi.cli import (
    UsageError,
    arguments_of,
    asked,
    check_effects,
    check_outputs,
    command,
    dataset_name,
    model_files,
    number,
    numbers,
    seed,
)
from jvi.text import table

# What each figure has where nothing else is said: estimators, K, M, parameters.
FIGURES = {
    "rainforth": (
        "iwae miwae:groups=2 piwae:groups=2 ciwae:beta=0.5 dreg stl ovis:gamma=0",
        "8,32,128",
        "1,4,16",
        "none",
    ),
    "lievin": ("iwae vimco:mean=arithmetic ovis:gamma=0", "3,10,32,100", "1", "/encode/b"),
}

# Slopes of the inference network's log SNR against log K, for large K; a model's is 1/2.
INFERENCE = {
    **dict.fromkeys(("iwae", "miwae", "piwae"), -0.5),
    **dict.fromkeys(("elbo", "ciwae", "dreg", "stl", "rws", "rws-dreg", "ovis"), 0.5),
}

FIELDS = ("snr", "snr_ovis", "dsnr", "magnitude", "variance")


class Point(NamedTuple):
    """One estimator's gradient of one group of parameters, at K and M."""

    estimator: str
    group: str
    K: int
    M: int
    noise: Any


@command
def main(argv=None):
    from tqdm import tqdm

    from jvi.assessment.signal_to_noise import third_pass
    from jvi.files import write_csv

    arguments, given = arguments_of(__doc__, argv)
    request = _request(arguments, given)
    link, x = _subject(arguments, request)
    groups = _groups(link, x, request["parameters"])
    _check(link, request)
    pairs = [(k, 1) for k in request["samples"]]
    pairs += [(request["samples"][0], m) for m in request["estimates"] if m > 1]
    estimates = 2 * request["repeats"] + third_pass(request["repeats"])
    work = estimates * sum(k * m for k, m in pairs) * len(request["estimators"])
    quiet = True if arguments["--quiet"] else None
    with tqdm(total=work, desc="gradients", unit="", unit_scale=True, disable=quiet) as bar:
        points = [
            point
            for name in request["estimators"]
            for i, pair in enumerate(pairs)
            for point in _measured(link, x, name, pair, i, groups, request, bar)
        ]
    rows = _rows(points, len(x))
    write_csv(f"{request['prefix']}.csv", rows)
    _write_json(f"{request['prefix']}.json", rows, list(_fits(points)))
    _draw(f"{request['prefix']}.png", points)
    if not arguments["--quiet"]:
        print(table(*_ratios(points, request["samples"])), end="\n\n")
        print(table(*_slopes(points)))
        print("points: {0}.csv, slopes: {0}.json, plot: {0}.png".format(request["prefix"]))


def _request(arguments, given):
    """What was asked for, checked as far as it can be without the model."""
    figure = arguments["--figure"]
    if figure not in FIGURES:
        raise UsageError(f"--figure must be {' or '.join(FIGURES)}, not {figure!a}")
    names = "--estimators", "--samples", "--estimates", "--parameters"
    of_figure = dict(zip(names, FIGURES[figure], strict=True))
    chosen = {**of_figure, **{name: given[name] for name in names if name in given}}
    if arguments["<modelprefix>"] and "--parameters" not in given:
        chosen["--parameters"] = "none"
    samples = numbers(chosen, "--samples", least=1, most=10**6)
    estimates = numbers(chosen, "--estimates", least=1, most=10**6)
    for option, values in (("--samples", samples), ("--estimates", estimates)):
        if values != sorted(values):
            raise UsageError(f"{option} must be in rising order, not {chosen[option]}")
    prefix, toy = arguments["-o"], arguments["<modelprefix>"] is None
    check_effects(given, ("--dataset", "--data-dir"), not toy, "a model")
    check_effects(given, ("--noise",), toy, "the toy problem")
    inputs = [] if toy else model_files(arguments["<modelprefix>"])
    check_outputs(
        {"-o": [f"{prefix}.{ending}" for ending in ("csv", "json", "png")]},
        arguments["--overwrite"],
        inputs=inputs,
    )
    return {
        "prefix": prefix,
        "samples": samples,
        "estimates": estimates,
        "estimators": chosen["--estimators"].split(),
        "parameters": [] if chosen["--parameters"] == "none" else chosen["--parameters"].split(","),
        "repeats": number(arguments, "--repeats", least=8),
        "points": number(arguments, "--points", least=1),
        "scale": number(arguments, "--noise", float, least=0.0),
        "seed": seed(arguments),
    }


def _subject(arguments, request):
    """The link and the observations."""
    from jvi import datasets
    from jvi.engine.random import stream

    if arguments["<modelprefix>"] is None:
        from jvi.models.gaussian_toy import GaussianToy, near_optimum

        rng = stream(request["seed"], "initial parameters")
        rows = datasets.load("gaussian-toy").train[: request["points"]]
        link = GaussianToy(rows.shape[1], rng)
        near_optimum(link, rows, rng, request["scale"])
        return link, rows
    from jvi.models.files import read_model

    files = read_model(arguments["<modelprefix>"])
    data = datasets.load(dataset_name(arguments["--dataset"], files), arguments["--data-dir"])
    rows = data.train[: request["points"]]
    return files.link, datasets.observe_each(data, rows, request["seed"])


def _groups(link, x, parameters):
    from jvi.assessment.signal_to_noise import groups_of

    known = dict(link.namedparams())
    for name in parameters:
        if name not in known:
            raise UsageError(f"--parameters: there is no {name!a}: choose from {', '.join(known)}")
    groups = groups_of(link, link.check(x[:1]))
    return groups | ({",".join(parameters): parameters} if parameters else {})


def _check(link, request):
    """Refuse estimators that the model or a K does not go with, before the work."""
    from jvi.evidence.estimators import estimator
    from jvi.training.objective import Objective, check_fit

    with asked("--estimators"):
        for name in request["estimators"]:
            for num_samples in request["samples"]:
                check_fit(Objective(estimator(name)), link, num_samples)


def _measured(link, x, name, pair, number_of_pair, groups, request, bar):
    """A `Point` of every group; estimators share their draws, other K and M have their own."""
    from jvi.assessment.signal_to_noise import measure

    num_samples, num_estimates = pair
    found = measure(
        link,
        x,
        name,
        num_samples,
        repeats=request["repeats"],
        num_estimates=num_estimates,
        seed=request["seed"] * 2**16 + number_of_pair,
        groups=groups,
        passed=lambda count: bar.update(count * num_samples * num_estimates),
    )
    return [Point(name, group, num_samples, num_estimates, noise) for group, noise in found.items()]


def slope(sizes, ratios, errors):
    """(slope, standard error) of log ratio against log size, by weighted least squares.

    Of the points that are more than two errors above zero; nan where fewer than two are.
    """
    import numpy as np

    sizes, ratios, errors = (np.asarray(each, float) for each in (sizes, ratios, errors))
    seen = ratios > 2.0 * errors
    if seen.sum() < 2:
        return float("nan"), float("nan")
    x, y = np.log(sizes[seen]), np.log(ratios[seen])
    weights = (ratios[seen] / errors[seen]) ** 2
    x = x - np.average(x, weights=weights)
    precision = np.sum(weights * x**2)
    return float(np.sum(weights * x * y) / precision), float(precision**-0.5)


def _lines(points):
    """(estimator, group, "K" or "M", its points) of everything that a slope can be fitted to."""
    first = points[0].K
    for key in dict.fromkeys((p.estimator, p.group) for p in points):
        own = [p for p in points if (p.estimator, p.group) == key]
        for axis, line in (
            ("K", [p for p in own if p.M == 1]),
            ("M", [p for p in own if first == p.K]),
        ):
            if len(line) > 1:
                yield *key, axis, line


def _fits(points):
    """((estimator, parameters, K or M), {ratio: (slope, its error)}) of every line."""
    for name, group, axis, line in _lines(points):
        sizes = [getattr(point, axis) for point in line]
        fits = {
            ratio: slope(
                sizes,
                [getattr(p.noise, ratio) for p in line],
                [getattr(p.noise, f"{ratio}_error") for p in line],
            )
            for ratio in ("snr", "dsnr")
        }
        yield (name, group, axis), fits


def _slopes(points):
    rows = []
    for where, fits in _fits(points):
        fitted = ["no signal" if a != a else f"{a:.3f} ± {b:.3f}" for a, b in fits.values()]
        rows.append([*where, *fitted, _expected(*where)])
    return rows, ["slope of log SNR", "parameters", "against", "SNR", "DSNR", "expected"]


def _expected(name, group, axis):
    if axis == "M" or group == "model":
        return "0.5"
    known = INFERENCE.get(name.split(":")[0])
    return "" if known is None else f"{known}"


def _ratios(points, samples):
    rows = []
    for key in dict.fromkeys((p.estimator, p.group) for p in points):
        own = {p.K: p.noise for p in points if (p.estimator, p.group) == key and p.M == 1}
        rows.append([*key, *(f"{own[k].snr:.4f} ± {own[k].snr_error:.4f}" for k in samples)])
    return rows, ["SNR, M = 1", "parameters", *(f"K = {k}" for k in samples)]


def _rows(points, num_points):
    columns = [column for field in FIELDS for column in (field, f"{field}_error")]
    return [
        {
            **{"estimator": name, "parameters": group, "K": k, "M": m},
            **{"points": num_points, "repeats": noise.number},
            **{column: getattr(noise, column) for column in columns},
        }
        for name, group, k, m, noise in points
    ]


def _write_json(path, rows, fits):
    """A list of every point, and of every slope as {"value", "samples"}, the second its error."""
    from jvi.files import write_json

    slopes = []
    for where, fitted in fits:
        row = dict(zip(("estimator", "parameters", "against"), where, strict=True))
        for ratio, (value, error) in fitted.items():
            row[f"{ratio}_slope"] = {"value": value, "samples": error}
        slopes.append(row)
    write_json(path, [*rows, *slopes])


def _draw(path, points):
    from jvi.assessment.plots import new_figure, save_png

    lines = list(_lines(points)) or [(p.estimator, p.group, "K", [p]) for p in points]
    groups = list(dict.fromkeys(group for _, group, _, _ in lines))
    axes_of = list(dict.fromkeys(axis for _, _, axis, _ in lines))
    names = list(dict.fromkeys(name for name, *_ in lines))
    figure = new_figure(4.2 * len(groups), 3.4 * len(axes_of))
    grid = figure.subplots(len(axes_of), len(groups), squeeze=False)
    for name, group, axis, line in lines:
        axes = grid[axes_of.index(axis)][groups.index(group)]
        _draw_line(axes, name, axis, line, f"C{names.index(name)}")
        axes.set(xlabel=axis, title=group, xscale="log", yscale="log")
        axes.grid(alpha=0.3)
    grid[0][0].set_ylabel("signal-to-noise ratio")
    figure.legend(*grid[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    save_png(figure, path, dpi=90)


def _draw_line(axes, name, axis, line, colour):
    """Points that are above zero, with two standard errors each way."""
    seen = [point for point in line if point.noise.snr > 0]
    axes.errorbar(
        [getattr(point, axis) for point in seen],
        [point.noise.snr for point in seen],
        [min(2 * p.noise.snr_error, 0.95 * p.noise.snr) for p in seen],
        fmt="o-",
        ms=3,
        lw=1,
        color=colour,
        label=name,
    )


if __name__ == "__main__":
    main()
