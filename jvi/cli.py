"""What all commands share: one-line errors, values from options, and what may be written."""

import functools
import os
import re
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from docopt import DocoptExit, docopt

from jvi.files import FULL
from jvi.spec import number_of

__all__ = [
    "UsageError",
    "among",
    "arguments_of",
    "asked",
    "check_effects",
    "check_outputs",
    "command",
    "data_note",
    "dataset_name",
    "distinct",
    "fields",
    "model_files",
    "number",
    "numbers",
    "seed",
]

LARGEST = 10**9  # of whole numbers, where nothing else is said

# Options that say how much memory is needed, of whichever command.
SIZES = ("--batchsize", "--vae-samples", "--samples", "--ais-chains", "--nhidden", "--images")

ERRORS = (ValueError, OSError, ArithmeticError, ImportError)


class UsageError(ValueError):
    """What was typed cannot be meant: exit status 2, as for anything that a shell calls misuse."""


def command(main: Callable) -> Callable:
    """Make a user's mistake end in one line on stderr, without a traceback.

    The exit status is 2 for what was typed wrongly (then the usage follows where the words as such
    are wrong), 130 or 143 after Ctrl-C or SIGTERM, and 1 for everything else.
    """

    @functools.wraps(main)
    def run(argv=None):
        _begin()
        try:
            main(argv)
            if sys.stdout is not None:
                sys.stdout.flush()
        except BrokenPipeError:  # the reader, say `head`, has seen enough
            sys.stdout = None
            sys.exit(1)
        except DocoptExit as error:
            _misused(_mistake(error), error.usage)
        except UsageError as error:
            _misused(_one_line(error))
        except MemoryError as error:
            sys.exit(f"error: {_out_of_memory(error, main)}")
        except ERRORS as error:
            sys.exit(f"error: {_one_line(error)}")
        except RuntimeError as error:
            if "start new thread" not in str(error):
                raise
            sys.exit("error: the system does not allow another thread: end other programs")
        except KeyboardInterrupt as stop:
            print(f"{stop}" or "interrupted", file=sys.stderr)
            sys.exit(143 if _terminated else 130)

    return run


_terminated: list[int] = []  # the signal, once it was received


def _begin():
    with suppress(ValueError):  # only the main thread can be told
        signal.signal(signal.SIGTERM, _terminate)
    for stream in (sys.stdout, sys.stderr):  # a terminal without ± does not end an evaluation
        with suppress(AttributeError):
            stream.reconfigure(errors="backslashreplace")


def _terminate(number, frame):
    """A request to end is obeyed like Ctrl-C, and told from it by the exit status, 143."""
    _terminated.append(number)
    raise KeyboardInterrupt


def _misused(line, usage=""):
    print(f"error: {line}", *([usage.rstrip()] if usage else []), sep="\n", file=sys.stderr)
    stop = SystemExit(f"error: {line}")
    stop.code = 2
    raise stop from None


def _one_line(error):
    if isinstance(error, OSError) and error.strerror:
        unnamed = _stdout_is_lost() or error.errno in FULL  # every other file is named
        where = error.filename or ("standard output" if unnamed else "")
        return _printable(f"{where}: {error.strerror}" if where else error.strerror)
    return _printable(str(error)) or type(error).__name__


def _printable(text):
    """Text from anywhere in one line: names of files can hold what moves a terminal's cursor."""
    words = " ".join(text.split())
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in words)


