"""The deep ResNet VAE with bidirectional inference (Kingma et al. 2016, section 5.2 and C)."""

import math

import chainer
import chainer.functions as F
import numpy as np

from jvi.functions import elu
from jvi.functions.discretised_logistic import (
    LEVELS,
    discretised_logistic_log_density,
    discretised_logistic_sample,
)
from jvi.models.layers import bias, check_bytes, image_of
from jvi.models.masks import check_masks
from jvi.models.protocol import Joint
from jvi.models.resnet_layer import RESIDUAL, ResNetLayer, each_sample, norm_conv, pixel_shuffle
from jvi.models.weight_norm import initialising
from jvi.spec import Spec

__all__ = ["POSTERIORS", "IAFResNet"]

POSTERIORS = ("up_diag", "up_iaf1", "up_iaf2", "down_diag", "down_iaf1", "down_iaf2")

# Bounds on what a file can ask for: layers, levels, feature maps, hidden layers of a flow.
MOST_LAYERS, MOST_LEVELS, MOST_MAPS, MOST_HIDDEN = 100, 10, 2**12, 100

# Numbers of a sample's graph that count for one row of a plain network.
ROW = 2**14

# More samples than these at once keep only what goes from layer to layer, and what is within one
# is computed again on the way back.
REMEMBERED = 2**5


