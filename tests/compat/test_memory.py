"""Reading any file takes less than four times its size and 300 MB, or the file is refused.

Each file is made to cost as much as it can, and is read in a process of its own, whose peak the
system tells.
"""

import gzip
import json
import shutil
import struct
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest

from jvi.compat.arrays import write_safetensors

DATA = Path(__file__).resolve().parents[1] / "data"
MAIN = "updater/model:main/"

# What a process does with the file or prefix it is given.
READERS = {
    "model": "from jvi.models.files import read_model; from jvi.assessment.doubts import doubts;"
    "found = doubts(read_model(given)); print(found or 'read')",
    "resume": "from jvi.models.files import read_snapshot;"
    "from jvi.compat.snapshot import from_original; from_original(read_snapshot(given));"
    "print('read')",
    "own": "from jvi.datasets.files import read_parts; from pathlib import Path;"
    "read_parts(Path(given)); print('read')",
    "omniglot": "from jvi import datasets; datasets.load('omniglot', given); print('read')",
    "mnist": "from jvi import datasets; datasets.load('mnist', given); print('read')",
}
PROGRAM = """
import resource, sys
given = sys.argv[1]
try:
    {reader}
except (ValueError, FileNotFoundError) as error:
    print(error)
for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
    print(resource.getrusage(who).ru_maxrss * 1024)
"""


def peak(reader, given):
    """(what was said, bytes at the peak) of reading, by the process or one that it started."""
    program = PROGRAM.format(reader=READERS[reader])
    # By way of a shell: a process that Python starts begins with the peak of its parent.
    command = ["sh", "-c", '"$@"; exit $?', "sh", sys.executable, "-c", program, str(given)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    *said, own, children = done.stdout.splitlines()
    assert len(said) == 1, done.stdout
    return said[0], max(int(own), int(children))


def check(reader, given, path, expected):
    said, most = peak(reader, given)
    print(f"{path.stat().st_size / 1e6:.1f} MB: {most / 1e6:.0f} MB: {said[:200]}")
    assert most < 4 * path.stat().st_size + 300e6, said
    assert expected in said and (said == "read" or str(path.parent) in said)


def header(shape, descr="<f4"):
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text.encode()


def write_zeros(archive, name, shape, descr="<f4"):
    """An array of zeros, which deflate makes a thousandth of."""
    left = int(np.prod(shape)) * np.dtype(descr).itemsize
    with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
        member.write(header(shape, descr))
        while left > 0:
            left -= member.write(bytes(min(left, 2**24)))


def npz_of_zeros(path, shapes, descr="<f4", method=zipfile.ZIP_DEFLATED):
    path.parent.mkdir(exist_ok=True, parents=True)
    with zipfile.ZipFile(path, "w", method, compresslevel=1) as archive:
        for name, shape in shapes.items():
            write_zeros(archive, name, shape, descr)
    return path


def mlp_shapes(hidden, latent=2, pixels=4):
    sizes = {
        "encode/qlin0": (hidden, pixels),
        "encode/qlin1": (hidden, 2 * hidden),
        "encode/qlin_mu": (latent, 2 * hidden),
        "encode/qlin_ln_var": (latent, 2 * hidden),
        "decode/plin0": (hidden, latent),
        "decode/plin1": (hidden, 2 * hidden),
        "decode/plin2": (pixels, 2 * hidden),
    }
    return {
        name: shape
        for layer, (rows, columns) in sizes.items()
        for name, shape in ((f"{layer}/W", (rows, columns)), (f"{layer}/b", (rows,)))
    }


def longer_than_declared(path):
    """A member that inflates to 1 GB, of which its directory says a hundred bytes."""
    npz_of_zeros(path, {f"{MAIN}encode/qlin0/W": (2**28,)})
    data = bytearray(path.read_bytes())
    at = data.rindex(b"PK\1\2")
    data[at + 24 : at + 28] = struct.pack("<L", 100)
    path.write_bytes(data)


def extras(path):
    npz_of_zeros(path, {f"{MAIN}x{n}": (2**23,) for n in range(16)})


def large_network(path):
    npz_of_zeros(path, {MAIN + name: shape for name, shape in mlp_shapes(6000).items()})


def extras_of_the_trainer(path):
    shutil.copy(DATA / "tiny_iwae" / "snapshot_bestvalobj", path)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        for n in range(16):
            write_zeros(archive, f"updater/optimizer:main/x{n}", (2**23,))


def many_entries(path):
    """A directory of zip64 with 400,000 entries, which says it has one."""
    entry = struct.pack("<4s6H3L5H2L", b"PK\1\2", 20, 20, *[0] * 7, 5, *[0] * 6)
    directory = b"".join(entry + b"%05x" % (n % 2**20) for n in range(400_000))
    record = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, 1, 1, len(directory), 4)
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, 4 + len(directory), 1)
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, 2**32 - 1, 2**32 - 1, 0)
    path.write_bytes(b"PK\3\4" + directory + record + locator + end)


