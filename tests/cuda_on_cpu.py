"""A GPU made of a CPU: runs the CUDA kernels, counts launches, records and replays graphs.

`kernel_maker` gives what takes the place of `on_cupy._kernel`: arguments are checked against the
signatures in the source, and every kernel runs twice, with the threads in either order. `xp`,
`Device` and `cupy` take the places of CuPy's, with arrays that NumPy computes on.
"""

import ctypes
import re
import shutil
import subprocess
from collections import Counter
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import chainer
import numpy as np

from jvi.functions.kernels import on_cupy

COMPILER = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
TYPES = {"Size": np.int64, "double": np.float64, "float": np.float32}

launches = Counter()
tape = None  # a list of calls while a graph is captured
_libraries = {}


def signatures():
    """The parameters of every kernel as pairs of type and name."""
    source = re.sub(r"SOURCE\((\d+)\)", r"const T* g\1", on_cupy.source())
    found = re.findall(r"KERNEL (\w+)\(([^()]*)\)", source)
    return {
        name: [tuple(p.strip().rsplit(" ", 1)) for p in text.split(",")] for name, text in found
    }


def library(dtype, folder):
    """kernels.cu compiled for the CPU, with a function run_NAME for every kernel."""
    lines = [f'#include "{Path(__file__).with_name("cuda_on_cpu.h")}"', on_cupy.source()]
    for name, parameters in signatures().items():
        names = [f"a{i}" for i in range(len(parameters))]
        typed = ", ".join(f"{t} {n}" for (t, _), n in zip(parameters, names, strict=True))
        call = f"{name}({', '.join(names)})"
        lines.append(
            f'extern "C" void run_{name}(Size grid, Size block, Size back, {typed})'
            f"{{ launch(grid, block, back, [&] {{ {call}; }}); }}"
        )
    lines.append(
        'extern "C" void run_philox(unsigned* c, unsigned* key)'
        "{ *(Four*)c = philox(*(Four*)c, key[0], key[1]); }"
    )
    source, binary = folder / f"{dtype}.cpp", folder / f"{dtype}.so"
    source.write_text("\n".join(lines))
    real = {"float32": "float", "float64": "double"}[dtype]
    command = [COMPILER, "-std=c++20", "-O1", "-shared", "-fPIC", f"-DREAL={real}"]
    subprocess.run([*command, str(source), "-o", str(binary)], check=True, timeout=120)
    return ctypes.CDLL(str(binary))


def library_of(dtype):
    """The compiled library, once a kernel of it was asked for."""
    return _libraries[dtype]


def kernel_maker(folder):
    """A replacement of `on_cupy._kernel`; what is compiled is shared by all tests."""

    def kernel(name, dtype):
        if dtype not in _libraries:
            _libraries[dtype] = library(dtype, folder)
        function, parameters = _libraries[dtype][f"run_{name}"], signatures()[name]
        function.argtypes = [ctypes.c_longlong] * 3 + [_ctype(t) for t, _ in parameters]

        def run(grid, block, arguments):
            launches[name] += 1
            assert len(arguments) == len(parameters)
            for argument, (type_, parameter) in zip(arguments, parameters, strict=True):
                _check(argument, type_, f"{name}: {parameter}", dtype)
            pairs = zip(plain(arguments), parameters, strict=True)
            written = [a for a, (type_, _) in pairs if type_[-1] == "*" and "const" not in type_]
            before = [array.copy() for array in written]
            _call(function, grid, block, 1, arguments)
            backwards = [array.copy() for array in written]
            for array, old in zip(written, before, strict=True):
                array[...] = old
            _call(function, grid, block, 0, arguments)
            for array, other in zip(written, backwards, strict=True):
                np.testing.assert_array_equal(array, other, err_msg=f"{name} has a race")
            if tape is not None:
                tape.append(partial(_call, function, grid, block, 0, arguments))

        return run

    return kernel


def _call(function, grid, block, backwards, arguments):
    values = [a.ctypes.data if isinstance(a, np.ndarray) else a for a in arguments]
    function(*grid, *block, backwards, *values)


def _ctype(type_):
    if "*" in type_:
        return ctypes.c_void_p
    return {"Size": ctypes.c_longlong, "double": ctypes.c_double}[type_]


