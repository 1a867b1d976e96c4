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
    """Draws of z and all densities of them, in nats.

    Attributes
    ----------
    z : Variable or tuple of such, shape (K, N, …)
    log_q, log_px, log_pz : Variable, shape (K, N)
        log q(z|x), log p(x|z) and log p(z).
    groups : Variable, shape (K, N, G), or None
        log q - log p of each group of latent units, along the draw.

    Examples
    --------
    The log-weights of two draws:

    >>> from jvi.models.protocol import Joint
    >>> drawn = Joint(z=[[0.0], [1.0]], log_q=-1.0, log_px=-3.0, log_pz=-2.0)
    >>> drawn.log_px + drawn.log_pz - drawn.log_q
    -4.0
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

    log_q(q, z)
        log q(z|x), differentiable in q, parameters and z.
    kl(q)
        Variable, shape (N,).
    kl_of_units(q)
        Variable, shape (N, D): its summands.
    draw_joint(x, q, source, K)
        `Joint`: `draw` and `log_joint` where they share most of the work.
    draw_prior(source, K, N)
        Draws of z from the prior.
    draw_x(z, source)
        x for each z, array (K, N, …).
    mean(z)
        Variable, shape (K, N, …): the mean of p(x|z).
    typical(q)
        z with K = 1: what pictures of reconstructions are made from.
    latent_means(q, z)
        List of arrays (N, D), one for each stochastic layer.
    prior_quantile(u)
        z at the quantiles u in (0, 1) of the prior, unit by unit, shape u.shape.
    log_evidence(x)
        Array, shape (N,): exact.
    l2_errors(x)
        Arrays, shapes (N,) and (): of q(z|x) and of the prior, where the true ones are known.
    of_bytes
        True where x is bytes over 256, which it has probabilities for.

    and where a sample is much larger than a plain network's

    heft
        How many rows of such a network it counts for, when work is cut.
    initialise(x, source)
        Sets what depends on data, before the first step.

    Attributes
    ----------
    spec : jvi.spec.Spec
        Name and sizes, enough to build it again; saved beside the parameters.
    reparameterised : bool
        False for discrete latents: there is no path route.

    Examples
    --------
    >>> import numpy as np
    >>> from jvi.models import MLP
    >>> link = MLP(9, hidden=4, latent=2, rng=np.random.default_rng(0))
    >>> str(link.spec), link.reparameterised
    ('mlp:pixels=9,hidden=4,latent=2', True)
    """

    spec: Spec
    reparameterised: bool

    def num_points(self, x: Any) -> int:
        """N, how many data points x has.

        Parameters
        ----------
        x : array, shape (N, …)

        Returns
        -------
        int

        Examples
        --------
        >>> import numpy as np
        >>> from jvi.models import MLP
        >>> link = MLP(9, hidden=4, latent=2, rng=np.random.default_rng(0))
        >>> link.num_points(np.eye(9))
        9
        """

    def check(self, x: Any) -> Any:
        """x as the model takes it.

        Parameters
        ----------
        x : array, shape (N, …)

        Returns
        -------
        array, shape (N, …), float32

        Raises
        ------
        ValueError
            Where the model has no likelihood for it.

        Examples
        --------
        >>> import numpy as np
        >>> from jvi.models import MLP
        >>> link = MLP(9, hidden=4, latent=2, rng=np.random.default_rng(0))
        >>> link.check(np.eye(9)).dtype
        dtype('float32')
        """

    def infer(self, x: Any) -> Any:
        """Parameters of q(z|x), once for each data point.

        Parameters
        ----------
        x : array, shape (N, …), float32

        Returns
        -------
        array or tuple of such, Variables of shape (N, …)

        Examples
        --------
        >>> import numpy as np
        >>> from jvi.models import MLP
        >>> link = MLP(9, hidden=4, latent=2, rng=np.random.default_rng(0))
        >>> mean, log_variance = link.infer(np.eye(9, dtype="float32"))
        >>> mean.shape
        (9, 2)
        """

    def draw(self, q: Any, source: Source, num_samples: int) -> tuple[Any, Any]:
        """Draws of z from q(z|x).

        Parameters
        ----------
        q : array or tuple of such
            As `infer` gave it.
        source : jvi.engine.random.Source
            Of the noise.
        num_samples : int
            K.

        Returns
        -------
        z : Variable or tuple of such, shape (K, N, …)
            Differentiable in q if `reparameterised`.
        log_q : Variable, shape (K, N)
            log q(z|x) along the draw, in nats.

        Examples
        --------
        >>> import numpy as np
        >>> from jvi.engine.random import PointSource
        >>> from jvi.models import MLP
        >>> link = MLP(9, hidden=4, latent=2, rng=np.random.default_rng(0))
        >>> source = PointSource((0, "evaluation noise"), range(9)).part()
        >>> x = np.eye(9, dtype="float32")
        >>> z, log_q = link.draw(link.infer(x), source, 4)
        >>> z.shape, log_q.shape
        ((4, 9, 2), (4, 9))
        """

    def log_joint(self, x: Any, z: Any) -> tuple[Any, Any]:
        """log p(x|z) and log p(z).

        Parameters
        ----------
        x : array, shape (N, …), float32
        z : array or tuple of such, shape (K, N, …)

        Returns
        -------
        log_px, log_pz : Variable, shape (K, N)
            In nats.

        Examples
        --------
        >>> import numpy as np
        >>> from jvi.models import MLP
        >>> link = MLP(9, hidden=4, latent=2, rng=np.random.default_rng(0))
        >>> z = np.zeros((4, 9, 2), "float32")
        >>> log_px, log_pz = link.log_joint(np.eye(9, dtype="float32"), z)
        >>> bool(np.allclose(log_pz.array, -np.log(2 * np.pi)))  # N(0, I) of two units at 0
        True
        """


