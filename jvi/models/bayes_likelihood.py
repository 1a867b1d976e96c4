"""log p(y|features, weights) of all rows, with its derivative computed in the same pass.

A row's log-likelihood is a number per draw of the weights, so its derivative by them can be had
before anyone asks for it: activations of one piece of the rows are all that is ever kept, and
memory does not grow with the data. Sums over rows are float64.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import chainer
import numpy as np
from chainer.backend import get_array_module

from jvi.engine.threads import parallel_map
from jvi.functions.kernels import weight_kernels_for
from jvi.models.bayes_fresh import FRESH
from jvi.models.bayes_layers import Activation, Layout, backward, forward, pieces
from jvi.models.bayes_targets import Task
from jvi.models.weight_priors import WeightPrior

__all__ = ["Network", "fresh_log_likelihood", "log_joint", "log_likelihood_rows", "outputs"]


class Network(NamedTuple):
    """A perceptron without weights, and what its outputs are about."""

    layout: Layout
    activation: Activation
    task: Task
    device: Any  # Chainer's


def log_joint(network: Network, x: Any, z: Any, ln_sigma: Any, prior: WeightPrior) -> Any:
    """Σ over rows of log p(y|features, z), and log p(z): Variables (K, 1), float64, in nats.

    Parameters
    ----------
    network : Network
    x : array, shape (B, F + 1)
        The targets are the last column.
    z : array or Variable, shape (K, 1, P)
        Draws of the weights.
    ln_sigma : array or Variable, shape (1,)
        Logarithm of the noise's standard deviation, for regression.
    prior : jvi.models.weight_priors.WeightPrior
    """
    return _LogJoint(network, x, prior).apply((z, ln_sigma))


def fresh_log_likelihood(network: Network, x: Any, z: tuple, ln_sigma: Any, way: str) -> Any:
    """log p(y|features, z) with weights drawn afresh for every row, in one of the ways of `FRESH`.

    Parameters
    ----------
    z : tuple of Variable
        Means and deviations, (K, 1, P), and the noise, (K, 1, …), as `FRESH` has them.
    """
    return _FreshLogLikelihood(network, x, FRESH[way]).apply((*z, ln_sigma))[0]


def log_likelihood_rows(network: Network, x: Any, z: Any, ln_sigma: Any) -> Any:
    """log p(y|features, z) of each row: array, shape (K, B), float64."""

    def of_piece(samples, rows):
        f = _forward(network, x[rows, :-1], z[samples, 0])
        return network.task.density(f, x[rows, -1], ln_sigma).values

    xp = get_array_module(z)
    return _filled(xp.empty((len(z), len(x))), network, of_piece)


def outputs(network: Network, features: Any, z: Any) -> Any:
    """Outputs for each draw and row: array, shape (K, B, O), of the precision of z."""
    xp, shape = get_array_module(z), (len(z), len(features), network.layout.sizes[-1])
    return _filled(
        xp.empty(shape, z.dtype),
        network,
        lambda samples, rows: _forward(network, features[rows], z[samples, 0]),
    )


def _forward(network, features, flat):
    return forward(network.layout, flat, features, network.activation)[-1]


def _filled(out, network, function):
    """`out`, (K, B, …), with the values of a function of (samples, rows) for each piece."""
    work = pieces(network.layout, *out.shape[:2])
    for place, values in zip(work, _each(network, function, work), strict=True):
        out[place] = values
    return out


def _each(network, function: Callable, work):
    """`function` of each piece, in order, on all cores where there are several."""

    def quietly(piece):
        with np.errstate(over="ignore", invalid="ignore"):  # not inherited by threads
            return function(*piece)

    return parallel_map(quietly, work, network.device) if len(work) > 1 else map(quietly, work)


class _Sums:
    """Values of each sample, (K, 1), and derivatives, added up over pieces in their order."""

    def __init__(self, num_samples, xp):
        self.values, self.gradients, self.xp = xp.zeros((num_samples, 1)), None, xp

    def add(self, samples, values, gradients):
        self.values[samples] += values
        if self.gradients is None:
            shapes = [(len(self.values), *each.shape[1:]) for each in gradients]
            self.gradients = [
                self.xp.zeros(shape, each.dtype)
                for shape, each in zip(shapes, gradients, strict=True)
            ]
        for total, part in zip(self.gradients, gradients, strict=True):
            total[samples] += part


class _LogJoint(chainer.FunctionNode):
    """Its gradients cannot be differentiated again, which nothing here needs."""

    def __init__(self, network, x, prior):
        self.network, self.x, self.prior = network, x, prior

    def forward(self, inputs):
        z, ln_sigma = inputs
        xp, work = get_array_module(z), pieces(self.network.layout, len(z), len(self.x))
        values, by_noise = xp.zeros((len(z), 1)), xp.zeros((len(z), 1))
        training = chainer.config.enable_backprop
        by_weights = xp.empty(z.shape, z.dtype) if training else None

        def of_piece(samples, rows):
            room = None
            if training:  # the first rows' place is that of the sum
                room = xp.empty_like(z[samples, 0]) if rows.start else by_weights[samples, 0]
            return self._piece(z[samples, 0], self.x[rows], ln_sigma, room)

        for (samples, rows), found in zip(work, _each(self.network, of_piece, work), strict=True):
            values[samples] += found[0]
            by_noise[samples] += found[1]
            if training and rows.start:
                by_weights[samples, 0] += found[2]
        log_pz, self.slope = self.prior.evaluate(z, training)
        self.gradients, self.dtype = (by_weights, by_noise), ln_sigma.dtype
        return values, log_pz

    def _piece(self, flat, x, ln_sigma, room):
        """Values and derivatives by ln_sigma, (K, 1); those by the weights, (K, P), are `room`."""
        network = self.network
        kept = forward(network.layout, flat, x[:, :-1], network.activation)
        density = network.task.density(kept[-1], x[:, -1], ln_sigma)
        if room is not None:
            backward(network.layout, flat, kept, density.by_output, network.activation, room)
        by_noise = 0.0 if density.by_ln_sigma is None else _sum(density.by_ln_sigma)
        return _sum(density.values), by_noise, room

    def backward(self, indexes, grad_outputs):
        (by_weights, by_noise), (factor, direction) = self.gradients, self.slope
        zeros = get_array_module(by_noise).zeros_like(by_noise)
        g, g_prior = (zeros if each is None else each.array for each in grad_outputs)
        found = []
        for index in indexes:
            if index == 0:
                kernel = weight_kernels_for(by_weights).weighted_pair
                found.append(kernel(g, by_weights, factor * g_prior, direction))
            else:
                found.append((g * by_noise).sum(axis=0).astype(self.dtype))
        return [chainer.as_variable(each) for each in found]


class _FreshLogLikelihood(chainer.FunctionNode):
    def __init__(self, network, x, way):
        self.network, self.x, self.way = network, x, way

    def forward(self, inputs):
        mean, deviation, noise, ln_sigma = inputs
        network, num_rows = self.network, len(self.x)
        noise = noise.reshape(len(noise), num_rows, -1)
        work = pieces(network.layout, len(mean), num_rows)

        def of_piece(samples, rows):
            flats = mean[samples, 0], deviation[samples, 0]
            return self._piece(*flats, noise[samples, rows], self.x[rows], ln_sigma)

        sums = _Sums(len(mean), get_array_module(mean))
        for (samples, _), found in zip(work, _each(network, of_piece, work), strict=True):
            sums.add(samples, *found)
        self.gradients, self.dtypes = sums.gradients, [each.dtype for each in inputs]
        return (sums.values,)

    def _piece(self, mean, deviation, noise, x, ln_sigma):
        network, way = self.network, self.way
        about = network.layout, mean, deviation, noise
        kept = way.forward(*about, x[:, :-1], network.activation)
        density = network.task.density(kept[-1].out, x[:, -1], ln_sigma)
        both = way.backward(*about, kept, density.by_output, network.activation)
        gradients = [each[:, None] for each in both]
        if density.by_ln_sigma is not None:
            gradients.append(_sum(density.by_ln_sigma))
        return _sum(density.values), gradients

    def backward(self, indexes, grad_outputs):
        by_mean, by_deviation, *by_noise = self.gradients
        gradients = by_mean, by_deviation, None, *by_noise
        return _weighted(gradients, self.dtypes, grad_outputs[0].array, indexes)


def _sum(values):
    """Over rows: (K, 1), float64."""
    return values.sum(axis=-1, keepdims=True, dtype=np.float64)


def _weighted(gradients, dtypes, g, indexes):
    """Of (K, …) derivatives of each sample's value, with weights g, (K, 1), those of the inputs.

    That by ln_sigma, which all samples share, is summed over them.
    """
    found = []
    for index in indexes:
        each = gradients[index] if index < len(gradients) else None
        if each is not None and each.ndim == 2:
            each = (g * each).sum(axis=0).astype(dtypes[index])
        elif each is not None:
            each = g.astype(dtypes[index])[:, :, None] * each
        found.append(None if each is None else chainer.as_variable(each))
    return found
