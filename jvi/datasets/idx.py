"""The idx format of MNIST: big-endian sizes, then unsigned bytes (http://yann.lecun.com/exdb/mnist)."""

import gzip
import io
import math
import zlib
from pathlib import Path

import numpy as np

from jvi.compat.reading import read_file

__all__ = ["parse_idx", "read_bounded", "unpacked"]

UNSIGNED_BYTE = 0x08
PIECE = 2**16  # bytes that are unpacked at a time


def read_bounded(path: str | Path, limit: int) -> bytes | bytearray:
    """The content of a plain or gzipped file, unpacking no more than `limit` bytes.

    Parameters
    ----------
    path : str or Path
        A name without .gz may hide gzipped content and the other way round.
    limit : int
        Most bytes that are wanted.

    Returns
    -------
    bytes or bytearray

    Raises
    ------
    FileNotFoundError
        When there is no such file.
    ValueError
        When it holds more, is no ordinary file, cannot be read or is damaged.
    """
    return unpacked(read_file(path, 2 * limit + PIECE), path, limit)


def unpacked(content: bytes, path: str | Path, limit: int) -> bytes | bytearray:
    """`read_bounded` of what the file `path` contains."""
    try:
        found = _gunzipped(content, limit) if content.startswith(b"\x1f\x8b") else content
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path} cannot be read or is damaged: {error}") from error
    if len(found) > limit:
        raise ValueError(f"{path} is too long: it holds more than the expected {limit} bytes")
    return found


def _gunzipped(content, limit):
    """What is packed in `content`, or a little of it that is more than `limit`."""
    result, file = bytearray(), gzip.GzipFile(fileobj=io.BytesIO(content))
    # One byte more shows that there is more, and lets gzip reach its checksum.
    while len(result) <= limit and (piece := file.read(min(PIECE, limit + 1 - len(result)))):
        result += piece
    return result


def parse_idx(content: bytes | bytearray, path: str | Path) -> np.ndarray:
    """The array that the bytes of an idx file describe.

    Parameters
    ----------
    content : bytes
        The whole file, unpacked.
    path : str or Path
        The file's name, for errors.

    Returns
    -------
    uint8 array with one to four axes, read-only.

    Raises
    ------
    ValueError
        When magic number, type, sizes and length do not agree to the byte.
    """
    if len(content) < 4 or content[:2] != b"\0\0":
        start = content[:4].hex(" ") or "nothing"
        raise ValueError(f"{path} is not an idx file: it starts with {start}")
    kind, axes = content[2], content[3]
    if kind != UNSIGNED_BYTE:
        raise ValueError(f"{path} holds idx type 0x{kind:02x}: only unsigned bytes (0x08) are read")
    if not 1 <= axes <= 4:
        raise ValueError(f"{path} claims {axes} axes: only 1 to 4 are read")
    header = 4 + 4 * axes
    if len(content) < header:
        raise ValueError(f"{path} is truncated inside its header of {header} bytes")
    shape = [int(size) for size in np.frombuffer(content, ">u4", axes, offset=4)]
    if 0 in shape:
        raise ValueError(f"{path} is empty: its sizes are {shape}")
    expected, actual = header + math.prod(shape), len(content)
    if actual != expected:
        fault = "truncated" if actual < expected else "too long"
        raise ValueError(f"{path} is {fault}: sizes {shape} need {expected} bytes, it has {actual}")
    array = np.frombuffer(content, np.uint8, offset=header).reshape(shape)
    array.flags.writeable = False
    return array
