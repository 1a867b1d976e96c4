"""The GPU's code on a machine without a GPU: compiled by NVRTC, and run on the CPU.

Both see the sources themselves; `cuda_on_cpu` stands in for the GPU and for CuPy.
"""

import ctypes
import subprocess
import sys
from types import SimpleNamespace

import chainer
import cuda_on_cpu
import numpy as np
import pytest
from scipy import stats
from test_training import log_of, trainer_for

from jvi import backend, datasets, gpu, grid, training
from jvi.compat.model_files import read_snapshot
from jvi.estimators import ESTIMATORS
from jvi.evaluation import evaluate, evaluations
from jvi.functions import decoder, encoder, gaussian
from jvi.functions.kernels import on_cupy, on_numpy
from jvi.jackknife import constants, jackknife_and_weights
from jvi.model import Model
from jvi.models import MLP
from jvi.objectives import OBJECTIVES, Draws, report, summarise

RNG = np.random.default_rng(8)
REALS = ("float32", "float64")
ERROR = {"float32": 3e-7, "float64": 1e-15}
EXTREMES = [0.0, -0.0, 1e-40, -1e-40, 1e4, -1e4, np.inf, -np.inf, np.nan, 1.0]


@pytest.fixture(scope="session")
def compiled(tmp_path_factory):
    if cuda_on_cpu.COMPILER is None:
        pytest.skip("no C++ compiler")
    return cuda_on_cpu.kernel_maker(tmp_path_factory.mktemp("kernels"))


@pytest.fixture
def on_cpu(compiled, monkeypatch):
    """From here on the kernels take NumPy arrays."""
    monkeypatch.setattr(on_cupy, "_kernel", compiled)
    monkeypatch.setattr(on_cupy, "WIDE", 16)  # 65,536 threads would take seconds


@pytest.fixture
def fake_gpu(on_cpu, monkeypatch):
    """From here on models on `cuda_on_cpu.Device` train as on a GPU."""
    modules = SimpleNamespace(get_array_module=lambda *arrays: cuda_on_cpu.xp)
    for module in (on_cupy, decoder, encoder):
        monkeypatch.setattr(module, "backend", modules)
    for module in (decoder, encoder):
        monkeypatch.setattr(module, "kernels_for", lambda array: on_cupy)
    for function in (gaussian._Sample, gaussian._LogDensity, gaussian._StandardLogDensity):
        for name in ("forward", "backward"):
            monkeypatch.setattr(function, f"{name}_cpu", getattr(function, f"{name}_gpu"))
    # Chainer's sum calls numpy.asarray for NumPy's sake.
    monkeypatch.setattr(sys.modules["chainer.functions.math.sum"], "numpy", None, raising=False)
    monkeypatch.setitem(sys.modules, "cupy", cuda_on_cpu.cupy)
    monkeypatch.setattr(on_cupy, "THREADS", 16)  # for speed
    cuda_on_cpu.launches.clear()


@pytest.mark.parametrize("dtype", REALS)
@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 5, 784), (2, 3, 130)])
@pytest.mark.parametrize("spread", [0.1, 4.0, 1e4])
def test_bernoulli_is_its_formula(on_cpu, dtype, shape, spread):
    x = (RNG.random(shape[1:]) < 0.5).astype(dtype)
    logits = RNG.normal(0, spread, shape).astype(dtype)
    bias = RNG.normal(size=shape[2]).astype(dtype)
    exact = (logits + bias).astype(np.float64)
    value = (x * exact - np.logaddexp(0, exact)).sum(axis=-1)
    again = on_cupy.bernoulli(x, logits.copy(), bias, False)
    out = on_cupy.bernoulli(x, logits, bias, True)
    assert out.dtype == dtype
    np.testing.assert_array_equal(out, again)
    np.testing.assert_allclose(out, value, rtol=4 * ERROR[dtype])
    np.testing.assert_allclose(logits, x - np.exp(-np.logaddexp(0, -exact)), atol=ERROR[dtype])


