"""The CUDA kernels on a CPU.

`kernel_maker` gives what takes the place of `on_cupy._kernel`: arguments are checked against the
signatures in the source, and every kernel runs twice, with the threads in either order.
"""

import ctypes
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
from stand_in import note, plain

from jvi.functions.kernels import on_cupy

COMPILER = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
TYPES = {"Size": np.int64, "double": np.float64, "float": np.float32}

_libraries = {}


def signatures():
    """The parameters of every kernel as pairs of type and name."""
    found = re.findall(r"KERNEL (\w+)\(([^()]*)\)", on_cupy.source())
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
            note(name, (grid, block, *arguments))
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
