"""Measure the bias of JVI on weights from a Gamma distribution, exactly and by drawing them.

Usage:
  gamma_bias.py [options]
  gamma_bias.py (-h | --help)

Options:
  -h --help            Show this help screen.
  -o <prefix>          Write PREFIX.json [default: gamma_bias].
  --shape <a>          Shape of the Gamma distribution [default: 1].
  --orders <numbers>   Orders of the jackknife, separated by commas; zero is IWAE
                       [default: 0,1,2,3].
  --samples <numbers>  Values of K that are drawn, likewise [default: 4,8,16,32,64].
  --slope <numbers>    The two values of K between which the decay is measured
                       [default: 1024,4096].
  --draws <number>     Monte Carlo draws for each K [default: 300000].
  --seed <seed>        Seed of the draws [default: 0].
  --overwrite          Replace an existing file.

The file has rows of one "kind": "point" has the bias in nats by order and K, "exact" and "drawn"
with its standard error; "order" the "farthest" of these, in such errors, and the "slope" of
log |bias| against log K; "figure" the lines of a figure, and what was drawn where it is resolved.
"""

from jvi.cli import UsageError, arguments_of, check_outputs, command, number, numbers, seed
from jvi.scripts.jackknife_figure import exact_bias

BLOCK = 2**21  # log-weights that are drawn at a time
LINE = (4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)


@command
def main(argv=None):
    from decimal import Decimal

    from tqdm import tqdm

    from jvi.files import write_json

    arguments, _ = arguments_of(__doc__, argv)
    orders = numbers(arguments, "--orders", least=0, most=16)
    counts = numbers(arguments, "--samples", least=max(orders) + 1, most=10**6)
    ends = numbers(arguments, "--slope", least=max(orders) + 1, most=10**6)
    if len(ends) != 2:
        raise UsageError(f"--slope must be two numbers, not {arguments['--slope']}")
    draws = number(arguments, "--draws", least=100)
    number(arguments, "--shape", float, least=1e-3)
    path = f"{arguments['-o']}.json"
    check_outputs({"-o": path}, arguments["--overwrite"])
    shape, root = Decimal(arguments["--shape"]), seed(arguments)
    rows = []
    for order in tqdm(orders, desc="orders"):
        drawn = {k: drawn_bias(k, order, float(shape), draws, root) for k in counts}
        rows += rows_of(order, shape, drawn, ends)
    write_json(path, rows)


def rows_of(order, shape, drawn, ends):
    """All rows of an order.

    Parameters
    ----------
    order : int
    shape : Decimal
    drawn : dict from int to (float, float)
        Bias and its standard error by K.
    ends : (int, int)
        Values of K of the slope.
    """
    exact = {k: float(exact_bias(k, order, shape)) for k in {*LINE, *drawn, *ends} if k > order}
    farthest = max(((bias - exact[k]) / error for k, (bias, error) in drawn.items()), key=abs)
    decay = slope(ends, [exact[k] for k in ends])
    points = [
        {"kind": "point", "K": k, "exact": exact[k], "drawn": {"value": bias, "samples": error}}
        for k, (bias, error) in drawn.items()
    ]
    of_order = {"kind": "order", "farthest": farthest, "slope": decay}
    rows = [*points, of_order, *_figure(order, exact, drawn)]
    return [{"order": order, **row} for row in rows]


def _figure(order, exact, drawn):
    """Absolute values on a line for each order, and beside it what was drawn and is not noise."""
    name = f"order {order}" + (" (IWAE)" if order == 0 else "")
    lines = [{"line": name, "K": k, "bias": abs(exact[k])} for k in LINE if k > order]
    lines += [
        {"line": f"{name}, drawn", "K": k, "bias": abs(bias), "error": error}
        for k, (bias, error) in drawn.items()
        if abs(bias) > 3.0 * error
    ]
    return [{"kind": "figure", **point} for point in lines]


def slope(ends, biases):
    """Slope of log |bias| against log K between two K: -p where the bias falls like K^-p."""
    from math import log

    return log(abs(biases[1] / biases[0])) / log(ends[1] / ends[0])


def drawn_bias(num_samples, order, shape, draws, root):
    """(mean of JVI-m less log E[w], its standard error) over draws of K Gamma weights.

    Less what their first two moments, whose means are known, say of it: that does not depend on
    the digamma function of the exact bias, and at K = 32, a = 1 leaves 1/40 of IWAE's noise.
    """
    import numpy as np

    from jvi.evidence.jackknife import jackknife

    rng, parts = np.random.default_rng([root, num_samples]), []
    while draws > 0:
        w = rng.gamma(shape, size=(num_samples, min(draws, max(1, BLOCK // num_samples))))
        log_w = np.log(np.maximum(w, np.finfo(float).tiny))
        parts.append(np.stack([jackknife(log_w, order) - np.log(shape), *moments(w, shape)]))
        draws -= w.shape[1]
    value, *controls = np.concatenate(parts, axis=1)
    return controlled_mean(value, np.stack(controls))


def moments(w, shape):
    """Three functions, shape (3, N), of Gamma weights, shape (K, N), whose means are zero."""
    import numpy as np

    mean, total = w.mean(axis=0), shape * len(w)
    second = shape**2 * (total + 1.0) / total  # E[mean²]
    return np.stack([mean - shape, mean**2 - second, w.var(axis=0, ddof=1) - shape])


def controlled_mean(value, controls):
    """(mean, standard error) of `value`, shape (N,), less its regression on `controls`, (C, N).

    The controls have mean zero, so the mean stays what it is, to the order of C/N; its error is
    that of the residuals.
    """
    import numpy as np

    design = np.stack([np.ones(len(value)), *controls], axis=1)
    found, *_ = np.linalg.lstsq(design, value, rcond=None)
    freedom = len(value) - design.shape[1]
    cofactor = np.linalg.inv(design.T @ design)[0, 0]
    variance = np.sum((value - design @ found) ** 2) / freedom
    return float(found[0]), float((variance * cofactor) ** 0.5)


if __name__ == "__main__":
    main()