@pytest.mark.parametrize("extreme", EXTREMES)
@pytest.mark.parametrize("pixel", [0.0, 1.0])
def test_bernoulli_of_extreme_logits(on_cpu, extreme, pixel):
    x, logits = np.full((1, 1), pixel), np.full((1, 1, 1), extreme)
    with np.errstate(invalid="ignore"):
        value = pixel * extreme - np.logaddexp(0, extreme)
    residual = pixel - 1 / (1 + np.exp(-np.clip(extreme, -700, 700)))
    out = on_cupy.bernoulli(x, logits, np.zeros(1), True)
    if not (np.isinf(extreme) and pixel == 0):  # where the plain formula is 0 times inf
        np.testing.assert_allclose(out[0, 0], value, rtol=1e-15)
    np.testing.assert_allclose(logits[0, 0, 0], residual, atol=1e-15)


@pytest.mark.parametrize("dtype", REALS)
@pytest.mark.parametrize("rows", [1, 37])
def test_crelu_kernels_are_numpys(on_cpu, dtype, rows):
    h, bias, z = (RNG.normal(size=s).astype(dtype) for s in ((rows, 12), (12,), (rows, 5)))
    h[0, : len(EXTREMES)] = EXTREMES
    bias[: len(EXTREMES)] = 0
    gradient, results = RNG.normal(size=(rows, 24)).astype(dtype), {}
    with np.errstate(invalid="ignore"):
        for kernels in (on_cupy, on_numpy):
            a, b, g = h.copy(), h.copy(), gradient.copy()
            out = kernels.crelu(a, bias)
            d = [kernels.crelu_backward(g, out, scale) for scale in (None, g[:, 0])]
            wide = kernels.absolute_beside(b, bias, z)
            kernels.times_sign(g, h)
            results[kernels] = [out, *d, wide, b, g]
    for found, expected in zip(*results.values(), strict=True):
        assert found.dtype == dtype
        # CReLU of -inf and of nan has no second half that NumPy's subtraction could give.
        defined = ~np.isnan(expected)
        np.testing.assert_array_equal(found[defined], expected[defined])
    assert np.isnan(results[on_cupy][0][0, [8, 20]]).all()


@pytest.mark.parametrize(("dtype", "error"), [("float32", 3e-6), ("float64", 1e-13)])
@pytest.mark.parametrize("shape", [(1, 1, 1), (8, 5, 40), (3, 2, 300)])
def test_gaussian_kernels_are_the_formulas(on_cpu, dtype, error, shape):
    z, eps = (RNG.normal(size=shape).astype(dtype) for _ in range(2))
    mean, ln_var = (RNG.normal(size=shape[1:]).astype(dtype) for _ in range(2))
    g_z, g = RNG.normal(size=shape).astype(dtype), RNG.normal(size=shape[:2]).astype(dtype)
    cases = [
        (gaussian._Sample(eps), (mean, ln_var), (g_z,)),
        (gaussian._LogDensity(), (z, mean, ln_var), (g,)),
        (gaussian._StandardLogDensity(), (z,), (g,)),
    ]
    for function, inputs, gradients in cases:
        exact = [tuple(a.astype(np.float64) for a in arrays) for arrays in (inputs, gradients)]
        found = (*function.forward_gpu(inputs), *function.backward_gpu(inputs, gradients))
        expected = (*function.forward_cpu(exact[0]), *function.backward_cpu(*exact))
        for a, b in zip(found, expected, strict=True):
            assert a.dtype == dtype
            assert np.linalg.norm(a - b) <= error * max(1.0, np.linalg.norm(b))


