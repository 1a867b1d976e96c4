"""The GPU's kernels on a machine without a GPU: compiled by NVRTC, and run on the CPU.

Both see the sources themselves; `cuda_on_cpu` runs them.
"""

import ctypes
import subprocess
import sys

import cuda_on_cpu
import numpy as np
import pytest
from scipy import stats

from jvi.engine.devices import device
from jvi.engine.random import PURPOSES, DeviceSource, counter_key
from jvi.functions import gaussian
from jvi.functions.kernels import on_cupy, on_numpy

RNG = np.random.default_rng(8)
REALS = ("float32", "float64")
ERROR = {"float32": 3e-7, "float64": 1e-15}
EXTREMES = [0.0, -0.0, 1e-40, -1e-40, 1e4, -1e4, np.inf, -np.inf, np.nan, 1.0]


@pytest.mark.parametrize("dtype", REALS)
@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 5, 784), (2, 3, 130)])
@pytest.mark.parametrize("spread", [0.1, 4.0, 1e4])
def test_bernoulli_is_its_formula(on_cpu, dtype, shape, spread):
    x = (RNG.random(shape[1:]) < 0.5).astype(dtype)
    logits = RNG.normal(0, spread, shape).astype(dtype)
    bias = RNG.normal(size=shape[2]).astype(dtype)
    exact = (logits + bias).astype(np.float64)
    value = (x * exact - np.logaddexp(0, exact)).sum(axis=-1)
    again = on_cupy.bernoulli(x, logits.copy(), bias, False)
    out = on_cupy.bernoulli(x, logits, bias, True)
    assert out.dtype == dtype
    np.testing.assert_array_equal(out, again)
    np.testing.assert_allclose(out, value, rtol=4 * ERROR[dtype])
    np.testing.assert_allclose(logits, x - np.exp(-np.logaddexp(0, -exact)), atol=ERROR[dtype])


@pytest.mark.parametrize("extreme", EXTREMES)
@pytest.mark.parametrize("pixel", [0.0, 1.0])
def test_bernoulli_of_extreme_logits(on_cpu, extreme, pixel):
    x, logits = np.full((1, 1), pixel), np.full((1, 1, 1), extreme)
    with np.errstate(invalid="ignore"):
        value = pixel * extreme - np.logaddexp(0, extreme)
    residual = pixel - 1 / (1 + np.exp(-np.clip(extreme, -700, 700)))
    out = on_cupy.bernoulli(x, logits, np.zeros(1), True)
    if not (np.isinf(extreme) and pixel == 0):  # where the plain formula is 0 times inf
        np.testing.assert_allclose(out[0, 0], value, rtol=1e-15)
    np.testing.assert_allclose(logits[0, 0, 0], residual, atol=1e-15)


@pytest.mark.parametrize("dtype", REALS)
@pytest.mark.parametrize("rows", [1, 37])
def test_crelu_kernels_are_numpys(on_cpu, dtype, rows):
    h, bias, z = (RNG.normal(size=s).astype(dtype) for s in ((rows, 12), (12,), (rows, 5)))
    h[0, : len(EXTREMES)] = EXTREMES
    bias[: len(EXTREMES)] = 0
    gradient, results = RNG.normal(size=(rows, 24)).astype(dtype), {}
    with np.errstate(invalid="ignore"):
        for kernels in (on_cupy, on_numpy):
            a, b, g = h.copy(), h.copy(), gradient.copy()
            out = kernels.crelu(a, bias)
            d = [kernels.crelu_backward(g, out, scale) for scale in (None, g[:, 0])]
            wide = kernels.absolute_beside(b, bias, z)
            kernels.times_sign(g, h)
            results[kernels] = [out, *d, wide, b, g]
    for found, expected in zip(*results.values(), strict=True):
        assert found.dtype == dtype
        # CReLU of -inf and of nan has no second half that NumPy's subtraction could give.
        defined = ~np.isnan(expected)
        np.testing.assert_array_equal(found[defined], expected[defined])
    assert np.isnan(results[on_cupy][0][0, [8, 20]]).all()


