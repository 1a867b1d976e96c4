"""Chainer 7.8.1, unchanged, on NumPy 2 and CuPy 14.

Importing this module imports Chainer; after it ``import chainer`` works anywhere. Nothing stays
patched in NumPy. What breaks otherwise, and where:

- ``chainer._environment_check`` imports numpy.distutils and pkg_resources, which are gone,
  only to print warnings: an empty module takes its place.
- ``functions.array.as_strided`` uses ``numpy.sctypes`` when imported and when called.
- ``functions.array.resize_images`` uses ``numpy.float`` when called.
- ``distributions.categorical`` appends to the result of ``numpy.meshgrid``, now a tuple.
- ``iterators.multiprocess_iterator`` calls ``Thread.setDaemon``, which is deprecated.

The last four functions get a copy of their globals in which that one module is replaced by a
copy of it with the missing name.
"""

import functools
import importlib
import os
import sys
import threading
import types
import warnings
from contextlib import contextmanager
from importlib.metadata import version

import numpy as np

__all__ = ["chainer"]

CHAINER = "7.8.1"
TESTED_NUMPY = ((2, 0), (2, 5))

_SCTYPES = {
    "int": [np.int8, np.int16, np.int32, np.int64],
    "uint": [np.uint8, np.uint16, np.uint32, np.uint64],
    "float": [np.float16, np.float32, np.float64, np.longdouble],
    "complex": [np.complex64, np.complex128, np.clongdouble],
    "others": [bool, object, bytes, str, np.void],
}


def _import():
    """Chainer, imported with what it misses, or repaired where somebody else's shim did that.

    Raises
    ------
    ImportError
        When it is not version 7.8.1.
    """
    _check_chainer()
    if "chainer" not in sys.modules:
        _warn_of_untested_numpy()
        # CuPy 14 has no cuDNN; without this the first use of a GPU warns about it.
        os.environ.setdefault("CHAINER_CUDNN", "0")
        _forget_failed_import()
        with _missing_names(), warnings.catch_warnings():
            # An updater for several GPUs, imported with the rest, tries this library of CuPy's.
            warnings.filterwarnings("ignore", r"\s*nccl library could not be loaded")
            importlib.import_module("chainer")
    module = importlib.import_module("chainer")  # waits for a thread that is importing it
    _repair()
    return module


def _check_chainer():
    found = version("chainer")
    if found != CHAINER:
        raise ImportError(
            f"jvi needs Chainer {CHAINER}, found {found}: install it as jvi's README says"
        )


def _warn_of_untested_numpy():
    found = tuple(int(part) for part in np.__version__.split(".")[:2])
    low, high = TESTED_NUMPY
    if not low <= found <= high:
        warnings.warn(
            f"jvi has not been tested with NumPy {np.__version__}, only with "
            f"{low[0]}.{low[1]} to {high[0]}.{high[1]}",
            stacklevel=3,
        )


def _forget_failed_import():
    """Drop the submodules that an import of Chainer without this shim leaves when it fails."""
    for name in list(sys.modules):
        if name.startswith("chainer."):
            del sys.modules[name]


@contextmanager
def _missing_names():
    """What Chainer's modules ask for while they are being imported."""
    stub = types.ModuleType("chainer._environment_check")
    stub.check = lambda: None
    sys.modules[stub.__name__] = stub
    lacks_sctypes = "sctypes" not in vars(np)
    if lacks_sctypes:
        np.sctypes = _SCTYPES
    try:
        yield
    finally:
        if lacks_sctypes:
            del np.sctypes


def _repair():
    """Give the four functions that meet a removed name when called what they miss."""
    from chainer.distributions.categorical import Categorical

    as_strided = sys.modules["chainer.functions.array.as_strided"]
    resize_images = sys.modules["chainer.functions.array.resize_images"]
    prefetch = sys.modules["chainer.iterators.multiprocess_iterator"]._PrefetchLoop
    places = [
        (as_strided.AsStridedGrad, "forward", {"np": _with(np, sctypes=_SCTYPES)}),
        (resize_images, "compute_indices_and_weights", {"numpy": _with(np, float=float)}),
        (Categorical, "log_prob", {"numpy": _with(np, meshgrid=_meshgrid_list)}),
        (prefetch, "launch_thread", {"threading": _with(threading, Thread=_Thread)}),
    ]
    for owner, name, replaced in places:
        setattr(owner, name, _rebound(getattr(owner, name), replaced))


def _with(module, **names):
    """A copy of `module` with a few names of its own."""
    return types.SimpleNamespace(**vars(module) | names)


class _Thread(threading.Thread):
    def setDaemon(self, daemonic):
        self.daemon = daemonic


def _meshgrid_list(*arrays, **options):
    return list(np.meshgrid(*arrays, **options))


def _rebound(function, replaced):
    """A copy of `function` whose globals hold `replaced`."""
    copy = types.FunctionType(
        function.__code__,
        function.__globals__ | replaced,
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    copy.__kwdefaults__ = function.__kwdefaults__
    return functools.update_wrapper(copy, function)


chainer = _import()
