"""Twenty thousand damaged files, over all readers: the right value or one sentence.

`test_damage.py` asks what damage goes unnoticed; here every reader is asked to stay upright, in
time and memory. A format without a checksum may come out with other values, of the right kind.
"""

import gzip
import io
import json
import resource
import shutil
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from test_damage import damaged

from jvi import datasets
from jvi.assessment.doubts import doubts, read_best, read_log, trainer_state
from jvi.compat.arrays import read_arrays, write_safetensors
from jvi.compat.meta import read_meta
from jvi.compat.snapshot import from_original
from jvi.datasets.files import read_parts
from jvi.datasets.idx import read_bounded
from jvi.models.files import read_model, read_snapshot

DATA = Path(__file__).resolve().parents[1] / "data"
SECONDS = 5  # for one file
BYTES = 100_000 << 10  # that the process may grow by, over all files

# What a person with intent, rather than a disk, would write.
WORDS = [
    *(b"NaN", b"-Infinity", b"1e400", b"1" + b"0" * 400, b"9" * 5000, b"-1", b"null", b"true"),
    *(b"[]", b"{}", b'"x"', b"[[1]]", b'{"a": [1]}', b'"\\u001b[2J"', b"\x1b[2J", b"\0"),
    *(b"\xff\xff\xff\xff", b"\0" * 8, b"\xff" * 8, b"\xff\xff\xff\x7f", b"(1,)", b"<f8", b"|O"),
]


