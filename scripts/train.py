"""Train a latent-variable model on the ELBO, IWAE, JVI or any other estimator.

Usage:
  train.py [options]
  train.py (--list-models | --list-estimators)
  train.py (-h | --help)

Options:
  -h --help                    Show this help screen.
  --list-models                Print the models, their options with defaults, and sources.
  --list-estimators            Print the gradient estimators, the same way.
  -d <dataset>, --dataset <dataset>
                               Data set: "digits" (scikit-learn's, needs no download), "mnist",
                               "omniglot", or the path of an .npz, .npy or idx file
                               [default: digits].
  -o <modelprefix>             Write the trained model under this prefix [default: output].
  -g <device>, --device <device>
                               Number of the GPU to train on, -1 for the CPU [default: -1].
  -e <epochs>, --epochs <epochs>
                               Number of epochs to train [default: 1000].
  -b <batchsize>, --batchsize <batchsize>
                               Minibatch size, at most the training set [default: 8192].
  --fancy                      Refused: the public original code lacks this model variant.
  --model <model>              NAME[:key=value,…]: "mlp" is the original's network, whose sizes
                               are --nhidden and --nlatent; "burda:layers=2", … [default: mlp].
  --estimator <estimator>      NAME[:key=value,…]: the gradient estimator, as "iwae", "dreg" or
                               "jvi-clip:order=2"; instead of --vae-type.
  --lr <lr>                    Learning rate [default: 1.0e-4].
  --opt <opt>                  Optimizer: "sgd", "smorms3" or "adam" [default: smorms3].
  --vae-type <vaetype>         The original's objectives: "vae", "iwae", "iwae++", "jvi",
                               "jvi+elbo" or "is" [default: vae].
  --vae-samples <zcount>       Number of samples per image [default: 1].
  --jvi-order <order>          Order of the jackknife of --vae-type, zero is IWAE [default: 1].
  --nhidden <nhidden>          Number of hidden units per layer of mlp [default: 128].
  --nlatent <nz>               Number of latent dimensions of mlp [default: 16].
  --vis <graph.dot>            Write the computational graph to this file, in the dot language.
  --on-nan <what>              Where log-weights or gradients of a batch are not finite: "stop", or
                               "skip" the batch (on the CPU) [default: stop].
  --jvi-raw                    Train the encoder on JVI, too, as the original did. This can
                               diverge; without it the encoder follows the doubly reparameterised
                               gradient of IWAE, and the decoder JVI without negative weights.
  --seed <seed>                Seed of everything random [default: 0].
  --data-dir <folder>          Folder that holds mnist/, omniglot/ (else the variable JVI_DATA, else
                               a download).
  --resume <prefix>            Continue the training of this model with its own options; those
                               given here replace them. -o names another place for the result.
  --overwrite                  Replace an existing model.
  --quiet                      Print nothing while training.

Writes PREFIX.meta.yaml (these options), PREFIX/log (JSON), PREFIX/snapshot_bestvalobj (the epoch
with the best validation IWAE bound), PREFIX/snapshot_latest (for --resume) and PREFIX.perf.

Examples, the first as in the paper's README:
  train.py -d mnist -b 2048 --opt adam --vae-type jvi --vae-samples 8 --nhidden 300 --nlatent 40
  train.py --model sbn:layers=1,units=50 --estimator reinforce --vae-samples 8 --opt adam --lr 1e-3
"""

import re
from os.path import realpath

from docopt import docopt

from jvi.cli import command, number
from jvi.compat.options import NETWORK, SIZES
from jvi.spec import Spec, options_of, split
from jvi.text import table

# What the parameters' shapes and the optimizer's state depend on: a continued run keeps these.
FIXED = ("--dataset", "--vae-type", "--opt", "--nhidden", "--nlatent", "--seed")

# What a continued run does not take over from the one before.
NOT_KEPT = ("--help", "--overwrite", "--quiet", "--resume", "--vis")


@command
def main(argv=None):
    arguments = docopt(__doc__, argv)
    given = _given(argv)
    if arguments["--list-models"] or arguments["--list-estimators"]:
        print(_models() if arguments["--list-models"] else _estimators())
    elif arguments["--fancy"]:
        raise ValueError("--fancy names a model variant that the public original code lacks")
    elif arguments["--resume"]:
        _continue(arguments, given)
    else:
        _start(arguments, given)


def _given(argv):
    """The options that stand on the command line: those left when none has a default."""
    without_defaults = docopt(re.sub(r"\s*\[default: .*?\]", "", __doc__), argv)
    return {option: value for option, value in without_defaults.items() if value}


