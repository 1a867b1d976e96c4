"""Training objectives: from weights per sample to the gradients of a model, whatever either is.

An objective is an estimator, how the latent densities enter, and what is reported:

- `SAMPLED`: log w = log p(x|z) + log p(z) - log q(z|x), all from the samples;
- `KL`: log p(x|z) from the samples, the rest as the closed-form KL divergence;
- `NONE`: log p(x|z) alone (the original's "is").
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from jvi.compat.vae_types import VAE_TYPES
from jvi.evidence.arrays import at_least, float64, namespace
from jvi.evidence.estimators import PATH, SCORE, TOTAL, Estimator, estimator
from jvi.evidence.quantities import QUANTITIES, Terms
from jvi.functions import Route, weighted_sum
from jvi.models.protocol import lacking, tree

__all__ = [
    "Draws",
    "Objective",
    "check_fit",
    "draw",
    "loss",
    "objective_for",
    "reported",
    "summarise",
]

SAMPLED, KL, NONE = "sampled", "kl", "none"

# Gradient weights are kept this far from zero where another weight is divided by them: small
# against 1, and large enough for products of two in float32.
TINY = 1e-12


class Objective(NamedTuple):
    """What is trained on, and what of it is reported: quantities, "-" for minus, by name."""

    estimator: Estimator
    latent: str = SAMPLED
    reported: Mapping[str, str] = {"obj": "-bound", "obj_elbo": "-elbo"}

    @property
    def of_validation(self) -> "Objective":
        """As it is reported of validation data: where there are two objectives, the model's."""
        second = {
            name.removeprefix("p_obj/"): quantity
            for name, quantity in self.reported.items()
            if name.startswith("p_obj/")
        }
        return self._replace(reported=second or self.reported)


class Draws(NamedTuple):
    """One batch of samples: log-density terms are Variables (K, N), log_w a float64 array.

    Of the K only the first `num_samples` are reported; the others an estimator has for itself.
    `kl` is the divergence of q(z|x) from p(z), a Variable (N,), where it was asked for.
    """

    q: Any
    z: Any
    route: Route
    log_px: Any
    log_pz: Any
    log_q: Any
    kl: Any
    log_w: Any
    num_samples: int

    @property
    def terms(self) -> Terms:
        """What quantities are computed from."""
        kl = None if self.kl is None else float64(self.kl.array)
        log_px = float64(self.log_px.array)
        return Terms(self.log_w[: self.num_samples], log_px[: self.num_samples], kl)


def objective_for(vae_type: str, order: int = 1, raw: bool = False) -> Objective:
    """The `Objective` of one of the original's VAE types.

    Parameters
    ----------
    vae_type : str
        A key of `jvi.compat.vae_types.VAE_TYPES`.
    order : int
        Of the jackknife, for "jvi" and "jvi+elbo".
    raw : bool
        For "jvi" and "iwae++": the original's gradient, JVI for model and encoder alike, which
        can diverge, instead of the stable one that docs/training.md describes.

    Raises
    ------
    ValueError
        For an unknown type.
    """
    if vae_type not in VAE_TYPES:
        raise ValueError(f"unknown VAE type {vae_type!r}: choose from {', '.join(VAE_TYPES)}")
    kind = VAE_TYPES[vae_type]
    name = (raw and kind.raw) or kind.estimator
    return Objective(estimator(name.format(order=order)), kind.latent, kind.reported)


def check_fit(objective: Objective, link: Any, num_samples: int) -> None:
    """Refuse, before any work, an objective that a model or a number of samples cannot serve.

    Raises
    ------
    ValueError
        Naming the estimator and what it needs.
    """
    name, route = str(objective.estimator), objective.estimator.route
    if route != SCORE and not link.reparameterised:
        raise ValueError(
            f"{name} needs draws of z that can be differentiated, which {link.spec.name} does not "
            "have: choose an estimator for discrete latents, such as reinforce"
        )
    if objective.latent == KL:
        problem = lacking(link, "kl", "the analytic KL divergence")
        if problem:
            raise ValueError(f"{problem}: choose --estimator elbo, which samples it")
    if route != TOTAL and link.reparameterised:
        problem = lacking(link, "log_q", name)
        if problem:
            raise ValueError(problem)
    rows = num_samples + objective.estimator.num_auxiliary
    objective.estimator(np.zeros((rows, 1)))  # refuses what options and K do not allow


