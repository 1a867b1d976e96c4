"""Measure this project beside PyTorch, torch.compile and JAX, whichever are installed.

Usage:
  benchmark.py [options]
  benchmark.py (-h | --help)

All of them train and evaluate the README's model (784-300-300-40 and back, CReLU) with the same
parameters, data and noise; that their log-weights and gradients agree to 1e-4 is checked first.
Times are multiples of the floor: the matrix products alone, by NumPy's BLAS on all cores, measured
in turns with everything else.

  T1  one training step on JVI-1 (for model and encoder alike, as --jvi-raw) with K = 8 samples:
      gradients, their clipping, Adam
  T2  log-weights of every image with K samples and their IWAE bound, no gradient

Noise is given to all in T1. In T2 it is given to all but this project, which draws its own, as it
does on a GPU in both.

Options:
  -h --help             Show this help screen.
  -o <file>             Write all numbers to this file [default: benchmark.json].
  --quick               Fewer repeats, untuned peers, growth up to K = 4096.
  --peers <list>        Of these, measure what is installed [default: eager,compiled,jax].
  --allocators <list>   "tuned": freed memory stays with the process, whichever program it runs;
                        "default": as the system has it [default: tuned,default].
  --parts <list>        What to measure [default: times,memory,growth].
  -g <device>, --device <device>
                        Number of the GPU to measure times on (and nothing else), -1 for the CPU
                        [default: -1].
"""

import json
import os
import platform
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from math import log
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter, sleep
from types import SimpleNamespace
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
from docopt import docopt
from tqdm import tqdm

from jvi.cli import command, number
from jvi.engine.devices import device
from jvi.engine.random import Given
from jvi.evidence.arrays import host
from jvi.text import table

NAMES = {
    "floor": "floor",
    "jvi": "this project",
    "numpy": "  without Numba",
    "eager": "PyTorch eager",
    "compiled": "torch.compile",
    "jax": "JAX jit",
}
MODULES = {"eager": "torch", "compiled": "torch", "jax": "jax"}

# glibc gives freed memory back to the system, page by page, and takes it again in the next step;
# told not to, it keeps it. Read when a process starts, so every measurement has its own process.
ALLOCATORS = {
    "default": {},
    "tuned": {
        "MALLOC_TRIM_THRESHOLD_": str(2**40),
        "MALLOC_TOP_PAD_": str(2**26),
        "MALLOC_MMAP_MAX_": "0",
    },
}

# So that JAX leaves memory of a GPU to the others.
JAX_SETTINGS = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}

# Rows (samples times images) that floor and peers work on at a time; the fastest is taken.
ROWS = (1024, 4096, 16384)
GPU_ROWS = (2**14, 2**18)

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


class Plan(NamedTuple):
    """How long to measure, and on which GPU (-1: on the CPU)."""

    repeats: int = 15
    row_choices: tuple = ROWS
    growth_samples: tuple = tuple(2**i for i in range(4, 17))
    growth_images: tuple = tuple(2**i for i in range(4, 12))
    gpu: int = -1


QUICK = Plan(3, (4096,), tuple(2**i for i in range(4, 13, 2)), tuple(2**i for i in range(4, 11, 2)))

TASKS = {
    "T1 N=2048": Task("step", 8, 2048),
    "T1 N=256": Task("step", 8, 256),
    "T2 K=256": Task("evaluate", 256, 512),
    "T2 K=4096": Task("evaluate", 4096, 32),
}
MEMORY_TASKS = ("T1 N=2048", "T2 K=4096")
MANY, MANY_SAMPLES = "T2 K=65536", Task("evaluate", 65536, 2)  # more would measure their noise


class Work(NamedTuple):
    """What a program does for one task: functions without arguments.

    `log_w` gives (K, N), `gradients` a list in the parameters' order, on the host; `step` and
    `evaluate` are what is timed.
    """

    log_w: Any
    gradients: Any
    step: Any
    evaluate: Any


