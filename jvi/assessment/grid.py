"""Log-weights of many samples of many data points, block by block, in bounded memory.

The noise of a data point is drawn from a stream of its own, sample after sample: a result depends
on neither the blocks nor the number of cores, and K samples are the first K of any larger number.
On a GPU the noise is drawn there, and is other noise.
"""

from typing import Any

import numpy as np

from jvi.compat.chainer7 import chainer
from jvi.engine.devices import on_host, rows_at_once
from jvi.engine.random import DeviceSource, PointSource, counter_key
from jvi.engine.threads import cores
from jvi.evidence.arrays import host
from jvi.evidence.quantities import Terms
from jvi.models.protocol import take, tree

__all__ = ["BLOCK", "GRID", "block_size", "draw_terms"]

# Log-weights that a block of data points may have: 4 MB for each float64 copy of them.
GRID = 2**19

# A block has at least so many data points where GRID allows: fewer slow down the encoder.
BLOCK = 64


def block_size(num_images: int, num_samples: int, batch_size: int, device: Any) -> int:
    """How many data points make a block: at most `batch_size`, and a block for every core."""
    rows = rows_at_once(device)
    share = -(-num_images // cores())
    return max(1, min(batch_size, GRID // num_samples, max(BLOCK, rows // num_samples), share))


def draw_terms(
    model: Any, x: Any, num_samples: int, seed: int, replication: int, first: int
) -> Terms:
    """The `Terms` of a block of data points.

    Parameters
    ----------
    model : jvi.Model
    x : array, shape (N, …)
        A block, checked by `model.images`.
    num_samples : int
        K.
    seed, replication : int
        Select the noise.
    first : int
        Number of the block's first data point in its data set.

    Returns
    -------
    Terms
        float64 arrays on the host.

    Raises
    ------
    ValueError
        For log-weights that are not finite.
    """
    num_points = model.link.num_points(x)
    source = _noise(model, seed, replication, first, num_points)
    shape = num_samples, num_points
    log_w, log_px, kl = np.empty(shape), np.empty(shape), None
    # Worker threads do not inherit NumPy's settings; what is not finite is reported below.
    with chainer.no_backprop_mode(), np.errstate(over="ignore", invalid="ignore"):
        q = tree(lambda each: each.array, model.link.infer(x))
        if hasattr(model.link, "kl"):
            kl = host(model.link.kl(q).array).astype(np.float64)
        for samples, points in _chunks(*shape, rows_at_once(model.device, model.link)):
            count = samples.stop - samples.start
            terms = model.log_terms(x[points], take(q, points), source(samples, points), count)
            log_w[samples, points], log_px[samples, points] = map(host, terms)
    bad = ~np.isfinite(log_w).all(axis=0)
    if bad.any():
        raise ValueError(
            f"image {first + int(bad.argmax())} has log-weights that are not finite: "
            "the model's parameters are damaged or its training diverged"
        )
    return Terms(log_w, log_px, kl)


def _chunks(num_samples, num_images, rows):
    """Slices (samples, images) of at most `rows` samples in all, each image's samples in order.

    Many samples of few images rather than the reverse: each image has a stream of its own, from
    which every call takes as much as it can.
    """
    some = min(num_samples, rows)
    images = max(1, rows // some)
    for i in range(0, num_images, images):
        for k in range(0, num_samples, some):
            yield slice(k, min(k + some, num_samples)), slice(i, min(i + images, num_images))


def _noise(model, seed, replication, first, num_points):
    """A function that gives the source of random numbers for slices of samples and points."""
    if on_host(model.device):
        points = range(first, first + num_points)
        whole = PointSource((seed, "evaluation noise", replication), points)
        return lambda samples, points: whole.part(points)
    key = counter_key(seed, "evaluation noise", replication)
    iteration = model.device.xp.zeros(1, np.int64)
    return lambda samples, points: DeviceSource(key, iteration, samples.start, first + points.start)
