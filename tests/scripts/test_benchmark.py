"""The benchmark measures what it says: the same model everywhere, and every part of its output."""

import json
import os
import re
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.special import logsumexp

from jvi.evidence.estimators import ESTIMATORS
from jvi.evidence.jackknife import jackknife
from jvi.models.model import Model
from jvi.scripts import benchmark, estimator_costs, network_costs
from jvi.scripts import benchmark_programs as programs

TINY = programs.Sizes(12, 6, 3)
PLAN = benchmark.Plan(2, (16,), (4, 8, 16, 32), (4, 8, 16))
STEP = programs.Task("step", 4, 8)

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
    return programs.make_inputs(STEP, TINY)


def test_the_peers_model_is_this_projects(inputs):
    link, x, eps = inputs
    parameters = {n: p.array.astype(np.float64) for n, p in programs._parameters(link).items()}
    expected = programs.plain_log_w(NUMPY, parameters, x, eps)
    np.testing.assert_allclose(Model(link).log_weights(x, eps=eps), expected, rtol=1e-5)


def test_the_peers_objective_is_jvi_1():
    log_w = np.random.default_rng(2).normal(0, 5, (7, 5))
    np.testing.assert_allclose(programs.plain_jvi(NUMPY, log_w), jackknife(log_w, 1), rtol=1e-10)


@pytest.mark.parametrize(("samples", "images", "rows"), [(8, 32, 64), (64, 2, 16), (4, 6, 1000)])
def test_pieces_cover_every_sample_once(samples, images, rows):
    count = np.zeros((samples, images), int)
    for piece in programs.pieces(samples, images, rows):
        count[piece] += 1
        assert count[piece].size <= rows
    assert (count == 1).all()


def test_steps_leave_the_model_as_it_is(inputs):
    work = programs._jvi(*inputs, None)
    before = work.log_w()
    work.step()
    np.testing.assert_array_equal(work.log_w(), before)


def test_gradients_are_those_of_the_objective(inputs):
    """Along a random direction, by finite differences of the plain formula in float64."""
    link, x, eps = inputs
    rng = np.random.default_rng(3)
    for parameter in link.params():  # at zero biases an empty image lies on a kink of CReLU
        parameter.array += rng.normal(0, 0.1, parameter.shape).astype(np.float32)
    parameters = {n: p.array.astype(np.float64) for n, p in programs._parameters(link).items()}
    direction = {name: rng.normal(size=value.shape) for name, value in parameters.items()}

    def loss(step):
        moved = {name: value + step * direction[name] for name, value in parameters.items()}
        return -programs.plain_jvi(NUMPY, programs.plain_log_w(NUMPY, moved, x, eps)).mean()

    gradients = programs._jvi(link, x, eps, None).gradients()
    slope = sum((g * d).sum() for g, d in zip(gradients, direction.values(), strict=True))
    assert slope == pytest.approx((loss(1e-6) - loss(-1e-6)) / 2e-6, rel=1e-4)


@pytest.mark.parametrize("peer", ["eager", "jax"])
@pytest.mark.parametrize("task", [STEP, programs.Task("evaluate", 32, 3)])
def test_installed_peers_agree(peer, task):
    pytest.importorskip({"eager": "torch", "jax": "jax"}[peer])
    result = benchmark.measure(task, ["floor", "jvi", peer], PLAN, TINY)
    assert result[peer]["error"] < 1e-5
    assert all(len(numbers["seconds"]) == 2 for numbers in result.values())


@pytest.mark.parametrize("wrong", ["log_w", "gradients"])
def test_a_program_that_computes_something_else_is_refused(inputs, wrong):
    right = programs._jvi(*inputs, None)
    results = getattr(right, wrong)()
    changed = [results[0] * 1.001, *results[1:]]
    works = {"jvi": right, "jax": right._replace(**{wrong: lambda: changed})}
    with pytest.raises(ArithmeticError, match=r"JAX jit computes something else: error 0\.00\d+"):
        benchmark.disagreement(works, "step")


def test_a_child_process_has_the_allocators_settings():
    for allocator, settings in benchmark.ALLOCATORS.items():
        found = benchmark._child(allocator, os.getenv, "MALLOC_MMAP_MAX_")
        assert found == settings.get("MALLOC_MMAP_MAX_")


