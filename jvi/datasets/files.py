"""Data in files of one's own: .npz, .npy and idx, told apart by their content."""

from pathlib import Path
from typing import Any

import numpy as np

from jvi.compat.arrays import read_arrays
from jvi.datasets.idx import parse_idx, read_bounded

__all__ = ["ENDINGS", "PARTS", "is_path", "read_parts"]

LIMIT = 2**32  # bytes of data, unpacked: what is compressed can claim any number

PARTS = ("train", "validation", "test")

# What makes a file's name of a name without a folder.
ENDINGS = (".npz", ".npy", ".gz", ".idx", "-ubyte")


def is_path(name: Any) -> bool:
    """Whether this names a file: a Path, or a text with a folder or one of `ENDINGS`."""
    if isinstance(name, str):
        return Path(name).name != name or name.lower().endswith(ENDINGS)
    return isinstance(name, Path)


def read_parts(path: Path) -> dict[str, np.ndarray]:
    """The arrays of one file by part; a file that has but one array has it for "train".

    Parameters
    ----------
    path : Path
        An .npz file with the arrays `train` and, optionally, `validation` and `test`, or with one
        array of another name; or one array as .npy, or as idx, gzipped or not.

    Raises
    ------
    FileNotFoundError
        When there is no such file, with the names that have an ending more.
    ValueError
        When it is none of these, is damaged, has other arrays or more than `LIMIT` bytes.
    """
    _check_exists(path)
    with open(path, "rb") as file:
        head = file.read(2)
    if head in (b"\0\0", b"\x1f\x8b"):
        return {"train": parse_idx(read_bounded(path, LIMIT), path)}
    if head not in (b"PK", b"\x93N"):
        raise ValueError(f"{path} is not an .npz, .npy or idx file")
    arrays = read_arrays(path, limit=LIMIT)
    if head == b"PK":
        return _by_part(arrays, path)
    (array,) = arrays.values()
    return {"train": array}


def _check_exists(path):
    if path.is_dir():
        raise ValueError(f"{path} is a folder: name a file in it")
    if path.is_file():
        return
    if path.exists():
        raise ValueError(f"{path} is not a file")
    folder = path.parent.iterdir() if path.parent.is_dir() else ()
    longer = sorted(each.name for each in folder if each.name.startswith(f"{path.name}."))
    hint = f": name one of {', '.join(longer[:5])} beside it" if longer else ""
    raise FileNotFoundError(f"{path} does not exist{hint}")


def _by_part(arrays, path):
    if len(arrays) == 1 and arrays.keys().isdisjoint(PARTS):
        return {"train": next(iter(arrays.values()))}
    if "train" not in arrays or not arrays.keys() <= set(PARTS):
        names = ", ".join(map(ascii, sorted(arrays)[:5])) or "no array"
        more = f" and {len(arrays) - 5} more" if len(arrays) > 5 else ""
        raise ValueError(
            f"{path} holds {names}{more}: it should hold the arrays train and, optionally, "
            "validation and test, or a single one of another name"
        )
    return arrays
