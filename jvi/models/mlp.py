"""The original's network for binary images: two hidden CReLU layers each way."""

import chainer
import chainer.functions as F

from jvi.functions import (
    crelu_decoder_log_density,
    crelu_encoder,
    standard_normal_log_density,
)
from jvi.models.gaussian_latent import GaussianLatent
from jvi.models.layers import Affine, check_images, draw_binary
from jvi.spec import Spec

__all__ = ["MLP"]


class MLP(GaussianLatent):
    """Gaussian encoder and Bernoulli decoder with a standard normal prior (Nowozin 2018).

    q is (mean, log-variance), each (N, D); z has shape (K, N, D). Links and parameters have the
    original's names (encode/qlin0/W, …), so that its files fit.

    Parameters
    ----------
    num_pixels : int
    hidden, latent : int
        Units of each hidden layer, doubled by CReLU, and D.
    rng : numpy.random.Generator, optional
        Source of the initial weights (LeCun normal); without it they are left unset, for a file
        to fill.
    """

    def __init__(self, num_pixels, hidden: int = 128, latent: int = 16, rng=None):
        super().__init__()
        self.spec = Spec("mlp", {"pixels": num_pixels, "hidden": hidden, "latent": latent})
        self.num_pixels, self.num_latent = num_pixels, latent
        with self.init_scope():
            self.encode = _Encoder(num_pixels, hidden, latent, rng)
            self.decode = _Decoder(num_pixels, hidden, latent, rng)

    def check(self, x):
        return check_images(x, self.num_pixels, self.xp)

    def infer(self, x):
        return self.encode(x)

    def log_joint(self, x, z):
        layers = self.decode.plin0, self.decode.plin1, self.decode.plin2
        log_px = crelu_decoder_log_density(x, z, *_parameters(layers))
        return log_px, standard_normal_log_density(z)

    def mean(self, z):
        return F.sigmoid(self.decode(z))

    def draw_x(self, z, source):
        return draw_binary(self.mean(z), source)


class _Encoder(chainer.Chain):
    def __init__(self, num_pixels, hidden, latent, rng):
        super().__init__()
        with self.init_scope():
            self.qlin0 = Affine(num_pixels, hidden, rng)
            self.qlin1 = Affine(2 * hidden, hidden, rng)
            self.qlin_mu = Affine(2 * hidden, latent, rng)
            self.qlin_ln_var = Affine(2 * hidden, latent, rng)

    def forward(self, x):
        """Mean and log-variance of q(z|x), each (N, D), for x of shape (N, pixels)."""
        layers = self.qlin0, self.qlin1, self.qlin_mu, self.qlin_ln_var
        return crelu_encoder(x, *_parameters(layers))


class _Decoder(chainer.Chain):
    def __init__(self, num_pixels, hidden, latent, rng):
        super().__init__()
        with self.init_scope():
            self.plin0 = Affine(latent, hidden, rng)
            self.plin1 = Affine(2 * hidden, hidden, rng)
            self.plin2 = Affine(2 * hidden, num_pixels, rng)

    def forward(self, z):
        """Logits of the pixels, shape z.shape[:-1] + (pixels,), for z of shape (…, D)."""
        h = F.reshape(z, (-1, z.shape[-1]))
        h = F.crelu(self.plin0(h))
        h = F.crelu(self.plin1(h))
        h = self.plin2(h)
        return F.reshape(h, (*z.shape[:-1], h.shape[-1]))


def _parameters(layers):
    return [parameter for layer in layers for parameter in (layer.W, layer.b)]
