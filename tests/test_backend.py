"""Random streams and devices."""

import numpy as np
import pytest

from jvi import backend


def test_streams_depend_on_every_part_of_their_key_and_on_nothing_else():
    keys = [
        (s, p, *k)
        for s in (0, 1)
        for p in ("order", "bootstrap")
        for k in ((), (0,), (0, 1), (1, 0))
    ]
    first = {key: backend.stream(*key).random() for key in keys}
    assert len(set(first.values())) == len(keys)
    np.random.standard_normal(10)  # noqa: NPY002  the global state, which must not matter
    assert backend.stream(0, "order", 1, 0).random() == first[0, "order", 1, 0]


def test_streams_of_neighbouring_keys_are_not_correlated():
    draws = np.stack(
        [backend.stream(0, "evaluation noise", n).standard_normal(200) for n in range(200)]
    )
    correlations = np.corrcoef(draws)[np.triu_indices(200, 1)]
    assert abs(correlations.mean()) < 4 / np.sqrt(len(correlations) * 200)
    assert correlations.std() == pytest.approx(1 / np.sqrt(200), rel=0.05)


def test_there_is_no_purpose_by_that_name():
    with pytest.raises(ValueError):
        backend.stream(0, "anything")


def test_devices_that_do_not_exist():
    with pytest.raises(ValueError, match="device -2 does not exist"):
        backend.device(-2)
    assert backend.device(-1).xp is np


def test_without_a_gpu_the_reason_is_given(monkeypatch):
    monkeypatch.setattr(backend, "_gpu_problem", lambda number: "CuPy is not installed")
    with pytest.raises(ValueError, match="GPU 0 cannot be used: CuPy is not installed; use -g -1"):
        backend.device(0)


def test_a_gpu_computes_what_the_cpu_does():
    """Every function and a whole loss gradient, on a machine that has one."""
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed")
    if not cupy.cuda.is_available():
        pytest.skip("CuPy finds no GPU")
    from jvi.model import Model
    from jvi.models import MLP
    from jvi.objectives import OBJECTIVES, draw, loss

    rng = np.random.default_rng(0)
    x = (rng.random((16, 784)) < 0.5).astype(np.float32)
    eps = rng.standard_normal((8, 16, 5), dtype=np.float32)
    for objective in OBJECTIVES.values():
        found = []
        for number in (-1, 0):
            model = Model(MLP(784, 20, 5, np.random.default_rng(1)), number)
            draws = draw(model.link, *map(model.device.send, (x, eps)))
            model.link.cleargrads()
            loss(model.link, draws, objective).backward()
            found.append({n: backend.to_host(p.grad) for n, p in model.link.namedparams()})
        for name, on_cpu in found[0].items():
            assert np.linalg.norm(found[1][name] - on_cpu) < 1e-4 * np.linalg.norm(on_cpu)
