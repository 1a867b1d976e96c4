"""Training objectives: model + estimator -> a loss that Chainer back-propagates, and its report.

A VAE type names an estimator (the three gradient weights of each sample) and how the latent
densities enter:

- "sampled": log w = log p(x|z) + log p(z) - log q(z|x), all from the samples;
- "kl": log p(x|z) from the samples, the rest as the closed-form KL divergence;
- "none": log p(x|z) alone (the original's "is").
"""

from functools import partial
from typing import NamedTuple

from jvi.backend import float64, namespace
from jvi.bounds import effective_sample_size, elbo, iwae, normalised_weights
from jvi.estimators import ESTIMATORS
from jvi.functions import Route, weighted_sum
from jvi.jackknife import jackknife

__all__ = [
    "OBJECTIVES",
    "Draws",
    "Objective",
    "draw",
    "loss",
    "objective_for",
    "report",
    "summarise",
]

# Gradient weights are kept this far from zero where another weight is divided by them: small
# against 1, and large enough for products of two in float32.
TINY = 1e-12


class Objective(NamedTuple):
    """What a VAE type trains on (a key of `ESTIMATORS`, and the docstring above) and reports."""

    estimator: str
    latent: str
    report: str


OBJECTIVES = {
    "vae": Objective("elbo", "kl", "vae"),
    "iwae": Objective("iwae", "sampled", "iwae"),
    "iwae++": Objective("jvi_clip", "sampled", "iwae++"),
    "jvi": Objective("jvi_clip", "sampled", "jvi"),
    "jvi+elbo": Objective("jvi_elbo", "kl", "jvi+elbo"),
    "is": Objective("iwae", "none", "is"),
}


class Draws(NamedTuple):
    """One batch of samples: log-density terms are Variables (K, N), log_w a float64 array.

    `kl` is a function without arguments: the divergence of q(z|x) from p(z), a Variable (N,).
    """

    q: tuple
    z: object
    route: Route
    log_px: object
    log_pz: object
    log_qz: object
    kl: object
    log_w: object


def objective_for(vae_type, raw=False):
    """The `Objective` of a VAE type.

    Parameters
    ----------
    vae_type : str
        A key of `OBJECTIVES`.
    raw : bool
        For "jvi" and "iwae++": the original's gradient, JVI for model and encoder alike, which
        can diverge, instead of the stable one that docs/training.md describes.

    Raises
    ------
    ValueError
        For an unknown type.
    """
    if vae_type not in OBJECTIVES:
        raise ValueError(f"unknown VAE type {vae_type!r}: choose from {', '.join(OBJECTIVES)}")
    objective = OBJECTIVES[vae_type]
    if raw and objective.estimator == "jvi_clip":
        return objective._replace(estimator="jvi")
    return objective


def draw(model, x, eps):
    """Sample z for x, (N, pixels), from noise `eps`, (K, N, D), and evaluate all densities."""
    q = model.posterior(x)
    z = model.sample(q, eps)
    route = Route()
    z_model = route(z)
    log_px, log_pz, log_qz = model.log_px(x, z_model), model.log_pz(z_model), model.log_qz(q, z)
    log_w = float64(log_px.array) + float64(log_pz.array) - float64(log_qz.array)
    return Draws(q, z, route, log_px, log_pz, log_qz, partial(model.kl, q), log_w)


def loss(model, draws, objective, order=1):
    """A scalar whose gradient is minus the estimator's ascent direction, averaged over data points.

    Its value has no meaning of its own; `report` gives the objective's.

    Parameters
    ----------
    model : LatentVariableModel
    draws : Draws
    objective : Objective
    order : int
        Jackknife order of the estimators that have one.

    Returns
    -------
    Variable, scalar
    """
    weights = ESTIMATORS[objective.estimator](draws.log_w, order)
    model_weights = weights.model
    if weights.path is not weights.model:
        model_weights = _away_from_zero(weights.model)
        draws.route.scale = _like(weights.path / model_weights, draws.z)
    terms = [(model_weights, draws.log_px)]
    if objective.latent == "sampled":
        terms += [(model_weights, draws.log_pz), *_latent_terms(model, draws, weights)]
    elif objective.latent == "kl":
        kl = draws.kl()
        terms.append((-namespace(kl.array).ones_like(kl.array), kl))
    share = -1 / draws.log_w.shape[1]
    return weighted_sum([(_like(share * each, value), value) for each, value in terms])


def _latent_terms(model, draws, weights):
    """The part of log q(z|x): by its total derivative, or path and score apart."""
    if weights.score is None:
        return [(-weights.path, draws.log_qz)]
    fixed_q = tuple(parameter.array for parameter in draws.q)
    return [
        (-weights.path, model.log_qz(fixed_q, draws.z)),
        (weights.score, model.log_qz(draws.q, draws.z.array)),
    ]


def _like(array, variable):
    return array.astype(variable.dtype)


def _away_from_zero(weights):
    xp = namespace(weights)
    sign = xp.where(weights < 0, -1.0, 1.0)
    return sign * xp.maximum(xp.abs(weights), xp.asarray(TINY))


def report(draws, objective, order=1):
    """What the original reported of a batch, one value per data point, arrays of shape (N,).

    `obj` and `obj_elbo` are losses: minus the bound, in nats. `summarise` makes the reported
    numbers of them.
    """
    return _REPORTS[objective.report](draws, order)


def summarise(values):
    """Means over data points of what `report` gave, and the variance of every objective.

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


def _report_vae(draws, order):
    log_px, kl = float64(draws.log_px.array), float64(draws.kl().array)
    return {"obj": kl - elbo(log_px), "kl": kl, "logp": elbo(log_px)}


def _report_iwae(draws, order):
    return {"obj": -iwae(draws.log_w), "obj_elbo": -elbo(draws.log_w)}


def _report_jvi(draws, order):
    return {"obj": -jackknife(draws.log_w, order), "obj_elbo": -elbo(draws.log_w)}


def _report_iwaepp(draws, order):
    values = _report_jvi(draws, 1)
    return values | {"corr": -values["obj"] - iwae(draws.log_w)}


def _report_is(draws, order):
    bound = (normalised_weights(draws.log_w) * float64(draws.log_px.array)).sum(axis=0)
    return {"obj": -bound, "ess": effective_sample_size(draws.log_w)}


def _report_jvi_elbo(draws, order):
    vae, jvi = _report_vae(draws, order), _report_jvi(draws, order)
    parts = {"elbo": vae | {"elbo": vae["obj"]}, "p_obj": jvi}
    return {f"{part}/{name}": v for part, values in parts.items() for name, v in values.items()}


_REPORTS = {
    "vae": _report_vae,
    "iwae": _report_iwae,
    "iwae++": _report_iwaepp,
    "jvi": _report_jvi,
    "jvi+elbo": _report_jvi_elbo,
    "is": _report_is,
}
