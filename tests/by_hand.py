"""Models small enough to derive by hand, in NumPy, for the losses of other frameworks."""

import itertools
import math
from pathlib import Path

import numpy as np

from jvi.evidence.estimators import ESTIMATORS, estimator

PAGE = Path(__file__).resolve().parent.parent / "docs" / "other-frameworks.md"
LOG_W = np.random.default_rng(3).normal(-80, 2, size=(6, 5))
FEW_ROWS = {"ovis-mc": "ovis-mc:aux=2"}  # what its default asks for is more than tests have
NAMES = [FEW_ROWS.get(name, name) for name in ESTIMATORS] + ["jvi:order=2", "jvi-clip:order=2"]
ALONE = ["elbo", "iwae", "jvi", "miwae", "ciwae", "renyi", "jvi:order=2"]  # log_w says all of it
NOT_ALONE = [name for name in NAMES if name not in ALONE]


def parts_of(name):
    """The parts that an estimator weighs."""
    weights = estimator(name)(LOG_W)
    return [part for part in ("model", "path", "score") if getattr(weights, part) is not None]


def central_differences(function, at, step=1e-5):
    """The gradient at a NumPy array of a function of it."""
    out = np.empty_like(at)
    for index in np.ndindex(at.shape):
        up, down = at.copy(), at.copy()
        up[index] += step
        down[index] -= step
        out[index] = (function(up) - function(down)) / (2 * step)
    return out


def source(language):
    """The runnable block of docs/other-frameworks.md that imports `language`."""
    blocks = [each.split("```")[0] for each in PAGE.read_text().split("```python\n")[1:]]
    (block,) = [each for each in blocks if f"import {language}" in each]
    return block


class Gaussian:
    """p(z) = N(0, 1), p(x|z) = N(theta z, 1), q(z|x) = N(phi x, 1); z = phi x + noise."""

    theta, phi = 0.7, -0.4
    x = np.array([0.3, -1.2, 2.0])
    noise = np.random.default_rng(5).normal(size=(4, 3))

    @staticmethod
    def log_joint(x, z, theta):
        return -0.5 * (x - theta * z) ** 2 - 0.5 * z**2 - math.log(2 * math.pi)

    @staticmethod
    def log_q(x, z, phi):
        return -0.5 * (z - phi * x) ** 2 - 0.5 * math.log(2 * math.pi)

    @classmethod
    def by_hand(cls, name):
        """The loss and its derivatives by theta and phi, route by route."""
        x, z = cls.x, cls.phi * cls.x + cls.noise
        log_w = cls.log_joint(x, z, cls.theta) - cls.log_q(x, z, cls.phi)
        bound, (model, path, score) = estimator(name).with_bound(log_w)
        by_theta = model * (x - cls.theta * z) * z
        by_phi = np.zeros(3)  # where no route is used, as asleep
        if path is not None:
            along_z = (x - cls.theta * z) * cls.theta - z + (z - cls.phi * x)
            by_phi = by_phi + path * along_z * x
        if score is not None:
            by_phi = by_phi + score * (z - cls.phi * x) * x
        return -bound.mean(), -by_theta.sum() / len(x), -by_phi.sum() / len(x)

    @classmethod
    def parts(cls, name, theta, phi, x, noise, detach):
        """log_w and the parts that the estimator weighs, as a user would write them."""
        z = phi * x + noise
        fixed = detach(z)
        parts = {
            "model": cls.log_joint(x, fixed, theta),
            "path": cls.log_joint(x, z, detach(theta)) - cls.log_q(x, z, detach(phi)),
            "score": cls.log_q(x, fixed, phi),
        }
        log_w = cls.log_joint(x, z, theta) - cls.log_q(x, z, phi)
        return log_w, {part: parts[part] for part in parts_of(name)}


class Bernoulli:
    """Two bits: p(z) uniform, p(x|z) = N(theta·z, 1), q(z_d = 1) = 1 / (1 + exp(-phi_d))."""

    x, theta, phi = 0.8, np.array([1.5, -0.6]), np.array([0.4, -0.9])
    states = np.array(list(itertools.product([0.0, 1.0], repeat=2)))
    pairs = tuple(itertools.product(range(4), repeat=2))  # K = 2 draws

    @classmethod
    def log_joint(cls, z, theta):
        return -0.5 * (cls.x - (z * theta).sum(-1)) ** 2 - math.log(4)

    @staticmethod
    def log_q(z, phi, log):
        """`log` is the logarithm of the framework that phi belongs to."""
        on = 1 / (1 + math.e**-phi)
        return (z * log(on) + (1 - z) * log(1 - on)).sum(-1)

    @classmethod
    def probability(cls, pair):
        """Of drawing these two states from q."""
        return math.exp(cls.log_q(cls.states[list(pair)], cls.phi, np.log).sum())

    @classmethod
    def expected_iwae(cls, theta, phi):
        """By enumeration of both draws."""
        log_q = cls.log_q(cls.states, phi, np.log)
        w, q = np.exp(cls.log_joint(cls.states, theta) - log_q), np.exp(log_q)
        return sum(q[i] * q[j] * math.log((w[i] + w[j]) / 2) for i, j in cls.pairs)
