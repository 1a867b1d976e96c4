"""Chainer's trainer for a run: order of the data, steps, validation, log and snapshots."""

from typing import NamedTuple

import chainer
import numpy as np
from chainer import training
from chainer.training import extensions

from jvi.datasets import observe_each
from jvi.engine.devices import on_host, training_pieces
from jvi.engine.random import BatchSource, stream
from jvi.engine.threads import parallel_map
from jvi.evidence.bounds import iwae
from jvi.files import atomic_write
from jvi.training.checkpoints import SELECTED_BY, Saver, files_of
from jvi.training.objective import (
    Objective,
    check_fit,
    draw,
    loss,
    objective_for,
    reported,
    summarise,
)
from jvi.training.optimizers import learning_rate, optimizer_for
from jvi.training.progress import EpochLines, ProgressBar
from jvi.training.step import Diverged, Step

__all__ = ["Settings", "build_trainer", "validate", "write_graph"]


class Settings(NamedTuple):
    """A training run, apart from its data and model; defaults are the original's."""

    objective: Objective = objective_for("vae")
    num_samples: int = 1
    optimizer: str = "smorms3"
    lr: float = 1e-4
    epochs: int = 1000
    batch_size: int = 8192
    seed: int = 0
    quiet: bool = False
    on_nan: str = "stop"  # or "skip": leave out batches that are not finite

    @property
    def twins(self) -> bool:
        """Whether the original would have used two optimizers, of two objectives."""
        return any("/" in name for name in self.objective.reported)


class Updater(training.updaters.StandardUpdater):
    """One gradient step on an observed batch; all its randomness comes from (seed, iteration)."""

    def __init__(self, data, model, optimizer, settings):
        self.order_sampler, self.num_rows = _Order(settings.seed), len(data.train)
        size = min(settings.batch_size, self.num_rows)  # a larger batch would hold rows twice
        iterator = chainer.iterators.SerialIterator(
            np.arange(self.num_rows), size, order_sampler=self.order_sampler
        )
        super().__init__(iterator, optimizer, device=model.device)
        self.prefix = "" if settings.twins else "main/"
        about = settings.objective, settings.num_samples, settings.seed
        self.step = Step(model, data, optimizer, *about, skip=settings.on_nan == "skip")

    def update_core(self):
        iterator = self.get_iterator("main")
        self.step(np.asarray(iterator.next()), self.iteration)
        if iterator.is_new_epoch:
            values = self.step.means()
            if not np.isfinite(list(values.values())).all():
                raise Diverged(
                    f"training diverged in epoch {iterator.epoch}, by iteration "
                    f"{self.iteration + 1}: what it reports is not finite (learning rate: "
                    f"{learning_rate(self.get_optimizer('main')):g})"
                )
            chainer.report({self.prefix + name: value for name, value in values.items()})


class _Order:
    """The order of an epoch's examples, a permutation that depends on (seed, epoch) alone."""

    def __init__(self, seed):
        self.seed, self.epoch = seed, 0

    def __call__(self, order, position):
        permutation = stream(self.seed, "order", self.epoch).permutation(len(order))
        self.epoch += 1
        return permutation


def validate(model, x, settings):
    """What is reported of `x`, observed data points, under "validation/main/…".

    The noise is the same at every call. `iwae` is minus the IWAE bound, by which the best epoch is
    chosen: unlike JVI's estimate no model can push it above log p(x).
    """
    objective = settings.objective.of_validation
    pieces = training_pieces(len(x), settings.num_samples, model.device)

    def values(number):
        rows = model.images(model.device.send(x[pieces[number]]))
        rng = stream(settings.seed, "validation noise", number)
        source = BatchSource(rng, len(rows), model.device).rows(slice(None))
        with chainer.no_backprop_mode():
            draws = draw(model.link, rows, source, settings.num_samples, objective)
        bound, _ = objective.estimator.with_bound(draws.log_w)
        return reported(objective, draws.terms, bound) | {
            "iwae": -iwae(draws.log_w, check_finite=False)
        }

    parts = list(parallel_map(values, range(len(pieces)), model.device))
    xp = model.device.xp
    means = summarise({name: xp.concatenate([p[name] for p in parts]) for name in parts[0]})
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

    Raises
    ------
    ValueError
        Before any work, where model, objective, data and numbers do not go together.
    """
    check_fit(settings.objective, model.link, settings.num_samples)
    if settings.on_nan == "skip" and not on_host(model.device):
        raise ValueError("--on-nan skip needs the CPU: a GPU's steps do not wait to be looked at")
    for part in (data.train, data.validation):
        model.images(part)
    optimizer = optimizer_for(settings.optimizer, settings.lr, model)
    updater = Updater(data, model, optimizer, settings)
    files = files_of(prefix)
    trainer = training.Trainer(updater, (settings.epochs, "epoch"), out=str(files.folder))
    held_out = observe_each(data, data.validation, settings.seed)
    estimator = str(settings.objective.estimator)

    def value_now():
        return validate(model, held_out, settings)[SELECTED_BY]

    def validation(trainer):
        chainer.report(validate(model, held_out, settings))

    def name_estimator(entry):
        entry["estimator"] = estimator

    epoch = (1, "epoch")
    log_report = extensions.LogReport(trigger=epoch, postprocess=name_estimator, log_name=None)
    trainer.extend(validation, name="validation", trigger=epoch, priority=300)
    trainer.extend(log_report, name="LogReport", priority=200)
    saver = Saver(files, settings.twins, meta, value_now)
    trainer.extend(saver, name="save", trigger=_end_of_epoch, priority=150)
    lines, bar = _nothing, _nothing
    if not settings.quiet:
        lines = EpochLines(settings.epochs, estimator)
        bar = ProgressBar(settings.epochs, updater.num_rows, settings.batch_size)
    trainer.extend(lines, name="PrintReport", trigger=epoch, priority=100)
    trainer.extend(bar, name="ProgressBar", trigger=(1, "iteration"), priority=50)
    return trainer


def write_graph(model, data, settings, path):
    """Write the computational graph of one loss to `path`, in Graphviz' dot language."""
    from chainer.computational_graph import build_computational_graph

    x = model.images(data.train[:2])
    source = BatchSource(stream(settings.seed, "pictures"), len(x), model.device)
    objective = settings.objective
    draws = draw(model.link, x, source.rows(slice(None)), settings.num_samples, objective)
    weights = objective.estimator(draws.log_w)
    graph = build_computational_graph([loss(model.link, draws, objective, weights)])
    with atomic_write(path) as temporary:
        temporary.write_text(graph.dump())


def _end_of_epoch(trainer):
    return trainer.updater.is_new_epoch


def _nothing(trainer):
    """In place of what is not shown, so that the snapshot's entries stay the same."""