def _stdout_is_lost():
    """Whether what was printed has no place; then nothing tries again when Python ends."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        sys.stdout = None
        return True
    return False


def _out_of_memory(error, main):
    known = sys.modules[main.__module__].__doc__ or ""
    options = " or ".join(option for option in SIZES if f"{option} <" in known)
    what = _printable(str(error))
    advice = f": give a smaller {options}" if options else ""
    return f"not enough memory{f' ({what})' if what else ''}{advice}"


def _mistake(error):
    """What docopt found, in words; it prints its own objects where it finds too much."""
    line = str(error).partition("\n")[0]
    if "unmatched" not in line:
        return "an argument is missing" if line.startswith("Usage:") else _printable(line)
    found = re.findall(r"Option\((?:None|'(.*?)'), (?:None|'(.*?)')|Argument\(None, (.*?)\)", line)
    options = [_printable(long or short) for short, long, _ in found if long or short]
    if options:
        return f"{', '.join(options)}: unknown, given twice, or not to be combined with the rest"
    words = ", ".join(_printable(word) for *_, word in found)
    return f"{words}: a word too many, or one is missing"


def arguments_of(doc: str, argv: list[str] | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """(all arguments that a usage text has, those that stand on the command line), by name.

    Raises
    ------
    UsageError
        For an empty text.
    docopt.DocoptExit
        For anything that the usage does not have.
    """
    values = docopt(doc, argv)
    without_defaults = docopt(re.sub(r"\s*\[default: .*?\]", "", doc), argv)
    given = {name: v for name, v in without_defaults.items() if v is not None and v is not False}
    for name, value in given.items():
        if value == "":
            raise UsageError(f"{name} is empty: give it a value")
        if isinstance(value, str) and "\0" in value:
            raise UsageError(f"{name} has a NUL character, which no name or number has")
    return dict(values), given


@contextmanager
def asked(option: str = "") -> Iterator[None]:
    """A ValueError in this block is about what was typed, after `option`: a `UsageError`."""
    try:
        yield
    except UsageError:
        raise
    except ValueError as error:
        text = str(error)
        raise UsageError(text if option in text else f"{option}: {text}") from None


def check_effects(given: Iterable[str], options: Iterable[str], used: bool, where: str) -> None:
    """Refuse options on the command line that change nothing, which was hardly meant.

    Parameters
    ----------
    given : iterable of str
        What stands on the command line.
    options : iterable of str
        What may be without effect.
    used : bool
        Whether it has one.
    where : str
        With what it would have one.

    Raises
    ------
    UsageError
        Naming the option.
    """
    idle = [option for option in options if option in given and not used]
    if idle:
        raise UsageError(f"{idle[0]} has no effect here: it is for {where}")


def check_outputs(
    outputs: Mapping[str, Any],
    overwrite: bool,
    appended: Mapping[str, Any] | None = None,
    *,
    inputs: Iterable[str | Path] = (),
    data: tuple[str | None, str | None] = (None, None),
    folders: bool = False,
) -> None:
    """Refuse, before the work, files that could not or must not be written after it.

    Parameters
    ----------
    outputs, appended : mapping from option to path or list of paths
        Files to make, and files to add to; None is none.
    overwrite : bool
        Whether files to make may exist.
    inputs : iterable of path
        Files that are written to in no case, `overwrite` or not, whether they exist or not: those
        of the model.
    data : (str or None, str or None)
        The data set and the folder of data sets as given, which are no place to write to, either.
    folders : bool
        Whether missing folders are made, as for a model: that may lie anywhere below the folder of
        data sets, but not among the files of one.

    Raises
    ------
    OSError, ValueError
        Naming the option. Two paths are one file whether they are spelt alike or not.
    """
    new, old, inputs = _pairs(outputs), _pairs(appended or {}), list(inputs)
    for i, (option, path) in enumerate([*new, *old]):
        _check_place(option, path, folders)
        if any(_same(path, each) for each in inputs):
            raise UsageError(f"{option}: {path} is a file of the model: name another file")
        if _is_data(path, *data, whole=not folders):
            raise UsageError(f"{option}: {path} is a file of the data: name another file")
        if any(_same(path, other) for _, other in [*new, *old][:i]):
            raise UsageError(
                f"{option}: {path} is named for two outputs: name another file for one of them"
            )
    for option, path in new:
        if os.path.lexists(path) and not overwrite:
            raise FileExistsError(f"{option}: {path} exists: name another file or give --overwrite")


def _pairs(outputs):
    """(option, path as text) of each path."""
    lists = {o: p if isinstance(p, list | tuple) else [p] for o, p in outputs.items()}
    return [(o, os.fspath(path)) for o, paths in lists.items() for path in paths if path]


def _check_place(option, path, folders):
    """Refuse what cannot be written to."""
    if os.path.isdir(path) or path.endswith(os.sep):
        raise IsADirectoryError(f"{option}: {path} is a folder: name a file")
    parent = Path(path).parent
    if folders:
        parent = next(each for each in (parent, *parent.parents) if os.path.lexists(each))
    if not (parent.is_dir() and os.access(parent, os.W_OK | os.X_OK)):
        raise PermissionError(f"{option}: {parent} is no folder that can be written to")
    if os.path.lexists(path) and not os.path.isfile(path):
        raise ValueError(f"{option}: {path} is no ordinary file: name another file")
    if os.path.lexists(path) and not os.access(path, os.W_OK):
        raise PermissionError(f"{option}: {path} cannot be written to: name another file")
    with suppress(FileNotFoundError):
        os.stat(path)  # a name that is too long is found now


def _same(one, other):
    """Whether two paths are one file, or would be: through links, or where case does not matter."""
    if os.path.exists(one) and os.path.exists(other):
        return os.path.samefile(one, other)
    one, other = os.path.realpath(one), os.path.realpath(other)
    alike = one.lower() == other.lower()
    return one == other or (alike and _ignores_case(os.path.dirname(one)))


def _ignores_case(folder):
    parent, name = os.path.split(folder)
    with suppress(OSError):
        return name != name.swapcase() and os.path.samefile(
            folder, os.path.join(parent, name.swapcase())
        )
    return False


def _is_data(path, name, data_dir, whole):
    """Whether a path is a file of a data set or lies where these belong.

    With `whole` any file that is there, below the folder of data sets, is one.
    """
    from jvi.datasets import DATASETS
    from jvi.datasets.fetch import local_folder
    from jvi.datasets.files import is_path

    if name is not None and is_path(name) and _same(path, os.path.expanduser(name)):
        return True
    with suppress(OSError, ValueError):  # a folder that there is not has no files
        folder = local_folder(data_dir)
        if folder is None:
            return False
        real, own = Path(path).resolve(), [folder / each for each in DATASETS]
        if any(real.is_relative_to(each.resolve()) for each in own):
            return True
        if whole and os.path.exists(path) and real.is_relative_to(folder.resolve()):
            return True
        return any(_same(path, file) for each in own if each.is_dir() for file in each.iterdir())
    return False


def model_files(prefix: str | Path) -> list[Path]:
    """The names that files of a model have, whether they exist or not, and all in its folder."""
    folder = Path(prefix)
    endings = (".meta.yaml", ".perf", ".h5", ".safetensors", ".npz")
    names = [Path(f"{folder}{ending}") for ending in endings]
    names += [folder / name for name in ("log", "snapshot_bestvalobj", "snapshot_latest")]
    inside = folder.iterdir() if folder.is_dir() else ()
    return list(dict.fromkeys([*names, *(path for path in inside if path.is_file())]))


def data_note(given: Iterable[str], name: str) -> str:
    """What to say where --data-dir changes nothing, or nothing."""
    from jvi.datasets.files import is_path

    idle = "--data-dir" in given and (is_path(name) or name in ("digits", "digits-grey"))
    return f"--data-dir has no effect on {name}" if idle else ""


def dataset_name(wanted: str | None, files: Any = None) -> str:
    """The data set `wanted`, given with -d, or else the one that a model's files name."""
    from jvi.datasets import DATASETS
    from jvi.datasets.files import is_path

    if wanted and not is_path(wanted) and wanted not in DATASETS:
        raise UsageError(
            f"--dataset: unknown data set {wanted!a}: choose one of {', '.join(DATASETS)}, or name "
            f"a file with its ending or folder (./{wanted})"
        )
    name = wanted or files.meta.get("--dataset")
    if not isinstance(name, str):
        raise ValueError(
            f"{files.prefix} does not say what it was trained on: give the data set with -d"
        )
    return name


