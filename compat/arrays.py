"""Arrays out of files that nobody vouches for: .npz, HDF5 and safetensors.

Nothing is unpickled, no file but the one named is opened, and what a file may ask for is bounded
before it is allocated. Data are checked against the checksums that the formats have: CRC-32 of
each .npz member, Adler-32 of each compressed HDF5 chunk, and in safetensors files written here a
SHA-256 of everything (the format itself has none).
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
import zipfile
from pathlib import Path

import numpy as np

__all__ = ["read_arrays", "read_metadata", "write_safetensors"]

MAX_ARRAYS = 10_000
MAX_BYTES = 2**28  # of one array; the largest of the original's, fancy networks, have 2**24
MAX_TOTAL_BYTES = 2**30  # of all arrays read from one file
MAX_HEADER_BYTES = 2**20  # of a safetensors file
MAX_HDF5_SECONDS = 120
HDF5_READER = Path(__file__).with_name("hdf5.py")

_NPY_HEADER = re.compile(
    rb"\{'descr': '([<>|])([biufSU])(\d{1,9})', 'fortran_order': (True|False), "
    rb"'shape': \(((?:\d{1,18}L?, ?)*(?:\d{1,18}L?)?)\), \} *\n"  # Python 2 wrote some as 8L
)
_ITEM_SIZES = {"b": (1,), "i": (1, 2, 4, 8), "u": (1, 2, 4, 8), "f": (2, 4, 8)}
_SHA256 = re.compile("[0-9a-f]{64}")
_SAFETENSORS = {f"{k.upper()}{8 * n}": f"<{k}{n}" for k in "iuf" for n in _ITEM_SIZES[k]}


def read_arrays(path, keep=None):
    """The arrays of a file by name; its kind is told from its content, not from its name.

    Parameters
    ----------
    path : str or Path
        An .npz (a Chainer snapshot is one), HDF5 (`save_hdf5`) or safetensors file.
    keep : callable, optional
        Given a name, whether to read that array. The others of an .npz file are not looked at,
        so that damage to them does not matter.

    Returns
    -------
    dict of str to numpy.ndarray
        In native byte order and C order.

    Raises
    ------
    FileNotFoundError
        When there is no such file.
    ValueError
        When it is none of the three, is damaged, holds anything but plain arrays of numbers or
        text, or more than this module's ``MAX_…`` allow. The message names the file and the key.
    """
    path = Path(path)
    with _open(path) as file:
        head = file.read(9)
        file.seek(0)
        if head.startswith((b"PK\3\4", b"PK\5\6")):
            arrays = _read_npz(file, path, keep)
        elif head.startswith(b"\x89HDF\r\n\x1a\n"):
            arrays = _read_hdf5(path)
        elif head[8:] == b"{":
            arrays = _read_safetensors(file, path)
        else:
            raise ValueError(f"{path}: not an .npz, HDF5 or safetensors file")
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
    arrays = {name: np.asarray(array, order="C") for name, array in sorted(arrays.items())}
    kinds = {dtype: name for name, dtype in _SAFETENSORS.items()}
    entries, start = {}, 0
    for name, array in arrays.items():
        offsets = [start, start := start + array.nbytes]
        dtype, shape = kinds[array.dtype.str], list(array.shape)
        entries[name] = {"dtype": dtype, "shape": shape, "data_offsets": offsets}
    data = b"".join(array.tobytes() for array in arrays.values())
    metadata = {**metadata, "sha256": _digest(entries, metadata, data)}
    header = json.dumps({"__metadata__": metadata, **entries}).encode()
    header += b" " * (-len(header) % 8)
    Path(path).write_bytes(struct.pack("<Q", len(header)) + header + data)


def _open(path):
    if path.exists() and not path.is_file():
        raise ValueError(f"{path}: is not a file")
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file")
    return open(path, "rb")


def _check_sizes(path, sizes):
    """Refuse the array sizes (dict of name to bytes) that a file declares if they are too much."""
    for name, size in sizes.items():
        if size > MAX_BYTES:
            raise ValueError(f"{path}: {name!a}: {size} bytes, at most {MAX_BYTES} are read")
    if len(sizes) > MAX_ARRAYS:
        raise ValueError(f"{path}: {len(sizes)} arrays, at most {MAX_ARRAYS} are read")
    if sum(sizes.values()) > MAX_TOTAL_BYTES:
        raise ValueError(f"{path}: arrays of more than {MAX_TOTAL_BYTES} bytes in total")


def _read_npz(file, path, keep=None):
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
    _check_sizes(path, {name: member.file_size for name, member in kept.items()})
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
    if count > MAX_ARRAYS or length > 200 * MAX_ARRAYS:
        raise ValueError(f"{path}: more than {MAX_ARRAYS} arrays")
    file.seek(start)
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
    try:
        return _parse_npy(data)
    except ValueError as error:
        raise ValueError(f"{path}: {name!a}: {error}") from None


def _parse_npy(data):
    """The array of an .npy file: versions 1 to 3, no Python objects or structures."""
    if data[:6] != b"\x93NUMPY" or data[6:8] not in (b"\1\0", b"\2\0", b"\3\0"):
        raise ValueError("not an .npy member")
    begin = 10 if data[6] == 1 else 12
    stop = begin + int.from_bytes(data[8:begin], "little")
    match = _NPY_HEADER.fullmatch(data[begin:stop])
    if not match:
        raise ValueError("not a plain array (objects are not read), or its header is damaged")
    order, kind, size, fortran, shape = (group.decode() for group in match.groups())
    shape = tuple(int(n.strip(" L")) for n in shape.split(",") if n.strip())
    if int(size) not in _ITEM_SIZES.get(kind, range(1, MAX_BYTES)) or len(shape) > 32:
        raise ValueError(f"unknown type {kind}{size} or shape")
    if math.prod(shape) * int(size) * (4 if kind == "U" else 1) != len(data) - stop:
        raise ValueError(f"shape {shape} and length of the data disagree")
    array = np.frombuffer(data, order + kind + size, offset=stop)
    array = array.reshape(shape, order="F" if fortran == "True" else "C")
    return np.array(array, array.dtype.newbyteorder("="), order="C")


def _read_hdf5(path):
    """The arrays of an HDF5 file, read by a child process.

    The HDF5 library is C that trusts its input: damage can crash it, hang it or make it allocate
    without bound. In a child with limits that is one more clean error.
    """
    command = [sys.executable, "-P", str(HDF5_READER), str(path.resolve())]
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
    return _read_npz(io.BytesIO(child.stdout), path)


def _read_safetensors(file, path):
    entries, metadata, start = _safetensors_header(file, path)
    size = file.seek(0, os.SEEK_END) - start
    sizes, end = {}, 0
    for name, entry in sorted(entries.items(), key=lambda item: item[1]["data_offsets"]):
        begin, stop = entry["data_offsets"]
        item_size = int(_SAFETENSORS[entry["dtype"]][-1])
        sizes[name] = math.prod(entry["shape"]) * item_size
        if begin != end or stop - begin != sizes[name]:
            raise ValueError(f"{path}: {name!a}: shape and place of the data disagree")
        end = stop
    _check_sizes(path, sizes)
    if end != size:
        raise ValueError(f"{path}: damaged: {size} bytes of data, but its header says {end}")
    file.seek(start)
    data = file.read(size)
    for key, value in metadata.items():  # also under another name, which may be what is damaged
        if (key == "sha256" or _SHA256.fullmatch(value)) and value != _digest(
            entries, {k: v for k, v in metadata.items() if k != key}, data
        ):
            raise ValueError(f"{path}: damaged: its content does not fit its checksum, {key!a}")
    arrays = {}
    for name, entry in entries.items():
        begin, stop = entry["data_offsets"]
        array = np.frombuffer(data[begin:stop], _SAFETENSORS[entry["dtype"]])
        arrays[name] = np.array(array.reshape(entry["shape"]), array.dtype.newbyteorder("="))
    return arrays


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
    for name, entry in entries.items():
        if not _is_entry(entry):
            raise ValueError(f"{path}: {name!a}: not an array of numbers, or its entry is damaged")
    return entries, metadata, 8 + length


def _is_entry(entry):
    """Whether a header's entry has the right keys and types and a known dtype."""

    def sizes(value):
        return isinstance(value, list) and all(type(n) is int and 0 <= n < 2**40 for n in value)

    return (
        isinstance(entry, dict)
        and entry.keys() == {"dtype", "shape", "data_offsets"}
        and str(entry["dtype"]) in _SAFETENSORS
        and sizes(entry["shape"])
        and len(entry["shape"]) <= 32
        and sizes(entry["data_offsets"])
        and len(entry["data_offsets"]) == 2
    )


def _without_duplicates(pairs):
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key is there twice")
    return result


def _digest(entries, metadata, data):
    """SHA-256 of all that a safetensors file says, whatever the order and spacing of its header."""
    said = json.dumps([entries, metadata], sort_keys=True)
    return hashlib.sha256(said.encode() + data).hexdigest()
