"""Chainer's trainer for a run: order of the data, steps, validation, log and snapshots."""

from typing import NamedTuple

import chainer
import numpy as np
from chainer import training
from chainer.training import extensions

from jvi.datasets import observe_each
from jvi.datasets.dataset import BLOCK, check_likelihood
from jvi.engine.devices import on_host, training_pieces
from jvi.engine.random import BatchSource, stream
from jvi.engine.ranks import ranks
from jvi.engine.threads import parallel_map, shared_map
from jvi.evidence.bounds import iwae
from jvi.files import atomic_write
from jvi.training.average import averaged, restart
from jvi.training.checkpoints import SELECTED_BY, Saver, files_of
from jvi.training.learned import learner_for, value_of
from jvi.training.objective import (
    Objective,
    check_fit,
    draw,
    follow,
    for_link,
    loss,
    objective_for,
    reported,
    summarise,
)
from jvi.training.optimizers import CLIP, learning_rate, optimizer_for, set_learning_rate
from jvi.training.progress import EpochLines, ProgressBar
from jvi.training.schedules import CONSTANT, schedule
from jvi.training.step import Diverged, Step

__all__ = ["Settings", "build_trainer", "validate", "write_graph"]


FIRST = 128  # data points, at most, from which a model that depends on them is initialised

PREDICTIONS = 32  # draws of z, at least, that predictions of validation data are averaged over


class Settings(NamedTuple):
    """A training run, apart from its data and model; defaults are the original's.

    `lr` is the learning rate of a constant schedule; any other says its own.
    """

    objective: Objective = objective_for("vae")
    num_samples: int = 1
    optimizer: str = "smorms3"
    lr: float = 1e-4
    epochs: int = 1000
    batch_size: int = 8192
    seed: int = 0
    quiet: bool = False
    on_nan: str = "stop"  # or "skip": leave out batches that are not finite
    schedule: str = CONSTANT
    clip: float = CLIP  # norm to which longer gradients are scaled; 0 for none
    average: float = 0.0  # decay of the parameters' moving average, which is selected; 0 for none

    @property
    def rate(self):
        """The learning rate as a function of the epoch, the first is 0."""
        return schedule(self.schedule, self.lr).rate

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
        learner = learner_of(data, model, settings)
        optimizers = {"main": optimizer} | ({"learned": learner} if learner else {})
        super().__init__(iterator, optimizers, device=model.device)
        self.prefix, self.rate = "" if settings.twins else "main/", settings.rate
        self.fresh = not model.meta  # one that comes from a run has seen its first batch
        about = for_link(settings.objective, model.link), settings.num_samples, settings.seed
        self.step = Step(
            model, data, optimizer, *about, skip=settings.on_nan == "skip", learner=learner
        )

    def update_core(self):
        iterator = self.get_iterator("main")
        for optimizer in self.get_all_optimizers().values():
            set_learning_rate(optimizer, self.rate(iterator.epoch))
        rows = np.asarray(iterator.next())
        if self.fresh and self.iteration == 0 and hasattr(self.step.model.link, "initialise"):
            initialise(self.step, rows[:FIRST])
            restart(self.get_optimizer("main"))
        self.step(rows, self.iteration)
        if iterator.is_new_epoch:
            values = self.step.means()
            if not np.isfinite(list(values.values())).all():
                raise Diverged(
                    f"training diverged in epoch {iterator.epoch}, by iteration "
                    f"{self.iteration + 1}: what it reports is not finite (learning rate: "
                    f"{learning_rate(self.get_optimizer('main')):g})"
                )
            chainer.report({self.prefix + name: value for name, value in values.items()})


def initialise(step, rows):
    """Let a link set what depends on data from the `rows` of a step, observed as there."""
    model, rows = step.model, step.data.train[rows]
    rng, num_points = stream(step.seed, "initial parameters", 2), model.link.num_points(rows)
    source = BatchSource(rng, num_points, model.device)

    def run(rows):
        with chainer.no_backprop_mode():
            x = step.data.observe(model.device.send(rows), source)
            model.link.initialise(x, source.rows(slice(None)))

    list(parallel_map(run, [rows], model.device))  # for its single-threaded BLAS


def learner_of(data, model, settings):
    """The optimizer of what the estimator learns for itself, on the model's device, or None."""
    rng = stream(settings.seed, "initial parameters", 1)
    about = settings.optimizer, settings.rate(0)
    learner = learner_for(settings.objective.estimator, data.train, rng, *about)
    if learner is not None:
        learner.target.to_device(model.device)
    return learner


class _Order:
    """The order of an epoch's examples, a permutation that depends on (seed, epoch) alone."""

    def __init__(self, seed):
        self.seed, self.epoch = seed, 0

    def __call__(self, order, position):
        permutation = stream(self.seed, "order", self.epoch).permutation(len(order))
        self.epoch += 1
        return permutation


