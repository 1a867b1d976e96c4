"""The programs that benchmark.py compares, each a function of a model, its data and noise.

`PROGRAMS` has them by name; what they are given is `make_inputs`', what they give a `Work`.
"""

import sys
from functools import partial
from math import log
from time import perf_counter, process_time
from types import SimpleNamespace
from typing import Any, NamedTuple
from unittest import mock

import numpy as np

from jvi.engine.devices import device
from jvi.engine.random import Given
from jvi.evidence.arrays import host

__all__ = [
    "LEARNING_RATE",
    "MODULES",
    "NAMES",
    "PROGRAMS",
    "Sizes",
    "Task",
    "Work",
    "interleaved",
    "make_inputs",
    "peak",
    "pieces",
    "plain_jvi",
    "plain_log_w",
]

NAMES = {
    "floor": "floor",
    "jvi": "this project",
    "numpy": "  without Numba",
    "eager": "PyTorch eager",
    "compiled": "torch.compile",
    "jax": "JAX jit",
}
MODULES = {"eager": "torch", "compiled": "torch", "jax": "jax"}

# Too small to change any weight: all stay comparable however often they repeat their step.
LEARNING_RATE = 1e-12


class Sizes(NamedTuple):
    """The model's."""

    num_pixels: int = 784
    num_hidden: int = 300
    num_latent: int = 40


class Task(NamedTuple):
    """`kind` is "step" or "evaluate"; K samples of each of N images."""

    kind: str
    num_samples: int
    num_images: int


class Work(NamedTuple):
    """What a program does for one task: functions without arguments.

    `log_w` gives (K, N), `gradients` a list in the parameters' order, on the host; `step` and
    `evaluate` are what is timed.
    """

    log_w: Any
    gradients: Any
    step: Any
    evaluate: Any


def make_inputs(task, sizes):
    """(link, x, eps): a model as training begins with, images, and noise (K, N, D)."""

    from jvi.models import MLP

    rng = np.random.default_rng(0)
    x = (rng.random((task.num_images, sizes.num_pixels)) < 0.3).astype(np.float32)
    shape = task.num_samples, task.num_images, sizes.num_latent
    return MLP(*sizes, rng), x, rng.standard_normal(shape, dtype=np.float32)


