"""Latent-variable models as Chainer links, and the protocol that they share.

Everything else in this project speaks to a model only through `LatentVariableModel`; a new
architecture is one file here and one line in `MODELS`.
"""

from jvi.compat import chainer7  # noqa: F401  first: with it Chainer can be imported
from jvi.models.burda import Burda
from jvi.models.mlp import MLP
from jvi.models.protocol import CAPABILITIES, LatentVariableModel
from jvi.models.sbn import SBN
from jvi.spec import Spec, parse, split

__all__ = [
    "CAPABILITIES",
    "MLP",
    "MODELS",
    "SBN",
    "Burda",
    "LatentVariableModel",
    "Spec",
    "build",
    "of_spec",
]

LARGEST = 2**24  # of any size of a model

MODELS = {"mlp": MLP, "burda": Burda, "sbn": SBN}


def build(name, num_pixels, rng):
    """The link that NAME[:key=value,…] stands for, with weights drawn from `rng`.

    Raises
    ------
    ValueError
        For an unknown model or option, listing the known, or sizes that it cannot have.
    """
    spec = _sized(parse(name, MODELS, "model"))
    return MODELS[spec.name](num_pixels, **spec.options, rng=rng)


def of_spec(text):
    """The link, without weights, of the spelling of a model's `spec`, which says its pixels too.

    Raises
    ------
    ValueError
        As `build`, or where pixels are missing.
    """
    name, texts = split(text)
    pixels = texts.pop("pixels", "")
    if not (pixels.isascii() and pixels.isdecimal() and 0 < int(pixels[:20]) <= LARGEST):
        raise ValueError(f"{text!r}: says no number of pixels")
    spec = _sized(parse(str(Spec(name, texts)), MODELS, "model"))
    return MODELS[spec.name](int(pixels), **spec.options)


def _sized(spec):
    """A spec whose whole numbers are sizes that can be."""
    for key, value in spec.options.items():
        if isinstance(value, int) and value < 1:
            raise ValueError(f"{spec.name}:{key} must be at least 1, not {value}")
        if isinstance(value, int) and value > LARGEST:
            raise ValueError(f"{spec.name}:{key} must be at most {LARGEST}, not {value}")
    return spec
