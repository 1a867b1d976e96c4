"""Files appear whole or not at all, and a run has its folder to itself."""

import csv
import errno
import glob
import json
import math
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

try:
    import fcntl
except ImportError:  # not on Windows, where nothing is locked
    fcntl = None  # type: ignore[assignment]

__all__ = [
    "FULL",
    "append_text",
    "atomic_write",
    "finite",
    "locked",
    "make_folders",
    "refuse_existing",
    "remove_leftovers",
    "write_csv",
    "write_json",
]

ENDING = ".unfinished"

# What a disk says that takes no more.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; it takes its place when the block succeeds.

    Parameters
    ----------
    path : str or Path
        The file to write; its folder is created when missing, and removed again on failure.

    Raises
    ------
    OSError
        When the folder cannot be created or written, or the disk is full; it names `path`.
    """
    path = Path(path)
    temporary = None
    with make_folders(path.parent):
        try:
            handle, temporary = tempfile.mkstemp(ENDING, f".{path.name}-", path.parent)
            os.close(handle)
            yield Path(temporary)
            os.chmod(temporary, 0o666 & ~_umask())
            os.replace(temporary, path)
        except BaseException as error:
            if temporary is not None:
                Path(temporary).unlink(missing_ok=True)
            cause = _cause(error, path)
            if cause is not None:
                raise OSError(*cause, str(path)) from None
            raise


def write_json(path: str | Path, value: Any) -> None:
    """Write a file of JSON, whole or not at all; numbers that are not finite are null.

    Raises
    ------
    OSError
        As `atomic_write`.
    """
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(finite(value), indent=1, allow_nan=False) + "\n")


def write_csv(
    path: str | Path, rows: Iterable[Mapping[str, Any]], keys: Sequence[str] | None = None
) -> None:
    """Write rows as a table, whole or not at all; numbers that are not finite are empty.

    Parameters
    ----------
    path : str or Path
    rows : iterable of dict
    keys : sequence of str, optional
        The columns; by default all that rows have. What else rows have is left out.

    Raises
    ------
    OSError
        As `atomic_write`.
    """
    rows = [finite(dict(row)) for row in rows]
    if keys is None:
        keys = list(dict.fromkeys(key for row in rows for key in row))
    with (
        atomic_write(path) as temporary,
        open(temporary, "w", newline="", encoding="utf-8") as file,
    ):
        lines = csv.DictWriter(file, keys, extrasaction="ignore", lineterminator="\n")
        lines.writeheader()
        lines.writerows(rows)


def refuse_existing(paths: Iterable[str | Path]) -> None:
    """Raise FileExistsError naming the first of these files that exists, for functions."""
    for path in paths:
        if os.path.lexists(path):
            raise FileExistsError(f"{path} exists: name another place or give overwrite=True")


def finite(value: Any) -> Any:
    """`value`, of dicts and lists, with None for every number that is not finite."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _cause(error, path):
    """(number, words) of the system for what went wrong with writing `path` itself, or None."""
    if isinstance(error, OSError) and error.errno and error.strerror:
        # One that names no file, or the temporary one, which means nothing to a user.
        names = [os.path.basename(str(name)) for name in (error.filename, error.filename2) if name]
        ours = not names or any(name.startswith(f".{path.name}-") for name in names)
        long = "errno = " in error.strerror  # HDF5's, of many lines
        words = os.strerror(error.errno) if long else error.strerror
        return (error.errno, words) if ours else None
    return _full(error) if isinstance(error, Exception) else None


def _full(error):
    """Why a disk takes no more, as it is somewhere in what a library made of it; or None."""
    while error is not None:
        said = re.search(r"(?:errno = |os error )(\d+)", str(error))  # HDF5's, safetensors'
        for number in (getattr(error, "errno", None), int(said[1]) if said else None):
            if number in FULL:
                return number, os.strerror(number)
        error = error.__cause__ or error.__context__
    return None


@contextmanager
def make_folders(folder: str | Path) -> Iterator[None]:
    """Make a folder and those above it; those that are empty after a failure are removed again."""
    folder = Path(folder)
    made = [each for each in (folder, *folder.parents) if not each.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        for each in made:
            with suppress(OSError):
                each.rmdir()
        raise


def append_text(path: str | Path, text: str) -> None:
    """Add to a file, all of `text` or nothing.

    Raises
    ------
    OSError
        It names `path`, which is as it was.
    """
    made = not os.path.lexists(path)
    try:
        with open(path, "ab", buffering=0) as file:
            length, data = os.fstat(file.fileno()).st_size, text.encode()
            try:
                while data:
                    data = data[file.write(data) :]
            except BaseException:
                file.truncate(length)
                raise
    except OSError as error:
        if made:
            Path(path).unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from None


def remove_leftovers(path: str | Path) -> None:
    """Remove what a killed process left of its unfinished writing of `path`."""
    path = Path(path)
    with suppress(OSError):
        for left in path.parent.glob(f".{glob.escape(path.name)}-*{ENDING}"):
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
