"""The evidence of a Bayesian network: log p(targets|features), all weights integrated out.

One number for a whole data set, from draws of all weights: by importance sampling from q, or by
annealing (docs/ais.md). Sums over rows and weights are float64. Where the noise of a regression is
learned, the evidence is that of the network with the noise as it was found.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from jvi.assessment.annealing import STARTS, ais
from jvi.assessment.bidirectional import Sandwich, sandwich
from jvi.assessment.block import SIMULATED
from jvi.compat.chainer7 import chainer
from jvi.engine.random import PointSource
from jvi.evidence.arrays import host
from jvi.evidence.bounds import effective_sample_size, iwae
from jvi.evidence.diagnostics import jackknife_error, pareto_k, pareto_threshold, trust
from jvi.evidence.jackknife import jackknife

__all__ = [
    "NetworkEvidence",
    "annealed",
    "bracket",
    "importance",
    "log_weights",
    "simulated",
]

NUMBERS = 2**23  # of weights drawn at once: 32 MB
ROUNDING = 1e-2  # nats, of log-weights whose rows are float32
GROUPS = 16  # of samples, for standard errors; with half_width(…, GROUPS) an interval


class NetworkEvidence(NamedTuple):
    """Estimates of log p(targets|features), in nats, from the same draws of the weights.

    Attributes
    ----------
    values : dict of str to float
        By name: "elbo", "iwae", "jvi-M"; or "ais", "ais-prior".
    errors : dict of str to float
        Their Monte-Carlo standard errors, by leaving out groups of draws; nan for one draw.
    num_samples : int
        K, draws or chains.
    ess : float
        Effective sample size, between 1 and K.
    pareto_k : float
        nan for fewer than 30.
    doubts : tuple of str
        Why not to believe the values, in sentences; empty where nothing speaks against them.
    log_w : numpy.ndarray, shape (K, 1), float64
    """

    values: dict[str, float]
    errors: dict[str, float]
    num_samples: int
    ess: float
    pareto_k: float
    doubts: tuple[str, ...]
    log_w: np.ndarray

    def __repr__(self) -> str:
        lines = [f"<evidence of a network, K = {self.num_samples:,}, ESS {self.ess:.1f}>"]
        for name, value in self.values.items():
            lines.append(f"{name:9} {value:12.4f} ± {self.errors[name]:.4f} nats")
        return "\n  ".join([*lines, *self.doubts])


def log_weights(
    model: Any,
    x: Any,
    num_samples: int,
    *,
    seed: int = 0,
    replication: int = 0,
    progress: bool = False,
) -> np.ndarray:
    """log p(x|z) + log p(z) - log q(z) of draws z of the weights from q, shape (K, 1), float64.

    K draws are the first K of any larger number, and memory depends on neither K nor the rows.

    Parameters
    ----------
    model : jvi.Model
        One for which all rows of x are one data point.
    x : array, shape (B, F + 1)
        Features and, in the last column, targets, as the model was trained on.
    num_samples : int
        K.
    seed, replication : int
        Select the noise.
    progress : bool
        Show a progress bar after two seconds.

    Raises
    ------
    ValueError
        For impossible numbers, data that do not fit, another kind of model, or log-weights that
        are not finite.
    """
    if num_samples < 1:
        raise ValueError(f"the number of samples must be at least 1, not {num_samples}")
    x = _rows(model, x)
    source = PointSource((seed, "evaluation noise", replication), [0], device=model.device)
    some = max(1, NUMBERS // model.num_latent)
    log_w = np.empty((num_samples, 1))
    with (
        chainer.no_backprop_mode(),
        np.errstate(over="ignore", invalid="ignore"),
        tqdm(total=num_samples, unit="draw", disable=None if progress else True, delay=2) as bar,
    ):
        q = model.link.infer(x)
        for start in range(0, num_samples, some):
            stop = min(start + some, num_samples)
            log_w[start:stop] = host(model.log_terms(x, q, source.part(), stop - start)[0])
            bar.update(stop - start)
    if not np.isfinite(log_w).all():
        raise ValueError(
            "the network has log-weights that are not finite: its parameters are damaged or its "
            "training diverged"
        )
    return log_w


def importance(
    model: Any, x: Any, num_samples: int = 1000, orders: Sequence[int] = (1,), **options: Any
) -> NetworkEvidence:
    """Importance sampling from q: the ELBO, IWAE, and JVI of some orders.

    Parameters
    ----------
    model, x, num_samples, **options
        As for `log_weights`.
    orders : sequence of int
        Of the jackknife, each from 1 and less than K.

    Raises
    ------
    ValueError
        As `log_weights`, or for such an order.
    """
    for order in orders:
        if not 1 <= order < num_samples:
            raise ValueError(f"jackknife order {order} must be at least 1, and below the samples")
    log_w = log_weights(model, x, num_samples, **options)
    estimators = {"elbo": lambda w: w.mean(axis=0), "iwae": iwae}
    estimators |= {f"jvi-{order}": _jackknife(order) for order in orders}
    doubts = [*_of_weights(log_w), *_of_jackknife(log_w, max(orders, default=0))]
    return _evidence(log_w, estimators, doubts)


def annealed(
    model: Any, x: Any, num_chains: int = 16, num_temps: int = 1000, **options: Any
) -> NetworkEvidence:
    """Annealed importance sampling over the weights: "ais-prior", or, with prior=False, "ais".

    Parameters
    ----------
    model : jvi.Model
    x : array, shape (B, F + 1)
    num_chains, num_temps, **options
        As for `jvi.ais.ais`, whose default start is q; here it is the prior.

    Raises
    ------
    ValueError
        As `ais`, or for another kind of model.
    """
    prior = options.setdefault("prior", True)
    _rows(model, x)
    samples = ais(model, x, num_chains, num_temps, **options)
    name = next(name for name, start in STARTS.items() if start == prior)
    accepted = float(samples.acceptance[0])
    low = [f"only {accepted:.0%} of the moves were accepted: take smaller steps"]
    doubts = [*_of_weights(samples.log_w), *(low if accepted < 0.3 else [])]
    return _evidence(samples.log_w, {name: iwae}, doubts)


def simulated(model: Any, x: Any, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Weights from the prior, and data with the features of x and targets drawn by them.

    Returns
    -------
    z : numpy.ndarray, shape (1, P)
        An exact draw from the posterior of those data.
    x : numpy.ndarray, shape (B, F + 1), float32
    """
    x = _rows(model, x)
    source = PointSource((seed, "annealing noise", 0), [0], (SIMULATED,), model.device).part()
    with chainer.no_backprop_mode():
        z = model.link.draw_prior(source, 1, 1)
        targets = model.link.draw_targets(x[:, :-1], z, source)
    return host(z)[0], host(model.device.xp.concatenate([x[:, :-1], targets.T], axis=1))


