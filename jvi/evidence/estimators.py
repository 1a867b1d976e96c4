"""Gradient estimators: three weights per sample, computed from log-weights alone.

For one data point the ascent direction of every estimator here is ::

    sum over k of   model_k * d/dtheta [log p(x|z_k) + log p(z_k)]      at fixed z_k
                  + path_k  * d/dz [log w_k] * d/dphi z_k               through the sample
                  + score_k * d/dphi log q(z_k|x)                       at fixed z_k

with the weights held constant. A rule is a function from `log_w`, shape (K, N), and options to
(bound, `Weights`): the bound that it follows, shape (N,), and these weights. A new one is such a
function, in the module of its route, and its line in `ESTIMATORS`; `estimator` makes it from its
name. docs/estimators.md says what each is unbiased for.
"""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

from jvi.evidence import debiased, pathwise, score_function, total_derivative
from jvi.evidence.arrays import Array, float64, float64_context
from jvi.evidence.weights import Weights
from jvi.spec import LEARNED, Spec, parse

__all__ = [
    "ESTIMATORS",
    "PATH",
    "SCORE",
    "SLEEP",
    "TOTAL",
    "Estimator",
    "Rule",
    "Weights",
    "estimator",
]

# How log q(z|x) enters: by its total derivative (score = -path, the gradient of one scalar where
# path = model), through the samples alone, at fixed samples alone, or at the model's own data.
TOTAL, PATH, SCORE, SLEEP = "total", "path", "score", "sleep"


class Rule(NamedTuple):
    """A line of `ESTIMATORS`.

    Attributes
    ----------
    function : callable
        Of (log_w, options), called within `float64_context` with float64 log-weights.
    route : str
        One of `TOTAL`, `PATH`, `SCORE` and `SLEEP`: how log q enters.
    source : str
        Who found it.
    auxiliary : str or None
        The option that says how many rows of `log_w` are auxiliary draws.
    apart : bool
        Whether the encoder ascends another bound than the model, where log q's derivative is total.

    Examples
    --------
    >>> from jvi.evidence.estimators import ESTIMATORS
    >>> ESTIMATORS["dreg"].route, ESTIMATORS["dreg"].source
    ('path', 'Tucker et al. 2019')
    """

    function: Callable[..., tuple[Array, Weights]]
    route: str
    source: str
    auxiliary: str | None = None
    apart: bool = False


class Estimator(NamedTuple):
    """A rule with values for its options: a function from log-weights to `Weights`.

    Attributes
    ----------
    spec : jvi.spec.Spec
        Its name and options; `str` gives the spelling that `estimator` reads.
    rule : Rule
        Its line in `ESTIMATORS`.

    Examples
    --------
    >>> import jvi
    >>> jvi.estimator("ciwae")
    <estimator ciwae:beta=0.5: Rainforth et al. 2018>
    """

    spec: Spec
    rule: Rule

    def __call__(self, log_w: Array, **now: Any) -> Weights:
        """The gradient weights of log-weights.

        Parameters
        ----------
        log_w : array, shape (K, N)
            Log importance weights.
        **now : float or array
            As for `with_bound`.

        Returns
        -------
        Weights

        Raises
        ------
        ValueError
            As `with_bound`.

        Examples
        --------
        >>> import numpy as np
        >>> import jvi
        >>> jvi.estimator("renyi")(np.log([[1.0], [9.0]]), alpha=0.5).model.ravel()  # as √w
        array([0.25, 0.75])
        """
        return self.with_bound(log_w, **now)[1]

    def with_bound(self, log_w: Array, **now: Any) -> tuple[Array, Weights]:
        """The value of the bound, shape (N,), in nats, and the gradient weights.

        Parameters
        ----------
        log_w : array, shape (K, N)
            Log importance weights.
        **now : float or array
            Values in the place of options, as of those that are learned or change while training.
            `kl` is the weight that log p(z) - log q(z|x) has in `log_w`: see `weighs_kl`.

        Returns
        -------
        bound : array, shape (N,), float64
            In nats; NaN where `log_w` holds NaN or +inf.
        weights : Weights

        Raises
        ------
        ValueError
            For a value that an option cannot have, or too few samples.

        Examples
        --------
        >>> import numpy as np
        >>> import jvi
        >>> bound, weights = jvi.estimator("iwae").with_bound(np.log([[1.0], [3.0]]))
        >>> bound, weights.model.ravel()
        (array([0.69314718]), array([0.25, 0.75]))
        """
        if self.route == TOTAL:
            now.pop("kl", None)  # a total derivative holds for whatever log-weights are
        with float64_context(log_w):
            return self.rule.function(float64(log_w), **(self.spec.options | now))

    @property
    def route(self) -> str:
        """One of `TOTAL`, `PATH`, `SCORE` and `SLEEP`: how log q(z|x) enters.

        Examples
        --------
        >>> import jvi
        >>> [jvi.estimator(name).route for name in ("iwae", "dreg", "vimco", "wake-sleep")]
        ['total', 'path', 'score', 'sleep']
        """
        return self.rule.route

    @property
    def one_bound(self) -> bool:
        """Whether it is the gradient of one scalar: all densities may come from one pass.

        Examples
        --------
        >>> import jvi
        >>> jvi.estimator("iwae").one_bound, jvi.estimator("piwae").one_bound
        (True, False)
        """
        return self.route == TOTAL and not self.rule.apart

    @property
    def weighs_kl(self) -> bool:
        """Whether log p(z) - log q(z|x) may have a weight, for annealing.

        Examples
        --------
        >>> import jvi
        >>> jvi.estimator("elbo").weighs_kl, jvi.estimator("rws").weighs_kl
        (True, False)
        """
        known = inspect.signature(self.rule.function).parameters
        return self.route == TOTAL or "kl" in known

    @property
    def learned(self) -> str | None:
        """The option whose value training finds, or None.

        Examples
        --------
        >>> import jvi
        >>> jvi.estimator("ciwae:beta=learned").learned
        'beta'
        """
        return next((key for key, value in self.spec.options.items() if value == LEARNED), None)

    @property
    def num_auxiliary(self) -> int:
        """How many rows `log_w` has beyond the K samples: auxiliary draws of q, which come last.

        Their weights are zero and the bound leaves them out, as whatever else is reported should.

        Examples
        --------
        >>> import jvi
        >>> jvi.estimator("iwae").num_auxiliary, jvi.estimator("ovis-mc:aux=4").num_auxiliary
        (0, 4)
        """
        return self.spec.options[self.rule.auxiliary] if self.rule.auxiliary else 0

    def __str__(self) -> str:
        return str(self.spec)

    def __repr__(self) -> str:
        return f"<estimator {self.spec}: {self.rule.source}>"


