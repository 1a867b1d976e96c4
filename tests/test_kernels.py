"""The GPU kernels on a machine without a GPU: their arithmetic on the CPU, their code by NVRTC.

Both see what `jvi.functions` hands to `cuda.elementwise` and `cuda.reduce`, nothing is copied here.
"""

import ctypes
import shutil
import subprocess
import sys
from typing import Any, NamedTuple

import chainer
import numpy as np
import pytest
from chainer.backends import cuda

from jvi import backend
from jvi.functions import bernoulli as module
from jvi.functions import crelu_decoder_log_density
from jvi.models import MLP

COMPILER = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
RNG = np.random.default_rng(8)

# What CuPy puts around the code of an elementwise and of a reduction kernel, one thread's worth.
CPU_CODE = """
#include <cmath>
using namespace std;
typedef {type} T;
extern "C" void run(long num_out, long num_in{pointers}) {{
  for (long i = 0; i < num_out; ++i) {{
    {begin}
    for (long j = i * num_in; j < (i + 1) * num_in; ++j) {{ {each} }}
    {end}
  }}
}}
"""


class Kernel(NamedTuple):
    """One kernel: `reduction` is None or (reduce, post_map, identity)."""

    inputs: list
    outputs: list
    code: str
    name: str
    reduction: Any = None


def elementwise_kernel(inputs, outputs, code, name):
    return Kernel(_names(inputs), _names(outputs), code, name)


def reduction_kernel(inputs, outputs, code, reduce, post_map, identity, name):
    return Kernel(_names(inputs), _names(outputs), code, name, (reduce, post_map, identity))


def _names(parameters):
    types, names = zip(*(parameter.split() for parameter in parameters.split(",")), strict=True)
    assert set(types) == {"T"}
    return list(names)


@pytest.fixture
def on_cpu(monkeypatch, tmp_path):
    """From here on kernels are compiled for the CPU and take NumPy arrays."""
    if COMPILER is None:
        pytest.skip("no C++ compiler")

    def kernel_maker(make):
        return lambda *arguments: (
            lambda *arrays, axis=None: run_on_cpu(make(*arguments), arrays, axis, tmp_path)
        )

    monkeypatch.setattr(cuda, "elementwise", kernel_maker(elementwise_kernel))
    monkeypatch.setattr(cuda, "reduce", kernel_maker(reduction_kernel))


def run_on_cpu(kernel, arrays, axis, folder):
    """Call a kernel as CuPy would: a reduction (over the last axis) returns, others write."""
    shape = np.broadcast_shapes(*(array.shape for array in arrays))
    dtype = arrays[0].dtype
    assert all(array.dtype == dtype for array in arrays)
    if kernel.reduction:
        assert axis == len(shape) - 1
        out = np.empty(shape[:-1], dtype)
        inputs, num_in = arrays, shape[-1]
    else:
        out, num_in = arrays[-1], 1
        inputs = arrays[: len(kernel.inputs)]
    assert out.flags.c_contiguous
    inputs = [np.ascontiguousarray(np.broadcast_to(array, shape)) for array in inputs]
    function = compiled_for_cpu(kernel, dtype, folder)
    pointers = [ctypes.c_void_p(array.ctypes.data) for array in (*inputs, out)]
    function(ctypes.c_long(out.size), ctypes.c_long(num_in), *pointers)
    return out


def compiled_for_cpu(kernel, dtype, folder):
    names = kernel.inputs + kernel.outputs
    read = " ".join(f"const T {name} = raw_{name}[j];" for name in kernel.inputs)
    if kernel.reduction:
        reduce, post_map, identity = kernel.reduction
        out = f"T &{kernel.outputs[0]} = raw_{kernel.outputs[0]}[i];"
        begin = f"T sum = T({identity});"
        each = f"{read} T a = sum, b_ = ({kernel.code}); {{ T b = b_; sum = {reduce}; }}"
        end = f"{out} T a = sum; {post_map};"
    else:
        out = " ".join(f"T &{name} = raw_{name}[j];" for name in kernel.outputs)
        begin, each, end = "", f"{read} {out} {kernel.code};", ""
    source = folder / f"{kernel.name}.cpp"
    source.write_text(
        CPU_CODE.format(
            type={"float32": "float", "float64": "double"}[dtype.name],
            pointers="".join(f", T* raw_{name}" for name in names),
            begin=begin,
            each=each,
            end=end,
        )
    )
    library = folder / f"{kernel.name}-{dtype}.so"
    command = [COMPILER, "-O1", "-shared", "-fPIC", str(source), "-o", str(library)]
    subprocess.run(command, check=True, timeout=60)
    return ctypes.CDLL(str(library)).run


def plain(x, h):
    """log p(x|h) and its derivative, in float64."""
    x, h = x.astype(np.float64), h.astype(np.float64)
    return (x * h - np.logaddexp(0, h)).sum(axis=-1), x - np.exp(-np.logaddexp(0, -h))


@pytest.mark.parametrize(("dtype", "error"), [("float32", 1e-6), ("float64", 1e-14)])
@pytest.mark.parametrize("spread", [0.1, 4.0, 1e4])
def test_bernoulli_kernels_compute_the_plain_formula(on_cpu, dtype, error, spread):
    x = (RNG.random((5, 784)) < 0.5).astype(dtype)
    logits = RNG.normal(0, spread, (3, 5, 784)).astype(dtype)
    logits[:, :, :4] = [0, -0.0, 1e-40, -1e-40]
    bias = RNG.normal(size=784).astype(dtype)
    bias[:4] = 0
    value, derivative = plain(x, logits + bias)
    out = module._bernoulli_gpu(x, logits, bias, residual=True)
    assert out.dtype == dtype
    np.testing.assert_allclose(out, value, rtol=20 * error)
    np.testing.assert_allclose(logits, derivative, atol=error)


