"""Gradient estimators: three weights per sample, computed from log-weights alone.

For one data point the ascent direction of every estimator here is

    sum over k of   model_k * d/dtheta [log p(x|z_k) + log p(z_k)]      at fixed z_k
                  + path_k  * d/dz [log w_k] * d/dphi z_k               through the sample
                  + score_k * d/dphi log q(z_k|x)                       at fixed z_k

with the weights held constant. A rule is a function from `log_w`, shape (K, N), and options to
(bound, `Weights`): the bound that it follows, shape (N,), and these weights. A new one is such a
function and its line in `ESTIMATORS`; `estimator` makes it from its name.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from jvi.evidence import bounds
from jvi.evidence.arrays import Array, at_least, float64, float64_context, namespace
from jvi.evidence.jackknife import jackknife_and_weights
from jvi.spec import Spec, parse

__all__ = ["ESTIMATORS", "PATH", "SCORE", "TOTAL", "Estimator", "Rule", "Weights", "estimator"]

# How log q(z|x) enters: by its total derivative (score = -path, the gradient of one scalar where
# path = model), through the samples alone, or at fixed samples alone.
TOTAL, PATH, SCORE = "total", "path", "score"

# Training looks for what is not finite once an epoch: here a GPU would have to wait for it.
elbo_bound = partial(bounds.elbo, check_finite=False)
iwae_bound = partial(bounds.iwae, check_finite=False)
normalised_weights = partial(bounds.normalised_weights, check_finite=False)


class Weights(NamedTuple):
    """Gradient weights of each sample, float64 arrays of shape (K, N); None for an unused route."""

    model: Array
    path: Array | None
    score: Array | None


class Rule(NamedTuple):
    """A line of `ESTIMATORS`: function of (log_w, options), route of log q, and who found it."""

    function: Callable[..., tuple[Array, Weights]]
    route: str
    source: str


class Estimator(NamedTuple):
    """A rule with values for its options: a function from log-weights to `Weights`.

    Attributes
    ----------
    spec : jvi.spec.Spec
        Its name and options; `str` gives the spelling that `estimator` reads.
    rule : Rule
    """

    spec: Spec
    rule: Rule

    def __call__(self, log_w: Array) -> Weights:
        """The gradient weights of `log_w`, shape (K, N)."""
        return self.with_bound(log_w)[1]

    def with_bound(self, log_w: Array) -> tuple[Array, Weights]:
        """The value of the bound, shape (N,), in nats, and the gradient weights."""
        return self.rule.function(log_w, **self.spec.options)

    @property
    def route(self) -> str:
        """One of `TOTAL`, `PATH` and `SCORE`."""
        return self.rule.route

    def __str__(self) -> str:
        return str(self.spec)

    def __repr__(self) -> str:
        return f"<estimator {self.spec}: {self.rule.source}>"


def estimator(name: str | Estimator) -> Estimator:
    """The gradient estimator that `name`, NAME[:key=value,…], stands for.

    Parameters
    ----------
    name : str
        A key of `ESTIMATORS` and values for its options: "iwae", "jvi-clip:order=2".

    Returns
    -------
    Estimator
        A function from log-weights, an array (K, N) of any library, to `Weights`.

    Raises
    ------
    ValueError
        For an unknown estimator or option, listing the known.

    Examples
    --------
    >>> import numpy as np
    >>> weights = estimator("dreg")(np.log([[1.0], [3.0]]))
    >>> weights.model.ravel(), weights.path.ravel(), weights.score
    (array([0.25, 0.75]), array([0.0625, 0.5625]), None)
    """
    if isinstance(name, Estimator):
        return name
    spec = parse(name, {key: rule.function for key, rule in ESTIMATORS.items()}, "estimator")
    return Estimator(spec, ESTIMATORS[spec.name])


def elbo(log_w):
    """The plain evidence lower bound: all samples alike."""
    with float64_context(log_w):
        xp, log_w = namespace(log_w), float64(log_w)
        return elbo_bound(log_w), _total(xp.full_like(log_w, 1.0 / log_w.shape[0]))


def iwae(log_w):
    """Normalised importance weights (Burda et al. 2016, equation 14)."""
    return iwae_bound(log_w), _total(normalised_weights(log_w))


def jvi(log_w, *, order: int = 1):
    """The derivative of JVI with respect to each log-weight, for model and encoder alike.

    This is the gradient of the original code. The estimate it ascends is unbounded in the
    encoder's parameters, so training on it can diverge; see `jvi_clip`.
    """
    value, weights = _jackknife(log_w, order)
    return value, _total(weights)


def jvi_iwae(log_w, *, order: int = 1):
    """JVI for the model, IWAE for the encoder."""
    value, weights = _jackknife(log_w, order)
    return value, _total(weights, normalised_weights(log_w))


def jvi_elbo(log_w, *, order: int = 1):
    """JVI for the model, ELBO for the encoder: the original's "jvi+elbo"."""
    value, weights = _jackknife(log_w, order)
    return value, _total(weights, elbo(log_w)[1].path)