def _models():
    """The table of --list-models."""
    from jvi.models import CAPABILITIES, MODELS

    rows = []
    for name, link in MODELS.items():
        able = ", ".join(each for each in CAPABILITIES if hasattr(link, each))
        latent = "continuous" if link.reparameterised else "discrete"
        about = link.__doc__.partition("\n\n")[0].partition("\n")[0]
        rows.append([name, _options(link), latent, able, about])
    return table(rows, ["model", "options", "latents", "has", "what it is"])


def _estimators():
    """The table of --list-estimators."""
    from jvi.evidence.estimators import ESTIMATORS, PATH, SCORE, TOTAL

    needs = {TOTAL: "continuous latents", PATH: "continuous latents, log_q", SCORE: "log_q"}
    rows = [
        [name, _options(rule.function), needs[rule.route], rule.source]
        for name, rule in ESTIMATORS.items()
    ]
    return table(rows, ["estimator", "options", "needs", "source"])


def _options(make):
    known = options_of(make)
    return ",".join(f"{key.replace('_', '-')}={value}" for key, (_, value) in known.items()) or "-"


def _start(arguments, given):
    from jvi import datasets
    from jvi.engine.random import stream
    from jvi.models import build
    from jvi.models.model import Model
    from jvi.training.checkpoints import check_output

    if "--estimator" in given and "--vae-type" in given:
        raise ValueError("give --estimator or --vae-type, not both: each names the objective")
    settings, name = _settings(arguments), _model_name(arguments, given)
    device = number(arguments, "--device")
    check_output(arguments["-o"], arguments["--overwrite"])
    data = datasets.load(arguments["--dataset"], arguments["--data-dir"])
    rng = stream(settings.seed, "initial parameters")
    model = Model(build(name, data.train.shape[1], rng), device)
    trainer = _trainer(model, data, settings, arguments)
    _run(trainer, settings, arguments, overwrite=arguments["--overwrite"])


def _model_name(arguments, given):
    """--model, with the sizes of --nhidden and --nlatent where it is the original's."""
    name, texts = split(arguments["--model"])
    for option, key in SIZES.items():
        if option in given and (name != NETWORK or key in texts):
            raise ValueError(f"{option} is {NETWORK}'s {key}: give sizes once, in --model {name}:…")
        if name == NETWORK:
            number(arguments, option, least=1)
            texts.setdefault(key, arguments[option])
    return str(Spec(name, texts))


def _continue(arguments, given):
    from jvi import datasets
    from jvi.models.files import read_model, read_snapshot
    from jvi.models.model import from_files
    from jvi.training.checkpoints import check_output, files_of, resume, take_over

    source = arguments["--resume"]
    files, latest = read_model(_latest(source)), files_of(source).latest
    arguments = _kept(arguments, given, files)
    in_place = "-o" not in given or realpath(given["-o"]) == realpath(source)
    if in_place:
        arguments["-o"] = source
        if not latest.exists() and not arguments["--overwrite"]:
            raise ValueError(
                f"{source} was not written by this version: name another place with -o, or give "
                "--overwrite to continue it where it is"
            )
    else:
        check_output(arguments["-o"], arguments["--overwrite"])
    settings = _settings(arguments)
    data = datasets.load(arguments["--dataset"], arguments["--data-dir"])
    model = from_files(files, number(arguments, "--device"))
    _warn(files, source, settings)
    trainer = _trainer(model, data, settings, arguments)
    resume(trainer, read_snapshot(latest if latest.exists() else source, model.link))
    if not in_place:
        take_over(source, arguments["-o"])
    done = trainer.updater.epoch
    if done >= settings.epochs:
        print(f"{source} has {done} epochs: with -e {settings.epochs} there is nothing to train")
        _write_meta(arguments, in_place)
    else:
        _run(trainer, settings, arguments, continued=True)


def _latest(prefix):
    """The file of a model to continue from: the latest snapshot where there is one."""
    from jvi.training.checkpoints import files_of

    latest = files_of(prefix).latest
    return latest if latest.exists() else prefix


def _kept(arguments, given, files):
    """The options of a continued run: those it had, but for those given now."""
    source = arguments["--resume"]
    kept = {option: v for option, v in files.meta.items() if option not in NOT_KEPT}
    fixed = [*FIXED, "--estimator"] if kept.get("--vae-type") == "jvi+elbo" else FIXED
    for option in fixed:
        if option in given and option in kept and given[option] != kept[option]:
            raise ValueError(
                f"{option} {given[option]} does not fit {source}, trained with "
                f"{kept[option]}: a continued run keeps it"
            )
    if "--model" in given and given["--model"] != str(files.link.spec):
        raise ValueError(
            f"--model {given['--model']} does not fit {source}, which is {files.link.spec}: "
            "a continued run keeps it"
        )
    return arguments | kept | given


