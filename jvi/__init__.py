"""Jackknife variational inference on Chainer, NumPy 2 and CuPy.

The names below are the public interface. Those that work on plain arrays of log-weights (`elbo`,
`iwae`, `jackknife`, `estimator`, `summary`, …) need no Chainer; the others import it when first
used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from jvi.evidence.bounds import elbo, iwae
from jvi.evidence.estimators import Weights, estimator
from jvi.evidence.jackknife import jackknife, jackknife_weights

if TYPE_CHECKING:
    from jvi.assessment import ais
    from jvi.assessment.estimates import Evaluation
    from jvi.assessment.evaluation import evaluate
    from jvi.assessment.paired import compare
    from jvi.assessment.summary import summary
    from jvi.bayesian import BayesianMLPClassifier, BayesianMLPRegressor
    from jvi.datasets import Dataset
    from jvi.datasets import load as load_dataset
    from jvi.datasets import of_arrays as dataset
    from jvi.evidence import corrections, diagnostics
    from jvi.models.model import Model, load, model
    from jvi.training.train import train

__version__ = "0.1.0"

__all__ = [
    "BayesianMLPClassifier",
    "BayesianMLPRegressor",
    "Dataset",
    "Evaluation",
    "Model",
    "Weights",
    "ais",
    "compare",
    "corrections",
    "dataset",
    "diagnostics",
    "elbo",
    "estimator",
    "evaluate",
    "iwae",
    "jackknife",
    "jackknife_weights",
    "load",
    "load_dataset",
    "model",
    "summary",
    "train",
]

# Where the names are that are imported when first used; no name of it is a whole module.
_LAZY = {
    "torch": ("jvi.torch", ""),
    "jax": ("jvi.jax", ""),
    "BayesianMLPClassifier": ("jvi.bayesian", "BayesianMLPClassifier"),
    "BayesianMLPRegressor": ("jvi.bayesian", "BayesianMLPRegressor"),
    "Dataset": ("jvi.datasets", "Dataset"),
    "Evaluation": ("jvi.assessment.estimates", "Evaluation"),
    "Model": ("jvi.models.model", "Model"),
    "ais": ("jvi.assessment.ais", ""),
    "compare": ("jvi.assessment.paired", "compare"),
    "corrections": ("jvi.evidence.corrections", ""),
    "dataset": ("jvi.datasets", "of_arrays"),
    "diagnostics": ("jvi.evidence.diagnostics", ""),
    "evaluate": ("jvi.assessment.evaluation", "evaluate"),
    "load": ("jvi.models.model", "load"),
    "load_dataset": ("jvi.datasets", "load"),
    "model": ("jvi.models.model", "model"),
    "summary": ("jvi.assessment.summary", "summary"),
    "train": ("jvi.training.train", "train"),
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'jvi' has no attribute {name!r}")
    where, attribute = _LAZY[name]
    module = import_module(where)
    return getattr(module, attribute) if attribute else module


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
