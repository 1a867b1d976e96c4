"""Train a latent-variable model on the ELBO, IWAE, JVI or any other estimator.

Usage:
  train.py [options] [<setting>...]
  train.py (--list-models | --list-estimators | --list-presets)
  train.py (-h | --help)

Options:
  -h --help                    Show this help screen.
  --list-models                Print the models, their options with defaults, and sources.
  --list-estimators            Print the gradient estimators, the same way.
  --list-presets               Print the presets, with the source of every value.
  --preset <name>              Set-up of a paper: "burda2016", "rainforth2018", "lievin2020-sbn",
                               "lievin2020-gmm", "nowozin2018", "kingma2016-cifar10",
                               "kingma2016-table3", "kingma2016-small" or "kingma2016-mnist".
                               Options given here replace its.
  -d <dataset>, --dataset <dataset>
                               Data set: "digits" (scikit-learn's, needs no download), "mnist",
                               "omniglot"; as bytes "digits-grey", "mnist-grey", "cifar10" or
                               "cifar10-part" (what there is of it); or the path of an .npz, .npy
                               or idx file [default: digits].
  -o <modelprefix>             Write the trained model under this prefix [default: output].
  -g <device>, --device <device>
                               Number of the GPU to train on, -1 for the CPU [default: -1].
  -e <epochs>, --epochs <epochs>
                               Number of epochs to train, with a schedule that has an end as many
                               as it has; fewer break it off there [default: 1000].
  -b <batchsize>, --batchsize <batchsize>
                               Minibatch size, at most the training set [default: 8192].
  --fancy                      Refused: the public original code lacks this model variant.
  --model <model>              NAME[:key=value,…]: "mlp" is the original's network, whose sizes
                               are --nhidden and --nlatent; "burda:layers=2", … [default: mlp].
  --estimator <estimator>      NAME[:key=value,…]: the gradient estimator, as "iwae", "dreg" or
                               "jvi-clip:order=2"; instead of --vae-type.
  --anneal <lines>             OPTION=START:END:EPOCHS[,…]: what changes in the first epochs, as the
                               weight of the KL part, "kl=0:1:20", or an option of the estimator,
                               "alpha=0.99:0:50".
  --free-bits <nats>           What every latent unit's KL divergence, of iaf-resnet every feature
                               map's, costs at least; of the ELBO [default: 0].
  --kl-min <nats>              The same, as the published code of iaf-resnet calls it.
  --lr <lr>                    Learning rate of --schedule constant [default: 1.0e-4].
  --schedule <schedule>        NAME[:key=value,…]: "constant"; "iwae", 3,280 epochs at falling
                               rates, with its optimizer unless --opt is given; all its rates in
                               40 epochs are "iwae:epochs=40"; or "decay:hold=15,epochs=25", which
                               falls from the 16th epoch on [default: constant].
  --opt <opt>                  Optimizer, NAME[:key=value,…]: "sgd", "smorms3", "adam",
                               "adam:beta1=0.9,beta2=0.999,eps=1e-8", "adamax", with the same
                               options [default: smorms3].
  --clip <norm>                Scale longer gradients down to this norm; "none" or 0 does not
                               [default: 4.0].
  --average <decay>            Validate, select and keep an exponential moving average of the
                               parameters with this decay, at least 0 and below 1, as 0.999;
                               0 keeps the parameters themselves [default: 0].
  --vae-type <vaetype>         The original's objectives: "vae", "iwae", "iwae++", "jvi",
                               "jvi+elbo" or "is" [default: vae].
  --vae-samples <zcount>       Number of samples per image [default: 1].
  --jvi-order <order>          Order of the jackknife of --vae-type, zero is IWAE [default: 1].
  --nhidden <nhidden>          Number of hidden units per layer of mlp [default: 128].
  --nlatent <nz>               Number of latent dimensions of mlp [default: 16].
  --depths <layers>            Layers of each level of iaf-resnet, finest first, as 2,2,2.
  --n-z <maps>                 Latent feature maps of each of its layers.
  --n-h <maps>                 Feature maps of its network.
  --posterior <name>           Of iaf-resnet "up_diag", "up_iaf1", "up_iaf2", "down_diag",
                               "down_iaf1" or "down_iaf2"; of iaf "diag", "iaf1" or "iaf2".
  --depth-ar <layers>          Hidden layers of their autoregressive networks.
  --vis <graph.dot>            Write the computational graph to this file, in the dot language.
  --on-nan <what>              Where log-weights or gradients of a batch are not finite: "stop", or
                               "skip" the batch (on the CPU) [default: stop].
  --jvi-raw                    Train the encoder on JVI, too, as the original did. This can
                               diverge; without it the encoder follows the doubly reparameterised
                               gradient of IWAE, and the decoder JVI without negative weights.
  --seed <seed>                Seed of everything random [default: 0].
  --data-dir <folder>          Folder that holds mnist/, omniglot/, cifar10/ (else the variable
                               JVI_DATA, else a download).
  --resume <prefix>            Continue the training of this model with its own options; those
                               given here replace them. -o names another place for the result.
  --overwrite                  Replace an existing model.
  --quiet                      Print nothing while training.

Writes PREFIX.meta.yaml (these options), PREFIX/log (JSON), PREFIX/snapshot_bestvalobj (the epoch
with the best validation IWAE bound), PREFIX/snapshot_latest (for --resume) and PREFIX.perf.

Examples, the first as in the paper's README:
  train.py -d mnist -b 2048 --opt adam --vae-type jvi --vae-samples 8 --nhidden 300 --nlatent 40
  train.py --model sbn:layers=1,units=50 --estimator reinforce --vae-samples 8 --opt adam --lr 1e-3
  train.py --preset rainforth2018 --estimator piwae:groups=8 --schedule iwae:epochs=40
  train.py -d cifar10 --model iaf-resnet --depths 2,2,2 --n-h 64 --kl-min 0.25 --opt adamax

A line of Kingma et al.'s (2016) Theano code is read, too, and said again in these options:
  train.py with problem=cifar10 n_z=32 n_h=64 depths=[2,2,2] margs.posterior=down_iaf2_nl
"""