def draw(link, x, source, num_samples, objective):
    """Draw z for x, N data points, and evaluate all densities that an objective needs."""
    route = objective.estimator.route
    q = link.infer(x)
    z, log_q = link.draw(q, source, num_samples + objective.estimator.num_auxiliary)
    scaling = Route()
    if route == SCORE and link.reparameterised:
        z = tree(lambda each: each.array, z)
        log_q = link.log_q(q, z)
    z_model = _scaled(scaling, z) if link.reparameterised and route != SCORE else z
    log_px, log_pz = link.log_joint(x, z_model)
    log_w = float64(log_px.array) + float64(log_pz.array) - float64(log_q.array)
    kl = link.kl(q) if objective.latent == KL else None
    return Draws(q, z, scaling, log_px, log_pz, log_q, kl, log_w, num_samples)


def _scaled(scaling, z):
    return tuple(scaling(*z)) if isinstance(z, tuple) else scaling(z)


def loss(link, draws, objective, weights):
    """A scalar whose gradient is minus the estimator's ascent direction, averaged over data points.

    Its value has no meaning of its own; `reported` gives the objective's.

    Parameters
    ----------
    link : LatentVariableModel
    draws : Draws
        Made for the objective.
    objective : Objective
    weights : Weights
        What the objective's estimator says of `draws.log_w`.

    Returns
    -------
    Variable, scalar
    """
    model = weights.model
    if weights.path is not None and weights.path is not model:
        model = _away_from_zero(model)
        draws.route.scale = weights.path / model
    terms = [(model, draws.log_px)]
    if objective.latent == SAMPLED:
        terms += [(model, draws.log_pz), *_latent_terms(link, draws, objective, weights)]
    elif objective.latent == KL:
        terms.append((-namespace(draws.log_w).ones_like(draws.kl.array), draws.kl))
    share = -1 / draws.log_w.shape[1]
    return weighted_sum([((share * each).astype(value.dtype), value) for each, value in terms])


def _latent_terms(link, draws, objective, weights):
    """The part of log q(z|x): by its total derivative, by the path or by the score alone.

    The derivative along the draw is path and score together, so what it has of the score too much
    or too little enters at fixed z.
    """
    route = objective.estimator.route
    if route == SCORE:
        return [(weights.score, draws.log_q)]
    terms = [(-weights.path, draws.log_q)]
    if route == PATH:
        score = weights.path if weights.score is None else weights.path + weights.score
        fixed = tree(lambda each: each.array, draws.z)
        terms.append((score, link.log_q(draws.q, fixed)))
    return terms


def _away_from_zero(weights):
    xp = namespace(weights)
    sign = xp.where(weights < 0, -1.0, 1.0)
    return sign * at_least(xp.abs(weights), TINY)


def reported(objective: Objective, terms: Terms, bound: Any) -> dict[str, Any]:
    """What is reported of a batch, one value per data point, arrays of shape (N,).

    `bound` is the value that the estimator follows. `obj` and `obj_elbo` are losses: minus a bound,
    in nats. `summarise` makes the reported numbers of them.
    """
    values = {}
    for name, quantity in objective.reported.items():
        key = quantity.removeprefix("-")
        if key == "bound":
            value = bound
        elif key == "correction":
            value = bound - QUANTITIES["iwae"](terms)
        else:
            value = QUANTITIES[key](terms)
        values[name] = value if key == quantity else -value
    return values


def summarise(values: Mapping[str, Any]) -> dict[str, Any]:
    """Means over data points of what `reported` gave, and the variance of every objective.

    Parameters
    ----------
    values : dict of str to array, shape (N,)

    Returns
    -------
    dict of str to 0-d array
        As `values`, and `obj_var` beside each `obj`.
    """
    means = {name: value.mean() for name, value in values.items()}
    ddof = 1 if len(next(iter(values.values()))) > 1 else 0
    variances = {
        f"{name}_var": value.var(ddof=ddof)
        for name, value in values.items()
        if name.endswith("obj")
    }
    return means | variances
