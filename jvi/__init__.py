"""Jackknife variational inference on Chainer, NumPy 2 and CuPy.

The names below are the public interface. Those that work on plain arrays of log-weights
(`elbo`, `iwae`, `jackknife`) need no Chainer; the others import it when first used.
"""

from importlib import import_module
from pathlib import Path

__version__ = "0.1.0"

# In a checkout compat/ and scripts/ lie beside this folder, in a wheel inside it.
_checkout = Path(__file__).resolve().parent.parent
if not (_checkout / "jvi" / "compat").is_dir() and (_checkout / "compat").is_dir():
    __path__.append(str(_checkout))

from jvi import compat  # noqa: E402
from jvi.bounds import elbo, iwae  # noqa: E402
from jvi.jackknife import jackknife  # noqa: E402

compat.install()

_LAZY = {"evaluate": "jvi.evaluation", "load": "jvi.model", "Model": "jvi.model"}

__all__ = ["Model", "elbo", "evaluate", "iwae", "jackknife", "load"]


def __getattr__(name):
    if name not in _LAZY:
        raise AttributeError(f"module 'jvi' has no attribute {name!r}")
    return getattr(import_module(_LAZY[name]), name)


def __dir__():
    return sorted(set(globals()) | set(__all__))