def estimated(log_w, order, kinds, kl=None):
    """What the kernel gives for log-weights: the three gradients, u and the columns."""
    num_samples, num_points = log_w.shape
    terms = [log_w, np.zeros_like(log_w), np.zeros_like(log_w)]
    u, columns = np.full(log_w.shape, np.nan), np.full((9, num_points), np.nan)
    beta = constants(num_samples, order)
    numbers = beta[0], *[*beta[1], 0.0][1:3]
    out = on_cupy.estimate(terms, kl, u, columns, num_points, order, numbers, kinds)
    return out, u, columns


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("num_samples", [3, 8, 100])
@pytest.mark.parametrize("spread", [0.0, 0.1, 3.0, 30.0, 1e4])
def test_jackknife_is_jvi_jackknifes(on_cpu, order, num_samples, spread):
    log_w = RNG.normal(-90, spread, (num_samples, 40))
    log_w[:2, 0] = log_w[0, 0]  # a tie
    log_w[1:, 1] = log_w[0, 1] - 50
    value, weights = jackknife_and_weights(log_w, order)
    _, u, columns = estimated(log_w, order, (gpu.U, gpu.U))
    np.testing.assert_allclose(-columns[2], value, rtol=1e-10)
    np.testing.assert_allclose(u, weights, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("order", [0, 1, 2])
def test_log_weights_that_are_not_finite_show_in_everything_reported_and_in_gradients(
    on_cpu, order, bad
):
    log_w = RNG.normal(size=(4, 3))
    log_w[2, 1] = bad
    (g_model, _, _), _, columns = estimated(log_w, order, (gpu.CLIPPED, gpu.SQUARED))
    assert not np.isfinite(columns[[0, 2]][:, 1]).any() and np.isnan(g_model[:, 1]).all()
    assert np.isfinite(columns[:, [0, 2]]).all() and np.isfinite(g_model[:, [0, 2]]).all()


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("order", [0, 1, 2])
def test_weights_are_the_estimators(on_cpu, estimator, order):
    assert gpu.WEIGHTS.keys() == ESTIMATORS.keys()
    log_w = RNG.normal(-90, 3, (5, 33))
    *kinds, zero_score = gpu.WEIGHTS[estimator]
    weights = ESTIMATORS[estimator](log_w, order)
    (g_model, g_path, scale), _, _ = estimated(log_w, order, kinds)
    np.testing.assert_allclose(-33 * g_model, weights.model, rtol=1e-10, atol=2e-12)
    np.testing.assert_allclose(33 * g_path, weights.path, rtol=1e-10, atol=1e-15)
    np.testing.assert_allclose(-g_model * scale, g_path, rtol=1e-12)
    assert (kinds[0] == kinds[1]) == (weights.path is weights.model)
    assert zero_score == (weights.score is not None)
    assert weights.score is None or not weights.score.any()


@pytest.mark.parametrize("vae_type", OBJECTIVES)
@pytest.mark.parametrize("num_points", [1, 33, 300])
def test_reports_are_the_objectives(on_cpu, vae_type, num_points):
    """Sums over two batches of different log-weights, as an epoch makes them."""
    sums, expected = np.zeros((2, 9)), []
    for _ in range(2):
        log_px, kl = RNG.normal(-90, 3, (5, num_points)), RNG.random(num_points)
        kl_term, px_term = (SimpleNamespace(array=array) for array in (kl, log_px))
        draws = Draws(None, None, None, px_term, None, None, lambda term=kl_term: term, log_px)
        expected.append(summarise(report(draws, OBJECTIVES[vae_type], 1)))
        columns = estimated(log_px, 1, (gpu.V, gpu.V), kl)[2]
        on_cupy.summarise(columns, sums, np.dtype("float64"))
    names = gpu.REPORTS[OBJECTIVES[vae_type].report]
    for name, column in names.items():
        index = on_cupy.COLUMNS.index(column)
        for key, row in [(name, 0), (f"{name}_var", 1)][: 1 + name.endswith("obj")]:
            mean = np.mean([values[key] for values in expected])
            np.testing.assert_allclose(sums[row, index] / 2, mean, rtol=1e-9, atol=1e-12)
    assert {n for n in expected[0] if not n.endswith("_var")} == set(names)


@pytest.mark.parametrize("scale", [1e-3, 10.0])  # clipping inactive, active
@pytest.mark.parametrize("count", [3, 16, 21])
def test_flat_adam_is_chainers_and_keeps_its_layout(on_cpu, scale, count):
    links = []
    for _ in range(2):
        rng = np.random.default_rng(1)
        shapes = [(7, 9), (64,), (2, 3, 4)] * 7
        link = chainer.Link()
        with link.init_scope():
            for i, shape in enumerate(shapes[:count]):
                start = rng.normal(size=shape).astype(np.float32)
                setattr(link, f"p{i}", chainer.Parameter(start))
        optimizer = chainer.optimizers.Adam(alpha=1e-2)
        optimizer.setup(link).add_hook(chainer.optimizer_hooks.GradientClipping(4.0))
        links.append((link, optimizer))
    (link, optimizer), (reference, chainers) = links
    flat = gpu.FlatAdam(optimizer, 4.0)
    for _ in range(5):
        for a, b in zip(link.params(), reference.params(), strict=True):
            b.grad = RNG.normal(0, scale, a.shape).astype(np.float32)
            a.grad = b.grad.copy(order="F")
        chainers.update()
        flat.step(np.array([optimizer.t + 1]))
        flat.count()
    for a, b in zip(link.params(), reference.params(), strict=True):
        np.testing.assert_allclose(a.array, b.array, rtol=1e-5, atol=1e-6)
        assert a.update_rule.t == b.update_rule.t == optimizer.t == 5
        for name in "mv":
            state = a.update_rule.state[name], b.update_rule.state[name]
            np.testing.assert_allclose(*state, rtol=1e-5, atol=1e-7)
            assert state[0].shape == a.shape


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ([0] * 4, [0] * 2, "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ([2**32 - 1] * 4, [2**32 - 1] * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            [0xA4093822, 0x299F31D0],
            "d16cfe09 94fdcceb 5001e420 24126ea1",
        ),
    ],
)
def test_philox_gives_its_authors_known_answers(compiled, counter, key, expected):
    """The test vectors of Random123's philox4x32, 10 rounds."""
    compiled("normals", "float32")
    words = [np.array(numbers, np.uint32) for numbers in (counter, key)]
    pointers = [ctypes.c_void_p(array.ctypes.data) for array in words]
    cuda_on_cpu.library_of("float32").run_philox(*pointers)
    assert " ".join(f"{word:08x}" for word in words[0]) == expected