def number(
    arguments: Mapping[str, Any],
    option: str,
    kind: type = int,
    least: float | None = None,
    most: float | None = None,
) -> Any:
    """The value of a numeric option, whole numbers by default up to `LARGEST`.

    Raises
    ------
    UsageError
        When it is no number of that kind, less than `least` or more than `most`.
    """
    return _number(arguments[option], option, kind, least, most)


def numbers(
    arguments: Mapping[str, Any],
    option: str,
    kind: type = int,
    least: float | None = None,
    most: float | None = None,
) -> list:
    """The values of an option that takes numbers, all different, separated by commas."""
    texts = arguments[option].split(",")
    return distinct((_number(text, option, kind, least, most) for text in texts), option)


def seed(arguments: Mapping[str, Any]) -> int:
    """The value of --seed."""
    return number(arguments, "--seed", least=0, most=2**63 - 1)


def distinct(values: Iterable[Any], option: str) -> list:
    """`values` as a list; UsageError where one of them occurs twice."""
    values = list(values)
    for i, value in enumerate(values):
        if value in values[:i]:
            raise UsageError(f"{option} has {value} twice")
    return values


def among(names: Iterable[str], known: Iterable[str], what: str) -> list[str]:
    """`names` as a list; UsageError where one occurs twice or is none of `known`."""
    names = distinct(names, f"<{what}>")
    unknown = [name for name in names if name not in known]
    if unknown:
        raise UsageError(f"unknown {what} {unknown[0]!a}: choose from {', '.join(known)}")
    return names


def fields(
    arguments: Mapping[str, Any], given: Iterable[str], options: Mapping[str, tuple[str, int]]
) -> dict[str, int]:
    """Whole numbers that were given, by the field that each option sets, with its least value."""
    return {
        field: number(arguments, option, least=least)
        for option, (field, least) in options.items()
        if option in given
    }


def _number(text, option, kind, least, most):
    value = number_of(text, kind) if isinstance(text, str) else None
    if value is None:
        what = "a whole number" if kind is int else "a number"
        raise UsageError(f"{option} must be {what}, not {str(text)[:50]!a}")
    most = LARGEST if most is None and kind is int else most
    if least is not None and value < least:
        raise UsageError(f"{option} must be at least {least}, not {text}")
    if most is not None and value > most:
        raise UsageError(f"{option} must be at most {most}, not {text}")
    return value
