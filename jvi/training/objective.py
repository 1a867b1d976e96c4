"""Training objectives: from weights per sample to the gradients of a model, whatever either is.

An objective is an estimator, how the latent densities enter, and what is reported:

- `SAMPLED`: log w = log p(x|z) + log p(z) - log q(z|x), all from the samples;
- `KL`: log p(x|z) from the samples, the rest as the closed-form KL divergence;
- `NONE`: log p(x|z) alone (the original's "is").

What changes while training is handed down as `now`, a mapping: values of the estimator's options,
under "kl" the weight of log p(z) - log q(z|x), and under "open" which latent units' KL counts.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import chainer
import chainer.functions as F
import numpy as np

from jvi.compat.vae_types import VAE_TYPES
from jvi.evidence.arrays import at_least, float64, namespace
from jvi.evidence.estimators import PATH, SCORE, SLEEP, TOTAL, Estimator, estimator
from jvi.evidence.quantities import QUANTITIES, Terms
from jvi.functions import Route, weighted_sum
from jvi.models.protocol import Joint, lacking, tree
from jvi.training.annealed import annealed, check_annealed

__all__ = [
    "Draws",
    "Objective",
    "changed",
    "check_fit",
    "draw",
    "follow",
    "for_link",
    "information",
    "loss",
    "objective_for",
    "reported",
    "summarise",
]

SAMPLED, KL, NONE = "sampled", "kl", "none"

# Gradient weights are kept this far from zero where another weight is divided by them: small
# against 1, and large enough for products of two in float32.
TINY = 1e-12

# Weights that change no sum beside others of about 1. Their products would be subnormal numbers, on
# which a CPU takes twice the time for a whole step.
NOTHING = 1e-20


class Objective(NamedTuple):
    """What is trained on, and what of it is reported: quantities, "-" for minus, by name.

    `annealed` is what changes while training. `free_bits`, in nats, is what the KL divergence of
    each latent unit, or group of such, costs at least, on average over a batch: below it nothing
    pushes it to zero (Kingma et al. 2016, equation 15).
    """

    estimator: Estimator
    latent: str = SAMPLED
    reported: Mapping[str, str] = {"obj": "-bound", "obj_elbo": "-elbo"}
    annealed: tuple[Any, ...] = ()  # `Annealed`, or what has its attributes
    free_bits: float = 0.0

    @property
    def at_last(self) -> dict[str, float]:
        """What has been annealed, as it is at the end."""
        return {each.option: each.end for each in self.annealed}

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
    `followed` are the log-weights that the estimator sees, where `kl_weight` counts.
    `kl` is the divergence of q(z|x) from p(z), a Variable (N,), where it was asked for, and
    `costly` what of it counts, (N,), or of the samples' (K, N). `dreamt` is log q(z|x) of
    the model's own draws, a Variable (1, N).
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
    followed: Any
    kl_weight: Any = None
    costly: Any = None
    dreamt: Any = None

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


def changed(objective: Objective, annealing: str = "", free_bits: float = 0.0) -> Objective:
    """An objective that is annealed, or has a minimum of information.

    Parameters
    ----------
    objective : Objective
        With "elbo" a minimum of information takes the analytic KL divergence, as "vae" does.
    annealing : str
        OPTION=START:END:EPOCHS[,…].
    free_bits : float
        In nats, 0 for none.

    Raises
    ------
    ValueError
        For anything else, or a negative minimum.
    """
    if free_bits < 0:
        raise ValueError(f"free bits must be 0 or more nats, not {free_bits:g}")
    if free_bits and objective.estimator.spec.name == "elbo":
        objective = objective_for("vae")
    values = annealed(annealing) if annealing else ()
    return objective._replace(annealed=values, free_bits=free_bits)


def for_link(objective: Objective, link: Any) -> Objective:
    """An objective with a minimum of information, of sampled KL where the link has no other."""
    sampled = hasattr(link, "draw_joint") and not hasattr(link, "kl")
    if objective.free_bits and objective.latent == KL and sampled:
        return objective._replace(
            estimator=estimator("elbo"), latent=SAMPLED, reported=Objective(None).reported
        )
    return objective


def check_fit(objective: Objective, link: Any, num_samples: int) -> None:
    """Refuse, before any work, an objective that a model or a number of samples cannot serve.

    Raises
    ------
    ValueError
        Naming the estimator and what it needs.
    """
    name, route = str(objective.estimator), objective.estimator.route
    if route in (TOTAL, PATH) and not link.reparameterised:
        raise ValueError(
            f"{name} needs draws of z that can be differentiated, which {link.spec.name} does not "
            "have: choose an estimator for discrete latents, such as reinforce"
        )
    if getattr(link, "fresh", False) and objective.estimator.spec.name != "elbo":
        raise ValueError(
            f"{name} needs a z that all rows share: choose perturbation=shared, or --estimator elbo"
        )
    needs = [("log_q", name)] if route != TOTAL and link.reparameterised else []
    if route == SLEEP:
        needs = [(each, name) for each in ("log_q", "draw_prior", "draw_x")]
    if objective.free_bits and not hasattr(link, "draw_joint"):
        needs.append(("kl_of_units", "a minimum of information (free bits)"))
    for capability, what in needs:
        problem = lacking(link, capability, what)
        if problem:
            raise ValueError(problem)
    if objective.latent == KL:
        problem = lacking(link, "kl", "the analytic KL divergence")
        if problem:
            raise ValueError(f"{problem}: choose --estimator elbo, which samples it")
    sampled = name == "elbo" and hasattr(link, "draw_joint")
    if objective.free_bits and objective.latent != KL and not sampled:
        raise ValueError(
            f"a minimum of information (free bits) is of the ELBO's KL divergence, not of {name}: "
            "choose --estimator elbo"
        )
    _check_values(objective, num_samples)


def _check_values(objective, num_samples):
    """Refuse what an estimator's options, as they are and as they become, and K do not allow."""
    rule, now = objective.estimator, {}
    check_annealed(objective.annealed, rule)
    if rule.learned:
        now[rule.learned] = np.full(1, 0.5)
    log_w = np.zeros((num_samples + rule.num_auxiliary, 1))
    for values in ({each.option: each.start for each in objective.annealed}, objective.at_last):
        rule(log_w, **now | values)