import shlex
from os.path import realpath

from jvi.cli import (
    UsageError,
    arguments_of,
    asked,
    check_effects,
    check_outputs,
    command,
    data_note,
    dataset_name,
    model_files,
    number,
    seed,
)
from jvi.compat.options import NETWORK, SIZES, owners
from jvi.scripts.on_ranks import on_ranks
from jvi.spec import Spec, options_of, split
from jvi.text import table

# What the parameters' shapes and the optimizer's state depend on: a continued run keeps these.
FIXED = ("--dataset", "--vae-type", "--opt", "--seed")

# What the published code of iaf-resnet does unless these say it in another way.
INSTEAD = {"--estimator": "--vae-type", "--lr": "--schedule"}

# What a continued run does not take over from the one before.
NOT_KEPT = ("--help", "--overwrite", "--quiet", "--resume", "--vis")

LISTS = ("--list-models", "--list-estimators", "--list-presets")

MOST_SAMPLES = 10**6  # K; the whole of a data point's samples is differentiated at once


@on_ranks
@command
def main(argv=None):
    arguments, given = _understood(*arguments_of(__doc__, argv))
    if any(arguments[option] for option in LISTS):
        tables = zip(LISTS, (_models, _estimators, _presets), strict=True)
        print(next(make for option, make in tables if arguments[option])())
    elif arguments["--fancy"]:
        raise UsageError("--fancy names a model variant that the public original code lacks")
    elif arguments["--resume"] is not None:
        _continue(arguments, given)
    else:
        _start(arguments, given)


def _understood(arguments, given):
    """The arguments without other spellings: --kl-min, and settings of Kingma et al. (2016)."""
    arguments, given = dict(arguments), dict(given)
    words, least = arguments.pop("<setting>"), arguments.pop("--kl-min")
    if "--kl-min" in given:
        if "--free-bits" in given:
            raise UsageError("--kl-min is another name of --free-bits: give one of them")
        arguments["--free-bits"] = given["--free-bits"] = least
    given = {option: value for option, value in given.items() if option in arguments}
    found = _translated(words, arguments, given) if words else {}
    return arguments | found, given | found


