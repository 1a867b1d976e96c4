"""What a file of CIFAR-10 holds, of the binary or the Python version, out of its bytes."""

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

__all__ = ["IMAGE", "SIDE", "of_binary", "of_pickle", "pixel_by_pixel"]

SIDE = 32
IMAGE = 3 * SIDE * SIDE  # bytes of an image: a plane of red, one of green, one of blue
LABELS = 10

# The steps of a pickle (PEP 307, and pickletools.py of Python) of numbers, texts and arrays of
# bytes in protocol 2, by code. What is read after each: bytes of a number, or of a text's length.
TEXTS = {b"U": 1, b"T": 4, b"X": 4}  # X is in UTF-8: as Python 3 writes bytes that were latin-1
NUMBERS = {b"K": 1, b"M": 2, b"J": 4}
REMEMBERING = {b"q": 1, b"r": 4, b"h": 1, b"j": 4}
PROTOCOL, GLOBAL, PAIR, TRUE, FALSE, STOP = b"\x80", b"c", b"\x86", b"\x88", b"\x89", b"."
SINGLE = {bytes([code]) for code in b"(})]aesuNtRb\x85\x87"} | {PAIR, TRUE, FALSE, STOP}
SIZES = TEXTS | NUMBERS | REMEMBERING | {PROTOCOL: 1} | dict.fromkeys(SINGLE, 0)
GLOBALS = {
    b"numpy.core.multiarray\n_reconstruct",
    b"numpy._core.multiarray\n_reconstruct",
    b"numpy\nndarray",
    b"numpy\ndtype",
    b"_codecs\nencode",
}
MOST_STEPS = 10**6  # the published files take 60,000


def of_binary(content: bytes, path: str | Path) -> np.ndarray:
    """Of the binary version: each image is a byte with the label, then its three planes.

    Parameters
    ----------
    content : bytes
        Of a whole file.
    path : str or Path
        Its name, for errors.

    Returns
    -------
    uint8 array, shape (N, 3072), read-only

    Raises
    ------
    ValueError
        When it is cut off, or a label is none.
    """
    count, rest = divmod(len(content), 1 + IMAGE)
    if rest or not count:
        raise ValueError(
            f"{path} is damaged: its {len(content)} bytes are no images of {1 + IMAGE} bytes each"
        )
    records = np.frombuffer(content, np.uint8).reshape(count, 1 + IMAGE)
    bad = np.flatnonzero(records[:, 0] >= LABELS)
    if len(bad):
        label = records[bad[0], 0]
        raise ValueError(f"{path} is damaged or not CIFAR-10: image {bad[0]} has the label {label}")
    return records[:, 1:]


def of_pickle(content: bytes, path: str | Path) -> np.ndarray:
    """Of the Python version: the array "data" of a dict, whose pickle is not unpickled.

    A pickle is a program. None of it is run: its steps are read, none may be other than such a file
    has, and those after the text "data" must describe an array of bytes of shape (N, 3072).

    Parameters, result and errors are as for `of_binary`.
    """
    try:
        shape, order, pixels = _array(list(_steps(content)))
    except ValueError as error:
        wrong = f"{path} is damaged or not of CIFAR-10's Python version"
        raise ValueError(f"{wrong}: {error}") from None
    return np.frombuffer(pixels, np.uint8).reshape(shape, order=order)


def _steps(content: bytes) -> Iterator[tuple[bytes, bytes | int]]:
    """(code, argument) of a pickle's steps, but for what only remembers, until it stops."""
    at = 0
    for _ in range(MOST_STEPS):
        code, at = content[at : at + 1], at + 1
        if code == GLOBAL:
            argument, at = _global(content, at)
        elif code in SIZES:
            argument, at = _argument(content, at, code)
        else:
            raise ValueError(f"it has the step {code!a}, which is not run" if code else CUT)
        if code not in REMEMBERING:
            yield code, argument
        if code == STOP:
            return
    raise ValueError(f"it has more than {MOST_STEPS} steps")


CUT = "it is cut off"


def _global(content, at):
    """A function or class by name, in two lines; and where the next step begins."""
    end = content.find(b"\n", content.find(b"\n", at, at + 100) + 1, at + 100)
    if content[at:end] not in GLOBALS:
        what = " ".join(content[at : at + 50].decode("latin-1").split("\n")[:2])
        raise ValueError(f"it names {what!a}, which is not run")
    return content[at:end], end + 1


def _argument(content, at, code):
    """A number, or a text's bytes; and where the next step begins."""
    end = at + SIZES[code]
    argument = int.from_bytes(content[at:end], "little", signed=code == b"J")
    if code in TEXTS:
        at, end = end, end + argument
        argument = content[at:end]
    if end > len(content):
        raise ValueError(CUT)
    return argument.decode().encode("latin-1") if code == b"X" else argument, end


def _array(steps):
    """(shape, order, bytes) of the array that the text "data" is followed by."""
    if (name := next((i for i, step in enumerate(steps) if step[1] == b"data"), None)) is None:
        raise ValueError('it has no "data"')
    texts = (i for i, step in enumerate(steps) if i > name and step[0] in TEXTS)
    last = next((i for i in texts if len(steps[i][1]) >= IMAGE), name)
    said, pixels = steps[name:last], steps[last][1]
    threes = zip(said, said[1:], said[2:], strict=False)
    shapes = [(m[1], n[1]) for m, n, end in threes if _are_pair(m[0], n[0], end[0])]
    orders = [code for code, _ in said if code in (TRUE, FALSE)]
    if len(shapes) != 1 or not orders or b"u1" not in [argument for _, argument in said]:
        raise ValueError('its "data" are no array of bytes')
    [shape] = shapes
    if shape[1] != IMAGE or math.prod(shape) != len(pixels):
        raise ValueError(f"its array of shape {shape} has {len(pixels)} bytes")
    return shape, "F" if orders[-1] == TRUE else "C", pixels


def _are_pair(one, two, end):
    return one in NUMBERS and two in NUMBERS and end == PAIR


def pixel_by_pixel(planes: np.ndarray) -> np.ndarray:
    """Rows in the order row, column, channel, of those in the order channel, row, column.

    Parameters
    ----------
    planes : uint8 array, shape (N, 3072)

    Returns
    -------
    uint8 array, shape (N, 3072)
    """
    images = planes.reshape(len(planes), 3, SIDE, SIDE)
    return images.transpose(0, 2, 3, 1).reshape(len(planes), IMAGE)
