"""Devices, and what only a machine with a GPU can test."""

import numpy as np
import pytest

from jvi.compat.vae_types import VAE_TYPES
from jvi.engine import devices
from jvi.engine.random import Given
from jvi.evidence.arrays import host


def test_devices_that_do_not_exist():
    with pytest.raises(ValueError, match="device -2 does not exist"):
        devices.device(-2)
    assert devices.device(-1).xp is np


def test_without_a_gpu_the_reason_is_given(monkeypatch):
    monkeypatch.setattr(devices, "_gpu_problem", lambda number: "CuPy is not installed")
    with pytest.raises(ValueError, match="GPU 0 cannot be used: CuPy is not installed; use -g -1"):
        devices.device(0)


def test_a_gpu_computes_what_the_cpu_does():
    """Every function and a whole loss gradient, on a machine that has one."""
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed")
    if not cupy.cuda.is_available():
        pytest.skip("CuPy finds no GPU")
    from jvi.models import MLP
    from jvi.models.model import Model
    from jvi.training.objective import draw, loss, objective_for

    rng = np.random.default_rng(0)
    x = (rng.random((16, 784)) < 0.5).astype(np.float32)
    eps = rng.standard_normal((8, 16, 5), dtype=np.float32)
    for vae_type in VAE_TYPES:
        objective, found = objective_for(vae_type), []
        for number in (-1, 0):
            model = Model(MLP(784, 20, 5, np.random.default_rng(1)), number)
            sent, noise = map(model.device.send, (x, eps))
            draws = draw(model.link, sent, Given([noise]), 8, objective)
            model.link.cleargrads()
            loss(model.link, draws, objective, objective.estimator(draws.log_w)).backward()
            found.append({n: host(p.grad) for n, p in model.link.namedparams()})
        for name, on_cpu in found[0].items():
            assert np.linalg.norm(found[1][name] - on_cpu) < 1e-4 * np.linalg.norm(on_cpu)
