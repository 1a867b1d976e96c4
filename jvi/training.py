"""Training with Chainer's trainer: updates, validation, log, snapshots, resuming."""

import math
import shutil
import tempfile
from pathlib import Path
from typing import NamedTuple

import chainer
import numpy as np
from chainer import serializers, training
from chainer.training import extensions
from tqdm import tqdm

from jvi import backend
from jvi.backend import namespace
from jvi.bounds import iwae
from jvi.compat.meta import dump_meta
from jvi.compat.snapshot import from_original, to_original
from jvi.datasets import binarise, binarise_each
from jvi.files import atomic_write
from jvi.objectives import draw, loss, objective_for, report, summarise
from jvi.optimizers import OPTIMIZERS

__all__ = [
    "Diverged",
    "Settings",
    "build_trainer",
    "check_output",
    "files_of",
    "resume",
    "take_best",
    "write_graph",
]

# The original's: gradients are scaled down to this norm when they are longer.
CLIP = 4.0

SELECTED_BY = "validation/main/iwae"


class Diverged(ArithmeticError):
    """The loss is no longer a finite number."""


class Settings(NamedTuple):
    """A training run, apart from its data and the model's sizes; defaults are the original's."""

    vae_type: str = "vae"
    num_samples: int = 1
    order: int = 1
    raw: bool = False
    optimizer: str = "smorms3"
    lr: float = 1e-4
    epochs: int = 1000
    batch_size: int = 8192
    seed: int = 0
    quiet: bool = False


class Files(NamedTuple):
    """What a run writes."""

    folder: Path
    log: Path
    best: Path
    latest: Path
    meta: Path
    perf: Path


def files_of(prefix):
    """The `Files` of a run with this prefix; a trailing slash does not matter."""
    folder = Path(prefix)
    return Files(
        folder,
        folder / "log",
        folder / "snapshot_bestvalobj",
        folder / "snapshot_latest",
        folder.with_name(f"{folder.name}.meta.yaml"),
        folder.with_name(f"{folder.name}.perf"),
    )


def check_output(prefix, overwrite):
    """Raise FileExistsError where a model is already, OSError where nothing can be written.

    With `overwrite`, what an earlier run left under `prefix` is removed.
    """
    files = files_of(prefix)
    old = [path for path in files[1:] if path.exists()]
    if old and not overwrite:
        raise FileExistsError(
            f"{old[0]} exists: choose another -o, continue it with --resume {prefix}, "
            "or give --overwrite"
        )
    files.folder.mkdir(parents=True, exist_ok=True)
    tempfile.TemporaryFile(dir=files.folder).close()
    tempfile.TemporaryFile(dir=files.folder.parent).close()
    for path in old:
        path.unlink()


class Updater(training.updaters.StandardUpdater):
    """One gradient step on a binarised batch; all its randomness comes from (seed, iteration).

    On a GPU a step is a `jvi.gpu.Step`, which draws other noise than the CPU does; what is reported
    comes at the end of an epoch, the mean of its steps.
    """

    def __init__(self, images, model, optimizer, settings):
        self.order_sampler = _Order(settings.seed)
        size = min(settings.batch_size, len(images))  # a larger batch would hold images twice
        iterator = chainer.iterators.SerialIterator(
            np.arange(len(images)), size, order_sampler=self.order_sampler
        )
        super().__init__(iterator, optimizer, device=model.device)
        self.images, self.model, self.settings = images, model, settings
        self.objective = objective_for(settings.vae_type, settings.raw)
        self.gpu_step = None
        if model.device.xp is not np:
            from jvi import gpu

            self.gpu_step = gpu.Step(images, model, optimizer, settings, self.objective, CLIP)

    def update_core(self):
        iterator = self.get_iterator("main")
        rows = np.asarray(iterator.next())
        if self.gpu_step is None:
            values = self._step(rows)
        else:
            self.gpu_step(rows, self.iteration)
            values = self.gpu_step.means() if iterator.is_new_epoch else {}
            if not np.isfinite(list(values.values())).all():
                raise Diverged("training diverged: what this epoch reports is not finite")
        prefix = "" if self.settings.vae_type == "jvi+elbo" else "main/"
        chainer.report({prefix + name: value for name, value in values.items()})

    def _step(self, rows):
        settings, device = self.settings, self.model.device
        rng = backend.stream(settings.seed, "training noise", self.iteration)
        x = device.send(binarise(self.images[rows], rng))
        shape = settings.num_samples, len(rows), self.model.num_latent
        values = self._gradients(x, backend.normals(shape, rng, device))
        self.get_optimizer("main").update()
        return summarise(values)

    def _gradients(self, x, eps):
        """Set the parameters' gradients, and return what is reported of each data point.

        The batch is worked on in pieces, which bounds memory for any batch size.
        """
        settings = self.settings

        def piece(rows):
            with chainer.using_config("type_check", False):
                link = self.model.link.copy()  # shares the parameters, not their gradients
                link.cleargrads()
                draws = draw(link, x[rows], eps[:, rows])
                if not bool(namespace(draws.log_w).isfinite(draws.log_w).all()):
                    raise Diverged(
                        f"training diverged: log-weights of iteration {self.iteration + 1} "
                        "are not finite"
                    )
                values = report(draws, self.objective, settings.order)
                part = loss(link, draws, self.objective, settings.order)
                (part * (draws.log_w.shape[1] / len(x))).backward()
            return values, [parameter.grad for parameter in link.params()]

        pieces = backend.pieces(len(x), settings.num_samples, self.model.device)
        parameters = list(self.model.link.params())
        values = []
        for part, gradients in backend.parallel_map(piece, pieces, self.model.device):
            for parameter, gradient in zip(parameters, gradients, strict=True):
                if values:
                    parameter.grad += gradient
                else:
                    parameter.grad = gradient
            values.append(part)
        return _joined(values, self.model.device.xp)


