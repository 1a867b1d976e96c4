"""Arrays out of files that nobody vouches for: .npz, .npy, HDF5 and safetensors.

Nothing is unpickled, no file but the one named is opened, that one once, and what a file may ask
for is bounded before it is allocated: reading takes less than four times the file and 300 MB. Data
are checked against the checksums that the formats have: CRC-32 of each .npz member, Adler-32 of
each compressed HDF5 chunk, and in safetensors files written here a SHA-256 of everything (the
format itself has none, nor has .npy).
"""

import hashlib
import json
import math
import os
import re
import struct
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import safetensors.numpy

from jvi.compat.npz import check_sizes, read_npy, read_npz
from jvi.compat.reading import read_file

__all__ = ["Contents", "read_arrays", "read_contents", "write_safetensors"]

MAX_BYTES = 2**28  # of one array; the largest of the original's, fancy networks, have 2**24
MAX_TOTAL_BYTES = 2**30  # of all arrays read from one file
MAX_HEADER_BYTES = 2**20  # of a safetensors file
MAX_HDF5_SECONDS = 120
HDF5_READER = Path(__file__).with_name("hdf5.py")

# What the arrays of a file may have more than the file itself, for compression: half as much, and
# SPARE, twice the largest array of the original's. Trained numbers hardly shrink.
RATIO = 1.5
SPARE = 2**25

_SHA256 = re.compile("[0-9a-f]{64}")
_SAFETENSORS = {"I8": 1, "I16": 2, "I32": 4, "I64": 8, "F16": 2, "F32": 4, "F64": 8}
_SAFETENSORS |= {"U8": 1, "U16": 2, "U32": 4, "U64": 8}


class Contents(NamedTuple):
    """What one reading of a file found.

    Attributes
    ----------
    arrays : dict of str to numpy.ndarray
        In native byte order and C order.
    metadata : dict of str to str
        The text entries in the header of a safetensors file; {} for the other kinds.
    """

    arrays: dict
    metadata: dict


def read_arrays(path, keep=None):
    """The arrays of a file by name: those of `read_contents`."""
    return read_contents(path, keep).arrays


def read_contents(path, keep=None):
    """What a file holds; its kind is told from its content, not from its name.

    Parameters
    ----------
    path : str or Path
        An .npz (a Chainer snapshot is one), .npy (its array is named as the file is, without the
        ending), HDF5 (`save_hdf5`) or safetensors file.
    keep : callable, optional
        Given a name, whether to read that array. The others of an .npz file are not looked at,
        so that damage to them does not matter.

    Returns
    -------
    Contents

    Raises
    ------
    FileNotFoundError
        When there is no such file.
    ValueError
        When it is none of the four, is damaged, holds anything but plain arrays of numbers or
        text, or more than this module's constants allow for a file of its size. The message names
        the file and the key.
    """
    content = read_file(path, 2 * MAX_TOTAL_BYTES)
    total = min(MAX_TOTAL_BYTES, int(RATIO * len(content)) + SPARE)
    return parse_contents(content, path, (MAX_BYTES, total), keep)


def parse_contents(content, path, limits, keep=None):
    """`read_contents` of the bytes of a file.

    Parameters
    ----------
    content : bytes
    path : str or Path
        The file's name, for errors and for the array of an .npy file.
    limits : (int, int)
        Bytes that one array, and all together, may have.
    keep : callable, optional
    """
    path, metadata = Path(path), {}
    if content.startswith((b"PK\3\4", b"PK\5\6")):
        arrays = read_npz(content, path, limits, keep)
    elif content.startswith(b"\x93NUMPY"):
        arrays = read_npy(content, path, limits)
    elif content.startswith(b"\x89HDF\r\n\x1a\n"):
        arrays = _read_hdf5(content, path, limits)
    elif content[8:9] == b"{":
        arrays, metadata = _read_safetensors(content, path, limits)
    else:
        raise ValueError(f"{path}: not an .npz, .npy, HDF5 or safetensors file")
    kept = {name: array for name, array in arrays.items() if keep is None or keep(name)}
    return Contents(kept, metadata)


def write_safetensors(path, arrays, metadata):
    """Write a safetensors file; to `metadata` (str to str) in its header a checksum is added."""
    arrays = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    without = safetensors.numpy.save(arrays)
    entries, _, start = _safetensors_header(without, path)
    checksum = _digest(entries, metadata, memoryview(without)[start:])
    Path(path).write_bytes(safetensors.numpy.save(arrays, {**metadata, "sha256": checksum}))


