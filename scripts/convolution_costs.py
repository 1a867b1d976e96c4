"""What convolutions cost beside PyTorch's: benchmark.py's part "convolution".

Forwards alone, and with the gradients by kernels, biases and, but for a network's first layer, by
the images; on one thread, and on all cores, which here work on images of their own, as training
does. The floor is a direct convolution's bare matrix products, without making their arrays.
"""

from importlib.util import find_spec
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from jvi.scripts.benchmark_programs import interleaved
from jvi.text import table

__all__ = ["QUICK_SIZES", "Case", "Sizes", "inputs", "programs", "tables", "times"]

FLOOR, OURS, PYTORCH = "matrix products", "this project", "PyTorch"


class Case(NamedTuple):
    """Square images, and kernels of `size` x `size`; the first layer's images take no gradient."""

    images: int
    side: int
    channels: int
    outputs: int
    size: int = 3
    stride: int = 1
    first: bool = False

    def __str__(self):
        about = f"{self.images} of {self.side}², {self.channels} to {self.outputs}"
        return f"{about}, {self.size} x {self.size}" + f" stride {self.stride}" * (self.stride > 1)


CASES = (
    Case(32, 16, 64, 64),
    Case(32, 16, 64, 192),
    Case(16, 8, 64, 64),
    Case(16, 16, 32, 32),
    Case(32, 16, 64, 64, stride=2),
    Case(32, 16, 64, 12, 5),
    Case(32, 32, 3, 64, 5, 2, first=True),
    Case(32, 16, 64, 64, 1),
)


class Sizes(NamedTuple):
    """Every case is timed `repeats` times, each of so many calls."""

    cases: tuple[Case, ...] = CASES
    repeats: int = 15
    calls: int = 10


QUICK_SIZES = Sizes((Case(4, 8, 16, 16),), 3, 1)


