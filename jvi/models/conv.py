"""A small convolutional VAE for square binary images."""

import math

import chainer
import chainer.functions as F

from jvi.functions import bernoulli_log_density, standard_normal_log_density
from jvi.models.gaussian_latent import GaussianLatent
from jvi.models.layers import Affine, Halve, Twice, check_images, draw_binary
from jvi.spec import Spec

__all__ = ["Conv"]


class Conv(GaussianLatent):
    """Two convolutions of 3 × 3 in steps of 2, then two linear heads; the same way back.

    Sides of 28 become 14 and 7 (any other is rounded up). ReLU between layers; pixels are
    Bernoulli.

    Parameters
    ----------
    num_pixels : int
        A square number.
    channels : int
        Feature maps of the outer layers, doubled in the inner ones.
    latent : int
        D.
    rng : numpy.random.Generator, optional
        Source of the initial weights; without it they are left unset, for a file to fill.
    """

    def __init__(self, num_pixels, channels: int = 16, latent: int = 32, rng=None):
        super().__init__()
        side = math.isqrt(num_pixels)
        if side**2 != num_pixels:
            raise ValueError(f"conv needs square images: {num_pixels} pixels are none")
        if channels > 2**10:
            raise ValueError(f"conv:channels must be at most 1024, not {channels}")
        sizes = {"pixels": num_pixels, "channels": channels, "latent": latent}
        self.spec = Spec("conv", sizes)
        self.num_pixels, self.num_latent = num_pixels, latent
        with self.init_scope():
            self.encode = _Encoder(side, channels, latent, rng)
            self.decode = _Decoder(side, channels, latent, rng)

    def check(self, x):
        return check_images(x, self.num_pixels, self.xp)

    def infer(self, x):
        return self.encode(x)

    def log_joint(self, x, z):
        z = chainer.as_variable(z)
        return bernoulli_log_density(x, self.decode(z)), standard_normal_log_density(z)

    def mean(self, z):
        return F.sigmoid(self.decode(z))

    def draw_x(self, z, source):
        return draw_binary(self.mean(z), source)


class _Encoder(chainer.Chain):
    def __init__(self, side, channels, latent, rng):
        super().__init__()
        self.side, inner = side, 2 * channels * _half(_half(side)) ** 2
        with self.init_scope():
            self.conv0 = Halve(1, channels, rng)
            self.conv1 = Halve(channels, 2 * channels, rng)
            self.lin_mu = Affine(inner, latent, rng)
            self.lin_ln_var = Affine(inner, latent, rng)

    def forward(self, x):
        """Mean and log-variance of q(z|x), each (N, D), for x of shape (N, pixels)."""
        h = F.reshape(x, (len(x), 1, self.side, self.side))
        h = F.relu(self.conv1(F.relu(self.conv0(h))))
        h = F.reshape(h, (len(x), -1))
        return self.lin_mu(h), self.lin_ln_var(h)


class _Decoder(chainer.Chain):
    def __init__(self, side, channels, latent, rng):
        super().__init__()
        half = _half(side)
        self.inner = 2 * channels, _half(half), _half(half)
        with self.init_scope():
            self.lin0 = Affine(latent, math.prod(self.inner), rng)
            self.conv1 = Twice(2 * channels, channels, half, rng)
            self.conv0 = Twice(channels, 1, side, rng)

    def forward(self, z):
        """Logits of the pixels, shape z.shape[:-1] + (pixels,), for z of shape (…, D)."""
        h = F.reshape(F.relu(self.lin0(z)), (-1, *self.inner))
        h = self.conv0(F.relu(self.conv1(h)))
        return F.reshape(h, (*z.shape[:-1], -1))


def _half(side):
    """Of a side, rounded up, as `Halve` makes it."""
    return (side + 1) // 2
