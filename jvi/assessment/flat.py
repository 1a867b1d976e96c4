"""A model's latents as one flat array: draws of it, and the densities as functions of it.

Chains move in an array (K, N, D). A model's z has that shape, or any (K, N, …), or is a tuple of
such arrays, of which D then is the total.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from jvi.assessment.hmc import Chains
from jvi.compat.chainer7 import chainer
from jvi.engine.random import Source
from jvi.models.protocol import LatentVariableModel, tree

__all__ = ["densities", "flatten", "leaves", "start", "unflatten"]

F = chainer.functions


def leaves(z: Any) -> list:
    """The arrays of z: of a tuple its own, of an array that."""
    return list(z) if isinstance(z, tuple | list) else [z]


def flatten(z: Any, lead: int = 2) -> Any:
    """One array, whose last axis is all but the first `lead` axes of every array of z.

    No copy where z is one array already.
    """
    arrays = [each.reshape(*each.shape[:lead], -1) for each in leaves(z)]
    if len(arrays) == 1:
        return arrays[0]
    return chainer.backend.get_array_module(*arrays).concatenate(arrays, axis=-1)


def unflatten(flat: chainer.Variable, like: Any) -> Any:
    """z as the model takes it, Variables that `flat`, (K, N, D), can be differentiated by.

    Parameters
    ----------
    flat : Variable, shape (K, N, D)
    like : array, or tuple of arrays
        z of any K and N, for its shapes.
    """
    shapes = [(*flat.shape[:2], *each.shape[2:]) for each in leaves(like)]
    if not isinstance(like, tuple):
        return F.reshape(flat, shapes[0])
    ends = np.cumsum([math.prod(shape[2:]) for shape in shapes])
    parts = F.split_axis(flat, ends[:-1], axis=2, force_tuple=True)
    return tuple(F.reshape(part, shape) for part, shape in zip(parts, shapes, strict=True))


def start(link: LatentVariableModel, q: Any, source: Source, shape: tuple, prior: bool) -> Any:
    """Draws of flat z from q(z|x) or the prior, `shape` being (K, N)."""
    with chainer.no_backprop_mode():
        z = link.draw_prior(source, *shape) if prior else link.draw(q, source, shape[0])[0]
    return flatten(tree(lambda each: chainer.as_variable(each).array, z))


def densities(
    link: LatentVariableModel, x: Any, q: Any, prior: bool, like: Any
) -> Callable[[Any], Chains]:
    """From flat z to `Chains`, with f_0 = q(z|x) or the prior and f_1 = p(x, z).

    Leaves the gradients of parameters alone; `q` is what `link.infer(x)` gave, `like` any z.
    """

    def chains_at(flat):
        with chainer.using_config("enable_backprop", True):
            at = chainer.Variable(flat)
            z = unflatten(at, like)
            log_px, log_pz = link.log_joint(x, z)
            both = log_pz if prior else link.log_q(q, z), log_px + log_pz
            grads = [chainer.grad([log_f], [at])[0].array for log_f in both]
        xp = chainer.backend.get_array_module(flat)
        log_f = xp.stack([log_f.array for log_f in both]).astype(np.float64)
        return Chains(flat, log_f, xp.stack(grads))

    return chains_at