@pytest.mark.slow
def test_the_whole_run(tmp_path, monkeypatch, capsys):
    def here(allocator, function, *arguments):
        return function(*arguments, TINY)

    monkeypatch.setattr(benchmark, "_child", here)
    monkeypatch.setattr(benchmark, "QUICK", PLAN)
    monkeypatch.setattr(benchmark, "TASKS", dict.fromkeys(benchmark.TASKS, STEP))
    monkeypatch.setattr(benchmark, "MANY_SAMPLES", programs.Task("evaluate", 64, 2))
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
        (
            ["--parts", "all"],
            "--parts: unknown 'all', choose from times, memory, growth, estimators, network, "
            "convolution, ranks",
        ),
        (["--allocators", "x"], "--allocators: unknown 'x', choose from default, tuned"),
    ],
)
def test_unknown_choices_are_refused(option, message, tmp_path):
    with pytest.raises(SystemExit) as stop:
        benchmark.main([*option, "-o", str(tmp_path / "numbers.json")])
    assert str(stop.value.code) == f"error: {message}"


@pytest.mark.parametrize("model", estimator_costs.BASELINES)
def test_every_estimator_that_applies_is_measured_and_no_other(model):
    """What applies is what training accepts."""
    names = estimator_costs.applicable(model)
    assert estimator_costs.BASELINES[model] in names
    for name in ESTIMATORS:
        if name in names:
            estimator_costs.step_of(model, name, 4, 2, 9)
        else:
            with pytest.raises(ValueError, match="choose an estimator for discrete latents"):
                estimator_costs.step_of(model, name, 4, 2, 9)


def test_ratios_are_to_the_steps_on_both_sides(monkeypatch):
    """On a machine that becomes slower by a fifth with every step."""
    clock = iter(1.2 ** np.arange(1000))
    costs = {"iwae": 1.0, "ovis-mc": 2.0}
    monkeypatch.setattr(estimator_costs, "step_of", lambda model, name, *_: lambda: name)
    monkeypatch.setattr(
        programs,
        "_timed",
        lambda step: next(clock) * np.array([costs.get(step(), 1.5), costs.get(step(), 3.0)]),
    )
    found = estimator_costs.times("burda:layers=1", 8, estimator_costs.Sizes(repeats=2))
    drift = 2 / (1 / 1.2 + 1.2)
    assert found["iwae"]["ratios"] == pytest.approx([drift] * 2)
    assert found["ovis-mc"]["ratios"] == pytest.approx([2 * drift] * 2)
    assert found["dreg"]["ratios"] == pytest.approx([1.5 * drift] * 2)
    assert found["dreg"]["cpu_ratios"] == pytest.approx([3 * drift] * 2)


def test_costs_are_told_as_medians_quartiles_and_memory_beyond_the_imports():
    def numbers(seconds, *ratios):
        return {"seconds": [seconds], "ratios": ratios, "cpu_ratios": ratios}

    found = {"reinforce": numbers(0.25, 1, 1), "ovis-mc": numbers(9.0, 1, 1.5, 2, 2.5, 9)}
    used = {
        "reinforce": {"imports": 100.0, "peak": 140.0},
        "ovis-mc": {"imports": 101.0, "peak": 201.0},
    }
    result = {"sbn:layers=1": {"times": {8: found}, "memory": {8: used}}}
    assert [line.split() for line in estimator_costs.tables(result).splitlines()] == [
        ["sbn:layers=1", "time,", "K=8", "memory,", "K=8"],
        ["reinforce", "1", "=", "0.25", "s", "1", "=", "40", "MB"],
        ["ovis-mc", "2.00", "(1.50-2.50)", "2.50"],
    ]


