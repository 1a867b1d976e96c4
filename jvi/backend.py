"""Devices, array namespaces and random streams: the only place that knows NumPy from CuPy."""

import ctypes
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from functools import cache

import array_api_compat
import numpy as np

__all__ = [
    "cores",
    "counter_key",
    "device",
    "float64",
    "float64_context",
    "namespace",
    "normals",
    "parallel_map",
    "pieces",
    "rows_at_once",
    "stopped",
    "stream",
    "to_host",
]

# What a random stream is for; the position is part of its key, so append, never reorder.
PURPOSES = (
    "initial parameters",
    "order",
    "binarisation",
    "training noise",
    "evaluation noise",
    "validation noise",
    "bootstrap",
    "pictures",
    "log-weight file",
    "annealing noise",
)

# Rows (samples times data points) that go through the decoder in one call. On the CPU enough for
# the matrix products to run at full speed, few enough to stay in the caches (6 MB of logits at 784
# pixels); on a GPU enough to fill it (800 MB). Training takes half, as it keeps as much again.
ROWS = 2**11
GPU_ROWS = 2**18


def namespace(array):
    """The array API namespace of `array`: NumPy, CuPy, PyTorch, JAX or array-api-strict."""
    return array_api_compat.array_namespace(array)


def float64(array):
    """`array` in float64, on its own device."""
    xp = namespace(array)
    return xp.astype(array, xp.float64, copy=False)


def float64_context(array):
    """A context in which the library of `array` computes in float64.

    JAX makes float64 arrays only where it is told to; every other library needs nothing.
    """
    if array_api_compat.is_jax_array(array):
        import jax

        return jax.enable_x64(True)
    return nullcontext()


def rows_at_once(device):
    """How many samples, over all data points, to evaluate in one call."""
    return ROWS if device.xp is np else GPU_ROWS


def pieces(num_points, num_samples, device):
    """Slices of a batch that training works on at once: half of what an evaluation does."""
    size = max(1, rows_at_once(device) // 2 // num_samples)
    return [slice(start, start + size) for start in range(0, num_points, size)]


def to_host(array):
    """`array` as a NumPy array; copies only from a GPU."""
    return array if isinstance(array, np.ndarray | np.generic) else array.get()


def device(number):
    """The Chainer device that the command line calls `number`; a GPU becomes the current one.

    Parameters
    ----------
    number : int
        -1 for the CPU (NumPy), otherwise the number of a GPU (CuPy).

    Raises
    ------
    ValueError
        When there is no such GPU, with the reason.
    """
    import chainer

    if number < -1:
        raise ValueError(f"device {number} does not exist: use -1 for the CPU or 0, 1, … for a GPU")
    if number == -1:
        return chainer.get_device("@numpy")
    problem = _gpu_problem(number)
    if problem:
        raise ValueError(f"GPU {number} cannot be used: {problem}; use -g -1 for the CPU")
    found = chainer.get_device(f"@cupy:{number}")
    found.use()
    return found


def _gpu_problem(number):
    """Why GPU `number` cannot be used, or None."""
    try:
        import cupy
    except ImportError:
        return "CuPy is not installed (pip install 'jvi[cuda13]' or 'jvi[cuda12]')"
    if not cupy.cuda.is_available():
        return "CuPy finds no CUDA driver or GPU"
    count = cupy.cuda.runtime.getDeviceCount()
    return f"this machine has {count} GPU(s)" if number >= count else None


def stream(seed, purpose, *keys):
    """The random stream of one purpose (and epoch, iteration, data point, …) under a seed.

    Streams with different keys are independent, and a stream does not depend on what was drawn
    from any other; that is why results do not depend on batch sizes or on interruptions.

    Parameters
    ----------
    seed : int
        The run's seed.
    purpose : str
        One of `PURPOSES`.
    *keys : int
        What distinguishes this stream among those of its purpose.

    Returns
    -------
    numpy.random.Generator
    """
    return np.random.Generator(np.random.PCG64(_sequence(seed, purpose, *keys)))


def counter_key(seed, purpose, *keys):
    """As `stream`, the key of a counter-based generator on a GPU: an int of 64 bits."""
    return int(_sequence(seed, purpose, *keys).generate_state(1, np.uint64).view(np.int64)[0])


def _sequence(seed, purpose, *keys):
    return np.random.SeedSequence(seed, spawn_key=(PURPOSES.index(purpose), *keys))


def normals(shape, rng, device):
    """Standard normal float32 noise on `device`.

    Drawn on the host, so that CPU and GPU compute with the same numbers; training on a GPU draws
    its own (`jvi.gpu`).
    """
    return device.send(rng.standard_normal(shape, dtype=np.float32))


def parallel_map(function, items, device):
    """Yield `function` of each item, in order; on the CPU with a thread for each core.

    Each thread works through whole items with single-threaded BLAS, so that what happens between
    the matrix products runs on all cores, too, and on arrays that fit the caches. The results do
    not depend on the number of threads.
    """
    items = list(items)
    workers = min(len(items), cores()) if device.xp is np else 1
    _keep_freed_memory()
    if workers <= 1:
        yield from map(function, items)
        return
    stop = threading.Event()
    pool = ThreadPoolExecutor(workers, initializer=setattr, initargs=(_worker, "stop", stop))
    with _blas().limit(limits=1, user_api="blas"), pool:
        try:
            yield from pool.map(function, items)
        except BaseException:
            stop.set()  # for items that would run on for long
            pool.shutdown(cancel_futures=True)
            raise


_worker = threading.local()


def stopped():
    """Whether the `parallel_map` that this thread works for has failed or was interrupted."""
    stop = getattr(_worker, "stop", None)
    return stop is not None and stop.is_set()


@cache
def _keep_freed_memory():
    """Make glibc keep what arrays leave for the next ones; elsewhere nothing happens.

    Otherwise it gives large arrays back to the system at once, which has to clear every page of
    the next one: a quarter of an evaluation's time.
    """
    trim_threshold, mmap_threshold = -1, -3  # malloc.h: M_TRIM_THRESHOLD, M_MMAP_THRESHOLD
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(mmap_threshold, 2**25)  # the most that it takes
        mallopt(trim_threshold, 2**28)


def cores():
    """How many cores this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count()


@cache
def _blas():
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
