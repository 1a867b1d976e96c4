"""Devices: the only place that knows a CPU from a GPU by name."""

import numpy as np

from jvi.compat.chainer7 import chainer
from jvi.engine.ranks import ranks

__all__ = ["device", "on_host", "rows_at_once", "training_pieces"]

# Rows (samples times data points) that go through the network in one call. On the CPU enough for
# the matrix products to run at full speed, few enough to stay in the caches (6 MB of logits at 784
# pixels); on a GPU enough to fill it (800 MB). Training takes half, as it keeps as much again.
ROWS = 2**11
GPU_ROWS = 2**18


# A batch of samples that are larger than a row has so many pieces at least, but of no fewer points.
PARTS, LEAST = 4, 8


def device(number):
    """The Chainer device that the command line calls `number`; a GPU becomes the current one.

    Of several ranks on a host each takes another GPU, from that one on.

    Parameters
    ----------
    number : int
        -1 for the CPU (NumPy), otherwise the number of a GPU (CuPy).

    Raises
    ------
    ValueError
        When there is no such GPU, with the reason.
    """
    if number < -1:
        raise ValueError(f"device {number} does not exist: use -1 for the CPU or 0, 1, … for a GPU")
    if number == -1:
        return chainer.get_device("@numpy")
    problem = _gpu_problem(number)
    if problem:
        raise ValueError(f"GPU {number} cannot be used: {problem}; use -g -1 for the CPU")
    found = chainer.get_device(f"@cupy:{_of_rank(number)}")
    found.use()
    return found


def _of_rank(number):
    if ranks().size == 1:
        return number
    import cupy

    return ranks().gpu(number, cupy.cuda.runtime.getDeviceCount())


def _gpu_problem(number):
    """Why GPU `number` cannot be used, or None."""
    try:
        import cupy
    except ImportError:
        return "CuPy is not installed (from a clone: pip install -e '.[cuda13]' or '.[cuda12]')"
    if not cupy.cuda.is_available():
        return "CuPy finds no CUDA driver or GPU"
    count = cupy.cuda.runtime.getDeviceCount()
    return f"this machine has {count} GPU(s)" if number >= count else None


def on_host(device):
    """Whether a device is the CPU."""
    return device.xp is np


def rows_at_once(device, link=None):
    """How many samples, over all data points, to evaluate in one call.

    A link whose samples are larger than a plain network's says so by `heft`, the number of rows
    that each counts for.
    """
    rows = ROWS if on_host(device) else GPU_ROWS
    return max(1, rows // getattr(link, "heft", 1))


def training_pieces(num_points, num_samples, device, link=None):
    """Slices of a batch that training works on at once: half of what an evaluation does.

    Batches of larger samples are small, so these are cut for several cores as well.
    """
    size = max(1, rows_at_once(device, link) // 2 // num_samples)
    if on_host(device) and getattr(link, "heft", 1) > 1:
        size = min(size, max(LEAST, -(-num_points // PARTS)))
        count = max(1, -(-num_points // size))
        size = max(1, -(-num_points // count))  # all about alike
    return [slice(start, start + size) for start in range(0, num_points, size)]