def mutated(data, seed):
    """`data` with one or more places damaged, or with a word put in place of a token.

    Half of them near the beginning and the end, where formats say what follows or went before.
    """
    rng = np.random.default_rng(seed)
    for _ in range(rng.choice([1, 1, 1, 2, 5])):
        ends = [*range(min(300, len(data))), *range(len(data) * 3 // 4, len(data) + 1)]
        if not data or rng.random() < 0.4:
            start = int(rng.choice(ends if rng.random() < 0.5 else len(data) + 1))
            stop = start + int(rng.choice([0, 1, 4, 8, 20]))
            data = data[:start] + WORDS[rng.integers(len(WORDS))] + data[stop:]
        else:
            data = damaged(data, ends[:-1], int(rng.integers(2**32)))
    return data


def repacked(data, seed):
    """An .npz file with one member mutated, and the checksum that this has: somebody's intent."""
    rng, buffer = np.random.default_rng(seed), io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    names = sorted(members, key=lambda name: len(members[name]))
    name = names[rng.integers(len(names) if rng.random() < 0.5 else (len(names) + 1) // 2)]
    members[name] = mutated(members[name], seed)
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


# --- the files ------------------------------------------------------------------------------------


def own_npz(path):
    rows = np.random.default_rng(0).integers(0, 256, (20, 4, 4), dtype=np.uint8)
    np.savez_compressed(path, train=rows, validation=rows[:5], test=rows[5:9])


def idx_of(rows):
    return b"\0\0\x08\3" + np.array(rows.shape, ">u4").tobytes() + rows.tobytes()


def idx(path):
    path.write_bytes(idx_of(np.arange(160, dtype=np.uint8).reshape(10, 4, 4)))


def gzipped_idx(path):
    content = idx_of(np.arange(160, dtype=np.uint8).reshape(10, 4, 4))
    path.write_bytes(gzip.compress(content, mtime=0))


def omniglot(path):
    drawer = np.tile(np.arange(1, 21), 2).astype(np.int8)
    images = np.random.default_rng(0).integers(0, 256, (40, 28, 28), dtype=np.uint8)
    np.savez_compressed(path, images=images, drawer=drawer, names=np.array(["a", "b"]))


def plain_npy(path):
    np.save(path, np.random.default_rng(0).random((20, 16)).astype(np.float32))


def copied(name):
    return lambda path: shutil.copy(DATA / name, path)


def safetensors(path):
    write_safetensors(path, read_model(DATA / "tiny_iwae").parameters, read_meta_of("tiny_iwae"))


def read_meta_of(name):
    return {key: str(value) for key, value in read_meta(DATA / f"{name}.meta.yaml").items()}


def small_hdf5(path):
    import h5py

    with h5py.File(path, "w") as file:
        for name in ("encode/qlin0/W", "encode/qlin0/b", "plain"):
            compression = None if name == "plain" else 4
            file.create_dataset(name, data=np.arange(12.0).reshape(3, 4), compression=compression)


# --- what came of reading one ---------------------------------------------------------------------


def arrays_of(path):
    assert all(isinstance(array, np.ndarray) for array in read_arrays(path).values())


def model_of(path):
    parameters = read_model(path).parameters
    assert all(array.dtype == np.float32 for array in parameters.values())


def snapshot_of(path):
    from_original(read_snapshot(path))
    trainer_state(path)


def meta_of(path):
    meta = read_meta(path)
    assert all(isinstance(value, str | bool | list | tuple | None) for value in meta.values())
    read_model(path.parent / "m")


def log_of(path):
    entries = read_log(path.parent)
    assert all(type(v) in (int, float) for entry in entries for v in entry.values())
    json.dumps(entries)
    found = doubts(read_model(DATA / "tiny_iwae")._replace(prefix=str(path.parent)))
    assert all("\n" not in doubt and "\x1b" not in doubt for doubt in found)


def best_of(path):
    assert isinstance(read_best(path.with_suffix("")), float)


def data_of(path):
    for rows in read_parts(path).values():
        assert isinstance(rows, np.ndarray)
    datasets.load(path)


def bytes_of(path):
    read_bounded(path, 1000)
    data_of(path)


def omniglot_of(path):
    data = datasets.load("omniglot", path.parent.parent)
    assert data.train.dtype == np.float32 and data.train.shape[1] == 784


# By kind: how it is made, what it is called, what reads it, how many of it (of 20,000).
READERS = {
    "snapshot": (copied("tiny_iwae/snapshot_bestvalobj"), "m/snapshot_bestvalobj", model_of, 2000),
    "resumed": (copied("tiny_vae/snapshot_bestvalobj"), "m/snapshot_latest", snapshot_of, 1500),
    "twins": (copied("tiny_jvielbo/snapshot_bestvalobj"), "m/snapshot_latest", snapshot_of, 800),
    "safetensors": (safetensors, "m.safetensors", model_of, 3000),
    "arrays of npy": (plain_npy, "a.npy", arrays_of, 2000),
    "meta": (copied("tiny_iwae.meta.yaml"), "m.meta.yaml", meta_of, 1200),
    "log": (copied("tiny_iwae/log"), "tiny_iwae/log", log_of, 800),
    "perf": (copied("tiny_iwae.perf"), "m.perf", best_of, 1500),
    "omniglot": (omniglot, "omniglot/omniglot28.npz", omniglot_of, 2500),
    "own npz": (own_npz, "a.npz", data_of, 2500),
    "own npy": (plain_npy, "a.npy", data_of, 1000),
    "idx": (idx, "a-ubyte", bytes_of, 1000),
    "gzipped idx": (gzipped_idx, "a-ubyte.gz", bytes_of, 1000),
    "HDF5": (small_hdf5, "m.h5", arrays_of, 60),
}
# And these with a member of the archive mutated instead.
REPACKED = {"snapshot": 500, "resumed": 1000, "twins": 300, "omniglot": 500, "own npz": 500}


def test_there_are_twenty_thousand():
    counts = [count for *_, count in READERS.values()]
    assert sum(counts) + sum(REPACKED.values()) >= 20_000


def outcome(read, path):
    """ "right", "refused" or what is wrong."""
    start = time.monotonic()
    try:
        read(path)
        result = "right"
    except (ValueError, FileNotFoundError) as error:
        text = str(error)
        # of a snapshot's arrays only the caller knows the file
        named = str(path.parent) in text or text.startswith("the snapshot")
        result = "refused" if named and text.isprintable() else f"bad message: {text!r}"
    except Exception as error:
        result = f"{type(error).__name__}: {error}"
    return result if time.monotonic() - start < SECONDS else f"takes long: {result}"


MANY = pytest.mark.parametrize("many", [0.02, pytest.param(1, marks=pytest.mark.slow, id="all")])


@MANY
@pytest.mark.parametrize("kind", READERS)
def test_whatever_is_in_a_file_it_is_read_or_refused_in_one_sentence(kind, many, tmp_path):
    check(kind, mutated, int(READERS[kind][-1] * many), tmp_path)


@MANY
@pytest.mark.parametrize("kind", REPACKED)
def test_whatever_is_in_an_array_it_is_read_or_refused_in_one_sentence(kind, many, tmp_path):
    check(kind, repacked, int(REPACKED[kind] * many), tmp_path)


def check(kind, mutate, count, tmp_path):
    make, name, read, _ = READERS[kind]
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    if kind == "meta":
        (tmp_path / "m").mkdir()
        shutil.copy(DATA / "tiny_iwae" / "snapshot_bestvalobj", tmp_path / "m")
    make(path)
    data = path.read_bytes()
    assert outcome(read, path) == "right"
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    counts = {}
    for seed in range(max(3, count)):
        path.write_bytes(mutate(data, seed))
        counts.setdefault(outcome(read, path), []).append(seed)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10
    sizes = {result: len(seeds) for result, seeds in counts.items()}
    print(f"{kind}: {sizes}, {time.monotonic() - start:.0f} s, {grown / 1e6:.0f} MB more")
    assert counts.keys() <= {"right", "refused"}, {k: v[:3] for k, v in counts.items()}
    assert grown < BYTES
