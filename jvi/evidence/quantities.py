"""What can be said of a batch by name: one table for training logs, evaluation and report.

Nothing in `BOUNDS` and `QUANTITIES` looks for NaN and +inf, for which a GPU would have to wait:
training looks at what it reports, and evaluation at the log-weights themselves.
"""

import re
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from jvi.evidence import bounds
from jvi.evidence.arrays import Array, namespace
from jvi.evidence.jackknife import jackknife

__all__ = ["BOUNDS", "QUANTITIES", "Bound", "Terms", "bound"]

elbo = partial(bounds.elbo, check_finite=False)
iwae = partial(bounds.iwae, check_finite=False)
normalised_weights = partial(bounds.normalised_weights, check_finite=False)
effective_sample_size = partial(bounds.effective_sample_size, check_finite=False)


class Terms(NamedTuple):
    """Log-weights and what they are made of, in nats.

    Attributes
    ----------
    log_w : array, shape (K, N)
        Log importance weights.
    log_px : array, shape (K, N)
        log p(x|z).
    kl : array, shape (N,), or None
        The divergence of q(z|x) from p(z) in closed form; None where the model has none.

    Examples
    --------
    >>> import numpy as np
    >>> from jvi.evidence.quantities import Terms, bound
    >>> terms = Terms(log_w=np.zeros((4, 1)), log_px=np.full((4, 1), -3.0), kl=np.ones(1))
    >>> bound("vae").function(terms)  # the mean of log p(x|z), less the divergence
    array([-4.])
    """

    log_w: Array
    log_px: Array
    kl: Array | None


class Bound(NamedTuple):
    """What a name of `BOUNDS` stands for.

    Attributes
    ----------
    function : callable
        From `Terms` to a value for each data point, array (N,), in nats.
    order : int or None
        The jackknife's, if it is one.
    needs : str or None
        The capability that a model must have.

    Examples
    --------
    >>> from jvi.evidence.quantities import BOUNDS
    >>> BOUNDS["vae"].needs, BOUNDS["iwae"].needs
    ('kl', None)
    """

    function: Callable[[Terms], Array]
    order: int | None = None
    needs: str | None = None


def self_normalised(terms: Terms) -> Array:
    """The original's "is": log p(x|z) on average over the normalised weights."""
    weights = normalised_weights(terms.log_w)
    return namespace(weights).sum(weights * terms.log_px, axis=0)


# Bounds on and estimates of log p(x); beside these "jvi-M" is the jackknife of order M.
BOUNDS = {
    "vae": Bound(lambda terms: elbo(terms.log_px) - terms.kl, needs="kl"),
    "elbo": Bound(lambda terms: elbo(terms.log_w)),
    "iwae": Bound(lambda terms: iwae(terms.log_w)),
    "is": Bound(self_normalised),
}

# What else training reports.
QUANTITIES: dict[str, Callable[[Terms], Array]] = {
    **{name: each.function for name, each in BOUNDS.items()},
    "kl": lambda terms: terms.kl,
    "logp": lambda terms: elbo(terms.log_px),
    "ess": lambda terms: effective_sample_size(terms.log_w),
}


def bound(name: str, order: int = 1, others: tuple[str, ...] = ()) -> Bound:
    """The bound of a name.

    Parameters
    ----------
    name : str
        A key of `BOUNDS`, "jvi" (of the given order), "jvi-M" (of order M) or "iwae++" (JVI-1).
    order : int
        Of "jvi".
    others : tuple of str
        Names that the caller knows beside these, for the error.

    Returns
    -------
    Bound

    Raises
    ------
    ValueError
        For any other name, listing these and `others`.

    Examples
    --------
    >>> from jvi.evidence.quantities import bound
    >>> [bound(name, order=2).order for name in ("iwae", "iwae++", "jvi", "jvi-3")]
    [None, 1, 2, 3]
    """
    if name in BOUNDS:
        return BOUNDS[name]
    match = re.fullmatch(r"jvi(?:-([0-9]{1,9}))?|(iwae\+\+)", name)
    if match is None:
        known = ", ".join([*BOUNDS, "iwae++", "jvi", "jvi-M", *others])
        raise ValueError(f"unknown evaluation {name!r}: choose from {known}")
    wanted = 1 if match[2] else int(match[1] or order)
    return Bound(lambda terms: jackknife(terms.log_w, wanted), wanted)
