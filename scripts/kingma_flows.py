"""Posteriors with and without flows at equal processor time, and images in bits per dimension.

Usage:
  kingma_flows.py [options] [<experiment>...]
  kingma_flows.py --list
  kingma_flows.py (-h | --help)

Experiments (Kingma et al. 2016, sections 5.1 and 5.2, in a budget of hours):
  mnist    the dense model of binary MNIST with Gaussian, iaf1 and iaf2 posteriors, three seeds
  cifar    a small ResNet VAE of CIFAR-10 beside models of independent pixels
  digits   a smaller one of 8 × 8 digits, a minute to see how it goes; this unless you say

Every run (a model, a seed) is trained for the same processor time of its steps, of all threads, and
ends with the epoch in which that is used up. What is evaluated is its best epoch by the validation
bound. Interrupt this at any time: the same command goes on from the last epoch, and does nothing
twice. Two processes with the same command share the work.

Options:
  -h --help                  Show this help screen.
  --list                     Print the experiments and what they consist of.
  -o <folder>                Where runs, tables and pictures are kept [default: flows].
  --minutes <minutes>        Processor time of each run, instead of the experiment's.
  --seeds <seeds>            Only these seeds, as "0,1".
  --model <model>            Only this model, NAME[:key=value,…], instead of the experiment's.
  -d <dataset>, --dataset <dataset>
                             Data set, instead of the experiment's: "cifar10-part" takes what there
                             is of CIFAR-10.
  --data-dir <folder>        Folder that holds mnist/, cifar10/ (else the variable JVI_DATA, else a
                             download).
  -b <size>, --batchsize <size>
                             Minibatch size, instead of the experiment's.
  --opt <opt>                Optimizer, NAME[:key=value,…] (the experiments': adamax).
  --lr <lr>                  Its learning rate (the experiments': 0.002).
  --average <decay>          Of the moving average of the parameters (the experiments': 0.999).
  --free-bits <nats>         What every group of latents costs at least, instead of the
                             experiment's.
  --train-images <n>         Train on the first n only.
  --validation-images <n>    Validate on the first n only.
  --test-images <n>          Test on the first n only.
  -s <samples>, --samples <samples>
                             K of the IWAE bound on the test images, instead of the experiment's.
  --tables                   Train nothing: only the table and pictures of the runs that there are.
  --table <prefix>           Of one experiment: also write PREFIX.json, its finished runs and their
                             curves as rows of numbers, in the data set's unit.

Writes FOLDER/EXPERIMENT/RUN/result.json, whole or not at all, beside the run's model; and
summary.csv, curves.png and images.png (of the last model's first seed) in FOLDER/EXPERIMENT.
"""

from pathlib import Path

from jvi.cli import (
    UsageError,
    among,
    arguments_of,
    asked,
    check_outputs,
    command,
    dataset_name,
    fields,
    number,
    numbers,
)
from jvi.text import table


@command
def main(argv=None):
    from jvi.assessment.flow_experiments import EXPERIMENTS

    arguments, given = arguments_of(__doc__, argv)
    if arguments["--list"]:
        print(_list(EXPERIMENTS))
        return
    names = among(arguments["<experiment>"] or ["digits"], EXPERIMENTS, "experiment")
    chosen = {name: _chosen(EXPERIMENTS[name], arguments, given) for name in names}
    if arguments["--table"] and len(names) > 1:
        raise UsageError(f"--table is of one experiment, not of {', '.join(names)}: name one")
    prepared = [_prepared(name, each, arguments) for name, each in chosen.items()]
    for folder, experiment, data, todo in prepared:
        if not arguments["--tables"]:
            _run(folder, experiment, data, todo)
        _conclude(folder, data)
        if arguments["--table"]:
            _write_numbers(arguments["--table"], folder)


def _list(experiments):
    rows = [
        [name, e.dataset, f"{e.minutes:g}", ",".join(map(str, e.seeds)), str(e.batch_size),
         f"{e.optimizer} {e.lr:g}", str(e.average), str(e.free_bits), str(e.samples)]
        for name, e in experiments.items()
    ]  # fmt: skip
    header = [
        "experiment", "data", "minutes", "seeds", "batch", "optimizer", "average", "free bits", "K"
    ]  # fmt: skip
    models = [f"{name}: {model}" for name, e in experiments.items() for model in e.models]
    return "\n".join([table(rows, header), "", *models])


# Options that are whole numbers: what of an experiment they replace, and their least value.
WHOLE = {
    "--batchsize": ("batch_size", 1),
    "--train-images": ("train_images", 1),
    "--validation-images": ("validation_images", 1),
    "--test-images": ("test_images", 2),
    "--samples": ("samples", 2),
}
REAL = {
    "--minutes": ("minutes", 0.001, 1e6),
    "--lr": ("lr", 1e-12, 1e3),
    "--average": ("average", 0, 0.999999999),
    "--free-bits": ("free_bits", 0, 1e9),
}


