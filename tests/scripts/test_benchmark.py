"""The benchmark measures what it says: the same model everywhere, and every part of its output."""

import json
import os
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.special import logsumexp

from jvi.evidence.jackknife import jackknife
from jvi.models.model import Model
from jvi.scripts import benchmark

TINY = benchmark.Sizes(12, 6, 3)
PLAN = benchmark.Plan(2, (16,), (4, 8, 16, 32), (4, 8, 16))
STEP = benchmark.Task("step", 4, 8)

# What PyTorch and JAX are asked to compute, on NumPy.
NUMPY = SimpleNamespace(
    linear=lambda h, w, b: h @ w.T + b,
    concatenate=np.concatenate,
    relu=lambda h: np.maximum(h, 0),
    exp=np.exp,
    softplus=lambda h: np.logaddexp(0, h),
    logsumexp=logsumexp,
    without_diagonal=lambda k: np.diag(np.full(k, -np.inf))[:, :, None],
)


@pytest.fixture
def inputs():
    return benchmark.make_inputs(STEP, TINY)


def test_the_peers_model_is_this_projects(inputs):
    link, x, eps = inputs
    parameters = {n: p.array.astype(np.float64) for n, p in benchmark._parameters(link).items()}
    expected = benchmark.plain_log_w(NUMPY, parameters, x, eps)
    np.testing.assert_allclose(Model(link).log_weights(x, eps=eps), expected, rtol=1e-5)


def test_the_peers_objective_is_jvi_1():
    log_w = np.random.default_rng(2).normal(0, 5, (7, 5))
    np.testing.assert_allclose(benchmark.plain_jvi(NUMPY, log_w), jackknife(log_w, 1), rtol=1e-10)


@pytest.mark.parametrize(("samples", "images", "rows"), [(8, 32, 64), (64, 2, 16), (4, 6, 1000)])
def test_pieces_cover_every_sample_once(samples, images, rows):
    count = np.zeros((samples, images), int)
    for piece in benchmark.pieces(samples, images, rows):
        count[piece] += 1
        assert count[piece].size <= rows
    assert (count == 1).all()


def test_steps_leave_the_model_as_it_is(inputs):
    work = benchmark._jvi(*inputs, None)
    before = work.log_w()
    work.step()
    np.testing.assert_array_equal(work.log_w(), before)


def test_gradients_are_those_of_the_objective(inputs):
    """Along a random direction, by finite differences of the plain formula in float64."""
    link, x, eps = inputs
    rng = np.random.default_rng(3)
    for parameter in link.params():  # at zero biases an empty image lies on a kink of CReLU
        parameter.array += rng.normal(0, 0.1, parameter.shape).astype(np.float32)
    parameters = {n: p.array.astype(np.float64) for n, p in benchmark._parameters(link).items()}
    direction = {name: rng.normal(size=value.shape) for name, value in parameters.items()}

    def loss(step):
        moved = {name: value + step * direction[name] for name, value in parameters.items()}
        return -benchmark.plain_jvi(NUMPY, benchmark.plain_log_w(NUMPY, moved, x, eps)).mean()

    gradients = benchmark._jvi(link, x, eps, None).gradients()
    slope = sum((g * d).sum() for g, d in zip(gradients, direction.values(), strict=True))
    assert slope == pytest.approx((loss(1e-6) - loss(-1e-6)) / 2e-6, rel=1e-4)


@pytest.mark.parametrize("peer", ["eager", "jax"])
@pytest.mark.parametrize("task", [STEP, benchmark.Task("evaluate", 32, 3)])
def test_installed_peers_agree(peer, task):
    pytest.importorskip({"eager": "torch", "jax": "jax"}[peer])
    result = benchmark.measure(task, ["floor", "jvi", peer], PLAN, TINY)
    assert result[peer]["error"] < 1e-5
    assert all(len(numbers["seconds"]) == 2 for numbers in result.values())


@pytest.mark.parametrize("wrong", ["log_w", "gradients"])
def test_a_program_that_computes_something_else_is_refused(inputs, wrong):
    right = benchmark._jvi(*inputs, None)
    results = getattr(right, wrong)()
    changed = [results[0] * 1.001, *results[1:]]
    works = {"jvi": right, "jax": right._replace(**{wrong: lambda: changed})}
    with pytest.raises(ArithmeticError, match=r"JAX jit computes something else: error 0\.00\d+"):
        benchmark.disagreement(works, "step")


def test_a_child_process_has_the_allocators_settings():
    for allocator, settings in benchmark.ALLOCATORS.items():
        found = benchmark._child(allocator, os.getenv, "MALLOC_MMAP_MAX_")
        assert found == settings.get("MALLOC_MMAP_MAX_")


def test_the_whole_run(tmp_path, monkeypatch, capsys):
    def here(allocator, function, *arguments):
        return function(*arguments, TINY)

    monkeypatch.setattr(benchmark, "_child", here)
    monkeypatch.setattr(benchmark, "QUICK", PLAN)
    monkeypatch.setattr(benchmark, "TASKS", dict.fromkeys(benchmark.TASKS, STEP))
    monkeypatch.setattr(benchmark, "MANY_SAMPLES", benchmark.Task("evaluate", 64, 2))
    path = tmp_path / "numbers.json"
    benchmark.main(["--quick", "--peers", "", "--allocators", "tuned", "-o", str(path)])
    result = json.loads(path.read_text())
    seconds = result["times"]["tuned"]["T1 N=256"]
    ratio = np.median(np.divide(seconds["jvi"]["seconds"], seconds["floor"]["seconds"]))
    assert f"{ratio:.2f} (" in capsys.readouterr().out
    assert result["memory"]["jvi"]["T2 K=65536"]["peak"] > 20
    line = result["growth"]["evaluate, 16 images"]
    assert line["sizes"] == [4, 8, 16, 32]
    assert len(line["seconds"]) == 4 and np.isfinite(line["exponent"])
    assert result["machine"]["cores"] >= 1


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (["--peers", "theano"], "--peers: unknown 'theano', choose from eager, compiled, jax"),
        (["--allocators", "x"], "--allocators: unknown 'x', choose from default, tuned"),
    ],
)
def test_unknown_choices_are_refused(option, message, tmp_path):
    with pytest.raises(SystemExit) as stop:
        benchmark.main([*option, "-o", str(tmp_path / "numbers.json")])
    assert str(stop.value.code) == f"error: {message}"