def pieces(num_samples, num_images, rows):
    """Index pairs (samples, images) that cut the grid into pieces of at most `rows`."""
    k = min(num_samples, rows)
    n = max(1, rows // k)
    return [
        (slice(i, i + k), slice(j, j + n))
        for j in range(0, num_images, n)
        for i in range(0, num_samples, k)
    ]


def _floor(link, x, eps, rows, gpu=-1):
    """The matrix products of a program, each with its shape but on arrays that lie ready."""
    place = device(gpu)
    rng = np.random.default_rng(1)
    shapes = [
        (link_part, *parameter.shape)
        for link_part in ("encode", "decode")
        for parameter in getattr(link, link_part).params()
        if parameter.ndim == 2
    ]
    num_rows = {"encode": len(x), "decode": min(rows, eps.shape[0] * len(x))}
    times = {"encode": 1, "decode": eps.shape[0] * len(x) // num_rows["decode"]}

    def array(*shape):
        return place.send(rng.standard_normal(shape, dtype=np.float32))

    products = []
    for part, out, width in shapes:
        rows = num_rows[part]
        a, w, d = array(rows, width), array(out, width), array(rows, out)
        to_data = part == "encode" and width == x.shape[1]
        by_input = None if to_data else array(rows, width)
        products.append((times[part], a, w, d, array(out, width), by_input))

    def forward():
        for repeats, a, w, d, _, _ in products:
            for _ in range(repeats):
                place.xp.matmul(a, w.T, out=d)

    def step():
        forward()
        for repeats, a, w, d, by_weights, by_input in products:
            for _ in range(repeats):
                place.xp.matmul(d.T, a, out=by_weights)
                if by_input is not None:
                    place.xp.matmul(d, w, out=by_input)

    return Work(None, None, step, forward)


def _jvi(link, x, eps, rows, gpu=-1):
    """This project as it is shipped: the trainer's updater, `jvi.evaluate`."""
    from jvi import evaluate
    from jvi.datasets import Dataset
    from jvi.models.model import Model
    from jvi.training.objective import objective_for
    from jvi.training.optimizers import optimizer_for
    from jvi.training.step import Step

    model = Model(link.copy(mode="copy"), gpu)
    data = Dataset("benchmark", x, x[:1], x[:1], (1, x.shape[1]))
    optimizer = optimizer_for("adam", LEARNING_RATE, model.link)
    trained = Step(model, data, optimizer, objective_for("jvi", raw=True), len(eps), seed=0)
    x, eps, rows = model.device.send(x), model.device.send(eps), np.arange(len(x))
    noise = SimpleNamespace(rows=lambda part: Given([eps[:, part]]))

    def gradients():
        trained._gradients(x, noise, {})
        return [host(parameter.grad).copy() for parameter in _parameters(model.link).values()]

    def step():
        trained._gradients(x, noise, {})
        optimizer.update()

    return Work(
        lambda: host(model.log_weights(x, eps=eps)),
        gradients,
        step if gpu < 0 else lambda: trained(rows, optimizer.t),
        lambda: evaluate(model, x, len(eps), ("iwae",)),
    )


def _without_numba(*arguments):
    """This project on NumPy alone."""

    def on_numpy(function):
        def call():
            with mock.patch("jvi.functions.kernels._numba_kernels", lambda name: None):
                return function()

        return call

    return Work(*map(on_numpy, _jvi(*arguments)))


def _parameters(link):
    return {name: parameter for name, parameter in sorted(link.namedparams())}


def plain_log_w(lib, p, x, eps):
    """Log-weights (K, N) as one writes them with PyTorch or JAX; `lib` has what they call apart."""

    def layer(name, h):
        return lib.linear(h, p[f"/{name}/W"], p[f"/{name}/b"])

    def crelu(h):
        return lib.concatenate([lib.relu(h), lib.relu(-h)], -1)

    h = crelu(layer("encode/qlin1", crelu(layer("encode/qlin0", x))))
    mean, ln_var = layer("encode/qlin_mu", h), layer("encode/qlin_ln_var", h)
    z = mean + lib.exp(0.5 * ln_var) * eps
    h = crelu(layer("decode/plin1", crelu(layer("decode/plin0", z))))
    logits = layer("decode/plin2", h)
    log_px = (x * logits - lib.softplus(logits)).sum(-1)
    # The normalising constants of both Gaussians cancel; eps is z, standardised.
    return log_px + 0.5 * (eps**2 + ln_var - z**2).sum(-1)


def plain_jvi(lib, log_w):
    """JVI-1 of each image, from the K bounds that leave one sample out."""

    num_samples = log_w.shape[0]
    others = log_w[None] + lib.without_diagonal(num_samples)
    left_out = lib.logsumexp(others, 1) - log(num_samples - 1)
    bound = lib.logsumexp(log_w, 0) - log(num_samples)
    return num_samples * bound - (num_samples - 1) * left_out.mean(0)


def _torch(link, x, eps, rows, gpu=-1, compiled=False):
    import torch
    import torch.nn.functional as F

    from jvi.training.optimizers import CLIP

    lib = SimpleNamespace(
        linear=F.linear,
        concatenate=torch.cat,
        relu=torch.relu,
        exp=torch.exp,
        softplus=F.softplus,
        logsumexp=torch.logsumexp,
        without_diagonal=lambda k: torch.diag(torch.full((k,), -torch.inf))[:, :, None],
    )
    num_images = len(x)

    def log_w_of(x, eps):
        return plain_log_w(lib, p, x, eps)

    def loss_of(x, eps):
        return -plain_jvi(lib, log_w_of(x, eps)).sum() / num_images

    log_w_fast, loss_fast = log_w_of, loss_of
    if compiled:
        torch._dynamo.config.recompile_limit = 100
        options = {"dynamic": False} | ({"mode": "reduce-overhead"} if gpu >= 0 else {})
        log_w_fast, loss_fast = (torch.compile(f, **options) for f in (log_w_of, loss_of))

    torch.set_default_device("cpu" if gpu < 0 else f"cuda:{gpu}")
    p = {n: torch.tensor(v.array, requires_grad=True) for n, v in _parameters(link).items()}
    optimizer = torch.optim.Adam(p.values(), lr=LEARNING_RATE, fused=True)
    x, eps = torch.tensor(x), torch.tensor(eps)
    parts = pieces(*eps.shape[:2], rows)

    def log_w():
        out = torch.empty(eps.shape[:2])
        with torch.no_grad():
            for k, n in parts:
                out[k, n] = log_w_fast(x[n], eps[k, n])
        return out

    def backward():
        optimizer.zero_grad()
        for k, n in parts:
            loss_fast(x[n], eps[k, n]).backward()

    def gradients():
        backward()
        return [value.grad.cpu().numpy().copy() for value in p.values()]

    def step():
        backward()
        torch.nn.utils.clip_grad_norm_(p.values(), CLIP)
        optimizer.step()

    return Work(lambda: log_w().cpu().numpy(), gradients, step, lambda: torch.logsumexp(log_w(), 0))


def _compiled(*arguments):
    return _torch(*arguments, compiled=True)


def _jax(link, x, eps, rows, gpu=-1):
    import jax
    import jax.numpy as jnp

    place = jax.devices("cpu")[0] if gpu < 0 else jax.devices("cuda")[gpu]
    jax.config.update("jax_default_device", place)
    jax.config.update("jax_default_matmul_precision", "highest")  # no TF32, as the others

    from jvi.training.optimizers import CLIP

    lib = SimpleNamespace(
        linear=lambda h, w, b: h @ w.T + b,
        concatenate=jnp.concatenate,
        relu=jax.nn.relu,
        exp=jnp.exp,
        softplus=jax.nn.softplus,
        logsumexp=jax.nn.logsumexp,
        without_diagonal=lambda k: jnp.diag(jnp.full(k, -jnp.inf))[:, :, None],
    )
    num_images, parts = len(x), pieces(*eps.shape[:2], rows)

    @jax.jit
    def log_w_of(p, x, eps):
        return plain_log_w(lib, p, x, eps)

    @jax.grad
    def gradients_of(p, x, eps):
        return -plain_jvi(lib, plain_log_w(lib, p, x, eps)).sum() / num_images

    @jax.jit
    def all_gradients(p, x, eps):
        each = [gradients_of(p, x[n], eps[k, n]) for k, n in parts]
        return jax.tree.map(lambda *values: sum(values), *each)

    @partial(jax.jit, donate_argnums=0)
    def adam_step(state, x, eps):
        p, m, v, t = state
        g = all_gradients(p, x, eps)
        norm = jnp.sqrt(sum((value**2).sum() for value in jax.tree.leaves(g)))
        g = jax.tree.map(lambda value: value * jnp.minimum(1, CLIP / norm), g)
        m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, g)
        v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g**2, v, g)
        rate = LEARNING_RATE * jnp.sqrt(1 - 0.999**t) / (1 - 0.9**t)
        p = jax.tree.map(lambda p, m, v: p - rate * m / (jnp.sqrt(v) + 1e-8), p, m, v)
        return p, m, v, t + 1

    p = {name: jnp.array(value.array) for name, value in _parameters(link).items()}
    zeros = {name: jnp.zeros_like(value) for name, value in p.items()}
    state = jax.tree.map(jnp.copy, (p, zeros, zeros, jnp.ones(())))
    x, eps = jnp.asarray(x), jnp.asarray(eps)

    def log_w():
        out = np.empty(eps.shape[:2], np.float32)
        for k, n in parts:
            out[k, n] = log_w_of(p, x[n], eps[k, n])
        return out

    def step():
        nonlocal state
        state = jax.block_until_ready(adam_step(state, x, eps))

    def gradients():
        return [np.asarray(value) for value in all_gradients(p, x, eps).values()]

    def evaluate():
        return jax.block_until_ready(jax.nn.logsumexp(log_w(), 0))

    return Work(log_w, gradients, step, evaluate)


