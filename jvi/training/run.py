"""A training run in its folder: alone there, and with true words for how it ended."""

from contextlib import contextmanager

from jvi.compat.arrays import read_arrays
from jvi.engine.ranks import ranks
from jvi.files import locked, make_folders, remove_leftovers
from jvi.training.checkpoints import check_output, files_of
from jvi.training.step import Diverged

__all__ = ["Ended", "alone", "run"]


class Ended(KeyboardInterrupt):
    """A run was interrupted; its text says what there is to continue from."""


def run(trainer, prefix, overwrite=False, in_place=False, begin=None):
    """Run a trainer that writes under a prefix.

    Parameters
    ----------
    trainer : chainer.training.Trainer
        From `jvi.training.trainer.build_trainer`.
    prefix : str or Path
    overwrite : bool
        Whether the first epoch may replace a model that is there.
    in_place : bool
        Whether what is there is what the trainer goes on from.
    begin : callable, optional
        Called without arguments when the folder is this run's alone.

    Raises
    ------
    ValueError
        Where another process trains under this prefix, or has done so since it was read; or where
        the ranks of this run do not have the same data, options, parameters or versions.
    FileExistsError, OSError
        As `check_output`.
    Diverged, Ended
        With what is left of the run.
    """
    files = files_of(prefix)
    ranks().agree(**_facts(trainer))
    with alone(prefix):
        if ranks().rank == 0:
            if in_place:
                _check_unchanged(trainer, files)
            else:
                check_output(prefix, overwrite)
            if begin is not None:
                begin()
        _run(trainer, files, prefix, in_place)
        ranks().agree()  # so that its files are there for all


def _facts(trainer):
    """What all ranks must have in common."""
    step, meta = trainer.updater.step, trainer.get_extension("save").meta
    return {
        "options": sorted(meta.items(), key=str),
        "data": [step.data.train, step.data.validation],
        "parameters": [each.array for each in step.model.link.params()],
        "epochs so far": [trainer.updater.iteration],
    }


@contextmanager
def alone(prefix):
    """Hold the folder of a prefix for this run, without what killed ones left there: rank 0 does.

    Raises
    ------
    ValueError
        Where another process trains under this prefix.
    """
    ranks().agree()  # all have looked at what is there
    if ranks().rank:
        yield
        return
    files = files_of(prefix)
    busy = f"{prefix} is being trained by another process: wait for it, or choose another -o"
    with make_folders(files.folder), locked(files.folder, busy):
        for path in files[1:]:
            remove_leftovers(path)
        yield


ITERATION = "updater/iteration"


def _check_unchanged(trainer, files):
    """Refuse to go on from an older state than what is there by now."""
    if files.latest.exists():
        there = read_arrays(files.latest, lambda name: name == ITERATION).get(ITERATION)
        if there is None or int(there) != trainer.updater.iteration:
            raise ValueError(f"{files.latest} has changed since it was read: try again")


def _run(trainer, files, prefix, in_place):
    saver = trainer.get_extension("save")
    there = any(path.exists() for path in files[1:])
    older = there and not in_place and trainer.updater.iteration == 0
    try:
        trainer.run(show_loop_exception_msg=False)
    except Diverged as error:
        if not saver.saved and not there and ranks().rank == 0:
            for path in (files.latest, files.meta):
                path.unlink(missing_ok=True)
        raise Diverged(f"{error}; {_good(saver, files)}; try a smaller --lr") from None
    except (KeyboardInterrupt, Exception) as error:
        if not _interrupted(error):
            raise
        raise Ended(_left(saver, files, prefix, older)) from None


def _interrupted(error):
    """Whether an error is an interruption, or what a library raised as it ended for one."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return error is not None


def _good(saver, files):
    """What a run that diverged leaves to use."""
    if saver.selected:
        return f"the last good snapshot is {files.best}"
    if files.best.exists():
        return f"{files.best} is as it was before"
    return "no epoch was finished"


def _left(saver, files, prefix, older):
    """What an interrupted run leaves to continue from."""
    if older and not saver.saved:
        return "interrupted in the first epoch: the model that was there is as it was"
    if not files.latest.exists():
        return "interrupted before anything was written"
    return f"interrupted after epoch {saver.epoch}: continue with --resume {prefix}"
