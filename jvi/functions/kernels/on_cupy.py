"""The kernels on a GPU: CUDA sources, compiled when first used, once for each precision.

Each function here allocates what its kernel writes and says how many blocks of threads it takes.
Beside the contract of all three implementations there are the Gaussians and the random numbers, for
which a CPU has better ways, and Adam, whose rate and step number lie on the device.
"""

from functools import cache
from pathlib import Path

import numpy as np
from chainer import backend

from jvi.functions.kernels.shapes import fit

__all__ = [
    *("absolute_beside", "adam", "bernoulli", "crelu", "crelu_backward", "log_density"),
    *("log_density_backward", "normals", "sample", "sample_backward", "source"),
    *("standard_log_density", "standard_log_density_backward", "times_sign", "uniforms"),
]

THREADS = 128
WIDE = 256  # threads, and at most so many blocks, that share one parameter


@cache
def _kernel(name, dtype):
    return _module(dtype).get_function(name)


@cache
def _module(dtype):
    import cupy

    real = {"float32": "float", "float64": "double"}[dtype]
    return cupy.RawModule(code=source(), options=("-std=c++17", f"-DREAL={real}"))


def source():
    """The CUDA source of all kernels."""
    files = (Path(__file__).with_name(name) for name in ("kernels.cu", "random.cu"))
    return "".join(file.read_text(encoding="utf-8") for file in files)


def _launch(name, blocks, reals, others, *sizes, threads=None, dtype=None):
    """Launch a kernel, whose arguments are in this order; `dtype` is that of the first of `others`.

    `reals` are only read: they are made contiguous and, but for integers, of this precision.
    `others` are written, or of a precision of their own.
    """
    xp, dtype = backend.get_array_module(*others), dtype or others[0].dtype
    reals = [xp.ascontiguousarray(a, dtype if a.dtype.kind == "f" else None) for a in reals]
    if not all(array.flags.c_contiguous for array in others):
        raise ValueError(f"{name} writes to contiguous arrays only")
    # Types whose sizes CuPy says: long long and double.
    sizes = [np.int64(size) if isinstance(size, int) else np.float64(size) for size in sizes]
    _kernel(name, dtype.name)((blocks,), (threads or THREADS,), (*reals, *others, *sizes))


def _empty(like, *shapes):
    xp = backend.get_array_module(like)
    arrays = [xp.empty(shape, like.dtype) for shape in shapes]
    return arrays[0] if len(arrays) == 1 else arrays


def bernoulli(x, logits, bias, residual):
    out = _empty(logits, logits.shape[:2])
    _launch("bernoulli", out.size, [x, bias], [logits, out], *x.shape, int(residual))
    return out


def crelu(h, bias):
    out = _empty(h, (len(h), 2 * h.shape[1]))
    _launch("crelu", len(h), [h, bias], [out], h.shape[1])
    return out


def crelu_backward(g, out, scale):
    d, scaled = _empty(g, (len(g), g.shape[1] // 2)), scale is not None
    _launch(
        "crelu_backward", len(g), [g, out, scale if scaled else g], [d], d.shape[1], int(scaled)
    )
    return d


def absolute_beside(h, bias, z):
    out = _empty(h, (len(h), h.shape[1] + z.shape[1]))
    _launch("absolute_beside", len(h), [bias, z], [h, out], h.shape[1], z.shape[1])
    return out


def times_sign(g, h):
    _launch("times_sign", len(h), [h], [g], h.shape[1], g.shape[1])


def sample(mean, ln_var, eps):
    z = _empty(mean, eps.shape)
    _launch("sample", len(z) * z.shape[1], [mean, ln_var, eps], [z], *z.shape[1:])
    return z


def sample_backward(g, ln_var, eps):
    g_mean, g_ln_var = _empty(g, ln_var.shape, ln_var.shape)
    _launch("sample_backward", len(ln_var), [g, ln_var, eps], [g_mean, g_ln_var], *g.shape)
    return g_mean, g_ln_var


def log_density(z, mean, ln_var):
    out = _empty(z, z.shape[:2])
    _launch("log_density", out.size, [z, mean, ln_var], [out], *z.shape[1:], 0)
    return out


def standard_log_density(z):
    out = _empty(z, z.shape[:2])
    _launch("log_density", out.size, [z, z, z], [out], *z.shape[1:], 1)
    return out


def log_density_backward(g, z, mean, ln_var):
    gradients = _empty(z, z.shape, mean.shape, mean.shape)
    _launch("log_density_backward", len(mean), [g, z, mean, ln_var], gradients, *z.shape)
    return tuple(gradients)


def standard_log_density_backward(g, z):
    g_z = _empty(z, z.shape)
    _launch("standard_log_density_backward", g.size, [g, z], [g_z], z.shape[2])
    return g_z


def adam(param, grad, m, v, rates, t, lr, eps):
    """Adam's step number `t`, int64, with learning rate `lr`, float64, both on the device, (1,)."""
    fit("adam", (grad.shape, m.shape, v.shape), (param.shape,) * 3)
    blocks, numbers = min(WIDE, -(-grad.size // WIDE)), map(float, (*rates, eps))
    arrays = [grad, t], [lr, param, m, v]
    _launch("adam", blocks, *arrays, grad.size, *numbers, threads=WIDE, dtype=grad.dtype)


def normals(shape, key, iteration, first_sample=0, first_point=0):
    """Standard normal float32 noise, shape (K, N, D), of the samples and data points that follow
    the given ones; `iteration`, int64 on the device, (1,), and `key` select the stream."""
    return _random("normals", shape, key, iteration, first_sample, first_point)


def uniforms(shape, key, iteration, first_sample=0, first_point=0):
    """As `normals`, float32 numbers in [0, 1)."""
    return _random("uniforms", shape, key, iteration, first_sample, first_point)


def _random(name, shape, key, iteration, first_sample, first_point):
    out = backend.get_array_module(iteration).empty(shape, np.float32)
    sizes = *shape[1:], key, first_sample, first_point
    _launch(name, shape[0] * shape[1], [iteration], [out], *sizes, threads=32)
    return out
