"""Train a variational autoencoder on the ELBO, IWAE or JVI.

Usage:
  train.py [options]
  train.py (-h | --help)

Options:
  -h --help                    Show this help screen.
  -d <dataset>, --dataset <dataset>
                               Data set: "digits" (scikit-learn's, needs no download), "mnist" or
                               "omniglot" [default: digits].
  -o <modelprefix>             Write the trained model under this prefix [default: output].
  -g <device>, --device <device>
                               Number of the GPU to train on, -1 for the CPU [default: -1].
  -e <epochs>, --epochs <epochs>
                               Number of epochs to train [default: 1000].
  -b <batchsize>, --batchsize <batchsize>
                               Minibatch size, at most the training set [default: 8192].
  --fancy                      Refused: the public original code lacks this model variant.
  --lr <lr>                    Learning rate [default: 1.0e-4].
  --opt <opt>                  Optimizer: "sgd", "smorms3" or "adam" [default: smorms3].
  --vae-type <vaetype>         Objective: "vae", "iwae", "iwae++", "jvi", "jvi+elbo" or "is"
                               [default: vae].
  --vae-samples <zcount>       Number of samples per image [default: 1].
  --jvi-order <order>          Order of the jackknife, zero is IWAE [default: 1].
  --nhidden <nhidden>          Number of hidden units per layer [default: 128].
  --nlatent <nz>               Number of latent dimensions [default: 16].
  --vis <graph.dot>            Write the computational graph to this file, in the dot language.
  --jvi-raw                    Train the encoder on JVI, too, as the original did. This can
                               diverge; without it the encoder is trained on IWAE.
  --seed <seed>                Seed of everything random [default: 0].
  --data-dir <folder>          Folder that holds mnist/, omniglot/ (else the variable JVI_DATA, else
                               a download).
  --resume <prefix>            Continue the training of this model with its own options; those
                               given here replace them. -o names another place for the result.
  --overwrite                  Replace an existing model.
  --quiet                      Print nothing while training.
  --profile                    Print at the end where the time went.

Writes PREFIX.meta.yaml (these options), PREFIX/log (JSON), PREFIX/snapshot_bestvalobj (the epoch
with the best validation IWAE bound), PREFIX/snapshot_latest (for --resume) and PREFIX.perf.

Example, as in the paper's README:
  train.py -d mnist -b 2048 --opt adam --vae-type jvi --vae-samples 8 --nhidden 300 --nlatent 40
"""

import re
import sys

if __name__ == "__main__":
    from os.path import dirname, realpath

    sys.path[0] = dirname(dirname(realpath(__file__)))

from docopt import docopt

from jvi.cli import command, number, table

# What the parameters' shapes and the optimizer's state depend on: a continued run keeps these.
FIXED = ("--dataset", "--vae-type", "--opt", "--nhidden", "--nlatent")

# What a continued run does not take over from the one before.
NOT_KEPT = ("--help", "--overwrite", "--profile", "--quiet", "--resume", "--vis")


@command
def main(argv=None):
    arguments = docopt(__doc__, argv)
    given = _given(argv)
    if arguments["--fancy"]:
        raise ValueError("--fancy names a model variant that the public original code lacks")
    if arguments["--resume"]:
        _continue(arguments, given)
    else:
        _start(arguments)


def _given(argv):
    """The options that stand on the command line: those left when none has a default."""
    without_defaults = docopt(re.sub(r"\s*\[default: .*?\]", "", __doc__), argv)
    return {option: value for option, value in without_defaults.items() if value}


def _start(arguments):
    from jvi import datasets
    from jvi.backend import stream
    from jvi.model import Model
    from jvi.models import MODELS
    from jvi.training import check_output

    settings = _settings(arguments)
    sizes = [number(arguments, option, least=1) for option in ("--nhidden", "--nlatent")]
    data = datasets.load(arguments["--dataset"], arguments["--data-dir"])
    link = MODELS["mlp"](data.train.shape[1], *sizes, stream(settings.seed, "initial parameters"))
    model = Model(link, number(arguments, "--device"))
    check_output(arguments["-o"], arguments["--overwrite"])
    _run(model, data, settings, arguments)


