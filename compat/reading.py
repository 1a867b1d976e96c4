"""The one door: every file that is read is opened here.

A name can lead to something else than a file: a FIFO waits for ever, a device has no end, and what
lies in /proc is made up while it is read. Those are refused by name; a link to a file is as good as
the file.
"""

import errno
import os
import stat

__all__ = ["present", "read_file", "stamp"]

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
_MADE_UP = {os.stat(place).st_dev for place in ("/proc", "/sys") if os.path.ismount(place)}

# Opening what became a FIFO or terminal since we looked neither waits nor takes it over.
_FLAGS = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)


def present(path):
    """Whether anything has this name, be it only a link to nowhere, which reading then names."""
    return os.path.lexists(path)


def read_file(path, most):
    """The content of an ordinary file as it was at one moment.

    Parameters
    ----------
    path : str or Path
    most : int
        Bytes that it may have.

    Returns
    -------
    bytes

    Raises
    ------
    FileNotFoundError
        When there is no such file.
    ValueError
        When it is no ordinary file, is longer, cannot be read, or changes meanwhile; the message
        begins with the path.
    """
    try:
        _check_ordinary(path, os.stat(path))
        with open(path, "rb", opener=_open) as file:
            before = os.fstat(file.fileno())
            _check_ordinary(path, before)
            if before.st_size > most:
                raise ValueError(f"{path}: {before.st_size} bytes, at most {most} are read")
            content = file.read(before.st_size)
            after = os.fstat(file.fileno())
    except OSError as error:
        raise _sentence(path, error) from None
    if len(content) != before.st_size or _stamp(before) != _stamp(after):
        raise ValueError(f"{path}: was changed while it was read: try again")
    return content


def stamp(path):
    """What tells two states of a file apart without reading it; None where there is none."""
    try:
        return _stamp(os.stat(path))
    except (OSError, ValueError):
        return None


def _open(path, flags):
    return os.open(path, flags | _FLAGS)


def _check_ordinary(path, found):
    kind = _KINDS.get(stat.S_IFMT(found.st_mode))
    if kind is None and found.st_dev in _MADE_UP:
        kind = "made up by the system"
    if kind:
        raise ValueError(f"{path}: is {kind}, not an ordinary file")


def _stamp(found):
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _sentence(path, error):
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return FileNotFoundError(f"{path}: no such file")
    return ValueError(f"{path}: cannot be read ({error.strerror or type(error).__name__})")