def test_normals_are_normal_and_a_samples_noise_depends_on_nothing_else(on_cpu):
    iteration, key = np.array([7]), backend.counter_key(1, "training noise")
    noise = on_cupy.normals((40, 60, 41), key, iteration)
    assert noise.dtype == np.float32
    assert stats.kstest(noise.ravel(), "norm").pvalue > 0.01
    for lag in (1, 2, 4, 41, 60 * 41):
        flat = noise.ravel()
        assert abs(np.corrcoef(flat[lag:], flat[:-lag])[0, 1]) < 4 / flat.size**0.5
    part = on_cupy.normals((5, 7, 41), key, iteration, first_sample=30, first_point=50)
    np.testing.assert_array_equal(part, noise[30:35, 50:57])
    for other in [
        on_cupy.normals((40, 60, 41), key, iteration + 1),
        on_cupy.normals((40, 60, 41), key, iteration + 2**32),
        on_cupy.normals((40, 60, 41), backend.counter_key(2, "training noise"), iteration),
        on_cupy.normals((40, 60, 41), key, iteration, first_point=60),
    ]:
        assert abs(np.corrcoef(noise.ravel(), other.ravel())[0, 1]) < 0.02


def test_pixels_are_drawn_with_their_grey_values_from_the_rows_asked_for(on_cpu):
    images = np.linspace(0, 1, 3 * 37, dtype=np.float32).reshape(3, 37)
    rows, key = np.array([2, 0, 2, 1] * 500), backend.counter_key(1, "binarisation")
    x = on_cupy.binarise(images, rows, key, np.array([3]))
    assert x.dtype == np.float32 and set(np.unique(x)) == {0, 1}
    for row in range(3):
        some = x[rows == row]
        spread = np.sqrt(images[row] * (1 - images[row]) / len(some))
        assert (np.abs(some.mean(axis=0) - images[row]) <= 4.5 * spread).all()
    assert (x[0] != x[2]).any()
    assert (on_cupy.binarise(images, rows, key, np.array([4])) != x).any()


def test_pixels_outside_the_unit_interval_are_refused_before_training():
    images = np.array([[0.5, 1.5]], np.float32)
    with pytest.raises(ValueError, match=r"only pixels in \[0, 1\]"):
        gpu.Step(images, None, None, None, None, None)


def test_counter_keys_are_64_bits_that_differ_by_seed_and_purpose():
    keys = {backend.counter_key(s, p) for s in range(50) for p in backend.PURPOSES}
    assert len(keys) == 50 * len(backend.PURPOSES)
    assert all(-(2**63) <= key < 2**63 for key in keys) and max(map(abs, keys)) > 2**62