def _continue(arguments, given):
    from os.path import realpath

    from jvi import datasets
    from jvi.compat.model_files import read_model, read_snapshot
    from jvi.model import load
    from jvi.training import check_output, files_of, take_best

    source = arguments["--resume"]
    files, latest = read_model(source), files_of(source).latest
    kept = {option: v for option, v in files.meta.items() if option not in NOT_KEPT}
    arguments = arguments | kept | given
    for option in FIXED:
        if option in given and option in kept and given[option] != kept[option]:
            raise ValueError(
                f"{option} {given[option]} does not fit {source}, trained with "
                f"{kept[option]}: a continued run keeps it"
            )
    in_place = "-o" not in given or realpath(given["-o"]) == realpath(source)
    if in_place:
        arguments["-o"] = source
        if not latest.exists() and not arguments["--overwrite"]:
            raise ValueError(
                f"{source} was not written by this version: name another place with -o, or give "
                "--overwrite to continue it where it is"
            )
    settings = _settings(arguments)
    data = datasets.load(arguments["--dataset"], arguments["--data-dir"])
    model = load(source, number(arguments, "--device"))
    snapshot = read_snapshot(latest if latest.exists() else source)
    if not in_place:
        check_output(arguments["-o"], arguments["--overwrite"])
        take_best(source, arguments["-o"])
    _run(model, data, settings, arguments, snapshot)


def _settings(arguments):
    """The run that the options describe, checked before anything is loaded."""
    from jvi.objectives import objective_for
    from jvi.optimizers import OPTIMIZERS
    from jvi.training import Settings

    settings = Settings(
        vae_type=arguments["--vae-type"],
        num_samples=number(arguments, "--vae-samples", least=1),
        order=number(arguments, "--jvi-order", least=0),
        raw=arguments["--jvi-raw"],
        optimizer=arguments["--opt"],
        lr=number(arguments, "--lr", float),
        epochs=number(arguments, "--epochs", least=1),
        batch_size=number(arguments, "--batchsize", least=1),
        seed=number(arguments, "--seed", least=0),
        quiet=arguments["--quiet"],
    )
    objective_for(settings.vae_type)
    if settings.optimizer not in OPTIMIZERS:
        known = ", ".join(OPTIMIZERS)
        raise ValueError(f"unknown optimizer {settings.optimizer!r}: choose from {known}")
    if not 0 < settings.lr < float("inf"):
        raise ValueError(f"--lr must be positive, not {arguments['--lr']}")
    needed = {"jvi": settings.order, "jvi+elbo": settings.order, "iwae++": 1}
    if settings.num_samples <= needed.get(settings.vae_type, 0):
        order = needed[settings.vae_type]
        raise ValueError(f"jackknife order {order} needs --vae-samples {order + 1} or more")
    return settings


def _run(model, data, settings, arguments, snapshot=None):
    from jvi.profiling import printed_profile
    from jvi.training import Diverged, build_trainer, files_of, resume, write_graph

    prefix = arguments["-o"]
    if arguments["--vis"]:
        write_graph(model, data, settings, arguments["--vis"])
    trainer = build_trainer(model, data, settings, prefix, arguments)
    if snapshot is not None:
        resume(trainer, snapshot)
    best = files_of(prefix).best
    try:
        with printed_profile(arguments["--profile"]):
            trainer.run(show_loop_exception_msg=False)
    except Diverged as error:
        kept = f"the last good snapshot is {best}" if best.exists() else "no epoch was finished"
        raise Diverged(f"{error}; {kept}; try a smaller --lr") from None
    except KeyboardInterrupt:
        sys.exit(f"interrupted: continue with --resume {prefix}")
    _print_summary(trainer, best, settings)


def _print_summary(trainer, best, settings):
    from jvi.training import SELECTED_BY

    log = [entry for entry in trainer.get_extension("LogReport").log if SELECTED_BY in entry]
    if not log or settings.quiet:
        return
    entry = min(log, key=lambda entry: entry[SELECTED_BY])
    rows = [
        ["best epoch", f"{entry['epoch']} of {trainer.updater.epoch}"],
        ["validation IWAE bound", f"{-entry[SELECTED_BY]:.3f} nats (K = {settings.num_samples})"],
        ["model", str(best)],
    ]
    print(table(rows, ["training", "finished"]))


if __name__ == "__main__":
    main()
