"""Estimate the log-likelihood of a trained model on its test set.

Usage:
  evaluate.py [options] <modelprefix>
  evaluate.py (-h | --help)

Options:
  -h --help                    Show this help screen.
  -d <dataset>, --dataset <dataset>
                               Data set, as train.py has them; by default the one that the model
                               was trained on.
  --images <number>            Only the first test images.
  -g <device>, --device <device>
                               Number of the GPU to run on, -1 for the CPU [default: -1].
  -E <evaltypes>, --eval <evaltypes>
                               Estimates, separated by commas: "vae" (ELBO, analytic KL), "elbo"
                               (sampled), "iwae", "iwae++" (JVI of order 1), "jvi", "jvi-M" (of
                               order M), "is" or "ais" [default: iwae].
  --jvi-order <orders>         Orders of "jvi", separated by commas; zero is IWAE [default: 1].
  -s <samples>, --samples <samples>
                               Numbers of samples per image, separated by commas; smaller ones are
                               the first of the largest [default: 64].
  -b <batchsize>, --batchsize <batchsize>
                               At most so many images are worked on at a time; the result does not
                               depend on it [default: 4096].
  -r <reps>, --reps <reps>     Replications, each with fresh samples [default: 1].
  --bootstrap                  Resample the test set with replacement in each replication.
  --ais-chains <numbers>       Numbers of chains per image of "ais" and --bdmc (which takes the
                               smallest), separated by commas; by default those of samples.
  --ais-temps <number>         Temperatures of annealed importance sampling [default: 3000].
  --ais-prior                  Anneal from the prior instead of from q(z|x).
  --ais-schedule <name>        "sigmoid", "geometric" or "linear" [default: sigmoid].
  --ais-sigma <sigma>          Standard deviation of the momentum [default: 1.0].
  --ais-steps <number>         Leapfrog steps per transition [default: 10].
  --ais-stepsize <size>        Of the leapfrog steps; by default adapted in a burn-in.
  --bdmc                       Also bracket log p(x) of data simulated from the model (100 images,
                               or --images) between forward and reverse annealing.
  --table <prefix>             Write the table to <prefix>.json and .csv; by default to
                               MODEL.evaluation, or MODEL.evaluation-2, … where that exists.
  --resultfile <resultfile>    Append mean, standard error and seconds to this file, separated by
                               commas; "+" names it PREFIX.test.perf.
  --logw <logwdata.mat>        Write log-weights of the first 256 images, drawn for this file, in
                               MATLAB's format.
  --per-image <file.npz>       Write the number, the value, its sampling error and the effective
                               sample size of each image (of the last replication), and for the
                               jackknife whether to trust it.
  --seed <seed>                Seed of everything random, which includes the binarisation of the
                               test images; for fresh samples of the same images there is --reps
                               [default: 0].
  --data-dir <folder>          Folder that holds mnist/, omniglot/ (else the variable JVI_DATA, else
                               a download).
  --overwrite                  Replace existing --table, --logw and --per-image files.
  --quiet                      Print the result lines only.

After a table (docs/evaluation.md) come, for each of its rows and each replication, the mean in nats
per image, its standard error over images, the estimate and the number of samples:
  -85.12345678 +/- 0.12345678 # logp(iwae) 64
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from docopt import docopt

from jvi.cli import check_outputs, command, dataset_name, distinct, number, numbers

LOGW_IMAGES = 256
SIMULATED_IMAGES = 100  # for --bdmc

# Options that are whole numbers, and the least that they can be.
WHOLE = {
    "--device": None,
    "--images": 1,
    "--batchsize": 1,
    "--reps": 1,
    "--seed": 0,
    "--ais-temps": 1,
    "--ais-steps": 1,
}

# Options of annealed importance sampling, by the names that `jvi.ais.ais` gives them.
ANNEALING = {
    "num_temps": "--ais-temps",
    "prior": "--ais-prior",
    "schedule": "--ais-schedule",
    "sigma": "--ais-sigma",
    "num_steps": "--ais-steps",
    "step_size": "--ais-stepsize",
}


class Request(NamedTuple):
    """What the options ask for.

    Attributes
    ----------
    names : list of str
        Of the estimates, "jvi" once for each order where there are several.
    counts, chains : list of int
        Values of K, of samples and of annealed chains.
    annealing : dict
        Arguments of `jvi.ais.ais`.
    options : dict
        All that was given or has a default, by option, for the table's file.
    """

    prefix: str
    device: int
    dataset: str | None
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
    annealing: dict[str, Any]
    bdmc: bool
    table: str | None
    results: str | None
    log_weights: str | None
    per_image: str | None
    overwrite: bool
    quiet: bool
    options: dict[str, Any]


class TestSet(NamedTuple):
    """Observed test images, the name of their data set, and notes on them and on the model."""

    name: str
    x: Any
    notes: list[str]


@command
def main(argv=None):
    request = _request(docopt(__doc__, argv))
    from jvi.models.files import read_model
    from jvi.models.model import from_files

    _check_outputs(request)
    files = read_model(request.prefix)
    _check_model(files.link, request)
    model = from_files(files, request.device)
    test = _test_set(model, files, request)
    if not request.quiet:
        counts = ", ".join(map(str, request.counts))
        print(*(f"note: {note}\n" for note in test.notes), sep="", end="")
        images = f"{len(test.x)} test images of {test.name}"
        print(f"{request.prefix}: {images}, {counts} samples each", flush=True)
    if request.log_weights:
        _write_log_weights(model, test.x[:LOGW_IMAGES], request)
    lines = []  # of what is finished, to be printed whatever happens later
    try:
        rows, evaluations = _replications(model, test.x, request, lines)
        if request.bdmc:
            rows += _bracket(model, request)
        about = {"model": str(files.path), "data": test.name, "notes": test.notes}
        report = about | _about(model, test.x, request) | {"rows": rows}
        _report(report, evaluations, files, request)
        if request.per_image:
            _write_per_image(evaluations, len(test.x), request)
    finally:
        _print(lines)


def _request(arguments: Mapping[str, Any]) -> Request:
    """What docopt's `arguments` mean; ValueError for what no evaluation can meet."""
    from jvi.assessment import ais
    from jvi.assessment.evaluation import check_request

    typed = {**arguments, **_typed(arguments)}
    results = typed["--resultfile"]
    request = Request(
        prefix=typed["<modelprefix>"],
        device=typed["--device"],
        dataset=typed["--dataset"],
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
        annealing={name: typed[option] for name, option in ANNEALING.items()},
        bdmc=typed["--bdmc"],
        table=typed["--table"],
        results=f"{typed['<modelprefix>']}.test.perf" if results == "+" else results,
        log_weights=typed["--logw"],
        per_image=typed["--per-image"],
        overwrite=typed["--overwrite"],
        quiet=typed["--quiet"],
        options={k: v for k, v in typed.items() if v is not None and v is not False},
    )
    check_request(request.counts, request.names, request.order, request.batch_size, ["ais"])
    ais.check_request(**request.annealing)
    return request


