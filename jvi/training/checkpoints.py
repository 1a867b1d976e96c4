"""What a training run writes, and how it is continued from there."""

import json
import math
import os
import shutil
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np
from chainer import serializers

from jvi.compat.meta import dump_meta
from jvi.compat.snapshot import from_original, to_original
from jvi.engine.ranks import ranks
from jvi.files import atomic_write
from jvi.training.average import selected, with_averages
from jvi.training.step import Diverged

__all__ = [
    "SELECTED_BY",
    "RunFiles",
    "Saver",
    "check_output",
    "files_of",
    "log_of",
    "resume",
    "take_over",
]

SELECTED_BY = "validation/main/iwae"


class RunFiles(NamedTuple):
    """What a run writes."""

    folder: Path
    log: Path
    best: Path
    latest: Path
    meta: Path
    perf: Path


def files_of(prefix):
    """The `RunFiles` of a run with this prefix; a trailing slash does not matter."""
    folder = Path(prefix)
    return RunFiles(
        folder,
        folder / "log",
        folder / "snapshot_bestvalobj",
        folder / "snapshot_latest",
        folder.with_name(f"{folder.name}.meta.yaml"),
        folder.with_name(f"{folder.name}.perf"),
    )


def check_output(prefix, overwrite=False):
    """Refuse, before any work, a prefix that cannot be written or has a model already.

    Nothing is made or removed: `overwrite` only lets an old model be, which the first epoch of the
    new one replaces.

    Raises
    ------
    ValueError, FileExistsError, OSError
        Naming the prefix and what to do.
    """
    folder = Path(prefix)
    if folder.name in ("", "..") or "\0" in str(prefix):
        raise ValueError(f"-o {str(prefix)!r} names no model: give it a name, as models/first")
    files = files_of(prefix)
    old = [path for path in files[1:] if os.path.lexists(path)]
    if old and not overwrite:
        raise FileExistsError(
            f"{old[0]} exists: choose another -o, continue it with --resume {prefix}, "
            "or give --overwrite"
        )
    strange = [path for path in old if path.is_symlink() or not path.is_file()]
    if strange:
        raise ValueError(f"{strange[0]} is no ordinary file: choose another -o")
    there = next(parent for parent in (files.folder, *files.folder.parents) if parent.exists())
    for place in {there, there if there != files.folder else there.parent}:
        if not place.is_dir():
            raise NotADirectoryError(f"{place} is not a folder: choose another -o")
        if not os.access(place, os.W_OK | os.X_OK):
            raise PermissionError(f"{place} cannot be written to: choose another -o")


def resume(trainer, arrays):
    """Continue from the arrays of a snapshot, ours or the original's.

    Every entry is compared with what the run has in its place: kernels trust shapes. Averages of
    the parameters that the snapshot does not have begin at its parameters.

    Raises
    ------
    ValueError
        When the snapshot does not fit the run, another data set, model or optimizer, or says what
        cannot be.
    """
    state = from_original(arrays)
    updater, key = trainer.updater, "updater/iterator:main/order"
    order = state.get(key)
    if order is None or order.ndim != 1 or order.dtype.kind not in "iu":
        raise ValueError(f"the snapshot's {key} is no order of data points")
    if len(order) != updater.num_rows:
        raise ValueError(
            f"the snapshot was trained on {len(order)} images, this data set has {updater.num_rows}"
        )
    if not np.array_equal(np.sort(order), np.arange(len(order))):
        raise ValueError(f"the snapshot's {key} is not every data point once")
    state = with_averages(state, updater.get_optimizer("main"))
    _check_entries(state, trainer)
    _check_counters(state)
    try:
        serializers.NpzDeserializer(state, strict=True).load(trainer)
    except KeyError as error:
        raise ValueError(f"the snapshot has no entry {error.args[0]}") from None
    updater.order_sampler.epoch = updater.epoch + 1
    updater.fresh = updater.iteration == 0


def _check_entries(state, trainer):
    """Refuse arrays of another shape or type than those of the same name in a run."""
    optimizers = trainer.updater.get_all_optimizers()
    parameters = [(k, *each) for k, o in optimizers.items() for each in o.target.namedparams()]
    for kind, name, parameter in parameters:
        needed = {f"updater/model:{kind}{name}": parameter.array}
        for entry, value in (parameter.update_rule.state or {}).items():
            needed[f"updater/optimizer:{kind}{name}/{entry}"] = value
        for key, array in needed.items():
            if key not in state:
                raise ValueError(f"the snapshot has no entry {key}: is it another optimizer's?")
            found = np.asarray(state[key])
            if found.shape != array.shape or found.dtype != array.dtype:
                raise ValueError(
                    f"the snapshot's {key} has shape {found.shape} and type {found.dtype}, but "
                    f"{array.shape} and {array.dtype} are needed"
                )