@command
def main(argv=None):
    from jvi.files import atomic_write

    arguments = docopt(__doc__, argv)
    plan = QUICK if arguments["--quick"] else Plan()
    gpu = number(arguments, "--device")
    programs = ["floor", *_ours(), *_installed(arguments["--peers"].split(","))]
    result = {"machine": _machine(programs), "tasks": {k: t._asdict() for k, t in TASKS.items()}}
    parts = arguments["--parts"].split(",")
    if gpu >= 0:
        device(gpu)  # raises ValueError where there is none
        plan, parts = plan._replace(gpu=gpu, row_choices=GPU_ROWS), ["times"]
    for allocator in arguments["--allocators"].split(","):
        if "times" in parts:
            times = {
                label: _child(allocator, measure, task, programs, plan)
                for label, task in tqdm(TASKS.items(), allocator, disable=None, leave=False)
            }
            result.setdefault("times", {})[allocator] = times
            print(f"\nTimes as multiples of the floor (quartiles), {allocator} allocator")
            print(table(_time_rows(times, programs), ["", *TASKS]), flush=True)
    if "memory" in parts:
        result["memory"] = _memory(programs[1:], next(iter(result.get("times", {}).values()), None))
        print("\nPeak resident memory in MB, default allocator (with nothing but the imports)")
        columns = [*MEMORY_TASKS, MANY]
        print(table(_memory_rows(result["memory"], columns), ["", *columns]), flush=True)
    if "growth" in parts:
        result["growth"] = _child("default", growth, plan)
        print("\nGrowth of this project's time")
        for label, line in result["growth"].items():
            print(f"  {label}: seconds ~ {line['variable']}^{line['exponent']:.3f}")
    result["machine"]["load average at the end"] = _load()
    with atomic_write(arguments["-o"]) as temporary:
        temporary.write_text(json.dumps(result, indent=1))
    print(f"\nwritten to {arguments['-o']}")


def _ours():
    """This project, with Numba and without, where it is installed."""
    return ["jvi", "numpy"] if find_spec("numba") else ["jvi"]


def _installed(peers):
    for peer in filter(None, peers):
        if peer not in MODULES:
            raise ValueError(f"--peers: unknown {peer!r}, choose from {', '.join(MODULES)}")
    return [peer for peer in peers if peer in MODULES and find_spec(MODULES[peer])]


def _child(allocator, function, *arguments):
    """The function's result, computed in a fresh process with an allocator's settings."""
    if allocator not in ALLOCATORS:
        raise ValueError(
            f"--allocators: unknown {allocator!r}, choose from {', '.join(ALLOCATORS)}"
        )
    with (
        mock.patch.dict(os.environ, ALLOCATORS[allocator] | JAX_SETTINGS),
        ProcessPoolExecutor(1, get_context("spawn")) as pool,
    ):
        return pool.submit(function, *arguments).result()


def measure(task, programs, plan, sizes=Sizes()):  # noqa: B008 it cannot be changed
    """Seconds of each program, in turns, after checking that all agree.

    Returns
    -------
    dict of str to dict
        By program: "rows" at a time, "seconds" of every repeat, "error" of log w and gradients
        relative to this project's.
    """
    inputs = make_inputs(task, sizes)
    wait = _waiter(plan.gpu)
    works = {name: _fastest(name, task.kind, inputs, plan, wait) for name in programs}
    errors = disagreement({name: work for name, (work, _) in works.items()}, task.kind)
    seconds = {name: [] for name in programs}
    for _ in range(plan.repeats):
        for name, (work, _) in works.items():
            seconds[name].append(timed(getattr(work, task.kind), wait))
    return {
        name: {"rows": works[name][1], "seconds": seconds[name], "error": errors.get(name)}
        for name in programs
    }


def _waiter(gpu):
    """A function that waits until a GPU has done its work; for the CPU it does nothing."""
    if gpu < 0:
        return lambda: None
    import cupy

    return cupy.cuda.Device(gpu).synchronize


def timed(function, wait=lambda: None):
    """Seconds of a call, after one that warms the caches and puts other thread pools to sleep."""

    sleep(0.05)
    function()
    wait()
    start = perf_counter()
    function()
    wait()
    return perf_counter() - start


def make_inputs(task, sizes):
    """(link, x, eps): a model as training begins with, images, and noise (K, N, D)."""

    from jvi.models import MLP

    rng = np.random.default_rng(0)
    x = (rng.random((task.num_images, sizes.num_pixels)) < 0.3).astype(np.float32)
    shape = task.num_samples, task.num_images, sizes.num_latent
    return MLP(*sizes, rng), x, rng.standard_normal(shape, dtype=np.float32)


def _fastest(name, kind, inputs, plan, wait):
    """A program's work at the best number of rows at a time, and that number."""
    total = inputs[2].shape[0] * inputs[2].shape[1]
    ours = name in ("jvi", "numpy")
    choices = [None] if ours else sorted({min(rows, total) for rows in plan.row_choices})
    works = [(PROGRAMS[name](*inputs, rows, plan.gpu), rows) for rows in choices]
    if len(works) == 1:
        return works[0]
    return min(works, key=lambda pair: min(timed(getattr(pair[0], kind), wait) for _ in range(2)))


