"""Log-weights (K, N) from arrays of any library, files, and what ArviZ and xarray hold."""

import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jvi.assessment.sample_table import of_text
from jvi.compat.arrays import parse_contents
from jvi.compat.reading import read_file
from jvi.evidence.arrays import host

__all__ = ["NAMES", "read"]

NAMES = ("log_w", "logw", "log_weights")  # that are looked for where none is given
LIKELIHOOD = "log_likelihood"  # a group of ArviZ's whose values lack log p(z) - log q(z|x)
SAMPLES = ("chain", "draw", "sample")  # dimensions of samples, slowest first; all others are data's

# Bytes of a file, and what a compressed one may have more than itself: log-weights hardly shrink.
MOST_BYTES, MOST_TEXT = 2**33, 2**28
RATIO, SPARE = 4, 2**27

TEXTS = (".csv", ".tsv", ".txt")
PYTORCH = "PyTorch's format is not read: write numpy.save(FILE, tensor.numpy()), as .npy"
OTHERS = {
    **dict.fromkeys((".pt", ".pth"), PYTORCH),
    ".mat": "MATLAB's format is not read: write .npz, as evaluate.py --logw FILE.npz does",
    ".nc": "open it with arviz.from_netcdf or xarray.open_datatree, and give what that returns",
    ".zarr": "open it with arviz.from_zarr or xarray.open_datatree, and give what that returns",
}


def read(source: Any, name: str | None = None) -> np.ndarray:
    """Log-weights log p(x, z) - log q(z|x), as they are or out of what holds them.

    Parameters
    ----------
    source : array, str, Path, mapping, or an object of ArviZ or xarray
        An array (K, N) of any library, K samples of each of N data points; gradients are left out.
        A file: .npz, .npy, or .csv, with a line for each sample and a column for each data point.
        An ArviZ InferenceData, xarray DataTree, Dataset or DataArray: its dimensions "chain",
        "draw" and "sample" together are the K samples, all others the N data points.
    name : str, optional
        Of the array in a file or mapping, or of the variable, alone or as GROUP/VARIABLE. Unless
        given, "log_w", "logw" or "log_weights", or the only one that there is.

    Returns
    -------
    numpy.ndarray, shape (K, N), float64
        Not a copy of an array that is such already. -inf is a zero weight.

    Raises
    ------
    FileNotFoundError
        When there is no such file.
    ValueError
        For a file that is damaged or of another kind, more than one array to choose from, and
        anything but a (K, N) array of floating-point numbers without NaN and +inf.
    """
    return _checked(*_found(source, name))


def _found(source, name):
    """(the array, what errors call it)."""
    if isinstance(source, str | os.PathLike):
        return _of_file(Path(source).expanduser(), name)
    held = _variables(source)
    if held is not None:
        key = _choice(held, name, type(source).__name__)
        if key.startswith(f"{LIKELIHOOD}/"):
            raise ValueError(
                f"{key} is log p(x|z), not a log-weight: add log p(z) and subtract log q(z|x), and "
                "give the array"
            )
        return _stacked(held[key], key), key
    if isinstance(source, Mapping):
        keys = {str(key): key for key in source}
        key = _choice(keys, name, f"the {type(source).__name__}")
        return _host(source[keys[key]], key), key
    if name is not None:
        raise ValueError(f"an array has no names: leave {name!a} out")
    if isinstance(getattr(source, "dims", None), tuple):
        return _stacked(source, "log_w"), "log_w"
    return _host(source, "log_w"), "log_w"


def _variables(source):
    """The variables of all groups of an InferenceData, DataTree or Dataset; None of others."""
    groups = getattr(source, "groups", None)
    if callable(groups):
        return _by_name((group, source[group]) for group in groups())
    if isinstance(groups, tuple):
        return _by_name((group.strip("/"), source[group]) for group in groups)
    return _by_name([("", source)]) if hasattr(source, "data_vars") else None


def _by_name(groups):
    """Variables by GROUP/VARIABLE."""
    return {
        f"{group}/{name}".lstrip("/"): each
        for group, data in groups
        for name, each in data.data_vars.items()
    }


def _choice(keys: Iterable[str], name: str | None, where: str) -> str:
    """The one of `keys` that is meant."""
    keys = list(keys)
    meant = NAMES if name is None else (name,)
    found = [key for key in keys if key in meant or key.rpartition("/")[2] in meant]
    if len(found) > 1:
        raise ValueError(f"{where} holds {_listed(found)}: name one of them")
    if not found and name is None and len(keys) == 1:
        return keys[0]
    if not found:
        problem = "no log_w" if name is None else f"no {name!a}"
        raise ValueError(f"{where} has {problem}: name one of what it holds, {_listed(keys)}")
    return found[0]


def _listed(keys):
    return ", ".join(map(ascii, keys[:10])) + (", …" if len(keys) > 10 else "") or "nothing"


def _stacked(variable, key):
    """A variable as (K, N): its dimensions of samples, slowest first, and all others."""
    dims = list(variable.dims)
    samples = [dim for dim in SAMPLES if dim in dims]
    if not samples:
        raise ValueError(
            f"{key} has the dimensions {_listed(dims)}, and none of samples: call that sample, or "
            "chain and draw"
        )
    order = [dims.index(dim) for dim in samples]
    values = np.moveaxis(_host(variable.values, key), order, range(len(order)))
    shape = values.shape
    return values.reshape(math.prod(shape[: len(order)]), math.prod(shape[len(order) :]))


def _host(values, key):
    """An array, or a table of pandas, as NumPy's."""
    if np.ma.is_masked(values):
        raise ValueError(f"{key} has masked values: leave them out, or fill them with -inf")
    if "bfloat16" in str(getattr(values, "dtype", "")):  # which NumPy does not have
        values = values.float() if hasattr(values, "float") else values.astype(np.float32)
    try:
        return host(values.to_numpy() if hasattr(values, "to_numpy") else values)
    except (TypeError, ValueError) as error:
        problem = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"{key} is no array of numbers: {problem}") from None


def _of_file(path, name):
    ending = path.suffix.lower()
    if ending in OTHERS:
        raise ValueError(f"{path}: {OTHERS[ending]}")
    if ending in TEXTS:
        if name is not None:
            raise ValueError(f"{path}: a table of text has no names of arrays: leave {name!a} out")
        return of_text(read_file(path, MOST_TEXT), path), str(path)
    content = read_file(path, MOST_BYTES)
    limit = min(MOST_BYTES, RATIO * len(content) + SPARE)
    arrays = parse_contents(content, path, (limit, limit)).arrays
    key = _choice(arrays, name, str(path))
    return arrays[key], f"{path}: {key!a}"


def _checked(log_w, where):
    """`log_w` in float64, or one sentence on what is wrong with it."""
    expected = "log-weights have shape (K, N), K samples of each of N data points"
    if log_w.ndim == 1:
        expected += ": for a single data point give log_w[:, None]"
    if log_w.ndim != 2:
        raise ValueError(f"{where} has shape {log_w.shape}: {expected}")
    if 0 in log_w.shape:
        raise ValueError(f"{where} is empty, of shape {log_w.shape}: {expected}")
    if log_w.dtype.kind != "f":
        raise ValueError(
            f"{where} is of {log_w.dtype}: log-weights are floating-point numbers, "
            "log p(x, z) - log q(z|x) in nats"
        )
    log_w = log_w.astype(np.float64, copy=False)
    with np.errstate(invalid="ignore"):
        fine = log_w.max() < np.inf  # neither NaN nor +inf
    if not fine:
        sample, point = np.argwhere(~(log_w < np.inf))[0]
        raise ValueError(
            f"{where} holds {log_w[sample, point]} (sample {sample} of data point {point}): check "
            "what computed these log-weights; only -inf, a zero weight, can be"
        )
    return log_w