def _translated(words, arguments, given):
    """Options that a line of the published code of iaf-resnet stands for, which it prints."""
    from jvi.compat.iaf_options import translated

    with asked():
        said, assumed = translated(words)
    for option in (*said, *filter(owners, arguments), "--preset", "--resume"):
        if option in given:
            raise UsageError(f"{option} does not go with key=value words, which say all of that")
    instead = {option for option, other in INSTEAD.items() if other in given}
    kept = {o: v for o, v in assumed.items() if o not in given and o not in instead}
    if not arguments["--quiet"]:
        pairs = [word for pair in (said | kept).items() for word in pair]
        print(f"note: read as train.py {shlex.join(pairs)}")
    return said | kept


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
    from jvi.evidence.estimators import ESTIMATORS, PATH, SCORE, SLEEP, TOTAL

    needs = {TOTAL: "continuous latents", PATH: "continuous latents, log_q", SCORE: "log_q"}
    needs[SLEEP] = "log_q, draw_prior, draw_x"
    rows = [
        [name, _options(rule.function), needs[rule.route], rule.source]
        for name, rule in ESTIMATORS.items()
    ]
    return table(rows, ["estimator", "options", "needs", "source"])


def _presets():
    from jvi.training.presets import listing

    return listing()


def _options(make):
    known = options_of(make)
    return ",".join(f"{key.replace('_', '-')}={value}" for key, (_, value) in known.items()) or "-"


def _start(arguments, given):
    from jvi.engine.random import stream
    from jvi.models import build
    from jvi.models.model import Model
    from jvi.training.checkpoints import check_output
    from jvi.training.presets import filled_in

    with asked():
        arguments = filled_in(arguments, given)
    settings, name = _settings(arguments, given), _model_name(arguments, given)
    _check_effects(arguments, given)
    device = number(arguments, "--device", least=-1)
    dataset_name(arguments["--dataset"])
    with asked("-o"):
        check_output(arguments["-o"], arguments["--overwrite"])
    _check_outputs(arguments)
    data = _data(arguments, given, settings)
    with asked("--model"):
        link = build(name, data.train.shape[1], stream(settings.seed, "initial parameters"))
    model = Model(link, device)
    trainer = _trainer(model, data, settings, arguments)

    def begin():
        _write_graph(model, data, settings, arguments)

    _run(trainer, settings, arguments, arguments["--overwrite"], False, begin)


def _data(arguments, given, settings):
    from jvi import datasets

    note = data_note(given, arguments["--dataset"])
    if note and not settings.quiet:
        print(f"note: {note}")
    return datasets.load(arguments["--dataset"], arguments["--data-dir"])


def _model_name(arguments, given):
    """--model, with the sizes that are options by themselves."""
    from jvi.models import check_name

    with asked("--model"):
        name, texts = split(arguments["--model"])
    for option in filter(owners, arguments):
        _check_size(option, name, texts, given)
    for option, key in SIZES.get(name, {}).items():
        if arguments[option] is not None:
            texts.setdefault(key, _size(option, arguments))
    with asked("--model"):
        check_name(str(Spec(name, texts)))
    return str(Spec(name, texts))


def _check_size(option, name, texts, given):
    """Refuse a size of another model, or one that --model has, too."""
    key = SIZES.get(name, {}).get(option)
    if option in given and (key is None or key in texts):
        of = owners(option)
        what = f"{' and '.join(of)}'s {SIZES[of[0]][option]}"
        raise UsageError(f"{option} is {what}: give sizes once, in --model {name}:…")


# Sizes that are not whole numbers from 1 on: from text to the model's text.
WORDS = {
    "--depths": lambda text: text.replace(",", "-"),
    "--posterior": lambda text: text.lower().removesuffix("_nl"),
}
LEAST = {"--depth-ar": 0}


def _size(option, arguments):
    """The text of a size as --model has it."""
    if option in WORDS:
        return WORDS[option](arguments[option])
    return str(number(arguments, option, least=LEAST.get(option, 1)))


