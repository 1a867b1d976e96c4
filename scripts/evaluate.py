"""Estimate the log-likelihood of a trained model on test sets, or from log-weights in a file.

Usage:
  evaluate.py [options] <modelprefix>
  evaluate.py [options] --log-weights <file>
  evaluate.py (-h | --help)

Options:
  -h --help                    Show this help screen.
  -d <datasets>, --dataset <datasets>
                               Data sets, as train.py has them, separated by commas; by default the
                               one that the model was trained on. Several get a table each, a small
                               one that compares them, and their names in rows and result lines.
  --images <number>            Only the first test images.
  -g <device>, --device <device>
                               Number of the GPU to run on, -1 for the CPU [default: -1].
  -E <evaltypes>, --eval <evaltypes>
                               Estimates, separated by commas: "vae" (ELBO, analytic KL), "elbo"
                               (sampled), "iwae", "iwae++" (JVI of order 1), "jvi", "jvi-M" (of
                               order M), "is" or "ais" [default: iwae]. Of log-weights elbo,iwae,jvi
                               unless given, without "vae", "is" and "ais".
  --jvi-order <orders>         Orders of "jvi", separated by commas; zero is IWAE [default: 1].
  -s <samples>, --samples <samples>
                               Numbers of samples per image, separated by commas; smaller ones are
                               the first of the largest [default: 64]. Of log-weights all.
  -b <batchsize>, --batchsize <batchsize>
                               At most so many images are worked on at a time; the result does not
                               depend on it [default: 4096].
  -r <reps>, --reps <reps>     Replications, each with fresh samples [default: 1].
  --bootstrap                  Resample the test set with replacement in each replication.
  --ais-chains <numbers>       Numbers of chains per image of "ais" and --bdmc (which takes the
                               smallest), separated by commas; by default those of samples.
  --ais-temps <number>         Temperatures of annealed importance sampling [default: 3000].
  --ais-start <start>          Where chains of "ais" and --bdmc start: "q" (at q(z|x), the default),
                               "prior" (the estimate is then called ais-prior) or "both", which
                               warns where they disagree: from q a mode can be missed unseen.
  --ais-prior                  The same as --ais-start prior.
  --ais-schedule <name>        "sigmoid", "geometric" or "linear" [default: sigmoid].
  --ais-sigma <sigma>          Standard deviation of the momentum [default: 1.0].
  --ais-steps <number>         Leapfrog steps per transition [default: 10].
  --ais-stepsize <size>        Of the leapfrog steps; by default adapted in a burn-in.
  --bdmc                       Also bracket log p(x) of data simulated from the model (100 images,
                               or --images) between forward and reverse annealing.
  --table <prefix>             Write the table to <prefix>.json and .csv; by default to
                               MODEL.evaluation, or MODEL.evaluation-2, … where that exists (of
                               log-weights FILE.evaluation, FILE without its ending).
  --resultfile <resultfile>    Append mean, standard error and seconds to this file, separated by
                               commas; "+" names it PREFIX.test.perf.
  -m <measures>, --measures <measures>
                               Also measure, separated by commas, "ssim" (the structural similarity
                               of images and their reconstructions, by scikit-image),
                               "active-units" (of each stochastic layer) or "l2-errors" (distances
                               of q(z|x) and the prior from the true ones, where these are known).
  --logw <logwdata.mat>        Write log-weights of the first 256 images, drawn for this file, in
                               MATLAB's format; or in NumPy's, as log_w, where the name ends in
                               .npz, which --log-weights reads.
  --log-weights <file>         Evaluate log-weights in place of a model: an .npz, .npy or .csv file
                               of K samples (rows) of each of N data points (columns). Options that
                               have an effect then: -E, --jvi-order, -s, --name, --table,
                               and --per-image, --overwrite, --quiet.
  --name <name>                Of the array in that file; by default log_w, logw or log_weights, or
                               the only one.
  --per-image <file.npz>       Write what the table is made of, image by image (of the last
                               replication): its number, all values and their sampling errors,
                               effective sample size and Pareto k, and for the jackknife whether to
                               trust it.
  --seed <seed>                Seed of everything random, which includes the binarisation of the
                               test images; for fresh samples of the same images there is --reps
                               [default: 0].
  --data-dir <folder>          Folder that holds mnist/, omniglot/, cifar10/ (else the variable
                               JVI_DATA, else a download).
  --overwrite                  Replace existing --table, --logw and --per-image files.
  --quiet                      Print the result lines only.

The table tells bits per dimension, too, of data that have them (bytes of images: cifar10 and the
like), where lower is better.

After a table (docs/evaluation.md) come, for each of its rows and each replication, the mean in nats
per image, its standard error over images, the estimate and the number of samples:
  -85.12345678 +/- 0.12345678 # logp(iwae) 64
and the name of the data set where there are several. Of a model that knows log p(x), the table also
has that, and how far every estimate is from it.
"""

