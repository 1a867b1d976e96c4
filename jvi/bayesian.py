"""Bayesian neural networks as estimators of scikit-learn.

A distribution over all weights is fitted instead of weights (Blundell et al. 2015), so predictions
say how sure they are, and a network has an evidence that networks can be chosen by.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from jvi.assessment.network_evidence import NetworkEvidence, annealed, importance
from jvi.assessment.predictive import (
    ClassPredictions,
    NumberPredictions,
    draw_targets,
    draw_weights,
    predict,
)
from jvi.datasets.tabular import BINARY, CLASSIFICATION, REGRESSION, scaling_of
from jvi.engine.random import stream
from jvi.evidence.arrays import host
from jvi.models import BayesMLP, of_spec
from jvi.models.model import Model
from jvi.spec import LEARNED
from jvi.training.fit import fit
from jvi.training.network import network_objective
from jvi.training.trainer import Settings

__all__ = ["BayesianMLPClassifier", "BayesianMLPRegressor", "LogEvidence"]

NARROW = 400  # times narrower than the wide part of the prior "mixture" is the other


class LogEvidence(NamedTuple):
    """log p(targets|features) of a network, all weights integrated out, in nats.

    Attributes
    ----------
    value, error : float
        The error is a standard error of the Monte-Carlo estimate, and no guarantee: see `doubts`.
    ess : float
        Effective sample size, between 1 and `num_samples`.
    pareto_k : float
        Above about 0.7 neither value nor error can be relied on; nan for fewer than 30 samples.
    num_samples : int
        Draws from q, or annealed chains.
    doubts : tuple of str
        Why not to believe the value, in sentences; empty where nothing speaks against it.
    """

    value: float
    error: float
    ess: float
    pareto_k: float
    num_samples: int
    doubts: tuple[str, ...]

    def __repr__(self) -> str:
        line = f"{self.value:.3f} ± {self.error:.3f} nats (ESS {self.ess:.1f})"
        return "\n  ".join([line, *self.doubts])


class _BayesianMLP(BaseEstimator):
    """What classifier and regressor share."""

    def __init__(
        self,
        hidden: int | Sequence[int] = (50,),
        *,
        activation: str = "relu",
        prior: str = "normal",
        prior_scale: float = 1.0,
        estimator: str = "elbo",
        num_samples: int = 4,
        epochs: int = 500,
        batch_size: int = 100,
        learning_rate: float = 0.05,
        kl_weighting: str = "uniform",
        perturbation: str = "shared",
        num_predictions: int = 100,
        seed: int = 0,
    ):
        self.hidden = hidden
        self.activation = activation
        self.prior = prior
        self.prior_scale = prior_scale
        self.estimator = estimator
        self.num_samples = num_samples
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.kl_weighting = kl_weighting
        self.perturbation = perturbation
        self.num_predictions = num_predictions
        self.seed = seed

    @property
    def model_(self) -> Model:
        """The network as a `jvi.Model`, in the units that `scaling_` undoes; a copy."""
        check_is_fitted(self)
        link = of_spec(self.spec_)
        for name, parameter in link.namedparams():
            parameter.array = self.parameters_[name].copy()
        return Model(link)

    def predictive(
        self, X: Any, y: Any = None, level: float = 0.95
    ) -> NumberPredictions | ClassPredictions:
        """Predictions with their uncertainty split in that of the data and that of the weights.

        Parameters
        ----------
        X : array, shape (B, F)
        y : array, shape (B,), optional
            Targets to have log-densities of.
        level : float
            Probability of a regression's intervals.
        """
        X, numbers = self._checked(X, y)
        about = {"level": level, "seed": self.seed, "scaling": self.scaling_}
        return predict(self.model_, X, numbers, self.num_predictions, **about)

    def sample(self, X: Any = None, num_draws: int = 1, seed: int = 0) -> np.ndarray:
        """Targets of the rows of X from their predictive distribution, shape (num_draws, B).

        Those of a draw have the same weights. Without X the weights themselves, from q, shape
        (num_draws, P): of every layer W (inputs, units), then its biases.
        """
        if X is None:
            return draw_weights(self.model_, num_draws, seed)
        X, _ = self._checked(X, None)
        drawn = draw_targets(self.model_, X, num_draws, seed=seed, scaling=self.scaling_)
        return self._named(drawn)

    def log_evidence(
        self,
        X: Any,
        y: Any,
        method: str = "iwae",
        *,
        num_samples: int | None = None,
        order: int = 1,
        num_temps: int = 1000,
        seed: int = 0,
        progress: bool = False,
    ) -> LogEvidence:
        """log p(y|X) of the network, its noise as it was found, in nats and units of y.

        Of the data that it was fitted to, this is what networks are compared by. Its prior is one
        of weights for standardised data, standardised as those that it was fitted to.

        Parameters
        ----------
        X : array, shape (B, F)
        y : array, shape (B,)
        method : str
            "iwae" and "jvi" (IWAE without the first terms of its bias) sample weights from q: they
            are fast, and too small, as `doubts` then says, where q is far from the posterior, as
            that of a network with hidden units mostly is. "ais" anneals from the prior to the
            posterior.
        num_samples : int, optional
            Draws of the weights, 1000 unless given; chains for "ais", 16 unless given.
        order : int
            Of "jvi".
        num_temps : int
            Temperatures, for "ais": twice as many take twice the time, and leave less bias.
        seed : int
        progress : bool
            Show a progress bar after two seconds.

        Raises
        ------
        ValueError
            For an unknown method, or impossible numbers.
        """
        if method not in ("iwae", "jvi", "ais"):
            raise ValueError(f"unknown method {method!r}: choose from iwae, jvi, ais")
        X, numbers = self._checked(X, y)
        if num_samples is None:
            num_samples = 16 if method == "ais" else 1000
        rows, about = self.scaling_.rows(X, numbers), {"seed": seed, "progress": progress}
        if method == "ais":
            found = annealed(self.model_, rows, num_samples, num_temps, **about)
            return self._evidence(found, "ais-prior", len(rows))
        orders = (order,) if method == "jvi" else ()
        found = importance(self.model_, rows, num_samples, orders, **about)
        return self._evidence(found, f"jvi-{order}" if orders else "iwae", len(rows))

    def _evidence(self, found: NetworkEvidence, name: str, num_rows: int) -> LogEvidence:
        """In the target's unit: the density of each row has the Jacobian 1 / target_scale."""
        value = found.values[name] + num_rows * float(self.scaling_.log_density(0.0))
        about = found.ess, found.pareto_k, found.num_samples, found.doubts
        return LogEvidence(value, found.errors[name], *about)

    def _fit(self, X, y, task, **options):
        """To targets as numbers; `options` are of the network's outputs."""
        for name in ("epochs", "num_samples", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        rng = stream(self.seed, "initial parameters")
        link = BayesMLP(
            X.shape[1] + 1,
            hidden="x".join(map(str, np.atleast_1d(np.asarray(self.hidden, object)))),
            task=task,
            activation=self.activation,
            perturbation=self.perturbation,
            **self._prior(),
            **options,
            rng=rng,
        )
        size = min(self.batch_size, len(X))
        losses = fit(Model(link), self.scaling_.rows(X, y), self._settings(link, len(X), size))
        to_unit = len(X) * float(self.scaling_.log_density(0.0))
        self.loss_curve_ = losses * len(X) / size - to_unit
        self.spec_ = str(link.spec)
        self.parameters_ = {name: host(each.array) for name, each in link.namedparams()}
        return self

    def _prior(self):
        if self.prior == "normal":
            return {"prior": self.prior, "prior_scale": self.prior_scale}
        return {
            "prior": self.prior,
            "sigma1": self.prior_scale,
            "sigma2": self.prior_scale / NARROW,
        }

    def _settings(self, link, num_rows, size):
        return Settings(
            network_objective(self.estimator, link, self.kl_weighting, num_rows, size),
            self.num_samples,
            optimizer="adam",
            lr=self.learning_rate,
            epochs=self.epochs,
            batch_size=size,
            seed=self.seed,
            quiet=True,
            clip=0.0,  # of a gradient that is mostly noise it would change the mean
        )

    def _checked(self, X, y):
        check_is_fitted(self)
        if y is None:
            return validate_data(self, X, dtype=np.float64, reset=False), None
        X, y = validate_data(self, X, y, dtype=np.float64, reset=False)
        return X, self._numbers(y)


class BayesianMLPRegressor(RegressorMixin, _BayesianMLP):
    """Regression with Gaussian noise, by a perceptron whose weights are uncertain.

    Features and target are standardised before, constant features left out of account; results
    are in the target's own unit.

    Parameters
    ----------
    hidden : int or sequence of int
        Units of each hidden layer; () for Bayesian linear regression.
    activation : str
        "relu" or "tanh".
    noise : float or "learned"
        Standard deviation of the noise, in the target's unit. Learned, one value is found.
    prior : str
        Of the weights: "normal", N(0, prior_scale²), or "mixture", in equal parts N(0,
        prior_scale²) and N(0, (prior_scale / 400)²).
    prior_scale : float
        For standardised data.
    estimator : str
        Of the gradient: NAME[:key=value,…] of `jvi.estimator`: "elbo", "iwae", "dreg", "jvi".
    num_samples : int
        K, draws of the weights in a step.
    epochs, batch_size : int
        Passes over the rows, and rows of a step: what counts is the number of steps.
    learning_rate : float
        Adam's at first; it falls in a line to a hundredth.
    kl_weighting : str
        How minibatches share the divergence from the prior: "uniform" or "blundell".
    perturbation : str
        "shared", or, for "elbo", weights drawn afresh for every row: "local" or "flipout".
    num_predictions : int
        S, draws of the weights that predictions are averaged over.
    seed : int
        Of everything random: the same seed gives the same numbers.

    Attributes
    ----------
    model_ : jvi.Model
        For standardised data; a copy.
    scaling_ : jvi.datasets.tabular.Scaling
        What data are standardised by.
    noise_ : float
    loss_curve_ : numpy.ndarray, shape (epochs,)
        Minus the bound that the estimator follows, in nats, for all rows and the target's unit.
    spec_ : str
        Name and options of the network.
    parameters_ : dict of str to numpy.ndarray
        Of the network.

    Examples
    --------
    >>> regressor = BayesianMLPRegressor(hidden=(20,)).fit(X, y)  # doctest: +SKIP
    >>> mean, std = regressor.predict(X, return_std=True)  # doctest: +SKIP
    """

    def __init__(
        self,
        hidden: int | Sequence[int] = (50,),
        *,
        activation: str = "relu",
        noise: float | str = LEARNED,
        prior: str = "normal",
        prior_scale: float = 1.0,
        estimator: str = "elbo",
        num_samples: int = 4,
        epochs: int = 500,
        batch_size: int = 100,
        learning_rate: float = 0.05,
        kl_weighting: str = "uniform",
        perturbation: str = "shared",
        num_predictions: int = 100,
        seed: int = 0,
    ):
        super().__init__(
            hidden,
            activation=activation,
            prior=prior,
            prior_scale=prior_scale,
            estimator=estimator,
            num_samples=num_samples,
            epochs=epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
            kl_weighting=kl_weighting,
            perturbation=perturbation,
            num_predictions=num_predictions,
            seed=seed,
        )
        self.noise = noise

    def fit(self, X: Any, y: Any) -> "BayesianMLPRegressor":
        """Fit the distribution of the weights to rows of features, (B, F), and targets, (B,)."""
        X, y = validate_data(self, X, y, dtype=np.float64, y_numeric=True, ensure_min_samples=2)
        y = y.astype(np.float64)
        self.scaling_ = scaling_of(X, y, REGRESSION, keep_constant=True)
        if isinstance(self.noise, str) and self.noise != LEARNED:
            raise ValueError(f"noise must be a number or {LEARNED!r}, not {self.noise!r}")
        noise = self.noise if self.noise == LEARNED else self.noise / self.scaling_.target_scale
        return self._fit(X, y, REGRESSION, noise=noise)

    def predict(self, X: Any, return_std: bool = False) -> Any:
        """Means of the targets, (B,); with `return_std` their standard deviations, too.

        Those are of a target, noise included; `predictive` has both parts, and intervals.
        """
        found = self.predictive(X)
        return (found.mean, found.std) if return_std else found.mean

    @property
    def noise_(self) -> float:
        """Standard deviation of the noise, in the unit of the target."""
        return float(self.scaling_.deviation(self.model_.link.noise))

    def _numbers(self, y):
        return np.asarray(y, np.float64)

    def _named(self, drawn):
        return drawn


class BayesianMLPClassifier(ClassifierMixin, _BayesianMLP):
    """Classification by a perceptron whose weights are uncertain: logistic, or softmax from three.

    Parameters, and attributes but for `noise_`, are those of `BayesianMLPRegressor`, without the
    noise. With hidden=() it is Bayesian logistic regression.

    Attributes
    ----------
    classes_ : numpy.ndarray, shape (C,)
    """

    def fit(self, X: Any, y: Any) -> "BayesianMLPClassifier":
        """Fit the distribution of the weights to rows of features, (B, F), and classes, (B,)."""
        X, y = validate_data(self, X, y, dtype=np.float64, ensure_min_samples=2)
        check_classification_targets(y)
        self.classes_, numbers = np.unique(y, return_inverse=True)
        count = len(self.classes_)
        if count < 2:
            raise ValueError(f"y has one class only, {self.classes_[0]}: there must be two")
        task = BINARY if count == 2 else CLASSIFICATION
        self.scaling_ = scaling_of(X, numbers, task, keep_constant=True)
        return self._fit(X, numbers, task, classes=count)

    def predict(self, X: Any) -> np.ndarray:
        """The most probable class of each row, (B,)."""
        numbers = self.predict_proba(X).argmax(axis=1)
        return self.classes_[numbers]

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities of `classes_`, (B, C), averaged over draws of the weights."""
        return self.predictive(X).probabilities

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Their logarithms."""
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X))

    def _numbers(self, y):
        places = np.clip(np.searchsorted(self.classes_, y), 0, len(self.classes_) - 1)
        unknown = self.classes_[places] != y
        if unknown.any():
            raise ValueError(
                f"y has a class that the network was not fitted to: {y[unknown.argmax()]}"
            )
        return places

    def _named(self, drawn):
        return self.classes_[drawn.astype(int)]
