"""The original's network for binary images: two hidden CReLU layers each way."""

import chainer
import chainer.functions as F
import chainer.links as L
import numpy as np

from jvi.functions import (
    crelu_decoder_log_density,
    crelu_encoder,
    gaussian_log_density,
    gaussian_sample,
    standard_normal_log_density,
)

__all__ = ["MLP"]


class MLP(chainer.Chain):
    """Gaussian encoder and Bernoulli decoder with a standard normal prior.

    Links and parameters have the original's names (encode/qlin0/W, …), so that its files fit.

    Parameters
    ----------
    num_pixels, num_hidden, num_latent : int
        Sizes; CReLU doubles the outputs of each hidden layer.
    rng : numpy.random.Generator, optional
        Source of the initial weights (LeCun normal); without it they are left unset, for a file
        to fill.
    """

    def __init__(self, num_pixels, num_hidden, num_latent, rng=None):
        super().__init__()
        self.num_pixels, self.num_hidden, self.num_latent = num_pixels, num_hidden, num_latent
        with self.init_scope():
            self.encode = _Encoder(num_pixels, num_hidden, num_latent, rng)
            self.decode = _Decoder(num_pixels, num_hidden, num_latent, rng)

    def posterior(self, x):
        return self.encode(x)

    def sample(self, q, eps):
        return gaussian_sample(*q, eps)

    def log_px(self, x, z):
        layers = self.decode.plin0, self.decode.plin1, self.decode.plin2
        return crelu_decoder_log_density(x, z, *_parameters(layers))

    def log_pz(self, z):
        return standard_normal_log_density(z)

    def log_qz(self, q, z):
        return gaussian_log_density(z, *q)

    def kl(self, q):
        mean, ln_var = q
        return 0.5 * F.sum(mean * mean + F.exp(ln_var) - ln_var - 1.0, axis=-1)

    def pixels(self, z):
        return F.sigmoid(self.decode(z))


class _Encoder(chainer.Chain):
    def __init__(self, num_pixels, num_hidden, num_latent, rng):
        super().__init__()
        with self.init_scope():
            self.qlin0 = _linear(num_pixels, num_hidden, rng)
            self.qlin1 = _linear(2 * num_hidden, num_hidden, rng)
            self.qlin_mu = _linear(2 * num_hidden, num_latent, rng)
            self.qlin_ln_var = _linear(2 * num_hidden, num_latent, rng)

    def forward(self, x):
        """Mean and log-variance of q(z|x), each (N, D), for x of shape (N, pixels)."""
        layers = self.qlin0, self.qlin1, self.qlin_mu, self.qlin_ln_var
        return crelu_encoder(x, *_parameters(layers))


class _Decoder(chainer.Chain):
    def __init__(self, num_pixels, num_hidden, num_latent, rng):
        super().__init__()
        with self.init_scope():
            self.plin0 = _linear(num_latent, num_hidden, rng)
            self.plin1 = _linear(2 * num_hidden, num_hidden, rng)
            self.plin2 = _linear(2 * num_hidden, num_pixels, rng)

    def forward(self, z):
        """Logits of the pixels, shape z.shape[:-1] + (pixels,), for z of shape (…, D)."""
        h = F.reshape(z, (-1, z.shape[-1]))
        h = F.crelu(self.plin0(h))
        h = F.crelu(self.plin1(h))
        h = self.plin2(h)
        return F.reshape(h, (*z.shape[:-1], h.shape[-1]))


def _parameters(layers):
    return [parameter for layer in layers for parameter in (layer.W, layer.b)]


def _linear(num_in, num_out, rng):
    if rng is None:
        weights = np.full((num_out, num_in), np.nan, np.float32)
    else:
        weights = rng.standard_normal((num_out, num_in), dtype=np.float32) / np.float32(num_in**0.5)
    return L.Linear(num_in, num_out, initialW=weights)
