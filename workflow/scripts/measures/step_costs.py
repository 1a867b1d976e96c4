"""Measure the memory and the time of a training step of gradient estimators against K.

Usage:
  step_costs.py [options]
  step_costs.py (-h | --help)

Every estimator and K has a process of its own, since a peak of memory never falls. Memory is the
peak of what is resident less that of a process with the imports and a step of two samples; time is
the median of the steps' processor time.

Options:
  -h --help                Show this help screen.
  -o <prefix>              Write PREFIX.json [default: step_costs].
  --model <model>          As train.py has it [default: sbn:layers=3].
  -e <estimators>, --estimators <estimators>
                           Separated by spaces; the first is what others are relative to
                           [default: vimco:mean=arithmetic ovis:gamma=1 ovis-mc:aux=10 tvo].
  -s <numbers>, --samples <numbers>
                           Values of K, separated by commas [default: 5,50,500].
  -b <size>, --batchsize <size>
                           Images of a step [default: 24].
  --pixels <number>        Of an image [default: 784].
  -r <number>, --repeats <number>
                           Steps that are timed [default: 5].
  --overwrite              Replace an existing file.
  --quiet                  Print nothing.

The rows of the file have, for each estimator and K, megabytes, milliseconds of a step with their
standard error, the same relative to the first estimator's, and seconds of 50,000 images.
"""

import re
import statistics
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from time import process_time

from jvi.cli import arguments_of, asked, check_outputs, command, number, numbers
from jvi.scripts.benchmark_programs import peak
from jvi.scripts.estimator_costs import step_of
from jvi.text import table

EPOCH = 50_000  # images


@command
def main(argv=None):
    from jvi.files import write_json

    arguments, _ = arguments_of(__doc__, argv)
    path = f"{arguments['-o']}.json"
    check_outputs({"-o": [path]}, arguments["--overwrite"])
    estimators, counts = arguments["--estimators"].split(), numbers(arguments, "--samples", least=2)
    sizes = [number(arguments, f"--{key}", least=1) for key in ("batchsize", "pixels", "repeats")]
    model = arguments["--model"]
    with asked("--model, --estimators"):
        for name in estimators:
            step_of(model, name, 2, 1, 1)  # that it applies to the model
    rows = measured(model, estimators, counts, *sizes, quiet=arguments["--quiet"])
    write_json(path, {"model": model, "rows": rows})
    if not arguments["--quiet"]:
        header = list(rows[0])
        print(table([[f"{row[key]}" for key in header] for row in rows], header))


def measured(model, estimators, counts, batch, pixels, repeats, quiet=True):
    """A row for each estimator and K."""
    from tqdm import tqdm

    work = [(name, k) for k in counts for name in estimators]
    rows = []
    for name, k in tqdm(work, desc="steps", disable=True if quiet else None):
        own = {"estimator": name, "K": k}
        rows.append(own | in_a_process(cost, model, name, k, batch, pixels, repeats))
    first = {row["K"]: row["milliseconds"] for row in rows if row["estimator"] == estimators[0]}
    return [row | {"relative": row["milliseconds"] / first[row["K"]]} for row in rows]


def in_a_process(function, *arguments):
    """What a function gives in a fresh process."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def cost(model, estimator, num_samples, batch, pixels, repeats):
    """Of this process: megabytes of its peak beyond a small step's, and times."""
    step_of(model, estimator, 2, 2, pixels)()
    before = own_peak()
    step = step_of(model, estimator, num_samples, batch, pixels)
    times = [_timed(step) for _ in range(repeats + 1)][1:]  # the first one warms up
    middle = statistics.median(times)
    return {
        "megabytes": round(own_peak() - before, 1),
        "milliseconds": 1e3 * middle,
        "milliseconds_error": _error_of_median(times),
        "epoch": middle * EPOCH / batch,
    }


def own_peak():
    """Peak resident memory of this process in MB.

    What getrusage says of a process on Linux is never less than what that had that started it.
    """
    status = Path("/proc/self/status")
    told = re.search(r"^VmHWM:\s*(\d+) kB", status.read_text(), re.M) if status.exists() else None
    return int(told[1]) / 2**10 if told else peak()


def _timed(step):
    start = process_time()
    step()
    return process_time() - start


def _error_of_median(times):
    """Of Gaussian times, in milliseconds: √(π/2) that of their mean."""
    if len(times) < 2:
        return None
    return 1e3 * (1.5707963 / len(times)) ** 0.5 * statistics.stdev(times)


if __name__ == "__main__":
    main()