import os
from collections.abc import Mapping
from typing import Any, NamedTuple

from jvi.cli import (
    arguments_of,
    asked,
    check_effects,
    check_outputs,
    command,
    data_note,
    dataset_name,
    distinct,
    model_files,
    number,
    numbers,
    seed,
)
from jvi.scripts.on_ranks import on_ranks
from jvi.scripts.written import write_arrays, write_table

LOGW_IMAGES = 256
SIMULATED_IMAGES = 100  # for --bdmc
MOST_SAMPLES = 10**7

# Options that are whole numbers, and the least that they can be.
WHOLE = {
    "--device": -1,
    "--images": 1,
    "--batchsize": 1,
    "--reps": 1,
    "--ais-temps": 1,
    "--ais-steps": 1,
}

# Options of annealed importance sampling, by the names that `jvi.ais.ais` gives them.
ANNEALING = {
    "num_temps": "--ais-temps",
    "schedule": "--ais-schedule",
    "sigma": "--ais-sigma",
    "num_steps": "--ais-steps",
    "step_size": "--ais-stepsize",
}


# What "ais" stands for, by --ais-start.
AIS_STARTS = {"q": ["ais"], "prior": ["ais-prior"], "both": ["ais", "ais-prior"]}


class Request(NamedTuple):
    """What the options ask for.

    Attributes
    ----------
    datasets : list of str
        Empty for that of the model.
    names : list of str
        Of the estimates, "jvi" once for each order where there are several, "ais" for each start.
    counts, chains : list of int
        Values of K, of samples and of annealed chains.
    starts : list of str
        Keys of `jvi.ais.STARTS`, for annealing and its bracket.
    annealing : dict
        Arguments of `jvi.ais.ais`, but for the start.
    options : dict
        All that was given or has a default, by option, for the table's file.
    """

    prefix: str
    device: int
    datasets: list[str]
    data_dir: str | None
    num_images: int | None
    names: list[str]
    order: int
    counts: list[int]
    batch_size: int
    reps: int
    bootstrap: bool
    seed: int
    chains: list[int]
    starts: list[str]
    annealing: dict[str, Any]
    bdmc: bool
    measures: list[str]
    table: str | None
    results: str | None
    log_weights: str | None
    per_image: str | None
    overwrite: bool
    quiet: bool
    options: dict[str, Any]


class TestSet(NamedTuple):
    """Observed test images of a data set, its name, as results tell it, and notes on them."""

    name: str
    label: str  # the name where there are several, else ""
    data: Any
    x: Any
    notes: list[str]