def both(vae_type, num_samples=6, order=1, optimizer="adam", lr=1e-2, raw=False, **sizes):
    """The same model as trained on the CPU and on the fake GPU: two updaters."""
    num_images, batch_size = sizes.get("num_images", 24), sizes.get("batch_size", 8)
    images = np.random.default_rng(2).random((num_images, 36), dtype=np.float32)
    settings = training.Settings(
        vae_type, num_samples, order, raw, optimizer, lr, batch_size=batch_size, quiet=True
    )
    updaters = []
    for device in (backend.device(-1), cuda_on_cpu.Device()):
        model = Model(MLP(36, 10, 5, np.random.default_rng(0)))
        model.device = device
        if device.xp is not np:
            for parameter in model.link.params():
                parameter.array = cuda_on_cpu.on_device(parameter.array)
        rule = training.OPTIMIZERS[optimizer](lr).setup(model.link)
        rule.add_hook(chainer.optimizer_hooks.GradientClipping(training.CLIP))
        updaters.append(training.Updater(images, model, rule, settings))
        model.link.to_device("@numpy")  # for Chainer's own rules
    return updaters


def gradients_from_the_gpus_noise(updater, gpu_step, rows):
    """The CPU's reported values and gradients for the images and noise that the kernels draw."""
    iteration = np.array([updater.iteration])
    x = on_cupy.binarise(gpu_step.images, rows, gpu_step.keys[0], iteration)
    shape = updater.settings.num_samples, len(rows), updater.model.num_latent
    eps = on_cupy.normals(shape, gpu_step.keys[1], iteration)
    values = summarise(updater._gradients(cuda_on_cpu.plain(x), cuda_on_cpu.plain(eps)))
    return values, [parameter.grad for parameter in updater.model.link.params()]


CASES = [{"vae_type": vae_type} for vae_type in OBJECTIVES] + [
    {"vae_type": "jvi", "order": 2},
    {"vae_type": "jvi", "order": 0},
    {"vae_type": "jvi", "raw": True},
    {"vae_type": "vae", "num_samples": 1},
    {"vae_type": "jvi", "batch_size": 1},
]


@pytest.fixture
def numpy_functions(monkeypatch):
    """Switches a model on the CPU back to NumPy's kernels while `fake_gpu` is in force."""
    kept = [(m, n, getattr(m, n)) for m in (decoder, encoder) for n in ("backend", "kernels_for")]
    functions = (gaussian._Sample, gaussian._LogDensity, gaussian._StandardLogDensity)
    kept += [
        (f, f"{n}_cpu", getattr(f, f"{n}_cpu")) for f in functions for n in ("forward", "backward")
    ]

    def switch(patch):
        for owner, name, value in kept:
            patch.setattr(owner, name, value)

    return switch


