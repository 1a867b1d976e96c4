"""Arrays out of files that nobody vouches for: .npz, .npy, HDF5 and safetensors.

Nothing is unpickled, no file but the one named is opened, and what a file may ask for is bounded
before it is allocated. Data are checked against the checksums that the formats have: CRC-32 of
each .npz member, Adler-32 of each compressed HDF5 chunk, and in safetensors files written here a
SHA-256 of everything (the format itself has none, nor has .npy).
"""

import hashlib
import io
import json
import math
import os
import re
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import safetensors.numpy

from jvi.compat.npz import check_sizes, read_npy, read_npz

__all__ = ["read_arrays", "read_metadata", "write_safetensors"]

MAX_BYTES = 2**28  # of one array; the largest of the original's, fancy networks, have 2**24
MAX_TOTAL_BYTES = 2**30  # of all arrays read from one file
MAX_HEADER_BYTES = 2**20  # of a safetensors file
MAX_HDF5_SECONDS = 120
HDF5_READER = Path(__file__).with_name("hdf5.py")

_SHA256 = re.compile("[0-9a-f]{64}")
_SAFETENSORS = {"I8": 1, "I16": 2, "I32": 4, "I64": 8, "F16": 2, "F32": 4, "F64": 8}
_SAFETENSORS |= {"U8": 1, "U16": 2, "U32": 4, "U64": 8}


def read_arrays(path, keep=None, limit=None):
    """The arrays of a file by name; its kind is told from its content, not from its name.

    Parameters
    ----------
    path : str or Path
        An .npz (a Chainer snapshot is one), .npy (its array is named as the file is, without the
        ending), HDF5 (`save_hdf5`) or safetensors file.
    keep : callable, optional
        Given a name, whether to read that array. The others of an .npz file are not looked at,
        so that damage to them does not matter.
    limit : int, optional
        Bytes that one array, and all together, may have, instead of `MAX_BYTES` and
        `MAX_TOTAL_BYTES`, which are meant for models.

    Returns
    -------
    dict of str to numpy.ndarray
        In native byte order and C order.

    Raises
    ------
    FileNotFoundError
        When there is no such file.
    ValueError
        When it is none of the four, is damaged, holds anything but plain arrays of numbers or
        text, or more than `limit` or this module's ``MAX_…`` allow. The message names the file
        and the key.
    """
    path = Path(path)
    limits = (MAX_BYTES, MAX_TOTAL_BYTES) if limit is None else (limit, limit)
    with _open(path) as file:
        head = file.read(9)
        file.seek(0)
        if head.startswith((b"PK\3\4", b"PK\5\6")):
            arrays = read_npz(file, path, limits, keep)
        elif head.startswith(b"\x93NUMPY"):
            arrays = read_npy(file, path, limits)
        elif head.startswith(b"\x89HDF\r\n\x1a\n"):
            arrays = _read_hdf5(path, limits)
        elif head[8:] == b"{":
            arrays = _read_safetensors(file, path, limits)
        else:
            raise ValueError(f"{path}: not an .npz, .npy, HDF5 or safetensors file")
    return {name: array for name, array in arrays.items() if keep is None or keep(name)}


def read_metadata(path):
    """The text entries in the header of a safetensors file; {} for the other kinds."""
    path = Path(path)
    with _open(path) as file:
        is_safetensors = file.read(9)[8:] == b"{"
        file.seek(0)
        return _safetensors_header(file, path)[1] if is_safetensors else {}


def write_safetensors(path, arrays, metadata):
    """Write a safetensors file; to `metadata` (str to str) in its header a checksum is added."""
    arrays = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    without = io.BytesIO(safetensors.numpy.save(arrays))
    entries, _, _ = _safetensors_header(without, path)
    checksum = _digest(entries, metadata, without.read())
    Path(path).write_bytes(safetensors.numpy.save(arrays, {**metadata, "sha256": checksum}))


def _open(path):
    if path.exists() and not path.is_file():
        raise ValueError(f"{path}: is not a file")
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file")
    return open(path, "rb")


def _read_hdf5(path, limits):
    """The arrays of an HDF5 file, read by a child process.

    The HDF5 library is C that trusts its input: damage can crash it, hang it or make it allocate
    without bound. In a child with limits that is one more clean error.
    """
    command = [sys.executable, "-P", str(HDF5_READER), str(path.resolve()), *map(str, limits)]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "HDF5_PLUGIN_PRELOAD": "::"}
    try:
        child = subprocess.run(
            command, env=environment, capture_output=True, timeout=MAX_HDF5_SECONDS
        )
    except subprocess.TimeoutExpired:
        raise ValueError(f"{path}: damaged: the HDF5 library does not finish reading it") from None
    if child.returncode < 0:
        raise ValueError(f"{path}: damaged: the HDF5 library crashes on it")
    if child.returncode:
        lines = child.stderr.decode("ascii", "replace").splitlines() or ["no reason given"]
        raise ValueError(f"{path}: {lines[-1][:300]}")
    return read_npz(io.BytesIO(child.stdout), path, limits)


def _read_safetensors(file, path, limits):
    entries, metadata, start = _safetensors_header(file, path)
    sizes = {name: _declared(path, name, entry) for name, entry in entries.items()}
    check_sizes(path, sizes, limits)
    size = file.seek(0, os.SEEK_END) - start
    if size != sum(sizes.values()):
        raise ValueError(
            f"{path}: damaged: {size} bytes of data, but its header says {sum(sizes.values())}"
        )
    file.seek(start)
    data = file.read(size)
    for key, value in metadata.items():  # also under another name, which may be what is damaged
        others = {k: v for k, v in metadata.items() if k != key}
        if (key == "sha256" or _SHA256.fullmatch(value)) and value != _digest(
            entries, others, data
        ):
            raise ValueError(f"{path}: damaged: its content does not fit its checksum, {key!a}")
    # Without the metadata, of which we read text that the library does not: lone surrogates.
    header = json.dumps(entries).encode()
    try:
        arrays = safetensors.numpy.load(struct.pack("<Q", len(header)) + header + data)
    except (safetensors.SafetensorError, ValueError) as error:
        raise ValueError(f"{path}: damaged header ({str(error)!a})") from None
    return {
        name: np.require(array, array.dtype.newbyteorder("="), "W")
        for name, array in arrays.items()
    }


def _safetensors_header(file, path):
    """(entries, metadata, where the data start) of a safetensors file."""
    (length,) = struct.unpack("<Q", file.read(8))
    if length > MAX_HEADER_BYTES:
        raise ValueError(f"{path}: a header of {length} bytes, at most {MAX_HEADER_BYTES} are read")
    try:
        entries = json.loads(file.read(length).decode(), object_pairs_hook=_without_duplicates)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: damaged header ({error})") from None
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
    if len(shape) > 32 or math.prod(shape) * _SAFETENSORS[dtype] != stop - start:
        raise ValueError
    return stop - start


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
