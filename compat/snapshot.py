"""Between the trainer state of Chainer 7 and snapshots as the original's Chainer 3 wrote them.

A snapshot is a dictionary of arrays by path. Chainer 7 has a few entries more, which can be made
up again, and text where Python 2 wrote bytes. The original trained "jvi+elbo" with two optimizers
on one set of parameters and update rules, so its snapshots hold everything twice, as `elbo` and
`p_obj`.
"""

import re

import numpy as np

from jvi.compat.log import MAX_BYTES, parse_log

__all__ = ["from_original", "to_original"]

TWINS = ("elbo", "p_obj")

_SUMMARY = "extensions/LogReport/_summary/"
_TRIGGER = "extensions/LogReport/_trigger/"
_LOG = "extensions/LogReport/_log"
_RULE_STEP = re.compile(r"updater/optimizer:main/(.+)/t")


def to_original(state, twins):
    """The entries that the original would have written for the trainer state `state`.

    With `twins` everything is there twice, as for "jvi+elbo".
    """
    kept = {
        name: value
        for name, value in state.items()
        if not name.startswith((_SUMMARY, _TRIGGER)) and not _RULE_STEP.fullmatch(name)
    }
    kept[_LOG] = np.asarray(str(kept[_LOG]).encode("ascii"))
    if not twins:
        return kept
    return {
        renamed: value for name, value in kept.items() for renamed in _renamed(name, "main", TWINS)
    }


def from_original(arrays):
    """The trainer state of Chainer 7 for a snapshot's `arrays`.

    Raises
    ------
    ValueError
        When the optimizer's step count or the log is missing, or the log is none.
    """
    if any(name.startswith("updater/model:elbo/") for name in arrays):
        arrays = {
            renamed: value
            for name, value in arrays.items()
            for renamed in _renamed(name, "elbo", ("main",))
            if ":p_obj/" not in renamed
        }
    missing = {"updater/optimizer:main/t", _LOG, "updater/iteration"} - arrays.keys()
    if missing:
        raise ValueError(f"the snapshot has no entry {sorted(missing)[0]}: it cannot be continued")
    state = dict(arrays)
    for name in arrays:
        if name.startswith("updater/model:main/"):
            rule = name.replace("model:main", "optimizer:main", 1)
            state[f"{rule}/t"] = arrays["updater/optimizer:main/t"]
    for name, value in arrays.items():
        if name.startswith("extension_triggers/LogReport/"):
            state[name.replace("extension_triggers/LogReport/", _TRIGGER)] = value
    state[_LOG] = np.asarray(_log_text(arrays[_LOG]))
    state[f"{_SUMMARY}_names"] = np.asarray("[]")
    return state


def _renamed(name, old, new):
    """`name` once for each part of `new` in place of ":old/", or as it is."""
    return (
        [name.replace(f":{old}/", f":{part}/", 1) for part in new]
        if f":{old}/" in name and (not name.startswith("updater/iterator"))
        else [name]
    )


def _log_text(value):
    """The log in a snapshot, which Python 2 wrote as bytes."""
    where = f"the snapshot's {_LOG}"
    if value.ndim or value.dtype.kind not in "SU" or value.nbytes > 4 * MAX_BYTES:
        raise ValueError(f"{where}: damaged: not the text of a log")
    text = value.item()
    parse_log(text, where)
    return text.decode("utf-8") if isinstance(text, bytes) else text