@pytest.mark.parametrize("options", CASES, ids=str)
def test_a_step_is_the_cpus(numpy_functions, fake_gpu, monkeypatch, options):
    """Reports and gradients from the same noise, and Adam's step from the same gradients."""
    cpu, device = both(**options)
    for iteration in range(3):
        rows = np.random.default_rng(iteration).permutation(24)[: cpu.settings.batch_size]
        cpu.iteration = iteration
        with monkeypatch.context() as patch:
            numpy_functions(patch)
            expected, gradients = gradients_from_the_gpus_noise(cpu, device.gpu_step, rows)
        device.gpu_step(rows, iteration)
        found = device.gpu_step.means()
        assert found.keys() == expected.keys()
        for name in found:
            np.testing.assert_allclose(found[name], expected[name], rtol=1e-5, err_msg=name)
        pairs = list(zip(device.model.link.params(), cpu.model.link.params(), strict=True))
        for (a, b), expected_gradient in zip(pairs, gradients, strict=True):
            b.grad = cuda_on_cpu.plain(a.grad).copy()
            error = np.linalg.norm(b.grad - expected_gradient)
            assert error <= 1e-4 * np.linalg.norm(expected_gradient)
        cpu.get_optimizer("main").update()
        for a, b in pairs:
            np.testing.assert_allclose(cuda_on_cpu.plain(a.array), b.array, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("options", [{"vae_type": "jvi"}, {"vae_type": "jvi+elbo"}], ids=str)
def test_a_recorded_step_is_the_step(fake_gpu, options):
    """After the warm-up a graph is launched, which sees new rows, iteration, parameters."""
    _, recorded = both(**options)
    _, plainly = both(**options)
    plainly.gpu_step.recorder._record = plainly.gpu_step._run
    for iteration in range(8):
        rows = np.random.default_rng(iteration).permutation(24)[:8]
        for updater in (recorded, plainly):
            updater.gpu_step(rows, iteration)
    assert cuda_on_cpu.launches["graph"] == 5 and cuda_on_cpu.launches["captures"] == 1
    assert recorded.gpu_step.means() == plainly.gpu_step.means()
    for a, b in zip(recorded.model.link.params(), plainly.model.link.params(), strict=True):
        np.testing.assert_array_equal(*map(cuda_on_cpu.plain, (a.array, b.array)))


def test_a_step_takes_few_launches_and_never_waits(fake_gpu):
    _, device = both("jvi")
    device.gpu_step(np.arange(8), 0)
    cuda_on_cpu.launches.clear()
    device.gpu_step(np.arange(8), 1)
    launches = cuda_on_cpu.launches
    products = launches.pop("matmul")
    assert products <= 24
    assert launches.total() <= 56, launches


@pytest.mark.parametrize(
    "options",
    [
        {"vae_type": "jvi", "order": 3},
        {"vae_type": "iwae", "optimizer": "sgd", "lr": 1e-3},
        {"vae_type": "iwae", "optimizer": "smorms3"},
    ],
    ids=str,
)
def test_what_cannot_be_recorded_runs_as_it_is(numpy_functions, fake_gpu, monkeypatch, options):
    """Orders that wait for the GPU, and Chainer's own optimizers."""
    monkeypatch.setattr(cuda_on_cpu.DeviceArray, "_refuses", False)
    cpu, device = both(**options)
    for iteration in range(6):
        rows = np.random.default_rng(iteration).permutation(24)[:8]
        cpu.iteration = iteration
        with monkeypatch.context() as patch:
            numpy_functions(patch)
            expected, _ = gradients_from_the_gpus_noise(cpu, device.gpu_step, rows)
        cpu.get_optimizer("main").update()
        device.gpu_step(rows, iteration)
        found = device.gpu_step.means()
        for name in found:
            np.testing.assert_allclose(found[name], expected[name], rtol=1e-3, err_msg=name)
    assert cuda_on_cpu.launches["captures"] == 0


def test_a_batch_in_pieces_is_the_batch(fake_gpu, monkeypatch):
    whole, parts = (both("jvi")[1] for _ in range(2))
    whole.gpu_step(np.arange(8), 5)
    monkeypatch.setattr(backend, "GPU_ROWS", 2 * 6 * 3)  # three images of six samples at once
    parts.gpu_step(np.arange(8), 5)
    assert parts.gpu_step.means() == pytest.approx(whole.gpu_step.means(), rel=1e-6)
    for a, b in zip(whole.model.link.params(), parts.model.link.params(), strict=True):
        a, b = cuda_on_cpu.plain(a.grad), cuda_on_cpu.plain(b.grad)
        assert np.linalg.norm(a - b) <= 1e-5 * np.linalg.norm(a)


def test_a_step_that_cannot_be_captured_goes_on_and_says_so_once(fake_gpu, monkeypatch):
    def fail(stream):
        raise RuntimeError("operation not permitted when stream is capturing")

    expected, failing = (both("jvi")[1] for _ in range(2))
    for iteration in range(6):
        expected.gpu_step(np.arange(8) + iteration, iteration)
    monkeypatch.setattr(cuda_on_cpu._Stream, "begin_capture", fail)
    with pytest.warns(UserWarning, match="not recorded as a CUDA graph: .* not permitted") as seen:
        for iteration in range(6):
            failing.gpu_step(np.arange(8) + iteration, iteration)
    assert len(seen) == 1
    assert failing.gpu_step.means() == expected.gpu_step.means()


@pytest.fixture
def digits():
    full = datasets.load("digits")
    return full._replace(train=full.train[:200], validation=full.validation[:50])


@pytest.fixture
def train(fake_gpu, monkeypatch, digits):
    """Trains on the fake GPU, from a snapshot if there is one; the prefix's log."""
    monkeypatch.setattr(cuda_on_cpu.DeviceArray, "_refuses", False)  # validation looks
    make = Model.__init__

    def on_the_gpu(self, link, *arguments):
        make(self, link, *arguments)
        self.device = cuda_on_cpu.Device()
        for parameter in link.params():
            parameter.array = cuda_on_cpu.on_device(parameter.array)

    monkeypatch.setattr(Model, "__init__", on_the_gpu)

    def run(prefix, snapshot=None, **options):
        trainer = trainer_for(prefix, digits, **options)
        if snapshot is not None:
            training.resume(trainer, snapshot)
        trainer.run(show_loop_exception_msg=False)
        return log_of(prefix)

    return run


def test_training_learns_and_an_interruption_changes_nothing(tmp_path, train):
    options = {"batch_size": 48, "lr": 1e-2}
    log = train(tmp_path / "whole", epochs=4, **options)
    assert cuda_on_cpu.launches["captures"] == 1
    assert log[-1][training.SELECTED_BY] < log[0][training.SELECTED_BY] - 1.0
    assert log[-1]["main/obj"] < log[0]["main/obj"] - 1.0
    train(tmp_path / "parts", epochs=2, **options)
    latest = read_snapshot(training.files_of(tmp_path / "parts").latest)
    assert train(tmp_path / "parts", latest, epochs=4, **options) == log
    whole, parts = (
        read_snapshot(training.files_of(tmp_path / n).latest) for n in ("whole", "parts")
    )
    for name in whole:
        if name not in ("_snapshot_elapsed_time", "extensions/LogReport/_log"):
            np.testing.assert_array_equal(parts[name], whole[name], err_msg=name)


def test_divergence_is_found_at_the_end_of_the_epoch(tmp_path, train):
    with np.errstate(all="ignore"), pytest.raises(training.Diverged, match="is not finite"):
        train(tmp_path / "m", epochs=3, lr=1e30)


@pytest.mark.parametrize("arch", ["80", "90"])
@pytest.mark.parametrize("real", ["float", "double"])
def test_kernels_compile_for_gpus(arch, real):
    """By NVRTC, which needs no GPU."""
    pytest.importorskip("cupy", reason="CuPy is not installed")
    from cupy.cuda import nvrtc

    try:
        nvrtc.getVersion()
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"no NVRTC: {error}")
    program = nvrtc.createProgram(on_cupy.source(), "kernels.cu", (), ())
    options = "-std=c++17", f"-DREAL={real}", f"-arch=sm_{arch}", "-Werror=all-warnings"
    try:
        nvrtc.compileProgram(program, options)
    except nvrtc.NVRTCError:
        pytest.fail(nvrtc.getProgramLog(program))
    binary = nvrtc.getCUBIN(program)
    assert binary.startswith(b"\x7fELF")
    for name in cuda_on_cpu.signatures():
        assert name.encode() in binary
    nvrtc.destroyProgram(program)