def _chosen(experiment, arguments, given):
    """An experiment with what the options say otherwise."""
    from jvi.models import check_name
    from jvi.training.optimizers import make_optimizer

    new = fields(arguments, given, WHOLE)
    for option, (field, least, most) in REAL.items():
        if option in given:
            new[field] = number(arguments, option, float, least=least, most=most)
    if "--seeds" in given:
        new["seeds"] = tuple(numbers(arguments, "--seeds", least=0, most=2**63 - 1))
    if "--dataset" in given:
        new["dataset"] = dataset_name(given["--dataset"])
    if "--opt" in given:
        with asked("--opt"):
            make_optimizer(given["--opt"], 1.0)
        new["optimizer"] = given["--opt"]
    if "--model" in given:
        with asked("--model"):
            check_name(given["--model"])
        new["models"] = (given["--model"],)
    return experiment._replace(**new)


def _prepared(name, experiment, arguments):
    """(folder, experiment, data, runs): everything checked before any work."""
    from jvi import datasets
    from jvi.assessment.comparison import check_settings
    from jvi.assessment.flow_experiments import FlowRun, check, cut, settings_of

    folder, source = Path(arguments["-o"]) / name, (experiment.dataset, arguments["--data-dir"])
    files = {"-o": [folder / "summary.csv"]}
    if arguments["--table"]:
        files["--table"] = [f"{arguments['--table']}.json"]
    check_outputs(files, True, data=source, folders=True)
    todo = [FlowRun(model, seed) for seed in experiment.seeds for model in experiment.models]
    data = cut(datasets.load(*source), experiment)
    with asked():
        for each in todo[: len(experiment.models)]:
            check(each, experiment, data)
    check_settings(folder, settings_of(experiment, data))
    return folder, experiment, data, todo


def _run(folder, experiment, data, todo):
    from time import monotonic

    from jvi.assessment.comparison import has_result
    from jvi.assessment.flow_experiments import complete

    waiting = [each for each in todo if not has_result(folder, each)]
    before = len(todo) - len(waiting)
    minutes = f"{experiment.minutes:g} minutes of processor time each"
    print(f"{folder.name}: {len(todo)} runs of {minutes}, {before} of them done before")
    start, made = monotonic(), 0
    for done, each in enumerate(waiting, start=1):
        result = complete(each, experiment, data, folder)
        if result is None:
            print(f"[{done}/{len(waiting)}] {each.name}: is being made by another process")
            continue
        made += 1
        left = (len(waiting) - done) * (monotonic() - start) / made / 60
        said = _said(result, data.unit)
        print(f"[{done}/{len(waiting)}] {each.name}: {said} ({left:.0f} min left)", flush=True)


def _said(result, unit):
    test = result["test"]
    value, error = unit.value(test["iwae"]["mean"]), unit.error(test["iwae"]["images"])
    return f"IWAE-{test['num_samples']} {value:.3f} ± {error:.3f} {unit.name}"


def _conclude(folder, data):
    """Table and pictures of the results that there are."""
    from jvi.assessment.factorised import baselines
    from jvi.assessment.flow_experiments import load, trained
    from jvi.assessment.flow_plots import draw_curves, draw_images
    from jvi.assessment.flow_tables import by_label, rows, show
    from jvi.files import write_csv

    results = load(folder)
    if not results:
        print(f"{folder.name}: no run is finished")
        return
    lines = baselines(data) if data.train.dtype == "uint8" else {}
    write_csv(
        folder / "summary.csv",
        rows(results)
        + [
            {"model": name, "elbo": line.mean, "elbo_images": line.standard_error}
            for name, line in lines.items()
        ],
    )
    draw_curves(folder / "curves.png", results, lines)
    if data.image_shape is not None:
        last = list(by_label(results).values())[-1][0]["run"]
        draw_images(folder / "images.png", trained(folder, last), data)
    print(f"\n{folder.name}: {results[0]['settings']['test_images']} test images")
    print(show(results, lines))
    print(
        "± is the standard error over seeds, but of the difference from the first model half of a"
    )
    print(f"95% interval over seeds\n{folder}/summary.csv, curves.png")


def _write_numbers(prefix, folder):
    """PREFIX.json: {"rows": those of every finished run}."""
    from jvi.assessment.flow_experiments import load
    from jvi.files import write_json

    rows = [row for result in load(folder) for row in _numbers(result)]
    write_json(f"{prefix}.json", {"rows": rows})


def _numbers(result):
    """A row with the bounds of a run on the test images, then one for each epoch."""
    from jvi.datasets import Unit

    run, unit, training = result["run"], Unit(**result["unit"]), result["training"]
    own = {"posterior": run["label"], "seed": run["seed"]}
    found = {"parameters": result["parameters"], "epochs": training["epochs"]}
    found |= {bound: _bound(result["test"][bound], unit) for bound in ("elbo", "iwae")}
    yield own | found | {"cpu_minutes": training["cpu_seconds"] / 60}
    for point in training["curve"]:
        value = unit.value(point["validation"])
        yield own | {"epoch": point["epoch"], "minutes": point["cpu"] / 60, "validation": value}


def _bound(bound, unit):
    """With both standard errors."""
    errors = {key: unit.error(bound[key]) for key in ("images", "samples")}
    return {"value": unit.value(bound["mean"]), **errors}


if __name__ == "__main__":
    main()