COUNTERS = (
    "updater/iteration",
    "updater/optimizer:main/t",
    "updater/optimizer:main/epoch",
    "updater/iterator:main/current_position",
    "updater/iterator:main/epoch",
)


def _check_counters(state):
    """Refuse counters that are no whole number from 0 on, or a position outside the data."""
    for key in COUNTERS:
        value = state.get(key)
        if value is None or value.ndim or value.dtype.kind not in "iu" or value < 0:
            raise ValueError(f"the snapshot's {key} is no whole number from 0 on")
    position = "updater/iterator:main/current_position"
    if state[position] > len(state["updater/iterator:main/order"]):
        raise ValueError(f"the snapshot's {position} lies outside the data set")


def take_over(trainer, source, prefix, meta):
    """Copy what a trainer goes on from to another prefix; all of it or nothing.

    Parameters
    ----------
    trainer : chainer.training.Trainer
        After `resume`.
    source : jvi.models.files.ModelFiles
    prefix : str or Path
    meta : dict
        The training arguments from now on.

    Raises
    ------
    OSError
        Naming the file that could not be written.
    """
    old, new = files_of(source.prefix), files_of(prefix)
    pairs = ((source.path, new.latest), (old.best, new.best), (old.perf, new.perf))
    texts = {new.log: json.dumps(log_of(trainer), indent=4), new.meta: dump_meta(meta)}
    with ExitStack() as files:
        for before, after in pairs:
            if before.exists():
                shutil.copyfile(before, files.enter_context(atomic_write(after)))
        for path, text in texts.items():
            files.enter_context(atomic_write(path)).write_text(text)
    for before, after in pairs:
        if not before.exists():  # an older model's
            after.unlink(missing_ok=True)


class Saver:
    """After each epoch writes the latest snapshot, and the best one when it is the best.

    In the best one averages of the parameters, where there are any, are the parameters.

    Before the first epoch, too, the latest one, so that there is something to continue from
    whenever a run is interrupted; but what is there already is only replaced by a whole epoch.

    Parameters
    ----------
    files : RunFiles
    twins : bool
        Whether the original would have trained this with two optimizers, and kept all twice.
    meta : dict
        The training arguments.
    value_now : callable
        Without arguments: what the model is selected by, as the model is.

    Attributes
    ----------
    best : float
        The best value so far, of this run and those that it continues.
    epoch : int
        Of the latest snapshot.
    saved, selected : bool
        Whether this run has written an epoch's snapshot; and one that was the best.
    """

    def __init__(self, files, twins, meta, value_now):
        self.files, self.twins, self.meta = files, twins, meta
        self.value_now, self.best, self.epoch = value_now, math.inf, 0
        self.saved = self.selected = False

    def initialize(self, trainer):
        """The best value so far of a continued run: from its log, or that of the model as it is."""
        self.epoch = trainer.updater.epoch
        if trainer.updater.iteration and ranks().first(self.files.best.exists()):
            known = [entry[SELECTED_BY] for entry in log_of(trainer) if SELECTED_BY in entry]
            self.best = min(known) if known else self.value_now()
        older = self.files[1:] if trainer.updater.iteration == 0 else [self.files.latest]
        if not any(map(os.path.lexists, older)):
            self._write(trainer, {self.files.latest: self._original(_state(trainer))})

    def __call__(self, trainer):
        value = log_of(trainer)[-1][SELECTED_BY]
        if not math.isfinite(value):
            raise Diverged(f"training diverged: the validation bound is {value}")
        better, state = value < self.best, _state(trainer)
        # The latest first: of files that are written together it is the last to appear, so that
        # what is interrupted before it is done again.
        log = json.dumps(log_of(trainer), indent=4)
        contents = {self.files.latest: self._original(state), self.files.log: log}
        if better:
            best = self._original(selected(state))
            contents |= {self.files.perf: f"{value:f}", self.files.best: best}
        self._write(trainer, contents)
        if better:
            self.best, self.selected = value, True
        self.saved = True

    def _original(self, state):
        return to_original(state, self.twins)

    def _write(self, trainer, contents):
        """Write files together: none of them where the disk is full; rank 0 does."""
        contents = {**contents, self.files.meta: dump_meta(self.meta)}
        with ExitStack() as files:
            for path, content in contents.items() if ranks().rank == 0 else ():
                temporary = files.enter_context(atomic_write(path))
                if isinstance(content, str):
                    temporary.write_text(content)
                else:
                    with open(temporary, "wb") as file:
                        np.savez(file, **content)
        self.epoch = trainer.updater.epoch


def _state(trainer):
    return serializers.npz.serialize(trainer)


def log_of(trainer):
    """The entries of a trainer's log, one for each epoch."""
    return trainer.get_extension("LogReport").log
