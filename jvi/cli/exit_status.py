"""How a command ends: a user's mistake in one line, and the exit status that says which."""

import functools
import re
import signal
import sys
from collections.abc import Callable
from contextlib import suppress

from docopt import DocoptExit

from jvi.files import FULL

__all__ = ["UsageError", "command"]

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
