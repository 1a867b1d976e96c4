"""What a model is to everything else: the protocol, and what only some models offer."""

from typing import Any, NamedTuple, Protocol

from jvi.engine.random import Source
from jvi.spec import Spec

__all__ = [
    "CAPABILITIES",
    "Joint",
    "LatentVariableModel",
    "first",
    "joint",
    "lacking",
    "points",
    "take",
    "tree",
]

# What only some models have, by the method's name, and what it is in words.
CAPABILITIES = {
    "log_q": "the density of q(z|x) at any z",
    "kl": "the KL divergence of q(z|x) from the prior in closed form",
    "kl_of_units": "that divergence unit by unit",
    "draw_prior": "draws from the prior",
    "draw_x": "draws from p(x|z)",
    "mean": "the mean of p(x|z)",
    "typical": "a typical z of each data point",
    "latent_means": "the means of q(z|x)",
    "prior_quantile": "quantiles of the prior of each latent unit",
    "log_evidence": "the exact log p(x)",
    "l2_errors": "the distances of q(z|x) and the prior from the true ones",
}


class Joint(NamedTuple):
    """Draws of z and all densities of them, Variables (K, N), in nats.

    `groups`, (K, N, G), is log q - log p of each group of latent units, along the draw.
    """

    z: Any
    log_q: Any
    log_px: Any
    log_pz: Any
    groups: Any = None


class LatentVariableModel(Protocol):
    """A chainer.Link with these attributes and methods.

    N is the number of data points in x, whose shape is the model's own business, K the number of
    samples. q is an array, or a tuple of such, whose first axis is the data points; z is an array,
    or a tuple of such, of shape (K, N, …). Log-densities are Variables of shape (K, N), in nats.

    Some models also have (see `CAPABILITIES`)

    log_q(q, z)             log q(z|x), differentiable in q, parameters and z
    kl(q)                   Variable, shape (N,)
    kl_of_units(q)          Variable, shape (N, D): its summands
    draw_joint(x, q, source, K)   `Joint`: `draw` and `log_joint` where they share most of the work
    draw_prior(source, K, N)   z
    draw_x(z, source)       x for each z, array (K, N, …)
    mean(z)                 Variable, shape (K, N, …): the mean of p(x|z)
    typical(q)              z with K = 1: what pictures of reconstructions are made from
    latent_means(q, z)      list of arrays (N, D), one for each stochastic layer
    prior_quantile(u)       z at the quantiles u in (0, 1) of the prior, unit by unit, shape u.shape
    log_evidence(x)         array, shape (N,): exact
    l2_errors(x)            arrays, shapes (N,) and (): of q(z|x) and of the prior, where the true
                            ones are known

    of_bytes                True where x is bytes over 256, which it has probabilities for

    and where a sample is much larger than a plain network's

    heft                    how many rows of such a network it counts for, when work is cut
    initialise(x, source)   sets what depends on data, before the first step
    """

    spec: Spec  # name and sizes, enough to build it again; saved beside the parameters
    reparameterised: bool  # False for discrete latents: there is no path route

    def num_points(self, x: Any) -> int:
        """N."""

    def check(self, x: Any) -> Any:
        """x as the model takes it, float32; ValueError where it has no likelihood for it."""

    def infer(self, x: Any) -> Any:
        """Parameters of q(z|x), once for each data point."""

    def draw(self, q: Any, source: Source, num_samples: int) -> tuple[Any, Any]:
        """z, differentiable in q if `reparameterised`, and log q(z|x) along the draw."""

    def log_joint(self, x: Any, z: Any) -> tuple[Any, Any]:
        """log p(x|z) and log p(z)."""


def joint(link, x, q, source, num_samples):
    """`Joint`, from one pass where the link has one."""
    if hasattr(link, "draw_joint"):
        return link.draw_joint(x, q, source, num_samples)
    z, log_q = link.draw(q, source, num_samples)
    return Joint(z, log_q, *link.log_joint(x, z))


def lacking(link: Any, capability: str, what: str) -> str | None:
    """A sentence saying that `what` needs what a model does not have, or None."""
    if hasattr(link, capability):
        return None
    return f"{what} needs {CAPABILITIES[capability]}, which {link.spec.name} does not have"


def tree(function, value):
    """`function` of an array, or of each array in a tuple of such."""
    if isinstance(value, tuple | list):
        return tuple(tree(function, each) for each in value)
    return function(value)


def take(value, rows):
    """The data points `rows`, a slice, of q."""
    return tree(lambda each: each[rows], value)


def points(link, x, rows):
    """The data points `rows`, a slice, of x: all of it where its rows are one data point."""
    return x if link.num_points(x) == 1 else x[rows]


def first(value):
    """The first array of a tuple, or the array itself."""
    return first(value[0]) if isinstance(value, tuple | list) else value
