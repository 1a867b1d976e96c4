"""Values from what stands on the command line, or one sentence on what is wrong with it."""

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from docopt import docopt

from jvi.cli.exit_status import UsageError
from jvi.spec import number_of

__all__ = [
    "among",
    "arguments_of",
    "asked",
    "check_effects",
    "data_note",
    "dataset_name",
    "distinct",
    "fields",
    "number",
    "numbers",
    "seed",
]

LARGEST = 10**9  # of whole numbers, where nothing else is said


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


def data_note(given: Iterable[str], name: str) -> str:
    """What to say where --data-dir changes nothing, or nothing."""
    from jvi.datasets.files import is_path

    idle = "--data-dir" in given and (is_path(name) or name in ("digits", "digits-grey"))
    return f"--data-dir has no effect on {name}" if idle else ""


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