def _check(argument, type_, where, dtype):
    if "*" in type_:
        base = type_.removeprefix("const ").removesuffix("*")
        assert isinstance(argument, np.ndarray) and argument.flags.c_contiguous, where
        assert argument.dtype == TYPES.get(base, dtype), where
    else:
        assert type(argument) is TYPES[type_], where


class DeviceArray(np.ndarray):
    """Counts what a GPU would launch, records it while a graph is captured, and refuses to be
    looked at from the host. A matrix product counts one copy for each strided operand."""

    def __array_ufunc__(self, ufunc, method, *inputs, **options):
        if ufunc is np.matmul:
            launches["copy"] += sum(
                not (a.flags.c_contiguous or a.flags.f_contiguous) for a in inputs
            )
        name = ufunc.__name__ if method == "__call__" else f"{ufunc.__name__}.{method}"
        return _device_call(name, getattr(ufunc, method), inputs, options)

    def __array_function__(self, function, types, arguments, options):
        return _device_call(function.__name__, function, arguments, options)

    def __setitem__(self, key, value):
        _device_call("copy", np.copyto, (np.asarray(self)[key], value), {})

    def astype(self, dtype, **options):
        return _device_call("astype", np.asarray(self).astype, (dtype,), options)

    def fill(self, value):
        _device_call("fill", np.asarray(self).fill, (value,), {})

    def get(self):
        return np.array(self)

    _refuses = True

    def __bool__(self):
        return self._look(bool)

    def __float__(self):
        return self._look(float)

    def __int__(self):
        return self._look(int)

    def _look(self, convert):
        assert not self._refuses, "a GPU would have to wait for this"
        return convert(plain(self))


def plain(value):
    if isinstance(value, list | tuple):
        return type(value)(map(plain, value))
    return value.view(np.ndarray) if isinstance(value, DeviceArray) else value


def on_device(array):
    return np.asarray(array).view(DeviceArray)


def _device_call(name, function, arguments, options):
    """Call, count and record; what is recorded writes to the same memory whenever it is played."""
    arguments = plain(tuple(arguments))
    options = {key: plain(value) for key, value in options.items()}
    result = function(*arguments, **options)
    shared = isinstance(arguments[0], np.ndarray) and np.shares_memory(result, arguments[0])
    if result is None or shared:
        in_place = options.get("out") is not None or result is None
        if not in_place:
            return on_device(result)  # a view
        call = partial(function, *arguments, **options)
    else:
        result = np.asarray(result)
        call = partial(_again, result, function, arguments, options)
    launches[name] += len(arguments[0]) if name == "concatenate" else 1  # CuPy copies each part
    if tape is not None:
        tape.append(call)
    return None if result is None else on_device(result)


def _again(result, function, arguments, options):
    result[...] = function(*arguments, **options)


class _Namespace:
    """NumPy, whose functions give `DeviceArray`s."""

    def __getattr__(self, name):
        found = getattr(np, name)
        if isinstance(found, type) or not callable(found):
            return found
        if name == "empty":
            return lambda *arguments: on_device(found(*arguments))
        return lambda *arguments, **options: _device_call(name, found, arguments, options)

    def ascontiguousarray(self, array, dtype=None):
        if array.flags.c_contiguous and dtype in (None, array.dtype):
            return array
        return _device_call("copy", np.ascontiguousarray, (array, dtype), {})


xp = _Namespace()


class Device(chainer.backend.CpuDevice):
    """The CPU as a GPU."""

    xp = xp

    def send(self, array):
        return on_device(np.array(array))


class _Stream(nullcontext):
    def __init__(self, non_blocking=False):
        super().__init__()

    def synchronize(self):
        pass

    def begin_capture(self):
        global tape
        tape = []
        launches["captures"] += 1

    def end_capture(self):
        global tape
        graph, tape = _Graph(tape), None
        return graph


_Stream.null = _Stream()


class _Graph:
    """Launches what was recorded; capturing itself, unlike here, runs nothing on a GPU."""

    def __init__(self, calls):
        self.calls, self.launched = calls, False

    def launch(self):
        launches["graph"] += 1
        if self.launched:
            for call in self.calls:
                call()
        self.launched = True


cupy = SimpleNamespace(
    asarray=lambda values: on_device(np.array(values)),
    cuda=SimpleNamespace(
        Stream=_Stream,
        MemoryPool=lambda: SimpleNamespace(malloc=None),
        using_allocator=nullcontext,
    ),
)
