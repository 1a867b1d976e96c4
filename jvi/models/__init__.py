"""Latent-variable models as Chainer links, and the protocol that they share.

Everything else in this project speaks to a model only through `LatentVariableModel`; a new
architecture is one file here and one line in `MODELS`.
"""

from inspect import signature
from typing import Any

import numpy as np

from jvi.compat import chainer7  # noqa: F401  first: with it Chainer can be imported
from jvi.models.bayes_mlp import BayesMLP
from jvi.models.burda import Burda
from jvi.models.conv import Conv
from jvi.models.gaussian_toy import GaussianToy
from jvi.models.gaussian_vae import GaussianVAE
from jvi.models.iaf import IAF
from jvi.models.iaf_resnet import IAFResNet
from jvi.models.mixture import Mixture
from jvi.models.mlp import MLP
from jvi.models.protocol import CAPABILITIES, LatentVariableModel
from jvi.models.sbn import SBN
from jvi.models.softplus_vae import SoftplusVAE
from jvi.spec import Spec, parse, split

__all__ = [
    "CAPABILITIES",
    "IAF",
    "MLP",
    "MODELS",
    "SBN",
    "BayesMLP",
    "Burda",
    "Conv",
    "GaussianToy",
    "GaussianVAE",
    "IAFResNet",
    "LatentVariableModel",
    "Mixture",
    "SoftplusVAE",
    "Spec",
    "build",
    "check_name",
    "of_spec",
]

LARGEST = 2**24  # of any size of a model

# The first parameter of each is the size that the data decide: a spec has it under this name
# without "num_".
MODELS = {
    "mlp": MLP,
    "burda": Burda,
    "sbn": SBN,
    "gaussian-toy": GaussianToy,
    "mixture": Mixture,
    "gaussian-vae": GaussianVAE,
    "softplus-vae": SoftplusVAE,
    "conv": Conv,
    "bayes-mlp": BayesMLP,
    "iaf": IAF,
    "iaf-resnet": IAFResNet,
}


def build(name: str, num_columns: int, rng: np.random.Generator) -> Any:
    """The link that NAME[:key=value,…] stands for, with weights drawn from `rng`.

    The text may also be the spelling of a whole `spec`, for data of the size that it says.

    Raises
    ------
    ValueError
        For an unknown model or option, listing the known, or sizes that it cannot have.
    """
    spec, key, size = _without_size(name)
    if size and size != str(num_columns):
        raise ValueError(f"{name!r} is a model of {size} {key}, but the data have {num_columns}")
    spec = _sized(parse(str(spec), MODELS, "model"))
    return MODELS[spec.name](num_columns, **spec.options, rng=rng)


def of_spec(text: str) -> Any:
    """The link, without weights, of the spelling of a model's `spec`, which says its pixels too.

    Raises
    ------
    ValueError
        As `build`, or where pixels (or what else the data decide) are missing.
    """
    spec, key, size = _without_size(text)
    if not (size.isascii() and size.isdecimal() and 0 < int(size[:20]) <= LARGEST):
        raise ValueError(f"{text!r}: says no number of {key}")
    spec = _sized(parse(str(spec), MODELS, "model"))
    return MODELS[spec.name](int(size), **spec.options)


def check_name(text: str) -> None:
    """Refuse, before there are data, what `build` would refuse whatever the data.

    Raises
    ------
    ValueError
        As `build`.
    """
    spec, key, size = _without_size(text)
    anything = getattr(MODELS.get(spec.name), "any_size", 1)
    of_spec(str(spec._replace(options={**spec.options, key: size or str(anything)})))


def _without_size(text):
    """(spec of texts, name of the size that the data decide, its text or "")."""
    name, texts = split(text)
    parameters = signature(MODELS[name]).parameters if name in MODELS else ["pixels"]
    key = next(iter(parameters)).removeprefix("num_")
    size = texts.pop(key, "")
    return Spec(name, texts), key, size


def _sized(spec):
    """A spec whose whole numbers are sizes that can be."""
    for key, value in spec.options.items():
        least = 0 if key in getattr(MODELS[spec.name], "may_be_none", ()) else 1
        if isinstance(value, int) and value < least:
            raise ValueError(f"{spec.name}:{key} must be at least {least}, not {value}")
        if isinstance(value, int) and value > LARGEST:
            raise ValueError(f"{spec.name}:{key} must be at most {LARGEST}, not {value}")
    return spec
