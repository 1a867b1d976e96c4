"""Train a Bayesian neural network on a table, predict with it, and assess it, its evidence too.

Usage:
  bayesnet.py train [options]
  bayesnet.py predict [options] <prefix> [<file>]
  bayesnet.py evaluate [options] <prefix>
  bayesnet.py (-h | --help)

Options:
  -h --help                    Show this help screen.
  -d <data>, --dataset <data>  "diabetes", "breast-cancer", "wine", "digits" or "california" of
                               scikit-learn, "blundell-curve", "mnist", or a CSV file that names its
                               columns (a text with a folder, or that ends in .csv). To predict or
                               evaluate, the model's own unless given [default: diabetes].
  --data-dir <folder>          Folder that holds mnist/ (else the variable JVI_DATA, else a
                               download); of "california" scikit-learn's own.
  -s <draws>, --samples <draws>
                               Draws of the weights: for a step of training (1 unless given), for
                               predictions and importance sampling (100).
  --seed <seed>                Seed of everything random [default: 0].
  -g <device>, --device <device>
                               Number of a GPU, -1 for the CPU [default: -1].
  --overwrite                  Replace an existing model or existing files.
  --quiet                      Show nothing but errors.

To train:
  -o <prefix>                  Write the model under this prefix [default: output].
  --target <column>            Of a CSV file; its last column unless given.
  --task <task>                "regression", "classification" or "binary". Unless given, a target of
                               text is for classification (of two classes, binary), one of 0 and 1
                               is binary, and other numbers are for regression.
  --hidden <sizes>             Units of each hidden layer, as 50 or 400x400; "none" is linear or
                               logistic regression [default: 50].
  --activation <name>          "relu" or "tanh" [default: relu].
  --prior <prior>              Of weights: "normal:scale=1", or the scale mixture of two normals,
                               "mixture:pi=0.5,sigma1=1,sigma2=0.0025" [default: normal].
  --noise <std>                Standard deviation of a regression's noise, where 1 is that of the
                               target; or "learned" [default: learned].
  --perturbation <way>         "shared": one draw of the weights for all rows; "local" or "flipout":
                               fresh ones for every row, for less noise in the gradient of the ELBO
                               [default: shared].
  --estimator <estimator>      NAME[:key=value,…], of the gradient: "elbo", "iwae", "dreg",
                               "jvi:order=1", … [default: elbo].
  --kl-weighting <scheme>      Of minibatches: "uniform" or "blundell" [default: uniform].
  -e <epochs>, --epochs <epochs>
                               Number of epochs [default: 200].
  -b <rows>, --batchsize <rows>
                               Rows of a minibatch [default: 32].
  --opt <opt>                  Optimizer, NAME[:key=value,…]: "adam", "sgd", … [default: adam].
  --lr <lr>                    Learning rate [default: 3e-3].
  --resume <prefix>            Continue the training of this model, with its own options; only
                               another number of --epochs and place of the data, -d, can be given.

To predict, for the rows of <file>, else the test rows of -d:
  --output <file>              CSV file to write (PREFIX.predictions.csv unless given).
  --level <share>              Probability of a regression's intervals [default: 0.95].

To evaluate, on the test rows of -d, or all rows of a file that it was not trained on:
  --evidence <names>           Estimate the evidence of the network on its training data, as
                               "iwae,jvi,ais": "elbo", "iwae", "jvi" (order 1), "jvi-2", … by
                               importance sampling, "ais" by annealing from the prior, and "bdmc":
                               what such annealing leaves open.
  --ais-chains <n>             Chains of annealing [default: 16].
  --ais-temps <n>              Its temperatures [default: 1000].
  --prune                      Scores after removing weights by |mean| / sigma.
  --table <prefix>             Write results to this, .json, .csv and .….png (PREFIX.evaluation
                               unless given).

<prefix> is what was given to train -o, of which the epoch with the best predictions of validation
rows is taken; PREFIX/snapshot_latest is the last epoch. docs/bayesian.md explains what is printed.

Examples:
  bayesnet.py train -d houses.csv --target price --hidden 100x100 -o houses
  bayesnet.py predict houses new.csv --output prices.csv
  bayesnet.py evaluate houses --evidence iwae,jvi,ais -s 10000 --prune
"""

import os
from pathlib import Path

from jvi.cli import (
    UsageError,
    arguments_of,
    asked,
    check_effects,
    check_outputs,
    command,
    distinct,
    model_files,
    number,
    seed,
)

COMMANDS = "train", "predict", "evaluate"