def disagreement(works, kind):
    """The largest relative difference from this project's log w and, of a step, gradients.

    Raises
    ------
    ArithmeticError
        When one exceeds 1e-4.
    """

    def difference(a, b):
        return float(np.linalg.norm(a - b) / np.linalg.norm(b))

    def results(work):
        return [work.log_w(), *(work.gradients() if kind == "step" else [])]

    ours = results(works["jvi"])
    errors = {}
    for name, work in works.items():
        if name in ("floor", "jvi"):
            continue
        errors[name] = max(map(difference, results(work), ours))
        if not errors[name] < 1e-4:
            raise ArithmeticError(f"{NAMES[name]} computes something else: error {errors[name]:g}")
    return errors


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
    optimizer = optimizer_for("adam", LEARNING_RATE, model)
    trained = Step(model, data, optimizer, objective_for("jvi", raw=True), len(eps), seed=0)
    x, eps, rows = model.device.send(x), model.device.send(eps), np.arange(len(x))
    noise = SimpleNamespace(rows=lambda part: Given([eps[:, part]]))

    def gradients():
        trained._gradients(x, noise)
        return [host(parameter.grad).copy() for parameter in _parameters(model.link).values()]

    def step():
        trained._gradients(x, noise)
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
            with mock.patch("jvi.functions.kernels._numba_kernels", lambda: None):
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


def peak_memory(name, task, rows, sizes=Sizes()):  # noqa: B008 it cannot be changed
    """Peak resident memory of this process in MB: with the imports alone, and after the task."""
    tiny = make_inputs(Task(task.kind, 2, 2), sizes)
    getattr(PROGRAMS[name](*tiny, rows), task.kind)()
    before = _peak()
    getattr(PROGRAMS[name](*make_inputs(task, sizes), rows), task.kind)()
    return {"imports": before, "peak": _peak()}


def _peak():
    import resource

    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def growth(plan, sizes=Sizes()):  # noqa: B008 it cannot be changed
    """Seconds of this project against K and N, and the exponents fitted to their upper halves."""
    lines = {
        "evaluate, 16 images": ("K", [Task("evaluate", k, 16) for k in plan.growth_samples]),
        "evaluate, K=64": ("N", [Task("evaluate", 64, n) for n in plan.growth_images]),
        "training step, K=8": ("N", [Task("step", 8, n) for n in plan.growth_images]),
    }
    result = {}
    for label, (variable, tasks) in lines.items():
        sizes_of = [task.num_samples if variable == "K" else task.num_images for task in tasks]
        seconds = []
        for task in tasks:
            work = _jvi(*make_inputs(task, sizes), None)
            runs = [timed(getattr(work, task.kind)) for _ in range(min(plan.repeats, 3))]
            seconds.append(float(np.median(runs)))
        half = len(tasks) // 2
        exponent = float(np.polyfit(np.log(sizes_of[half:]), np.log(seconds[half:]), 1)[0])
        result[label] = {
            "variable": variable,
            "sizes": sizes_of,
            "seconds": seconds,
            "exponent": exponent,
        }
    return result


def _memory(programs, times):
    """`peak_memory` of each program, each in a process of its own."""
    tasks = {label: TASKS[label] for label in MEMORY_TASKS}
    result = {}
    for name in tqdm(programs, "memory", disable=None, leave=False):
        for label, task in tasks.items():
            rows = times[label][name]["rows"] if times else ROWS[1]
            result.setdefault(name, {})[label] = _child("default", peak_memory, name, task, rows)
    result["jvi"][MANY] = _child("default", peak_memory, "jvi", MANY_SAMPLES, None)
    return result


def _time_rows(times, programs):
    """A line of the table for each program: median and quartiles of the ratios to the floor."""
    return [[NAMES[name], *(_cell(t, name) for t in times.values())] for name in programs]


def _cell(results, name):
    floor = np.array(results["floor"]["seconds"])
    if name == "floor":
        return f"1 = {np.median(floor):.3g} s"
    low, middle, high = np.percentile(results[name]["seconds"] / floor, [25, 50, 75])
    return f"{middle:.2f} ({low:.2f}-{high:.2f})"


def _memory_rows(memory, columns):
    def cell(numbers):
        return f"{numbers['peak']:.0f} ({numbers['imports']:.0f})" if numbers else ""

    return [
        [NAMES[name], *(cell(numbers.get(column)) for column in columns)]
        for name, numbers in memory.items()
    ]


def _machine(programs):
    from jvi.engine.threads import cores

    peers = {MODULES[name] for name in programs if name in MODULES}
    packages = ["numpy", "chainer", *sorted(peers)]
    return {
        "cpu": _cpu_name(),
        "cores": cores(),
        "python": platform.python_version(),
        "versions": {package: version(package) for package in packages},
        "load average at the start": _load(),
    }


def _cpu_name():
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _load():
    return os.getloadavg()[0]


if __name__ == "__main__":
    main()