PROGRAMS = {
    "floor": _floor,
    "jvi": _jvi,
    "numpy": _without_numba,
    "eager": _torch,
    "compiled": _compiled,
    "jax": _jax,
}


def interleaved(work, baseline, repeats):
    """Times of functions, called in turns with the one named `baseline`, once each before that.

    Returns
    -------
    dict of str to dict
        "seconds" of every repeat, "ratios" to the mean of the baseline's call before and that after
        it, and the same of the time that processors worked for this process, "cpu_ratios".
    """
    for function in work.values():
        function()
    found = {name: {"seconds": [], "ratios": [], "cpu_ratios": []} for name in work}
    for _ in range(repeats):
        before = _timed(work[baseline])
        for name, function in work.items():
            this, after = _timed(function), _timed(work[baseline])
            ratio, cpu_ratio = 2 * this / (before + after)
            for key, value in (("seconds", this[0]), ("ratios", ratio), ("cpu_ratios", cpu_ratio)):
                found[name][key].append(float(value))
            before = after
    return found


def _timed(function):
    """Seconds that a call takes, and that processors work on it, shape (2,)."""
    start = perf_counter(), process_time()
    function()
    return np.subtract((perf_counter(), process_time()), start)


def peak():
    """Peak resident memory of this process so far, in MB."""
    import resource

    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