@on_ranks
@command
def main(argv=None):
    arguments, given = arguments_of(__doc__, argv)
    if arguments["--log-weights"] is not None:
        return _of_log_weights(arguments, given)
    check_effects(given, ["--name"], False, "--log-weights")
    with asked():
        request = _request(arguments)
    _check_effects(arguments, given)
    from jvi.models.files import read_model
    from jvi.models.model import from_files

    files = read_model(request.prefix)
    names = [dataset_name(name, files) for name in request.datasets or [None]]
    _check_outputs(request, files)
    _check_model(files.link, request)
    model = from_files(files, request.device)
    tests = [_test_set(model, files, request, name, len(names) > 1) for name in names]
    tests[0].notes[:0] = _notes(files, request, names)
    if request.log_weights and _writes(request):
        _write_log_weights(model, tests[0].x[:LOGW_IMAGES], request)
    lines = []  # of what is finished, to be printed whatever happens later
    try:
        reports = {}
        for test in tests:
            last = test is tests[-1]
            reports[test.name], arrays = _assessed(model, test, request, lines, last)
        if _writes(request):
            _report(files, reports, request)
            if request.per_image:
                _write_per_image(arrays, len(tests[0].x), request)
    finally:
        _print(lines)


def _of_log_weights(arguments, given):
    """The other usage: no model."""
    from jvi.scripts import log_weights

    if "--eval" not in given:
        arguments["--eval"] = log_weights.BOUNDS
    with asked():
        typed = {**arguments, **_typed(arguments)}
    _check_order(arguments, given)
    log_weights.evaluate_file(typed, given)


def _writes(request):
    """Whether this rank writes: one of them, when all have looked at what is there."""
    from jvi.engine.ranks import ranks

    ranks().agree(options=[request])
    return ranks().rank == 0


def _request(arguments: Mapping[str, Any]) -> Request:
    """What docopt's `arguments` mean; ValueError for what no evaluation can meet."""
    from jvi.assessment import ais
    from jvi.assessment.cross import split_names
    from jvi.assessment.evaluation import check_request
    from jvi.assessment.measures import check_names

    typed = {**arguments, **_typed(arguments)}
    results = typed["--resultfile"]
    request = Request(
        prefix=typed["<modelprefix>"],
        device=typed["--device"],
        datasets=split_names(typed["--dataset"]),
        data_dir=typed["--data-dir"],
        num_images=typed["--images"],
        names=typed["--eval"],
        order=typed["--jvi-order"][0],
        counts=typed["--samples"],
        batch_size=typed["--batchsize"],
        reps=typed["--reps"],
        bootstrap=typed["--bootstrap"],
        seed=typed["--seed"],
        chains=typed["--ais-chains"],
        starts=AIS_STARTS[typed["--ais-start"]],
        annealing={name: typed[option] for name, option in ANNEALING.items()},
        bdmc=typed["--bdmc"],
        measures=typed["--measures"] or [],
        table=typed["--table"],
        results=f"{typed['<modelprefix>'].rstrip(os.sep)}.test.perf" if results == "+" else results,
        log_weights=typed["--logw"],
        per_image=typed["--per-image"],
        overwrite=typed["--overwrite"],
        quiet=typed["--quiet"],
        options={k: v for k, v in typed.items() if v is not None and v is not False},
    )
    check_request(request.counts, request.names, request.order, request.batch_size, request.starts)
    ais.check_request(**request.annealing)
    with asked("--measures"):
        check_names(request.measures)
    for option in ("--logw", "--per-image"):
        if typed[option] and len(request.datasets) > 1:
            raise ValueError(f"{option} is of one data set: give one with --dataset")
    return request


