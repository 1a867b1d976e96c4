"""What is named on a command line as NAME[:key=value,…]: an estimator or a model, with its options.

The options of a thing are the keyword parameters of the function or class that makes it, so that
each is said once: name, type and default stand in its signature.
"""

import inspect
import math
import re
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

__all__ = ["LEARNED", "Learnable", "Spec", "number_of", "options_of", "parse", "split"]

LEARNED = "learned"  # in the place of a value that training is to find
Learnable = float | Literal["learned"]

TYPES = {
    int: "a whole number",
    float: "a number",
    str: "a word",
    Learnable: f'a number or "{LEARNED}"',
}

# What Python takes for a number is more: spaces, underscores, +, all scripts' digits, inf and nan.
NUMBERS = {
    int: re.compile(r"-?[0-9]{1,40}"),
    float: re.compile(r"-?([0-9]{1,40}\.?[0-9]{0,40}|\.[0-9]{1,40})([eE][-+]?[0-9]{1,4})?"),
}
MOST = 10**9  # of whole numbers, which are sizes


class Spec(NamedTuple):
    """A name and its options; `str` gives the spelling that `parse` reads."""

    name: str
    options: dict[str, Any]

    def __str__(self) -> str:
        pairs = ",".join(f"{key.replace('_', '-')}={value}" for key, value in self.options.items())
        return f"{self.name}:{pairs}" if pairs else self.name


def options_of(make: Callable) -> dict[str, tuple[type, Any]]:
    """(type, default) of each option of `make`: its parameters annotated with a key of `TYPES`."""
    return {
        name: (parameter.annotation, parameter.default)
        for name, parameter in inspect.signature(make).parameters.items()
        if parameter.annotation in TYPES
    }


def split(text: str) -> tuple[str, dict[str, str]]:
    """(name, texts by key) of NAME[:key=value,…].

    Raises
    ------
    ValueError
        For anything but a key and a value between commas, or a key that is there twice.
    """
    name, _, rest = text.partition(":")
    texts: dict[str, str] = {}
    for pair in rest.split(",") if rest else []:
        key, equals, value = pair.partition("=")
        key = key.strip().replace("-", "_")
        if not equals or not key or key in texts:
            raise ValueError(f"{text!r}: write NAME:key=value,key=value, each key once")
        texts[key] = value.strip()
    return name.strip(), texts


def parse(text: str, table: Mapping[str, Callable], what: str) -> Spec:
    """The `Spec` of a text, with an option for every one that the thing has.

    Parameters
    ----------
    text : str
        NAME[:key=value,…].
    table : mapping from name to callable
    what : str
        What the names are of, for errors.

    Raises
    ------
    ValueError
        For an unknown name or key (listing the known), or a value of another type.
    """
    name, texts = split(text)
    if name not in table:
        raise ValueError(f"unknown {what} {name!r}: choose from {', '.join(table)}")
    known = options_of(table[name])
    for key in texts:
        if key not in known:
            names = ", ".join(key.replace("_", "-") for key in known) or "none"
            raise ValueError(f"{what} {name} has no option {key!r}: it has {names}")
    values = {
        key: _value(f"{name}:{key}", texts[key], kind) if key in texts else default
        for key, (kind, default) in known.items()
    }
    lacking = [key for key, value in values.items() if value is inspect.Parameter.empty]
    if lacking:
        raise ValueError(f"{what} {name} needs {lacking[0]}: write {name}:{lacking[0]}=…")
    return Spec(name, values)


def number_of(text: str, kind: type) -> Any:
    """The finite number that a text is in ASCII digits, int or float; None where it is none."""
    value = kind(text) if NUMBERS[kind].fullmatch(text) else None
    return value if value is not None and math.isfinite(value) else None


def _value(where: str, text: str, kind: type) -> Any:
    if kind is str or (kind is Learnable and text == LEARNED):
        value = text if text.isascii() and len(text) < 100 else None
    else:
        value = number_of(text, float if kind is Learnable else kind)
    if value is None:
        raise ValueError(f"{where} must be {TYPES[kind]}, not {text[:50]!a}")
    if kind is int and abs(value) > MOST:
        raise ValueError(f"{where} must be at most {MOST}, not {text}")
    return value
