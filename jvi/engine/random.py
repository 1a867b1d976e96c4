"""Random numbers: streams keyed by a seed and what they are for, and sources that models draw from.

A source hands out standard normal and uniform numbers of shape (K, N, …). Which numbers those are
depends on the seed, the purpose, the data point or iteration, and on how many arrays were asked
for before; never on batches, chunks, threads or what was drawn for any other purpose.
"""

import threading
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

__all__ = [
    "PURPOSES",
    "BatchSource",
    "DeviceSource",
    "Given",
    "PointSource",
    "Source",
    "counter_key",
    "stream",
]

# What random numbers are for, and the number that stands for it in the key of a stream.
PURPOSES = {
    "initial parameters": 0,
    "order": 1,
    "binarisation": 2,
    "training noise": 3,
    "evaluation noise": 4,
    "validation noise": 5,
    "bootstrap": 6,
    "pictures": 7,
    "log-weight file": 8,
    "annealing noise": 9,
    "active units": 10,
    "gradient noise": 11,
}


def stream(seed: int, purpose: str, *keys: int) -> np.random.Generator:
    """The random stream of one purpose (and epoch, iteration, data point, …) under a seed.

    Streams with different keys are independent, and a stream does not depend on what was drawn
    from any other; that is why results do not depend on batch sizes or on interruptions.

    Parameters
    ----------
    seed : int
        The run's seed.
    purpose : str
        A key of `PURPOSES`.
    *keys : int
        What distinguishes this stream among those of its purpose.

    Returns
    -------
    numpy.random.Generator
    """
    return np.random.Generator(np.random.PCG64(_sequence(seed, purpose, *keys)))


def counter_key(seed: int, purpose: str, *keys: int) -> int:
    """As `stream`, the key of a counter-based generator on a GPU: an int of 64 bits."""
    return int(_sequence(seed, purpose, *keys).generate_state(1, np.uint64).view(np.int64)[0])


def _sequence(seed, purpose, *keys):
    if purpose not in PURPOSES:
        raise ValueError(f"unknown purpose {purpose!r}: it needs a number of its own in PURPOSES")
    return np.random.SeedSequence(seed, spawn_key=(PURPOSES[purpose], *keys))


class Source(Protocol):
    """Random numbers for one call of a model; `shape` is (K, N, …), samples and data points."""

    def normal(self, shape: tuple[int, ...]) -> Any:
        """Standard normal float32 numbers on the model's device."""

    def uniform(self, shape: tuple[int, ...]) -> Any:
        """Numbers in [0, 1) on the model's device."""


class Given:
    """The arrays of a list, in their order, instead of random numbers.

    Raises
    ------
    ValueError
        When an array has another shape than is asked for, or there are too few.
    """

    def __init__(self, arrays: Sequence[Any]):
        self.waiting = list(arrays)

    def normal(self, shape):
        if not self.waiting:
            raise ValueError(f"the model needs more noise: an array of shape {tuple(shape)}")
        array = self.waiting.pop(0)
        if array.shape != tuple(shape):
            raise ValueError(f"noise has shape {array.shape}, the model expects {tuple(shape)}")
        return array

    uniform = normal


DTYPES = {"normal": np.float32, "uniform": np.float64}


def _fill(rng, kind, out):
    """Fill an array with random numbers of a kind."""
    if kind == "normal":
        rng.standard_normal(dtype=np.float32, out=out)
    else:
        rng.random(out=out)


class _Counting:
    """A source that hands out its array number 0, 1, …: `_take` gets the kind and the shape."""

    taken = 0

    def normal(self, shape):
        return self._take("normal", shape)

    def uniform(self, shape):
        return self._take("uniform", shape)


