"""The toy problem of Rainforth et al. (2018), section 4, whose evidence and optimum are known."""

import math

import chainer
import numpy as np

from jvi.evidence.arrays import host
from jvi.functions import standard_normal_log_density
from jvi.models.gaussian_latent import GaussianLatent
from jvi.models.layers import Affine, bias, check_real
from jvi.spec import Spec

__all__ = ["GaussianToy", "near_optimum"]

VARIANCE = 2 / 3  # of q; the exact posterior's is 1/2


class GaussianToy(GaussianLatent):
    """z ~ N(mu, I), x|z ~ N(z, I), q(z|x) = N(A x + b, 2/3 I).

    A and b are encode/W and encode/b. p(x) = N(mu, 2 I), and the posterior is N((x + mu)/2, I/2),
    so that mu = mean(x), A = I/2, b = mu/2 is the optimum of every bound. There the ELBO is
    log p(x) - D (1/3 - log(4/3)) / 2: 0.45651 nats below for D = 20.

    Parameters
    ----------
    dim : int
        D, of data and latents alike.
    rng : numpy.random.Generator, optional
        Source of the initial A, of variance 1/D; mu and b begin at 0. Without it all are left
        unset, for a file to fill.
    """

    def __init__(self, dim, rng=None):
        super().__init__()
        self.spec, self.num_latent = Spec("gaussian-toy", {"dim": dim}), dim
        with self.init_scope():
            self.encode = Affine(dim, dim, rng)
            self.mu = bias(dim, rng)

    def check(self, x):
        return check_real(x, self.num_latent, self.xp)

    def infer(self, x):
        mean = self.encode(x)
        ln_var = self.xp.full(mean.shape, math.log(VARIANCE), mean.dtype)
        return mean, chainer.as_variable(ln_var)

    def log_joint(self, x, z):
        z = chainer.as_variable(z)
        return standard_normal_log_density(z - x), standard_normal_log_density(z - self.mu)

    def kl(self, q):
        mean, ln_var = q
        return super().kl((mean - self.mu, ln_var))

    def kl_of_units(self, q):
        mean, ln_var = q
        return super().kl_of_units((mean - self.mu, ln_var))

    def draw_prior(self, source, num_samples, num_points):
        return super().draw_prior(source, num_samples, num_points) + self.mu.array

    def prior_quantile(self, u):
        return super().prior_quantile(u) + host(self.mu.array)

    def mean(self, z):
        return chainer.as_variable(z)

    def draw_x(self, z, source):
        return chainer.as_variable(z).array + source.normal(z.shape)

    def log_evidence(self, x):
        away = (x - self.mu.array).astype("float64")
        return -0.25 * (away**2).sum(axis=-1) - 0.5 * self.num_latent * math.log(4 * math.pi)


def near_optimum(
    link: GaussianToy, x: np.ndarray, rng: np.random.Generator, scale: float = 0.01
) -> None:
    """Set the parameters to the optimum for data, every number moved by noise of its own.

    There Rainforth et al. (2018) measure the signal-to-noise ratio of gradients.

    Parameters
    ----------
    link : GaussianToy
    x : array, shape (N, D)
        All training data.
    rng : numpy.random.Generator
    scale : float
        Standard deviation of the noise; 0 for the optimum itself.
    """
    mean = np.asarray(x, np.float64).mean(axis=0)
    optimum = {"/mu": mean, "/encode/W": 0.5 * np.eye(len(mean)), "/encode/b": 0.5 * mean}
    for name, parameter in sorted(link.namedparams()):
        moved = optimum[name] + scale * rng.standard_normal(parameter.shape)
        parameter.array = link.device.send(moved.astype(parameter.dtype))
