"""A model as its user sees it: plain arrays in, plain arrays out."""

from pathlib import Path
from typing import Any

import chainer
import numpy as np

from jvi.engine.devices import device as device_number
from jvi.engine.devices import rows_at_once
from jvi.engine.random import Given, PointSource, stream
from jvi.models import build
from jvi.models.files import ModelFiles, read_model
from jvi.models.protocol import CAPABILITIES, joint, lacking, tree

__all__ = ["Model", "from_files", "load", "model"]


def load(prefix: str | Path, device: int = -1, link: Any = None) -> "Model":
    """Load a trained model, written by this project or by the original 2018 code.

    Parameters
    ----------
    prefix : str or Path
        As given to ``train.py -o``.
    device : int
        -1 for the CPU, otherwise the number of a GPU.
    link : chainer.Link, optional
        Of a model of your own, to take the parameters.

    Returns
    -------
    Model

    Raises
    ------
    FileNotFoundError
        When there is no such model.
    ValueError
        When a file is damaged or not a model, naming the file and the key.

    Examples
    --------
    >>> import numpy as np
    >>> import jvi
    >>> options = {"epochs": 1, "output": "results/model", "quiet": True}
    >>> trained = jvi.train("mlp:hidden=4,latent=2", np.eye(9), **options)
    >>> jvi.load("results/model").link.spec == trained.link.spec
    True
    """
    return from_files(read_model(prefix, link), device)


def from_files(files: ModelFiles, device: int = -1) -> "Model":
    """`Model` from the `jvi.models.files.ModelFiles` of it, as `load` makes it."""
    return Model(files.link, device, files.meta, files.notes)


def model(name: str, data: Any, device: int = -1, seed: int = 0) -> "Model":
    """An untrained model for a data set.

    Parameters
    ----------
    name : str
        NAME[:key=value,…], a key of `jvi.models.MODELS` and its options: "sbn:layers=2".
    data : jvi.Dataset
        Whose rows the model is for.
    device : int
        -1 for the CPU, otherwise the number of a GPU.
    seed : int
        Of the initial parameters.

    Returns
    -------
    Model

    Raises
    ------
    ValueError
        For an unknown model or option, listing the known, or sizes that it cannot have.

    Examples
    --------
    >>> import numpy as np
    >>> import jvi
    >>> jvi.model("mlp:hidden=4,latent=2", jvi.dataset(np.eye(9)))
    <jvi.Model mlp:pixels=9,hidden=4,latent=2>
      241 parameters on @numpy
      without log_evidence, l2_errors
    """
    return Model(build(name, data.train.shape[1], stream(seed, "initial parameters")), device)