def _typed(arguments):
    """Numbers and lists for the texts of `arguments`, by option."""
    from jvi.evidence.jackknife import MAX_ORDER

    values = {
        option: number(arguments, option, least=least)
        for option, least in WHOLE.items()
        if arguments[option] is not None
    }
    for option in ("--ais-sigma", "--ais-stepsize"):
        if arguments[option] is not None:
            values[option] = number(arguments, option, float)
    values["--seed"] = seed(arguments)
    values["--jvi-order"] = orders = numbers(arguments, "--jvi-order", least=0, most=MAX_ORDER)
    values["--ais-start"] = start = _start(arguments)
    every = {"ais": AIS_STARTS[start]}
    if len(orders) > 1:
        every["jvi"] = [f"jvi-{order}" for order in orders]
    names = [each for name in arguments["--eval"].split(",") for each in every.get(name, [name])]
    values["--eval"] = distinct(names, "--eval")
    for name in names:
        if name.startswith("jvi-"):
            number({"--eval: jvi-M": name[4:]}, "--eval: jvi-M", least=0, most=MAX_ORDER)
    if arguments["--measures"] is not None:
        values["--measures"] = distinct(arguments["--measures"].split(","), "--measures")
    values["--samples"] = counts = numbers(arguments, "--samples", least=1, most=MOST_SAMPLES)
    values["--ais-chains"] = counts
    if arguments["--ais-chains"] is not None:
        values["--ais-chains"] = numbers(arguments, "--ais-chains", least=1, most=MOST_SAMPLES)
    return values


def _start(arguments):
    """A key of `AIS_STARTS`."""
    given, alias = arguments["--ais-start"], arguments["--ais-prior"]
    if given not in (None, *AIS_STARTS):
        raise ValueError(f"unknown --ais-start {given!r}: choose from {', '.join(AIS_STARTS)}")
    if alias and given not in (None, "prior"):
        raise ValueError(f"--ais-prior is --ais-start prior, not {given}: give one of them")
    return "prior" if alias else given or "q"


def _check_effects(arguments, given):
    """Refuse options that nothing asked for looks at."""
    _check_order(arguments, given)
    names = arguments["--eval"].split(",")
    annealed = any(name.startswith("ais") for name in names) or arguments["--bdmc"]
    options = [option for option in arguments if option.startswith("--ais-")]
    check_effects(given, options, annealed, '"ais" in --eval, and --bdmc')


def _check_order(arguments, given):
    names = arguments["--eval"].split(",")
    check_effects(given, ["--jvi-order"], "jvi" in names, '"jvi" in --eval')


def _check_outputs(request, files):
    """Refuse before the work what could not be written after it."""
    tables = [f"{request.table}.json", f"{request.table}.csv"] if request.table else []
    new = {"--logw": request.log_weights, "--per-image": request.per_image, "--table": tables}
    for name in request.datasets or [files.meta.get("--dataset")]:
        check_outputs(
            new,
            request.overwrite,
            {"--resultfile": request.results},
            inputs=[files.path, *model_files(files.prefix)],
            data=(name, request.data_dir),
        )
    if request.results and os.path.exists(request.results):
        with open(request.results, "rb") as file:
            if set(file.read(100)) - set(b"0123456789+-.,einfa \r\n"):
                raise ValueError(f"--resultfile: {request.results} holds other things")


def _check_model(link, request):
    """Refuse before the work what this model cannot be asked for."""
    from jvi.assessment import ais
    from jvi.assessment.evaluation import check_request

    names, starts = request.names, request.starts
    check_request(request.counts, names, request.order, request.batch_size, starts, link)
    for start in starts:
        if start in names or request.bdmc:
            ais.check_request(**request.annealing, prior=ais.STARTS[start], link=link)


def _test_set(model, files, request, name, several):
    """A `TestSet`; ValueError, before any work, for one that is not for this model or request."""
    from jvi import datasets
    from jvi.assessment import measures
    from jvi.assessment.assessed import observed

    wanted, data = request.num_images, datasets.load(name, request.data_dir)
    rows = data.test[:wanted]
    if wanted is not None and wanted > len(rows):
        raise ValueError(f"--images {wanted}: {name} has only {len(rows)} test images")
    try:
        x = observed(model, data, rows, request.seed)
    except ValueError as error:
        raise ValueError(f"{name}: {error}" if several else str(error)) from None
    measures.check(request.measures, model.link, data)
    notes, trained_on = [], files.meta.get("--dataset")
    if trained_on not in (None, name):
        notes.append(f"{files.prefix} was trained on {trained_on}, not on {name}")
    empty = (rows == 0).all(axis=1) if data.image_shape else []
    if any(empty):
        count, first, of = int(empty.sum()), int(empty.argmax()), f" of {name}" * several
        notes.append(f"{count} of the test images{of} are all zero, the first is number {first}")
    return TestSet(name, name if several else "", data, x, notes)