def _warn(files, source, settings):
    """Say what speaks against a model before it is trained further; refuse one that is lost."""
    import numpy as np

    from jvi.assessment.doubts import doubts

    if not all(np.isfinite(array).all() for array in files.parameters.values()):
        raise ValueError(
            f"{source} has diverged: its parameters are not finite; train anew with a smaller --lr"
        )
    if not settings.quiet:
        for doubt in doubts(files):
            if ": ends at epoch" not in doubt:  # as what is continued does
                print(f"note: {doubt}")


def _write_meta(arguments, in_place):
    """The meta file of a run that was only copied."""
    from jvi.compat.meta import dump_meta
    from jvi.files import atomic_write
    from jvi.training.checkpoints import files_of

    if not in_place:
        with atomic_write(files_of(arguments["-o"]).meta) as temporary:
            temporary.write_text(dump_meta(arguments))


def _settings(arguments):
    """The run that the options describe, checked before anything is loaded."""
    from jvi.evidence.estimators import estimator
    from jvi.training.objective import Objective, objective_for
    from jvi.training.optimizers import OPTIMIZERS
    from jvi.training.trainer import Settings

    order = number(arguments, "--jvi-order", least=0)
    if arguments["--estimator"]:
        objective = Objective(estimator(arguments["--estimator"]))
        arguments["--vae-type"] = None
    else:
        objective = objective_for(arguments["--vae-type"], order, arguments["--jvi-raw"])
    settings = Settings(
        objective=objective,
        num_samples=number(arguments, "--vae-samples", least=1),
        optimizer=arguments["--opt"],
        lr=number(arguments, "--lr", float),
        epochs=number(arguments, "--epochs", least=1),
        batch_size=number(arguments, "--batchsize", least=1),
        seed=number(arguments, "--seed", least=0),
        quiet=arguments["--quiet"],
        on_nan=arguments["--on-nan"],
    )
    if settings.on_nan not in ("stop", "skip"):
        raise ValueError(f'--on-nan must be "stop" or "skip", not {settings.on_nan!r}')
    if settings.optimizer not in OPTIMIZERS:
        known = ", ".join(OPTIMIZERS)
        raise ValueError(f"unknown optimizer {settings.optimizer!r}: choose from {known}")
    if not 0 < settings.lr < float("inf"):
        raise ValueError(f"--lr must be positive, not {arguments['--lr']}")
    order = objective.estimator.spec.options.get("order", 0)
    if settings.num_samples <= order:
        raise ValueError(f"jackknife order {order} needs --vae-samples {order + 1} or more")
    return settings


def _trainer(model, data, settings, arguments):
    from jvi.training.trainer import build_trainer, write_graph

    spec = model.link.spec
    if spec.name == NETWORK:  # for the original's code
        arguments |= {option: str(spec.options[key]) for option, key in SIZES.items()}
    arguments["--model"] = str(spec)
    trainer = build_trainer(model, data, settings, arguments["-o"], arguments)
    if arguments["--vis"]:
        write_graph(model, data, settings, arguments["--vis"])
    return trainer


def _run(trainer, settings, arguments, **options):
    from jvi.training.run import run

    run(trainer, arguments["-o"], **options)
    if not settings.quiet:
        _print_summary(trainer, settings, arguments["-o"])


def _print_summary(trainer, settings, prefix):
    from jvi.training.checkpoints import SELECTED_BY, files_of, log_of

    log = [entry for entry in log_of(trainer) if SELECTED_BY in entry]
    if not log:
        return
    entry, saver = min(log, key=lambda entry: entry[SELECTED_BY]), trainer.get_extension("save")
    before = "" if saver.selected else " (of the run that was continued)"
    rows = [
        ["best epoch", f"{entry['epoch']} of {trainer.updater.epoch}{before}"],
        ["validation IWAE bound", f"{-entry[SELECTED_BY]:.3f} nats (K = {settings.num_samples})"],
        ["model", str(files_of(prefix).best)],
    ]
    if trainer.updater.step.skipped:
        rows.append(["batches skipped", str(trainer.updater.step.skipped)])
    print(table(rows, ["training", "finished"]))


if __name__ == "__main__":
    main()
