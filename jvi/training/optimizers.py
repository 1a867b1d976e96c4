"""Optimizers: Chainer's, with steps in one pass on the CPU and without the host on a GPU.

On a GPU their learning rate and step number are `optimizer.on_device`, arrays of shape (1,), so
that a recorded step follows a schedule.
"""

import chainer
from chainer.optimizer import GradientMethod, HyperparameterProxy, UpdateRule
from chainer.optimizers.adam import AdamRule
from chainer.optimizers.sgd import SGDRule
from chainer.optimizers.smorms3 import SMORMS3Rule

from jvi.functions.kernels import kernels_for
from jvi.spec import parse
from jvi.training.average import keep_average

__all__ = [
    "CLIP",
    "OPTIMIZERS",
    "learning_rate",
    "make_optimizer",
    "optimizer_for",
    "set_learning_rate",
]

# The original's: gradients are scaled down to this norm when they are longer.
CLIP = 4.0


def make_optimizer(name, lr):
    """The optimizer NAME[:key=value,…] of `OPTIMIZERS`, not yet set up for a model.

    Raises
    ------
    ValueError
        For an unknown name or option, listing the known, or a value that cannot be.
    """
    spec = parse(name, OPTIMIZERS, "optimizer")
    return OPTIMIZERS[spec.name](lr, **spec.options)


def optimizer_for(name, lr, link, clip=CLIP, average=0.0):
    """`make_optimizer`'s, set up for a link; gradients longer than `clip` are scaled down to it.

    `clip` is of the norm of all gradients together; with 0 they stay as they are. `average` is the
    decay of a moving average of the parameters, `jvi.training.average`; with 0 there is none.
    """
    optimizer = make_optimizer(name, lr)
    optimizer.setup(link)
    for parameter in link.params():  # so that snapshots have it from the start
        parameter.update_rule._init_states(parameter)
    if clip:
        optimizer.add_hook(chainer.optimizer_hooks.GradientClipping(clip))
    if average:
        keep_average(optimizer, average)
    return optimizer


def learning_rate(optimizer):
    """The learning rate as it was set, whatever the optimizer calls it."""
    return getattr(optimizer, _rate_of(optimizer))


def set_learning_rate(optimizer, rate):
    """Let the next updates have this learning rate, on a GPU, too."""
    setattr(optimizer, _rate_of(optimizer), rate)


def _rate_of(optimizer):
    return "alpha" if hasattr(optimizer, "alpha") else "lr"


class _SGDRule(SGDRule):
    def update_core_gpu(self, param):
        _, lr = self.optimizer.on_device
        param.array -= lr.astype(param.dtype) * param.grad


class _SMORMS3Rule(SMORMS3Rule):
    def update_core_gpu(self, param):
        _, lr = self.optimizer.on_device
        state, grad, eps = self.state, param.grad, self.hyperparam.eps
        xp = chainer.backend.get_array_module(grad)
        rate = 1 / (state["mem"] + 1)
        state["g"] += rate * (grad - state["g"])
        state["g2"] += rate * (grad * grad - state["g2"])
        x = state["g"] * state["g"] / (state["g2"] + eps)
        step = xp.minimum(lr.astype(grad.dtype), x) / (xp.sqrt(state["g2"]) + eps)
        param.array -= grad * step
        state["mem"] *= 1 - x
        state["mem"] += 1


class _AdamRule(AdamRule):
    """Without Adam's variants; its state and, up to rounding, its steps."""

    def update_core_cpu(self, param):
        if param.grad is None:
            return
        h, state = self.hyperparam, self.state
        adam = kernels_for(param.array).adam
        rates = 1 - h.beta1, 1 - h.beta2
        adam(param.array, param.grad, state["m"], state["v"], rates, self.alpha_t, h.eps)

    def update_core_gpu(self, param):
        h, state, (t, lr) = self.hyperparam, self.state, self.optimizer.on_device
        adam = kernels_for(param.array).adam
        rates = 1 - h.beta1, 1 - h.beta2
        adam(param.array, param.grad, state["m"], state["v"], rates, t, lr, h.eps)


class _AdamaxRule(UpdateRule):
    """Kingma & Ba (2015), algorithm 2, but for `eps`: m is divided by max(u, eps).

    So the steps are the paper's wherever u ≥ eps, and a parameter that has never had a gradient,
    where u = 0, stays as it is.
    """

    def init_state(self, param):
        zeros = param.device.xp.zeros_like
        self.state.update({name: zeros(param.array) for name in ("m", "u")})

    def update_core_cpu(self, param):
        if param.grad is None:
            return
        h, state = self.hyperparam, self.state
        step = h.lr / (1 - h.beta1**self.t)
        adamax = kernels_for(param.array).adamax
        adamax(param.array, param.grad, state["m"], state["u"], h.beta1, h.beta2, step, h.eps)

    def update_core_gpu(self, param):
        h, state, (t, lr) = self.hyperparam, self.state, self.optimizer.on_device
        xp = chainer.backend.get_array_module(param.grad)
        step = (lr / (1 - h.beta1**t)).astype(param.dtype)
        state["m"] += (1 - h.beta1) * (param.grad - state["m"])
        state["u"][...] = xp.maximum(h.beta2 * state["u"], xp.abs(param.grad))
        param.array -= step * state["m"] / xp.maximum(state["u"], h.eps)


class _AdamaxMethod(GradientMethod):
    lr = HyperparameterProxy("lr")

    def __init__(self, **hyperparameters):
        super().__init__()
        for name, value in hyperparameters.items():
            setattr(self.hyperparam, name, value)


def _with_rule(base, rule):
    """An optimizer class whose update rules are `rule`s that know their optimizer."""

    class Optimizer(base):
        on_device = None

        def create_update_rule(self):
            made = rule(self.hyperparam)
            made.optimizer = self
            return made

    Optimizer.__name__ = base.__name__
    return Optimizer


_SGD = _with_rule(chainer.optimizers.SGD, _SGDRule)
_SMORMS3 = _with_rule(chainer.optimizers.SMORMS3, _SMORMS3Rule)
_Adam = _with_rule(chainer.optimizers.Adam, _AdamRule)
_Adamax = _with_rule(_AdamaxMethod, _AdamaxRule)


def sgd(lr):
    """Plain gradient descent."""
    return _SGD(lr=lr)


def smorms3(lr, eps: float = 1e-16):
    """Squared mean over root mean squared cubed (Funk 2015)."""
    _check_positive("smorms3:eps", eps)
    return _SMORMS3(lr=lr, eps=eps)


def adam(lr, beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-8):
    """Kingma & Ba 2015; `eps` is added to the root of the second moment before its correction."""
    _check_adams("adam", beta1, beta2, eps)
    return _Adam(alpha=lr, beta1=beta1, beta2=beta2, eps=eps)


def adamax(lr, beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-8):
    """Kingma & Ba 2015, section 7.1, with the largest gradient; at least `eps` divides a step."""
    _check_adams("adamax", beta1, beta2, eps)
    return _Adamax(lr=lr, beta1=beta1, beta2=beta2, eps=eps)


def _check_adams(name, beta1, beta2, eps):
    for option, value in (("beta1", beta1), ("beta2", beta2)):
        if not 0 <= value < 1:
            raise ValueError(f"{name}:{option} must be at least 0 and below 1, not {value}")
    _check_positive(f"{name}:eps", eps)


def _check_positive(option, value):
    if value <= 0:
        raise ValueError(f"{option} must be positive, not {value}")


# Options are the annotated parameters.
OPTIMIZERS = {"sgd": sgd, "smorms3": smorms3, "adam": adam, "adamax": adamax}
