"""A weighted sum of log-densities, whose gradient is nothing but the weights."""

import chainer
from chainer.backend import get_array_module

__all__ = ["weighted_sum"]


def weighted_sum(terms):
    """Sum of <weights, values> over pairs of an array and a Variable of its shape, a scalar."""
    weights, values = zip(*terms, strict=True)
    return _WeightedSum(weights).apply(values)[0]


class _WeightedSum(chainer.FunctionNode):
    """Its gradients cannot be differentiated again, which nothing here needs."""

    def __init__(self, weights):
        self.weights = weights

    def forward(self, values):
        pairs = zip(self.weights, values, strict=True)
        total = sum((weights * value).sum() for weights, value in pairs)
        return (get_array_module(total).asarray(total),)

    def backward(self, indexes, grad_outputs):
        return [chainer.as_variable(grad_outputs[0].array * self.weights[i]) for i in indexes]
