"""A residual layer with latents: its way up and its way down (Kingma et al. 2016, figure 4)."""

from itertools import accumulate

import chainer
import chainer.functions as F

from jvi.functions import elu
from jvi.functions.gaussian_maps import gaussian_maps_log_density, gaussian_maps_sample
from jvi.models.autoregressive import ConvAR
from jvi.models.flows import InverseAutoregressive
from jvi.models.weight_norm import NormConv

__all__ = ["RESIDUAL", "ResNetLayer", "each_sample", "norm_conv", "pixel_shuffle"]

RESIDUAL = 0.1  # what a branch counts for beside what it is added to, as in the published code

# Of the outputs of a convolution at first, as in the published code: among them are logarithms of
# standard deviations.
DEVIATION = 0.1


class ResNetLayer(chainer.Chain):
    """`n_z` maps of latents between `n_h` hidden maps of `side` × `side`.

    M is the number of samples over all data points. Log-densities are of each map, (M, n_z).

    Parameters
    ----------
    n_z, n_h : int
    posterior : str
        "up_" or "down_", and "diag", "iaf1" or "iaf2".
    depth_ar : int
        Hidden layers of the flow's networks.
    side : int
        Of its latents; what comes from below has twice that if it `halves`.
    halves : bool
    top : bool
        Whether nothing goes on up from it.
    rng : numpy.random.Generator, optional
    """

    def __init__(self, n_z, n_h, posterior, depth_ar, side, halves, top, rng=None):
        super().__init__()
        way, kind = posterior.split("_")
        context = 0 if kind == "diag" else n_h
        self.n_z, self.n_h, self.side, self.halves, self.top = n_z, n_h, side, halves, top
        up = [n_h, n_z, n_z] + [context] * bool(context)
        down = [n_h, n_z, n_z] + ([n_z, n_z] + [context] * bool(context)) * (way == "down")
        self.up_parts, self.down_parts = _ends(up), _ends(down)
        self.numbers = side**2 * (sum(up) + sum(down) + (11 + 2 * depth_ar) * n_h + 10 * n_z)
        with self.init_scope():
            self.up_conv1 = norm_conv(n_h, sum(up), stride=1 + halves, rng=rng)
            if not top:
                self.up_conv2 = norm_conv(n_h + n_z * (way == "up"), n_h, rng=rng)
            self.down_conv1 = norm_conv(n_h, sum(down), rng=rng)
            self.down_conv2 = norm_conv(n_h + n_z, n_h * (4 if halves else 1), rng=rng)
            if context:
                network = ConvAR(n_z, n_h, depth_ar, n_h, 1 + (kind == "iaf2"), rng)
                self.flow = InverseAutoregressive(network, kind == "iaf2")

    def up(self, h):
        """(what goes on up, what the latents on the way down are inferred from)."""
        det, *found = F.split_axis(self.up_conv1(elu(h)), self.up_parts, axis=-1)
        return self._above(h, det), tuple(found)

    def ascend(self, h, eps):
        """(what goes on up, z, log q) where latents are inferred on the way up."""
        det, mean, ln_sd, *context = F.split_axis(self.up_conv1(elu(h)), self.up_parts, axis=-1)
        z, log_q = self._draw(mean, ln_sd, context, eps)
        return self._above(h, F.concat((det, z), axis=-1)), z, log_q

    def descend(self, h, *found, eps):
        """(what goes on down, z, log q, log p); `found` is `up`'s, of each data point once."""
        det, p_mean, p_ln_sd, mean, ln_sd, *context = self._split_down(h)
        num_samples = len(h) // len(found[0])
        up_mean, up_ln_sd, *up_context = [each_sample(each, num_samples) for each in found]
        context = [one + other for one, other in zip(context, up_context, strict=True)]
        z, log_q = self._draw(up_mean + mean, up_ln_sd + ln_sd, context, eps)
        log_p = gaussian_maps_log_density(z, p_mean, p_ln_sd)
        return self._below(h, det, z), z, log_q, log_p

    def generate(self, h, z, eps=None):
        """(what goes on down, log p) for given z."""
        det, mean, ln_sd, *_ = self._split_down(h)
        return self._below(h, det, z), gaussian_maps_log_density(z, mean, ln_sd)

    def imagine(self, h, eps):
        """(z drawn from the prior, what goes on down)."""
        det, mean, ln_sd, *_ = self._split_down(h)
        z, _ = gaussian_maps_sample(mean, ln_sd, eps.reshape(mean.shape))
        return z, self._below(h, det, z)

    def _split_down(self, h):
        return F.split_axis(self.down_conv1(elu(h)), self.down_parts, axis=-1)

    def _draw(self, mean, ln_sd, context, eps):
        """(z, log q(z|x)): a diagonal Gaussian, through the flow where there is one."""
        z, log_q = gaussian_maps_sample(mean, ln_sd, eps)
        if not context:
            return z, log_q
        z, log_det = self.flow(z, *context)
        return z, log_q - log_det

    def _above(self, h, branch):
        if self.top:
            return h
        if self.halves:
            h = h[:, ::2, ::2]
        return h + RESIDUAL * self.up_conv2(elu(branch))

    def _below(self, h, det, z):
        branch = self.down_conv2(elu(F.concat((det, z), axis=-1)))
        if self.halves:
            h, branch = _twice(h), pixel_shuffle(branch)
        return h + RESIDUAL * branch


def norm_conv(*sizes, **options):
    """A `NormConv` as small at first as these networks have it."""
    return NormConv(*sizes, **options, deviation=DEVIATION)


def each_sample(value, num_samples):
    """Rows of N data points as rows of M = K N."""
    if num_samples == 1:
        return value
    whole = F.broadcast_to(value, (num_samples, *value.shape))
    return F.reshape(whole, (-1, *value.shape[1:]))


def pixel_shuffle(h):
    """Maps (M, h, w, 4 C) as (M, 2 h, 2 w, C): a convolution before it doubles the sides."""
    rows, height, width, maps = h.shape
    h = F.reshape(h, (rows, height, width, 2, 2, maps // 4))
    h = F.transpose(h, (0, 1, 3, 2, 4, 5))
    return F.reshape(h, (rows, 2 * height, 2 * width, maps // 4))


def _twice(h):
    """Every pixel four times."""
    rows, height, width, maps = h.shape
    h = F.reshape(h, (rows, height, 1, width, 1, maps))
    h = F.broadcast_to(h, (rows, height, 2, width, 2, maps))
    return F.reshape(h, (rows, 2 * height, 2 * width, maps))


def _ends(sizes):
    """Where parts of these sizes end, but for the last."""
    return list(accumulate(sizes))[:-1]
