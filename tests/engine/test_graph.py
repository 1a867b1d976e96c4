"""When a function is recorded, what a recording sees, and what happens where there can be none."""

import sys
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest

from jvi.engine.graph import WARM_UP, Recorder


class Stream(nullcontext):
    """A stream whose graphs, launched, call what was captured with the arrays of that time."""

    captures, launches, fails = 0, 0, False

    def __init__(self, non_blocking=False):
        super().__init__()

    def synchronize(self):
        pass

    def begin_capture(self):
        if Stream.fails:
            raise RuntimeError("operation not permitted when stream is capturing")
        Stream.captures += 1

    def end_capture(self):
        def launch():
            Stream.launches += 1

        return SimpleNamespace(launch=launch)


Stream.null = Stream()


@pytest.fixture(autouse=True)
def cupy(monkeypatch):
    cuda = SimpleNamespace(
        Stream=Stream,
        MemoryPool=lambda: SimpleNamespace(malloc=None),
        using_allocator=nullcontext,
    )
    found = SimpleNamespace(asarray=np.array, cuda=cuda)
    monkeypatch.setitem(sys.modules, "cupy", found)
    for name, value in {"captures": 0, "launches": 0, "fails": False}.items():
        monkeypatch.setattr(Stream, name, value)


def recorder():
    calls = []
    return Recorder(lambda *arrays: calls.append(arrays)), calls


def test_a_function_is_recorded_once_and_then_launched_with_new_inputs():
    record, calls = recorder()
    replayed = [record(np.arange(3) + i, np.array([0.1 * i])) for i in range(WARM_UP + 4)]
    assert replayed == [False] * (WARM_UP + 1) + [True] * 3
    assert len(calls) == WARM_UP + 1  # the last call is the one that was captured
    assert (Stream.captures, Stream.launches) == (1, 4)
    # the captured arrays now hold the latest values
    np.testing.assert_array_equal(calls[-1][0], np.arange(3) + WARM_UP + 3)
    np.testing.assert_allclose(calls[-1][1], [0.1 * (WARM_UP + 3)])


def test_other_shapes_run_as_they_are_and_leave_the_recording():
    record, calls = recorder()
    for i in range(WARM_UP + 1):
        record(np.arange(3) + i)
    assert record(np.arange(2)) is False and len(calls[-1][0]) == 2
    assert record(np.arange(3)) is True


def test_what_cannot_be_captured_goes_on_and_says_so_once(monkeypatch):
    monkeypatch.setattr(Stream, "fails", True)
    record, calls = recorder()
    with pytest.warns(UserWarning, match="not recorded as a CUDA graph: .* not permitted") as seen:
        replayed = [record(np.arange(3)) for _ in range(WARM_UP + 4)]
    assert len(seen) == 1 and not any(replayed)
    assert len(calls) == WARM_UP + 4 and Stream.launches == 0
