"""A scalar for automatic differentiation: its value is a bound, its gradient an estimator's.

With a_k, b_k and s_k the weights of `jvi.evidence.estimators`, held constant, and a bar over what
is not differentiated, the loss is minus the mean over data points of ::

    bound + S - S̄,    S = Σ_k a_k log p(x, z̄_k) + b_k log w_k(z_k; θ̄, φ̄) + s_k log q(z̄_k|x).
"""

import math
from collections.abc import Callable, Mapping

from jvi.evidence.arrays import Array, float64_context, namespace
from jvi.evidence.estimators import TOTAL, Estimator
from jvi.evidence.estimators import estimator as estimator_of

__all__ = ["loss"]

PARTS = {
    "model": "log p(x, z) at fixed z",
    "path": "log w at fixed parameters",
    "score": "log q(z|x) at fixed z",
}


def loss(
    log_w: Array,
    estimator: str | Estimator,
    parts: Mapping[str, Array | None],
    detach: Callable[[Array], Array],
) -> Array:
    """The loss of `jvi.torch` and `jvi.jax`, which say what it takes and raises.

    Parameters
    ----------
    log_w : array, shape (K, N)
        Log importance weights.
    estimator : str or Estimator
        NAME[:key=value,…], see `jvi.estimator`.
    parts : dict of str to array, shape (K, N), or None
        By the keys of `PARTS`.
    detach : function
        The array library's own, from an array to its values without a gradient.

    Returns
    -------
    array, scalar, of the dtype of `log_w`
        In nats.

    Raises
    ------
    ValueError
        For an unknown estimator, and parts that are missing, unused or of another shape.

    Examples
    --------
    The value alone, in NumPy, which differentiates nothing:

    >>> import numpy as np
    >>> from jvi.evidence.surrogate import loss
    >>> float(loss(np.log([[1.0], [4.0]]), "elbo", {}, np.copy))  # -log 2
    -0.6931471805599453
    """
    rule = estimator_of(estimator)
    if log_w.ndim != 2 or 0 in log_w.shape:
        raise ValueError(f"log_w must have shape (samples, data points), not {tuple(log_w.shape)}")
    xp = namespace(log_w)
    with float64_context(log_w):
        bound, weights = rule.with_bound(detach(log_w))
        terms = [
            (xp.astype(weight / log_w.shape[1], part.dtype), part)
            for weight, part in _terms(rule, weights, log_w, parts)
        ]
        value = xp.astype(xp.mean(bound), log_w.dtype)
    surrogate = sum(xp.sum(weight * _without_zeros(xp, part)) for weight, part in terms)
    surrogate = xp.astype(surrogate, log_w.dtype, copy=False)
    return detach(surrogate) - surrogate - value


def _terms(rule, weights, log_w, parts) -> list[tuple[Array, Array]]:
    """(weight, part) of every part that the estimator weighs."""
    given = {name: part for name, part in parts.items() if part is not None}
    alone = rule.route == TOTAL and weights.path is weights.model
    if alone and not given:
        return [(weights.model, log_w)]
    needed = {name: each for name, each in weights._asdict().items() if each is not None}
    if given.keys() != needed.keys():
        raise ValueError(_what_is_needed(rule, needed, given, alone))
    for name, part in given.items():
        if part.shape != log_w.shape:
            shapes = f"{tuple(part.shape)}, log_w {tuple(log_w.shape)}"
            raise ValueError(f"{name} has shape {shapes}: give one number for every log-weight")
    return [(needed[name], part) for name, part in given.items()]


def _what_is_needed(rule, needed, given, alone) -> str:
    parts = ", ".join(f"{name}={PARTS[name]}" for name in needed)
    either = "log_w alone or all of" if alone else "all of"
    return f"{rule} needs {either} {parts} and no more, not {', '.join(given) or 'log_w alone'}"


def _without_zeros(xp, part):
    """-inf, the log of a zero weight or density, contributes nothing; NaN and +inf stay."""
    return xp.where(part == -math.inf, xp.zeros_like(part), part)
