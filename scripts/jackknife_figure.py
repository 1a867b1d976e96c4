"""Draw the figures of docs/jackknife.md and measure the table in it.

Usage:
  jackknife_figure.py [options]
  jackknife_figure.py (-h | --help)

Writes jackknife_bias.png (bias of JVI of orders 0 to 3 against the number of samples, for weights
from a Gamma distribution: exact lines, Monte Carlo points) and jackknife_runtime.png (time of this
code beside the number of subsets in the definition), and prints the times as a table.

Options:
  -h --help          Show this help screen.
  -o <folder>        Write the figures there [default: docs].
  --shape <a>        Shape of the Gamma distribution [default: 0.1].
  --draws <n>        Monte Carlo draws for each point [default: 200000].
  --largest <k>      Largest number of samples that is timed [default: 65536].
  --seed <seed>      Seed of everything random [default: 0].
"""

from docopt import docopt

from jvi.cli import command, number
from jvi.text import table

ORDERS = range(4)


@command
def main(argv=None):
    from decimal import Decimal
    from pathlib import Path

    import numpy as np

    arguments = docopt(__doc__, argv)
    draws = number(arguments, "--draws", least=2)
    largest = number(arguments, "--largest", least=64)
    number(arguments, "--shape", float, least=1e-3)
    shape = Decimal(arguments["--shape"])
    rng = np.random.default_rng(number(arguments, "--seed", least=0))
    folder = Path(arguments["-o"])
    draw_bias(folder / "jackknife_bias.png", shape, draws, rng)
    times = measure(largest, rng)
    rows = [[str(k), *(f"{a:.3g} / {b:.3g}" for a, b in row)] for k, row in times.items()]
    print("Milliseconds per data point: value / value and weights")
    print(table(rows, ["K", *(f"order {m}" for m in range(1, 5))]))
    draw_runtime(folder / "jackknife_runtime.png", times)


def exact_bias(num_samples, order, shape):
    """E[JVI-m] - log E[w] for w ~ Gamma(shape, 1), to about 30 digits: Σ_j c_j b((K - j) a)."""
    from jvi.evidence.jackknife import jackknife_coefficients

    return sum(
        c.numerator * _digamma_minus_log((num_samples - j) * shape) / c.denominator
        for j, c in enumerate(jackknife_coefficients(num_samples, order))
    )


def _digamma_minus_log(x):
    """b(x) = ψ(x) - log x: the asymptotic series at x + 60, and the recurrence down to x."""
    from decimal import localcontext

    bernoulli = [(1, 6), (-1, 30), (1, 42), (-1, 30), (5, 66), (-691, 2730), (7, 6), (-3617, 510)]
    with localcontext() as context:
        context.prec = 50
        y = x + 60
        series = y.ln() - 1 / (2 * y)
        for n, (top, bottom) in enumerate(bernoulli, start=1):
            series -= top / (bottom * 2 * n * y ** (2 * n))
        return series - sum(1 / (x + i) for i in range(60)) - x.ln()


def sampled_bias(num_samples, shape, draws, rng):
    """Bias and standard error at each order, by the difference from IWAE, whose bias is known."""
    import numpy as np

    from jvi.evidence.jackknife import jackknife

    log_w = np.log(rng.gamma(float(shape), size=(num_samples, draws)))
    iwae, known = jackknife(log_w, 0), float(exact_bias(num_samples, 0, shape))
    for order in ORDERS:
        correction = jackknife(log_w, order) - iwae
        yield known + correction.mean(), correction.std() / draws**0.5


def draw_bias(path, shape, draws, rng):
    figure, axes = _figure("bias of the estimate of log p(x), absolute value in nats", 1)
    for order in ORDERS:
        counts = range(order + 1, 129)
        line = [abs(exact_bias(k, order, shape)) for k in counts]
        name = f"order {order}" + (" (IWAE)" if order == 0 else "")
        axes[0].loglog(counts, line, color=f"C{order}", label=name)
    for k in (4, 8, 16, 32, 64):
        for order, (bias, error) in enumerate(sampled_bias(k, shape, draws, rng)):
            if abs(exact_bias(k, order, shape)) > 3.0 * error:
                axes[0].errorbar(k, abs(bias), 2.0 * error, fmt="o", ms=4, color=f"C{order}")
    axes[0].set_title(f"Gamma({shape}) weights; points: {draws} draws, ± 2 standard errors")
    _save(figure, axes, path)


def measure(largest, rng):
    """{K: [(ms for the value, ms for value and weights) for orders 1 to 4]}, per data point."""
    from jvi.evidence.jackknife import jackknife, jackknife_and_weights

    times = {}
    for k in (2**e for e in range(6, largest.bit_length())):
        log_w = 3.0 * rng.normal(size=(k, max(1, 2**16 // k)))
        times[k] = [
            tuple(_milliseconds(f, log_w, order) for f in (jackknife, jackknife_and_weights))
            for order in range(1, 5)
        ]
    return times


def _milliseconds(function, log_w, order):
    """The fastest of 5 or more calls in at least 0.2 s, per data point."""
    from time import perf_counter

    seconds = []
    while len(seconds) < 5 or sum(seconds) < 0.2:
        start = perf_counter()
        function(log_w, order)
        seconds.append(perf_counter() - start)
    return 1e3 * min(seconds) / log_w.shape[1]


def draw_runtime(path, times):
    from jvi.evidence.jackknife import count_terms

    figure, axes = _figure("milliseconds per data point, this code", 2)
    for order in range(1, 5):
        line = [row[order - 1][0] for row in times.values()]
        axes[0].loglog(list(times), line, f"C{order}", label=f"order {order}")
        terms = [sum(n for _, n, _ in count_terms(k, order)) for k in times]
        axes[1].loglog(list(times), terms, f"C{order}--", label=f"order {order}")
    axes[1].set_ylabel("subsets that the definition averages over")
    _save(figure, axes, path)


def _figure(ylabel, columns):
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.0 * columns**0.7, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, columns, squeeze=False)[0]
    axes[0].set_ylabel(ylabel)
    return figure, axes


def _save(figure, axes, path):
    from jvi.files import atomic_write

    for ax in axes:
        ax.set_xlabel("number of samples K")
        ax.grid(alpha=0.3)
        ax.legend()
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110, metadata={"Software": None})


if __name__ == "__main__":
    main()
