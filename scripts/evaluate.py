"""Estimate the log-likelihood of a trained model on its test set.

Usage:
  evaluate.py [options] <modelprefix>
  evaluate.py (-h | --help)

Options:
  -h --help                    Show this help screen.
  -d <dataset>, --dataset <dataset>
                               Data set: "digits", "mnist" or "omniglot"; by default the one that
                               the model was trained on.
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
  --profile                    Print before the last line where the time went.

After a table (docs/evaluation.md) come, for each of its rows and each replication, the mean in nats
per image, its standard error over images, the estimate and the number of samples:
  -85.12345678 +/- 0.12345678 # logp(iwae) 64
"""

import sys

if __name__ == "__main__":
    from os.path import dirname, realpath

    sys.path[0] = dirname(dirname(realpath(__file__)))

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


@command
def main(argv=None):
    arguments = _typed(docopt(__doc__, argv))
    from jvi.compat.model_files import read_model
    from jvi.model import from_files

    result_file = _outputs(arguments)
    prefix = arguments["<modelprefix>"]
    files = read_model(prefix)
    model = from_files(files, arguments["--device"])
    data, test, notes = _test_set(model, files, arguments)
    if not arguments["--quiet"]:
        counts = ", ".join(map(str, arguments["--samples"]))
        print(*(f"note: {note}\n" for note in notes), sep="", end="")
        print(f"{prefix}: {len(test)} test images of {data}, {counts} samples each", flush=True)
    if arguments["--logw"]:
        _write_log_weights(model, test[:LOGW_IMAGES], arguments)
    lines = []  # of what is finished, to be printed whatever happens later
    try:
        rows, evaluations = _replications(model, test, arguments, result_file, lines)
        if arguments["--bdmc"]:
            rows += _bracket(model, arguments)
        about = {"model": str(files.path), "data": data, "notes": notes}
        _report(about | _about(model, test, arguments) | {"rows": rows}, evaluations, files.prefix)
        if arguments["--per-image"]:
            _write_per_image(evaluations, len(test), arguments)
    finally:
        _print(lines)


def _typed(arguments):
    """`arguments` with numbers and lists for texts; ValueError for what cannot be met."""
    from jvi import ais
    from jvi.evaluation import check_request

    values = dict(arguments)
    for option, least in WHOLE.items():
        if values[option] is not None:
            values[option] = number(arguments, option, least=least)
    for option in ("--ais-sigma", "--ais-stepsize"):
        if values[option] is not None:
            values[option] = number(arguments, option, float)
    orders = numbers(arguments, "--jvi-order", least=0)
    every = [f"jvi-{order}" for order in orders] if len(orders) > 1 else ["jvi"]
    names = [
        each
        for name in arguments["--eval"].split(",")
        for each in (every if name == "jvi" else [name])
    ]
    values["--eval"], values["--jvi-order"] = distinct(names, "--eval"), orders
    values["--samples"] = counts = numbers(arguments, "--samples", least=1)
    given = arguments["--ais-chains"] is not None
    values["--ais-chains"] = numbers(arguments, "--ais-chains", least=1) if given else counts
    check_request(counts, names, orders[0], values["--batchsize"], others=["ais"])
    settings = {name: values[option] for name, option in ANNEALING.items() if name != "prior"}
    ais.check_request(**settings)
    return values


def _outputs(arguments):
    """The result file or None; refuses before the work what could not be written after it."""
    result_file, table = arguments["--resultfile"], arguments["--table"]
    if result_file == "+":
        result_file = f"{arguments['<modelprefix>']}.test.perf"
    new = [arguments["--logw"], arguments["--per-image"]]
    new += [f"{table}.json", f"{table}.csv"] if table else []
    check_outputs(new, arguments["--overwrite"], result_file)
    return result_file


def _test_set(model, files, arguments):
    """(name of the data set, binary test images, notes on them and on the model)."""
    from jvi import datasets
    from jvi.compat.doubts import doubts

    trained_on = files.meta.get("--dataset")
    name = dataset_name(arguments, files)
    images = datasets.load(name, arguments["--data-dir"]).test
    wanted = arguments["--images"]
    if wanted is not None and wanted > len(images):
        raise ValueError(f"--images {wanted}: {name} has only {len(images)} test images")
    images = images[:wanted]
    model.images(images)  # raises ValueError for any that cannot be evaluated
    notes = doubts(files)
    if trained_on not in (None, name):
        notes.append(f"{files.prefix} was trained on {trained_on}, not on {name}")
    empty = (images == 0).all(axis=1)
    if empty.any():
        count, first = int(empty.sum()), int(empty.argmax())
        notes.append(f"{count} of the test images are all zero, the first is number {first}")
    return name, datasets.binarise_each(images, arguments["--seed"]), notes


def _replications(model, test, arguments, result_file, lines):
    """(rows of all replications, evaluations of the last one)."""
    from jvi import tables

    replications = []
    for replication in range(arguments["--reps"]):
        images = test[_images(len(test), arguments, replication)]
        results = _evaluate(model, images, arguments, replication, lines)
        rows = tables.rows(results, arguments["--eval"])
        if result_file:
            _append(rows, result_file)
        if arguments["--quiet"]:
            _print(lines)
        evaluations = [evaluation for evaluation, _ in results]
        replications.append([*rows, tables.kl_row(evaluations)])
    return tables.combine(replications), evaluations


