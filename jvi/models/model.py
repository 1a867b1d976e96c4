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
    data : jvi.datasets.Dataset
    device : int
        -1 for the CPU, otherwise the number of a GPU.
    seed : int
        Of the initial parameters.

    Raises
    ------
    ValueError
        For an unknown model or option, listing the known, or sizes that it cannot have.
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
        """Of a model of images."""
        return self.link.num_pixels

    @property
    def num_latent(self) -> int:
        """D, of the topmost layer."""
        return self.link.num_latent

    def encode(self, x: Any) -> Any:
        """Parameters of q(z|x), arrays (N, …): mean and log-variance where it is Gaussian."""
        with chainer.no_backprop_mode():
            q = self.link.infer(self.images(x))
        return tree(lambda each: each.array, q)

    def log_weights(
        self, x: Any, num_samples: int | None = None, rng: Any = None, *, eps: Any = None
    ) -> Any:
        """log p(x|z) + log p(z) - log q(z|x) for draws of z from q(z|x), float32, shape (K, N).

        Parameters
        ----------
        x : array, shape (N, …)
        num_samples : int, optional
            K; needed unless `eps` is given.
        rng : numpy.random.Generator, optional
            Source of the noise.
        eps : array, shape (K, N, D), or list of arrays, optional
            The noise instead, in the order in which the model asks for it.

        Raises
        ------
        ValueError
            When the data or the noise do not fit the model.
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
        """(log w, log p(x|z)), arrays (K, N), for `q` as the link's `infer` gave it."""
        with chainer.no_backprop_mode():
            _, log_q, log_px, log_pz, _ = joint(self.link, x, q, source, num_samples)
        return log_px.array + log_pz.array - log_q.array, log_px.array

    def decode(self, z: Any) -> Any:
        """Means of p(x|z), in [0, 1] for pixels, shape (…, pixels), for z of shape (…, latent)."""
        self.require("mean", "decoding")
        z = tree(lambda each: self.device.send(np.asarray(each, np.float32)), z)
        if not isinstance(z, tuple) and (z.ndim < 1 or z.shape[-1] != self.num_latent):
            raise ValueError(f"z has shape {z.shape}, its last axis should be {self.num_latent}")
        with chainer.no_backprop_mode():
            return self.link.mean(z).array

    def sample_prior(self, n: int, rng: Any = None) -> Any:
        """Images (means of p(x|z)) of `n` draws of z from the prior, shape (n, pixels)."""
        self.require("draw_prior", "sampling")
        with chainer.no_backprop_mode():
            z = self.link.draw_prior(_Fresh(rng, self.device), 1, n)
        return self.decode(tree(lambda each: _array(each)[0], z))

    def reconstruct(self, x: Any, rng: Any = None) -> Any:
        """Images decoded from q(z|x), shape (N, pixels): from a typical z, or a draw of `rng`."""
        self.require("typical", "reconstruction")
        with chainer.no_backprop_mode():
            q = self.link.infer(self.images(x))
            if rng is None:
                z = self.link.typical(q)
            else:
                z = self.link.draw(q, _Fresh(rng, self.device), 1)[0]
            return self.decode(tree(lambda each: _array(each)[0], z))

    def latent_means(self, x: Any, num_samples: int = 256, seed: int = 0, start: int = 0) -> list:
        """E[z|x] under q of each stochastic layer: a list of arrays, shape (N, D).

        Layers above the first are averaged over `num_samples` draws, of a stream for each data
        point; `start` is the number of the first one.
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
        """Raise ValueError where `what` needs a capability that this model lacks."""
        problem = lacking(self.link, capability, what)
        if problem:
            raise ValueError(problem)

    def images(self, x: Any) -> Any:
        """`x` as the model takes it, on its device, checked against its likelihood."""
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