def _check_effects(arguments, given):
    """Refuse what this run does not look at."""
    from jvi.compat.vae_types import VAE_TYPES

    kind = VAE_TYPES.get(arguments["--vae-type"])
    ordered, raw = (
        " and ".join(name for name, each in VAE_TYPES.items() if uses(each))
        for uses in (lambda each: "{order}" in each.estimator, lambda each: each.raw)
    )
    used = kind is not None and "{order}" in kind.estimator
    check_effects(given, ["--jvi-order"], used, f"--vae-type {ordered}")
    check_effects(given, ["--jvi-raw"], bool(kind and kind.raw), f"--vae-type {raw}")


def _check_outputs(arguments, sources=()):
    """Refuse to write over data, or the graph over a model."""
    from jvi.training.checkpoints import files_of

    data = arguments["--dataset"], arguments["--data-dir"]
    files = list(files_of(arguments["-o"])[1:])
    check_outputs({"-o": files}, True, data=data, folders=True)
    models = [path for prefix in (arguments["-o"], *sources) for path in model_files(prefix)]
    graph = {"--vis": arguments["--vis"]}
    check_outputs(graph, arguments["--overwrite"], inputs=models, data=data)


def _continue(arguments, given):
    from jvi.engine.ranks import ranks
    from jvi.models.files import read_snapshot
    from jvi.models.model import from_files
    from jvi.training.checkpoints import resume, take_over
    from jvi.training.run import alone

    if "--preset" in given:
        raise UsageError("--preset is for a new model: a continued run has its own options")
    files = _source(arguments["--resume"])
    arguments = _kept(arguments, given, files)
    in_place = _place(arguments, given, files)
    settings = _kept_settings(arguments, given, files)
    _check_effects(arguments, given)
    _check_outputs(arguments, [files.prefix])
    device = number(arguments, "--device", least=-1)
    _warn(files, settings)
    data = _data(arguments, given, settings)
    model = from_files(files, device)
    trainer = _trainer(model, data, settings, arguments)
    resume(trainer, read_snapshot(files.path, model.link))

    def begin():
        if not in_place:
            take_over(trainer, files, arguments["-o"], arguments)
        _write_graph(model, data, settings, arguments)

    done = trainer.updater.epoch
    if done < settings.epochs:
        _run(trainer, settings, arguments, arguments["--overwrite"], in_place, begin)
        return
    print(f"{files.prefix} has {done} epochs: with -e {settings.epochs} there is nothing to train")
    arguments["--epochs"] = str(done)
    with alone(arguments["-o"]):
        if ranks().rank == 0:
            begin()


def _source(prefix):
    """The model to continue, from the latest snapshot where there is one and no file is named."""
    from jvi.models.files import read_model
    from jvi.training.checkpoints import files_of

    latest = files_of(prefix.removesuffix(".meta.yaml")).latest
    return read_model(latest if latest.is_file() else prefix)


def _place(arguments, given, files):
    """Whether a run is continued where it is; where it may not, or not elsewhere, that is said."""
    from jvi.training.checkpoints import check_output, files_of

    source, overwrite = files.prefix, arguments["--overwrite"]
    if "-o" in given and realpath(given["-o"]) != realpath(source):
        with asked("-o"):
            check_output(arguments["-o"], overwrite)
        return False
    arguments["-o"] = source
    latest = files_of(source).latest
    if latest.exists() and not files.path.samefile(latest):
        raise UsageError(
            f"--resume {arguments['--resume']} is not the latest of {source}: name another place "
            "with -o"
        )
    if not latest.exists() and not overwrite:
        raise ValueError(
            f"{source} was not written by this version: name another place with -o, or give "
            "--overwrite to continue it where it is"
        )
    check_output(source, overwrite=True)
    return True


def _kept(arguments, given, files):
    """The options of a continued run: those it had, but for those given now."""
    source = files.prefix
    kept = {o: v for o, v in files.meta.items() if o in arguments and o not in NOT_KEPT}
    for option, value in kept.items():
        flag = isinstance(arguments[option], bool)
        if not isinstance(value, bool if flag else str | None):
            raise ValueError(f"{source}.meta.yaml: {option} is {str(value)[:50]!a}: correct it")
    _check_fixed(given, kept, files)
    _check_sizes(given, files)
    return arguments | kept | given


