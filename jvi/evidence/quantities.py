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

    `log_w` and `log_px`, log p(x|z), have shape (K, N). `kl`, the divergence of q(z|x) from p(z) in
    closed form, has shape (N,); None where the model has none.
    """

    log_w: Array
    log_px: Array
    kl: Array | None


class Bound(NamedTuple):
    """A function from `Terms` to a value for each data point; the jackknife's order, if it is one.

    `needs` names the capability that a model must have, or is None.
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
    """The bound of a name: of `BOUNDS`, "jvi" (of the given order), "jvi-M" or "iwae++" (JVI-1).

    Raises
    ------
    ValueError
        For any other name, listing these and `others`.
    """
    if name in BOUNDS:
        return BOUNDS[name]
    match = re.fullmatch(r"jvi(?:-([0-9]{1,9}))?|(iwae\+\+)", name)
    if match is None:
        known = ", ".join([*BOUNDS, "iwae++", "jvi", "jvi-M", *others])
        raise ValueError(f"unknown evaluation {name!r}: choose from {known}")
    wanted = 1 if match[2] else int(match[1] or order)
    return Bound(lambda terms: jackknife(terms.log_w, wanted), wanted)