def hdf5_extras(path):
    with h5py.File(path, "w") as file:
        for n in range(16):
            file.create_dataset(f"x{n}", (2**23,), "f4", chunks=(2**22,), compression=1)[...] = 0


def hdf5_chunk(path):
    with h5py.File(path, "w") as file:
        dataset = file.create_dataset("W", (2**22,), "f4", chunks=(2**22,), compression=9)
        deflate = zlib.compressobj(1)
        chunk = [deflate.compress(bytes(2**24)) for _ in range(40)]
        dataset.id.write_direct_chunk((0,), b"".join([*chunk, deflate.flush()]))


def hdf5_network(path):
    with h5py.File(path, "w") as file:
        for name, shape in mlp_shapes(1400).items():
            file.create_dataset(name, data=np.zeros(shape, np.float32), compression=9)


def safetensors(path):
    entry = {"dtype": "F32", "shape": [2**28], "data_offsets": [0, 2**30]}
    text = json.dumps({f"x{n}": entry for n in range(10_000)}).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text)


SNAPSHOTS = {
    longer_than_declared: "longer than it says",
    extras: "in total",
    large_network: "at most",
    many_entries: "more than 10000",
    hdf5_extras: "in total",
    hdf5_chunk: "wrong length",
    hdf5_network: "meta.yaml is missing",
    extras_of_the_trainer: "training cannot be continued",
    safetensors: "at most",
}


def first_of(cases):
    """The first case, and slow ones."""
    return [pytest.param(c, marks=[pytest.mark.slow] * bool(n)) for n, c in enumerate(cases)]


@pytest.mark.parametrize("make", first_of(SNAPSHOTS), ids=lambda make: make.__name__)
def test_a_model(make, tmp_path):
    path = tmp_path / "m" / "snapshot_bestvalobj"
    path.parent.mkdir()
    make(path)
    check("model", path, path, SNAPSHOTS[make])


def test_the_largest_model_that_is_read_of_a_small_file(tmp_path):
    path = tmp_path / "m" / "snapshot_bestvalobj"
    npz_of_zeros(path, {MAIN + name: shape for name, shape in mlp_shapes(1400).items()})
    check("model", path, path, "meta.yaml is missing")


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["", ".h5", ".safetensors"])
def test_a_large_model(ending, tmp_path):
    arrays = {name: np.ones(shape, np.float32) for name, shape in mlp_shapes(3500).items()}
    path = tmp_path / f"m{ending}"
    if ending == ".h5":
        with h5py.File(path, "w") as file:
            file.update(arrays)
    elif ending:
        write_safetensors(path, arrays, {})
    else:
        with open(path, "wb") as file:
            np.savez(file, **arrays)
    check("model", path, path, "meta.yaml is missing")


