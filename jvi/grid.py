"""Log-weights of many samples of many data points, block by block, in bounded memory.

The noise of a data point is drawn from a stream of its own, sample after sample: a result depends
on neither the blocks nor the number of cores, and K samples are the first K of any larger number.
On a GPU the noise is drawn there, and is other noise.
"""

import chainer
import numpy as np

from jvi import backend

__all__ = ["block_size", "log_weight_grid"]

# Log-weights that a block of data points may have: 4 MB for each float64 copy of them.
GRID = 2**19

# A block has at least so many data points where GRID allows: fewer slow down the encoder.
BLOCK = 64


def block_size(num_images, num_samples, batch_size, device):
    """How many data points make a block: at most `batch_size`, and a block for every core."""
    rows = backend.rows_at_once(device)
    share = -(-num_images // backend.cores())
    return max(1, min(batch_size, GRID // num_samples, max(BLOCK, rows // num_samples), share))


def log_weight_grid(model, x, num_samples, seed, replication, first):
    """(log_w, log_px, kl) of a block of data points.

    Parameters
    ----------
    model : jvi.Model
    x : array, shape (N, pixels)
        A block, checked by `model.images`.
    num_samples : int
        K.
    seed, replication : int
        Select the noise.
    first : int
        Number of the block's first data point in its data set.

    Returns
    -------
    tuple of array
        float64 on the host: log-weights and log p(x|z), (K, N), and KL divergences, (N,).

    Raises
    ------
    ValueError
        For log-weights that are not finite.
    """
    noise = (_noise if model.device.xp is np else _gpu_noise)(
        model, seed, replication, first, len(x)
    )
    shape = num_samples, len(x)
    log_w, log_px = np.empty(shape), np.empty(shape)
    # Worker threads do not inherit NumPy's settings; what is not finite is reported below.
    with chainer.no_backprop_mode(), np.errstate(over="ignore", invalid="ignore"):
        q = model.link.posterior(x)
        kl = backend.to_host(model.link.kl(q).array).astype(np.float64)
        for samples, images in _chunks(*shape, backend.rows_at_once(model.device)):
            part = tuple(parameter.array[images] for parameter in q)
            terms = model.log_terms(x[images], part, noise(samples, images))
            chunk = samples, images
            log_w[chunk], log_px[chunk] = map(backend.to_host, terms)
    bad = ~np.isfinite(log_w).all(axis=0)
    if bad.any():
        raise ValueError(
            f"image {first + int(bad.argmax())} has log-weights that are not finite: "
            "the model's parameters are damaged or its training diverged"
        )
    return log_w, log_px, kl


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


def _noise(model, seed, replication, first, num_images):
    """A function that gives standard normal noise, shape (K, N, D), for slices of both."""
    points = range(first, first + num_images)
    rngs = [backend.stream(seed, "evaluation noise", replication, point) for point in points]

    def draw(samples, images):
        shape = images.stop - images.start, samples.stop - samples.start, model.num_latent
        noise = np.empty(shape, np.float32)
        for rng, out in zip(rngs[images], noise, strict=True):
            rng.standard_normal(dtype=np.float32, out=out)
        return noise.transpose(1, 0, 2)

    return draw


def _gpu_noise(model, seed, replication, first, num_images):
    """As `_noise`, drawn on the GPU: other numbers, of which all the same holds."""
    from jvi.functions.kernels import on_cupy

    key = backend.counter_key(seed, "evaluation noise", replication)
    iteration = model.device.xp.zeros(1, np.int64)

    def draw(samples, images):
        shape = samples.stop - samples.start, images.stop - images.start, model.num_latent
        return on_cupy.normals(shape, key, iteration, samples.start, first + images.start)

    return draw
