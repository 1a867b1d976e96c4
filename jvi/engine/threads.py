"""Threads: a function of many pieces, on all cores of a CPU."""

import ctypes
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from functools import cache

from jvi.engine.devices import on_host
from jvi.engine.ranks import ranks

__all__ = ["cores", "parallel_map", "shared_map", "stopped"]


def parallel_map(function, items, device):
    """Yield `function` of each item, in order; on the CPU with a thread for each core.

    Each thread works through whole items with single-threaded BLAS, so that what happens between
    the matrix products runs on all cores, too, and on arrays that fit the caches. The results do
    not depend on the number of threads.
    """
    items = list(items)
    workers = min(len(items), _threads()) if on_host(device) else 1
    _keep_freed_memory()
    if workers <= 1:
        # One thread here, too: those of BLAS wait for each other by spinning, which takes ten times
        # as long where other processes want the cores, and gains little at the size of an item.
        with _blas().limit(limits=1, user_api="blas") if on_host(device) else nullcontext():
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


def shared_map(function, items, device):
    """`parallel_map` of this rank's share of a sequence: the results of all ranks, a list."""
    own = items[ranks().share(len(items))]
    return ranks().gather(lambda: list(parallel_map(function, own, device)))


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
    """How many cores this process may use, with the other ranks of its run on this host."""
    if ranks().cores is not None:
        return ranks().cores
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count()


def _threads():
    """How many of them are this process's."""
    return ranks().threads or cores()


@cache
def _blas():
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