def _notes(files, request, names):
    """On the model, and on options that change nothing here."""
    from jvi.assessment.doubts import doubts

    given = ["--data-dir"] if request.data_dir else []
    idle = [data_note(given, name) for name in names]
    written = request.table or request.log_weights or request.per_image
    effect = ["--overwrite has no effect without --table, --logw or --per-image"]
    return [*doubts(files), *filter(None, idle), *effect * (request.overwrite and not written)]


def _assessed(model, test, request, lines, last):
    """What a report says of one test set, printed, too, and what that is made of by image.

    With the `last` one come simulated data.
    """
    from jvi.assessment import tables
    from jvi.assessment.evaluation import elbo_name
    from jvi.assessment.in_unit import in_unit

    if not request.quiet:
        counts = ", ".join(map(str, request.counts))
        print(*(f"note: {note}\n" for note in test.notes), sep="", end="")
        images = f"{len(test.x)} test images of {test.name}"
        print(f"{request.prefix}: {images}, {counts} samples each", flush=True)
    rows, evaluations = _replications(model, test, request, lines)
    simulated, ends = _bracket(model, request) if request.bdmc and last else ([], {})
    rows = in_unit([*rows, *simulated], test.data.unit)
    notes = tables.start_notes(rows)
    notes += tables.annealing_notes(rows, request.annealing["step_size"] is not None)
    report = {"notes": test.notes + notes} | _measured(model, test, request) | {"rows": rows}
    if not request.quiet:
        print(tables.summary(report, evaluations), *(f"note: {note}" for note in notes), sep="\n")
    arrays = tables.per_image(evaluations, request.names, elbo_name(model.link))
    return report, arrays | ends


def _replications(model, test, request, lines):
    """(rows of all replications, evaluations of the last one)."""
    from jvi.assessment.evaluation import elbo_name
    from jvi.assessment.exact import exact_rows, inference_gap
    from jvi.assessment.rows import combine, rows, start_row

    replications, against, elbo = [], None, elbo_name(model.link)
    for replication in range(request.reps):
        images = test.x[_images(len(test.x), request, replication)]
        results = _evaluate(model, images, request, replication, lines, test.label)
        own = rows(results, request.names)
        if request.results and _writes(request):
            _append(own, request.results)
        if request.quiet:
            _print(lines)
        evaluations = [evaluation for evaluation, _ in results]
        compared, kl = start_row(evaluations), inference_gap(evaluations, elbo, against)
        against = kl["log_likelihood"]  # the same in every replication
        known = exact_rows(results, request.names)
        replications.append([*own, *known, *([compared] if compared else []), kl])
    return combine(replications), evaluations


def _images(count, request, replication):
    """The numbers of the test images of a replication."""
    import numpy as np

    from jvi.engine.random import stream

    if not request.bootstrap:
        return np.arange(count)
    return stream(request.seed, "bootstrap", replication).integers(count, size=count)


