"""Log-density of binary pixels given logits, summed over the pixels."""

import numpy as np
from chainer import function_node
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
    return _BernoulliLogDensity(x).apply((logits,))[0]


class _BernoulliLogDensity(function_node.FunctionNode):
    """Keeps only the logits; the derivative x - sigmoid(h) is made from them when needed."""

    def __init__(self, x):
        self.x = x

    def forward_cpu(self, inputs):
        self.retain_inputs((0,))
        (logits,) = inputs
        num_samples, num_points, _ = logits.shape
        out = np.empty((num_samples, num_points), logits.dtype)
        for k, rows in _blocks(num_samples, num_points):
            x, h = self.x[rows], logits[k, rows]
            softplus = np.abs(h)
            np.negative(softplus, out=softplus)
            np.exp(softplus, out=softplus)
            np.log1p(softplus, out=softplus)
            softplus += np.maximum(h, 0)
            out[k, rows] = np.vecdot(x, h) - softplus.sum(axis=-1)
        return (out,)

    def forward_gpu(self, inputs):
        self.retain_inputs((0,))
        (logits,) = inputs
        return (_log_density_kernel()(self.x[None], logits, axis=2),)

    def backward(self, indexes, grad_outputs):
        (logits,) = self.get_retained_inputs()
        return _BernoulliGradient(self.x).apply((logits, grad_outputs[0]))


class _BernoulliGradient(function_node.FunctionNode):
    """g (x - sigmoid(h)), shape (K, N, pixels), for g of shape (K, N)."""

    def __init__(self, x):
        self.x = x

    def forward_cpu(self, inputs):
        logits, g = inputs
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
        logits, g = inputs
        return (_gradient_kernel()(self.x[None], logits, g[:, :, None]),)


def _blocks(num_samples, num_points):
    """(k, slice of data points) covering the (K, N) grid in pieces of at most BLOCK rows."""
    for k in range(num_samples):
        for start in range(0, num_points, BLOCK):
            yield k, slice(start, start + BLOCK)


@cuda.cupy.memoize(for_each_device=True) if cuda.available else (lambda f: f)
def _log_density_kernel():
    return cuda.cupy.ReductionKernel(
        "T x, T h",
        "T y",
        "x * h - max(h, T(0)) - log1p(exp(-abs(h)))",
        "a + b",
        "y = a",
        "0",
        "jvi_bernoulli_log_density",
    )


def _gradient_kernel():
    return cuda.elementwise(
        "T x, T h, T g",
        "T out",
        "out = g * (x - T(0.5) - T(0.5) * tanh(T(0.5) * h))",
        "jvi_bernoulli_gradient",
    )
