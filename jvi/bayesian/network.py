"""What Bayesian networks of numbers and of classes share as estimators of scikit-learn."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted, validate_data

from jvi.assessment.network_evidence import NetworkEvidence, annealed, importance
from jvi.assessment.predictive import (
    ClassPredictions,
    NumberPredictions,
    draw_targets,
    draw_weights,
    predict,
)
from jvi.engine.random import stream
from jvi.evidence.arrays import host
from jvi.models import BayesMLP, of_spec
from jvi.models.model import Model
from jvi.training.fit import fit
from jvi.training.network import network_objective
from jvi.training.trainer import Settings

__all__ = ["BayesianMLP", "LogEvidence"]

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

    Examples
    --------
    >>> from jvi.bayesian import LogEvidence
    >>> LogEvidence(-15.4893, 0.0031, 985.8, 0.2, 1000, ())
    -15.489 ± 0.003 nats (ESS 985.8)
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


class BayesianMLP(BaseEstimator):
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
        """The network as a `jvi.Model`, in the units that `scaling_` undoes; a copy.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before `fit`.

        Examples
        --------
        >>> import numpy as np
        >>> import jvi
        >>> X, y = np.arange(10.0)[:, None], 2.0 * np.arange(10.0)
        >>> network = jvi.BayesianMLPRegressor(hidden=(), noise=1.0, epochs=100).fit(X, y)
        >>> network.model_.num_latent  # weights: a slope and an intercept
        2
        """
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
            Features.
        y : array, shape (B,), optional
            Targets to have log-densities of.
        level : float
            Probability of a regression's intervals.

        Returns
        -------
        NumberPredictions or ClassPredictions
            Of a regression mean, standard deviations and interval, in the target's unit; of a
            classification probabilities and entropies, in nats.

        Raises
        ------
        ValueError
            For data that do not fit, or an impossible level.
        sklearn.exceptions.NotFittedError
            Before `fit`.

        Examples
        --------
        >>> import numpy as np
        >>> import jvi
        >>> X, y = np.arange(10.0)[:, None], 2.0 * np.arange(10.0)
        >>> network = jvi.BayesianMLPRegressor(hidden=(), noise=1.0, epochs=100).fit(X, y)
        >>> found = network.predictive(X)
        >>> bool(np.allclose(found.std**2, found.data_std**2 + found.weight_std**2))
        True
        """
        X, numbers = self._checked(X, y)
        about = {"level": level, "seed": self.seed, "scaling": self.scaling_}
        return predict(self.model_, X, numbers, self.num_predictions, **about)

    def sample(self, X: Any = None, num_draws: int = 1, seed: int = 0) -> np.ndarray:
        """Draws from the predictive distribution, or of the weights.

        Parameters
        ----------
        X : array, shape (B, F), optional
            Features. Without them the weights themselves are drawn, from q.
        num_draws : int
            How many; the targets of a draw have the same weights.
        seed : int
            Of the draws.

        Returns
        -------
        numpy.ndarray, shape (num_draws, B) or (num_draws, P)
            Targets, or weights: of every layer W (inputs, units), then its biases.

        Raises
        ------
        ValueError
            For data that do not fit, or no draws.
        sklearn.exceptions.NotFittedError
            Before `fit`.

        Examples
        --------
        >>> import numpy as np
        >>> import jvi
        >>> X, y = np.arange(10.0)[:, None], 2.0 * np.arange(10.0)
        >>> network = jvi.BayesianMLPRegressor(hidden=(), noise=1.0, epochs=100).fit(X, y)
        >>> network.sample(X, num_draws=3).shape, network.sample(num_draws=3).shape
        ((3, 10), (3, 2))
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
            Features.
        y : array, shape (B,)
            Targets.
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
            Of the draws.
        progress : bool
            Show a progress bar after two seconds.

        Returns
        -------
        LogEvidence
            Value and error, in nats, and what speaks against them.

        Raises
        ------
        ValueError
            For an unknown method, or impossible numbers.
        sklearn.exceptions.NotFittedError
            Before `fit`.

        Examples
        --------
        Of Bayesian linear regression the evidence is known, here -15.49 nats:

        >>> import numpy as np
        >>> import jvi
        >>> X, y = np.arange(10.0)[:, None], 2.0 * np.arange(10.0)
        >>> network = jvi.BayesianMLPRegressor(hidden=(), noise=1.0, epochs=100).fit(X, y)
        >>> found = network.log_evidence(X, y)
        >>> abs(found.value + 15.49) < 0.05
        True
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
