"""Bayesian neural networks: a distribution over all weights of a perceptron (Blundell et al. 2015).

A data set is one data point: z is the vector of all weights, log p(x|z) the log-likelihood of all
rows of x, and log p(x) the evidence of the network.
"""

import math
import re
from typing import Any

import chainer
import chainer.functions as F
import numpy as np

from jvi.functions import softplus_gaussian as softplus
from jvi.models.bayes_fresh import FRESH
from jvi.models.bayes_layers import ACTIVATIONS, Layout
from jvi.models.bayes_likelihood import (
    Network,
    fresh_log_likelihood,
    log_joint,
    log_likelihood_rows,
    outputs,
)
from jvi.models.bayes_targets import TASKS
from jvi.models.layers import bias, check_real
from jvi.models.weight_priors import SCALES, mixture_prior, normal_prior
from jvi.spec import LEARNED, Learnable, Spec

__all__ = ["BayesMLP", "hidden_sizes"]

SHARED = "shared"
KNOWN = {
    "task": tuple(TASKS),
    "activation": tuple(ACTIVATIONS),
    "prior": ("normal", "mixture"),
    "perturbation": (SHARED, *FRESH),
}

# Options that matter for one value of another; a spec leaves them out elsewhere.
ONLY = {
    "classes": ("task", "classification"),
    "noise": ("task", "regression"),
    "prior_scale": ("prior", "normal"),
    **dict.fromkeys(("pi", "sigma1", "sigma2"), ("prior", "mixture")),
}
NUMBERS = {"noise", "prior_scale", "pi", "sigma1", "sigma2"}

LINEAR = "none"  # for no hidden layers
MOST_LAYERS, MOST_UNITS, MOST_WEIGHTS = 8, 2**16, 2**27

# Initial standard deviations, times the root of a unit's inputs.
INITIAL_SCALE = 0.1


