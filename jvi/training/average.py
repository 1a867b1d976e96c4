"""An exponential moving average of the parameters, which is validated, selected and returned.

After step t it moves towards the parameters p by a += (1 - d) (p - a), where d is the decay asked
for, but at most (1 + t) / (10 + t), so that short runs do not remember how they began; this is the
rule that TensorFlow documents for `num_updates` of `tf.train.ExponentialMovingAverage`.

It lies in the state of each parameter's update rule under `ENTRY`, and so in a snapshot. The latest
one has the parameters themselves beside it, so that training goes on as if it had not stopped; in
that of the best epoch the averages are the parameters, and whatever reads it need not know.
"""

import re
from contextlib import contextmanager

__all__ = [
    "ENTRY",
    "averaged",
    "check_decay",
    "keep_average",
    "restart",
    "selected",
    "with_averages",
]

ENTRY = "average"

AT_FIRST = 1, 10  # d is at most (1 + t) / (10 + t)

_KEY = re.compile(rf"updater/optimizer:main(/.+)/{ENTRY}")


def check_decay(decay):
    """Refuse, with ValueError, a decay that gives no average; 0 is for none."""
    if not 0 <= decay < 1:
        raise ValueError(
            f"the decay of the parameters' average must be at least 0 and below 1, not {decay}"
        )


def keep_average(optimizer, decay):
    """Let an optimizer that is set up average its target's parameters from now on.

    Raises
    ------
    ValueError
        For a decay outside [0, 1).
    """
    check_decay(decay)
    for parameter in optimizer.target.params():
        parameter.update_rule.state[ENTRY] = parameter.array.copy()
    optimizer.add_hook(_Average(decay))


def restart(optimizer):
    """Begin the averages, where there are any, from the parameters as they are."""
    for parameter in _averaging(optimizer):
        parameter.update_rule.state[ENTRY][...] = parameter.array


@contextmanager
def averaged(optimizer):
    """The target with the averages as its parameters, where there are any."""
    _swap(optimizer)
    try:
        yield
    finally:
        _swap(optimizer)


def selected(state):
    """The trainer's state as the best epoch's snapshot has it: averages instead of parameters."""
    found = {key: match[1] for key in state if (match := _KEY.fullmatch(key))}
    averages = {f"updater/model:main{name}": state[key] for key, name in found.items()}
    return {key: value for key, value in state.items() if key not in found} | averages


def with_averages(state, optimizer):
    """The trainer's state where it has no averages, but a run is to: they begin there."""
    if any(map(_KEY.fullmatch, state)) or not any(True for _ in _averaging(optimizer)):
        return state
    names = [name for name, _ in optimizer.target.namedparams()]
    pairs = ((f"updater/model:main{name}", f"updater/optimizer:main{name}") for name in names)
    return state | {f"{rule}/{ENTRY}": state[key] for key, rule in pairs if key in state}


class _Average:
    """Called for every parameter after every step; on a GPU it may be recorded."""

    name, timing, call_for_each_param = ENTRY, "post", True

    def __init__(self, decay):
        self.decay = decay

    def __call__(self, rule, parameter):
        average, optimizer = rule.state[ENTRY], rule.optimizer
        if optimizer.on_device is None:
            rate = 1 - min(self.decay, _at_most(optimizer.t))
        else:
            xp, (t, _) = parameter.device.xp, optimizer.on_device
            rate = (1 - xp.minimum(self.decay, _at_most(t))).astype(average.dtype)
        change = parameter.array - average
        change *= rate
        average += change


def _at_most(t):
    over, under = AT_FIRST
    return (over + t) / (under + t)


def _averaging(optimizer):
    """The parameters that have an average."""
    for parameter in optimizer.target.params():
        if ENTRY in (parameter.update_rule.state or {}):
            yield parameter


def _swap(optimizer):
    for parameter in _averaging(optimizer):
        state = parameter.update_rule.state
        parameter.array, state[ENTRY] = state[ENTRY], parameter.array