def _joined(parts, xp):
    """One dictionary of arrays for a list of them."""
    return {name: xp.concatenate([part[name] for part in parts]) for name in parts[0]}


class _Order:
    """The order of an epoch's examples, a permutation that depends on (seed, epoch) alone."""

    def __init__(self, seed):
        self.seed, self.epoch = seed, 0

    def __call__(self, order, position):
        permutation = backend.stream(self.seed, "order", self.epoch).permutation(len(order))
        self.epoch += 1
        return permutation


def validate(model, images, settings):
    """What is reported of `images` (binary, shape (N, pixels)), under "validation/main/…".

    The noise is the same at every call. `iwae` is minus the IWAE bound, by which the best epoch is
    chosen: unlike JVI's estimate no model can push it above log p(x).
    """
    vae_type = "jvi" if settings.vae_type == "jvi+elbo" else settings.vae_type
    objective = objective_for(vae_type)
    pieces = backend.pieces(len(images), settings.num_samples, model.device)

    def values(number):
        x = model.device.send(images[pieces[number]])
        rng = backend.stream(settings.seed, "validation noise", number)
        shape = settings.num_samples, len(x), model.num_latent
        with chainer.no_backprop_mode():
            draws = draw(model.link, x, backend.normals(shape, rng, model.device))
        return report(draws, objective, settings.order) | {"iwae": -iwae(draws.log_w)}

    parts = list(backend.parallel_map(values, range(len(pieces)), model.device))
    means = summarise(_joined(parts, model.device.xp))
    return {f"validation/main/{name}": float(value) for name, value in means.items()}


def build_trainer(model, data, settings, prefix, meta):
    """Chainer's trainer for a run, its extensions named as the original's.

    Parameters
    ----------
    model : jvi.Model
    data : jvi.datasets.Dataset
    settings : Settings
    prefix : str or Path
        Where to write.
    meta : dict
        The command's arguments, for PREFIX.meta.yaml.

    Returns
    -------
    chainer.training.Trainer
        Its `run` raises `Diverged` when the loss is no longer finite.
    """
    if settings.vae_type == "iwae++":  # which is JVI of order 1
        settings = settings._replace(order=1)
    optimizer = OPTIMIZERS[settings.optimizer](settings.lr)
    optimizer.setup(model.link)
    optimizer.add_hook(chainer.optimizer_hooks.GradientClipping(CLIP))
    updater = Updater(data.train, model, optimizer, settings)
    files = files_of(prefix)
    trainer = training.Trainer(updater, (settings.epochs, "epoch"), out=str(files.folder))
    held_out = binarise_each(data.validation, settings.seed)

    def validation(trainer):
        chainer.report(validate(model, held_out, settings))

    def name_estimator(entry):
        entry["estimator"] = updater.objective.estimator

    epoch = (1, "epoch")
    log_report = extensions.LogReport(trigger=epoch, postprocess=name_estimator)
    trainer.extend(validation, name="validation", trigger=epoch, priority=300)
    trainer.extend(log_report, name="LogReport", priority=200)
    saver = _Saver(files, settings, meta, lambda: validate(model, held_out, settings)[SELECTED_BY])
    trainer.extend(saver, name="save", trigger=_end_of_epoch, priority=150)
    shown = _PrintEpoch(settings.epochs) if not settings.quiet else _nothing
    trainer.extend(shown, name="PrintReport", trigger=epoch, priority=100)
    shown = _ProgressBar(settings.epochs) if not settings.quiet else _nothing
    trainer.extend(shown, name="ProgressBar", trigger=(1, "iteration"), priority=50)
    return trainer