# Options that only some commands have.
ONLY = {
    "train": ("-o", "--target", "--task", "--hidden", "--activation", "--prior", "--noise",
              "--perturbation", "--estimator", "--kl-weighting", "--epochs", "--batchsize", "--opt",
              "--lr", "--resume"),
    "predict": ("--output",),
    "evaluate": ("--evidence", "--ais-chains", "--ais-temps", "--prune", "--table"),
    "predict and evaluate": ("--level",),
}  # fmt: skip

# What may be said of a continued run; and what the meta file of a model does not keep.
CONTINUED = ("train", "--resume", "--epochs", "--dataset", "--data-dir", "--device", "--quiet")
NOT_KEPT = {"--help", "--resume", "--overwrite", "--quiet", "--level"}
NOT_KEPT |= {*ONLY["predict"], *ONLY["evaluate"]}

DRAWS, MOST_DRAWS = 100, 10**7  # of the weights, to predict with


@command
def main(argv=None):
    arguments, given = arguments_of(__doc__, argv)
    name = next(each for each in COMMANDS if arguments[each])
    for where, options in ONLY.items():
        check_effects(given, options, name in where.split(), where)
    {"train": _train, "predict": _predict, "evaluate": _evaluate}[name](arguments, given)


def _draws(arguments, default):
    if arguments["--samples"] is None:
        return default
    return number(arguments, "--samples", least=1, most=MOST_DRAWS)


def _level(arguments):
    return number(arguments, "--level", float, least=1e-6, most=1 - 1e-6)


def _train(arguments, given):
    from jvi.assessment.bayes_evaluation import told
    from jvi.training.checkpoints import check_output, files_of
    from jvi.training.network import minibatch_note, network_trainer
    from jvi.training.run import run

    files = None
    if "--resume" in given:
        arguments, files = _continued(arguments, given)
    request, prefix = _run(arguments), arguments["-o"]
    with asked("-o"):
        check_output(prefix, arguments["--overwrite"] or files is not None)
    where = _place(arguments["--dataset"]), arguments["--data-dir"]
    check_outputs({"-o": list(files_of(prefix)[1:])}, True, data=where, folders=True)
    table = _table(arguments, files)
    check_effects(given, ["--noise"], table.task == "regression", "regression")
    meta = {o: v for o, v in arguments.items() if o.startswith("-") and o not in NOT_KEPT}
    trainer = network_trainer(table, request, prefix, meta, files)
    note = minibatch_note(request, table)
    if note and not arguments["--quiet"]:
        print(f"note: {note}")
    if trainer.updater.epoch < request.settings.epochs:
        run(trainer, prefix, arguments["--overwrite"], in_place=files is not None)
    if not arguments["--quiet"]:
        print(told(prefix, table, DRAWS, request.settings.seed))


def _place(name):
    """A data set as `check_outputs` takes it: a file with its folder."""
    from jvi.datasets.labelled import is_file

    return os.path.join(".", name) if is_file(name) and Path(name).name == name else name


def _continued(arguments, given):
    """(options of a run that goes on, the files of its latest epoch)."""
    from jvi.models.files import read_model
    from jvi.training.checkpoints import files_of

    idle = [option for option in given if option not in CONTINUED]
    check_effects(given, idle, False, "a new model, and --resume continues one with its own")
    files = read_model(files_of(given["--resume"]).latest)
    kept = {o: v for o, v in files.meta.items() if o in arguments and o not in NOT_KEPT}
    for option, value in kept.items():
        if not isinstance(value, str | None):
            raise ValueError(f"{files.prefix}.meta.yaml: {option} is {str(value)[:50]!a}")
    return arguments | kept | given | {"-o": files.prefix}, files


def _run(arguments):
    """The run that the options describe, checked as far as it can be without data."""
    from jvi.models import BayesMLP
    from jvi.training.network import NetworkRun, network_objective, prior_options
    from jvi.training.objective import check_fit
    from jvi.training.optimizers import make_optimizer
    from jvi.training.trainer import Settings

    options = {o: arguments[f"--{o}"] for o in ("hidden", "activation", "perturbation", "noise")}
    if options["noise"] != "learned":
        options["noise"] = number(arguments, "--noise", float)
    draws, how = _draws(arguments, 1), (arguments["--estimator"], arguments["--kl-weighting"])
    with asked("--prior"):
        options |= prior_options(arguments["--prior"])
    with asked("--opt"):
        make_optimizer(arguments["--opt"], 1.0)
    with asked():
        link = BayesMLP(2, **options)
        check_fit(network_objective(how[0], link, how[1], 2, 1), link, draws)
    settings = Settings(
        num_samples=draws,
        optimizer=arguments["--opt"],
        lr=number(arguments, "--lr", float, least=1e-12),
        epochs=number(arguments, "--epochs", least=1),
        batch_size=number(arguments, "--batchsize", least=1),
        seed=seed(arguments),
        quiet=arguments["--quiet"],
        clip=0.0,  # of gradients that are mostly noise it would change the mean
    )
    return NetworkRun(options, *how, settings, number(arguments, "--device", least=-1))


