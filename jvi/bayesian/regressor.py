"""A Bayesian network of numbers."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.utils.validation import validate_data

from jvi.bayesian.network import BayesianMLP
from jvi.datasets.tabular import REGRESSION, scaling_of
from jvi.spec import LEARNED

__all__ = ["BayesianMLPRegressor"]


class BayesianMLPRegressor(RegressorMixin, BayesianMLP):
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
    >>> import numpy as np
    >>> import jvi
    >>> X, y = np.arange(10.0)[:, None], 2.0 * np.arange(10.0)
    >>> network = jvi.BayesianMLPRegressor(hidden=(), noise=1.0, epochs=100).fit(X, y)
    >>> mean, std = network.predict([[3.0], [20.0]], return_std=True)
    >>> mean[:1].round(), bool(std[0] < std[1])  # less sure where there are no data
    (array([6.]), True)
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
        """Fit the distribution of the weights.

        Parameters
        ----------
        X : array, shape (B, F)
            Features.
        y : array, shape (B,)
            Targets.

        Returns
        -------
        BayesianMLPRegressor
            Itself.

        Raises
        ------
        ValueError
            For data that are not finite numbers of these shapes, or impossible parameters.
        jvi.training.step.Diverged
            When the loss is no longer finite.

        Examples
        --------
        >>> import numpy as np
        >>> import jvi
        >>> X, y = np.arange(10.0)[:, None], 2.0 * np.arange(10.0)
        >>> network = jvi.BayesianMLPRegressor(hidden=(), noise=1.0, epochs=100).fit(X, y)
        >>> network.loss_curve_.shape  # a value for each epoch
        (100,)
        """
        X, y = validate_data(self, X, y, dtype=np.float64, y_numeric=True, ensure_min_samples=2)
        y = y.astype(np.float64)
        self.scaling_ = scaling_of(X, y, REGRESSION, keep_constant=True)
        if isinstance(self.noise, str) and self.noise != LEARNED:
            raise ValueError(f"noise must be a number or {LEARNED!r}, not {self.noise!r}")
        noise = self.noise if self.noise == LEARNED else self.noise / self.scaling_.target_scale
        return self._fit(X, y, REGRESSION, noise=noise)

    def predict(self, X: Any, return_std: bool = False) -> Any:
        """Means of the targets, and how sure they are.

        Parameters
        ----------
        X : array, shape (B, F)
            Features.
        return_std : bool
            Return standard deviations, too.

        Returns
        -------
        mean : numpy.ndarray, shape (B,)
        std : numpy.ndarray, shape (B,)
            With `return_std`: of a target, noise included; `predictive` has both parts, and
            intervals.

        Raises
        ------
        ValueError
            For data that do not fit.
        sklearn.exceptions.NotFittedError
            Before `fit`.

        Examples
        --------
        >>> import numpy as np
        >>> import jvi
        >>> X, y = np.arange(10.0)[:, None], 2.0 * np.arange(10.0)
        >>> network = jvi.BayesianMLPRegressor(hidden=(), noise=1.0, epochs=100).fit(X, y)
        >>> network.predict([[3.0], [4.0]]).round()
        array([6., 8.])
        """
        found = self.predictive(X)
        return (found.mean, found.std) if return_std else found.mean

    @property
    def noise_(self) -> float:
        """Standard deviation of the noise, in the unit of the target.

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
        >>> round(network.noise_, 6)  # given here, not learned
        1.0
        """
        return float(self.scaling_.deviation(self.model_.link.noise))

    def _numbers(self, y):
        return np.asarray(y, np.float64)

    def _named(self, drawn):
        return drawn
