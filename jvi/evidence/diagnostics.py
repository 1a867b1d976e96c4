"""What log importance weights say about the estimates made from them.

`log_w` has shape (K, N), sample axis first unless `axis` says otherwise, and may belong to any
library that follows the array API standard. What leaves for arviz-stats comes back as NumPy.
"""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from jvi.evidence.arrays import Array, float64, float64_context, host, namespace
from jvi.evidence.bounds import effective_sample_size, iwae, normalised_weights
from jvi.evidence.gradient_noise import (
    Moments,
    Noise,
    Reference,
    merge,
    moments,
    noise,
    reference,
    scores,
    turns,
)
from jvi.evidence.jackknife import jackknife

__all__ = [
    "Moments",
    "Noise",
    "Reference",
    "Trust",
    "active_units",
    "half_width",
    "jackknife_error",
    "merge",
    "moments",
    "noise",
    "pareto_k",
    "pareto_threshold",
    "reference",
    "scores",
    "trust",
    "turns",
]

PARETO_K = 0.7  # above it no affordable number of samples helps (Vehtari et al. 2024, section 3)
ESS = 2.0  # below it, one sample has more of the weight than all others
MIN_TAIL = 30  # samples, of which the largest fifth, 6, is the shortest tail that is fitted


def pareto_k(log_w: Array, axis: int = 0) -> np.ndarray:
    """Shape of the generalised Pareto distribution fitted to the largest weights.

    Moments of the weights of order 1/k and above do not exist, as far as these samples tell. By
    arviz-stats, on the host (Vehtari et al. 2024, Pareto smoothed importance sampling).

    Parameters
    ----------
    log_w : array, shape (K, N)
        Log importance weights; -inf is a zero weight.
    axis : int
        The sample axis.

    Returns
    -------
    numpy.ndarray, shape (N,), float64
        nan for K < 30, too few for a tail, and where weights are nan or all are zero; -inf where
        the largest fifth of the weights are equal; +inf where most of the tail is zero beside the
        largest weight.

    Examples
    --------
    >>> import numpy as np
    >>> import jvi
    >>> u = (np.arange(1000.0) + 0.5) / 1000
    >>> jvi.diagnostics.pareto_k(-0.5 * np.log(u)[:, None]).round(1)  # weights 1 / √u have k = 1/2
    array([0.5])
    """
    log_w = np.moveaxis(host(log_w).astype(np.float64), axis, 0)
    if log_w.shape[0] < MIN_TAIL:
        return np.full(log_w.shape[1:], np.nan)
    columns = log_w.reshape(log_w.shape[0], -1).T
    return np.array([_pareto_k(column) for column in columns]).reshape(log_w.shape[1:])


def _pareto_k(log_w):
    from arviz_stats.base import array_stats

    top = log_w.max()
    if not np.isfinite(top):
        return np.nan
    # The tail, as arviz-stats takes it, and what it exceeds; its fit divides by the quartile.
    size = len(log_w)
    count = int(3 * size**0.5) if size > 225 else size // 5
    tail = np.exp(np.sort(log_w)[-count - 1 :] - top)
    if tail[1] == tail[-1]:
        return -np.inf
    if tail[int(count / 4 + 0.5)] - tail[0] < np.finfo(float).tiny:
        return np.inf
    # Zero weights lie below the tail or were caught above; psislw negates what it is given.
    return float(array_stats.psislw(-np.maximum(log_w, top - 1e4))[1])


def pareto_threshold(num_samples: int) -> float:
    """The Pareto k above which K samples are too few, min(1 - 1 / log10 K, 0.7).

    A tail of shape k takes 10^(1/(1-k)) samples before errors of importance sampling are as small
    as their standard error says, and above 0.7 no affordable number is enough (Vehtari et al. 2024,
    sections 3.2.3 and 3.2.4, equation 13). It is 0.7 from K = 2,155 on.

    The threshold is of the true k, and the fitted one is uncertain: by 0.23 at K = 64, where 12
    weights make the tail, 0.12 at 1,000 and 0.09 at 4,000. Of data sets with k = 0.3, for which 27
    samples are enough, 40% come out above it at K = 64, 19% at 128, 6% at 256, none at 1,000 (above
    0.7: 8%, 4%, 1%, none). For a few hundred samples or less it is a share over many data points,
    against these numbers, that says something, not a single data point's flag.

    Parameters
    ----------
    num_samples : int
        K.

    Returns
    -------
    float
        nan for K < 30, as is `pareto_k`.

    Examples
    --------
    >>> import jvi
    >>> [round(jvi.diagnostics.pareto_threshold(K), 2) for K in (64, 256, 1000, 10000)]
    [0.45, 0.58, 0.67, 0.7]
    """
    if num_samples < MIN_TAIL:
        return math.nan
    return min(1.0 - 1.0 / math.log10(num_samples), PARETO_K)


