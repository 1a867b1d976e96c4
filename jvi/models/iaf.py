"""A dense VAE of binary images with an IAF posterior (Kingma et al. 2016, sections 3 and 5.1)."""

import chainer
import chainer.functions as F
from scipy.special import ndtri

from jvi.functions import bernoulli_log_density, elu, standard_normal_log_density
from jvi.functions.gaussian_maps import gaussian_maps_sample, standard_normal_maps
from jvi.models.autoregressive import DenseAR
from jvi.models.flows import InverseAutoregressive, Stack
from jvi.models.layers import check_images, draw_binary
from jvi.models.masks import check_masks
from jvi.models.protocol import Joint
from jvi.models.resnet_layer import each_sample
from jvi.models.weight_norm import NormDense, initialising
from jvi.spec import Spec

__all__ = ["IAF"]

KINDS = {"diag": 0, "iaf1": 1, "iaf2": 2}  # outputs of a flow's network
MOST_STEPS = 100


class IAF(chainer.Chain):
    """Two ELU layers each way; q(z|x) a Gaussian, through a flow of `steps` or, "diag", as it is.

    q is (mean, log of the standard deviation, context), each (N, …), the context only where there
    is a flow; z has shape (K, N, D). Every step of the flow has the order of the one before turned
    round. Pixels are Bernoulli.

    Parameters
    ----------
    num_pixels : int
    hidden, latent : int
        Units of the hidden layers; D.
    posterior : str
        "diag", "iaf1" (means alone) or "iaf2".
    steps : int
        Of the flow.
    width, depth_ar : int
        Hidden units and layers of each step's autoregressive network.
    rng : numpy.random.Generator, optional
        Source of the initial weights; without it they are left unset, for a file to fill.
    """

    reparameterised = True
    may_be_none = ("depth_ar",)

    def __init__(
        self,
        num_pixels,
        hidden: int = 300,
        latent: int = 40,
        posterior: str = "iaf2",
        steps: int = 2,
        width: int = 300,
        depth_ar: int = 1,
        rng=None,
    ):
        super().__init__()
        if posterior not in KINDS:
            raise ValueError(f"unknown posterior {posterior!r}: choose from {', '.join(KINDS)}")
        if max(steps, depth_ar) > MOST_STEPS:
            raise ValueError(f"iaf: steps and depth-ar must be at most {MOST_STEPS}")
        sizes = {"pixels": num_pixels, "hidden": hidden, "latent": latent, "posterior": posterior}
        self.spec = Spec("iaf", sizes | {"steps": steps, "width": width, "depth_ar": depth_ar})
        self.num_pixels, self.num_latent = num_pixels, latent
        outputs = KINDS[posterior]
        if outputs:
            check_masks("iaf", steps, latent, width, depth_ar)
        self.context = width if outputs else 0
        with self.init_scope():
            self.encode = _Layers(num_pixels, hidden, 2 * latent + self.context, rng)
            self.decode = _Layers(latent, hidden, num_pixels, rng)
            if outputs:
                self.flow = Stack()
                for step in range(steps):
                    network = DenseAR(
                        latent, width, depth_ar, width, outputs, rng, reverse=step % 2 == 1
                    )
                    self.flow.append(InverseAutoregressive(network, outputs == 2))

    def num_points(self, x):
        return len(x)

    def check(self, x):
        return check_images(x, self.num_pixels, self.xp)

    def initialise(self, x, source):
        """Outputs of mean 0 and a fixed deviation on `x` (Salimans & Kingma 2016)."""
        with initialising(), chainer.no_backprop_mode():
            self.draw_joint(x, self.infer(x), source, 1)

    def infer(self, x):
        D = self.num_latent
        ends = [D, 2 * D] if self.context else [D]
        return F.split_axis(self.encode(x - 0.5), ends, axis=-1)

    def draw(self, q, source, num_samples):
        z, log_q = self._drawn(q, source, num_samples)
        return z, F.sum(log_q, axis=-1)

    def draw_joint(self, x, q, source, num_samples):
        z, log_q = self._drawn(q, source, num_samples)
        log_p = F.reshape(standard_normal_maps(F.reshape(z, (-1, self.num_latent))), z.shape)
        sums = [F.sum(each, axis=-1) for each in (log_q, log_p)]
        return Joint(z, sums[0], self._log_px(x, z), sums[1], log_q - log_p)

    def log_joint(self, x, z):
        z = chainer.as_variable(z)
        return self._log_px(x, z), F.cast(standard_normal_log_density(z), "float64")

    def mean(self, z):
        return F.sigmoid(self.decode(chainer.as_variable(z)))

    def draw_x(self, z, source):
        return draw_binary(self.mean(z), source)

    def draw_prior(self, source, num_samples, num_points):
        return source.normal((num_samples, num_points, self.num_latent))

    def prior_quantile(self, u):
        return ndtri(u).astype("float32")

    def typical(self, q):
        """What the flow makes of the mean."""
        mean = chainer.as_variable(q[0])
        z = self.flow(mean, q[2])[0] if self.context else mean
        return F.expand_dims(z, 0)

    def latent_means(self, q, z):
        return [self.typical(q).array[0]]

    def _log_px(self, x, z):
        return F.cast(bernoulli_log_density(x, self.decode(z)), "float64")

    def _drawn(self, q, source, num_samples):
        """(z, log q of each unit), both (K, N, D)."""
        shape = num_samples, *q[0].shape
        mean, ln_sd, *context = [each_sample(chainer.as_variable(v), num_samples) for v in q]
        eps = source.normal(shape).reshape(mean.shape)
        z, log_q = gaussian_maps_sample(mean, ln_sd, eps)
        if context:
            z, log_det = self.flow(z, *context)
            log_q = log_q - log_det
        return F.reshape(z, shape), F.reshape(log_q, shape)


class _Layers(chainer.Chain):
    """Two ELU layers and a linear one: (…, in) to (…, out)."""

    def __init__(self, num_in, hidden, num_out, rng):
        super().__init__()
        with self.init_scope():
            self.lin0 = NormDense(num_in, hidden, rng)
            self.lin1 = NormDense(hidden, hidden, rng)
            self.out = NormDense(hidden, num_out, rng, deviation=0.1)

    def forward(self, h):
        return self.out(elu(self.lin1(elu(self.lin0(h)))))