@pytest.mark.parametrize(("dtype", "error"), [("float32", 3e-6), ("float64", 1e-13)])
@pytest.mark.parametrize("shape", [(1, 1, 1), (8, 5, 40), (3, 2, 300)])
def test_gaussian_kernels_are_the_formulas(on_cpu, dtype, error, shape):
    z, eps = (RNG.normal(size=shape).astype(dtype) for _ in range(2))
    mean, ln_var = (RNG.normal(size=shape[1:]).astype(dtype) for _ in range(2))
    g_z, g = RNG.normal(size=shape).astype(dtype), RNG.normal(size=shape[:2]).astype(dtype)
    cases = [
        (gaussian._Sample(eps), (mean, ln_var), (g_z,)),
        (gaussian._LogDensity(), (z, mean, ln_var), (g,)),
        (gaussian._StandardLogDensity(), (z,), (g,)),
    ]
    for function, inputs, gradients in cases:
        exact = [tuple(a.astype(np.float64) for a in arrays) for arrays in (inputs, gradients)]
        found = (*function.forward_gpu(inputs), *function.backward_gpu(inputs, gradients))
        expected = (*function.forward_cpu(exact[0]), *function.backward_cpu(*exact))
        for a, b in zip(found, expected, strict=True):
            assert a.dtype == dtype
            assert np.linalg.norm(a - b) <= error * max(1.0, np.linalg.norm(b))


@pytest.mark.parametrize("dtype", REALS)
@pytest.mark.parametrize("shape", [(1,), (64,), (70, 90)])
def test_adam_takes_rate_and_step_number_from_the_device(on_cpu, dtype, shape):
    """By the formula of Kingma and Ba, with a rate that changes between steps."""
    param, m, v = (np.zeros(shape, dtype) for _ in range(3))
    exact = [np.zeros(shape) for _ in range(3)]
    for t in range(1, 6):
        grad, lr = RNG.normal(0, 3, shape).astype(dtype), 0.1 / t
        on_cupy.adam(param, grad, m, v, (0.1, 0.001), np.array([t]), np.array([lr]), 1e-8)
        exact[1] += 0.1 * (grad - exact[1])
        exact[2] += 0.001 * (grad.astype(np.float64) ** 2 - exact[2])
        hat = exact[1] / (1 - 0.9**t), np.sqrt(exact[2] / (1 - 0.999**t))
        exact[0] -= lr * hat[0] / (hat[1] + 1e-8 / np.sqrt(1 - 0.999**t))
    for found, expected in zip((param, m, v), exact, strict=True):
        np.testing.assert_allclose(found, expected, rtol=40 * ERROR[dtype], atol=ERROR[dtype])


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ([0] * 4, [0] * 2, "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ([2**32 - 1] * 4, [2**32 - 1] * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            [0xA4093822, 0x299F31D0],
            "d16cfe09 94fdcceb 5001e420 24126ea1",
        ),
    ],
)
def test_philox_gives_its_authors_known_answers(compiled, counter, key, expected):
    """The test vectors of Random123's philox4x32, 10 rounds."""
    compiled("normals", "float32")
    words = [np.array(numbers, np.uint32) for numbers in (counter, key)]
    pointers = [ctypes.c_void_p(array.ctypes.data) for array in words]
    cuda_on_cpu.library_of("float32").run_philox(*pointers)
    assert " ".join(f"{word:08x}" for word in words[0]) == expected