LOGS = {
    "empty entries": lambda: b"[" + b"{}," * 5_000_000 + b"{}]",
    "lists": lambda: b"[" + b"[]," * 5_000_000 + b"[]]",
    "texts": lambda: b"[" + b'"a",' * 4_000_000 + b"0]",
    "numbers": lambda: b"[{" + b'"a":1.5,' * 2_000_000 + b'"a":0}]',
    "keys": lambda: b"[{" + b"".join(b'"%x":0,' % n for n in range(520_000)) + b'"a":0}]',
    "entries": lambda: b"[" + b'{"epoch":1},' * 520_000 + b'{"epoch":1}]',
    "deep": lambda: b"[" * 16_000_000,
    "longer": lambda: b"[" + b" " * 20_000_000 + b"]",
}


@pytest.mark.parametrize("log", first_of(LOGS))
def test_a_log(log, tmp_path):
    shutil.copytree(DATA / "tiny_iwae", tmp_path / "tiny_iwae")
    shutil.copy(DATA / "tiny_iwae.meta.yaml", tmp_path)
    path = tmp_path / "tiny_iwae" / "log"
    path.write_bytes(LOGS[log]())
    check("model", tmp_path / "tiny_iwae", path, "log")


def test_a_log_in_a_snapshot(tmp_path):
    shutil.copytree(DATA / "tiny_iwae", tmp_path / "tiny_iwae")
    path = tmp_path / "tiny_iwae" / "snapshot_bestvalobj"
    with np.load(path) as file:
        arrays = dict(file)
    arrays["extensions/LogReport/_log"] = np.array(LOGS["empty entries"]())
    np.savez_compressed(path.with_suffix(".npz"), **arrays)
    path.with_suffix(".npz").replace(path)
    said, most = peak("resume", path)
    assert "_log: more than" in said and most < 4 * path.stat().st_size + 300e6


ARCHIVES = {
    "fewer bytes": ({"images": (200_000, 28, 28), "drawer": (200_000,)}, "|u1"),
    "bytes": ({"images": (600_000, 28, 28), "drawer": (600_000,)}, "|u1"),
    "floats": ({"images": (200_000, 28, 28), "drawer": (200_000,)}, "<f4"),
    "extras": (
        {f"x{n}": (2**20,) for n in range(150)} | {"images": (1,), "drawer": (1,)},
        "<f4",
    ),
}


@pytest.mark.parametrize("reader", ["own", "omniglot"])
@pytest.mark.parametrize("archive", first_of(ARCHIVES))
def test_an_archive_of_data(reader, archive, tmp_path):
    shapes, descr = ARCHIVES[archive]
    path = npz_of_zeros(tmp_path / "omniglot" / "omniglot28.npz", shapes, descr)
    given = path if reader == "own" else tmp_path
    check(reader, given, path, path.name)


@pytest.mark.slow
def test_an_archive_of_data_that_is_longer_than_declared(tmp_path):
    longer_than_declared(tmp_path / "a.npz")
    check("own", tmp_path / "a.npz", tmp_path / "a.npz", "longer than it says")


def gzipped_idx(path, count):
    path.parent.mkdir(exist_ok=True)
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(b"\0\0\x08\3" + struct.pack(">3L", count, 28, 28))
        for _ in range(count // 1000):
            file.write(bytes(784_000))
    return path


def test_a_gzipped_file_of_data(tmp_path):
    path = gzipped_idx(tmp_path / "a.gz", 800_000)
    check("own", path, path, "too long")
    path = gzipped_idx(tmp_path / "mnist" / "train-images-idx3-ubyte.gz", 800_000)
    check("mnist", tmp_path, path, "too long")


@pytest.mark.slow
def test_as_much_data_as_is_read_of_a_small_file(tmp_path):
    path = gzipped_idx(tmp_path / "a.gz", 80_000)
    check("own", path, path, "read")
    path = npz_of_zeros(tmp_path / "a.npz", {"train": (63_000, 784)}, "<f4")
    check("own", path, path, "read")


@pytest.mark.slow
def test_data_that_are_not_compressed_may_be_any_number(tmp_path):
    path = npz_of_zeros(tmp_path / "a.npz", {"train": (400_000, 784)}, "|u1", zipfile.ZIP_STORED)
    check("own", path, path, "read")