def dreg(log_w):
    """IWAE for the model, doubly reparameterised for the encoder (Tucker et al. 2019, eq. 8)."""
    weights = normalised_weights(log_w)
    return iwae_bound(log_w), Weights(weights, weights**2, None)


def jvi_clip(log_w, *, order: int = 1):
    """JVI's weights without their negative ones for the model, `dreg` for the encoder.

    The default for training on JVI: as stable as IWAE, and better (docs/training.md). A negative
    weight makes the model forget a sample, which early in training, when one weight dominates, is
    noise of the jackknife.
    """
    value, weights = _jackknife(log_w, order)
    with float64_context(log_w):
        xp = namespace(weights)
        weights = at_least(weights, 0.0)
        weights = weights / xp.sum(weights, axis=0)
        return value, Weights(weights, normalised_weights(log_w) ** 2, None)


def jvi_dreg(log_w, *, order: int = 1):
    """JVI for the model, the doubly reparameterised gradient of IWAE for the encoder."""
    value, weights = _jackknife(log_w, order)
    return value, Weights(weights, normalised_weights(log_w) ** 2, None)


def reinforce(log_w):
    """The score-function gradient of IWAE: d_k = log mean w - v_k, without a control variate.

    Unbiased and of high variance; needs no derivative through the samples, which may be discrete
    (Mnih & Rezende 2016, equation 5; Liévin et al. 2020).
    """
    bound, weights = iwae_bound(log_w), normalised_weights(log_w)
    return bound, Weights(weights, None, bound - weights)


def _jackknife(log_w, order):
    return jackknife_and_weights(log_w, order, check_finite=False)


def _total(model: Any, path: Any = None) -> Weights:
    path = model if path is None else path
    return Weights(model, path, -path)


ESTIMATORS = {
    "elbo": Rule(elbo, TOTAL, "Kingma & Welling 2014; all terms from the samples"),
    "iwae": Rule(iwae, TOTAL, "Burda et al. 2016"),
    "jvi": Rule(jvi, TOTAL, "Nowozin 2018; can diverge"),
    "jvi-iwae": Rule(jvi_iwae, TOTAL, "JVI for the model, IWAE for the encoder"),
    "jvi-elbo": Rule(jvi_elbo, TOTAL, "Nowozin's code, 'jvi+elbo'"),
    "dreg": Rule(dreg, PATH, "Tucker et al. 2019"),
    "jvi-clip": Rule(jvi_clip, PATH, "stable training on JVI, docs/training.md"),
    "jvi-dreg": Rule(jvi_dreg, PATH, "JVI for the model, DReG of IWAE for the encoder"),
    "reinforce": Rule(reinforce, SCORE, "Mnih & Rezende 2016; discrete latents, too"),
}
