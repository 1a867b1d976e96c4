"""Optimizers: Chainer's, with steps in one pass on the CPU and without the host on a GPU.

On a GPU their learning rate and step number are `optimizer.on_device`, arrays of shape (1,), so
that a recorded step follows a schedule.
"""

import chainer
from chainer.optimizers.adam import AdamRule
from chainer.optimizers.sgd import SGDRule
from chainer.optimizers.smorms3 import SMORMS3Rule

from jvi.functions.kernels import kernels_for

__all__ = ["CLIP", "OPTIMIZERS", "learning_rate", "optimizer_for"]

# The original's: gradients are scaled down to this norm when they are longer.
CLIP = 4.0


def optimizer_for(name, lr, model):
    """The optimizer of a name, set up for a model, with the original's clipping of gradients.

    Raises
    ------
    ValueError
        For an unknown name.
    """
    if name not in OPTIMIZERS:
        raise ValueError(f"unknown optimizer {name!r}: choose from {', '.join(OPTIMIZERS)}")
    optimizer = OPTIMIZERS[name](lr)
    optimizer.setup(model.link)
    for parameter in model.link.params():  # so that snapshots have it from the start
        parameter.update_rule._init_states(parameter)
    optimizer.add_hook(chainer.optimizer_hooks.GradientClipping(CLIP))
    return optimizer


def learning_rate(optimizer):
    """The learning rate as it was set, whatever the optimizer calls it."""
    return optimizer.alpha if hasattr(optimizer, "alpha") else optimizer.lr


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

OPTIMIZERS = {
    "sgd": lambda lr: _SGD(lr=lr),
    "smorms3": lambda lr: _SMORMS3(lr=lr),
    "adam": lambda lr: _Adam(alpha=lr),
}