def _table(arguments, files):
    """The data; of a continued run those that it had."""
    from jvi.assessment.trained_network import load_network, own_table
    from jvi.datasets.labelled import labelled
    from jvi.datasets.table_file import table_path

    if files is not None and table_path(files.prefix).exists():
        return own_table(load_network(files.path), arguments["--dataset"], arguments["--data-dir"])
    options = (arguments[option] for option in ("--dataset", "--target", "--task", "--data-dir"))
    return labelled(*options)


def _predict(arguments, given):
    from jvi.assessment.bayes_report import predicted
    from jvi.assessment.prediction_file import write_predictions
    from jvi.assessment.trained_network import held_out
    from jvi.datasets.table_rows import read_features

    file, level, draws = arguments["<file>"], _level(arguments), _draws(arguments, DRAWS)
    options = {"num_samples": draws, "seed": seed(arguments), "level": level}
    if file and "--dataset" in given:
        raise UsageError("give <file> or -d, not both: each says what to predict for")
    network, name = _trained(arguments), file or given.get("--dataset")
    output = arguments["--output"] or f"{network.files.prefix}.predictions.csv"
    _check_written(arguments, network, {"--output": output}, name)
    if file:
        rows = read_features(Path(file), network.columns)
    else:
        rows = held_out(network, name, arguments["--data-dir"]).rows
    shown = not arguments["--quiet"]
    found, targets = predicted(network.model, rows, network.columns, **options, progress=shown)
    write_predictions(output, found, network.columns, targets)
    if shown:
        print(f"predictions of {len(rows)} rows: {output}")


def _trained(arguments):
    from jvi.assessment.trained_network import load_network

    return load_network(arguments["<prefix>"], number(arguments, "--device", least=-1))


def _check_written(arguments, network, outputs, data):
    """Refuse before the work what could not be written after it."""
    name, files = data or network.files.meta.get("--dataset"), network.files
    where = _place(name) if isinstance(name, str) else None, arguments["--data-dir"]
    inputs = files.path, *model_files(files.prefix)
    check_outputs(outputs, arguments["--overwrite"], inputs=inputs, data=where)


def _evaluate(arguments, given):
    from jvi.assessment.bayes_evaluation import assess, assessment_files, write
    from jvi.assessment.bayes_report import text
    from jvi.assessment.trained_network import held_out

    request = _request(arguments, given)
    network, name = _trained(arguments), given.get("--dataset")
    prefix = arguments["--table"] or f"{network.files.prefix}.evaluation"
    outputs = {"--table": assessment_files(prefix, network, request.prune)}
    _check_written(arguments, network, outputs, name)
    held = held_out(network, name, arguments["--data-dir"])
    found = assess(network, held, request)
    about = {"model": str(network.model.link.spec), "data": held.name, **request._asdict()}
    write(prefix, found, about)
    if not arguments["--quiet"]:
        print(f"{network.files.prefix}: {len(held.rows)} test rows of {held.name}")
        print(text(found.rows), *(f"note: {doubt}" for doubt in found.doubts), sep="\n")
        print(f"table: {prefix}.json and .csv; pictures: {prefix}.*.png")


def _request(arguments, given):
    """What is asked for, checked before anything is loaded."""
    from jvi.assessment.bayes_evaluation import Request
    from jvi.assessment.bayes_report import ANNEALED, check_evidence

    text = arguments["--evidence"]
    names = [] if text is None else distinct(text.split(","), "--evidence")
    draws = _draws(arguments, DRAWS)
    with asked("--evidence"):
        check_evidence(names, draws)
    annealed = any(name in ANNEALED for name in names)
    check_effects(given, ["--ais-chains", "--ais-temps"], annealed, '"ais" or "bdmc" in --evidence')
    counts = [number(arguments, option, least=1) for option in ("--ais-chains", "--ais-temps")]
    about = _level(arguments), seed(arguments)
    return Request(names, arguments["--prune"], draws, *counts, *about)


if __name__ == "__main__":
    main()
