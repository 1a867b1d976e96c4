"""Draws from and log-densities of diagonal Gaussians; on a GPU every pass is one kernel."""

import math

import chainer
import numpy as np

__all__ = ["gaussian_log_density", "gaussian_sample", "standard_normal_log_density"]


def gaussian_sample(mean, ln_var, eps):
    """z = mean + exp(ln_var / 2) eps, a differentiable function of mean and ln_var.

    Parameters
    ----------
    mean, ln_var : Variable, shape (N, D)
    eps : array, shape (K, N, D)
        Standard normal noise.

    Returns
    -------
    Variable, shape (K, N, D)
    """
    return _Sample(eps)(mean, ln_var)


def gaussian_log_density(z, mean, ln_var):
    """log N(z; mean, exp(ln_var)) summed over dimensions.

    Parameters
    ----------
    z : Variable, shape (K, N, D)
    mean, ln_var : Variable, shape (N, D)

    Returns
    -------
    Variable, shape (K, N), in nats
    """
    return _LogDensity()(z, mean, ln_var)


def standard_normal_log_density(z):
    """log N(z; 0, 1) summed over dimensions: shape (K, N) for z of shape (K, N, D)."""
    return _StandardLogDensity()(z)


class _Sample(chainer.Function):
    def __init__(self, eps):
        self.eps = eps

    def forward_cpu(self, inputs):
        mean, ln_var = inputs
        z = np.exp(0.5 * ln_var) * self.eps
        z += mean
        return (z,)

    def forward_gpu(self, inputs):
        return (_kernels().sample(*inputs, self.eps),)

    def backward_cpu(self, inputs, grad_outputs):
        (_, ln_var), (g,) = inputs, grad_outputs
        return g.sum(axis=0), 0.5 * np.exp(0.5 * ln_var) * np.einsum("knd,knd->nd", g, self.eps)

    def backward_gpu(self, inputs, grad_outputs):
        return _kernels().sample_backward(grad_outputs[0], inputs[1], self.eps)


class _LogDensity(chainer.Function):
    def forward_cpu(self, inputs):
        z, mean, ln_var = inputs
        standard = (z - mean) * np.exp(-0.5 * ln_var)
        squares = np.einsum("knd,knd->kn", standard, standard)
        return (-0.5 * (squares + ln_var.sum(axis=-1)) - _log_normaliser(z),)

    def forward_gpu(self, inputs):
        return (_kernels().log_density(*inputs),)

    def backward_cpu(self, inputs, grad_outputs):
        (z, mean, ln_var), (g,) = inputs, grad_outputs
        inverse_scale = np.exp(-0.5 * ln_var)
        standard = (z - mean) * inverse_scale
        weighted = g[:, :, None] * standard
        for_ln_var = np.einsum("knd,knd->nd", weighted, standard) - g.sum(axis=0)[:, None]
        for_z = weighted * inverse_scale
        return -for_z, for_z.sum(axis=0), 0.5 * for_ln_var

    def backward_gpu(self, inputs, grad_outputs):
        return _kernels().log_density_backward(*grad_outputs, *inputs)


class _StandardLogDensity(chainer.Function):
    def forward_cpu(self, inputs):
        (z,) = inputs
        return (-0.5 * np.einsum("knd,knd->kn", z, z) - _log_normaliser(z),)

    def forward_gpu(self, inputs):
        return (_kernels().standard_log_density(*inputs),)

    def backward_cpu(self, inputs, grad_outputs):
        return (-grad_outputs[0][:, :, None] * inputs[0],)

    def backward_gpu(self, inputs, grad_outputs):
        return (_kernels().standard_log_density_backward(*grad_outputs, *inputs),)


def _log_normaliser(z):
    return 0.5 * z.shape[-1] * math.log(2 * math.pi)


def _kernels():
    from jvi.functions.kernels import on_cupy

    return on_cupy
