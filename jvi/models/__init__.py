"""Latent-variable models as Chainer links, and the protocol that they share.

Everything else in this project speaks to a model only through `LatentVariableModel`; a new
architecture is one file here and one line in `MODELS`.
"""

from typing import Protocol

from jvi.models.mlp import MLP

__all__ = ["MODELS", "LatentVariableModel"]

MODELS = {"mlp": MLP}


class LatentVariableModel(Protocol):
    """What a model offers. x has shape (N, pixels), z (K, N, D), noise eps (K, N, D).

    `posterior(x)` runs the encoder, once per data point; what it returns is passed on as `q`.
    Log-densities are Variables of shape (K, N), in nats.
    """

    num_pixels: int
    num_hidden: int
    num_latent: int

    def posterior(self, x):
        """Parameters of q(z|x): mean and log-variance, each (N, D)."""

    def sample(self, q, eps):
        """Draws z from q(z|x), a differentiable function of q and standard normal eps."""

    def log_px(self, x, z):
        """log p(x|z)."""

    def log_pz(self, z):
        """log p(z)."""

    def log_qz(self, q, z):
        """log q(z|x)."""

    def kl(self, q):
        """KL divergence of q(z|x) from p(z) in closed form, shape (N,)."""

    def pixels(self, z):
        """Mean of p(x|z), shape z.shape[:-1] + (pixels,), in [0, 1]."""
