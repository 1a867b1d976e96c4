"""Bounds on log p(x) from log importance weights, and what the weights themselves say.

Every function takes `log_w`, shape (K, N) unless `axis` says otherwise, of any library that
follows the array API standard (NumPy, CuPy, PyTorch, JAX), and computes in float64. Values are
in nats. NaN and +inf are refused with ValueError; -inf is a zero weight.

With `check_finite` False they are not looked for and come out as NaN or infinite. Nothing then
depends on the numbers but the result: a GPU is not waited for, and the function can be traced.
"""

import math

from jvi.evidence.arrays import Array, float64, float64_context, namespace

__all__ = ["effective_sample_size", "elbo", "iwae", "log_sum_exp", "normalised_weights"]


def elbo(log_w: Array, axis: int = 0, check_finite: bool = True) -> Array:
    """Evidence lower bound, the mean of `log_w` (Kingma & Welling 2014, equation 6).

    Parameters
    ----------
    log_w : array, shape (K, N)
        Log importance weights log p(x|z) + log p(z) - log q(z|x).
    axis : int
        The sample axis.
    check_finite : bool
        Refuse NaN and +inf.

    Returns
    -------
    array, shape (N,), float64
        In nats.

    Raises
    ------
    ValueError
        For NaN or +inf among the log-weights.

    Examples
    --------
    >>> import numpy as np
    >>> import jvi
    >>> jvi.elbo(np.log([[1.0], [4.0]]))  # log 2, the mean of log 1 and log 4
    array([0.69314718])
    """
    with float64_context(log_w):
        return namespace(log_w).mean(_float64(log_w, check_finite), axis=axis)


def iwae(log_w: Array, axis: int = 0, check_finite: bool = True) -> Array:
    """Importance-weighted bound, log of the mean weight (Burda et al. 2016, equation 8).

    Parameters
    ----------
    log_w : array, shape (K, N)
        Log importance weights.
    axis : int
        The sample axis.
    check_finite : bool
        Refuse NaN and +inf.

    Returns
    -------
    array, shape (N,), float64
        In nats; -inf where every weight is zero.

    Raises
    ------
    ValueError
        For NaN or +inf among the log-weights.

    Examples
    --------
    >>> import numpy as np
    >>> import jvi
    >>> jvi.iwae(np.log([[1.0], [3.0]]))  # log 2, of the mean weight
    array([0.69314718])
    """
    with float64_context(log_w):
        return log_sum_exp(log_w, axis, check_finite) - math.log(log_w.shape[axis])


def log_sum_exp(log_w: Array, axis: int = 0, check_finite: bool = True) -> Array:
    """log of the summed weights.

    Parameters
    ----------
    log_w : array, shape (K, N)
        Log importance weights.
    axis : int
        The sample axis.
    check_finite : bool
        Refuse NaN and +inf.

    Returns
    -------
    array, shape (N,), float64
        In nats; -inf where every weight is zero.

    Raises
    ------
    ValueError
        For NaN or +inf among the log-weights.

    Examples
    --------
    >>> import numpy as np
    >>> from jvi.evidence.bounds import log_sum_exp
    >>> np.exp(log_sum_exp(np.log([[1.0], [3.0]])))
    array([4.])
    """
    with float64_context(log_w):
        xp, log_w = namespace(log_w), _float64(log_w, check_finite)
        top = _finite_max(xp, log_w, axis)
        return xp.squeeze(top, axis=axis) + xp.log(xp.sum(xp.exp(log_w - top), axis=axis))


def normalised_weights(log_w: Array, axis: int = 0, check_finite: bool = True) -> Array:
    """The weights divided by their sum.

    Parameters
    ----------
    log_w : array, shape (K, N)
        Log importance weights.
    axis : int
        The sample axis.
    check_finite : bool
        Refuse NaN and +inf.

    Returns
    -------
    array, shape (K, N), float64
        They sum to 1 over `axis`.

    Raises
    ------
    ValueError
        For NaN or +inf among the log-weights.

    Examples
    --------
    >>> import numpy as np
    >>> from jvi.evidence.bounds import normalised_weights
    >>> normalised_weights(np.log([[1.0], [3.0]]))
    array([[0.25],
           [0.75]])
    """
    with float64_context(log_w):
        xp, log_w = namespace(log_w), _float64(log_w, check_finite)
        weights = xp.exp(log_w - _finite_max(xp, log_w, axis))
        return weights / xp.sum(weights, axis=axis, keepdims=True)


def effective_sample_size(log_w: Array, axis: int = 0, check_finite: bool = True) -> Array:
    """1 / (sum of squared normalised weights) (Kong, Liu & Wong 1994).

    Parameters
    ----------
    log_w : array, shape (K, N)
        Log importance weights.
    axis : int
        The sample axis.
    check_finite : bool
        Refuse NaN and +inf.

    Returns
    -------
    array, shape (N,), float64
        Between 1, where one weight is all there is, and K, where they are equal.

    Raises
    ------
    ValueError
        For NaN or +inf among the log-weights.

    Examples
    --------
    >>> import numpy as np
    >>> from jvi.evidence.bounds import effective_sample_size
    >>> effective_sample_size(np.log([[1.0, 1.0], [1.0, 3.0]]))  # 2, and 1 / (1/16 + 9/16)
    array([2. , 1.6])
    """
    with float64_context(log_w):
        weights = normalised_weights(log_w, axis, check_finite)
        return 1.0 / namespace(log_w).sum(weights**2, axis=axis)


def _float64(log_w, check_finite):
    """`log_w` in float64, refused, where that is asked for, with the sentence of `jackknife`."""
    log_w = float64(log_w)
    if check_finite and 0 not in log_w.shape and not bool(namespace(log_w).max(log_w) < math.inf):
        raise ValueError("log_w holds NaN or +inf: check what computed these log-weights")
    return log_w


def _finite_max(xp, log_w, axis):
    """The largest log-weight, kept as an axis of length 1; 0 where all are -inf."""
    top = xp.max(log_w, axis=axis, keepdims=True)
    return xp.where(xp.isinf(top) & (top < 0), xp.zeros_like(top), top)