def joint(link, x, q, source, num_samples):
    """Draws of z and all densities of them, from one pass where the link has one.

    Parameters
    ----------
    link : LatentVariableModel
    x : array, shape (N, …), float32
        Observed data points.
    q : array or tuple of such
        As the link's `infer` gave it.
    source : jvi.engine.random.Source
        Of the noise.
    num_samples : int
        K.

    Returns
    -------
    Joint

    Examples
    --------
    >>> import numpy as np
    >>> from jvi.engine.random import PointSource
    >>> from jvi.models import MLP
    >>> from jvi.models.protocol import joint
    >>> link = MLP(9, hidden=4, latent=2, rng=np.random.default_rng(0))
    >>> source = PointSource((0, "evaluation noise"), range(9)).part()
    >>> x = np.eye(9, dtype="float32")
    >>> drawn = joint(link, x, link.infer(x), source, 4)
    >>> drawn.z.shape, drawn.log_px.shape
    ((4, 9, 2), (4, 9))
    """
    if hasattr(link, "draw_joint"):
        return link.draw_joint(x, q, source, num_samples)
    z, log_q = link.draw(q, source, num_samples)
    return Joint(z, log_q, *link.log_joint(x, z))


def lacking(link: Any, capability: str, what: str) -> str | None:
    """What a model lacks, in a sentence.

    Parameters
    ----------
    link : LatentVariableModel
    capability : str
        A key of `CAPABILITIES`.
    what : str
        What needs it.

    Returns
    -------
    str or None
        None where the model has it.

    Examples
    --------
    >>> import numpy as np
    >>> from jvi.models import MLP
    >>> link = MLP(9, hidden=4, latent=2, rng=np.random.default_rng(0))
    >>> from jvi.models.protocol import lacking
    >>> lacking(link, "log_evidence", "a gap")
    'a gap needs the exact log p(x), which mlp does not have'
    """
    if hasattr(link, capability):
        return None
    return f"{what} needs {CAPABILITIES[capability]}, which {link.spec.name} does not have"


def tree(function, value):
    """A function of an array, or of each array in a tuple of such.

    Parameters
    ----------
    function : callable
        From an array to anything.
    value : array, or tuple of such, of any depth

    Returns
    -------
    object
        What the function returns, in tuples as `value` is.

    Examples
    --------
    >>> from jvi.models.protocol import tree
    >>> tree(lambda each: 2 * each, (1, (2, 3)))
    (2, (4, 6))
    """
    if isinstance(value, tuple | list):
        return tuple(tree(function, each) for each in value)
    return function(value)


def take(value, rows):
    """Some of the data points of q.

    Parameters
    ----------
    value : array, shape (N, …), or tuple of such
        As `LatentVariableModel.infer` gives it.
    rows : slice
        Which.

    Returns
    -------
    array or tuple of such

    Examples
    --------
    >>> import numpy as np
    >>> from jvi.models.protocol import take
    >>> mean, log_variance = take((np.zeros((9, 2)), np.ones((9, 2))), slice(3))
    >>> mean.shape, log_variance.shape
    ((3, 2), (3, 2))
    """
    return tree(lambda each: each[rows], value)


def points(link, x, rows):
    """Some of the data points of x.

    Parameters
    ----------
    link : LatentVariableModel
    x : array, shape (N, …)
    rows : slice
        Which.

    Returns
    -------
    array
        All of x where its rows are one data point, as of a Bayesian network.

    Examples
    --------
    >>> import numpy as np
    >>> from jvi.models import MLP
    >>> link = MLP(9, hidden=4, latent=2, rng=np.random.default_rng(0))
    >>> from jvi.models.protocol import points
    >>> points(link, np.eye(9), slice(3)).shape
    (3, 9)
    """
    return x if link.num_points(x) == 1 else x[rows]


def first(value):
    """The first array of a tuple of such, or the array itself.

    Parameters
    ----------
    value : array, or tuple of such, of any depth

    Returns
    -------
    array

    Examples
    --------
    >>> from jvi.models.protocol import first
    >>> first(((1, 2), 3)), first(4)
    (1, 4)
    """
    return first(value[0]) if isinstance(value, tuple | list) else value