def inputs(case, parts):
    """Images, kernels, biases and derivatives by the output, float32, the images in parts."""
    rng, side = np.random.default_rng(0), -(-case.side // case.stride)
    shapes = [
        (case.images, case.side, case.side, case.channels),
        (case.size, case.size, case.channels, case.outputs),
        (case.outputs,),
        (case.images, side, side, case.outputs),
    ]
    x, W, b, g = (rng.standard_normal(shape, dtype=np.float32) for shape in shapes)
    return list(zip(np.array_split(x, parts), np.array_split(g, parts), strict=True)), W, b


def programs(case, backwards, threads, calls):
    """Functions, by name, that each make so many calls; PyTorch's and this project's return y and
    the gradients."""
    made = {FLOOR: _floor, OURS: _ours} | ({PYTORCH: _pytorch} if find_spec("torch") else {})
    return {name: program(case, backwards, threads, calls) for name, program in made.items()}


def _floor(case, backwards, threads, calls):
    parts, W, _ = inputs(case, threads)
    flat = W.reshape(-1, case.outputs)

    def multiply(part):
        g, patches, y = part
        np.matmul(patches, flat, out=y)
        if backwards:
            patches.T @ g
        if backwards and not case.first:
            np.matmul(g, flat.T, out=patches)

    gradients = [g.reshape(-1, case.outputs) for _, g in parts]
    work = [(g, np.ones((len(g), len(flat)), np.float32), np.empty_like(g)) for g in gradients]
    return lambda: _mapped(multiply, work, calls)


def _mapped(function, parts, calls):
    """The last call's results for all parts, each of which one thread works on."""
    from jvi.engine.devices import device
    from jvi.engine.threads import parallel_map

    def repeated(part):
        return [function(part) for _ in range(calls)][-1]

    return list(parallel_map(repeated, parts, device(-1)))


def _ours(case, backwards, threads, calls):
    import chainer

    from jvi.functions import convolve

    parts, W, b = inputs(case, threads)

    def convolved(part):
        x, g = part
        variables = [chainer.Variable(a, requires_grad=backwards) for a in (x, W, b)]
        variables[0] = x if case.first else variables[0]
        y = convolve(*variables, stride=case.stride)
        if not backwards:
            return [y.array]
        y.grad = g
        y.backward()
        return [y.array, *(each.grad for each in variables[case.first :])]

    def work():
        y, *gradients = zip(*_mapped(convolved, parts, calls), strict=True)
        by_x = [np.concatenate(gradients.pop(0))] if backwards and not case.first else []
        return [np.concatenate(y), *by_x, *map(sum, gradients)]

    return work


def _pytorch(case, backwards, threads, calls):
    """In PyTorch's own order, channels first."""
    import torch

    ((x, g),), W, b = inputs(case, 1)
    orders = ((0, 3, 1, 2), (3, 2, 0, 1), (0,))
    ordered = (a.transpose(order) for a, order in zip((x, W, b), orders, strict=True))
    x, W, b = (torch.tensor(np.ascontiguousarray(a)) for a in ordered)
    g = torch.tensor(np.ascontiguousarray(g.transpose(orders[0])))
    wanted = [each.requires_grad_(backwards) for each in (x, W, b)[case.first :]]

    def call():
        y = torch.nn.functional.conv2d(x, W, b, case.stride, case.size // 2)
        return [y.detach(), *(torch.autograd.grad(y, wanted, g) if backwards else ())]

    def work():
        torch.set_num_threads(threads)
        found = [call() for _ in range(calls)][-1]
        back = [(0, 2, 3, 1), *((0, 2, 3, 1), (2, 3, 1, 0), (0,))[case.first :]]
        return [a.numpy().transpose(order) for a, order in zip(found, back, strict=False)]

    return work


def times(threads, sizes):
    """Times of all cases, "forward" and "both" ways.

    Returns
    -------
    dict of str to dict of str to dict
        By case and way, of each program "seconds" of every repeat, "ratios" to the mean of
        PyTorch's, or, without it, the floor's, before and after it, and the same of the time that
        processors worked for this process, "cpu_ratios".

    Raises
    ------
    RuntimeError
        Where PyTorch computes something else.
    """
    title = f"convolution, threads: {threads}"
    return {
        str(case): {way: _times(case, way == "both", threads, sizes) for way in ("forward", "both")}
        for case in tqdm(sizes.cases, title, disable=None, leave=False)
    }


def _times(case, backwards, threads, sizes):
    work = programs(case, backwards, threads, sizes.calls)
    if PYTORCH in work:
        _check_agreement(case, work[OURS](), work[PYTORCH]())
    return interleaved(work, PYTORCH if PYTORCH in work else FLOOR, sizes.repeats)


def _check_agreement(case, ours, theirs):
    for a, b in zip(ours, theirs, strict=True):
        if np.linalg.norm(a - b) > 1e-5 * np.linalg.norm(b):
            raise RuntimeError(f"{case}: PyTorch computes something else")


def tables(result, calls):
    """`{threads: {case: {"forward": …, "both": …}}}`, of so many calls, as text, a table each."""
    return "\n\n".join(_table(threads, found, calls) for threads, found in result.items())


def _table(threads, found, calls):
    columns = [(way, name) for way in ("forward", "both") for name in (PYTORCH, OURS, FLOOR)]
    rows = [
        [case, *(_cell(times[way], name, calls) for way, name in columns)]
        for case, times in found.items()
    ]
    return table(rows, [f"threads: {threads}", *(f"{way}, {name}" for way, name in columns)])


def _cell(found, name, calls):
    """PyTorch's milliseconds; the others', and in brackets ratios to PyTorch's."""
    if name not in found:
        return "not installed"
    milliseconds = f"{1e3 * np.median(found[name]['seconds']) / calls:.3g} ms"
    baseline = PYTORCH if PYTORCH in found else FLOOR
    if name == baseline:
        return milliseconds
    ratios = (np.median(found[name][of]) for of in ("ratios", "cpu_ratios"))
    return "{} ({:.2f}, {:.2f})".format(milliseconds, *ratios)