def _typed(arguments):
    """Numbers and lists for the texts of `arguments`, by option."""
    values = {
        option: number(arguments, option, least=least)
        for option, least in WHOLE.items()
        if arguments[option] is not None
    }
    for option in ("--ais-sigma", "--ais-stepsize"):
        if arguments[option] is not None:
            values[option] = number(arguments, option, float)
    values["--jvi-order"] = orders = numbers(arguments, "--jvi-order", least=0)
    every = [f"jvi-{order}" for order in orders] if len(orders) > 1 else ["jvi"]
    names = [
        each
        for name in arguments["--eval"].split(",")
        for each in (every if name == "jvi" else [name])
    ]
    values["--eval"] = distinct(names, "--eval")
    values["--samples"] = counts = numbers(arguments, "--samples", least=1)
    given = arguments["--ais-chains"] is not None
    values["--ais-chains"] = numbers(arguments, "--ais-chains", least=1) if given else counts
    return values


def _check_outputs(request):
    """Refuse before the work what could not be written after it."""
    new = [request.log_weights, request.per_image]
    new += [f"{request.table}.json", f"{request.table}.csv"] if request.table else []
    check_outputs(new, request.overwrite, request.results)


def _check_model(link, request):
    """Refuse before the work what this model cannot be asked for."""
    from jvi.assessment import ais
    from jvi.assessment.evaluation import check_request

    names = request.names
    check_request(request.counts, names, request.order, request.batch_size, ["ais"], link)
    if "ais" in names or request.bdmc:
        ais.check_request(**request.annealing, link=link)


def _test_set(model, files, request):
    from jvi import datasets
    from jvi.assessment.doubts import doubts

    name, wanted = dataset_name(request.dataset, files), request.num_images
    data = datasets.load(name, request.data_dir)
    rows = data.test[:wanted]
    if wanted is not None and wanted > len(rows):
        raise ValueError(f"--images {wanted}: {name} has only {len(rows)} test images")
    model.images(rows)  # raises ValueError for any that cannot be evaluated
    notes, trained_on = doubts(files), files.meta.get("--dataset")
    if trained_on not in (None, name):
        notes.append(f"{files.prefix} was trained on {trained_on}, not on {name}")
    empty = (rows == 0).all(axis=1) if data.image_shape else []
    if any(empty):
        count, first = int(empty.sum()), int(empty.argmax())
        notes.append(f"{count} of the test images are all zero, the first is number {first}")
    return TestSet(name, datasets.observe_each(data, rows, request.seed), notes)


def _replications(model, x, request, lines):
    """(rows of all replications, evaluations of the last one)."""
    from jvi.assessment import tables
    from jvi.assessment.evaluation import elbo_name

    replications = []
    for replication in range(request.reps):
        images = x[_images(len(x), request, replication)]
        results = _evaluate(model, images, request, replication, lines)
        rows = tables.rows(results, request.names)
        if request.results:
            _append(rows, request.results)
        if request.quiet:
            _print(lines)
        evaluations = [evaluation for evaluation, _ in results]
        replications.append([*rows, tables.kl_row(evaluations, elbo_name(model.link))])
    return tables.combine(replications), evaluations


