"""Bayesian neural networks as estimators of scikit-learn.

A distribution over all weights is fitted instead of weights (Blundell et al. 2015), so predictions
say how sure they are, and a network has an evidence that networks can be chosen by.
"""

from jvi.bayesian.classifier import BayesianMLPClassifier
from jvi.bayesian.network import LogEvidence
from jvi.bayesian.regressor import BayesianMLPRegressor

__all__ = ["BayesianMLPClassifier", "BayesianMLPRegressor", "LogEvidence"]
