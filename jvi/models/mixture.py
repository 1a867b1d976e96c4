"""A mixture of Gaussians on a line, with a categorical latent (Le et al. 2019, section 6.2)."""

import math
from typing import Any, NamedTuple

import chainer
import chainer.functions as F
import numpy as np

from jvi.evidence.arrays import host
from jvi.models.layers import Affine, bias, check_real
from jvi.spec import Spec

__all__ = ["L2Errors", "Mixture", "l2_errors", "posterior", "true_prior"]

SPACING, SCALE = 10.0, 5.0  # of the components: means 10 c, standard deviation 5
HIDDEN = 16


class Mixture(chainer.Chain):
    """z ~ Categorical(softmax(prior)), x|z = c ~ N(10 c, 5²); q(z|x) is an MLP 1-16-C with tanh.

    C components, c from 0; only their prior weights are learned, from equal ones on. The encoder
    takes x as it is, of any scale, as published. q is logits, (N, C), and z one-hot, (K, N, C).
    Nothing flows through draws, so that only score-function estimators apply.

    Parameters
    ----------
    num_columns : int
        Of the data: 1.
    components : int
        C.
    rng : numpy.random.Generator, optional
        Source of the initial weights; without it they are left unset, for a file to fill.
    """

    reparameterised = False

    def __init__(self, num_columns, components: int = 20, rng=None):
        super().__init__()
        if num_columns != 1:
            raise ValueError(f"mixture is of data in one column, not in {num_columns}")
        if components > 2**10:
            raise ValueError(f"mixture:components must be at most 1024, not {components}")
        self.spec = Spec("mixture", {"columns": 1, "components": components})
        self.num_latent = components
        with self.init_scope():
            self.encode = _Encoder(components, rng)
            self.prior = bias(components, rng)  # logits

    def num_points(self, x):
        return len(x)

    def check(self, x):
        return check_real(x, 1, self.xp)

    def infer(self, x):
        return self.encode(x)

    def draw(self, q, source, num_samples):
        logits = chainer.as_variable(q).array
        z = _one_hot(logits, source.uniform((num_samples, len(logits))))
        return z, self.log_q(q, z)

    def log_joint(self, x, z):
        away = (x - self.mean(z).array)[..., 0] / SCALE
        log_px = -0.5 * away**2 - math.log(SCALE * math.sqrt(2 * math.pi))
        return chainer.as_variable(log_px), _log_probability(self._prior_logits(), z)

    def log_q(self, q, z):
        return _log_probability(chainer.as_variable(q), z)

    def kl(self, q):
        log_q = F.log_softmax(q, axis=-1)
        log_p = F.broadcast_to(F.log_softmax(self._prior_logits(), axis=-1), log_q.shape)
        return F.sum(F.exp(log_q) * (log_q - log_p), axis=-1)

    def draw_prior(self, source, num_samples, num_points):
        uniform = source.uniform((num_samples, num_points))
        return _one_hot(self._prior_logits().array, uniform)

    def mean(self, z):
        means = SPACING * self.xp.arange(self.num_latent, dtype=z.dtype)
        return F.sum(z * means, axis=-1, keepdims=True)

    def draw_x(self, z, source):
        mean = self.mean(z).array
        return mean + SCALE * source.normal(mean.shape)

    def typical(self, q):
        best = chainer.as_variable(q).array.argmax(axis=-1)
        return self.xp.eye(self.num_latent, dtype="float32")[best][None]

    def latent_means(self, q, z):
        return [F.softmax(q, axis=-1).array]

    def log_evidence(self, x):
        log_joint = _log_joints(x, F.log_softmax(self._prior_logits(), axis=-1).array)
        return _log_sum_exp(log_joint)[:, 0]

    def l2_errors(self, x):
        return _distances(self, x, true_prior(self.num_latent))

    def _prior_logits(self):
        return F.expand_dims(self.prior, 0)


class _Encoder(chainer.Chain):
    def __init__(self, components, rng):
        super().__init__()
        with self.init_scope():
            self.lin0 = Affine(1, HIDDEN, rng)
            self.lin1 = Affine(HIDDEN, components, rng)

    def forward(self, x):
        return self.lin1(F.tanh(self.lin0(x)))


class L2Errors(NamedTuple):
    """Distances of probability vectors, as Le et al. (2019) have them.

    Attributes
    ----------
    posterior : float
        ‖q(z|x) - p(z|x)‖₂ on average over data points, p that of the true prior.
    prior : float
        ‖p(z) - true p(z)‖₂.
    """

    posterior: float
    prior: float


def l2_errors(link: Mixture, x: Any, prior: Any = None) -> L2Errors:
    """How far a mixture's prior and its encoder are from the truth.

    Parameters
    ----------
    link : Mixture
    x : array, shape (N, 1)
    prior : array, shape (C,), optional
        The true one; `true_prior` unless given.
    """
    prior = true_prior(link.num_latent) if prior is None else np.asarray(prior, np.float64)
    away, prior_away = _distances(link, x, prior)
    return L2Errors(float(away.mean()), float(prior_away))


def _distances(link, x, prior):
    """‖q(z|x) - p(z|x)‖₂ of each data point, shape (N,), and ‖p(z) - `prior`‖₂."""
    found = _softmax(host(link.prior.array))
    with chainer.no_backprop_mode():
        q = _softmax(host(link.infer(link.check(x)).array))
    away = np.linalg.norm(q - posterior(host(x), prior), axis=-1)
    return away, np.linalg.norm(found - prior)


def posterior(x: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """p(z|x) exactly, float64, shape (N, C), for x of shape (N, 1) and a prior, (C,)."""
    log_joint = _log_joints(x, np.log(prior))
    return np.exp(log_joint - _log_sum_exp(log_joint))


def true_prior(components: int) -> np.ndarray:
    """Of the data of Le et al. (2019): proportional to c + 5, float64, shape (C,)."""
    weights = np.arange(components) + 5.0
    return weights / weights.sum()


def _one_hot(logits, uniform):
    """Draws by inversion: shape (K, N, C), for logits (N, C) or (1, C) and uniform (K, N)."""
    xp = chainer.backend.get_array_module(logits)
    edges = xp.cumsum(_softmax(logits), axis=-1)[:, :-1]
    index = (uniform[:, :, None] >= edges).sum(axis=-1)
    return (index[:, :, None] == xp.arange(logits.shape[-1])).astype(logits.dtype)


def _softmax(logits):
    """In float64, so that its sums are 1 to rounding."""
    logits = logits.astype("float64")
    p = chainer.backend.get_array_module(logits).exp(logits - logits.max(axis=-1, keepdims=True))
    return p / p.sum(axis=-1, keepdims=True)


def _log_probability(logits, z):
    """Of one-hot z, (K, N, C), under logits (N, C) or (1, C): a Variable, (K, N)."""
    return F.sum(z * F.expand_dims(F.log_softmax(logits, axis=-1), 0), axis=-1)


def _log_joints(x, log_prior):
    """log p(x|z) + log p(z) for every z, float64, shape (N, C), of data (N, 1)."""
    xp = chainer.backend.get_array_module(log_prior)
    means = SPACING * xp.arange(log_prior.shape[-1])
    away = (x.astype("float64") - means) / SCALE
    return log_prior - 0.5 * away**2 - math.log(SCALE * math.sqrt(2 * math.pi))


def _log_sum_exp(values):
    """Over the last axis, which stays."""
    xp, top = chainer.backend.get_array_module(values), values.max(axis=-1, keepdims=True)
    return top + xp.log(xp.exp(values - top).sum(axis=-1, keepdims=True))
