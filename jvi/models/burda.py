"""IWAE's networks (Burda et al. 2016, section 5): tanh, one or two stochastic layers."""

import chainer
import chainer.functions as F

from jvi.functions import (
    bernoulli_log_density,
    gaussian_log_density,
    gaussian_sample,
    standard_normal_log_density,
)
from jvi.models.layers import Affine, GaussianLayers, TanhLayers, check_images, draw_binary
from jvi.spec import Spec

__all__ = ["Burda"]

# (hidden units of each way, latent units) of each stochastic layer, from the data upwards.
SIZES = {1: ((200, 50),), 2: ((200, 100), (100, 50))}


class Burda(chainer.Chain):
    """x-200-200-50, or x-200-200-100 and from there 100-100-50, and the same way back.

    Every stochastic layer is Gaussian given the one below it (q) or above it (p), the topmost
    prior is standard normal, pixels are Bernoulli. q is (mean, log-variance) of the lowest layer,
    each (N, D1); z is an array (K, N, 50), or a tuple of two, lowest first.

    Parameters
    ----------
    num_pixels : int
    layers : int
        Stochastic layers, 1 or 2.
    rng : numpy.random.Generator, optional
        Source of the initial weights; without it they are left unset, for a file to fill.
    """

    reparameterised = True

    def __init__(self, num_pixels, layers: int = 1, rng=None):
        super().__init__()
        if layers not in SIZES:
            raise ValueError(f"burda:layers must be 1 or 2, not {layers}")
        self.spec = Spec("burda", {"pixels": num_pixels, "layers": layers})
        self.num_pixels, self.num_layers = num_pixels, layers
        self.num_latent = SIZES[layers][-1][1]
        upwards, downwards, below = chainer.ChainList(), chainer.ChainList(), num_pixels
        for hidden, latent in SIZES[layers]:
            upwards.append(GaussianLayers(below, hidden, latent, rng))
            if downwards:
                downwards.append(GaussianLayers(latent, hidden, below, rng))
            else:
                downwards.append(TanhLayers(latent, hidden, rng))
            below = latent
        with self.init_scope():
            self.encode, self.decode = upwards, downwards
            self.pixels = Affine(SIZES[layers][0][0], num_pixels, rng)

    def num_points(self, x):
        return len(x)

    def check(self, x):
        return check_images(x, self.num_pixels, self.xp)

    def infer(self, x):
        return self.encode[0](x)

    def draw(self, q, source, num_samples):
        mean, ln_var = q
        z = gaussian_sample(mean, ln_var, source.normal((num_samples, *mean.shape)))
        layers, log_q = [z], gaussian_log_density(z, mean, ln_var)
        for layer in list(self.encode)[1:]:
            mean, ln_var = layer(z)
            z = _sample_each(mean, ln_var, source.normal(mean.shape))
            layers.append(z)
            log_q = log_q + _log_density_each(z, mean, ln_var)
        return (tuple(layers) if len(layers) > 1 else z), log_q

    def log_joint(self, x, z):
        layers = _layers(z)
        log_px = bernoulli_log_density(x, self.pixels(self.decode[0](layers[0])))
        log_pz = standard_normal_log_density(chainer.as_variable(layers[-1]))
        for below, above, layer in zip(layers, layers[1:], list(self.decode)[1:], strict=False):
            log_pz = log_pz + _log_density_each(chainer.as_variable(below), *layer(above))
        return log_px, log_pz

    def log_q(self, q, z):
        layers = _layers(z)
        log_q = gaussian_log_density(chainer.as_variable(layers[0]), *q)
        for below, above, layer in zip(layers, layers[1:], list(self.encode)[1:], strict=False):
            log_q = log_q + _log_density_each(chainer.as_variable(above), *layer(below))
        return log_q

    def draw_prior(self, source, num_samples, num_points):
        z = source.normal((num_samples, num_points, self.num_latent))
        layers = [z]
        for layer in list(self.decode)[:0:-1]:
            mean, ln_var = layer(layers[0])
            layers.insert(0, _sample_each(mean, ln_var, source.normal(mean.shape)).array)
        return tuple(layers) if len(layers) > 1 else z

    def mean(self, z):
        return F.sigmoid(self.pixels(self.decode[0](_layers(z)[0])))

    def draw_x(self, z, source):
        return draw_binary(self.mean(z), source)

    def typical(self, q):
        z = [F.expand_dims(chainer.as_variable(q[0]), 0)]
        for layer in list(self.encode)[1:]:
            z.append(layer(z[-1])[0])
        return tuple(z) if len(z) > 1 else z[0]

    def latent_means(self, q, z):
        means = [chainer.as_variable(q[0]).array]
        for below, layer in zip(_layers(z), list(self.encode)[1:], strict=False):
            means.append(layer(below)[0].array.mean(axis=0))
        return means


def _layers(z):
    return list(z) if isinstance(z, tuple | list) else [z]


def _rows(*arrays):
    """Arrays of shape (K, N, D) as (K N, D)."""
    return [F.reshape(array, (-1, array.shape[-1])) for array in arrays]


def _sample_each(mean, ln_var, eps):
    """One draw of each Gaussian: all of shape (K, N, D)."""
    z = gaussian_sample(*_rows(mean, ln_var), eps.reshape(1, -1, eps.shape[-1]))
    return F.reshape(z, mean.shape)


def _log_density_each(z, mean, ln_var):
    """Of z under Gaussians of its own shape, (K, N, D): shape (K, N)."""
    rows = F.reshape(z, (1, -1, z.shape[-1]))
    return F.reshape(gaussian_log_density(rows, *_rows(mean, ln_var)), z.shape[:2])
