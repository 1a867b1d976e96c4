"""Convolution of images whose channels come last."""

import chainer

from jvi.functions.kernels import convolution_kernels_for

__all__ = ["convolve"]


def convolve(x, W, b=None, stride=1):
    """Cross-correlation of images with kernels, zeros around them, as networks call convolution.

    Output (n, i, j) is b + Σ_uv x[n, s i + u - k // 2, s j + v - k // 2] W[u, v], s the stride.

    Parameters
    ----------
    x : Variable or array, shape (N, H, W, C)
    W : Variable or array, shape (k, k, C, O), k odd
    b : Variable or array, shape (O,), optional
    stride : int

    Returns
    -------
    Variable, shape (N, ⌈H / stride⌉, ⌈W / stride⌉, O)

    Raises
    ------
    ValueError
        Where shapes or precisions do not fit.
    """
    inputs = (x, W) if b is None else (x, W, b)
    _check(stride, *(each.shape for each in inputs))
    if len({each.dtype for each in inputs}) > 1:
        raise ValueError("convolve takes images, kernels and biases of one precision")
    return _Convolution(stride).apply(inputs)[0]


def _check(stride, x, W, *b):
    if len(x) != 4 or len(W) != 4 or W[0] != W[1] or W[0] % 2 == 0 or 0 in x[1:] + W:
        raise ValueError(
            f"convolve takes images (N, H, W, C) and kernels (k, k, C, O), k odd, not {x} and {W}"
        )
    if x[3] != W[2] or any(each != W[3:] for each in b):
        raise ValueError(f"convolve: images {x}, kernels {W} and biases {b} do not fit")
    if stride != int(stride) or stride < 1:
        raise ValueError(f"convolve: a stride is a whole number, 1 or more, not {stride}")


class _Convolution(chainer.FunctionNode):
    """Its gradients cannot be differentiated again, which nothing here needs."""

    def __init__(self, stride):
        self.stride = stride

    def forward(self, inputs):
        x, W, *b = inputs
        self.retain_inputs((0, 1))
        return (convolution_kernels_for(x).convolve(x, W, b[0] if b else None, self.stride),)

    def backward(self, indexes, grad_outputs):
        (x, W), g = (each.array for each in self.get_retained_inputs()), grad_outputs[0].array
        kernels = convolution_kernels_for(x)
        by = {
            0: lambda: kernels.by_input(g, W, self.stride, x.shape),
            1: lambda: kernels.by_weights(x, g, self.stride, len(W)),
            2: lambda: g.reshape(-1, g.shape[-1]).sum(axis=0),
        }
        return tuple(chainer.as_variable(by[index]()) for index in indexes)
