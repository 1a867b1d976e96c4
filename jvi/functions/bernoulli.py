"""Log-density of binary pixels given logits, summed over the pixels."""

import chainer
import numpy as np
from chainer.backends import cuda

__all__ = ["bernoulli_log_density"]

# Rows of logits that are worked on at a time: 64 rows of 784 floats stay in the cache.
BLOCK = 64


def bernoulli_log_density(x, logits):
    """log p(x | logits) = sum over pixels of x h - log(1 + e^h).

    Parameters
    ----------
    x : array, shape (N, pixels), float32
        Binary (or grey, in [0, 1]) images; no gradient flows to them.
    logits : Variable or array, shape (K, N, pixels), float32
        The h above.

    Returns
    -------
    Variable, shape (K, N), float32, in nats
    """
    return _BernoulliLogDensity(x)(logits)


class _BernoulliLogDensity(chainer.Function):
    """Keeps only the logits; the derivative x - sigmoid(h) is made from them when needed."""

    def __init__(self, x):
        self.x = x

    def forward_cpu(self, inputs):
        (logits,) = inputs
        self.retain_inputs((0,))
        out = np.empty(logits.shape[:2], logits.dtype)
        for k, rows in _blocks(*out.shape):
            x, h = self.x[rows], logits[k, rows]
            softplus = np.abs(h)
            np.negative(softplus, out=softplus)
            np.exp(softplus, out=softplus)
            np.log1p(softplus, out=softplus)
            softplus += np.maximum(h, 0)
            out[k, rows] = np.vecdot(x, h) - softplus.sum(axis=-1)
        return (out,)

    def backward_cpu(self, inputs, grad_outputs):
        (logits,), (g,) = inputs, grad_outputs
        out = np.empty_like(logits)
        for k, rows in _blocks(*g.shape):
            # sigmoid(h) = (1 + tanh(h / 2)) / 2 neither overflows nor branches
            residual = np.multiply(logits[k, rows], 0.5, out=out[k, rows])
            np.tanh(residual, out=residual)
            residual *= -0.5
            residual += self.x[rows]
            residual -= 0.5
            residual *= g[k, rows, None]
        return (out,)

    def forward_gpu(self, inputs):
        self.retain_inputs((0,))
        log_density = cuda.reduce(
            "T x, T h",
            "T y",
            "x * h - max(h, T(0)) - log1p(exp(-abs(h)))",
            "a + b",
            "y = a",
            "0",
            "jvi_bernoulli_log_density",
        )
        return (log_density(self.x[None], inputs[0], axis=2),)

    def backward_gpu(self, inputs, grad_outputs):
        gradient = cuda.elementwise(
            "T x, T h, T g",
            "T out",
            "out = g * (x - T(0.5) - T(0.5) * tanh(T(0.5) * h))",
            "jvi_bernoulli_gradient",
        )
        return (gradient(self.x[None], inputs[0], grad_outputs[0][:, :, None]),)


def _blocks(num_samples, num_points):
    """(k, slice of data points) covering the (K, N) grid in pieces of at most BLOCK rows."""
    for k in range(num_samples):
        for start in range(0, num_points, BLOCK):
            yield k, slice(start, start + BLOCK)
