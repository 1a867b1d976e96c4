"""``python hdf5.py FILE MOST LIMIT``: the arrays of an HDF5 file as .npz on standard output.

Run by `jvi.compat.arrays` in a process of its own, with limits; imports nothing of jvi.

The HDF5 library believes what a file's structures say: a chunk whose address was lost reads as
zeros, a flipped bit in a type reads as other numbers. So this reads only what `save_hdf5` writes
(plain groups; little-endian numbers; contiguous or gzip-compressed), demands that every chunk be
there exactly once, and decompresses the chunks itself, which checks their Adler-32.
"""

import math
import sys
import zipfile
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
    """The arrays of an HDF5 file, one after the other: pairs of a path in it and the array.

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
    taken, entries = _Taken(most, limit), 0
    with h5py.File(path, "r", locking=False) as file:
        waiting = [("", file)]
        while waiting:
            prefix, group = waiting.pop()
            for name, item in _members(group, prefix, taken):
                entries += 1
                if isinstance(item, h5py.Group) and name.count("/") < MAX_DEPTH:
                    waiting.append((name + "/", item))
                elif isinstance(item, np.ndarray):
                    yield name, item
                else:
                    raise ValueError(f"{name!a}: neither an array nor a group of arrays")
                if entries > MAX_ENTRIES:
                    raise ValueError(f"{name!a}: too many entries")


class _Taken:
    """What of a file is read already: places in it, and bytes of those that may be."""

    def __init__(self, most, limit):
        self.places, self.most, self.limit, self.left = set(), most, limit, limit

    def once(self, place, key):
        if place in self.places:
            raise ValueError(f"{key!a}: damaged: its place in the file is used twice")
        self.places.add(place)

    def bytes(self, size, key):
        if size > self.most:
            raise ValueError(f"{key!a}: {size} bytes, at most {self.most} are read")
        self.left -= size
        if self.left < 0:
            raise ValueError(
                f"{key!a}: more than {self.limit} bytes in total, which are read of a file of "
                "its size"
            )


def _members(group, prefix, taken):
    """What is in a group by full name: arrays for its datasets, other things as they are."""
    key = prefix
    try:
        for name in group:
            key = prefix + name
            item = _linked(group, name, key)
            taken.once(h5py.h5o.get_info(item.id).addr, key)
            yield key, _array(item, key, taken) if isinstance(item, h5py.Dataset) else item
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


def _array(dataset, key, taken):
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
    taken.bytes(size, key)
    if layout == h5py.h5d.CHUNKED:
        return _chunks(dataset, key, np.dtype(dtype), taken)
    if size:
        taken.once(dataset.id.get_offset(), key)
        if dataset.id.get_storage_size() != size or dataset.id.get_offset() is None:
            raise ValueError(f"{key!a}: damaged: its data are missing")
    return np.asarray(dataset[()])


def _chunks(dataset, key, dtype, taken):
    """The array of a dataset of gzip-compressed chunks."""
    shape, chunk = dataset.shape, dataset.chunks
    size = math.prod(chunk) * dtype.itemsize
    count = math.prod(-(-length // step) for length, step in zip(shape, chunk, strict=True))
    if count > MAX_CHUNKS or size > taken.limit or dataset.id.get_num_chunks() != count:
        raise ValueError(f"{key!a}: damaged: {dataset.id.get_num_chunks()} chunks of {count}")
    array = np.empty(shape, dtype)
    steps = [range(0, length, step) for length, step in zip(shape, chunk, strict=True)]
    for start in product(*steps):
        info = dataset.id.get_chunk_info_by_coord(start)
        if info.byte_offset is None or info.filter_mask or info.size > 1.01 * size + 100:
            raise ValueError(f"{key!a}: damaged: the chunk at {start} is missing")
        taken.once(info.byte_offset, key)
        inflate = zlib.decompressobj()
        data = inflate.decompress(dataset.id.read_direct_chunk(start)[1], size + 1)
        if len(data) != size or not inflate.eof or inflate.unused_data:
            raise ValueError(f"{key!a}: damaged: the chunk at {start} has the wrong length")
        part = array[tuple(slice(n, n + step) for n, step in zip(start, chunk, strict=True))]
        part[...] = np.frombuffer(data, dtype).reshape(chunk)[tuple(map(slice, part.shape))]
    return array


def _main(path, most, limit):
    most, limit = int(most), int(limit)
    _limit_process(LIMITS | {"RLIMIT_AS": 2**32, "RLIMIT_DATA": 2**27 + 2 * limit})
    try:
        with zipfile.ZipFile(sys.stdout.buffer, "w") as archive:
            for name, array in read_hdf5(path, most, limit):
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, array)
    except Exception as error:
        reason = str(error) if type(error) is ValueError else f"damaged HDF5 file ({error!a})"
        sys.exit(reason.encode("ascii", "replace").decode().replace("\n", " "))


def _limit_process(limits):
    """Limit this process, where its system has these limits."""
    with suppress(ImportError, ValueError, OSError):
        import resource

        for name, bound in limits.items():
            number = getattr(resource, name)
            hard = resource.getrlimit(number)[1]
            bound = bound if hard == resource.RLIM_INFINITY else min(bound, hard)
            resource.setrlimit(number, (bound, hard))


if __name__ == "__main__":
    _main(*sys.argv[1:])