def test_normals_are_normal_and_a_samples_noise_depends_on_nothing_else(on_cpu):
    iteration, key = np.array([7]), counter_key(1, "training noise")
    noise = on_cupy.normals((40, 60, 41), key, iteration)
    assert noise.dtype == np.float32
    assert stats.kstest(noise.ravel(), "norm").pvalue > 0.01
    for lag in (1, 2, 4, 41, 60 * 41):
        flat = noise.ravel()
        assert abs(np.corrcoef(flat[lag:], flat[:-lag])[0, 1]) < 4 / flat.size**0.5
    part = on_cupy.normals((5, 7, 41), key, iteration, first_sample=30, first_point=50)
    np.testing.assert_array_equal(part, noise[30:35, 50:57])
    for other in [
        on_cupy.normals((40, 60, 41), key, iteration + 1),
        on_cupy.normals((40, 60, 41), key, iteration + 2**32),
        on_cupy.normals((40, 60, 41), counter_key(2, "training noise"), iteration),
        on_cupy.normals((40, 60, 41), key, iteration, first_point=60),
    ]:
        assert abs(np.corrcoef(noise.ravel(), other.ravel())[0, 1]) < 0.02


def test_uniforms_are_uniform_and_below_one(on_cpu):
    iteration, key = np.array([7]), counter_key(1, "training noise")
    numbers = on_cupy.uniforms((40, 60, 41), key, iteration)
    assert numbers.dtype == np.float32 and numbers.min() >= 0 and numbers.max() < 1
    assert stats.kstest(numbers.ravel(), "uniform").pvalue > 0.01
    part = on_cupy.uniforms((5, 7, 41), key, iteration, first_sample=30, first_point=50)
    np.testing.assert_array_equal(part, numbers[30:35, 50:57])


def test_arrays_of_a_source_are_independent_and_parts_are_slices(on_cpu):
    source = DeviceSource(counter_key(1, "training noise"), np.array([3]))
    first, second = source.normal((4, 50, 30)), source.normal((4, 50, 30))
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 4 / first.size**0.5
    again = DeviceSource(counter_key(1, "training noise"), np.array([3])).rows(slice(10, 30))
    np.testing.assert_array_equal(again.normal((4, 20, 30)), first[:, 10:30])
    np.testing.assert_array_equal(again.normal((4, 20, 5, 6)).reshape(4, 20, 30), second[:, 10:30])
    later = source.rows(slice(0, 50)).uniform((4, 50, 30))
    assert abs(np.corrcoef(later.ravel(), second.ravel())[0, 1]) < 4 / first.size**0.5


def test_counter_keys_are_64_bits_that_differ_by_seed_and_purpose():
    keys = {counter_key(s, p) for s in range(50) for p in PURPOSES}
    assert len(keys) == 50 * len(PURPOSES)
    assert all(-(2**63) <= key < 2**63 for key in keys) and max(map(abs, keys)) > 2**62


@pytest.mark.parametrize("arch", ["80", "90"])
@pytest.mark.parametrize("real", ["float", "double"])
def test_kernels_compile_for_gpus(arch, real):
    """By NVRTC, which needs no GPU."""
    pytest.importorskip("cupy", reason="CuPy is not installed")
    from cupy.cuda import nvrtc

    try:
        major, _ = nvrtc.getVersion()
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"no NVRTC: {error}")
    program = nvrtc.createProgram(on_cupy.source(), "kernels.cu", (), ())
    options = ["-std=c++17", f"-DREAL={real}", f"-arch=sm_{arch}"]
    options += ["-Werror=all-warnings"] if major >= 13 else []
    try:
        nvrtc.compileProgram(program, tuple(options))
    except nvrtc.NVRTCError:
        pytest.fail(nvrtc.getProgramLog(program))
    binary = nvrtc.getCUBIN(program)
    assert binary.startswith(b"\x7fELF")
    for name in cuda_on_cpu.signatures():
        assert name.encode() in binary
    nvrtc.destroyProgram(program)


def test_cupy_without_a_driver_is_named():
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed")
    if cupy.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(ValueError, match="GPU 0 cannot be used: CuPy finds no CUDA driver or GPU"):
        device(0)


def test_chainer_beside_cupy_imports_without_a_warning():
    pytest.importorskip("cupy", reason="CuPy is not installed")
    command = [
        sys.executable,
        "-W",
        "always",
        "-c",
        "import jvi.models, chainer; print(chainer.__name__)",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.stderr) == ("chainer\n", "")
