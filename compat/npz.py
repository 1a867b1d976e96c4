"""Arrays out of .npz and .npy files that nobody vouches for; see `jvi.compat.arrays`."""

import math
import os
import re
import struct
import zipfile

import numpy as np

__all__ = ["MAX_ARRAYS", "check_sizes", "read_npy", "read_npz"]

MAX_ARRAYS = 10_000

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
    if len(sizes) > MAX_ARRAYS:
        raise ValueError(f"{path}: {len(sizes)} arrays, at most {MAX_ARRAYS} are read")
    if sum(sizes.values()) > total:
        raise ValueError(f"{path}: arrays of more than {total} bytes in total")


def read_npz(file, path, limits, keep=None):
    """The arrays of an .npz file by name, those that `keep` keeps."""
    _check_zip_directory(file, path)
    try:
        archive = zipfile.ZipFile(file)
    except Exception as error:  # zipfile raises many kinds for damage
        raise ValueError(f"{path}: damaged .npz file ({error})") from None
    members = {}
    for member in archive.infolist():
        name = member.filename.removesuffix(".npy")
        if name in members or name == member.filename:
            raise ValueError(f"{path}: {member.filename!a}: not an .npy member, or there twice")
        members[name] = member
    kept = {name: member for name, member in members.items() if keep is None or keep(name)}
    check_sizes(path, {name: member.file_size for name, member in kept.items()}, limits)
    return {name: _read_member(archive, path, name, member) for name, member in kept.items()}


def _check_zip_directory(file, path):
    """Refuse a directory too long to be read, or one that does not count what it lists."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - 22 - 2**16))
    end = file.read()
    at = end.rfind(b"PK\5\6")
    if at < 0 or len(end) < at + 22:
        raise ValueError(f"{path}: damaged .npz file (it is cut off: the end of it is missing)")
    count, length, start = struct.unpack("<HLL", end[at + 10 : at + 20])
    if at >= 76 and end[at - 20 : at - 16] == b"PK\6\7":  # the same for more than 2 GiB
        count, length, start = struct.unpack("<QQQ", end[at - 44 : at - 20])
    if count > MAX_ARRAYS or length > 200 * MAX_ARRAYS:
        raise ValueError(f"{path}: more than {MAX_ARRAYS} arrays")
    file.seek(min(start, size))
    if file.read(length).count(b"PK\1\2") < count:
        raise ValueError(f"{path}: damaged .npz file (entries are missing)")
    file.seek(0)


def _read_member(archive, path, name, member):
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{path}: {name!a}: unknown compression; only deflate is read")
    try:
        data = archive.read(member)  # checks the CRC
    except Exception as error:
        raise ValueError(f"{path}: {name!a}: damaged ({error})") from None
    return _array(path, name, data)


def read_npy(file, path, limits):
    """The array of an .npy file, by the file's name without its ending."""
    check_sizes(path, {path.stem: file.seek(0, os.SEEK_END)}, limits)
    file.seek(0)
    return {path.stem: _array(path, path.stem, file.read())}


def _array(path, name, data):
    try:
        return _parse_npy(data)
    except ValueError as error:
        raise ValueError(f"{path}: {name!a}: {error}") from None


def _parse_npy(data):
    """The array of an .npy file: versions 1 to 3, no Python objects or structures."""
    if data[:6] != b"\x93NUMPY" or data[6:8] not in (b"\1\0", b"\2\0", b"\3\0"):
        raise ValueError("not an .npy array")
    begin = 10 if data[6] == 1 else 12
    stop = begin + int.from_bytes(data[8:begin], "little")
    match = _NPY_HEADER.fullmatch(data[begin:stop])
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
    return np.array(array, array.dtype.newbyteorder("="), order="C")