class BayesMLP(chainer.Link):
    """A perceptron whose weights and biases, z, have a prior and a Gaussian posterior q.

    x is an array (B, F + 1) of B rows: features and, in the last column, the target: a real number,
    the number of a class, or 0 or 1. `num_points` is 1 whatever B is; z has shape (K, 1, P), and
    log-densities (K, 1) in float64: sums over rows and weights are too long for float32.

    q(z) = N(mu, log(1 + e^rho)²), diagonal. Initial means are He's (relu) or LeCun's (tanh,
    outputs), those of biases 0, and standard deviations 0.1 / √inputs, so that a unit's sum has
    noise of a tenth of its scale.

    Parameters
    ----------
    num_columns : int
        F + 1.
    hidden : str
        Units of each hidden layer: "50", "400x400"; "none" for linear or logistic regression.
    task : str
        "regression" with Gaussian noise, "classification" (softmax) or "binary" (logistic).
    classes : int
        Of classification.
    activation : str
        "relu" or "tanh".
    prior : str
        "normal", N(0, prior_scale²), or "mixture", pi N(0, sigma1²) + (1 - pi) N(0, sigma2²).
    prior_scale, pi, sigma1, sigma2 : float
        Of the prior that is chosen.
    noise : float or "learned"
        Standard deviation of a regression's noise, in the unit of the target; learned, it is a
        parameter, `ln_sigma`, that begins at 1 and of which training finds one value.
    perturbation : str
        "shared": one draw of the weights for all rows, as every bound needs. "local" and "flipout"
        (`jvi.models.bayes_fresh`) draw them afresh for every row, for less noise in the gradient of
        the ELBO, and of no other bound. Without backpropagation all rows share a draw.
    rng : numpy.random.Generator, optional
        Source of the initial means; without it all is left unset, for a file to fill.

    Attributes
    ----------
    layout : jvi.models.bayes_layers.Layout
        Which weights belong to which layer.
    num_latent : int
        P.
    fresh : bool
        Whether rows have weights of their own while training: only "elbo" is right then.
    kl : callable
        Of q: its divergence from the prior in closed form; absent with prior=mixture.
    """

    reparameterised = True

    def __init__(
        self,
        num_columns,
        hidden: str = "50",
        task: str = "regression",
        classes: int = 2,
        activation: str = "relu",
        prior: str = "normal",
        prior_scale: float = 1.0,
        pi: float = 0.5,
        sigma1: float = 1.0,
        sigma2: float = 0.0025,
        noise: Learnable = LEARNED,
        perturbation: str = SHARED,
        rng=None,
    ):
        super().__init__()
        given = {"columns": num_columns, "hidden": hidden, "task": task, "classes": classes}
        given |= {"activation": activation, "prior": prior, "prior_scale": prior_scale, "pi": pi}
        given |= {"sigma1": sigma1, "sigma2": sigma2, "noise": noise, "perturbation": perturbation}
        self.spec = Spec("bayes-mlp", _options(given))
        self.layout, self.prior = _layout(self.spec.options), _prior(self.spec.options)
        self.num_latent, self.fresh = self.layout.num_weights, perturbation != SHARED
        if self.prior.kl is not None:
            self.kl = _divergence(self.prior)
        with self.init_scope():
            self.mu, self.rho = bias(self.num_latent, rng), bias(self.num_latent, rng)
            if self.spec.options.get("noise") == LEARNED:
                self.ln_sigma = bias(1, rng)
        if rng is not None:
            self._initialise(rng)

    def _initialise(self, rng):
        mean = rng.standard_normal(self.num_latent, dtype=np.float32)
        fan_in, layers = self.layout.fan_in(mean), list(self.layout.layers(mean))
        gain = ACTIVATIONS[self.spec.options["activation"]].gain
        for number, (weights, biases) in enumerate(layers):
            scale = gain if number < len(layers) - 1 else 1.0
            weights *= math.sqrt(scale / max(1, weights.shape[0]))
            biases[...] = 0
        self.mu.array = mean
        self.rho.array = softplus.inverse_softplus(INITIAL_SCALE / np.sqrt(fan_in))

    @property
    def network(self) -> Network:
        """What the functions of `jvi.models.bayes_likelihood` take."""
        options = self.spec.options
        kinds = ACTIVATIONS[options["activation"]], TASKS[options["task"]]
        return Network(self.layout, *kinds, self.device)

    @property
    def noise(self) -> float | None:
        """Standard deviation of a regression's noise as it is now; None for other tasks."""
        if self.spec.options["task"] != "regression":
            return None
        return math.exp(float(chainer.as_variable(self._ln_sigma(self.mu)).array[0]))

    def num_points(self, x):
        return 1

    def check(self, x):
        x = check_real(x, self.spec.options["columns"], self.xp)
        task, classes = TASKS[self.spec.options["task"]], self.layout.sizes[-1]
        good = task.allowed(x[:, -1], classes)
        if not bool(good.all()):
            row = int(good.argmin())
            raise ValueError(
                f"row {row} has the target {float(x[row, -1]):g}, but those of "
                f"{self.spec.options['task']} are {task.what.format(classes - 1)}"
            )
        return x

    def infer(self, x):
        """Mean and ln_sigma, (1, P) each; and, for fresh weights, an empty array (1, B, 0)."""
        q = F.expand_dims(self.mu, 0), softplus.log_scale(F.expand_dims(self.rho, 0))
        return (*q, self.xp.empty((1, len(x), 0), self.mu.dtype)) if self.fresh else q

    def draw(self, q, source, num_samples):
        mean, ln_sigma, *rows = q
        if rows and chainer.config.enable_backprop:
            return self._draw_fresh(q, source, num_samples)
        eps = source.normal((num_samples, *mean.shape))
        return softplus.draw(mean, ln_sigma, eps)

    def _draw_fresh(self, q, source, num_samples):
        """z as `FRESH` has it. Where it is known, log q(z) - log p(z) is its mean, the divergence.

        "flipout" has a draw of the weights besides, its signs left out, to sample the rest by.
        """
        mean, ln_sigma, rows = q
        name = self.spec.options["perturbation"]
        shape = num_samples, *mean.shape
        means = F.broadcast_to(F.expand_dims(mean, 0), shape)
        if name == "local":
            deviations = F.broadcast_to(F.expand_dims(F.exp(ln_sigma), 0), shape)
        else:
            eps = source.normal(shape)
            deviations, log_q = softplus.draw(self.xp.zeros_like(mean.array), ln_sigma, eps)
        way = FRESH[name]
        numbers = source.normal((num_samples, 1, rows.shape[1] * way.numbers(self.layout)))
        z = means, deviations, chainer.as_variable(way.noise(numbers))
        if self.prior.kl is None:
            return z, log_q
        return z, F.broadcast_to(F.expand_dims(self.kl(q), 0), (num_samples, 1))

    def log_joint(self, x, z):
        if not isinstance(z, tuple):
            return log_joint(self.network, x, z, self._ln_sigma(z), self.prior)
        name = self.spec.options["perturbation"]
        log_px = fresh_log_likelihood(self.network, x, z, self._ln_sigma(z[0]), name)
        if self.prior.kl is None:
            return log_px, self.prior.log_density(z[0] + z[1])
        return log_px, chainer.as_variable(self.xp.zeros(log_px.shape))

    def _ln_sigma(self, like):
        """Logarithm of the noise: the parameter, or an array (1,), zero where there is none."""
        if hasattr(self, "ln_sigma"):
            return self.ln_sigma
        noise = self.spec.options.get("noise", 1.0)
        return self.xp.full(1, math.log(noise), like.dtype)

    def log_q(self, q, z):
        return softplus.log_density(z, *q[:2])

    def draw_prior(self, source, num_samples, num_points):
        return self.prior.draw(source, (num_samples, num_points, self.num_latent))

    def typical(self, q):
        """z = mu, (1, 1, P)."""
        return F.expand_dims(chainer.as_variable(q[0]), 0)

    def log_likelihood_rows(self, x, z):
        """log p(target|features, z) of each row of x, for each draw: array, (K, B), float64."""
        z = _array(z)
        return log_likelihood_rows(self.network, x, z, _array(self._ln_sigma(z)))

    def outputs(self, features, z):
        """What the last layer gives for features, (B, F): array, (K, B, O)."""
        return outputs(self.network, features, _array(z))

    def means(self, features, z):
        """E[target|features, z], (K, B, 1); of classification all probabilities, (K, B, C)."""
        return self.network.task.mean(self.outputs(features, z))

    def draw_targets(self, features, z, source):
        """A target for each draw and row, from p(target|features, z): array, (K, B)."""
        z = _array(z)
        return self.network.task.draw(self.outputs(features, z), source, _array(self._ln_sigma(z)))

    def posterior(self) -> tuple[Any, Any]:
        """(means, standard deviations) of q, arrays (P,); `layout.layers` sorts them by layer."""
        return self.mu.array, softplus.softplus(self.rho.array)


