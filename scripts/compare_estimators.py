"""Compare gradient estimators on equal terms: the same budget, seeds, networks and evaluation.

Usage:
  compare_estimators.py [options] <experiment>...
  compare_estimators.py --list
  compare_estimators.py (-h | --help)

Experiments:
  continuous   every estimator for continuous latents, on IWAE's network with one layer
  sbn          every estimator for discrete latents, on a sigmoid belief network
  mixture      the same on a mixture of Gaussians, whose posterior is known

Every run (an estimator, a K, a seed) is trained and evaluated by itself, and kept in a folder of
its own. Interrupt this at any time: the same command goes on from the last epoch, and does nothing
twice. Two processes with the same command share the work.

Options:
  -h --help                  Show this help screen.
  --list                     Print the experiments and what they consist of.
  -o <folder>                Where runs, tables and plots are kept [default: comparison].
  --only <names>             Only these estimators, as "iwae,dreg,ovis:gamma=1".
  --seeds <seeds>            Only these seeds, as "0,1" (the experiment's: 0,1,2).
  --vae-samples <counts>     Values of K instead of the experiment's, as "5,20".
  -e <epochs>, --epochs <epochs>
                             Epochs of each run, instead of the experiment's.
  -b <size>, --batchsize <size>
                             Minibatch size, instead of the experiment's.
  --train-images <n>         Train on the first n only.
  --test-images <n>          Validate and test on the first n only.
  -s <samples>, --samples <samples>
                             Samples of the estimate of log p(x) (the experiment's: 5000).
  --repeats <n>              Gradients from which signal and noise are measured, 0 for none (the
                             experiment's: 100).
  -d <dataset>, --dataset <dataset>
                             Data set, instead of the experiment's.
  --data-dir <folder>        Folder that holds mnist/ (else the variable JVI_DATA, else a download).
  --tables                   Train nothing: only tables and plots of the runs that there are.

Writes FOLDER/EXPERIMENT/RUN/result.json, whole or not at all, beside the run's model; and from
these files alone summary.csv, summary.md and plots in FOLDER/EXPERIMENT.
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
    distinct,
    fields,
    numbers,
)
from jvi.text import table

LEAST_REPEATS = 8  # from which signal and noise can be told apart


@command
def main(argv=None):
    from jvi.assessment.experiments import EXPERIMENTS

    arguments, given = arguments_of(__doc__, argv)
    if arguments["--list"]:
        print(_list(EXPERIMENTS))
        return
    names = among(arguments["<experiment>"], EXPERIMENTS, "experiment")
    chosen = {name: _chosen(EXPERIMENTS[name], arguments, given) for name in names}
    if not arguments["--tables"]:
        for each in [_prepared(name, each, arguments) for name, each in chosen.items()]:
            _run(*each)
    for name, each in chosen.items():
        _conclude(Path(arguments["-o"]) / name, each)


def _list(experiments):
    rows = [
        [name, e.model, e.dataset, ",".join(map(str, e.num_samples)), str(e.batch_size),
         str(e.epochs), f"{e.optimizer} {e.lr:g}", ",".join(map(str, e.seeds))]
        for name, e in experiments.items()
    ]  # fmt: skip
    header = ["experiment", "model", "data", "K", "batch", "epochs", "optimizer", "seeds"]
    names = [f"{name}: {', '.join(e.estimators)}" for name, e in experiments.items()]
    return "\n".join([table(rows, header), "", *names])


# Options that are whole numbers: what of an experiment they replace, and their least value.
WHOLE = {
    "--epochs": ("epochs", 1),
    "--batchsize": ("batch_size", 1),
    "--train-images": ("train_images", 1),
    "--test-images": ("test_images", 2),
    "--samples": ("samples", 2),
    "--repeats": ("repeats", 0),
}


def _chosen(experiment, arguments, given):
    """An experiment with what the options say otherwise."""
    new = fields(arguments, given, WHOLE)
    if 0 < new.get("repeats", 0) < LEAST_REPEATS:
        raise UsageError(f"--repeats must be 0 or at least {LEAST_REPEATS}, not {new['repeats']}")
    if "--seeds" in given:
        new["seeds"] = tuple(numbers(arguments, "--seeds", least=0, most=2**63 - 1))
    if "--vae-samples" in given:
        new["num_samples"] = tuple(numbers(arguments, "--vae-samples", least=1))
    if "--dataset" in given:
        new["dataset"] = dataset_name(given["--dataset"])
    _only(experiment, arguments["--only"])
    return experiment._replace(**new)


def _only(experiment, text):
    """The estimators that --only names, whole or without their options."""
    if text is None:
        return experiment.estimators
    names = distinct(text.split(","), "--only")
    for name in names:
        if not any(_is(name, each) for each in experiment.estimators):
            raise UsageError(f"--only: {name!a} is none of {', '.join(experiment.estimators)}")
    return tuple(each for each in experiment.estimators if any(_is(n, each) for n in names))


def _is(name, estimator):
    return name in (estimator, estimator.partition(":")[0])


def _prepared(name, experiment, arguments):
    """(folder, experiment, data, runs): everything checked before any work."""
    from jvi import datasets
    from jvi.assessment.comparison import check_run, check_settings
    from jvi.assessment.experiments import cut, runs, settings_of
    from jvi.engine.random import stream
    from jvi.models import build

    folder, source = Path(arguments["-o"]) / name, (experiment.dataset, arguments["--data-dir"])
    check_outputs({"-o": [folder / "summary.csv"]}, True, data=source, folders=True)
    todo = runs(experiment._replace(estimators=_only(experiment, arguments["--only"])))
    data = cut(datasets.load(*source), experiment)
    with asked():
        link = build(experiment.model, data.train.shape[1], stream(0, "initial parameters"))
        for each in todo:
            check_run(each, link)
    check_settings(folder, settings_of(experiment, data))
    return folder, experiment, data, todo


def _run(folder, experiment, data, todo):
    from time import monotonic

    from jvi.assessment.comparison import complete, has_result

    waiting = [each for each in todo if not has_result(folder, each)]
    print(f"{folder.name}: {len(todo)} runs, {len(todo) - len(waiting)} of them done before")
    start, made, busy = monotonic(), 0, 0
    for done, each in enumerate(waiting, start=1):
        if has_result(folder, each):  # by now, another process's
            continue
        result = complete(each, experiment, data, folder)
        if result is None:
            busy += 1
            continue
        made += 1
        left = (len(waiting) - done) * (monotonic() - start) / made / 60
        print(f"[{done}/{len(waiting)}] {each}: {_said(result)} ({left:.0f} min left)", flush=True)
    if busy:
        print(f"{busy} runs are being made by another process")


def _said(result):
    if result["diverged"] is not None:
        return f"diverged after {result['training']['epochs']} epochs"
    likelihood = result["likelihood"]
    return (
        f"log p(x) {likelihood['log_p']:.2f} ± {likelihood['log_p_images']:.2f}, "
        f"{result['training']['seconds_per_epoch']:.2f} s an epoch"
    )


def _conclude(folder, experiment):
    """Tables and plots of the results that there are."""
    from jvi.assessment.comparison import read_results
    from jvi.assessment.comparison_tables import rows, show, write_markdown
    from jvi.files import write_csv

    results = read_results(folder, experiment.estimators)
    if not results:
        print(f"{folder.name}: no run is finished")
        return
    reference = experiment.estimators[0]
    lines = rows(results, reference)
    write_csv(folder / "summary.csv", lines)
    write_markdown(folder / "summary.md", lines)
    _draw(folder, lines, results)
    print(f"\n{folder.name}: {_about(results[0]['settings'])}")
    print(show(lines))
    print(f"nats; ± is the standard error over seeds, but of the difference from {reference}")
    print(f"half of a 95% interval\n{folder}/summary.csv")


def _about(settings):
    return ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in settings.items())


# Pictures: what is drawn, the label of its axis, whether that is logarithmic.
NUMBERS = {
    "log_p": ("log p(x), nats", False),
    "snr_inference": ("signal-to-noise ratio, encoder", True),
    "snr_model": ("signal-to-noise ratio, decoder", True),
    "truth_posterior": ("L2 error of the posterior", True),
    "truth_prior": ("L2 error of the prior", True),
}
CURVES = {
    "validation": (("epoch", "IWAE bound of validation data, nats"), False),
    "truth/posterior": (("step", "L2 error of the posterior"), True),
    "truth/prior": (("step", "L2 error of the prior"), True),
}


def _draw(folder, lines, results):
    from jvi.assessment.comparison_plots import draw_curves, draw_numbers

    for key, (label, log) in NUMBERS.items():
        if any(row.get(key) is not None for row in lines):
            draw_numbers(folder / f"{key}.png", lines, key, label, log)
    for num in dict.fromkeys(each["run"]["num_samples"] for each in results):
        curves = [each for each in results if each["run"]["num_samples"] == num]
        curves = [each for each in curves if each["training"]["curve"]]
        for key, (labels, log) in CURVES.items():
            if curves and key in curves[0]["training"]["curve"][0]:
                path = folder / f"{key.replace('/', '_')}-K{num}.png"
                draw_curves(path, curves, key, labels, log)


if __name__ == "__main__":
    main()
