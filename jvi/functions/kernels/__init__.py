"""The passes over arrays between the matrix products: one contract, three implementations.

`kernels_for(array)` gives the module that has, for arrays of its kind,

bernoulli(x, logits, bias, residual) -> (K, N)
    Sum over pixels of x h - log(1 + e^h) for h = logits + bias; x (N, pixels), logits (K, N,
    pixels), bias (pixels,). Overwrites `logits`: with x - sigmoid(h) if `residual`.
crelu(h, bias) -> (rows, 2H)
    concat(max(h + bias, 0), max(-(h + bias), 0)) for h (rows, H), which may be overwritten.
crelu_backward(g, out, scale) -> (rows, H)
    The derivative by h where `out` = crelu(h) and g is the derivative by `out`; row i of it is
    multiplied by scale[i] unless `scale` is None.
absolute_beside(h, bias, z) -> (rows, H + D)
    concat(abs(h + bias), z); h becomes h + bias.
times_sign(g, h)
    Multiplies the first H columns of g by the sign of h, which is 0 at 0.
adam(param, grad, m, v, rates, step, eps)
    Adam's step in place: m and v move towards grad and grad^2 by `rates`, param by
    -step m / (sqrt(v) + eps). CuPy's takes the step's number and the learning rate instead of
    `step`, as arrays on the device.
adamax(param, grad, m, u, beta1, beta2, step, eps)
    Adamax's in place: m moves towards grad, u becomes max(beta2 u, |grad|), and param moves by
    -step m / max(u, eps). On the CPU only.

`weight_kernels_for(array)` gives the module for the weights of a network, N being 1 and D their
number, on CuPy in NumPy's operations, with

log_softplus(rho) -> two arrays like rho
    log log(1 + e^rho) and its derivative, wherever rho is.
normal_draw(mean, ln_sigma, eps) -> (K, N, D), (N, D), (K, N)
    z = mean + sigma eps, sigma = e^ln_sigma, and -½ Σ eps² - Σ ln_sigma in float64.
normal_draw_backward(g, sigma, eps, total) -> (N, D), (N, D)
    The derivatives by mean, Σ_k g, and by ln_sigma, sigma Σ_k g eps - total, for g (K, N, D) and
    total (N,).
sum_of_squares(z) -> (…)
    Over the last axis, in float64.
weighted_pair(a, x, b, y) -> (K, N, D)
    a x + b y for a, b (K, N) and x, y (K, N, D).
mixture(z, logs, scales, slope) -> (…), like z
    Σ log Σ_i exp(logs_i - z² / (2 scales_i²)) over the last axis, i of two parts, in float64; and
    the derivative by z of each term if `slope`, else None.

`convolution_kernels_for(array)` gives the module for networks of images, channels last: x (N, H, W,
C), kernels W (k, k, C, O), k odd, g and y (N, ⌈H / stride⌉, ⌈W / stride⌉, O), with

convolve(x, W, b, stride) -> y
    y[n, i, j] = b + Σ_uv x[n, stride i + u - k // 2, stride j + v - k // 2] W[u, v], x being 0
    outside; b (O,) or None.
by_input(g, W, stride, shape) -> (N, H, W, C)
    The derivative by x, of this shape, for g, that by y.
by_weights(x, g, stride, size) -> (k, k, C, O)
    The derivative by W for k = size.
elu(x) -> y, like x
    max(x, 0) + min(e^x - 1, 0).
elu_backward(g, y) -> (…), like y
    The derivative by x.

Arrays of sizes that do not fit are refused with ValueError, before anything is read or written.
A nan in stays a nan out. Numba is used for float32 where it is installed: scripts/benchmark.py
tells what it is worth.
"""

import os
from functools import cache
from importlib import import_module

import numpy as np

from jvi.functions.kernels import convolution, on_numpy, weights

__all__ = ["convolution_kernels_for", "kernels_for", "weight_kernels_for"]


def kernels_for(array):
    """The implementation of the kernels above for `array`, a module."""
    if not isinstance(array, np.ndarray):
        from jvi.functions.kernels import on_cupy

        return on_cupy
    return (array.dtype == np.float32 and _numba_kernels("on_numba")) or on_numpy


def weight_kernels_for(array):
    """That of those for weights, a module."""
    compiled = isinstance(array, np.ndarray) and array.dtype == np.float32
    return (compiled and _numba_kernels("weights_on_numba")) or weights


def convolution_kernels_for(array):
    """That of those for networks of images, a module."""
    compiled = isinstance(array, np.ndarray) and array.dtype == np.float32
    return (compiled and _numba_kernels("convolution_on_numba")) or convolution


@cache
def _numba_kernels(name):
    """A module of Numba's, or None where it is not installed or switched off."""
    if os.environ.get("NUMBA_DISABLE_JIT", "0") != "0":
        return None
    try:
        return import_module(f"jvi.functions.kernels.{name}")
    except ImportError:
        return None