def _read_hdf5(content, path, limits):
    """The arrays of an HDF5 file, read by a child process from a copy of what was read here.

    The HDF5 library is C that trusts its input: damage can crash it, hang it or make it allocate
    without bound. In a child with limits that is one more clean error.
    """
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "copy.h5")
        copy.write_bytes(content)
        with open(Path(folder, "arrays.npz"), "w+b") as found:
            _run_reader(copy, found, path, limits)
            npz = bytearray(found.seek(0, os.SEEK_END))
            found.seek(0)
            found.readinto(npz)
    return read_npz(npz, path, (sys.maxsize, sys.maxsize))  # the child has kept to the limits


def _run_reader(copy, found, path, limits):
    """Have a child process read `copy` and write the arrays to `found`, as .npz."""
    command = [sys.executable, "-P", str(HDF5_READER), str(copy), *map(str, limits)]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "HDF5_PLUGIN_PRELOAD": "::"}
    try:
        child = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=found,
            stderr=subprocess.PIPE,
            timeout=MAX_HDF5_SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise ValueError(f"{path}: damaged: the HDF5 library does not finish reading it") from None
    if child.returncode < 0:
        raise ValueError(f"{path}: damaged: the HDF5 library crashes on it")
    if child.returncode:
        lines = child.stderr.decode("ascii", "replace").splitlines() or ["no reason given"]
        raise ValueError(f"{path}: {lines[-1][:300]}")


def _read_safetensors(content, path, limits):
    """(arrays, metadata) of a safetensors file."""
    entries, metadata, start = _safetensors_header(content, path)
    sizes = {name: _declared(path, name, entry) for name, entry in entries.items()}
    check_sizes(path, sizes, limits)
    _check_tiled(path, entries)
    data = memoryview(content)[start:]
    if len(data) != sum(sizes.values()):
        raise ValueError(
            f"{path}: damaged: {len(data)} bytes of data, but its header says {sum(sizes.values())}"
        )
    for key, value in metadata.items():  # also under another name, which may be what is damaged
        others = {k: v for k, v in metadata.items() if k != key}
        if (key == "sha256" or _SHA256.fullmatch(value)) and value != _digest(
            entries, others, data
        ):
            raise ValueError(f"{path}: damaged: its content does not fit its checksum, {key!a}")
    return {name: _array(entry, data) for name, entry in entries.items()}, metadata


def _array(entry, data):
    """A copy of the array of one entry."""
    dtype, (start, stop) = entry["dtype"], entry["data_offsets"]
    kind = {"I": "i", "U": "u", "F": "f"}[dtype[0]]
    array = np.frombuffer(data[start:stop], f"<{kind}{_SAFETENSORS[dtype]}")
    return array.reshape(entry["shape"]).astype(array.dtype.newbyteorder("="))


def _safetensors_header(content, path):
    """(entries, metadata, where the data start) of a safetensors file."""
    (length,) = struct.unpack("<Q", content[:8])
    if length > MAX_HEADER_BYTES:
        raise ValueError(f"{path}: a header of {length} bytes, at most {MAX_HEADER_BYTES} are read")
    try:
        text = content[8 : 8 + length].decode()
        entries = json.loads(text, object_pairs_hook=_without_duplicates)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: damaged header ({str(error)!a})") from None
    metadata = entries.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise ValueError(f"{path}: __metadata__ in its header is not text")
    return entries, metadata, 8 + length


def _declared(path, name, entry):
    """The bytes of an entry of a header, which the library has not checked yet."""
    try:
        return _bytes(**entry)
    except (TypeError, KeyError, ValueError, OverflowError):
        raise ValueError(
            f"{path}: {name!a}: not an array of numbers, or its shape and place disagree"
        ) from None


def _bytes(dtype, shape, data_offsets):
    start, stop = data_offsets
    if len(shape) > 32 or {type(n) for n in (*shape, start, stop)} != {int}:
        raise ValueError
    if min(shape, default=0) < 0 or not 0 <= start <= stop < 2**53:
        raise ValueError
    if math.prod(shape) * _SAFETENSORS[dtype] != stop - start:
        raise ValueError
    return stop - start


def _check_tiled(path, entries):
    """Refuse arrays that do not lie one behind the other."""
    end = 0
    for name, entry in sorted(entries.items(), key=lambda item: item[1]["data_offsets"]):
        start, stop = entry["data_offsets"]
        if start != end:
            raise ValueError(f"{path}: {name!a}: damaged header: overlaps or leaves a gap")
        end = stop


def _without_duplicates(pairs):
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key is there twice")
    return result


def _digest(entries, metadata, data):
    """SHA-256 of all that a safetensors file says, whatever the order and spacing of its header."""
    digest = hashlib.sha256(json.dumps([entries, metadata], sort_keys=True).encode())
    digest.update(data)
    return digest.hexdigest()