def _images(count, request, replication):
    """The numbers of the test images of a replication."""
    import numpy as np

    from jvi.engine.random import stream

    if not request.bootstrap:
        return np.arange(count)
    return stream(request.seed, "bootstrap", replication).integers(count, size=count)


def _evaluate(model, x, request, replication, lines):
    """One replication: pairs of an `Evaluation` and the seconds that its pass took.

    `lines` get those of finished passes, also where a later one fails.
    """
    from jvi.assessment import ais, evaluation, tables

    shared = {"seed": request.seed, "replication": replication, "progress": not request.quiet}
    # The ELBO and IWAE for the KL divergence.
    bounds = dict.fromkeys([*request.names, evaluation.elbo_name(model.link), "iwae"])
    bounds.pop("ais", None)
    sampling = {"order": request.order, "batch_size": request.batch_size, "detail": True} | shared
    results = []
    try:
        results += _timed(evaluation.evaluations, model, x, request.counts, bounds, **sampling)
        if "ais" in request.names:
            annealing = request.annealing | shared
            results += _timed(ais.evaluations, model, x, request.chains, **annealing)
    finally:
        lines += _lines(tables.rows(results, request.names))
    return results


def _timed(function, *arguments, **options):
    """The results of `function`, each with the seconds that all took."""
    from time import perf_counter

    start = perf_counter()
    results = function(*arguments, **options)
    seconds = perf_counter() - start
    return [(result, seconds) for result in results]


def _lines(rows):
    """In the original's format."""
    return [
        f"{row['mean']:.8f} +/- {row['standard_error']:.8f} "
        f"# logp({row['estimate']}) {row['num_samples']}"
        for row in rows
    ]


def _print(lines):
    """Print `lines`, once."""
    if lines:
        print(*lines, sep="\n", flush=True)
    lines.clear()


def _append(rows, path):
    with open(path, "a") as file:
        for row in rows:
            values = (row[key] for key in ("mean", "standard_error", "seconds"))
            file.write(",".join(f"{value:.8f}" for value in values) + "\n")


def _about(model, x, request):
    """What a report says beside its rows."""
    from jvi.assessment import tables

    active, units = _units(model, x, request.seed)
    return {
        "arguments": request.options,
        "versions": tables.versions(),
        "active_units": active,
        "latent_units": units,
    }


def _units(model, x, seed):
    """How many latent units are active, and how many there are; lists for several layers."""
    from jvi.assessment.evaluation import latent_means
    from jvi.evidence.diagnostics import active_units

    if not hasattr(model.link, "latent_means"):
        return None, None
    means = latent_means(model, x, seed)
    units = [mean.shape[1] for mean in means]
    active = [int(active_units(mean).sum()) for mean in means]
    known = active if len(means) > 1 else active[0]
    return known if len(x) > 1 else None, units if len(means) > 1 else units[0]


def _bracket(model, request):
    """Rows of bidirectional Monte Carlo."""
    from jvi.assessment import ais, tables

    num_images, num_chains = request.num_images or SIMULATED_IMAGES, min(request.chains)
    options = request.annealing | {"seed": request.seed, "progress": not request.quiet}
    [(ends, seconds)] = _timed(lambda: [ais.bdmc(model, num_images, num_chains, **options)])
    return tables.combine([tables.sandwich_rows(ends, num_chains, seconds)])


def _report(report, evaluations, files, request):
    """Print and write the table."""
    from jvi.assessment import tables
    from jvi.assessment.evaluation import elbo_name

    explicit = request.annealing["step_size"] is not None
    notes = tables.annealing_notes(report["rows"], explicit)
    report["notes"] += notes
    if not request.quiet:
        summary = tables.summary(report, evaluations, elbo_name(files.link))
        print(summary, *(f"note: {note}" for note in notes), sep="\n")
    written = _write_table(report, files.prefix, request.table)
    if not request.quiet:
        print(written)


def _write_table(report, prefix, wanted):
    """Write JSON and CSV; where, or why not, as a line."""
    from jvi.assessment import tables

    if wanted:
        tables.write(wanted, report)
        return f"table: {wanted}.json and .csv"
    try:
        return f"table: {tables.write_beside(prefix, report)}.json and .csv"
    except OSError as error:
        return f"note: the table is not written ({error.strerror}); name another place with --table"


def _write_log_weights(model, x, request):
    from scipy.io import savemat

    from jvi.engine.random import stream
    from jvi.evidence.arrays import host
    from jvi.files import atomic_write

    rng = stream(request.seed, "log-weight file")
    log_w = host(model.log_weights(x, max(request.counts), rng))
    with atomic_write(request.log_weights) as temporary, open(temporary, "wb") as file:
        savemat(file, {"logw": log_w})


def _write_per_image(evaluations, count, request):
    import numpy as np

    from jvi.assessment import tables
    from jvi.files import atomic_write

    arrays = {"image": _images(count, request, request.reps - 1)}
    arrays |= tables.per_image(evaluations, request.names)
    with atomic_write(request.per_image) as temporary, open(temporary, "wb") as file:
        np.savez(file, **arrays)


if __name__ == "__main__":
    main()
