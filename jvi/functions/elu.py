"""The exponential linear unit."""

import chainer

from jvi.functions.kernels import convolution_kernels_for

__all__ = ["elu"]


def elu(x):
    """x where it is positive, e^x - 1 elsewhere, of an array or Variable of any shape.

    Clevert, Unterthiner & Hochreiter 2016, with α = 1. Only the output is kept for the derivative.
    """
    return _ELU().apply((x,))[0]


class _ELU(chainer.FunctionNode):
    """Its gradients cannot be differentiated again, which nothing here needs."""

    def forward(self, inputs):
        self.retain_outputs((0,))
        return (convolution_kernels_for(inputs[0]).elu(inputs[0]),)

    def backward(self, indexes, grad_outputs):
        y = self.get_retained_outputs()[0].array
        g = convolution_kernels_for(y).elu_backward(grad_outputs[0].array, y)
        return (chainer.as_variable(g),)