class Model:
    """A latent-variable model on a device.

    Parameters
    ----------
    link : jvi.models.LatentVariableModel
    device : int
        -1 for the CPU, otherwise the number of a GPU.
    meta : dict, optional
        The training arguments.
    notes : list of str, optional
        What its files gave reason to say.

    Attributes
    ----------
    history : list of dict
        What was reported of each epoch, where it was trained here.

    Examples
    --------
    >>> import numpy as np
    >>> import jvi
    >>> from jvi.models import MLP
    >>> model = jvi.Model(MLP(9, hidden=4, latent=2, rng=np.random.default_rng(0)))
    >>> model.num_latent
    2
    """

    def __init__(self, link: Any, device: int = -1, meta: dict | None = None, notes: Any = ()):
        self.link, self.meta, self.notes = link, meta or {}, list(notes)
        self.history: list[dict] = []
        self.device = device_number(device)
        link.to_device(self.device)

    def __repr__(self) -> str:
        count = sum(parameter.size for parameter in self.link.params())
        lines = [f"<jvi.Model {self.link.spec}>", f"{count:,} parameters on {self.device.name}"]
        if self.history:
            last = self.history[-1]
            bound = -last.get("validation/main/iwae", float("nan"))
            lines.append(f"{last['epoch']} epochs, last validation IWAE bound {bound:.2f} nats")
        lacks = [name for name in CAPABILITIES if not hasattr(self.link, name)]
        lines.append(f"without {', '.join(lacks)}" if lacks else "with every capability")
        return "\n  ".join(lines)

    @property
    def num_pixels(self) -> int:
        """How many pixels an image has, of a model of images.

        Examples
        --------
        >>> import numpy as np
        >>> import jvi
        >>> model = jvi.model("mlp:hidden=4,latent=2", jvi.dataset(np.eye(9)))
        >>> model.num_pixels
        9
        """
        return self.link.num_pixels

    @property
    def num_latent(self) -> int:
        """D, the number of latent units, of the topmost layer.

        Examples
        --------
        >>> import numpy as np
        >>> import jvi
        >>> model = jvi.model("mlp:hidden=4,latent=2", jvi.dataset(np.eye(9)))
        >>> model.num_latent
        2
        """
        return self.link.num_latent

    def encode(self, x: Any) -> Any:
        """Parameters of q(z|x).

        Parameters
        ----------
        x : array, shape (N, …)
            Observed data points.

        Returns
        -------
        array or tuple of arrays, shape (N, …)
            Where q is Gaussian, its mean and log-variance.

        Raises
        ------
        ValueError
            When the data do not fit the model.

        Examples
        --------
        >>> import numpy as np
        >>> import jvi
        >>> model = jvi.model("mlp:hidden=4,latent=2", jvi.dataset(np.eye(9)))
        >>> mean, log_variance = model.encode(np.eye(9))
        >>> mean.shape, log_variance.shape
        ((9, 2), (9, 2))
        """
        with chainer.no_backprop_mode():
            q = self.link.infer(self.images(x))
        return tree(lambda each: each.array, q)

    def log_weights(
        self, x: Any, num_samples: int | None = None, rng: Any = None, *, eps: Any = None
    ) -> Any:
        """log p(x|z) + log p(z) - log q(z|x) for draws of z from q(z|x).

        Parameters
        ----------
        x : array, shape (N, …)
            Observed data points.
        num_samples : int, optional
            K; needed unless `eps` is given.
        rng : numpy.random.Generator, optional
            Source of the noise.
        eps : array, shape (K, N, D), or list of arrays, optional
            The noise instead, in the order in which the model asks for it.

        Returns
        -------
        array, shape (K, N), float32
            In nats.

        Raises
        ------
        ValueError
            When the data or the noise do not fit the model.

        Examples
        --------
        >>> import numpy as np
        >>> import jvi
        >>> model = jvi.model("mlp:hidden=4,latent=2", jvi.dataset(np.eye(9)))
        >>> log_w = model.log_weights(np.eye(9), 64, np.random.default_rng(0))
        >>> bool((jvi.elbo(log_w) <= jvi.iwae(log_w)).all())
        True
        """
        x = self.images(x)
        given = None if eps is None else self._given(eps)
        if given is not None:
            num_samples = len(given[0])
        if num_samples is None or num_samples < 1:
            raise ValueError("give num_samples >= 1 (and rng), or the noise itself as eps")
        fresh, rows = _Fresh(rng, self.device), rows_at_once(self.device, self.link)
        some = max(1, rows // max(1, self.link.num_points(x)))
        parts = []
        with chainer.no_backprop_mode():
            q = self.link.infer(x)
            for start in range(0, num_samples, some):
                stop = min(start + some, num_samples)
                source = fresh if given is None else Given([each[start:stop] for each in given])
                parts.append(self.log_terms(x, q, source, stop - start)[0])
        return self.device.xp.concatenate(parts)

    def _given(self, eps):
        arrays = list(eps) if isinstance(eps, list | tuple) else [eps]
        dtype = next(self.link.params()).dtype
        return [self.device.send(np.asarray(each)).astype(dtype, copy=False) for each in arrays]

    def log_terms(self, x: Any, q: Any, source: Any, num_samples: int) -> tuple[Any, Any]:
        """Log-weights and log p(x|z), of the same draws.

        Parameters
        ----------
        x : array, shape (N, …)
            As `images` returns it.
        q : array or tuple of arrays
            As the link's `infer` gave it for `x`.
        source : jvi.engine.random.Source
            Of the noise.
        num_samples : int
            K.

        Returns
        -------
        log_w, log_px : array, shape (K, N), float32
            In nats.

        Examples
        --------
        >>> import numpy as np
        >>> import jvi
        >>> model = jvi.model("mlp:hidden=4,latent=2", jvi.dataset(np.eye(9)))
        >>> from jvi.engine.random import PointSource
        >>> x = model.images(np.eye(9))
        >>> source = PointSource((0, "evaluation noise"), range(9)).part()
        >>> log_w, log_px = model.log_terms(x, model.link.infer(x), source, 4)
        >>> log_w.shape, bool((log_px <= 0).all())  # p(x|z) of binary x is a probability
        ((4, 9), True)
        """
        with chainer.no_backprop_mode():
            _, log_q, log_px, log_pz, _ = joint(self.link, x, q, source, num_samples)
        return log_px.array + log_pz.array - log_q.array, log_px.array

    def decode(self, z: Any) -> Any:
        """Means of p(x|z).

        Parameters
        ----------
        z : array, shape (…, D), or tuple of such
            Latent variables.

        Returns
        -------
        array, shape (…, pixels), float32
            In [0, 1] for pixels.

        Raises
        ------
        ValueError
            For z of another shape, or a model without such means.

        Examples
        --------
        >>> import numpy as np
        >>> import jvi
        >>> model = jvi.model("mlp:hidden=4,latent=2", jvi.dataset(np.eye(9)))
        >>> model.decode(np.zeros((5, 2))).shape
        (5, 9)
        """
        self.require("mean", "decoding")
        z = tree(lambda each: self.device.send(np.asarray(each, np.float32)), z)
        if not isinstance(z, tuple) and (z.ndim < 1 or z.shape[-1] != self.num_latent):
            raise ValueError(f"z has shape {z.shape}, its last axis should be {self.num_latent}")
        with chainer.no_backprop_mode():
            return self.link.mean(z).array

    def sample_prior(self, n: int, rng: Any = None) -> Any:
        """Images, means of p(x|z), of draws of z from the prior.

        Parameters
        ----------
        n : int
            How many.
        rng : numpy.random.Generator, optional
            Source of the noise.

        Returns
        -------
        array, shape (n, pixels), float32

        Raises
        ------
        ValueError
            For a model without a prior to draw from.

        Examples
        --------
        >>> import numpy as np
        >>> import jvi
        >>> model = jvi.model("mlp:hidden=4,latent=2", jvi.dataset(np.eye(9)))
        >>> model.sample_prior(5, np.random.default_rng(0)).shape
        (5, 9)
        """
        self.require("draw_prior", "sampling")
        with chainer.no_backprop_mode():
            z = self.link.draw_prior(_Fresh(rng, self.device), 1, n)
        return self.decode(tree(lambda each: _array(each)[0], z))

    def reconstruct(self, x: Any, rng: Any = None) -> Any:
        """Images decoded from q(z|x).

        Parameters
        ----------
        x : array, shape (N, …)
            Observed data points.
        rng : numpy.random.Generator, optional
            Source of a draw of z; without it a typical z is decoded.

        Returns
        -------
        array, shape (N, pixels), float32

        Raises
        ------
        ValueError
            When the data do not fit the model, or it has no typical z.

        Examples
        --------
        >>> import numpy as np
        >>> import jvi
        >>> model = jvi.model("mlp:hidden=4,latent=2", jvi.dataset(np.eye(9)))
        >>> model.reconstruct(np.eye(9)).shape
        (9, 9)
        """
        self.require("typical", "reconstruction")
        with chainer.no_backprop_mode():
            q = self.link.infer(self.images(x))
            if rng is None:
                z = self.link.typical(q)
            else:
                z = self.link.draw(q, _Fresh(rng, self.device), 1)[0]
            return self.decode(tree(lambda each: _array(each)[0], z))

    def latent_means(self, x: Any, num_samples: int = 256, seed: int = 0, start: int = 0) -> list:
        """E[z|x] under q of each stochastic layer.

        Parameters
        ----------
        x : array, shape (N, …)
            Observed data points.
        num_samples : int
            Draws that layers above the first are averaged over.
        seed : int
            Of these draws, of a stream for each data point.
        start : int
            Number of the first data point, so that batches give what the whole would.

        Returns
        -------
        list of array, shape (N, D)

        Raises
        ------
        ValueError
            When the data do not fit the model, or it has no such means.

        Examples
        --------
        >>> import numpy as np
        >>> import jvi
        >>> model = jvi.model("mlp:hidden=4,latent=2", jvi.dataset(np.eye(9)))
        >>> [means.shape for means in model.latent_means(np.eye(9))]
        [(9, 2)]
        """
        self.require("latent_means", "the number of active units")
        x = self.images(x)
        points = range(start, start + self.link.num_points(x))
        source = PointSource((seed, "active units"), points, device=self.device)
        with chainer.no_backprop_mode():
            q = self.link.infer(x)
            layered = getattr(self.link, "num_layers", 1) > 1
            z = self.link.draw(q, source.part(), num_samples)[0] if layered else None
            return self.link.latent_means(q, z)

    def require(self, capability: str, what: str) -> None:
        """Refuse what needs a capability that this model lacks.

        Parameters
        ----------
        capability : str
            A key of `jvi.models.CAPABILITIES`.
        what : str
            What needs it, for the error.

        Raises
        ------
        ValueError
            Saying both.

        Examples
        --------
        >>> import numpy as np
        >>> import jvi
        >>> model = jvi.model("mlp:hidden=4,latent=2", jvi.dataset(np.eye(9)))
        >>> model.require("log_evidence", "a gap")
        Traceback (most recent call last):
        ValueError: a gap needs the exact log p(x), which mlp does not have
        """
        problem = lacking(self.link, capability, what)
        if problem:
            raise ValueError(problem)

    def images(self, x: Any) -> Any:
        """`x` as the model takes it, on its device.

        Parameters
        ----------
        x : array or nested lists, shape (N, …)
            Observed data points.

        Returns
        -------
        array, shape (N, …), float32

        Raises
        ------
        ValueError
            For another shape, or values that the model has no likelihood for.

        Examples
        --------
        >>> import numpy as np
        >>> import jvi
        >>> model = jvi.model("mlp:hidden=4,latent=2", jvi.dataset(np.eye(9)))
        >>> model.images([[0, 1, 1, 0, 0, 0, 0, 0, 1]]).dtype
        dtype('float32')
        """
        return self.link.check(self.device.send(np.asarray(x) if isinstance(x, list) else x))


class _Fresh:
    """Noise from one generator, in the order asked for."""

    def __init__(self, rng, device):
        self.rng, self.device = rng or np.random.default_rng(), device

    def normal(self, shape):
        return self.device.send(self.rng.standard_normal(shape, dtype=np.float32))

    def uniform(self, shape):
        return self.device.send(self.rng.random(shape))


def _array(each):
    return each.array if isinstance(each, chainer.Variable) else each