def _check_fixed(given, kept, files):
    """Refuse what a continued run cannot change."""
    source, keeps = files.prefix, "a continued run keeps it"
    fixed = [*FIXED, "--estimator"] if kept.get("--vae-type") == "jvi+elbo" else FIXED
    for option in fixed:
        if option in given and option in kept and not _agrees(option, given[option], kept[option]):
            had = kept[option] or kept.get("--estimator")
            raise UsageError(
                f"{option} {given[option]} does not fit {source}, trained with {had}: {keeps}"
            )
    if "--vae-type" in given and kept.get("--estimator"):
        raise UsageError(
            f"--vae-type does not fit {source}, trained with --estimator {kept['--estimator']}"
        )
    if "--model" in given and not _is_model(given["--model"], files.link.spec):
        raise UsageError(
            f"--model {given['--model']} does not fit {source}, which is {files.link.spec}: {keeps}"
        )


def _check_sizes(given, files):
    """Refuse another size than the model has."""
    spec = files.link.spec
    for option in filter(owners, given):
        key = SIZES.get(spec.name, {}).get(option)
        had = None if key is None else str(spec.options[key])
        if had is None:
            of = " and ".join(owners(option))
            raise UsageError(f"{option} is {of}'s, but {files.prefix} is {spec}")
        if _size(option, given) != had:
            raise UsageError(
                f"{option} {given[option]} does not fit {files.prefix}, trained with {had}: a "
                "continued run keeps it"
            )


def _agrees(option, now, before):
    """Whether an option is as it was; a file of data may have moved."""
    from pathlib import Path

    from jvi.datasets.files import is_path

    if option == "--dataset" and before is not None and is_path(now) and is_path(before):
        return Path(now).name == Path(before).name
    return now == before


def _is_model(text, spec):
    """Whether a text as --model has it names a model of this spec."""
    with asked("--model"):
        name, texts = split(text)
    known = {key: str(value) for key, value in spec.options.items()}
    return name == spec.name and texts.items() <= known.items()


def _kept_settings(arguments, given, files):
    """As `_settings`; where a mistake is not on the command line, it names the file that has it."""
    try:
        return _settings(arguments, given)
    except UsageError as error:
        if any(option in str(error) for option in given):
            raise
        raise ValueError(f"{files.prefix}.meta.yaml: {error}") from None


def _warn(files, settings):
    """Say what speaks against a model before it is trained further; refuse one that is lost."""
    import numpy as np

    from jvi.assessment.doubts import doubts

    if not all(np.isfinite(array).all() for array in files.parameters.values()):
        raise ValueError(
            f"{files.prefix} has diverged: its parameters are not finite; train anew with a "
            "smaller --lr"
        )
    if not settings.quiet:
        for doubt in doubts(files):
            if ": ends at epoch" not in doubt:  # as what is continued does
                print(f"note: {doubt}")


def _settings(arguments, given):
    """The run that the options describe, checked before anything is loaded."""
    from jvi.evidence.jackknife import MAX_ORDER
    from jvi.training.average import check_decay
    from jvi.training.optimizers import make_optimizer
    from jvi.training.trainer import Settings

    if "--estimator" in given and "--vae-type" in given:
        raise UsageError("give --estimator or --vae-type, not both: each names the objective")
    settings = Settings(
        objective=_objective(arguments),
        num_samples=number(arguments, "--vae-samples", least=1, most=MOST_SAMPLES),
        optimizer=arguments["--opt"],
        lr=_rate(arguments, given),
        epochs=number(arguments, "--epochs", least=1),
        batch_size=number(arguments, "--batchsize", least=1),
        seed=seed(arguments),
        quiet=arguments["--quiet"],
        on_nan=arguments["--on-nan"],
        schedule=arguments["--schedule"],
        clip=0.0 if arguments["--clip"] == "none" else number(arguments, "--clip", float, least=0),
        average=number(arguments, "--average", float),
    )
    if settings.on_nan not in ("stop", "skip"):
        raise UsageError(f'--on-nan must be "stop" or "skip", not {settings.on_nan!a}')
    with asked("--opt"):
        make_optimizer(settings.optimizer, 1.0)
    with asked("--average"):
        check_decay(settings.average)
    order = settings.objective.estimator.spec.options.get("order", 0)
    if order > MAX_ORDER:
        raise UsageError(f"--estimator: the largest order is {MAX_ORDER}, not {order}")
    if settings.num_samples <= order:
        raise UsageError(f"jackknife order {order} needs --vae-samples {order + 1} or more")
    return settings