def _images(count, arguments, replication):
    """The numbers of the test images of a replication."""
    import numpy as np

    from jvi.backend import stream

    if not arguments["--bootstrap"]:
        return np.arange(count)
    return stream(arguments["--seed"], "bootstrap", replication).integers(count, size=count)


def _evaluate(model, test, arguments, replication, lines):
    """One replication: pairs of an `Evaluation` and the seconds that its pass took.

    `lines` get those of finished passes, also where a later one fails.
    """
    from jvi import ais, evaluation, tables
    from jvi.profiling import printed_profile

    names, counts = arguments["--eval"], arguments["--samples"]
    seed, progress = arguments["--seed"], not arguments["--quiet"]
    shared = {"seed": seed, "replication": replication, "progress": progress}
    bounds = dict.fromkeys([*names, "vae", "iwae"])  # two of them for the KL divergence
    bounds.pop("ais", None)
    sampling = {"order": arguments["--jvi-order"][0], "batch_size": arguments["--batchsize"]}
    sampling |= {"detail": True, **shared}
    results = []
    try:
        with printed_profile(arguments["--profile"]):
            results += _timed(evaluation.evaluations, model, test, counts, bounds, **sampling)
            if "ais" in names:
                annealing = _annealing(arguments) | shared
                chains = arguments["--ais-chains"]
                results += _timed(ais.evaluations, model, test, chains, **annealing)
    finally:
        lines += _lines(tables.rows(results, names))
    return results


def _annealing(arguments):
    return {name: arguments[option] for name, option in ANNEALING.items()}


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


def _append(rows, result_file):
    with open(result_file, "a") as file:
        for row in rows:
            numbers = (row[key] for key in ("mean", "standard_error", "seconds"))
            file.write(",".join(f"{number:.8f}" for number in numbers) + "\n")


def _about(model, test, arguments):
    """What a report says beside its rows."""
    from jvi import tables

    given = {k: v for k, v in arguments.items() if v is not None and v is not False}
    return {
        "arguments": given,
        "versions": tables.versions(),
        "active_units": _active_units(model, test) if len(test) > 1 else None,
        "latent_units": model.num_latent,
    }


def _active_units(model, test):
    import numpy as np

    from jvi.backend import to_host
    from jvi.diagnostics import active_units

    blocks = np.split(test, range(1024, len(test), 1024))
    means = np.concatenate([to_host(model.encode(block)[0]) for block in blocks])
    return int(active_units(means).sum())


def _bracket(model, arguments):
    """Rows of bidirectional Monte Carlo."""
    from jvi import ais, tables

    num_images = arguments["--images"] or SIMULATED_IMAGES
    num_chains = min(arguments["--ais-chains"])
    shared = {"seed": arguments["--seed"], "progress": not arguments["--quiet"]}
    options = {**_annealing(arguments), **shared}
    [(ends, seconds)] = _timed(lambda: [ais.bdmc(model, num_images, num_chains, **options)])
    return tables.combine([tables.sandwich_rows(ends, num_chains, seconds)])


def _report(report, evaluations, prefix):
    """Print and write the table."""
    from jvi import tables

    arguments = report["arguments"]
    notes = tables.annealing_notes(report["rows"], "--ais-stepsize" in arguments)
    report["notes"] += notes
    quiet = "--quiet" in arguments
    if not quiet:
        print(tables.summary(report, evaluations), *(f"note: {note}" for note in notes), sep="\n")
    written = _write_table(report, prefix, arguments.get("--table"))
    if not quiet:
        print(written)


def _write_table(report, prefix, wanted):
    """Write JSON and CSV; where, or why not, as a line."""
    from jvi import tables

    if wanted:
        tables.write(wanted, report)
        return f"table: {wanted}.json and .csv"
    try:
        return f"table: {tables.write_beside(prefix, report)}.json and .csv"
    except OSError as error:
        return f"note: the table is not written ({error.strerror}); name another place with --table"


def _write_log_weights(model, images, arguments):
    from scipy.io import savemat

    from jvi.backend import stream, to_host
    from jvi.files import atomic_write

    rng = stream(arguments["--seed"], "log-weight file")
    log_w = to_host(model.log_weights(images, max(arguments["--samples"]), rng))
    with atomic_write(arguments["--logw"]) as temporary, open(temporary, "wb") as file:
        savemat(file, {"logw": log_w})


def _write_per_image(evaluations, count, arguments):
    import numpy as np

    from jvi import tables
    from jvi.files import atomic_write

    arrays = {"image": _images(count, arguments, arguments["--reps"] - 1)}
    arrays |= tables.per_image(evaluations, arguments["--eval"])
    with atomic_write(arguments["--per-image"]) as temporary, open(temporary, "wb") as file:
        np.savez(file, **arrays)


if __name__ == "__main__":
    main()
