"""What all commands share: one-line errors, numbers from options, tables."""

import functools
import os
import sys
from pathlib import Path

__all__ = ["check_outputs", "command", "dataset_name", "distinct", "number", "numbers", "table"]


def command(main):
    """Make a user's mistake end in one line on stderr and exit status 1, without a traceback."""

    @functools.wraps(main)
    def run(argv=None):
        try:
            main(argv)
        except BrokenPipeError:  # the reader, say `head`, has seen enough
            sys.stdout = None
            sys.exit(1)
        except (ValueError, OSError, ArithmeticError, ImportError, MemoryError) as error:
            sys.exit(f"error: {_one_line(error)}")
        except KeyboardInterrupt:
            sys.exit(130)

    return run


def _one_line(error):
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return " ".join(str(error).split()) or type(error).__name__


def check_outputs(new, overwrite, appended=None):
    """Refuse, before the work, files that could not be written after it.

    `new` are paths of files to make, `appended` is one to add to; None is none.

    Raises
    ------
    OSError, ValueError
        For a folder, a file in no folder that can be written to, one that exists where `overwrite`
        is False, or the same file twice.
    """
    paths = [Path(path) for path in (*new, appended) if path is not None]
    for i, path in enumerate(paths):
        if path.is_dir():
            raise IsADirectoryError(f"{path} is a folder: name a file")
        if not (path.parent.is_dir() and os.access(path.parent, os.W_OK)):
            raise PermissionError(f"{path.parent} is no folder that can be written to")
        if path.resolve() in [other.resolve() for other in paths[:i]]:
            raise ValueError(f"{path} is named for two outputs: name another file for one of them")
    for path in map(Path, (path for path in new if path is not None)):
        if path.exists() and not overwrite:
            raise FileExistsError(f"{path} exists: name another file or give --overwrite")
    if appended is not None and os.path.exists(appended) and not os.access(appended, os.W_OK):
        raise PermissionError(f"{appended} cannot be written to: name another file")


def dataset_name(arguments, files):
    """The data set asked for with -d, or else the one that a model (its files) was trained on."""
    name = arguments["--dataset"] or files.meta.get("--dataset")
    if name is None:
        raise ValueError(
            f"{files.prefix} does not say what it was trained on: give the data set with -d"
        )
    return name


def number(arguments, option, kind=int, least=None):
    """The value of a numeric option.

    Raises
    ------
    ValueError
        When it is no number of that kind or less than `least`.
    """
    return _number(arguments[option], option, kind, least)


def numbers(arguments, option, kind=int, least=None):
    """The values of an option that takes numbers, all different, separated by commas."""
    texts = arguments[option].split(",")
    return distinct((_number(text, option, kind, least) for text in texts), option)


def distinct(values, option):
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


def table(rows, header):
    """Rows of text as lines of right-aligned columns, the first one left-aligned."""
    rows = [header, *rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(header))]
    return "\n".join(
        "  ".join(
            cell.ljust(w) if i == 0 else cell.rjust(w)
            for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )
