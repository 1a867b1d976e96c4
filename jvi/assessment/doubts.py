"""What speaks against a model: every reason to doubt what its files say."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from jvi.compat.arrays import read_arrays, read_metadata
from jvi.models.files import ENDINGS, ModelFiles, read_model

__all__ = ["binary_pixels", "doubts", "read_log", "trained_as", "trainer_state"]

MAX_LOG_BYTES = 2**24
TEXT = "estimator"  # the one entry that is no number
HUGE = 1e3  # parameters of models that work stay below 2

# A loss, in nats per image, that no model of images has: worse than ten times tossing a coin for
# each pixel.
COINS = 10 * math.log(2)

# What each optimizer of the original keeps for a parameter, by which it is recognised; the first
# that fits.
OPTIMIZERS = {"smorms3": {"mem", "g", "g2"}, "adam": {"m", "v"}, "sgd": {"t"}}


def read_log(prefix: str | Path) -> list[dict[str, float]]:
    """The entries of ``PREFIX/log``: for each epoch a dict of the numbers that were reported.

    Raises
    ------
    FileNotFoundError, ValueError
        When there is none, or when it is no such list.
    """
    path = Path(prefix) / "log"
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing")
    with open(path, "rb") as file:
        data = file.read(MAX_LOG_BYTES)
    try:
        entries = json.loads(data.decode())  # also Infinity and NaN
        entries = [{k: v for k, v in entry.items() if k != TEXT} for entry in entries]
        if all(type(value) in (int, float) for entry in entries for value in entry.values()):
            return entries
    except (ValueError, TypeError, AttributeError, RecursionError):
        pass
    raise ValueError(f"{path}: damaged: not a list of numbers for each epoch")


def trainer_state(path: str | Path) -> tuple[int | None, str | None]:
    """(iteration, optimizer) of a snapshot, None where it has none; reads and checks all of it."""
    arrays = read_arrays(path)
    iteration = arrays.get("updater/iteration", np.array([]))
    states = {name.rpartition("/")[2] for name in arrays if name.startswith("updater/optimizer:")}
    optimizer = next((opt for opt, needed in OPTIMIZERS.items() if needed <= states), None)
    return iteration.item() if iteration.size == 1 else None, optimizer


def trained_as(files: ModelFiles) -> str:
    """The gradient estimator or the original's VAE type that a model was trained with."""
    estimator = files.meta.get("--estimator")
    return estimator if isinstance(estimator, str) else files.vae_type or "unknown"


def binary_pixels(link: Any) -> int | None:
    """How many binary pixels a model has; None for one of other data."""
    return getattr(link, "num_pixels", None)


def doubts(files: ModelFiles) -> list[str]:
    """Reasons to doubt a model, a line each; none of them keeps it from being read."""
    pixels = binary_pixels(files.link)
    worst = None if pixels is None else COINS * pixels
    found = [*files.notes, *_huge(files), *_other_files(files)]
    log, iteration = [], None
    try:
        iteration, optimizer = trainer_state(files.path)
        if optimizer and files.meta.get("--opt", optimizer) != optimizer:
            found.append(f"{files.path}: was trained with {optimizer}, not {files.meta['--opt']!a}")
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
        largest = np.abs(array[np.isfinite(array)]).max(initial=0)
        if largest > HUGE:
            yield f"{files.path}: {name} has values as large as {largest:.3g}"
    if files.path.suffix == ".safetensors" and "sha256" not in read_metadata(files.path):
        yield f"{files.path} has no checksum: damage to its numbers would not be seen"


def _other_files(files):
    """Other files of the same model that hold other parameters, or cannot be read."""
    for path in (Path(files.prefix + ending) for ending in ENDINGS):
        if path.is_file() and path != files.path:
            try:
                other = read_model(path).parameters
            except ValueError as error:
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
    if isinstance(wanted, str) and wanted.isdecimal() and epochs != int(wanted):
        yield f"{path}: ends at epoch {epochs} of {wanted}"
    if iteration is not None and iteration > log[-1].get("iteration", math.inf):
        yield f"{path}: ends before iteration {iteration}, at which the snapshot was taken"


def _perf(prefix, log, worst):
    """Whether the best objective can be one, and is one that was reported."""
    path = Path(f"{prefix}.perf")
    try:
        with open(path) as file:
            best = float(file.read(100))
    except FileNotFoundError:
        yield f"{path} is missing"
        return
    except ValueError:
        yield f"{path}: damaged: not a number"
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
