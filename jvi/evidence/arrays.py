"""Array namespaces: NumPy, CuPy, PyTorch, JAX and array-api-strict by one spelling."""

from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any

import array_api_compat
import numpy as np

__all__ = ["Array", "at_least", "at_most", "float64", "float64_context", "host", "namespace"]

Array = Any  # of any library that follows the array API standard


def namespace(array: Array) -> Any:
    """The array API namespace of `array`: NumPy, CuPy, PyTorch, JAX or array-api-strict."""
    if type(array) is np.ndarray:  # at once: an estimator asks two dozen times
        return _numpy()
    return array_api_compat.array_namespace(array)


@cache
def _numpy():
    """Imported when first needed: it brings more of NumPy than `import jvi` should."""
    from array_api_compat import numpy

    return numpy


def float64(array: Array) -> Array:
    """`array` in float64, on its own device."""
    xp = namespace(array)
    return xp.astype(array, xp.float64, copy=False)


def at_least(array: Array, low: float) -> Array:
    """`array` with `low` for all below it; what is not a number stays so.

    Unlike `clip` through array-api-compat it neither masks nor copies from the host, for which a
    GPU would have to wait.
    """
    return namespace(array).where(array < low, low, array)


def at_most(array: Array, high: float) -> Array:
    """`array` with `high` for all above it, as `at_least`."""
    return namespace(array).where(array > high, high, array)


def float64_context(array: Array) -> AbstractContextManager:
    """A context in which the library of `array` computes in float64.

    JAX makes float64 arrays only where it is told to; every other library needs nothing.
    """
    if array_api_compat.is_jax_array(array):
        import jax

        return jax.enable_x64(True)
    return nullcontext()


def host(array: Array) -> np.ndarray:
    """`array` as a NumPy array, without its gradient; copies only from a GPU."""
    if array_api_compat.is_torch_array(array):
        array = array.detach().cpu()
    return array.get() if hasattr(array, "get") else np.asarray(array)
