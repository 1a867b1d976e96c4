"""Set-ups of papers by name: options of train.py, each with the source of its value."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import yaml

from jvi.compat.options import SIZES
from jvi.spec import Spec, split
from jvi.training.schedules import schedule

__all__ = ["Preset", "filled_in", "listing", "preset", "presets"]

FILE = Path(__file__).with_name("presets.yaml")

# Options that say the same thing in two ways: one that is given replaces the other.
INSTEAD = {"--vae-type": "--estimator"}

# Arguments of `jvi.train`, and the types that they have there.
KEYWORDS: dict[str, tuple[str, type]] = {
    "--dataset": ("data", str),
    "--estimator": ("estimator", str),
    "--vae-samples": ("num_samples", int),
    "--epochs": ("epochs", int),
    "--batchsize": ("batch_size", int),
    "--opt": ("optimizer", str),
    "--lr": ("lr", float),
    "--schedule": ("schedule", str),
    "--clip": ("clip", float),
    "--free-bits": ("free_bits", float),
    "--average": ("average", float),
}


class Preset(NamedTuple):
    """A paper's set-up.

    Attributes
    ----------
    about : str
    options : dict of str to str
        Values of train.py's options, by name: "--vae-samples".
    sources : dict of str to str
        Where each value stands in the paper or its code, or that it is a choice.
    """

    about: str
    options: dict[str, str]
    sources: dict[str, str]

    @property
    def keywords(self) -> dict[str, Any]:
        """The same as keyword arguments of `jvi.train`, which downloads the data where needed."""
        name, texts = split(self.options["--model"])
        keys = SIZES.get(name, {}).items()
        texts |= {key: self.options[o] for o, key in keys if o in self.options}
        named = {
            keyword: kind(self.options[option])
            for option, (keyword, kind) in KEYWORDS.items()
            if option in self.options
        }
        return {"model_or_name": str(Spec(name, texts)), **named}


@cache
def presets() -> Mapping[str, Preset]:
    """All presets by name."""
    found = {}
    for name, entry in yaml.safe_load(FILE.read_text(encoding="utf-8")).items():
        pairs = {f"--{key}": pair for key, pair in entry["options"].items()}
        options, sources = ({key: pair[i] for key, pair in pairs.items()} for i in (0, 1))
        found[name] = Preset(entry["about"], options, sources)
    return MappingProxyType(found)


def preset(name: str) -> Preset:
    """The preset of a name.

    Raises
    ------
    ValueError
        For an unknown name, listing the known.
    """
    if name not in presets():
        raise ValueError(f"unknown preset {name!r}: choose from {', '.join(presets())}")
    return presets()[name]


def listing() -> str:
    """All presets as text, with the source of every value."""
    lines = []
    for name, each in presets().items():
        lines += ["", f"{name}: {each.about}"]
        for option, value in each.options.items():
            lines.append(f"  {option:<15}{value:<24} {each.sources[option]}")
    return "\n".join(lines[1:])


def filled_in(arguments: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """train.py's arguments with what --preset and --schedule stand for.

    Parameters
    ----------
    arguments : mapping
        All of them by option, with defaults.
    given : mapping
        Those on the command line, which win; so does a schedule there over the preset's epochs
        and optimizer.

    Raises
    ------
    ValueError
        For an unknown preset or schedule.
    """
    options = dict(preset(given["--preset"]).options) if "--preset" in given else {}
    for option, other in INSTEAD.items():
        if option in given:
            options.pop(other, None)
    name = given.get("--schedule") or options.get("--schedule") or arguments["--schedule"]
    found = schedule(name, lr=1.0)  # for all but its rate
    scheduled = {"--epochs": found.epochs, "--opt": found.optimizer}
    scheduled = {option: str(value) for option, value in scheduled.items() if value is not None}
    first, then = (options, scheduled) if "--schedule" in given else (scheduled, options)
    return {**arguments, **first, **then, **given}
