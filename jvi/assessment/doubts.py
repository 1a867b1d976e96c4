"""What speaks against a model: every reason to doubt what its files say."""

import math
from pathlib import Path
from typing import Any

import numpy as np

from jvi.compat import log as log_format
from jvi.compat.arrays import read_arrays
from jvi.compat.log import parse_log
from jvi.compat.reading import present, read_file
from jvi.models.files import ENDINGS, ModelFiles, read_parameters

__all__ = ["binary_pixels", "doubts", "read_best", "read_log", "trained_as", "trainer_state"]

MAX_PERF_BYTES = 100
HUGE = 1e3  # parameters of models that work stay below 2

# A loss, in nats per image, that no model of images has: worse than ten times tossing a coin for
# each pixel.
COINS = 10 * math.log(2)

LATEST = "snapshot_latest"

# What each optimizer keeps for a parameter, by which it is recognised; the first that fits.
OPTIMIZERS = {
    "smorms3": {"mem", "g", "g2"},
    "adam": {"m", "v"},
    "adamax": {"m", "u"},
    "sgd": {"t"},
}


def read_log(prefix: str | Path) -> list[dict[str, float]]:
    """The entries of ``PREFIX/log``: for each epoch a dict of the numbers that were reported.

    Raises
    ------
    FileNotFoundError, ValueError
        When there is none, or when it is no such list.
    """
    path = Path(prefix) / "log"
    if not present(path):
        raise FileNotFoundError(f"{path} is missing")
    return parse_log(read_file(path, log_format.MAX_BYTES), path)


def read_best(prefix: str | Path) -> float:
    """The number in ``PREFIX.perf``, the best validation objective.

    Raises
    ------
    FileNotFoundError, ValueError
        When there is none, or when it is no number.
    """
    path = Path(f"{prefix}.perf")
    if not present(path):
        raise FileNotFoundError(f"{path} is missing")
    text = read_file(path, MAX_PERF_BYTES)
    try:
        return float(text.decode("ascii"))
    except ValueError:
        raise ValueError(f"{path}: damaged: not a number") from None


def trainer_state(path: str | Path) -> tuple[int | None, str | None]:
    """(iteration, optimizer) of a snapshot, None where it has none; reads and checks all of it.

    Raises
    ------
    ValueError
        Naming the file, when anything in it is damaged, or the iteration is no whole number.
    """
    arrays = read_arrays(path)
    states = {name.rpartition("/")[2] for name in arrays if name.startswith("updater/optimizer:")}
    optimizer = next((opt for opt, needed in OPTIMIZERS.items() if needed <= states), None)
    iteration = arrays.get("updater/iteration")
    if iteration is None:
        return None, optimizer
    if iteration.ndim or iteration.dtype.kind not in "iu" or iteration < 0:
        raise ValueError(f"{path}: updater/iteration is no whole number from 0 on")
    return iteration.item(), optimizer


def trained_as(files: ModelFiles) -> str:
    """The gradient estimator or the original's VAE type that a model was trained with."""
    estimator = files.meta.get("--estimator")
    return estimator if isinstance(estimator, str) else files.vae_type or "unknown"


def binary_pixels(link: Any) -> int | None:
    """How many binary pixels a model has; None for one of other data."""
    return None if getattr(link, "of_bytes", False) else getattr(link, "num_pixels", None)


def doubts(files: ModelFiles) -> list[str]:
    """Reasons to doubt a model, a line each; none of them keeps it from being read."""
    pixels = binary_pixels(files.link)
    worst = None if pixels is None else COINS * pixels
    found = [*files.notes, *_huge(files), *_other_files(files)]
    log, iteration = [], None
    try:
        iteration, optimizer = trainer_state(files.path)
        said = str(files.meta.get("--opt", optimizer)).partition(":")[0]
        if optimizer and said != optimizer:
            found.append(f"{files.path}: was trained with {optimizer}, not {said!a}")
    except ValueError as error:
        found.append(f"{error}; training cannot be continued")
    try:
        log = read_log(files.prefix)
    except (ValueError, FileNotFoundError) as error:
        found.append(str(error))
    return [*found, *_log(files, log, iteration, worst), *_perf(files.prefix, log, worst)]


def _huge(files):
    """Parameters that are too large, and numbers that nothing vouches for."""
    for name, array in files.parameters.items():
        finite = np.isfinite(array)
        largest = max(array.max(initial=0, where=finite), -array.min(initial=0, where=finite))
        if largest > HUGE:
            yield f"{files.path}: {name} has values as large as {largest:.3g}"
    if files.path.suffix == ".safetensors" and "sha256" not in files.metadata:
        yield f"{files.path} has no checksum: damage to its numbers would not be seen"


def _other_files(files):
    """Other files of the same model that hold other parameters, or cannot be read.

    The latest snapshot is of another epoch than the best, and not averaged.
    """
    if files.path.name == LATEST:
        return
    for path in (Path(files.prefix + ending) for ending in ENDINGS):
        if present(path) and path != files.path:
            try:
                other = read_parameters(path, files.link)
            except (ValueError, FileNotFoundError) as error:
                yield str(error)
                continue
            for name, array in files.parameters.items():
                if not np.array_equal(array, other[name], equal_nan=True):
                    yield f"{path}: {name} is not the same as in {files.path}"
                    break


def _log(files, log, iteration, worst):
    """What is impossible in the log, and whether it ends early; `worst` is None for any loss."""
    path = Path(files.prefix) / "log"
    seen = set()
    for entry in log:
        for key, value in entry.items():
            problem = _problem(value, worst if key.endswith(("obj", "elbo", "iwae")) else None)
            if problem and key not in seen:
                seen.add(key)
                yield f"{path}: {key} is {problem} (epoch {entry.get('epoch')})"
    if not log:
        return
    epochs, wanted = log[-1].get("epoch"), files.meta.get("--epochs")
    # As text: a number of 5,000 digits is none that Python converts.
    if str(wanted).isdecimal() and wanted.lstrip("0") != str(epochs):
        yield f"{path}: ends at epoch {epochs} of {wanted[:50]}"
    if iteration is not None and iteration > log[-1].get("iteration", math.inf):
        yield f"{path}: ends before iteration {iteration}, at which the snapshot was taken"


def _perf(prefix, log, worst):
    """Whether the best objective can be one, and is one that was reported."""
    path = Path(f"{prefix}.perf")
    try:
        best = read_best(prefix)
    except (ValueError, FileNotFoundError) as error:
        yield str(error)
        return
    problem = _problem(best, worst)
    if problem:
        yield f"{path}: the best objective is {problem}"
    reported = [v for entry in log for key, v in entry.items() if key.startswith("validation/")]
    if reported and not any(math.isclose(best, v, rel_tol=1e-6) for v in reported):
        yield f"{path}: the best objective, {best:g}, is not among those in {prefix}/log"


def _problem(value, worst=None):
    """Why `value` cannot have been reported, if it is a loss in [0, worst]; or None."""
    if not math.isfinite(value):
        return "not finite"
    if worst is not None and value < 0:
        return f"{value:.3g}: its log-likelihood would be positive, which no binary image has"
    if worst is not None and value > worst:
        return f"{value:.3g} nats: far worse than a coin tossed for each pixel"
    return None
