"""Chainer 7.8.1 under the shim: what it computes, and what importing it does and leaves behind."""

import json
import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import chainer
import chainer.functions as F
import chainer.links as L
import numpy as np
import pytest
from chainer import optimizers, serializers, training
from chainer.iterators import SerialIterator
from chainer.training import extensions

import jvi

ROOT = Path(jvi.__file__).resolve().parent.parent


def normals(*shape, dtype=np.float64):
    return np.random.default_rng(0).standard_normal(shape).astype(dtype)


# ------------------------------------------------------------------------------------------------
# Functions and their gradients

FUNCTIONS = {  # Chainer's, NumPy's, shapes of the arguments
    "crelu": (F.crelu, lambda x: np.concatenate([x.clip(0), (-x).clip(0)], 1), [(4, 3)]),
    "crelu, last axis": (
        lambda x: F.crelu(x, axis=2),
        lambda x: np.concatenate([x.clip(0), (-x).clip(0)], 2),
        [(2, 4, 3)],
    ),
    "linear": (F.linear, lambda x, w, b: x @ w.T + b, [(4, 3), (2, 3), (2,)]),
    "linear on (K, N, D)": (
        lambda x, w, b: F.linear(x, w, b, n_batch_axes=2),
        lambda x, w, b: x @ w.T + b,
        [(5, 4, 3), (2, 3), (2,)],
    ),
    "sum": (F.sum, np.sum, [(4, 3)]),
    "sum over an axis": (lambda x: F.sum(x, axis=-1), lambda x: x.sum(-1), [(2, 4, 3)]),
    "exp": (F.exp, np.exp, [(4, 3)]),
    "sigmoid": (F.sigmoid, lambda x: 1 / (1 + np.exp(-x)), [(4, 3)]),
    "broadcast_to": (
        lambda x: F.broadcast_to(x, (5, 4, 3)),
        lambda x: np.stack([np.concatenate([x] * 4)] * 5),
        [(1, 3)],
    ),
    "reshape": (lambda x: F.reshape(x, (2, 6)), lambda x: x.reshape(2, 6), [(4, 3)]),
    "arithmetic": (
        lambda x, y: -(2.0 - x) * y / (y**2 + 3) + x,
        lambda x, y: -(2.0 - x) * y / (y**2 + 3) + x,
        [(4, 3), (4, 3)],
    ),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_value_is_numpys_and_gradient_is_the_finite_difference(name):
    function, formula, shapes = FUNCTIONS[name]
    rng = np.random.default_rng(1)
    arguments = [rng.standard_normal(shape) for shape in shapes]
    variables = [chainer.Variable(array.copy()) for array in arguments]
    y = function(*variables)
    np.testing.assert_allclose(y.array, formula(*arguments), rtol=1e-14, atol=1e-14)
    y.grad = weights = rng.standard_normal(y.shape)
    y.backward()
    for array, variable in zip(arguments, variables, strict=True):
        expected = central_differences(lambda: np.sum(weights * formula(*arguments)), array)
        assert variable.grad.dtype == np.float64
        np.testing.assert_allclose(variable.grad, expected, rtol=1e-6, atol=1e-8)


def central_differences(value, array, step=1e-6):
    """d value() / d array, changing `array` in place and back."""
    gradient = np.empty_like(array)
    for index in np.ndindex(array.shape):
        kept = array[index]
        array[index] = kept + step
        above = value()
        array[index] = kept - step
        gradient[index] = (above - value()) / (2 * step)
        array[index] = kept
    return gradient


def test_linear_link_holds_float32_parameters_and_applies_them():
    link = L.Linear(3, 2)
    x = normals(4, 3, dtype=np.float32)
    y = link(x)
    assert (link.W.dtype, link.b.dtype, y.dtype) == (np.float32,) * 3
    np.testing.assert_allclose(y.array, x @ link.W.array.T + link.b.array, rtol=1e-5, atol=1e-6)


FLOAT32 = {
    "float": lambda x: 0.5 * x * 2.0 / 3.0 + 1.0 - 2.0,
    "float64 scalar on the right": lambda x: x * np.float64(2) / np.log(2) - np.float64(1),
    "float64 scalar on the left": lambda x: np.float64(2) * x + np.float64(1),
    "power": lambda x: x**2,
    "functions": lambda x: F.sum(F.exp(F.crelu(x)) * F.sigmoid(x[:, :1]), axis=0),
    "broadcast": lambda x: F.broadcast_to(F.reshape(x, (1, 4, 3)), (5, 4, 3)),
}


@pytest.mark.parametrize("expression", FLOAT32.values(), ids=FLOAT32)
def test_float32_stays_float32(expression):
    x = chainer.Variable(normals(4, 3, dtype=np.float32))
    y = expression(x)
    assert y.dtype == np.float32
    F.sum(y).backward()
    assert x.grad.dtype == np.float32


# ------------------------------------------------------------------------------------------------
# Optimizers

CLIP = 4.0


def sgd(grads, lr):
    for grad in grads:
        yield lr * grad


def adam(grads, lr, beta1=0.9, beta2=0.999, eps=1e-8):
    """Kingma and Ba, 2015, algorithm 1."""
    m = v = 0
    for t, grad in enumerate(grads, 1):
        m = beta1 * m + (1 - beta1) * grad
        v = beta2 * v + (1 - beta2) * grad**2
        yield lr * (m / (1 - beta1**t)) / (np.sqrt(v / (1 - beta2**t)) + eps)


def smorms3(grads, lr, eps=1e-16):
    """Funk, 2015, RMSprop loses to SMORMS3."""
    mem, g, g2 = 1, 0, 0
    for grad in grads:
        r = 1 / (mem + 1)
        g = (1 - r) * g + r * grad
        g2 = (1 - r) * g2 + r * grad**2
        ratio = g**2 / (g2 + eps)
        mem = 1 + mem * (1 - ratio)
        yield grad * np.minimum(lr, ratio) / (np.sqrt(g2) + eps)


OPTIMIZERS = {
    "sgd": (sgd, 0.3, lambda lr: optimizers.SGD(lr=lr)),
    "adam": (adam, 0.3, lambda lr: optimizers.Adam(alpha=lr)),
    "smorms3": (smorms3, 0.6, lambda lr: optimizers.SMORMS3(lr=lr)),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizer_with_clipping_follows_its_paper(name):
    rule, lr, make = OPTIMIZERS[name]
    start, curvature = normals(6) * 3, np.arange(1.0, 7.0)
    link = Vector(start)
    optimizer = make(lr).setup(link)
    optimizer.add_hook(chainer.optimizer_hooks.GradientClipping(CLIP))

    p, lengths = start.copy(), []

    def clipped_gradients():
        while True:
            grad = curvature * p
            lengths.append(np.linalg.norm(grad))
            yield grad * min(1, CLIP / lengths[-1])

    updates = rule(clipped_gradients(), lr)
    for _ in range(12):
        optimizer.update(link.half_square, curvature.astype(np.float32))
        p -= next(updates)
        np.testing.assert_allclose(link.p.array, p, rtol=1e-4, atol=1e-5)
    assert link.p.dtype == np.float32
    assert min(lengths) < CLIP < max(lengths), "clips some steps and not others"


class Vector(chainer.Link):
    """One parameter, float32."""

    def __init__(self, values):
        super().__init__()
        with self.init_scope():
            self.p = chainer.Parameter(np.array(values, np.float32))

    def half_square(self, curvature):
        return F.sum(curvature * self.p**2) / 2


# ------------------------------------------------------------------------------------------------
# Serializers, iterators, trainer


@pytest.mark.parametrize("kind", ["npz", "hdf5"])
def test_model_and_optimizer_state_survive_a_file(kind, tmp_path):
    save, load = getattr(serializers, f"save_{kind}"), getattr(serializers, f"load_{kind}")
    first, second = Vector(normals(6)), Vector(np.zeros(6))
    steps = [optimizers.Adam(alpha=0.1).setup(link) for link in (first, second)]
    for _ in range(3):
        steps[0].update(first.half_square, np.float32(1))
    save(tmp_path / f"link.{kind}", first)
    save(tmp_path / f"optimizer.{kind}", steps[0])
    load(tmp_path / f"link.{kind}", second)
    load(tmp_path / f"optimizer.{kind}", steps[1])
    for link, step in zip((first, second), steps, strict=True):
        step.update(link.half_square, np.float32(1))
    assert steps[1].t == 4
    assert second.p.dtype == np.float32
    np.testing.assert_array_equal(second.p.array, first.p.array)


def test_npz_file_holds_arrays_under_the_paths_of_links(tmp_path):
    model = chainer.Chain(encode=chainer.Chain(qlin0=L.Linear(3, 2)))
    serializers.save_npz(tmp_path / "model.npz", model)
    with np.load(tmp_path / "model.npz", allow_pickle=False) as arrays:
        assert sorted(arrays) == ["encode/qlin0/W", "encode/qlin0/b"]
        np.testing.assert_array_equal(arrays["encode/qlin0/W"], model.encode.qlin0.W.array)


def test_iterator_follows_its_order_sampler_across_epochs():
    orders = iter([[3, 0, 5, 1, 4, 2], [2, 5, 0, 3, 1, 4], range(6)])
    iterator = SerialIterator(
        range(10, 16), 4, order_sampler=lambda order, position: np.array(next(orders))
    )
    seen = [(list(iterator.next()), iterator.epoch, iterator.is_new_epoch) for _ in range(3)]
    assert seen == [
        ([13, 10, 15, 11], 0, False),
        ([14, 12, 12, 15], 1, True),
        ([10, 13, 11, 14], 2, True),
    ]


def test_trainer_logs_the_descent_that_numpy_computes(tmp_path):
    x = normals(8, 3, dtype=np.float32)
    t = x @ np.array([[1], [-2], [0.5]], np.float32)
    model = Regression()
    w, losses = model.linear.W.array.T.astype(float), []
    for _ in range(5):
        residual = x @ w - t
        losses.append(np.mean(residual**2))
        w -= 0.1 * 2 * x.T @ residual / len(x)

    optimizer = optimizers.SGD(lr=0.1).setup(model)
    iterator = SerialIterator(list(zip(x, t, strict=True)), len(x), shuffle=False)
    updater = training.updaters.StandardUpdater(iterator, optimizer)
    trainer = training.Trainer(updater, (5, "epoch"), out=str(tmp_path))
    trainer.extend(extensions.LogReport(trigger=(1, "epoch")))
    trainer.run()

    log = json.loads((tmp_path / "log").read_text())
    assert [entry["epoch"] for entry in log] == [1, 2, 3, 4, 5]
    np.testing.assert_allclose([entry["main/loss"] for entry in log], losses, rtol=1e-4)
    np.testing.assert_allclose(model.linear.W.array.T, w, rtol=1e-4)


class Regression(chainer.Chain):
    def __init__(self):
        super().__init__()
        with self.init_scope():
            self.linear = L.Linear(3, 1, nobias=True)

    def forward(self, x, t):
        loss = F.sum((self.linear(x) - t) ** 2) / len(x)
        chainer.report({"loss": loss}, self)
        return loss


# ------------------------------------------------------------------------------------------------
# The four functions that the shim repairs (the fourth, a thread's start, is among the processes)


def test_as_strided_passes_gradients_back():
    x = chainer.Variable(np.arange(4, dtype=np.float32))
    windows = F.as_strided(x, (3, 2), (1, 1))
    np.testing.assert_array_equal(windows.array, [[0, 1], [1, 2], [2, 3]])
    F.sum(windows).backward()
    np.testing.assert_array_equal(x.grad, [1, 2, 2, 1])


def test_resize_images_interpolates_linearly():
    image = np.array([[[[0, 1], [2, 3]]]], np.float32)
    expected = [[0, 0.5, 1], [1, 1.5, 2], [2, 2.5, 3]]
    np.testing.assert_allclose(F.resize_images(image, (3, 3)).array[0, 0], expected, atol=1e-6)


def test_categorical_log_probabilities():
    p = np.array([[0.1, 0.2, 0.7], [0.5, 0.3, 0.2]], np.float32)
    for x in (np.array([2, 0]), chainer.Variable(np.array([2, 0]))):
        log_p = chainer.distributions.Categorical(p).log_prob(x)
        np.testing.assert_allclose(log_p.array, np.log([0.7, 0.5]), rtol=1e-6)


# ------------------------------------------------------------------------------------------------
# Importing, each in an interpreter of its own


def python(code):
    return run_python("-c", dedent(code))


def run_python(*arguments):
    """What Python prints, every warning an error but that of a NumPy newer than this project."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    warnings = ["-W", "error", "-W", "ignore:jvi has not been tested with NumPy"]
    command = [sys.executable, *warnings, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout.strip()


def test_import_leaves_numpy_as_it_was_and_warns_of_nothing():
    code = """
    import types
    import numpy as np
    before = dict(vars(np))
    from jvi.compat.chainer7 import chainer
    after = {k: v for k, v in vars(np).items() if not isinstance(v, types.ModuleType)}
    print([name for name in after if after[name] is not before.get(name)])
    print(hasattr(np, "sctypes"), hasattr(np, "float"))
    """
    assert python(code) == "[]\nFalse False"


def test_import_of_jvi_alone_is_light_and_hooks_into_nothing():
    code = """
    import builtins
    import sys
    hooks = [*sys.meta_path], [*sys.path_hooks], builtins.__import__, sys.getprofile()
    import jvi
    print(hooks == ([*sys.meta_path], [*sys.path_hooks], builtins.__import__, sys.getprofile()))
    loaded = {name.partition(".")[0] for name in sys.modules} - {*sys.stdlib_module_names}
    print(sorted(name for name in loaded if not name.startswith("_")))
    """
    assert python(code) == "True\n['array_api_compat', 'jvi', 'numpy']"


def test_chainer_comes_without_a_hook():
    code = """
    import sys
    before = [*sys.meta_path]
    import jvi.compat.chainer7
    added = [finder for finder in sys.meta_path if finder not in before]
    print([finder for finder in added if "SixMetaPathImporter" not in repr(finder)])
    """
    assert python(code) == "[]"


def test_another_chainer_is_refused_but_bounds_work_without_it():
    code = """
    import importlib.metadata
    importlib.metadata.version = lambda name: "7.7.0"
    import sys
    import numpy as np
    import jvi
    for name in ("jvi.compat.chainer7", "jvi.compat.chainer7", "jvi.models", "jvi.functions"):
        try:
            __import__(name)
        except ImportError as error:
            print(error)
    try:
        jvi.load("model")
    except ImportError as error:
        print(error)
    print("chainer" in sys.modules, jvi.iwae(np.zeros((2, 1))))
    """
    line = "jvi needs Chainer 7.8.1, found 7.7.0: install it as jvi's README says\n"
    assert python(code) == f"{line * 5}False [0.]"


def test_a_wrong_chainer_that_is_there_already_is_refused_untouched():
    code = """
    import importlib.metadata, sys, types
    importlib.metadata.version = lambda name: "8.0.0"
    sys.modules["chainer"] = theirs = types.ModuleType("chainer")
    try:
        import jvi.compat.chainer7
    except ImportError as error:
        print(error)
    print(sys.modules["chainer"] is theirs, vars(theirs).keys() - vars(types.ModuleType("")).keys())
    """
    line = "jvi needs Chainer 7.8.1, found 8.0.0: install it as jvi's README says"
    assert python(code) == f"{line}\nTrue set()"


def test_untested_numpy_is_warned_of_once():
    code = """
    import importlib
    import sys
    import warnings
    import numpy as np
    np.__version__ = "2.99.0"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        import jvi.models
        from jvi.compat import chainer7
        importlib.reload(chainer7)
        del sys.modules["jvi.compat.chainer7"]
        import jvi.compat.chainer7
    print(*[warning.message for warning in caught if "jvi" in str(warning.message)], sep="|")
    """
    assert python(code) == "jvi has not been tested with NumPy 2.99.0, only with 2.0 to 2.5"


USE = """
    import numpy as np
    import chainer.functions as F
    print(F.resize_images(np.ones((1, 1, 2, 2), "f"), (1, 1)).array.ravel())
    """


@pytest.mark.parametrize(
    "again",
    [
        "from jvi.compat.chainer7 import chainer",
        "import importlib; importlib.reload(chainer7)",
        "import sys; del sys.modules['jvi.compat.chainer7']; import jvi.compat.chainer7",
    ],
)
def test_importing_twice_is_importing_once(again):
    code = f"""
    from jvi.compat import chainer7
    first = chainer7.chainer
    {again}
    import chainer
    print(chainer is first)
    {USE}"""
    assert python(code) == "True\n[1.]"


def test_import_works_after_one_without_the_shim_has_failed():
    code = f"""
    try:
        import chainer
    except Exception:
        print("failed")
    import jvi.compat.chainer7
    {USE}"""
    assert python(code) == "failed\n[1.]"


@pytest.mark.parametrize(
    "half_way",
    ["chainer.functions.array", "chainer.iterators", "chainer.serializers.npz", "chainer.training"],
)
def test_import_works_after_one_that_has_failed_half_way(half_way):
    code = f"""
    import sys
    import numpy as np

    class Broken:
        def find_spec(self, name, path=None, target=None):
            if name == {half_way!r}:
                raise OSError("no space left")

    sys.meta_path.insert(0, Broken())
    for _ in range(2):
        try:
            import jvi.compat.chainer7
        except OSError as error:
            print(error, hasattr(np, "sctypes"), "jvi.compat.chainer7" in sys.modules)
    del sys.meta_path[0]
    from jvi.compat.chainer7 import chainer
    {USE}"""
    assert python(code) == 2 * "no space left False False\n" + "[1.]"


SHIM = """
    import sys, types
    import numpy as np
    sys.modules["chainer._environment_check"] = types.SimpleNamespace(check=lambda: None)
    np.sctypes = {"int": [np.int8, np.int16, np.int32, np.int64]}
    """


def test_chainer_that_another_shim_imported_is_repaired():
    code = f"""{SHIM}
    import chainer
    del np.sctypes
    import jvi.compat.chainer7
    {USE}"""
    assert python(code) == "[1.]"


@pytest.mark.parametrize("jvi_first", [True, False])
def test_a_shim_that_stays_in_numpy_keeps_what_it_put_there(jvi_first):
    ours = "import jvi.compat.chainer7"
    before, after = (ours, "import chainer") if jvi_first else ("", ours)
    code = f"""
    {before}
    {SHIM}
    theirs = np.sctypes
    {after}
    print(np.sctypes is theirs)
    {USE}"""
    assert python(code) == "True\n[1.]"


def test_threads_import_chainer_together():
    code = """
    from concurrent.futures import ThreadPoolExecutor
    from threading import Barrier
    import jvi
    barrier = Barrier(8)
    def work(number):
        barrier.wait()
        if number % 2:
            from jvi.compat.chainer7 import chainer
        else:
            import jvi.functions
            import chainer
        return chainer.__version__, chainer.functions.relu.__name__
    with ThreadPoolExecutor(8) as pool:
        print(set(pool.map(work, range(8))))
    """
    assert python(code) == "{('7.8.1', 'relu')}"


@pytest.mark.slow
def test_every_module_can_be_imported_first():
    """Whoever imports Chainer imports the shim before: each in a process that has neither.

    What both import of others is there, which is most of the work and has no part in this.
    """
    folders = {"jvi": ROOT / "jvi", "jvi.compat": ROOT / "compat", "jvi.scripts": ROOT / "scripts"}
    names = {
        ".".join([package, *path.relative_to(folder).with_suffix("").parts])
        for package, folder in folders.items()
        for path in folder.rglob("*.py")
        if "import chainer" in path.read_text() or "from chainer" in path.read_text()
    }
    assert {"jvi.models.mlp", "jvi.training.step", "jvi.assessment.grid"} <= names
    code = f"""
    import os, sys
    import h5py, numba, numpy, scipy.io, scipy.sparse, scipy.stats
    if {{"jvi", "chainer", "cupy"}} & {{*sys.modules}}:
        print("not from the beginning")
    for name in {sorted(names)}:
        if not os.fork():
            try:
                __import__(name)
            except BaseException as error:
                print(name, error, flush=True)
            os._exit(0)
        os.wait()
    """
    assert python(code) == ""


def test_spawned_processes_and_the_prefetching_thread_work(tmp_path):
    script = tmp_path / "script.py"
    code = """
    import multiprocessing
    from jvi.compat.chainer7 import chainer
    from chainer.iterators import MultiprocessIterator

    if __name__ == "__main__":
        multiprocessing.set_start_method("spawn")
        data = list(range(5))
        iterator = MultiprocessIterator(data, 2, repeat=False, shuffle=False, n_processes=1)
        print(list(iterator))
        iterator.finalize()
    """
    script.write_text(dedent(code))
    assert run_python(str(script)) == "[[0, 1], [2, 3], [4]]"
