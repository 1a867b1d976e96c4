"""A model as its user sees it: plain arrays in, plain arrays out."""

import chainer
import numpy as np

from jvi import backend
from jvi.compat.model_files import read_model, sizes
from jvi.models import MODELS

__all__ = ["Model", "from_files", "load"]


def load(prefix, device=-1):
    """Load a trained model, written by this project or by the original 2018 code.

    Parameters
    ----------
    prefix : str or Path
        As given to ``train.py -o``.
    device : int
        -1 for the CPU, otherwise the number of a GPU.

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
    return from_files(read_model(prefix), device)


def from_files(files, device=-1):
    """`Model` from the `jvi.compat.model_files.ModelFiles` of it, as `load` makes it."""
    link = MODELS["mlp"](*sizes(files.parameters))
    for name, parameter in link.namedparams():
        parameter.array[...] = files.parameters[name.lstrip("/")]
    return Model(link, device, files.meta, files.notes)


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
    num_pixels, num_latent : int
    """

    def __init__(self, link, device=-1, meta=None, notes=()):
        self.link, self.meta, self.notes = link, meta or {}, list(notes)
        self.device = backend.device(device)
        self.num_pixels, self.num_latent = link.num_pixels, link.num_latent
        link.to_device(self.device)

    def encode(self, x):
        """Mean and log-variance of q(z|x), each (N, latent), for images of shape (N, pixels)."""
        with chainer.no_backprop_mode():
            mean, ln_var = self.link.posterior(self.images(x))
        return mean.array, ln_var.array

    def log_weights(self, x, num_samples=None, rng=None, *, eps=None):
        """Log importance weights log p(x|z) + log p(z) - log q(z|x).

        Parameters
        ----------
        x : array, shape (N, pixels)
            Binary images.
        num_samples : int, optional
            How many samples to draw with `rng`, a `numpy.random.Generator`.
        eps : array, shape (K, N, latent), optional
            Standard normal noise to use instead: z = q_mean + exp(q_ln_var / 2) eps.

        Returns
        -------
        array, shape (K, N), float32, in nats

        Raises
        ------
        ValueError
            When shapes do not fit the model, or neither `eps` nor `num_samples` is given.
        """
        x = self.images(x)
        if eps is None:
            if num_samples is None or num_samples < 1:
                raise ValueError("give num_samples >= 1 (and rng), or the noise itself as eps")
            rng = rng or np.random.default_rng()
        elif eps.ndim != 3 or eps.shape[1:] != (len(x), self.num_latent):
            expected = f"(K, {len(x)}, {self.num_latent})"
            raise ValueError(f"eps has shape {eps.shape}, the model expects {expected}")
        num_samples = num_samples if eps is None else len(eps)
        chunk = max(1, backend.rows_at_once(self.device) // max(1, len(x)))
        parts = []
        with chainer.no_backprop_mode():
            q = self.link.posterior(x)
            for start in range(0, num_samples, chunk):
                stop = min(start + chunk, num_samples)
                if eps is None:
                    noise = backend.normals(
                        (stop - start, len(x), self.num_latent), rng, self.device
                    )
                else:
                    noise = self.device.send(eps[start:stop].astype(np.float32))
                parts.append(self.log_terms(x, q, noise)[0])
        return self.device.xp.concatenate(parts)

    def log_terms(self, x, q, eps):
        """(log w, log p(x|z)), arrays (K, N) float32, for `q` as the link's `posterior` gave it."""
        with chainer.no_backprop_mode():
            z = self.link.sample(q, eps)
            log_px = self.link.log_px(x, z)
            log_w = log_px + self.link.log_pz(z) - self.link.log_qz(q, z)
        return log_w.array, log_px.array

    def decode(self, z):
        """Means of p(x|z) in [0, 1], shape (…, pixels), for z of shape (…, latent)."""
        z = self.device.send(np.asarray(z, np.float32) if isinstance(z, list) else z)
        if z.ndim < 1 or z.shape[-1] != self.num_latent:
            raise ValueError(f"z has shape {z.shape}, its last axis should be {self.num_latent}")
        with chainer.no_backprop_mode():
            return self.link.pixels(z.astype(np.float32)).array

    def sample_prior(self, n, rng=None):
        """Images (means of p(x|z)) of `n` draws of z from the prior, shape (n, pixels)."""
        rng = rng or np.random.default_rng()
        return self.decode(backend.normals((n, self.num_latent), rng, self.device))

    def reconstruct(self, x, rng=None):
        """Images decoded from q(z|x), shape (N, pixels): from its mean, or a draw of `rng`."""
        mean, ln_var = self.encode(x)
        if rng is not None:
            xp = self.device.xp
            mean = mean + xp.exp(0.5 * ln_var) * backend.normals(mean.shape, rng, self.device)
        return self.decode(mean)

    def images(self, x):
        """`x` as float32 on the model's device, checked: shape (N, pixels), finite, in [0, 1]."""
        x = self.device.send(np.asarray(x) if isinstance(x, list) else x)
        if x.ndim != 2 or x.shape[1] != self.num_pixels:
            raise ValueError(
                f"images have shape {x.shape}, the model expects (N, {self.num_pixels}): "
                "is this the data set it was trained on?"
            )
        good = ((x >= 0) & (x <= 1)).all(axis=1)
        if not bool(good.all()):
            raise ValueError(
                f"image {int(good.argmin())} has values outside [0, 1] or that are not numbers"
            )
        return x.astype(np.float32, copy=False)