def test_the_estimators_costs(tmp_path, monkeypatch, capsys):
    tiny = estimator_costs.Sizes((4,), 8, 1, 9)
    monkeypatch.setattr(benchmark, "_child", lambda _, function, *arguments: function(*arguments))
    monkeypatch.setattr(benchmark, "QUICK", benchmark.QUICK._replace(estimators=tiny))
    path = tmp_path / "numbers.json"
    benchmark.main(["--quick", "--parts", "estimators", "--peers", "", "-o", str(path)])
    result, out = json.loads(path.read_text()), capsys.readouterr().out
    assert result.keys() == {"machine", "tasks", "estimators"}
    assert result["estimators"].keys() == estimator_costs.BASELINES.keys()
    for model, numbers in result["estimators"].items():
        assert re.search(rf"^{model} +time, K=4 +memory, K=4$", out, re.MULTILINE)
        for part in ("times", "memory"):
            for found in numbers[part].values():
                assert list(found) == estimator_costs.applicable(model)
        assert all(n["peak"] >= n["imports"] > 20 for n in numbers["memory"]["4"].values())
        assert all(
            len(n["ratios"]) == 1 and min(n["ratios"]) > 0 for n in numbers["times"]["4"].values()
        )


def test_the_products_of_a_network_are_those_of_forwards_and_backwards():
    """Two multiplications for every one of the forward pass, but for the first layer's inputs."""
    layers, count = (7, 5, 4, 3), 0
    lists = network_costs.products(2, 6, layers)
    for (above, inner), (again, below) in lists[0]:
        assert inner == again
        count += above * inner * below
    assert len(lists) == 2 and lists[0] == lists[1] and len(lists[0]) == 8
    assert count == 6 * (3 * (7 * 5 + 5 * 4 + 4 * 3) - 7 * 5)


def test_a_networks_step_is_of_the_batch_and_leaves_the_model_as_it_is():
    rows = network_costs.data_of(50, (4, 3, 3))
    assert rows.shape == (50, 5) and set(rows[:, -1]) == {0.0, 1.0, 2.0}
    step = network_costs.step_of("mixture", 2, 6, (4, 3, 3), rows)
    held = {type(cell.cell_contents).__name__: cell.cell_contents for cell in step.__closure__}
    link = held["Step"].model.link
    before = link.mu.array.copy()
    step()
    np.testing.assert_allclose(link.mu.array, before, rtol=1e-6, atol=1e-9)
    assert link.mu.grad.any() and held["Step"].means()["obj"] > 0


def test_the_networks_costs(tmp_path, monkeypatch, capsys):
    tiny = network_costs.Sizes((8, 16), (1, 2), (16, 32), (9, 6, 3), 2)
    monkeypatch.setattr(benchmark, "_child", lambda _, function, *arguments: function(*arguments))
    monkeypatch.setattr(benchmark, "QUICK", benchmark.QUICK._replace(network=tiny))
    path = tmp_path / "numbers.json"
    benchmark.main(["--quick", "--parts", "network", "--peers", "", "-o", str(path)])
    result, out = json.loads(path.read_text())["network"], capsys.readouterr().out
    assert re.search(r"^time \(processor time\) +B=8, K=1 .+ B=16, K=2$", out, re.MULTILINE)
    assert re.search(r"^memory +of 16 rows +of 32 rows$", out, re.MULTILINE)
    for b in ("8", "16"):
        assert all(n["peak"] >= n["before"] > 20 for n in result["memory"][b].values())
        for found in result["times"][b].values():
            labels = ["matrix products", "normal numbers", *network_costs.PRIORS]
            assert list(found) == labels
            assert all(len(n["ratios"]) == len(n["cpu_ratios"]) == 2 for n in found.values())
            assert all(min(n["ratios"]) > 0 for n in found.values())


def test_a_networks_costs_are_told_as_medians():
    """Clock and processor apart, and memory beyond what was there before."""
    found = {
        "matrix products": {"seconds": [0.02], "ratios": [1], "cpu_ratios": [1]},
        "step, prior=normal": {"seconds": [9], "ratios": [1, 2, 9], "cpu_ratios": [3, 4, 5]},
    }
    memory = {64: {100: {"before": 200.0, "peak": 230.0}}}
    text = network_costs.tables({"times": {64: {3: found}}, "memory": memory})
    assert [line.split() for line in text.splitlines()] == [
        ["time", "(processor", "time)", "B=64,", "K=3"],
        ["matrix", "products", "1", "=", "20", "ms"],
        ["step,", "prior=normal", "2.00", "(4.00)"],
        [],
        ["memory", "of", "100", "rows"],
        ["B=64", "30", "MB"],
    ]
