"""What it costs to run on many processes: benchmark.py's part "ranks".

Training steps and an evaluation by one process with a thread for every core, and by as many ranks
with a thread each, by turns: processes of their own, since MPI begins and ends with one. And a
model of what a step's sum over ranks takes on machines that are not at hand.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from time import perf_counter, process_time
from typing import NamedTuple

import numpy as np

from jvi.text import table

__all__ = ["LINKS", "QUICK_SIZES", "Sizes", "compare", "seconds_of_sum", "tables"]


class Sizes(NamedTuple):
    """Steps of `batch` images, K = 8, and an evaluation of `images`, K = 256."""

    batch: int = 2048
    images: int = 512
    repeats: int = 5
    rounds: int = 5
    num_pixels: int = 784


QUICK_SIZES = Sizes(128, 64, 2, 1)

SAMPLES = 8, 256  # K of training and of evaluation

# (bytes per second in each direction of a host, seconds that a message is under way), as their
# makers and common measurements have them; inside a host, through its memory.
LINKS = {
    "one host": (10e9, 1e-6),
    "Ethernet, 10 Gbit/s": (1.25e9, 30e-6),
    "InfiniBand HDR, 200 Gbit/s": (25e9, 2e-6),
}


def seconds_of_sum(num_parameters, size, bandwidth, latency):
    """Seconds of `Ranks.sum` of float32 gradients: 2 (P-1) messages, 2 (P-1)/P of all bytes.

    Every rank sends a segment to each other one, and then its sum of that segment: what a ring
    sends, too. The gather of what is reported adds two rounds of short messages.
    """
    others = size - 1
    return 2 * others / size * 4 * num_parameters / bandwidth + 4 * others * latency


def compare(cores, sizes):
    """Seconds of one process and of `cores` ranks, {"training": {"one": […], "ranks": […]}, …}.

    Each is a pair: by the clock, and that the processors worked for all ranks, which other programs
    hardly change. The best of a process's repeats.

    Raises
    ------
    FileNotFoundError
        Without mpiexec.
    """
    beside = Path(sys.executable).parent / "mpiexec"
    mpiexec = str(beside) if beside.exists() else shutil.which("mpiexec")
    if mpiexec is None:
        raise FileNotFoundError("there is no mpiexec: pip install mpi4py mpich")
    launchers = {"one": [], "ranks": [mpiexec, "-n", str(cores)]}
    found = {what: {name: [] for name in launchers} for what in ("training", "evaluation")}
    for _ in range(sizes.rounds):
        for name, launcher in launchers.items():
            words = [*launcher, sys.executable, "-m", __name__, json.dumps(sizes)]
            done = subprocess.run(words, capture_output=True, text=True, check=True)
            for what, seconds in json.loads(done.stdout).items():
                found[what][name].append(np.min(seconds, axis=0).tolist())
    return found


def tables(result):
    """What `compare` found, and the model's numbers, as text."""
    rows = []
    for what, found in result.items():
        ratios = np.divide(found["one"], found["ranks"]).T
        times = [f"{np.median(found[name], axis=0)[0]:.3g} s" for name in ("one", "ranks")]
        spans = [f"{np.median(r):.2f} ({r.min():.2f}-{r.max():.2f})" for r in ratios]
        rows.append([what, *times, *spans])
    columns = ["one process", "a rank per core", "efficiency", "by processor time"]
    measured = table(rows, ["", *columns])
    return f"{measured}\n\n{_modelled()}"


def _modelled(num_parameters=1_127_664):
    rows = [
        [name, *(f"{1e3 * seconds_of_sum(num_parameters, n, *link):.2f} ms" for n in (2, 8, 64))]
        for name, link in LINKS.items()
    ]
    return table(rows, [f"sum of {num_parameters:,} gradients", "2 ranks", "8", "64"])


def _measure(sizes):
    """Seconds of what this process, or it and its other ranks, do."""
    from jvi.assessment.evaluation import evaluations
    from jvi.engine.random import stream
    from jvi.models import build
    from jvi.models.model import Model
    from jvi.scripts.estimator_costs import step_of

    training = step_of(NETWORK, "jvi-clip", SAMPLES[0], sizes.batch, sizes.num_pixels)
    model = Model(build(NETWORK, sizes.num_pixels, stream(0, "initial parameters")))
    x = (np.random.default_rng(0).random((sizes.images, sizes.num_pixels)) < 0.3).astype("f4")
    work = {"training": training, "evaluation": lambda: evaluations(model, x, [SAMPLES[1]])}
    return {what: _timed(each, sizes.repeats) for what, each in work.items()}


NETWORK = "mlp:hidden=300,latent=40"  # the paper's


def _timed(function, repeats):
    from jvi.engine.ranks import ranks

    function()
    seconds = []
    for _ in range(repeats):
        ranks().agree()
        start = perf_counter(), process_time()
        function()
        wall, own = perf_counter() - start[0], process_time() - start[1]
        seconds.append((wall, sum(ranks().gather(lambda own=own: [own]))))
    return seconds


if __name__ == "__main__":
    from jvi.engine.ranks import one_run

    with one_run():
        print(json.dumps(_measure(Sizes(*json.loads(sys.argv[1])))))
