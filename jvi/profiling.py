"""Where the time of a run goes, by looking at what every thread is doing, 200 times a second."""

import linecache
import sys
import threading
from collections import Counter
from contextlib import contextmanager

from jvi.cli import table

__all__ = ["CATEGORIES", "printed_profile", "profiled"]

CATEGORIES = ("matrix products", "elementwise", "random numbers", "optimizer", "data", "other")

INTERVAL = 0.005  # seconds

# Where a thread that has nothing to do stands.
IDLE = ("/threading.py", "/concurrent/futures/thread.py", "/concurrent/futures/_base.py")

# By the line that is running, or by the file of a function among those that called it.
LINES = {
    "matrix products": (" @ ", ".dot(", "matmul("),
    "random numbers": ("standard_normal(", "rng.random(", "permutation("),
}
CALLERS = {
    "optimizer": ("/chainer/optimizer.py", "/chainer/optimizers/", "/chainer/optimizer_hooks/"),
    "data": ("/jvi/datasets/", "/chainer/iterators/"),
}
ELEMENTWISE = ("/jvi/functions/", "/chainer/functions/", "/numpy/", "/jvi/bounds.py", "/jvi/jack")


@contextmanager
def profiled():
    """Yield a dictionary that, after the block, holds the share of the time of each category.

    The time is that of all working threads together; a thread that waits for another is left out.
    Samples fall where a thread lets others run: short Python code is counted somewhat too low.
    """
    counts, shares, done = Counter(), {}, threading.Event()
    sampler = threading.Thread(target=_sample, args=(counts, done), daemon=True)
    sampler.start()
    try:
        yield shares
    finally:
        done.set()
        sampler.join()
        total = max(1, counts.total())
        shares.update({category: counts[category] / total for category in CATEGORIES})


@contextmanager
def printed_profile(wanted):
    """`profiled`, with its result printed after the block, if `wanted`; else nothing."""
    if not wanted:
        yield
        return
    with profiled() as shares:
        yield
    rows = [[category, f"{share:.0%}"] for category, share in shares.items()]
    print(table(rows, ["where the time went", "share"]))


def _sample(counts, done):
    this = threading.get_ident()
    while not done.wait(INTERVAL):
        frames = sys._current_frames()
        counts.update(
            _category(frame)
            for thread, frame in frames.items()
            if thread != this and not _file(frame).endswith(IDLE)
        )


def _category(frame):
    line = linecache.getline(frame.f_code.co_filename, frame.f_lineno)
    for category, parts in LINES.items():
        if any(part in line for part in parts):
            return category
    leaf, callers = _file(frame), set()
    while frame is not None:
        callers.add(_file(frame))
        frame = frame.f_back
    for category, parts in CALLERS.items():
        if any(part in file for part in parts for file in callers):
            return category
    return "elementwise" if any(part in leaf for part in ELEMENTWISE) else "other"


def _file(frame):
    return frame.f_code.co_filename.replace("\\", "/")
