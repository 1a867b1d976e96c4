"""Command lines of Kingma et al.'s (2016) Theano code, in train.py's words.

As its README has them, `python train.py with problem=cifar10 depths=[2,2,2] margs.kl_min=0.25`:
assignments to the configuration of its train.py, commit 494c491, whose other values hold where
nothing is said. What train.py here would have to guess is refused.
"""

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

__all__ = ["Translation", "translated"]


class Translation(NamedTuple):
    """Options of train.py, as text by name.

    Attributes
    ----------
    said : dict of str to str
        What the words say, and the model, all of whose sizes they decide.
    assumed : dict of str to str
        What the code does where the words do not say otherwise.
    """

    said: dict[str, str]
    assumed: dict[str, str]


def translated(words: Sequence[str]) -> Translation:
    """What key=value words, after an optional "with", come to.

    Parameters
    ----------
    words : sequence of str
        As a shell hands them over: `["with", "n_z=32", "depths=[2,2,2]"]`.

    Raises
    ------
    ValueError
        For anything that cannot be had here, or not without doubt, naming it.
    """
    values = _assignments(words[1:] if words[:1] == ["with"] else words)
    for key, text in values.items():
        if key in ONLY:
            _check_only(key, text)
        elif key not in TRANSLATED:
            known = ", ".join((*TRANSLATED, *ONLY))
            raise ValueError(f"{key}={text} is not translated: known are {known}")
    sizes = ",".join(f"{key}={_value(name, values)}" for name, key in MODEL.items())
    said, assumed = {"--model": f"iaf-resnet:{sizes}"}, dict(ALWAYS)
    for name, option in SETTINGS.items():
        (said if name in values else assumed)[option] = _value(name, values)
    return Translation(said, assumed)


def _assignments(words):
    """Texts by key."""
    values: dict[str, str] = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals:
            raise ValueError(f"{word!a}: a word too many, or one is missing")
        if not key or not text or key in values:
            raise ValueError(f"{word!a}: write key=value, each key once")
        values[key] = text.strip("'\"")
    return values


def _check_only(key, text):
    value, why = ONLY[key]
    plain = text.replace(" ", "").replace("[", "(").replace("]", ")").lower()
    if plain != value.lower():
        raise ValueError(f"{key}={text} cannot be had here, only {key}={value}: {why}")


def _value(key, values):
    default, rule = TRANSLATED[key]
    text = values.get(key, default)
    try:
        return rule(text)
    except ValueError as error:
        raise ValueError(f"{key}={text}: {error}") from None


def _whole(least: int) -> Callable[[str], str]:
    def rule(text):
        if not re.fullmatch("[0-9]{1,9}", text) or int(text) < least:
            raise ValueError(f"must be a whole number, at least {least}")
        return str(int(text))

    return rule


def _depths(text):
    found = re.fullmatch(r"[\[(]\s*([0-9]+(?:\s*,\s*[0-9]+)*)\s*,?\s*[\])]", text)
    if not found:
        raise ValueError("must be whole numbers in brackets, as [2,2,2]")
    return "-".join(each.strip() for each in found[1].split(","))


def _posterior(text):
    """Ours have hidden layers and context, as the names there that end in _nl."""
    name = text.lower()
    if name in ("up_diag", "down_diag"):
        return name
    if not re.fullmatch("(up|down)_iaf[12](_nl)?", name):
        known = ", ".join(f"{way}_{kind}" for way in ("up", "down") for kind in KINDS)
        raise ValueError(f"is none of {known}")
    if not name.endswith("_nl"):
        raise ValueError(
            f"is a linear convolution without context there, which is not had here: {name}_nl is"
        )
    return name.removesuffix("_nl")


KINDS = ("diag", "iaf1_nl", "iaf2_nl")


def _number(text):
    if not re.fullmatch(r"([0-9]{1,9}\.?[0-9]*|\.[0-9]+)([eE]-?[0-9]{1,3})?", text):
        raise ValueError("must be a number, not negative")
    return text


def _momentum(text):
    """There the share of the new gradient, here of the old mean."""
    share = float(_number(text))
    if not 0 < share <= 1:
        raise ValueError("must be above 0 and at most 1")
    return f"adamax:beta1={round(1 - share, 9):g}"


# By key of that code: its value where nothing is said, and the text in our words.
TRANSLATED: dict[str, tuple[str, Callable[[str], str]]] = {
    "depths": ("[2,2]", _depths),
    "n_z": ("32", _whole(1)),
    "n_h": ("160", _whole(1)),
    "margs.posterior": ("down_diag", _posterior),
    "margs.depth_ar": ("2", _whole(1)),
    "n_batch": ("16", _whole(1)),
    "margs.kl_min": ("0.25", _number),
    "margs.alpha": ("0.002", _number),
    "margs.beta1": ("0.1", _momentum),
}

# What of it is in --model, and what are options by themselves.
MODEL = {
    "depths": "depths",
    "n_z": "n-z",
    "n_h": "n-h",
    "margs.posterior": "posterior",
    "margs.depth_ar": "depth-ar",
}
SETTINGS = {
    "n_batch": "--batchsize",
    "margs.kl_min": "--free-bits",
    "margs.alpha": "--lr",
    "margs.beta1": "--opt",
}

# What it does in any case: one sample, gradients as they are, weights averaged with beta2 = .001.
ALWAYS = {
    "--dataset": "cifar10",
    "--estimator": "elbo",
    "--vae-samples": "1",
    "--clip": "0",
    "--average": "0.999",
}

# Keys with a single value that can be had here, and why.
ONLY = {
    "problem": ("cifar10", "mnist is binary there, as --model iaf has it; no other was tested"),
    "model_type": ("cvae1", "the other is not among the published files"),
    "n_train": ("0", "a run has all of the data set"),
    "pad_x": ("0", "images are as they are"),
    "px": ("logistic", "pixels are bytes"),
    "margs.px": ("logistic", "pixels are bytes"),
    "margs.pad_x": ("0", "images are as they are"),
    "margs.prior": ("diag", "the model's is factorised"),
    "margs.nl": ("elu", "the model's is fixed"),
    "margs.kernel_x": ("(5,5)", "the model's is fixed"),
    "margs.kernel_h": ("(3,3)", "the model's is fixed"),
    "margs.downsample_type": ("nn", "the model's is fixed"),
    "margs.weightsharing": ("False", "every layer has its own weights"),
    "margs.optim": ("adamax", "name another with --opt, after train.py's own options"),
}