def _rate(arguments, given):
    """--lr where the schedule is constant; None, in the meta file, too, where it has its own."""
    from jvi.training.schedules import CONSTANT, check_rate, schedule

    if arguments["--schedule"] == CONSTANT and arguments["--lr"] is None:
        raise UsageError(f"--schedule {CONSTANT} needs --lr: the schedule before had its own rates")
    with asked("--schedule"):
        schedule(arguments["--schedule"], lr=1.0)
    with asked("--lr"):
        check_rate(arguments["--schedule"], given.get("--lr"))
    if arguments["--schedule"] != CONSTANT:
        arguments["--lr"] = None
        return None
    rate = number(arguments, "--lr", float)
    if rate <= 0:
        raise UsageError(f"--lr must be positive, not {arguments['--lr']}")
    return rate


def _objective(arguments):
    from jvi.evidence.estimators import estimator
    from jvi.evidence.jackknife import MAX_ORDER
    from jvi.training.objective import Objective, changed, objective_for

    order = number(arguments, "--jvi-order", least=0, most=MAX_ORDER)
    if arguments["--estimator"]:
        arguments["--vae-type"] = None
        with asked("--estimator"):
            objective = Objective(estimator(arguments["--estimator"]))
    else:
        with asked("--vae-type"):
            objective = objective_for(arguments["--vae-type"], order, arguments["--jvi-raw"])
    free_bits = number(arguments, "--free-bits", float, least=0)
    with asked("--anneal"):
        return changed(objective, arguments["--anneal"] or "", free_bits)


def _trainer(model, data, settings, arguments):
    from jvi.training.trainer import build_trainer

    spec = model.link.spec
    arguments |= {o: None for o in arguments if owners(o) and NETWORK not in owners(o)}
    # also for the original's code
    arguments |= {o: str(spec.options[key]) for o, key in SIZES.get(spec.name, {}).items()}
    arguments["--model"] = str(spec)
    return build_trainer(model, data, settings, arguments["-o"], arguments)


def _write_graph(model, data, settings, arguments):
    from jvi.training.trainer import write_graph

    if arguments["--vis"]:
        write_graph(model, data, settings, arguments["--vis"])


def _run(trainer, settings, arguments, overwrite, in_place, begin):
    from jvi.training.run import run

    run(trainer, arguments["-o"], overwrite, in_place, begin)
    if not settings.quiet:
        _print_summary(trainer, settings, arguments["-o"])


def _print_summary(trainer, settings, prefix):
    from jvi.training.checkpoints import SELECTED_BY, files_of, log_of

    saver = trainer.get_extension("save")
    best = [entry for entry in log_of(trainer) if entry.get(SELECTED_BY) == saver.best]
    before = "" if saver.selected else " (of the run that was continued)"
    rows = [
        ["best epoch", f"{best[0]['epoch'] if best else '?'} of {trainer.updater.epoch}{before}"],
        [
            "validation IWAE bound",
            f"{_in_units(-saver.best, trainer)} (K = {settings.num_samples})",
        ],
        ["model", str(files_of(prefix).best)],
    ]
    if trainer.updater.step.skipped:
        rows.append(["batches skipped", str(trainer.updater.step.skipped)])
    print(table(rows, ["training", "finished"]))


def _in_units(nats, trainer):
    """A bound in nats, and in the unit of the data where it is another."""
    from jvi.datasets import NATS

    unit = trainer.updater.step.data.unit
    more = "" if unit.name == NATS.name else f", {unit.value(nats):.4f} {unit.name}"
    return f"{nats:.3f} {NATS.name}{more}"


if __name__ == "__main__":
    main()
