"""A Bayesian network of classes."""

from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import validate_data

from jvi.bayesian.network import BayesianMLP
from jvi.datasets.tabular import BINARY, CLASSIFICATION, scaling_of

__all__ = ["BayesianMLPClassifier"]


class BayesianMLPClassifier(ClassifierMixin, BayesianMLP):
    """Classification by a perceptron whose weights are uncertain: logistic, or softmax from three.

    With hidden=() it is Bayesian logistic regression.

    Parameters
    ----------
    hidden : int or sequence of int
        Units of each hidden layer.
    activation : str
        "relu" or "tanh".
    prior : str
        Of the weights, as for `BayesianMLPRegressor`.
    prior_scale : float
        For standardised features.
    estimator : str
        Of the gradient, NAME[:key=value,…] of `jvi.estimator`.
    num_samples : int
        K, draws of the weights in a step.
    epochs, batch_size : int
        Passes over the rows, and rows of a step.
    learning_rate : float
        Adam's at first; it falls in a line to a hundredth.
    kl_weighting, perturbation : str
        As for `BayesianMLPRegressor`.
    num_predictions : int
        S, draws of the weights that predictions are averaged over.
    seed : int
        Of everything random: the same seed gives the same numbers.

    Attributes
    ----------
    classes_ : numpy.ndarray, shape (C,)
        Of the target, in order.
    model_, scaling_, loss_curve_, spec_, parameters_
        As of `BayesianMLPRegressor`.

    Examples
    --------
    >>> import numpy as np
    >>> import jvi
    >>> X = np.arange(10.0)[:, None]
    >>> network = jvi.BayesianMLPClassifier(hidden=(), epochs=100).fit(X, X[:, 0] > 4)
    >>> network.predict([[0.0], [9.0]])
    array([False,  True])
    """

    def fit(self, X: Any, y: Any) -> "BayesianMLPClassifier":
        """Fit the distribution of the weights.

        Parameters
        ----------
        X : array, shape (B, F)
            Features.
        y : array, shape (B,)
            Classes, of any type.

        Returns
        -------
        BayesianMLPClassifier
            Itself.

        Raises
        ------
        ValueError
            For data that are not finite numbers of these shapes, a single class, or impossible
            parameters.
        jvi.training.step.Diverged
            When the loss is no longer finite.

        Examples
        --------
        >>> import numpy as np
        >>> import jvi
        >>> X = np.arange(10.0)[:, None]
        >>> network = jvi.BayesianMLPClassifier(hidden=(), epochs=100).fit(X, X[:, 0] > 4)
        >>> network.classes_
        array([False,  True])
        """
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
        """The most probable class of each row.

        Parameters
        ----------
        X : array, shape (B, F)
            Features.

        Returns
        -------
        numpy.ndarray, shape (B,)
            Of `classes_`.

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
        >>> X = np.arange(10.0)[:, None]
        >>> network = jvi.BayesianMLPClassifier(hidden=(), epochs=100).fit(X, X[:, 0] > 4)
        >>> network.predict([[0.0], [9.0]])
        array([False,  True])
        """
        numbers = self.predict_proba(X).argmax(axis=1)
        return self.classes_[numbers]

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities of `classes_`, averaged over draws of the weights.

        Parameters
        ----------
        X : array, shape (B, F)
            Features.

        Returns
        -------
        numpy.ndarray, shape (B, C)

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
        >>> X = np.arange(10.0)[:, None]
        >>> network = jvi.BayesianMLPClassifier(hidden=(), epochs=100).fit(X, X[:, 0] > 4)
        >>> network.predict_proba(X).sum(axis=1).round(6)
        array([1., 1., 1., 1., 1., 1., 1., 1., 1., 1.])
        """
        return self.predictive(X).probabilities

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Logarithms of `predict_proba`.

        Parameters
        ----------
        X : array, shape (B, F)
            Features.

        Returns
        -------
        numpy.ndarray, shape (B, C)
            In nats.

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
        >>> X = np.arange(10.0)[:, None]
        >>> network = jvi.BayesianMLPClassifier(hidden=(), epochs=100).fit(X, X[:, 0] > 4)
        >>> bool((network.predict_log_proba(X) <= 0).all())
        True
        """
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