def _evaluate(model, x, request, replication, lines, label):
    """One replication: pairs of an `Evaluation` and the seconds that its pass took.

    `lines` get those of finished passes, also where a later one fails.
    """
    from jvi.assessment import ais, evaluation, exact
    from jvi.assessment.rows import rows
    from jvi.assessment.tables import result_lines

    shared = {"seed": request.seed, "replication": replication, "progress": not request.quiet}
    # The ELBO and IWAE for the KL divergence.
    bounds = dict.fromkeys([*request.names, evaluation.elbo_name(model.link), "iwae"])
    bounds = [name for name in bounds if name not in request.starts]
    sampling = {"order": request.order, "batch_size": request.batch_size, "detail": True} | shared
    results = []
    try:
        results += _timed(evaluation.evaluations, model, x, request.counts, bounds, **sampling)
        for start in (name for name in request.starts if name in request.names):
            annealing = request.annealing | shared | {"prior": ais.STARTS[start]}
            results += _timed(ais.evaluations, model, x, request.chains, **annealing)
        if hasattr(model.link, "log_evidence"):
            results += _timed(lambda: [exact.evaluation(model, x)])
    finally:
        lines += result_lines(rows(results, request.names), label)
    return results


def _timed(function, *arguments, **options):
    """The results of `function`, each with the seconds that all took."""
    from time import perf_counter

    start = perf_counter()
    results = function(*arguments, **options)
    seconds = perf_counter() - start
    return [(result, seconds) for result in results]


def _print(lines):
    """Print `lines`, once."""
    if lines:
        print(*lines, sep="\n", flush=True)
    lines.clear()


def _append(rows, path):
    from jvi.files import append_text

    values = [[row[key] for key in ("mean", "standard_error", "seconds")] for row in rows]
    append_text(path, "".join(",".join(f"{v:.8f}" for v in line) + "\n" for line in values))


def _measured(model, test, request):
    """What was measured of a test set: the number of active units always, if there are any."""
    from jvi.assessment import measures

    always = [measures.UNITS] * hasattr(model.link, "latent_means")
    options = {"seed": request.seed, "progress": not request.quiet}
    found = {
        name: measures.measure(name, model, test.x, test.data, **options)
        for name in dict.fromkeys([*request.measures, *always])
    }
    report = measures.units(found.get(measures.UNITS, []))
    if request.measures:
        report["measures"] = [row for name in request.measures for row in found[name]]
    return report


def _bracket(model, request):
    """Rows of bidirectional Monte Carlo, from each start, and what they are made of by name."""
    from jvi.assessment import ais
    from jvi.assessment.rows import combine, sandwich_rows

    num_images, num_chains = request.num_images or SIMULATED_IMAGES, min(request.chains)
    options = request.annealing | {"seed": request.seed, "progress": not request.quiet}
    rows, arrays = [], {}
    for start in request.starts:
        name, prior = start.replace("ais", "bdmc"), ais.STARTS[start]
        [(ends, seconds)] = _timed(
            lambda prior=prior: [ais.bdmc(model, num_images, num_chains, prior=prior, **options)]
        )
        rows += combine([sandwich_rows(ends, num_chains, seconds, name)])
        arrays |= {f"{name}-{end}@{num_chains}": getattr(ends, end) for end in ("lower", "upper")}
    return rows, arrays


def _report(files, reports, request):
    """Print what compares the data sets, and write the table."""
    from jvi.assessment import tables
    from jvi.assessment.cross import cross, merged

    about = {"model": str(files.path), "arguments": request.options}
    about |= {"versions": tables.versions()} | merged(reports, files.meta.get("--dataset"))
    if len(reports) > 1 and not request.quiet:
        print(tables.crossed(*cross(reports, request.names), about["trained_on"]))
    written = write_table(about, files.prefix, request.table)
    if not request.quiet:
        print(written)


def _write_log_weights(model, x, request):
    from scipy.io import savemat

    from jvi.engine.random import stream
    from jvi.evidence.arrays import host

    rng = stream(request.seed, "log-weight file")
    log_w = host(model.log_weights(x, max(request.counts), rng))
    if request.log_weights.lower().endswith(".npz"):
        write_arrays(request.log_weights, {"log_w": log_w})
    else:
        write_arrays(request.log_weights, {"logw": log_w}, savemat)


def _write_per_image(arrays, count, request):
    images = _images(count, request, request.reps - 1)
    write_arrays(request.per_image, {"image": images} | arrays)


if __name__ == "__main__":
    main()