def jackknife_error(
    estimator: Callable[[Array], Array], log_w: Array, num_groups: int = 16
) -> Array:
    """Monte-Carlo standard error of an estimate, from the samples themselves.

    The delete-a-group jackknife (Shao & Tu 1995, section 2.3): with θ_g the estimate without the
    g-th of G groups of samples, its square is (G-1)/G Σ_g (θ_g - mean θ)². G = K is the usual
    leave-one-out jackknife. It costs G estimates from K (1 - 1/G) samples, and is itself known to
    one part in √(2G). With few effective samples it is as unreliable as the estimate; see `trust`.

    Parameters
    ----------
    estimator : callable
        From log-weights, shape (K', N), to estimates, shape (N,): `jvi.iwae`, `jvi.jackknife`, …
    log_w : array, shape (K, N)
        Log importance weights.
    num_groups : int
        G; K where there are fewer samples.

    Returns
    -------
    array, shape (N,), float64
        In nats.

    Raises
    ------
    ValueError
        For fewer than two samples.

    Examples
    --------
    >>> import numpy as np
    >>> import jvi
    >>> log_w = np.array([[0.0], [1.0], [2.0]])
    >>> jvi.diagnostics.jackknife_error(jvi.elbo, log_w)  # of a mean, s / √K = 1 / √3
    array([0.57735027])
    """
    num_samples = log_w.shape[0]
    groups = min(num_groups, num_samples)
    if groups < 2:
        raise ValueError("a jackknife standard error needs at least 2 groups of samples")
    with float64_context(log_w):
        xp, log_w = namespace(log_w), float64(log_w)
        ends = [g * num_samples // groups for g in range(groups + 1)]
        values = xp.stack(
            [
                estimator(xp.concat([log_w[:start, ...], log_w[stop:, ...]]))
                for start, stop in pairwise(ends)
            ]
        )
        return xp.sqrt((groups - 1) * xp.var(values, axis=0))


def half_width(errors: Array, num_groups: int, level: float = 0.95) -> float:
    """Half-width of an interval around the mean estimate of N data points, for these samples.

    √(Σ_n s_n²) / N, with s_n from `jackknife_error`, times a quantile of Student's t. Each s_n has
    G - 1 degrees of freedom, and the sum (G - 1) (Σ s²)² / Σ s⁴ (Satterthwaite 1946): G - 1 for one
    data point, or one that dominates, N (G - 1) for many alike. At G = 8 and one data point
    that of a normal distribution, ±1.96 standard errors, would be an interval of 91%.

    Parameters
    ----------
    errors : array, shape (N,)
        In nats.
    num_groups : int
        G, that of `jackknife_error`: no more than there are samples.
    level : float
        Of confidence, between 0 and 1.

    Returns
    -------
    float
        In nats; nan where an error is.

    Raises
    ------
    ValueError
        For fewer than two groups, no errors, or a level that is none.

    Examples
    --------
    >>> import numpy as np
    >>> import jvi
    >>> round(jvi.diagnostics.half_width(np.ones(1), num_groups=8), 2)
    2.36
    """
    from scipy.stats import t

    errors = host(errors)
    if num_groups < 2 or errors.size == 0 or not 0 < level < 1:
        raise ValueError(
            "an interval needs at least 2 groups, an error and a level between 0 and 1, not "
            f"{num_groups}, {errors.size} and {level}"
        )
    norm = float(np.linalg.norm(errors))
    if norm == 0.0:
        return 0.0
    freedom = (num_groups - 1) / np.sum((errors / norm) ** 4)
    return float(t.ppf(0.5 + 0.5 * level, freedom)) * norm / errors.size


class Trust(NamedTuple):
    """Whether JVI's values can be trusted; arrays of shape (N,), of NumPy.

    Attributes
    ----------
    pareto_k : float64
        nan where it cannot be known, as with fewer than 30 samples.
    ess : float64
        Effective sample size, between 1 and K.
    correction : float64
        JVI - IWAE, in nats.
    error : float64
        Standard error of the estimate, in nats.
    heavy_tail : bool
        Pareto k above `pareto_threshold`: K is out of proportion to the weights' spread, as far as
        k can be told from so many samples.
    few_samples : bool
        Effective sample size below 2: the estimate is one sample's.
    large_correction : bool
        Absolute correction above `error`: terms that the jackknife takes to be small are not.

    Examples
    --------
    >>> import numpy as np
    >>> import jvi
    >>> found = jvi.diagnostics.trust(np.log([[1.0], [3.0]]))
    >>> found.ess, found.few_samples, found.pareto_k
    (array([1.6]), array([ True]), array([nan]))
    """

    pareto_k: np.ndarray
    ess: np.ndarray
    correction: np.ndarray
    error: np.ndarray
    heavy_tail: np.ndarray
    few_samples: np.ndarray
    large_correction: np.ndarray

    @property
    def doubtful(self) -> np.ndarray:
        """Where any of the three holds: bool, shape (N,).

        Examples
        --------
        >>> import numpy as np
        >>> import jvi
        >>> log_w = np.zeros((64, 2))
        >>> log_w[0, 1] = 20.0  # of the second data point, one sample outweighs all others
        >>> jvi.diagnostics.trust(log_w).doubtful
        array([False,  True])
        """
        return self.heavy_tail | self.few_samples | self.large_correction


def trust(log_w: Array, order: int = 1, value: Array | None = None) -> Trust:
    """Where JVI's value, from these log-weights, is not to be trusted.

    The bias that JVI removes is O(1/K), against a standard error of O(1/√K); where the correction
    is the larger of the two, K is outside the range in which the jackknife's expansion holds. The
    standard error is the infinitesimal jackknife's (Jaeckel 1972; Efron 1982, chapter 6), ::

        error² = Σ_k (v_k - 1/K)² = 1/ESS - 1/K,    v the normalised weights,

    that of IWAE, and of JVI up to O(1/K). The leave-one-out jackknife's would never be the smaller
    one at order 1: a dominant weight that makes the correction large makes it just as large.

    Parameters
    ----------
    log_w : array, shape (K, N)
        Log importance weights.
    order : int
        Of the jackknife, less than K.
    value : array, shape (N,), optional
        What `jackknife` returns for them, where that is known.

    Returns
    -------
    Trust

    Raises
    ------
    ValueError
        As `jvi.jackknife`.

    Examples
    --------
    >>> import numpy as np
    >>> import jvi
    >>> found = jvi.diagnostics.trust(np.log([[1.0], [3.0]]))
    >>> found.error**2  # 1/ESS - 1/K = 5/8 - 1/2
    array([0.125])
    """
    k = pareto_k(log_w)
    ess = host(effective_sample_size(log_w))
    value = jackknife(log_w, order) if value is None else value
    correction = host(value) - host(iwae(log_w))
    error = host(_spread(log_w))
    # Rounding: with all weights equal, the correction and its error are both zero.
    large = np.abs(correction) > error + 1e-9
    heavy = k > pareto_threshold(log_w.shape[0])
    return Trust(k, ess, correction, error, heavy, ess < ESS, large)


def _spread(log_w):
    """Norm of the normalised weights' deviation from 1/K, shape (N,)."""
    with float64_context(log_w):
        xp, v = namespace(log_w), normalised_weights(log_w)
        return xp.sqrt(xp.sum((v - 1.0 / v.shape[0]) ** 2, axis=0))


def active_units(q_mean: Array, threshold: float = 0.01) -> Array:
    """Latent dimensions that the encoder uses (Burda et al. 2016, section 5.2).

    Parameters
    ----------
    q_mean : array, shape (N, D)
        Means of q(z|x), over a data set.
    threshold : float
        A unit u is active if the variance over x of E_q[u|x] exceeds it.

    Returns
    -------
    array of bool, shape (D,)

    Examples
    --------
    >>> import numpy as np
    >>> import jvi
    >>> jvi.diagnostics.active_units(np.array([[0.05, 1.0], [-0.05, -1.0]]))  # variances 1/400, 1
    array([False,  True])
    """
    with float64_context(q_mean):
        return namespace(q_mean).var(float64(q_mean), axis=0) > threshold
