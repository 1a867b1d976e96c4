"""Time the jackknife by order and number of samples, beside the definition, and count its terms.

Usage:
  jackknife_times.py [options]
  jackknife_times.py (-h | --help)

Options:
  -h --help            Show this help screen.
  -o <prefix>          Write PREFIX.json [default: jackknife_times].
  --orders <numbers>   Orders of the jackknife, separated by commas [default: 1,2,3,4].
  --samples <numbers>  Values of K, likewise, in rising order
                       [default: 8,16,32,64,256,1024,4096,16384].
  --most <number>      The definition is evaluated where its subsets have at most so many samples
                       in all [default: 3000000].
  --repeats <number>   Calls of which the median is taken [default: 7].
  --seed <seed>        Seed of the log-weights [default: 0].
  --overwrite          Replace an existing file.

The file has rows of one "kind": "point" has by order and K the subsets that the definition averages
over ("terms") and the milliseconds per data point of this code and, where that is feasible, of all
subsets one by one ("definition"); "order" how many times as long a sample takes at the largest K as
at the first one from 64 on ("ratio") and, at most, by how many the subsets differ from their number
("miscounted") and the two ways by value, in nats ("apart"); "figure" the lines of a figure.
"""

from jvi.cli import UsageError, arguments_of, check_outputs, command, number, numbers, seed
from jvi.scripts.jvicount import subsets

BATCH = 2**16, 2**9  # log-weights that this code, and the definition, are timed on


@command
def main(argv=None):
    import numpy as np
    from tqdm import tqdm

    from jvi.files import write_json

    arguments, _ = arguments_of(__doc__, argv)
    orders = numbers(arguments, "--orders", least=0, most=16)
    counts = numbers(arguments, "--samples", least=max(orders) + 1, most=10**6)
    if counts != sorted(counts) or len(counts) < 2:
        raise UsageError(f"--samples must be several, rising, not {arguments['--samples']}")
    most = number(arguments, "--most", least=0)
    repeats = number(arguments, "--repeats", least=1)
    path = f"{arguments['-o']}.json"
    check_outputs({"-o": path}, arguments["--overwrite"])
    rng, rows = np.random.default_rng(seed(arguments)), []
    for order in tqdm(orders, desc="orders"):
        points = [measured(k, order, most, repeats, rng) for k in counts]
        rows += [
            {"order": order, **row} for row in (*points, of_order(points), *lines(order, points))
        ]
    write_json(path, rows)


def measured(num_samples, order, most, repeats, rng):
    """The row of an order and a K."""
    from jvi.evidence.jackknife import jackknife

    log_w = 3.0 * rng.normal(size=(num_samples, max(1, BATCH[0] // num_samples)))
    terms = subsets(num_samples, order)
    row = {"kind": "point", "K": num_samples, "terms": terms}
    row["ours"], value = milliseconds(jackknife, log_w, order, repeats)
    if terms * num_samples > most:
        return row
    few = log_w[:, : max(1, BATCH[1] // num_samples)]
    row["definition"], (slow, counted) = milliseconds(definition, few, order, repeats)
    row["miscounted"] = abs(counted - terms)
    row["apart"] = float(abs(slow - value[: len(slow)]).max())
    return row


def milliseconds(function, log_w, order, repeats):
    """(median time of a call per data point, what it gave)."""
    from statistics import median
    from time import perf_counter

    seconds, given = [], function(log_w, order)  # the first one fills tables of coefficients
    for _ in range(repeats):
        start = perf_counter()
        function(log_w, order)
        seconds.append(perf_counter() - start)
    return 1e3 * median(seconds) / log_w.shape[1], given


def definition(log_w, order):
    """(JVI-m, shape (N,), number of subsets), one subset after another (Nowozin 2018, eq. 10)."""
    from itertools import combinations

    import numpy as np

    from jvi.evidence.jackknife import jackknife_coefficients

    top, num_samples = log_w.max(axis=0), len(log_w)
    w, value, counted = np.exp(log_w - top), 0.0, 0
    for j, c in enumerate(jackknife_coefficients(num_samples, order)):
        total, count = 0.0, 0
        for kept in combinations(range(num_samples), num_samples - j):
            total = total + np.log(w[list(kept)].mean(axis=0))
            count += 1
        value, counted = value + float(c) * total / count, counted + count
    return top + value, counted


def of_order(points):
    """What all K of an order say together."""
    long = [p for p in points if p["K"] >= 64] or points
    first, last = long[0], long[-1]
    row = {"kind": "order", "ratio": last["ours"] / first["ours"] * first["K"] / last["K"]}
    for key in ("miscounted", "apart"):
        row[key] = max((point[key] for point in points if key in point), default=None)
    return row


def lines(order, points):
    """Both ways by K, as lines of one figure."""
    names = {"ours": f"order {order}", "definition": f"order {order}, all subsets"}
    return [
        {"kind": "figure", "line": name, "K": point["K"], "ms": point[key]}
        for key, name in names.items()
        for point in points
        if key in point
    ]


if __name__ == "__main__":
    main()
