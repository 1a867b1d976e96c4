"""The profile of work whose kind is known."""

import threading
import time

import numpy as np
import pytest

from jvi.functions.kernels import kernels_for
from jvi.profiling import CATEGORIES, profiled


def products():
    a = np.ones((600, 600), np.float32)
    return a @ a


def noise():
    return np.random.default_rng(0).standard_normal(10**6)


def densities():
    logits = np.ones((4, 64, 784), np.float32)
    pixels, bias = np.ones((64, 784), np.float32), np.zeros(784, np.float32)
    return kernels_for(logits).bernoulli(pixels, logits, bias, False)


def repeat(work, seconds=0.6):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        work()


@pytest.mark.parametrize(
    ("work", "category"),
    [(products, "matrix products"), (noise, "random numbers"), (densities, "elementwise")],
)
def test_the_kind_of_work_is_recognised(work, category):
    with profiled() as shares:
        repeat(work)
    assert tuple(shares) == CATEGORIES
    assert sum(shares.values()) == pytest.approx(1)
    assert max(shares, key=shares.get) == category


def test_worker_threads_count_and_waiting_ones_do_not():
    worker = threading.Thread(target=repeat, args=(products,))
    with profiled() as shares:
        worker.start()
        worker.join()
    assert shares["matrix products"] > 0.6


def test_without_samples_all_shares_are_zero():
    with profiled() as shares:
        pass
    assert set(shares.values()) == {0}


def test_an_error_passes_through_and_the_sampler_ends():
    before = threading.active_count()
    with pytest.raises(ZeroDivisionError), profiled():
        raise ZeroDivisionError
    assert threading.active_count() == before