class IAFResNet(chainer.Chain):
    """Residual layers with Gaussian latents, inferred up or down, IAF posteriors, bytes as pixels.

    The image is halved once by a convolution of 5 × 5, and once more from level to level. Every
    layer has `n_z` feature maps of latents, whose prior depends on the layers above. q(z|x) goes
    up first; in "down" posteriors each layer then infers its latents on the way down, from what
    went up and what comes down (bidirectional inference), in "up" posteriors on the way up.

    q is a tuple over layers, from the lowest, of what goes up; z likewise, of arrays (K, N, side,
    side, n_z). Groups of latents, for a minimum of information, are feature maps.

    Parameters
    ----------
    num_pixels : int
        Side² of grey, 3 side² of colour images.
    depths : str
        Layers of each level, from the largest: "2-2-2".
    n_z, n_h : int
        Feature maps of latents and of hidden units.
    posterior : str
        One of `POSTERIORS`; the published code's "…_nl" are these.
    depth_ar : int
        Hidden layers of the autoregressive networks; without any they are linear.
    rng : numpy.random.Generator, optional
        Source of the initial weights; without it they are left unset, for a file to fill.

    Raises
    ------
    ValueError
        For images that are not square or cannot be halved so often, or other options than these.
    """

    reparameterised = True
    of_bytes = True
    may_be_none = ("depth_ar",)
    any_size = 4**MOST_LEVELS  # a number of pixels that all depths can halve

    def __init__(
        self,
        num_pixels,
        depths: str = "2-2",
        n_z: int = 32,
        n_h: int = 64,
        posterior: str = "down_iaf2",
        depth_ar: int = 1,
        rng=None,
    ):
        super().__init__()
        counts, posterior = _counts(depths), _posterior(posterior)
        _check_sizes(n_z, n_h, depth_ar)
        if not posterior.endswith("diag"):
            check_masks("iaf-resnet", sum(counts), n_z, n_h, depth_ar, taps=9)
        self.side, self.colours = image_of(num_pixels, len(counts), f"depths {depths}")
        sizes = {"pixels": num_pixels, "depths": "-".join(map(str, counts)), "n_z": n_z}
        sizes |= {"n_h": n_h, "posterior": posterior, "depth_ar": depth_ar}
        self.spec = Spec("iaf-resnet", sizes)
        self.num_pixels, self.n_h, self.upwards = num_pixels, n_h, posterior.startswith("up")
        self.num_latent = n_z * (self.side >> len(counts)) ** 2
        levels = [level for level, count in enumerate(counts) for _ in range(count)]
        layers = chainer.ChainList()
        for before, level in zip([0, *levels], levels, strict=False):
            side, halves = self.side >> (level + 1), level > before
            top = len(layers) + 1 == len(levels)
            layers.append(ResNetLayer(n_z, n_h, posterior, depth_ar, side, halves, top, rng))
        self.heft = max(1, sum(layer.numbers for layer in layers) // ROW)
        with self.init_scope():
            self.x_enc = norm_conv(self.colours, n_h, size=5, stride=2, rng=rng)
            self.layers = layers
            self.h_top = bias(n_h, rng)
            self.x_dec = norm_conv(n_h, 4 * self.colours, size=5, rng=rng)
            self.ln_scale = bias((), rng)

    def num_points(self, x):
        return len(x)

    def check(self, x):
        return check_bytes(x, self.num_pixels, self.xp)

    def initialise(self, x, source):
        """Outputs of mean 0 and small deviation on `x`; a scale for the pixels.

        Source: Salimans & Kingma (2016), section 3.
        """
        deviation = max(float(x.std()), 1 / LEVELS)
        self.ln_scale.array[...] = math.log(deviation * math.sqrt(3) / math.pi)
        with initialising(), chainer.no_backprop_mode():
            self.draw_joint(x, self.infer(x), source, 1)

    def infer(self, x):
        h = self.x_enc(x.reshape(-1, self.side, self.side, self.colours) - np.float32(0.5))
        q = [(h,)]
        for layer in [] if self.upwards else self.layers:
            h, found = layer.up(h)
            q.append(found)
        return tuple(q) if self.upwards else tuple(q[1:])

    def draw(self, q, source, num_samples):
        z, log_q, _, _ = self._drawn(q, source, num_samples)
        return z, F.sum(log_q, axis=-1)

    def draw_joint(self, x, q, source, num_samples):
        z, log_q, log_p, h = self._drawn(q, source, num_samples)
        if self.upwards:
            log_p, h = self._generate(z)
        log_px = discretised_logistic_log_density(x, self._pixels(h, z), self.ln_scale)
        sums = [F.sum(each, axis=-1) for each in (log_q, log_p)]
        return Joint(z, sums[0], log_px, sums[1], log_q - log_p)

    def log_joint(self, x, z):
        log_p, h = self._generate(z)
        log_px = discretised_logistic_log_density(x, self._pixels(h, z), self.ln_scale)
        return log_px, F.sum(log_p, axis=-1)

    def mean(self, z):
        return self._pixels(self._generate(z)[1], z)

    def draw_x(self, z, source):
        mean = self.mean(z).array
        return discretised_logistic_sample(mean, self.ln_scale.array, source.uniform(mean.shape))

    def draw_prior(self, source, num_samples, num_points):
        with chainer.no_backprop_mode():
            h, z = self._top(num_samples * num_points), []
            for layer in reversed(self.layers):
                shape = num_samples, num_points, layer.side, layer.side, layer.n_z
                drawn, h = layer.imagine(h, source.normal(shape))
                z.insert(0, drawn.array.reshape(shape))
        return tuple(z)

    def typical(self, q):
        return self._drawn(q, _Nothing(self.xp), 1)[0]

    def _drawn(self, q, source, num_samples):
        """(z, log q of each map, log p of each map, what has come down); the last two going down.

        Log-densities are Variables (K, N, G).
        """
        if self.upwards:
            z, log_q = self._ascend(q, source, num_samples)
            return z, log_q, None, None
        shape = num_samples, len(q[0][0])
        h, z, log_q, log_p = self._top(math.prod(shape)), [], [], []
        for layer, found in zip(reversed(self.layers), reversed(q), strict=True):
            eps = source.normal((*shape, layer.side, layer.side, layer.n_z))
            h, drawn, of_q, of_p = self._kept(layer.descend, eps, h, *found)
            z.insert(0, _grid(drawn, shape))
            log_q.append(_grid(of_q, shape))
            log_p.append(_grid(of_p, shape))
        return tuple(z), F.concat(log_q, axis=-1), F.concat(log_p, axis=-1), h

    def _ascend(self, q, source, num_samples):
        """(z, log q of each map) from the lowest layer to the highest."""
        ((h,),) = q
        shape = num_samples, len(h)
        h, z, log_q = each_sample(h, num_samples), [], []
        for layer in self.layers:
            eps = source.normal((*shape, layer.side, layer.side, layer.n_z))
            h, drawn, of_q = self._kept(layer.ascend, eps, h)
            z.append(_grid(drawn, shape))
            log_q.append(_grid(of_q, shape))
        return tuple(z), F.concat(log_q[::-1], axis=-1)

    def _generate(self, z):
        """(log p of each map, what has come down to the pixels) for given z of any leading axes."""
        shape = z[0].shape[:-3]
        h, log_p = self._top(math.prod(shape)), []
        for layer, each in zip(reversed(self.layers), reversed(z), strict=True):
            rows = F.reshape(chainer.as_variable(each), (-1, *each.shape[-3:]))
            h, of_p = self._kept(layer.generate, None, h, rows)
            log_p.append(_grid(of_p, shape))
        return F.concat(log_p, axis=-1), h

    def _kept(self, function, eps, *inputs):
        """`function` of (inputs, eps); of many samples what is within is not kept for backward."""
        flat = eps if eps is None else eps.reshape(-1, *eps.shape[2:])
        few = not chainer.config.enable_backprop or len(inputs[0]) <= REMEMBERED
        if few:
            return function(*inputs, eps=flat)
        return F.forget(lambda *again: function(*again, eps=flat), *inputs)

    def _top(self, num_rows):
        """What comes down to the highest layer, the same for all."""
        side = self.layers[-1].side
        return F.broadcast_to(self.h_top, (num_rows, side, side, self.n_h))

    def _pixels(self, h, z):
        """Means of the pixels, Variable z.shape[:-3] + (pixels,)."""
        half = LEVELS * 2
        out = pixel_shuffle(RESIDUAL * self.x_dec(elu(h))) + 0.5
        return F.reshape(F.clip(out, 1 / half, 1 - 1 / half), (*z[0].shape[:-3], -1))


class _Nothing:
    """A source of zeros in the place of noise."""

    def __init__(self, xp):
        self.xp = xp

    def normal(self, shape):
        return self.xp.zeros(shape, np.float32)


def _grid(values, shape):
    """Rows as samples and data points."""
    return F.reshape(values, (*shape, *values.shape[1:]))


def _counts(depths):
    counts = depths.split("-")
    if not all(
        each.isascii() and each.isdecimal() and 0 < int(each[:4]) <= MOST_LAYERS for each in counts
    ):
        raise ValueError(f"depths {depths!r}: write the layers of each level, as 2-2-2")
    counts = [int(each) for each in counts]
    if sum(counts) > MOST_LAYERS or len(counts) > MOST_LEVELS:
        raise ValueError(
            f"depths {depths}: at most {MOST_LAYERS} layers on at most {MOST_LEVELS} levels"
        )
    return counts


def _posterior(name):
    known = name.lower().removesuffix("_nl")
    if known not in POSTERIORS:
        raise ValueError(f"unknown posterior {name!r}: choose from {', '.join(POSTERIORS)}")
    return known


def _check_sizes(n_z, n_h, depth_ar):
    if max(n_z, n_h) > MOST_MAPS:
        raise ValueError(f"iaf-resnet: n-z and n-h must be at most {MOST_MAPS}")
    if not 0 <= depth_ar <= MOST_HIDDEN:
        raise ValueError(f"iaf-resnet: depth-ar must be from 0 to {MOST_HIDDEN}, not {depth_ar}")
