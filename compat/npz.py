"""Arrays out of .npz and .npy files that nobody vouches for; see `jvi.compat.arrays`."""

import math
import re

import numpy as np

from jvi.compat.zips import MAX_MEMBERS, list_members, read_member

__all__ = ["check_sizes", "read_npy", "read_npz"]

MAX_HEADER = 2**16  # bytes of what precedes the numbers

_NPY_HEADER = re.compile(
    rb"\{'descr': '([<>|])([biufSU])(\d{1,9})', 'fortran_order': (True|False), "
    rb"'shape': \(((?:\d{1,18}L?, ?)*(?:\d{1,18}L?)?)\), \} *\n"  # Python 2 wrote some as 8L
)
_ITEM_SIZES = {"b": (1,), "i": (1, 2, 4, 8), "u": (1, 2, 4, 8), "f": (2, 4, 8)}


def check_sizes(path, sizes, limits):
    """Refuse the array sizes (dict of name to bytes) that a file declares if they are too much."""
    largest, total = limits
    for name, size in sizes.items():
        if size > largest:
            raise ValueError(f"{path}: {name!a}: {size} bytes, at most {largest} are read")
    if len(sizes) > MAX_MEMBERS:
        raise ValueError(f"{path}: {len(sizes)} arrays, at most {MAX_MEMBERS} are read")
    if sum(sizes.values()) > total:
        raise ValueError(
            f"{path}: arrays of {sum(sizes.values())} bytes in total, at most {total} are read "
            "of a file of its size (without compression more can be)"
        )


def read_npz(content, path, limits, keep=None):
    """The arrays of the bytes of an .npz file by name, those that `keep` keeps."""
    try:
        listed = list_members(content)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    members = {}
    for member in listed:
        name = member.name.removesuffix(".npy")
        if name in members or name == member.name:
            raise ValueError(f"{path}: {member.name!a}: not an .npy member, or there twice")
        members[name] = member
    kept = {name: member for name, member in members.items() if keep is None or keep(name)}
    check_sizes(path, {name: member.size for name, member in kept.items()}, limits)
    return {name: _array(path, name, content, member) for name, member in kept.items()}


def read_npy(content, path, limits):
    """The array of the bytes of an .npy file, by the file's name without its ending."""
    check_sizes(path, {path.stem: len(content)}, limits)
    return {path.stem: _array(path, path.stem, content)}


def _array(path, name, content, member=None):
    """The array that `content` is, or a member of it."""
    try:
        return _parse_npy(content if member is None else read_member(content, member))
    except ValueError as error:
        raise ValueError(f"{path}: {name!a}: {error}") from None


def _parse_npy(data):
    """The array of an .npy file: versions 1 to 3, no Python objects or structures."""
    if data[:6] != b"\x93NUMPY" or data[6:8] not in (b"\1\0", b"\2\0", b"\3\0"):
        raise ValueError("not an .npy array")
    begin = 10 if data[6] == 1 else 12
    stop = begin + int.from_bytes(data[8:begin], "little")
    match = _NPY_HEADER.fullmatch(bytes(data[begin : min(stop, MAX_HEADER)]))
    if not match:
        raise ValueError("not a plain array (objects are not read), or its header is damaged")
    order, kind, size, fortran, shape = (group.decode() for group in match.groups())
    shape = tuple(int(n.strip(" L")) for n in shape.split(",") if n.strip())
    if int(size) not in _ITEM_SIZES.get(kind, range(1, 10**9)) or len(shape) > 32:
        raise ValueError(f"unknown type {kind}{size} or shape")
    if math.prod(shape) * int(size) * (4 if kind == "U" else 1) != len(data) - stop:
        raise ValueError(f"shape {shape} and length of the data disagree")
    array = np.frombuffer(data, order + kind + size, offset=stop)
    array = array.reshape(shape, order="F" if fortran == "True" else "C")
    if array.dtype.isnative and array.flags.carray:  # which needs to be writable, too
        return array
    return np.array(array, array.dtype.newbyteorder("="), order="C")
