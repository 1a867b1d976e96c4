"""Sigmoid belief networks: Bernoulli latents in one to three layers (Mnih & Gregor 2014)."""

from itertools import pairwise

import chainer
import chainer.functions as F

from jvi.functions import bernoulli_log_density, bernoulli_sample
from jvi.models.layers import Affine, bias, check_images, draw_binary
from jvi.spec import Spec

__all__ = ["SBN"]


class SBN(chainer.Chain):
    """Binary latent layers, each Bernoulli given its neighbour by one affine map, up and down.

    q is the logits of the lowest layer, (N, D); z is a binary array (K, N, D), or a tuple of them,
    lowest first. Nothing flows through draws, so that only score-function estimators apply.

    Parameters
    ----------
    num_pixels : int
    layers : int
        Stochastic layers, 1 to 3.
    units : int
        D, of each layer.
    rng : numpy.random.Generator, optional
        Source of the initial weights; without it they are left unset, for a file to fill.
    """

    reparameterised = False

    def __init__(self, num_pixels, layers: int = 1, units: int = 200, rng=None):
        super().__init__()
        if not 1 <= layers <= 3:
            raise ValueError(f"sbn:layers must be 1 to 3, not {layers}")
        self.spec = Spec("sbn", {"pixels": num_pixels, "layers": layers, "units": units})
        self.num_pixels, self.num_layers, self.num_latent = num_pixels, layers, units
        sizes = [num_pixels] + [units] * layers
        pairs = list(pairwise(sizes))
        with self.init_scope():
            self.encode = chainer.ChainList(*(Affine(low, high, rng) for low, high in pairs))
            self.decode = chainer.ChainList(*(Affine(high, low, rng) for low, high in pairs))
            self.prior = bias(units, rng)  # logits of the topmost layer

    def num_points(self, x):
        return len(x)

    def check(self, x):
        return check_images(x, self.num_pixels, self.xp)

    def infer(self, x):
        return self.encode[0](x)

    def draw(self, q, source, num_samples):
        logits = chainer.as_variable(q).array
        layers = [bernoulli_sample(logits, source.uniform((num_samples, *logits.shape)))]
        for layer in list(self.encode)[1:]:
            logits = layer(layers[-1]).array
            layers.append(bernoulli_sample(logits, source.uniform(logits.shape)))
        return _joined(layers), self.log_q(q, _joined(layers))

    def log_joint(self, x, z):
        layers = _layers(z)
        log_px = bernoulli_log_density(x, self.decode[0](layers[0]))
        top = F.broadcast_to(self.prior, layers[-1].shape)
        log_pz = _log_density(layers[-1], top)
        for below, above, layer in zip(layers, layers[1:], list(self.decode)[1:], strict=False):
            log_pz = log_pz + bernoulli_log_density(below, layer(above))
        return log_px, log_pz

    def log_q(self, q, z):
        layers = _layers(z)
        log_q = _log_density(layers[0], F.broadcast_to(F.expand_dims(q, 0), layers[0].shape))
        for below, above, layer in zip(layers, layers[1:], list(self.encode)[1:], strict=False):
            log_q = log_q + bernoulli_log_density(above, layer(below))
        return log_q

    def draw_prior(self, source, num_samples, num_points):
        shape = num_samples, num_points, self.num_latent
        logits, layers = self.prior.array, []
        for layer in [*list(self.decode)[:0:-1], None]:
            layers.insert(0, bernoulli_sample(logits, source.uniform(shape)))
            logits = layer(layers[0]).array if layer else None
        return _joined(layers)

    def mean(self, z):
        return F.sigmoid(self.decode[0](_layers(z)[0]))

    def draw_x(self, z, source):
        return draw_binary(self.mean(z), source)

    def typical(self, q):
        z = [(chainer.as_variable(q).array > 0).astype("float32")[None]]
        for layer in list(self.encode)[1:]:
            z.append((layer(z[-1]).array > 0).astype("float32"))
        return _joined(z)

    def latent_means(self, q, z):
        means = [F.sigmoid(q).array]
        for below, layer in zip(_layers(z), list(self.encode)[1:], strict=False):
            means.append(F.sigmoid(layer(below)).array.mean(axis=0))
        return means


def _layers(z):
    return list(z) if isinstance(z, tuple | list) else [z]


def _joined(layers):
    return tuple(layers) if len(layers) > 1 else layers[0]


def _log_density(z, logits):
    """Of z, (K, N, D), under logits of its shape that were broadcast to it."""
    return F.sum(z * logits - F.softplus(logits), axis=-1)