def validate(model, x, settings, learned=None):
    """What is reported of `x`, observed data points, under "validation/main/…".

    What is annealed is as at the end; what is learned, by the link `learned`, as it is now.
    The noise is the same at every call. `iwae` is minus the IWAE bound, by which the best epoch is
    chosen: unlike JVI's estimate no model can push it above log p(x). Of a model whose data share
    one latent it is minus the log of the mean of p(row|z) instead, on average over rows.
    """
    if hasattr(model.link, "log_likelihood_rows"):
        return _predicted(model, x, settings)
    objective, now = settings.objective.of_validation, settings.objective.at_last
    pieces = training_pieces(len(x), settings.num_samples, model.device, model.link)

    def values(number):
        rows = model.images(model.device.send(x[pieces[number]]))
        rng = stream(settings.seed, "validation noise", number)
        source = BatchSource(rng, len(rows), model.device).rows(slice(None))
        with chainer.no_backprop_mode():
            draws = draw(model.link, rows, source, settings.num_samples, objective, now)
            _, found = value_of(learned, objective.estimator.learned, rows)
        bound, _ = follow(draws, objective, now | found)
        return reported(objective, draws.terms, bound) | {
            "iwae": -iwae(draws.log_w, check_finite=False)
        }

    parts = shared_map(values, range(len(pieces)), model.device)
    xp = model.device.xp
    means = summarise({name: xp.concatenate([p[name] for p in parts]) for name in parts[0]})
    return {f"validation/main/{name}": float(value) for name, value in means.items()}


def _predicted(model, x, settings):
    """`validate` for a model that predicts rows with what it learned from others."""
    x = model.images(model.device.send(x))
    source = BatchSource(stream(settings.seed, "validation noise", 0), 1, model.device)
    with chainer.no_backprop_mode():
        z, _ = model.link.draw(model.link.infer(x), source, max(settings.num_samples, PREDICTIONS))
    values = iwae(model.link.log_likelihood_rows(x, z), check_finite=False)
    means = dict.fromkeys(("obj", "iwae"), -float(values.mean()))
    return {f"validation/main/{name}": value for name, value in means.items()}


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
    settings = settings._replace(objective=for_link(settings.objective, model.link))
    check_fit(settings.objective, model.link, settings.num_samples)
    if settings.on_nan == "skip" and not on_host(model.device):
        raise ValueError("--on-nan skip needs the CPU: a GPU's steps do not wait to be looked at")
    check_likelihood(data, model.link)
    for part in (data.train, data.validation):
        _check_rows(model, data, part, settings.seed)
    _check_ranks(model, data, settings)
    about = settings.optimizer, settings.rate(0), model.link, settings.clip, settings.average
    optimizer = optimizer_for(*about)
    updater = Updater(data, model, optimizer, settings)
    files = files_of(prefix)
    trainer = training.Trainer(updater, (settings.epochs, "epoch"), out=str(files.folder))
    held_out = observe_each(data, data.validation, settings.seed)
    estimator = str(settings.objective.estimator)

    def validated():
        with averaged(optimizer):
            return validate(model, held_out, settings, updater.step.learned)

    def value_now():
        return validated()[SELECTED_BY]

    def validation(trainer):
        ranks().agree(parameters=[each.array for each in model.link.params()])
        chainer.report(validated())

    def complete(entry):
        entry["estimator"], entry["lr"] = estimator, learning_rate(optimizer)

    epoch = (1, "epoch")
    log_report = extensions.LogReport(trigger=epoch, postprocess=complete, log_name=None)
    trainer.extend(validation, name="validation", trigger=epoch, priority=300)
    trainer.extend(log_report, name="LogReport", priority=200)
    saver = Saver(files, settings.twins, meta, value_now)
    trainer.extend(saver, name="save", trigger=_end_of_epoch, priority=150)
    lines, bar = _nothing, _nothing
    if not settings.quiet and ranks().rank == 0:
        lines = EpochLines(settings.epochs, estimator, data.unit)
        bar = ProgressBar(settings.epochs, updater.num_rows, settings.batch_size)
    trainer.extend(lines, name="PrintReport", trigger=epoch, priority=100)
    trainer.extend(bar, name="ProgressBar", trigger=(1, "iteration"), priority=50)
    return trainer


def _check_ranks(model, data, settings):
    """Refuse what cannot be split over ranks by data points."""
    size, batch = ranks().size, min(settings.batch_size, len(data.train))
    if size > 1 and model.link.num_points(data.train[:2]) == 1:
        raise ValueError(
            f"all rows share one z of {model.link.spec.name}, which {size} processes cannot split: "
            "start one process"
        )
    if batch < size:
        raise ValueError(
            f"a batch of {batch} cannot be split over {size} processes: start fewer, or give a "
            "larger batch size"
        )


def _check_rows(model, data, rows, seed):
    """Refuse rows that a model does not take; bytes, which are none yet, as they are observed."""
    if rows.dtype != np.uint8:
        model.images(rows)
        return
    for start in range(0, len(rows), BLOCK):
        model.images(observe_each(data, rows[start : start + BLOCK], seed, start))


def write_graph(model, data, settings, path):
    """Write the computational graph of one loss to `path`, in Graphviz' dot language."""
    from chainer.computational_graph import build_computational_graph

    x = model.images(observe_each(data, data.train[:2], settings.seed))
    source = BatchSource(stream(settings.seed, "pictures"), len(x), model.device)
    objective = settings.objective
    learner, now = learner_of(data, model, settings), objective.at_last
    if learner is not None:
        now = now | value_of(learner.target, objective.estimator.learned, x)[1]
    draws = draw(model.link, x, source.rows(slice(None)), settings.num_samples, objective, now)
    _, weights = follow(draws, objective, now)
    graph = build_computational_graph([loss(model.link, draws, objective, weights)])
    with atomic_write(path) as temporary:
        temporary.write_text(graph.dump())


def _end_of_epoch(trainer):
    return trainer.updater.is_new_epoch


def _nothing(trainer):
    """In place of what is not shown, so that the snapshot's entries stay the same."""