class BatchSource:
    """Numbers for a whole batch from one stream, which parts of the batch take their share of.

    Array number i is drawn for all N data points when the first part asks for its i-th, so that
    parts can be worked on in any order by any number of threads. It is a source for the whole batch
    itself; parts go on from what it has handed out when they are made.
    """

    def __init__(self, rng: np.random.Generator, num_points: int, device: Any = None):
        self.rng, self.num_points, self.device = rng, num_points, device
        self.drawn: list[np.ndarray] = []
        self.lock = threading.Lock()

    def rows(self, rows: slice) -> Source:
        """The source of the data points `rows`, a slice of the batch."""
        return _Part(self, rows, len(self.drawn))

    def normal(self, shape):
        return self.rows(slice(None)).normal(shape)

    def uniform(self, shape):
        return self.rows(slice(None)).uniform(shape)

    def array(self, index, kind, shape):
        with self.lock:
            if index == len(self.drawn):
                array = np.empty((shape[0], self.num_points, *shape[2:]), DTYPES[kind])
                _fill(self.rng, kind, array)
                self.drawn.append(array if self.device is None else self.device.send(array))
            return self.drawn[index]


class _Part(_Counting):
    def __init__(self, batch, rows, taken):
        self.batch, self.rows, self.taken = batch, rows, taken

    def _take(self, kind, shape):
        self.taken += 1
        return self.batch.array(self.taken - 1, kind, shape)[:, self.rows]


class PointSource:
    """Numbers from streams of each data point's own, sample after sample.

    `part(points)` is the source of some data points' next samples, which must be asked for in
    order. Array number i of a part comes from stream number i of each data point, so that K samples
    are the first K of any larger number.

    Parameters
    ----------
    key : tuple
        (seed, purpose, key, …), to which the number of the data point is added.
    points : sequence of int
        The data points' numbers in their data set.
    more : tuple of int
        What follows the data point in the key.
    """

    def __init__(self, key: tuple, points: Sequence[int], more: tuple = (), device: Any = None):
        self.key, self.points, self.more, self.device = key, points, more, device
        self.streams: list[dict[int, np.random.Generator]] = []

    def part(self, points: slice = slice(None)) -> Source:
        """The source of the data points `points`, from where their streams were left."""
        return _PointPart(self, range(len(self.points))[points])

    def normal(self, shape):
        """Of the first stream of every data point, as a fresh `part` gives it."""
        return self.part().normal(shape)

    def rng(self, index, place):
        while len(self.streams) <= index:
            self.streams.append({})
        if place not in self.streams[index]:
            number = (index,) if index else ()
            key = (*self.key, self.points[place], *self.more, *number)
            self.streams[index][place] = stream(*key)
        return self.streams[index][place]


class _PointPart(_Counting):
    def __init__(self, whole, places):
        self.whole, self.places = whole, places

    def _take(self, kind, shape):
        self.taken += 1
        array = np.empty((len(self.places), shape[0], *shape[2:]), DTYPES[kind])
        for place, own in zip(self.places, array, strict=True):
            _fill(self.whole.rng(self.taken - 1, place), kind, own)
        array = array.swapaxes(0, 1)
        return array if self.whole.device is None else self.whole.device.send(array)


class DeviceSource(_Counting):
    """Numbers drawn on a GPU by counter: of (key, iteration, array, sample, data point) alone.

    Parameters
    ----------
    key : int
        From `counter_key`.
    iteration : CuPy array, int64, shape (1,)
        Part of the counter that a recorded step can change.
    first_sample, first_point : int
        Where the samples and data points asked for begin.
    """

    def __init__(self, key: int, iteration: Any, first_sample: int = 0, first_point: int = 0):
        self.key, self.iteration = key, iteration
        self.first = first_sample, first_point

    def rows(self, rows: slice) -> "DeviceSource":
        """The source of the data points `rows`, a slice of the batch."""
        part = DeviceSource(self.key, self.iteration, self.first[0], self.first[1] + rows.start)
        part.taken = self.taken
        return part

    def _take(self, kind, shape):
        from jvi.functions.kernels import on_cupy

        self.taken += 1
        key = self.key + (self.taken - 1) * 0x9E3779B97F4A7C15  # another key for another array
        key = (key + 2**63) % 2**64 - 2**63
        flat = shape[0], shape[1], int(np.prod(shape[2:]))
        draw = {"normal": on_cupy.normals, "uniform": on_cupy.uniforms}[kind]
        return draw(flat, key, self.iteration, *self.first).reshape(shape)
