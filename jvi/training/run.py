"""A training run in its folder: alone there, and with true words for how it ended."""

import os
from contextlib import suppress

from jvi.files import locked, remove_leftovers
from jvi.training.checkpoints import check_output, files_of
from jvi.training.step import Diverged

__all__ = ["Ended", "run"]


class Ended(KeyboardInterrupt):
    """A run was interrupted; its text says what there is to continue from."""


def run(trainer, prefix, overwrite=False, continued=False):
    """Run a trainer that writes under a prefix.

    Parameters
    ----------
    trainer : chainer.training.Trainer
        From `jvi.training.trainer.build_trainer`.
    prefix : str or Path
    overwrite : bool
        Whether the first epoch may replace a model that is there.
    continued : bool
        Whether what is there is what the trainer goes on from.

    Raises
    ------
    ValueError
        Where another process trains under this prefix.
    FileExistsError, OSError
        As `check_output`.
    Diverged, Ended
        With what is left of the run.
    """
    files = files_of(prefix)
    made = [p for p in (files.folder, *files.folder.parents) if not p.exists()]
    files.folder.mkdir(parents=True, exist_ok=True)
    try:
        busy = f"{prefix} is being trained by another process: wait for it, or choose another -o"
        with locked(files.folder, busy):
            if not continued:
                check_output(prefix, overwrite)
            for path in files[1:]:
                remove_leftovers(path)
            _run(trainer, files, prefix, continued)
    finally:
        with suppress(OSError):  # folders that were made for nothing
            for folder in made:
                folder.rmdir()


def _run(trainer, files, prefix, continued):
    saver = trainer.get_extension("save")
    there = files.latest.exists()
    try:
        trainer.run(show_loop_exception_msg=False)
    except Diverged as error:
        if not saver.saved and not there:
            for path in (files.latest, files.meta):
                path.unlink(missing_ok=True)
        raise Diverged(f"{error}; {_good(saver, files)}; try a smaller --lr") from None
    except KeyboardInterrupt:
        raise Ended(_left(trainer, saver, prefix, there and not continued)) from None


def _good(saver, files):
    """What a run that diverged leaves to use."""
    if saver.selected:
        return f"the last good snapshot is {files.best}"
    if files.best.exists():
        return f"{os.fspath(files.best)} is as it was before"
    return "no epoch was finished"


def _left(trainer, saver, prefix, old_there):
    """What an interrupted run leaves to continue from."""
    if not saver.saved and old_there:
        return "interrupted in the first epoch: the model that was there is as it was"
    epoch = trainer.updater.epoch
    return f"interrupted after epoch {epoch}: continue with --resume {prefix}"
