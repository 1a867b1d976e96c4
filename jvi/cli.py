"""What all commands share: one-line errors, and values from options."""

import functools
import os
import signal
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

__all__ = ["check_outputs", "command", "dataset_name", "distinct", "number", "numbers"]


def command(main: Callable) -> Callable:
    """Make a user's mistake end in one line on stderr and exit status 1, without a traceback."""

    @functools.wraps(main)
    def run(argv=None):
        with suppress(ValueError):  # only the main thread can be told
            signal.signal(signal.SIGTERM, _terminate)
        try:
            main(argv)
        except BrokenPipeError:  # the reader, say `head`, has seen enough
            sys.stdout = None
            sys.exit(1)
        except (ValueError, OSError, ArithmeticError, ImportError, MemoryError) as error:
            sys.exit(f"error: {_one_line(error)}")
        except KeyboardInterrupt as stop:
            print(f"{stop}" or "interrupted", file=sys.stderr)
            sys.exit(143 if _terminated else 130)

    return run


_terminated: list[int] = []  # the signal, once it was received


def _terminate(number, frame):
    """A request to end is obeyed like Ctrl-C, and told from it by the exit status, 143."""
    _terminated.append(number)
    raise KeyboardInterrupt


def _one_line(error):
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return " ".join(str(error).split()) or type(error).__name__


def check_outputs(
    new: Iterable[str | Path | None], overwrite: bool, appended: str | Path | None = None
) -> None:
    """Refuse, before the work, files that could not be written after it.

    `new` are paths of files to make, `appended` is one to add to; None is none.

    Raises
    ------
    OSError, ValueError
        For a folder, a file in no folder that can be written to, one that exists where `overwrite`
        is False, or the same file twice.
    """
    new = [Path(path) for path in new if path is not None]
    paths = new if appended is None else [*new, Path(appended)]
    for i, path in enumerate(paths):
        if path.is_dir():
            raise IsADirectoryError(f"{path} is a folder: name a file")
        if not (path.parent.is_dir() and os.access(path.parent, os.W_OK)):
            raise PermissionError(f"{path.parent} is no folder that can be written to")
        if path.resolve() in [other.resolve() for other in paths[:i]]:
            raise ValueError(f"{path} is named for two outputs: name another file for one of them")
    for path in new:
        if path.exists() and not overwrite:
            raise FileExistsError(f"{path} exists: name another file or give --overwrite")
    if appended is not None and os.path.exists(appended) and not os.access(appended, os.W_OK):
        raise PermissionError(f"{appended} cannot be written to: name another file")


def dataset_name(wanted: str | None, files: Any) -> str:
    """The data set `wanted`, given with -d, or else the one that a model's files name."""
    name = wanted or files.meta.get("--dataset")
    if name is None:
        raise ValueError(
            f"{files.prefix} does not say what it was trained on: give the data set with -d"
        )
    return name


def number(
    arguments: Mapping[str, Any], option: str, kind: type = int, least: float | None = None
) -> Any:
    """The value of a numeric option.

    Raises
    ------
    ValueError
        When it is no number of that kind or less than `least`.
    """
    return _number(arguments[option], option, kind, least)


def numbers(
    arguments: Mapping[str, Any], option: str, kind: type = int, least: float | None = None
) -> list:
    """The values of an option that takes numbers, all different, separated by commas."""
    texts = arguments[option].split(",")
    return distinct((_number(text, option, kind, least) for text in texts), option)


def distinct(values: Iterable[Any], option: str) -> list:
    """`values` as a list; ValueError where one of them occurs twice."""
    values = list(values)
    for i, value in enumerate(values):
        if value in values[:i]:
            raise ValueError(f"{option} has {value} twice")
    return values


def _number(text, option, kind, least):
    try:
        value = kind(text)
    except ValueError:
        what = "a whole number" if kind is int else "a number"
        raise ValueError(f"{option} must be {what}, not {text!r}") from None
    if least is not None and not value >= least:
        raise ValueError(f"{option} must be at least {least}, not {text}")
    return value
