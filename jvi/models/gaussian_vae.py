"""A VAE for real numbers: Gaussian observations whose variances are learned."""

import chainer
import chainer.functions as F

from jvi.functions import gaussian_log_density, standard_normal_log_density
from jvi.models.gaussian_latent import GaussianLatent
from jvi.models.layers import Affine, GaussianLayers, TanhLayers, bias, check_real
from jvi.spec import Spec

__all__ = ["GaussianVAE"]


class GaussianVAE(GaussianLatent):
    """Two tanh layers each way; p(x|z) = N(mean(z), exp(ln_var)), a variance for each column.

    Variances that do not depend on z keep the likelihood from growing without bound at a single
    data point. They begin at 1, so columns should be of about that scale.

    Parameters
    ----------
    num_columns : int
        Numbers of a data point.
    hidden, latent : int
        Units of each hidden layer, and D.
    rng : numpy.random.Generator, optional
        Source of the initial weights; without it they are left unset, for a file to fill.
    """

    def __init__(self, num_columns, hidden: int = 100, latent: int = 10, rng=None):
        super().__init__()
        sizes = {"columns": num_columns, "hidden": hidden, "latent": latent}
        self.spec = Spec("gaussian-vae", sizes)
        self.num_columns, self.num_latent = num_columns, latent
        with self.init_scope():
            self.encode = GaussianLayers(num_columns, hidden, latent, rng)
            self.decode = TanhLayers(latent, hidden, rng)
            self.columns = Affine(hidden, num_columns, rng)
            self.ln_var = bias(num_columns, rng)

    def check(self, x):
        return check_real(x, self.num_columns, self.xp)

    def infer(self, x):
        return self.encode(x)

    def log_joint(self, x, z):
        ln_var = F.broadcast_to(self.ln_var, x.shape)
        # A Gaussian density is the same with mean and argument exchanged.
        log_px = gaussian_log_density(self.mean(z), x, ln_var)
        return log_px, standard_normal_log_density(chainer.as_variable(z))

    def mean(self, z):
        return self.columns(self.decode(z))

    def draw_x(self, z, source):
        mean = self.mean(z).array
        return mean + self.xp.exp(0.5 * self.ln_var.array) * source.normal(mean.shape)