def estimator(name: str | Estimator) -> Estimator:
    """The gradient estimator that `name`, NAME[:key=value,…], stands for.

    Parameters
    ----------
    name : str or Estimator
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
    >>> import jvi
    >>> weights = jvi.estimator("dreg")(np.log([[1.0], [3.0]]))
    >>> weights.model.ravel(), weights.path.ravel(), weights.score
    (array([0.25, 0.75]), array([0.0625, 0.5625]), None)
    """
    if isinstance(name, Estimator):
        return name
    spec = parse(name, {key: rule.function for key, rule in ESTIMATORS.items()}, "estimator")
    return Estimator(spec, ESTIMATORS[spec.name])


ESTIMATORS = {
    "elbo": Rule(total_derivative.elbo, TOTAL, "Kingma & Welling 2014; all terms from the samples"),
    "iwae": Rule(total_derivative.iwae, TOTAL, "Burda et al. 2016"),
    "jvi": Rule(total_derivative.jvi, TOTAL, "Nowozin 2018; can diverge"),
    "jvi-iwae": Rule(
        total_derivative.jvi_iwae, TOTAL, "JVI for the model, IWAE for the encoder", apart=True
    ),
    "jvi-elbo": Rule(total_derivative.jvi_elbo, TOTAL, "Nowozin's code, 'jvi+elbo'", apart=True),
    "miwae": Rule(total_derivative.miwae, TOTAL, "Rainforth et al. 2018"),
    "piwae": Rule(total_derivative.piwae, TOTAL, "Rainforth et al. 2018", apart=True),
    "ciwae": Rule(total_derivative.ciwae, TOTAL, "Rainforth et al. 2018"),
    "renyi": Rule(total_derivative.renyi, TOTAL, "Li & Turner 2016"),
    "stl": Rule(pathwise.stl, PATH, "Roeder et al. 2017, of IWAE; biased for K > 1"),
    "dreg": Rule(pathwise.dreg, PATH, "Tucker et al. 2019"),
    "rws-dreg": Rule(pathwise.rws_dreg, PATH, "Tucker et al. 2019"),
    "renyi-dreg": Rule(pathwise.renyi_dreg, PATH, "the Rényi bound's, docs/estimators.md"),
    "jvi-clip": Rule(pathwise.jvi_clip, PATH, "stable training on JVI, docs/training.md"),
    "jvi-dreg": Rule(pathwise.jvi_dreg, PATH, "JVI-1's, docs/estimators.md"),
    "jvi-model": Rule(debiased.jvi_model, PATH, "JVI for the model, dreg for the encoder"),
    "sumo": Rule(debiased.sumo, PATH, "Luo et al. 2020, for the model; dreg for the encoder"),
    "mlmc": Rule(debiased.mlmc, PATH, "Shi & Cornish 2021, for the model; dreg for the encoder"),
    "reinforce": Rule(score_function.reinforce, SCORE, "Mnih & Rezende 2016"),
    "vimco": Rule(score_function.vimco, SCORE, "Mnih & Rezende 2016"),
    "ovis": Rule(score_function.ovis, SCORE, "Liévin et al. 2020; biased for gamma > 0"),
    "ovis-mc": Rule(score_function.ovis_mc, SCORE, "Liévin et al. 2020", auxiliary="aux"),
    "rws": Rule(score_function.rws, SCORE, "Bornschein & Bengio 2015; Le et al. 2019"),
    "wake-sleep": Rule(score_function.wake_sleep, SLEEP, "Hinton et al. 1995"),
    "tvo": Rule(score_function.tvo, SCORE, "Masrani et al. 2019"),
}
