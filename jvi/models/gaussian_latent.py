"""What models with one layer of Gaussian latents share."""

import chainer
import chainer.functions as F
from scipy.special import ndtri

from jvi.functions import gaussian_log_density, gaussian_sample

__all__ = ["GaussianLatent"]


class GaussianLatent(chainer.Chain):
    """q(z|x) = N(mean, exp(log-variance)), diagonal, and p(z) = N(0, I).

    q is (mean, log-variance), each (N, D); z has shape (K, N, D). A model adds `infer`,
    `log_joint`, `mean`, `check` and the attributes `spec` and `num_latent`, its D.
    """

    reparameterised = True

    def num_points(self, x):
        return len(x)

    def draw(self, q, source, num_samples):
        z = gaussian_sample(*q, source.normal((num_samples, *q[0].shape)))
        return z, gaussian_log_density(z, *q)

    def log_q(self, q, z):
        return gaussian_log_density(z, *q)

    def kl(self, q):
        mean, ln_var = q
        return 0.5 * F.sum(mean * mean + F.exp(ln_var) - ln_var - 1.0, axis=-1)

    def kl_of_units(self, q):
        mean, ln_var = q
        return 0.5 * (mean * mean + F.exp(ln_var) - ln_var - 1.0)

    def draw_prior(self, source, num_samples, num_points):
        return source.normal((num_samples, num_points, self.num_latent))

    def prior_quantile(self, u):
        return ndtri(u).astype("float32")

    def typical(self, q):
        return F.expand_dims(chainer.as_variable(q[0]), 0)

    def latent_means(self, q, z):
        return [chainer.as_variable(q[0]).array]
