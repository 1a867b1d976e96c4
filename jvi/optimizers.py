"""Optimizers: Chainer's, of which Adam updates each parameter in one pass on the CPU.

On a GPU `jvi.gpu.FlatAdam` takes Adam's place.
"""

import chainer
from chainer.optimizers.adam import AdamRule

from jvi.functions.kernels import kernels_for

__all__ = ["OPTIMIZERS"]


class _Adam(chainer.optimizers.Adam):
    """Chainer's Adam without its variants; its state and, up to rounding, its steps."""

    def create_update_rule(self):
        return _AdamRule(self.hyperparam)


class _AdamRule(AdamRule):
    def update_core_cpu(self, param):
        if param.grad is None:
            return
        h, state = self.hyperparam, self.state
        adam = kernels_for(param.array).adam
        rates = 1 - h.beta1, 1 - h.beta2
        adam(param.array, param.grad, state["m"], state["v"], rates, self.alpha_t, h.eps)


OPTIMIZERS = {
    "sgd": lambda lr: chainer.optimizers.SGD(lr=lr),
    "smorms3": lambda lr: chainer.optimizers.SMORMS3(lr=lr),
    "adam": lambda lr: _Adam(alpha=lr),
}
