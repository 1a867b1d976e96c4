"""Chainer functions with hand-written derivatives, on NumPy and CuPy."""

from jvi.functions.bernoulli import bernoulli_log_density
from jvi.functions.gaussian import gaussian_log_density
from jvi.functions.route import Route

__all__ = ["Route", "bernoulli_log_density", "gaussian_log_density"]