def bracket(
    model: Any,
    x: Any,
    num_chains: int = 16,
    num_temps: int = 1000,
    *,
    seed: int = 0,
    **options: Any,
) -> Sandwich:
    """Bidirectional Monte Carlo (Grosse et al. 2015): how exact annealing is for such data.

    Of targets that the model itself has drawn for the features of x: with the real ones there is no
    exact draw of the weights to anneal backwards from, and the gap is taken over as what annealing
    with these numbers leaves open (Grosse et al. 2016).

    Parameters
    ----------
    model, x, num_chains, num_temps, **options
        As for `annealed`.
    seed : int
        Of the targets and the noise.
    """
    options.setdefault("prior", True)
    z, drawn = simulated(model, x, seed)
    return sandwich(model, z, drawn, num_chains, num_temps, seed=seed, **options)


def _rows(model, x):
    """x as the model takes it, where all of it is one data point."""
    if len(x) == 0:
        raise ValueError("there are no rows to evaluate")
    x = model.images(x)
    if not hasattr(model.link, "log_likelihood_rows"):
        raise ValueError(
            f"{model.link.spec.name} has latents for every data point: its evidence is what "
            "jvi.evaluate estimates"
        )
    return x


def _jackknife(order):
    return lambda log_w: jackknife(log_w, order)


def _evidence(log_w, estimators, doubts):
    values = {name: float(host(function(log_w))[0]) for name, function in estimators.items()}
    errors = {name: _error(function, name, log_w) for name, function in estimators.items()}
    ess, k = float(effective_sample_size(log_w)[0]), float(pareto_k(log_w)[0])
    return NetworkEvidence(values, errors, len(log_w), ess, k, tuple(doubts), log_w)


def _error(function, name, log_w):
    """By the jackknife over groups; nan where what remains is too few for an order."""
    order = int(name.removeprefix("jvi-")) if name.startswith("jvi-") else 0
    groups = min(GROUPS, len(log_w))
    if groups < 2 or len(log_w) - -(-len(log_w) // groups) <= order:
        return float("nan")
    return float(jackknife_error(function, log_w, groups)[0])


def _of_weights(log_w):
    """Sentences on weights that are too uneven, unless they differ by rounding alone."""
    if np.ptp(log_w) < ROUNDING:
        return
    k, threshold = pareto_k(log_w)[0], pareto_threshold(len(log_w))
    ess = effective_sample_size(log_w)[0]
    if k > threshold:
        yield (
            f"Pareto k is {k:.2f}, above {threshold:.2f}: where these draws come from is too far "
            "from the posterior for so few, and the errors above are too small"
        )
    if ess < 2 <= len(log_w):
        yield f"the effective sample size is {ess:.1f}: one draw of the weights decides the values"


def _of_jackknife(log_w, order):
    if not order:
        return
    found = trust(log_w, order)
    if found.large_correction[0]:
        yield (
            f"JVI-{order} corrects IWAE by {found.correction[0]:.2f} nats, more than the standard "
            f"error of {found.error[0]:.2f}: its expansion does not hold with so few draws"
        )