def test_a_nan_stays_one(on_cpu):
    x, logits = np.zeros((1, 3), np.float32), np.array([[[0, np.nan, 1]]], np.float32)
    assert np.isnan(module._bernoulli_gpu(x, logits, np.zeros(3, np.float32), False)).all()


def test_the_decoder_on_kernels_has_the_cpus_values_and_gradients(on_cpu, monkeypatch):
    link = MLP(24, 6, 3, RNG).decode
    x = (RNG.random((4, 24)) < 0.5).astype(np.float32)
    z = RNG.normal(size=(5, 4, 3)).astype(np.float32)
    weights = RNG.normal(size=(5, 4)).astype(np.float32)

    def results():
        layers = link.plin0, link.plin1, link.plin2
        variable = chainer.Variable(z)
        link.cleargrads()
        parameters = [p for layer in layers for p in (layer.W, layer.b)]
        out = crelu_decoder_log_density(x, variable, *parameters)
        chainer.functions.sum(weights * out).backward()
        return [out.array, variable.grad, *(p.grad for p in parameters)]

    expected = results()
    monkeypatch.setattr(module, "_bernoulli_cpu", module._bernoulli_gpu)
    for result, value in zip(results(), expected, strict=True):
        np.testing.assert_allclose(result, value, rtol=1e-4, atol=1e-5)


@pytest.fixture
def recorded(monkeypatch):
    """The kernels that the functions create, by name."""
    kernels = {}

    def recorder(make):
        def record(*arguments):
            kernel = make(*arguments)
            kernels[kernel.name] = kernel
            return lambda *arrays, axis=None: np.zeros(1, arrays[0].dtype)

        return record

    monkeypatch.setattr(cuda, "elementwise", recorder(elementwise_kernel))
    monkeypatch.setattr(cuda, "reduce", recorder(reduction_kernel))
    x, logits = np.zeros((2, 3), np.float32), np.zeros((4, 2, 3), np.float32)
    module._bernoulli_gpu(x, logits, np.zeros(3, np.float32), True)
    return kernels


@pytest.mark.parametrize("arch", ["sm_80", "sm_90"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_kernels_compile_for_gpus(recorded, arch, dtype):
    """The code that CuPy generates for three-dimensional arrays, compiled by NVRTC."""
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed")
    from cupy.cuda import nvrtc

    try:
        nvrtc.getVersion()
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"no NVRTC: {error}")
    assert set(recorded) == {"jvi_bernoulli", "jvi_residual"}
    for kernel in recorded.values():
        program = nvrtc.createProgram(cuda_code(cupy, kernel, dtype), "kernel.cu", (), ())
        options = cupy._core.core.assemble_cupy_compiler_options(())
        try:
            nvrtc.compileProgram(program, (*options, f"-arch={arch}"))
        except nvrtc.NVRTCError:
            pytest.fail(nvrtc.getProgramLog(program))
        assert nvrtc.getCUBIN(program).startswith(b"\x7fELF")
        nvrtc.destroyProgram(program)


def cuda_code(cupy, kernel, dtype):
    """What CuPy makes of a kernel; private functions of CuPy 14."""
    from cupy._core import _carray, _kernel, _reduction

    def array(ndim):
        return _kernel._ArgInfo(1, cupy.ndarray, np.dtype(dtype).type, ndim, True, True)

    def indexer(ndim):
        return _kernel._ArgInfo(2, _carray.Indexer, None, ndim, True, True)

    types = _kernel._TypeMap((("T", np.dtype(dtype).type),))
    inputs, outputs = (
        ", ".join(f"T {name}" for name in names) for names in (kernel.inputs, kernel.outputs)
    )
    head = "".join(f"#include <cupy/{n}.cuh>\n" for n in ("complex", "carray", "atomics"))
    if kernel.reduction is None:
        made = cupy.ElementwiseKernel(inputs, outputs, kernel.code, kernel.name)
        arguments = (*(array(3) for _ in made.params[:-1]), indexer(3))
        return head + _kernel._get_elementwise_kernel_code(
            arguments, types, made.params, made.operation, made.name, made.preamble
        )
    made = cupy.ReductionKernel(inputs, outputs, kernel.code, *kernel.reduction, kernel.name)
    indexers = _kernel._get_param_info("CIndexer _in_ind, CIndexer _out_ind", False)
    arguments = (*(array(3) for _ in kernel.inputs), array(2), indexer(3), indexer(2))
    return (
        head
        + "typedef unsigned int IndexT;\nconst unsigned int _block_stride = 1;\n"  # set at launch
        + _reduction._ReductionKernel_get_cached_function_code(
            made.nin, made.nout, made.in_params + made.out_params + indexers, arguments, types,
            made.name, 256, "T", made.identity, made.map_expr, made.reduce_expr,
            made.post_map_expr, made.preamble, (),
        )
    )  # fmt: skip


def test_cupy_without_a_driver_is_named():
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed")
    if cupy.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(ValueError, match="GPU 0 cannot be used: CuPy finds no CUDA driver or GPU"):
        backend.device(0)


def test_chainer_beside_cupy_imports_without_a_warning():
    pytest.importorskip("cupy", reason="CuPy is not installed")
    command = [sys.executable, "-W", "always", "-c", "import jvi, chainer; print(chainer.__name__)"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.stderr) == ("chainer\n", "")
