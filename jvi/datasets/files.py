"""Data in files of one's own: .npz, .npy and idx, told apart by their content."""

import os
from pathlib import Path
from typing import Any

import numpy as np

from jvi.compat.arrays import parse_contents
from jvi.compat.reading import present, read_file
from jvi.datasets.idx import parse_idx, unpacked

__all__ = ["ENDINGS", "PARTS", "is_path", "read_parts"]

LIMIT = 2**32  # bytes of data, unpacked

# What is compressed can claim any number: of a small file, this many bytes and numbers are read,
# of a large one RATIO times the file more. MNIST's images are 55 million numbers.
RATIO = 3
SPARE_BYTES = 182 * 2**20
SPARE_NUMBERS = 60 * 2**20

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
    content = read_file(path, LIMIT + 2**20)
    limit, head = min(LIMIT, RATIO * len(content) + SPARE_BYTES), content[:2]
    if head in (b"\0\0", b"\x1f\x8b"):
        arrays = {"train": parse_idx(unpacked(content, path, limit), path)}
    elif head in (b"PK", b"\x93N"):
        arrays = parse_contents(content, path, (limit, limit)).arrays
    else:
        raise ValueError(f"{path} is not an .npz, .npy or idx file")
    _check_count(arrays, path, RATIO * len(content) + SPARE_NUMBERS)
    return _by_part(arrays, path) if head == b"PK" else {"train": next(iter(arrays.values()))}


def _check_count(arrays, path, most):
    """Refuse more numbers than a file of its size can mean; as float32, each takes four bytes."""
    count = sum(array.size for array in arrays.values())
    if count > most:
        raise ValueError(
            f"{path} holds {count} numbers, at most {most} are read of a file of its size: save it "
            "without compression"
        )


def _check_exists(path):
    if os.path.isdir(path):
        raise ValueError(f"{path} is a folder: name a file in it")
    if present(path):
        return
    folder = path.parent.iterdir() if os.path.isdir(path.parent) else ()
    beside = [each.name for each in folder if each.name.isprintable()]
    longer = sorted(name for name in beside if name.startswith(f"{path.name}."))
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