def hidden_sizes(text: Any) -> tuple[int, ...]:
    """Units of each hidden layer that "400x400" says; () for "none" or nothing.

    Raises
    ------
    ValueError
        For anything else, or more than is sensible.
    """
    text = str(text)
    if text in ("", LINEAR):
        return ()
    if not re.fullmatch(r"[0-9]{1,6}(x[0-9]{1,6})*", text):
        raise ValueError(f"bayes-mlp:hidden must be as 50, 400x400 or none, not {text[:50]!a}")
    sizes = tuple(int(part) for part in text.split("x"))
    if len(sizes) > MOST_LAYERS or not all(1 <= size <= MOST_UNITS for size in sizes):
        raise ValueError(
            f"bayes-mlp:hidden must be at most {MOST_LAYERS} layers of 1 to {MOST_UNITS} units, "
            f"not {text[:50]}"
        )
    return sizes


def _options(given):
    """Those that matter, of their types; ValueError for what cannot be."""
    for name, known in KNOWN.items():
        if given[name] not in known:
            choice = ", ".join(known)
            raise ValueError(f"bayes-mlp:{name} must be one of {choice}, not {given[name]!a}")
    options = {
        name: value
        for name, value in given.items()
        if name not in ONLY or given[ONLY[name][0]] == ONLY[name][1]
    }
    options["hidden"] = "x".join(map(str, hidden_sizes(given["hidden"]))) or LINEAR
    for name in NUMBERS & options.keys():
        options[name] = options[name] if options[name] == LEARNED else float(options[name])
    if options.get("classes", 2) < 2:
        raise ValueError("bayes-mlp:classes must be at least 2")
    noise = options.get("noise", LEARNED)
    if noise != LEARNED and not SCALES[0] <= noise <= SCALES[1]:
        raise ValueError(f"bayes-mlp:noise must be from {SCALES[0]:g} to {SCALES[1]:g}, or learned")
    if options["perturbation"] == "local" and options["prior"] == "mixture":
        raise ValueError(
            "bayes-mlp:perturbation=local makes no weights to sample the divergence from "
            "prior=mixture by: choose flipout, or prior=normal, whose divergence is known"
        )
    return options


def _layout(options):
    outputs = options.get("classes", 1)
    layout = Layout((options["columns"] - 1, *hidden_sizes(options["hidden"]), outputs))
    if layout.num_weights > MOST_WEIGHTS:
        raise ValueError(
            f"bayes-mlp of {options['columns']} columns and hidden={options['hidden']} has "
            f"{layout.num_weights} weights, at most {MOST_WEIGHTS} can be"
        )
    return layout


def _prior(options):
    try:
        if options["prior"] == "normal":
            return normal_prior(options["prior_scale"])
        return mixture_prior(*(options[name] for name in ("pi", "sigma1", "sigma2")))
    except ValueError as error:
        raise ValueError(f"bayes-mlp:{error}") from None


def _divergence(prior):
    return lambda q: prior.kl(chainer.as_variable(q[0]), chainer.as_variable(q[1]))


def _array(each):
    return chainer.as_variable(each).array
