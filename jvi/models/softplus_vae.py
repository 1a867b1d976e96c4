"""IWAE's network of one stochastic layer with a softplus for q's standard deviations."""

import chainer
import chainer.functions as F

from jvi.functions import bernoulli_log_density, standard_normal_log_density
from jvi.functions.softplus_gaussian import log_scale
from jvi.models.gaussian_latent import GaussianLatent
from jvi.models.layers import Affine, TanhLayers, check_images, draw_binary
from jvi.spec import Spec

__all__ = ["SoftplusVAE"]


class SoftplusVAE(GaussianLatent):
    """Two tanh layers each way, q's standard deviation a softplus (M'Charrak et al. 2021).

    As `burda` with one layer, which has a log-variance in its place; pixels are Bernoulli.

    Parameters
    ----------
    num_pixels : int
    hidden, latent : int
        Units of each hidden layer, and D.
    rng : numpy.random.Generator, optional
        Source of the initial weights; without it they are left unset, for a file to fill.
    """

    def __init__(self, num_pixels, hidden: int = 200, latent: int = 50, rng=None):
        super().__init__()
        sizes = {"pixels": num_pixels, "hidden": hidden, "latent": latent}
        self.spec = Spec("softplus-vae", sizes)
        self.num_pixels, self.num_latent = num_pixels, latent
        with self.init_scope():
            self.encode = _Encoder(num_pixels, hidden, latent, rng)
            self.decode = TanhLayers(latent, hidden, rng)
            self.pixels = Affine(hidden, num_pixels, rng)

    def check(self, x):
        return check_images(x, self.num_pixels, self.xp)

    def infer(self, x):
        return self.encode(x)

    def log_joint(self, x, z):
        log_px = bernoulli_log_density(x, self.pixels(self.decode(z)))
        return log_px, standard_normal_log_density(chainer.as_variable(z))

    def mean(self, z):
        return F.sigmoid(self.pixels(self.decode(z)))

    def draw_x(self, z, source):
        return draw_binary(self.mean(z), source)


class _Encoder(TanhLayers):
    """Two tanh layers, then mean and rho: the standard deviation is log(1 + e^rho)."""

    def __init__(self, num_in, hidden, num_out, rng):
        super().__init__(num_in, hidden, rng)
        with self.init_scope():
            self.lin_mu = Affine(hidden, num_out, rng)
            self.lin_rho = Affine(hidden, num_out, rng)

    def forward(self, x):
        """Mean and log-variance of q(z|x), each (N, D)."""
        h = super().forward(x)
        return self.lin_mu(h), 2.0 * log_scale(self.lin_rho(h))
