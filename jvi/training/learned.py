"""Options of an estimator that are learned beside the model: a link each, with its own loss."""

import chainer
import chainer.functions as F
from chainer.optimizers.sgd import SGDRule

from jvi.evidence.arrays import float64
from jvi.evidence.bounds import elbo, iwae
from jvi.models.layers import Affine, bias
from jvi.training.optimizers import optimizer_for

__all__ = ["Baseline", "Beta", "learner_for", "value_of"]

HIDDEN = 100  # units of the baseline's layer, as Mnih & Gregor (2014) have it


class Beta(chainer.Chain):
    """CIWAE's beta, the sigmoid of a number, which ascends the bound (M'Charrak et al. 2021)."""

    shown = True

    def __init__(self, num_inputs, rng):
        super().__init__()
        with self.init_scope():
            self.logit = bias(1, rng)

    def forward(self, x):
        """A Variable, shape (1,), in (0, 1)."""
        return F.sigmoid(self.logit)

    def loss(self, value, log_w, bound):
        """Minus the mean bound as a function of beta."""
        difference = elbo(log_w, check_finite=False) - iwae(log_w, check_finite=False)
        return F.sum(-difference.mean().astype(value.dtype) * value)


class Baseline(chainer.Chain):
    """c(x), a network's prediction of REINFORCE's d_k: NVIL's (Mnih & Gregor 2014).

    In nats, so that its level is far from where a network begins: that follows the mean of d_k at a
    rate of its own, the network (tanh) learns what depends on x.
    """

    shown = False
    rate = 0.1

    def __init__(self, num_inputs, rng):
        super().__init__()
        with self.init_scope():
            self.hidden = Affine(num_inputs, HIDDEN, rng)
            self.output = Affine(HIDDEN, 1, rng)
            self.level = bias(1, rng)

    def forward(self, x):
        """A Variable, shape (N,), in nats."""
        h = self.output(F.tanh(self.hidden(x.reshape(len(x), -1))))
        return F.reshape(h, (len(x),)) + F.broadcast_to(self.level, (len(x),))

    def loss(self, value, log_w, bound):
        """Half the mean squared error; d_k is the bound less v_k, whose mean is 1/K."""
        target = (bound - 1.0 / log_w.shape[0]).astype(value.dtype)
        return 0.5 * F.mean((value - target) ** 2)


class _LevelRule(SGDRule):
    """Steps that make the level a moving average of what it is to predict."""

    def update_core(self, param):
        param.array -= Baseline.rate * param.grad


LEARNED = {("ciwae", "beta"): Beta, ("reinforce", "baseline"): Baseline}


def learner_for(estimator, rows, rng, name, lr):
    """An optimizer whose target is a link of what an estimator learns, None where that is nothing.

    Called with x the link gives the option's value. Gradients are not clipped.

    Parameters
    ----------
    estimator : jvi.evidence.estimators.Estimator
    rows : array, shape (N, …)
        Of the data.
    rng : numpy.random.Generator
        Source of initial weights.
    name, lr
        As `jvi.training.optimizers.optimizer_for` has them.
    """
    if estimator.learned is None:
        return None
    link = LEARNED[estimator.spec.name, estimator.learned](rows[0].size, rng)
    optimizer = optimizer_for(name, lr, link, clip=0)
    if isinstance(link, Baseline):
        link.level.update_rule = _LevelRule()
    return optimizer


def value_of(learned, option, x):
    """(the Variable that an option is, {option: its value as an estimator takes it})."""
    if learned is None:
        return None, {}
    value = learned(x)
    return value, {option: float64(value.array)}
