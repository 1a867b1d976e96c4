"""Files appear whole or not at all, and a run has its folder to itself."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # not on Windows, where nothing is locked
    fcntl = None  # type: ignore[assignment]

__all__ = ["atomic_write", "locked", "remove_leftovers"]

ENDING = ".unfinished"


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; it takes its place when the block succeeds.

    Parameters
    ----------
    path : str or Path
        The file to write; its folder is created when missing.

    Raises
    ------
    OSError
        When the folder cannot be created or written, or the disk is full; it names `path`.
    """
    path = Path(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(ENDING, f".{path.name}-", path.parent)
        os.close(handle)
        yield Path(temporary)
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        if isinstance(error, OSError) and error.strerror and _is_ours(error, temporary):
            raise type(error)(error.errno, error.strerror, str(path)) from None
        raise


def _is_ours(error, temporary):
    """Whether an error names no file, or the temporary one, which means nothing to a user."""
    return error.filename is None or str(error.filename) == temporary


def remove_leftovers(path: str | Path) -> None:
    """Remove what a killed process left of its unfinished writing of `path`."""
    path = Path(path)
    with suppress(OSError):
        for left in path.parent.glob(f".{path.name}-*{ENDING}"):
            left.unlink(missing_ok=True)


@contextmanager
def locked(folder: str | Path, message: str) -> Iterator[None]:
    """Hold a folder for this process alone; the system lets go of it however the process ends.

    Raises
    ------
    ValueError
        With `message`, where another process holds it.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        if fcntl is not None:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ValueError(message) from None
        yield
    finally:
        os.close(handle)


def _umask():
    """The process's umask, which can only be read by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