def draw(link, x, source, num_samples, objective, now=None):
    """Draw z for x, N data points, and evaluate all densities that an objective needs."""
    now, route = now or {}, objective.estimator.route
    q, scaling = link.infer(x), Route()
    drawn = num_samples + objective.estimator.num_auxiliary
    if objective.estimator.one_bound and hasattr(link, "draw_joint"):
        joint = link.draw_joint(x, q, source, drawn)
    else:
        joint = _two_passes(link, x, q, source, drawn, scaling, route)
    z, log_q, log_px, log_pz, groups = joint
    log_w = float64(log_px.array) + float64(log_pz.array) - float64(log_q.array)
    draws = Draws(q, z, scaling, log_px, log_pz, log_q, None, log_w, num_samples, log_w)
    if objective.latent == KL:
        draws = draws._replace(kl=link.kl(q), costly=_costly(link, q, now.get("open")))
    elif "open" in now:
        draws = draws._replace(costly=F.sum(groups * now["open"], axis=-1))
    if route == SLEEP:
        draws = draws._replace(dreamt=_dreamt(link, source, log_w.shape[1]))
    return _weighing_kl(draws, now["kl"]) if "kl" in now else draws


def _two_passes(link, x, q, source, drawn, scaling, route):
    """`Joint` where the gradient of the model is to be told from that through the samples."""
    z, log_q = link.draw(q, source, drawn)
    fixed = not link.reparameterised or route in (SCORE, SLEEP)
    if fixed and link.reparameterised:
        z = tree(lambda each: each.array, z)
        log_q = link.log_q(q, z)
    return Joint(z, log_q, *link.log_joint(x, z if fixed else _scaled(scaling, z)))


def information(link, x, source, num_samples):
    """The KL divergence of each latent unit, or group, of each data point: an array (N, G).

    In closed form, or the mean over the samples that `draw` takes from the same source.
    """
    with chainer.no_backprop_mode():
        q = link.infer(x)
        if hasattr(link, "kl_of_units"):
            return link.kl_of_units(q).array
        return link.draw_joint(x, q, source, num_samples).groups.array.mean(axis=0)


def _weighing_kl(draws, weight):
    """Draws whose estimator sees log p(z) - log q(z|x) with a weight."""
    of_data = float64(draws.log_px.array)
    followed = of_data + weight * (draws.log_w - of_data)
    return draws._replace(followed=followed, kl_weight=weight)


def _costly(link, q, units):
    """The KL divergence of those units, an array (D,) of 0 and 1, that have more than is free."""
    return None if units is None else F.sum(link.kl_of_units(q) * units, axis=-1)


def _dreamt(link, source, num_points):
    """log q(z|x) of one draw of (x, z) from the model for each data point."""
    with chainer.no_backprop_mode():
        z = link.draw_prior(source, 1, num_points)
        x = link.draw_x(z, source)[0]
    return link.log_q(link.infer(x), z)


def follow(draws, objective, now=None):
    """(the bound that the estimator follows, shape (N,), its `Weights`)."""
    options = {key: value for key, value in (now or {}).items() if key != "open"}
    return objective.estimator.with_bound(draws.followed, **options)


def _scaled(scaling, z):
    if not isinstance(z, tuple):
        return scaling(z)
    return scaling(*z) if len(z) > 1 else (scaling(*z),)


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
    model, kl = weights.model, draws.kl_weight
    if weights.path is not None and weights.path is not model:
        model = _away_from_zero(model)
        draws.route.scale = _without_nothing(weights.path) / model
    terms = [(model, draws.log_px)]
    if objective.latent == SAMPLED and draws.costly is not None:
        terms.append((-model if kl is None else -kl * model, draws.costly))
    elif objective.latent == SAMPLED:
        prior = model if kl is None else kl * model
        if kl is not None and weights.path is not None:
            weights = weights._replace(path=kl * weights.path)  # a score's hold it already
        terms += [(prior, draws.log_pz), *_latent_terms(link, draws, objective, weights)]
    elif objective.latent == KL:
        costly = draws.kl if draws.costly is None else draws.costly
        cost = namespace(draws.log_w).ones_like(draws.kl.array)
        terms.append((-cost if kl is None else -kl * cost, costly))
    return weighted_sum([(_shared(each, value.dtype), value) for each, value in terms])


def _shared(weights, dtype):
    """Minus the weights over the number of data points, as a loss of the network's precision."""
    return _without_nothing((-1 / weights.shape[-1]) * weights).astype(dtype)


def _without_nothing(weights):
    xp = namespace(weights)
    return xp.where(xp.abs(weights) < NOTHING, 0.0, weights)


def _latent_terms(link, draws, objective, weights):
    """The part of log q(z|x): by its total derivative, the path, the score or dreams alone.

    The derivative along the draw is path and score together, so what it has of the score too much
    or too little enters at fixed z.
    """
    route = objective.estimator.route
    if route == SCORE:
        return [(weights.score, draws.log_q)]
    if route == SLEEP:
        return [(namespace(draws.log_w).ones_like(draws.log_w[:1]), draws.dreamt)]
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
