"""Slopes by central differences, along random directions of parameters."""

import numpy as np


def slopes(parameters, value, rng, step=1e-6):
    """(name, a direction, the slope of `value()` along it) for pairs of a name and a Parameter.

    The parameter is as it was when its slope is given.
    """
    for name, parameter in parameters:
        direction, start = rng.normal(size=parameter.shape), parameter.array
        ends = []
        for sign in (1, -1):
            parameter.array = np.asarray(start + sign * step * direction)
            ends.append(value())
        parameter.array = start
        yield name, direction, (ends[0] - ends[1]) / (2 * step)