def test_cupy_without_a_driver_is_named():
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed")
    if cupy.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(ValueError, match="GPU 0 cannot be used: CuPy finds no CUDA driver or GPU"):
        backend.device(0)


def test_chainer_beside_cupy_imports_without_a_warning():
    pytest.importorskip("cupy", reason="CuPy is not installed")
    command = [sys.executable, "-W", "always", "-c", "import jvi, chainer; print(chainer.__name__)"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.stderr) == ("chainer\n", "")


def test_evaluation_draws_noise_that_depends_on_image_and_sample_alone(fake_gpu, monkeypatch):
    monkeypatch.setattr(cuda_on_cpu.DeviceArray, "_refuses", False)  # an evaluation may wait
    model = both("jvi")[1].model
    x = (np.random.default_rng(3).random((9, 36)) < 0.5).astype(np.float32)
    whole = evaluate(model, x, 40, ("iwae",), seed=5).per_image["iwae"]
    monkeypatch.setattr(backend, "GPU_ROWS", 14)
    monkeypatch.setattr(grid, "GRID", 90)
    few, many = evaluations(model, x, [40, 45], ("iwae",), seed=5, batch_size=4)
    np.testing.assert_allclose(few.per_image["iwae"], whole, rtol=1e-6)
    assert np.abs(many.per_image["iwae"] - whole).min() > 1e-4
    other = evaluate(model, x, 40, ("iwae",), seed=5, replication=1).per_image["iwae"]
    assert np.abs(other - whole).min() > 1e-4
