"""``python hdf5.py FILE MOST LIMIT``: the arrays of an HDF5 file as .npz on standard output.

Run by `jvi.compat.arrays` in a process of its own, with limits; imports nothing of jvi.

The HDF5 library believes what a file's structures say: a chunk whose address was lost reads as
zeros, a flipped bit in a type reads as other numbers. So this reads only what `save_hdf5` writes
(plain groups; little-endian numbers; contiguous or gzip-compressed), demands that every chunk be
there exactly once, and decompresses the chunks itself, which checks their Adler-32.
"""

import io
import math
import sys
import zlib
from contextlib import suppress
from itertools import product

import h5py
import numpy as np

__all__ = ["read_hdf5"]

MAX_ENTRIES = 10_000
MAX_CHUNKS = 2**16
MAX_DEPTH = 16
LIMITS = {"RLIMIT_CPU": 60, "RLIMIT_CORE": 0}

_TYPES = {f"<i{n // 8}": getattr(h5py.h5t, f"STD_I{n}LE") for n in (8, 16, 32, 64)}
_TYPES |= {f"<u{n // 8}": getattr(h5py.h5t, f"STD_U{n}LE") for n in (8, 16, 32, 64)}
_TYPES |= {f"<f{n // 8}": getattr(h5py.h5t, f"IEEE_F{n}LE") for n in (16, 32, 64)}


def read_hdf5(path, most, limit):
    """The arrays of an HDF5 file by path.

    Parameters
    ----------
    path : str
    most, limit : int
        Bytes that one array, and all together, may have.

    Raises
    ------
    ValueError
        When it is not made of plain arrays, naming the key; the library's own errors are of
        many kinds.
    """
    arrays, places, entries, total = {}, set(), 0, 0
    with h5py.File(path, "r", locking=False) as file:
        waiting = [("", file)]
        while waiting:
            prefix, group = waiting.pop()
            for name, item in _members(group, prefix, places, most):
                entries += 1
                if isinstance(item, h5py.Group) and name.count("/") < MAX_DEPTH:
                    waiting.append((name + "/", item))
                elif isinstance(item, np.ndarray):
                    arrays[name] = item
                    total += item.nbytes
                else:
                    raise ValueError(f"{name!a}: neither an array nor a group of arrays")
                if entries > MAX_ENTRIES or total > limit:
                    raise ValueError(f"{name!a}: too many entries or bytes in total")
    return arrays


def _members(group, prefix, places, most):
    """What is in a group by full name: arrays for its datasets, other things as they are."""
    key = prefix
    try:
        for name in group:
            key = prefix + name
            item = _linked(group, name, key)
            _once(h5py.h5o.get_info(item.id).addr, key, places)
            yield key, _array(item, key, places, most) if isinstance(item, h5py.Dataset) else item
    except Exception as error:  # the library raises many kinds
        if type(error) is ValueError:
            raise
        raise ValueError(f"{key!a}: damaged ({error!a})") from None


def _linked(group, name, key):
    """What `group` holds under `name`, if that lies in this very file."""
    link = group.get(name, getlink=True)
    if not isinstance(link, h5py.HardLink):
        raise ValueError(f"{key!a}: a {type(link).__name__} is not followed")
    return group[name]


def _once(place, key, places):
    if place in places:
        raise ValueError(f"{key!a}: damaged: its place in the file is used twice")
    places.add(place)


def _array(dataset, key, places, most):
    """The values of a dataset, after a check of all that they depend on."""
    properties = dataset.id.get_create_plist()
    layout, external = properties.get_layout(), properties.get_external_count()
    if layout not in (h5py.h5d.CONTIGUOUS, h5py.h5d.CHUNKED) or external:
        raise ValueError(f"{key!a}: virtual, external and compact storage is not read")
    filters = [properties.get_filter(n)[0] for n in range(properties.get_nfilters())]
    if filters != ([h5py.h5z.FILTER_DEFLATE] if layout == h5py.h5d.CHUNKED else []):
        raise ValueError(f"{key!a}: only gzip-compressed chunks or plain data are read")
    stored = dataset.id.get_type()
    dtype = next((name for name, known in _TYPES.items() if stored.equal(known)), None)
    if dtype is None or dataset.shape is None or dataset.shape != dataset.maxshape:
        raise ValueError(f"{key!a}: not an array of little-endian numbers, or of no fixed shape")
    size = math.prod(dataset.shape) * np.dtype(dtype).itemsize
    if size > most:
        raise ValueError(f"{key!a}: {size} bytes, at most {most} are read")
    if layout == h5py.h5d.CHUNKED:
        return _chunks(dataset, key, np.dtype(dtype), places, most)
    if size:
        _once(dataset.id.get_offset(), key, places)
        if dataset.id.get_storage_size() != size or dataset.id.get_offset() is None:
            raise ValueError(f"{key!a}: damaged: its data are missing")
    return np.asarray(dataset[()])


def _chunks(dataset, key, dtype, places, most):
    """The array of a dataset of gzip-compressed chunks."""
    shape, chunk = dataset.shape, dataset.chunks
    size = math.prod(chunk) * dtype.itemsize
    count = math.prod(-(-length // step) for length, step in zip(shape, chunk, strict=True))
    if count > MAX_CHUNKS or size > most or dataset.id.get_num_chunks() != count:
        raise ValueError(f"{key!a}: damaged: {dataset.id.get_num_chunks()} chunks of {count}")
    array = np.empty(shape, dtype)
    steps = [range(0, length, step) for length, step in zip(shape, chunk, strict=True)]
    for start in product(*steps):
        info = dataset.id.get_chunk_info_by_coord(start)
        if info.byte_offset is None or info.filter_mask or info.size > 1.01 * size + 100:
            raise ValueError(f"{key!a}: damaged: the chunk at {start} is missing")
        _once(info.byte_offset, key, places)
        inflate = zlib.decompressobj()
        data = inflate.decompress(dataset.id.read_direct_chunk(start)[1], size + 1)
        if len(data) != size or not inflate.eof or inflate.unused_data:
            raise ValueError(f"{key!a}: damaged: the chunk at {start} has the wrong length")
        part = array[tuple(slice(n, n + step) for n, step in zip(start, chunk, strict=True))]
        part[...] = np.frombuffer(data, dtype).reshape(chunk)[tuple(map(slice, part.shape))]
    return array


def _main(path, most, limit):
    most, limit = int(most), int(limit)
    with suppress(ImportError, ValueError, OSError):  # not every system has these limits
        import resource

        for name, bound in {**LIMITS, "RLIMIT_AS": 4 * max(limit, 2**30)}.items():
            number = getattr(resource, name)
            hard = resource.getrlimit(number)[1]
            bound = bound if hard == resource.RLIM_INFINITY else min(bound, hard)
            resource.setrlimit(number, (bound, hard))
    buffer = io.BytesIO()
    try:
        np.savez(buffer, **read_hdf5(path, most, limit))
    except Exception as error:
        reason = str(error) if type(error) is ValueError else f"damaged HDF5 file ({error!a})"
        sys.exit(reason.encode("ascii", "replace").decode().replace("\n", " "))
    sys.stdout.buffer.write(buffer.getvalue())


if __name__ == "__main__":
    _main(*sys.argv[1:])
