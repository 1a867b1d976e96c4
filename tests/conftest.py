"""Fixtures that several test files share."""

import os
from pathlib import Path

import array_api_strict
import matplotlib
import numpy as np
import pytest

import jvi.compat.chainer7  # noqa: F401  with it tests can import Chainer

matplotlib.use("Agg")

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared():
    """The developers' folder of MNIST and original models, which users do not have."""
    path = Path(os.environ.get("JVI_SHARED", ROOT.parent / "shared"))
    if not (path / "legacy").is_dir():
        pytest.skip(f"no folder of original models at {path} (set JVI_SHARED)")
    return path


@pytest.fixture(scope="session")
def legacy(request):
    """The path of an original model by name; the small ones are part of the tests."""

    def find(name):
        path = ROOT / "tests" / "data" / name
        return path if path.exists() else request.getfixturevalue("shared") / "legacy" / name

    return find


def _has_float64(device):
    dtypes = array_api_strict.__array_namespace_info__().dtypes(device=device)
    return "float64" in dtypes


@pytest.fixture(
    params=filter(_has_float64, array_api_strict.__array_namespace_info__().devices()), ids=str
)
def strict_device(request):
    """Each device of array-api-strict; they refuse to mix, as a GPU's arrays do with NumPy's."""
    return request.param


@pytest.fixture
def strict(strict_device):
    """A function that puts NumPy arrays on `strict_device`, and one that brings them back."""

    def put(array):
        return array_api_strict.asarray(np.asarray(array), device=strict_device)

    def get(array):
        assert array.device == strict_device
        return np.asarray(array.to_device(array_api_strict.Device("CPU_DEVICE")))

    return put, get


@pytest.fixture(scope="session")
def compiled(tmp_path_factory):
    """A function that gives the CUDA kernels, compiled for the CPU."""
    import cuda_on_cpu

    if cuda_on_cpu.COMPILER is None:
        pytest.skip("no C++ compiler")
    return cuda_on_cpu.kernel_maker(tmp_path_factory.mktemp("kernels"))


@pytest.fixture
def on_cpu(compiled, monkeypatch):
    """From here on the kernels for a GPU take NumPy arrays."""
    from jvi.functions.kernels import on_cupy

    monkeypatch.setattr(on_cupy, "_kernel", compiled)
    monkeypatch.setattr(on_cupy, "WIDE", 16)  # 65,536 threads would take seconds