def resume(trainer, arrays):
    """Continue from the arrays of a snapshot, ours or the original's.

    Raises
    ------
    ValueError
        When the snapshot does not fit the run: another data set, model or optimizer.
    """
    state = from_original(arrays)
    updater = trainer.updater
    found, expected = len(state["updater/iterator:main/order"]), len(updater.images)
    if found != expected:
        raise ValueError(
            f"the snapshot was trained on {found} images, this data set has {expected}"
        )
    try:
        serializers.NpzDeserializer(state, strict=True).load(trainer)
    except KeyError as error:
        raise ValueError(f"the snapshot has no entry {error.args[0]}") from None
    updater.order_sampler.epoch = updater.epoch + 1


def take_best(source, prefix):
    """Copy the best snapshot of one run to another that continues it."""
    old, new = files_of(source), files_of(prefix)
    for before, after in ((old.best, new.best), (old.perf, new.perf)):
        if before.exists():
            with atomic_write(after) as temporary:
                shutil.copyfile(before, temporary)


def write_graph(model, data, settings, path):
    """Write the computational graph of one loss to `path`, in Graphviz' dot language."""
    from chainer.computational_graph import build_computational_graph

    eps = np.zeros((settings.num_samples, 2, model.num_latent), np.float32)
    draws = draw(model.link, model.images(data.train[:2]), model.device.send(eps))
    objective = objective_for(settings.vae_type, settings.raw)
    graph = build_computational_graph([loss(model.link, draws, objective, settings.order)])
    with atomic_write(path) as temporary:
        temporary.write_text(graph.dump())


def _end_of_epoch(trainer):
    return trainer.updater.is_new_epoch


def _nothing(trainer):
    """In place of what --quiet leaves out, so that the snapshot's entries stay the same."""


class _Saver:
    """After each epoch writes the latest snapshot, and the best one when it is the best."""

    def __init__(self, files, settings, meta, value_now):
        self.files, self.settings, self.meta = files, settings, meta
        self.value_now, self.best = value_now, math.inf

    def initialize(self, trainer):
        """The best value so far of a continued run: from its log, or that of the model as it is."""
        if trainer.updater.iteration == 0:
            return
        known = [entry[SELECTED_BY] for entry in _log(trainer) if SELECTED_BY in entry]
        self.best = min(known) if known else self.value_now()

    def __call__(self, trainer):
        value = _log(trainer)[-1][SELECTED_BY]
        if not math.isfinite(value):
            raise Diverged(f"training diverged: the validation bound is {value}")
        state = to_original(serializers.npz.serialize(trainer), self.settings.vae_type)
        _write_text(self.files.meta, dump_meta(self.meta))
        if value < self.best:
            self.best = value
            _write_arrays(self.files.best, state)
            _write_text(self.files.perf, f"{value:f}")
        # Last, so that what is interrupted before it is done again.
        _write_arrays(self.files.latest, state)


def _write_arrays(path, arrays):
    with atomic_write(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, **arrays)


def _write_text(path, text):
    with atomic_write(path) as temporary:
        temporary.write_text(text)


def _log(trainer):
    return trainer.get_extension("LogReport").log


class _PrintEpoch:
    """A line per epoch, but at most one in two seconds, above the progress bar if there is one."""

    COLUMNS = ("epoch", "training", "validation", "iwae", "seconds")
    PAUSE = 2.0

    def __init__(self, epochs):
        self.epochs, self.printed = epochs, -math.inf

    def initialize(self, trainer):
        estimator = trainer.updater.objective.estimator
        tqdm.write(f"nats per image; gradient estimator {estimator}; * is the best epoch so far")
        tqdm.write("".join(f"{name:>12}" for name in self.COLUMNS))

    def __call__(self, trainer):
        log = _log(trainer)
        entry = log[-1]
        seconds = entry["elapsed_time"]
        if seconds < self.printed + self.PAUSE and entry["epoch"] < self.epochs:
            return
        self.printed = seconds
        prefix = "main/" if "main/obj" in entry else "p_obj/"
        losses = [entry[name] for name in (f"{prefix}obj", "validation/main/obj", SELECTED_BY)]
        best = min(e.get(SELECTED_BY, math.inf) for e in log) == entry[SELECTED_BY]
        numbers = "".join(f"{-value:12.3f}" for value in losses)
        tqdm.write(f"{entry['epoch']:>12}{numbers}{seconds:12.1f}{' *' if best else ''}")


class _ProgressBar:
    """A bar in a terminal, nothing in a file."""

    def __init__(self, epochs):
        self.epochs, self.bar = epochs, None

    def initialize(self, trainer):
        updater = trainer.updater
        per_epoch = math.ceil(len(updater.images) / updater.settings.batch_size)
        self.bar = tqdm(
            total=self.epochs * per_epoch,
            initial=updater.iteration,
            unit="step",
            disable=None,
            leave=False,
        )

    def __call__(self, trainer):
        self.bar.update()

    def finalize(self):
        if self.bar is not None:
            self.bar.close()
