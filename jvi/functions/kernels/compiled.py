"""What the loops that Numba compiles have in common: options, e^-a and the logarithm."""

import numpy as np
from numba import njit

__all__ = ["compiled", "exp_minus", "log", "log1p_over"]

compiled = njit(
    nogil=True, cache=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz", "arcp"}
)

ONE, TWO = np.float32(1), np.float32(2)
LOG2_E, LN_2 = np.float32(np.log2(np.e)), np.float32(np.log(2))


def _power_coefficients():
    """Of a polynomial for 2^-f, f in [0, 1], by Chebyshev interpolation: 2e-9 off at most."""
    fit = np.polynomial.Chebyshev.interpolate(lambda f: 2.0**-f, 6, domain=[0, 1])
    return fit.convert(kind=np.polynomial.Polynomial).coef.astype(np.float32)


def _log_coefficients():
    """Of a polynomial in s² for log((1 + s) / (1 - s)) / s, s² in [0, 1/9]: 3e-9 off at most."""
    fit = np.polynomial.Chebyshev.interpolate(
        lambda q: 2 * np.arctanh(np.sqrt(q)) / np.sqrt(q), 5, domain=[0, 1 / 9]
    )
    return fit.convert(kind=np.polynomial.Polynomial).coef.astype(np.float32)


C0, C1, C2, C3, C4, C5, C6 = _power_coefficients()
L0, L1, L2, L3, L4, L5 = _log_coefficients()

# The bits of √½, where mantissas begin, and the largest number.
ROOT_HALF, LARGEST = np.float32(0.5**0.5).view(np.int32), np.finfo(np.float32).max


@njit(inline="always")
def exp_minus(a):
    """e^-a for a >= 0, down to 2^-126; 2^-126 for nan. LLVM makes vector instructions of it."""
    y = a * LOG2_E
    y = y if y < np.float32(126) else np.float32(126)
    whole = np.int32(y)
    f = y - np.float32(whole)
    power = C0 + f * (C1 + f * (C2 + f * (C3 + f * (C4 + f * (C5 + f * C6)))))
    return power * np.int32((np.int32(127) - whole) << np.int32(23)).view(np.float32)


@njit(inline="always")
def _series(s):
    """log((1 + s) / (1 - s)) / s for |s| up to 1/3."""
    q = s * s
    return L0 + q * (L1 + q * (L2 + q * (L3 + q * (L4 + q * L5))))


@njit(inline="always")
def log1p_over(e):
    """log(1 + e) / e for e in (0, 1], to full precision however small e is."""
    half = ONE / (TWO + e)
    return half * _series(e * half)


@njit(inline="always")
def log(y):
    """The logarithm of a positive number; inf and nan are their own."""
    bits = np.float32(y).view(np.int32)
    power = np.int32(np.int32(bits - ROOT_HALF) >> np.int32(23))
    m = np.int32(bits - np.int32(power << np.int32(23))).view(np.float32)
    s = (m - ONE) / (m + ONE)
    return np.float32(power) * LN_2 + s * _series(s) if y <= LARGEST else y
