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

"estimators" are this project's alone: time and memory of a training step of each estimator at K =
8, 64 and 512, as ratios to IWAE's on burda:layers=1 and, of those that train discrete latents, to
REINFORCE's on sbn:layers=1; medians of 15 (quartiles), memory beyond that of the imports. It takes
a quarter of an hour.

"network" is this project's, too: a training step of a Bayesian network, 784-400-400-10, for B rows
and K draws of its weights, beside the matrix products that these need, as are the normal numbers
that no step can do without; and the memory that steps add to the data's. It takes three minutes.

"convolution" is layers of networks of images, forwards ("forward") and with their gradients
("both"), beside PyTorch's, if it is installed, and a direct convolution's bare matrix products, on
one thread and on all cores; in brackets ratios to PyTorch's, and of processor time. It takes three
minutes.

Noise is given to all in T1. In T2 it is given to all but this project, which draws its own, as it
does on a GPU in both.

Options:
  -h --help             Show this help screen.
  -o <file>             Write all numbers to this file [default: benchmark.json].
  --quick               Fewer repeats, untuned peers, growth up to K = 4096, estimators at K = 8,
                        one network, one convolution.
  --peers <list>        Of these, measure what is installed [default: eager,compiled,jax].
  --allocators <list>   "tuned": freed memory stays with the process, whichever program it runs;
                        "default": as the system has it [default: tuned,default].
  --parts <list>        What to measure [default: times,memory,growth]. Beside these or alone
                        "estimators": what every gradient estimator costs; "network": what a
                        Bayesian network does; "convolution": layers of images; "ranks": a process
                        for every core instead of a thread.
  -g <device>, --device <device>
                        Number of the GPU to measure times on (and nothing else), -1 for the CPU
                        [default: -1].
"""

import json
import os
import platform
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter, sleep
from typing import NamedTuple
from unittest import mock

import numpy as np
from docopt import docopt
from tqdm import tqdm

from jvi.cli import command, number
from jvi.engine.devices import device
from jvi.engine.threads import cores
from jvi.scripts import convolution_costs, estimator_costs, network_costs, rank_costs
from jvi.scripts.benchmark_programs import (
    MODULES,
    NAMES,
    PROGRAMS,
    Sizes,
    Task,
    make_inputs,
    peak,
)
from jvi.text import table

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

PARTS = "times", "memory", "growth", "estimators", "network", "convolution", "ranks"


class Plan(NamedTuple):
    """How long to measure, and on which GPU (-1: on the CPU)."""

    repeats: int = 15
    row_choices: tuple = ROWS
    growth_samples: tuple = tuple(2**i for i in range(4, 17))
    growth_images: tuple = tuple(2**i for i in range(4, 12))
    gpu: int = -1
    estimators: estimator_costs.Sizes = estimator_costs.Sizes()
    network: network_costs.Sizes = network_costs.Sizes()
    convolution: convolution_costs.Sizes = convolution_costs.Sizes()
    ranks: rank_costs.Sizes = rank_costs.Sizes()


QUICK = Plan(
    repeats=3,
    row_choices=(4096,),
    growth_samples=tuple(2**i for i in range(4, 13, 2)),
    growth_images=tuple(2**i for i in range(4, 11, 2)),
    estimators=estimator_costs.QUICK_SIZES,
    network=network_costs.QUICK_SIZES,
    convolution=convolution_costs.QUICK_SIZES,
    ranks=rank_costs.QUICK_SIZES,
)

TASKS = {
    "T1 N=2048": Task("step", 8, 2048),
    "T1 N=256": Task("step", 8, 256),
    "T2 K=256": Task("evaluate", 256, 512),
    "T2 K=4096": Task("evaluate", 4096, 32),
}
MEMORY_TASKS = ("T1 N=2048", "T2 K=4096")
MANY, MANY_SAMPLES = "T2 K=65536", Task("evaluate", 65536, 2)  # more would measure their noise


@command
def main(argv=None):
    from jvi.files import atomic_write

    arguments = docopt(__doc__, argv)
    plan = QUICK if arguments["--quick"] else Plan()
    gpu = number(arguments, "--device")
    programs = ["floor", *_ours(), *_installed(arguments["--peers"].split(","))]
    result = {"machine": _machine(programs), "tasks": {k: t._asdict() for k, t in TASKS.items()}}
    parts = _parts(arguments["--parts"])
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
    if "estimators" in parts:
        result["estimators"] = _estimators(plan.estimators)
        print("\nA training step beside that marked 1: time (quartiles) and memory for its arrays")
        print(estimator_costs.tables(result["estimators"]), flush=True)
    if "network" in parts:
        result["network"] = _network(plan.network)
        print("\nA training step of a Bayesian network beside its matrix products, and its memory")
        print(network_costs.tables(result["network"]), flush=True)
    if "convolution" in parts:
        result["convolution"] = _convolution(plan.convolution)
        print("\nConvolutions (beside PyTorch's or, without it, the matrix products)")
        print(convolution_costs.tables(result["convolution"], plan.convolution.calls), flush=True)
    if "ranks" in parts:
        result["ranks"] = rank_costs.compare(cores(), plan.ranks)
        print("\nOne process with a thread per core, and a rank per core (medians, extremes)")
        print(rank_costs.tables(result["ranks"]), flush=True)
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


def _parts(text):
    parts = text.split(",")
    for part in parts:
        if part not in PARTS:
            raise ValueError(f"--parts: unknown {part!r}, choose from {', '.join(PARTS)}")
    return parts


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


def peak_memory(name, task, rows, sizes=Sizes()):  # noqa: B008 it cannot be changed
    """Peak resident memory of this process in MB: with the imports alone, and after the task."""
    tiny = make_inputs(Task(task.kind, 2, 2), sizes)
    getattr(PROGRAMS[name](*tiny, rows), task.kind)()
    before = peak()
    getattr(PROGRAMS[name](*make_inputs(task, sizes), rows), task.kind)()
    return {"imports": before, "peak": peak()}


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
            work = PROGRAMS["jvi"](*make_inputs(task, sizes), None)
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


def _estimators(sizes):
    """By model, times and peak memory of each K and estimator."""
    result = {}
    for model in estimator_costs.BASELINES:
        names, found = estimator_costs.applicable(model), {"times": {}, "memory": {}}
        for k in tqdm(sizes.num_samples, model, disable=None, leave=False):
            found["times"][k] = _child("default", estimator_costs.times, model, k, sizes)
            found["memory"][k] = {
                name: _child("default", estimator_costs.memory, model, name, k, sizes)
                for name in names
            }
        result[model] = found
    return result


def _network(sizes):
    """By B, times of each K and peak memory of each size of the data set."""
    found = {"times": {}, "memory": {}}
    for b in tqdm(sizes.num_rows, "network", disable=None, leave=False):
        found["times"][b] = {
            k: _child("default", network_costs.times, k, b, sizes) for k in sizes.num_samples
        }
        found["memory"][b] = {
            n: _child("default", network_costs.memory, b, n, sizes) for n in sizes.all_rows
        }
    return found


def _convolution(sizes):
    """By the number of threads, times of all cases."""
    return {
        threads: _child("tuned", convolution_costs.times, threads, sizes)
        for threads in sorted({1, cores()})
    }


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
