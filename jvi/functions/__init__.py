"""Chainer functions with hand-written derivatives, on NumPy and CuPy.

Their backward pass works on arrays, in one call, and cannot be differentiated again, which nothing
here needs. Composed of Chainer's own operations each would be a dozen calls, and the calls, not the
arithmetic, are what small batches spend time on.
"""

from jvi.compat import chainer7  # noqa: F401  first: with it Chainer can be imported
from jvi.functions.bernoulli import bernoulli_log_density, bernoulli_sample
from jvi.functions.convolution import convolve
from jvi.functions.decoder import crelu_decoder_log_density
from jvi.functions.elu import elu
from jvi.functions.encoder import crelu_encoder
from jvi.functions.gaussian import (
    gaussian_log_density,
    gaussian_sample,
    standard_normal_log_density,
)
from jvi.functions.route import Route
from jvi.functions.weighted_sum import weighted_sum

__all__ = [
    "Route",
    "bernoulli_log_density",
    "bernoulli_sample",
    "convolve",
    "crelu_decoder_log_density",
    "crelu_encoder",
    "elu",
    "gaussian_log_density",
    "gaussian_sample",
    "standard_normal_log_density",
    "weighted_sum",
]
