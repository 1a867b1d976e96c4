"""Damaged and malicious files: the right model or one clean line, whatever is done to a file.

Real files are damaged at thousands of places. What the formats can detect is detected: .npz has a
CRC-32 of each member, HDF5 (as `save_hdf5` writes it) an Adler-32 of each chunk, and our
safetensors files a SHA-256. A meta file is text without a checksum: damage can only be kept from
reaching the parameters.
"""

import random
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest

DATA = Path(__file__).resolve().parents[1] / "data"
META = DATA / "tiny_iwae.meta.yaml"
MANY = pytest.param(10, marks=pytest.mark.slow, id="many")


def truncated(data, at, rng):
    return data[:at]


def flipped(data, at, rng):
    data = bytearray(data)
    for place in [at, *(rng.randrange(len(data)) for _ in range(rng.choice([0, 0, 0, 1, 5])))]:
        data[place] ^= 1 << rng.randrange(8)
    return bytes(data)


def overwritten(data, at, rng):
    length = rng.choice([1, 2, 4, 8, 64, 1000])
    new = rng.choice([b"\0" * length, b"\xff" * length, rng.randbytes(length)])
    return data[:at] + new + data[at + length :]


def spliced(data, at, rng):
    """A piece of the file put over or between what is elsewhere."""
    start, length = rng.randrange(len(data)), rng.choice([1, 4, 8, 40, 500, 5000])
    return data[:at] + data[start : start + length] + data[at + rng.choice([0, length]) :]


def shortened(data, at, rng):
    return data[:at] + data[at + rng.choice([1, 4, 40, 1000]) :]


DAMAGES = (truncated, flipped, flipped, flipped, overwritten, overwritten, spliced, shortened)


def damaged(data, places, seed):
    """`data` damaged in one way, at one of `places` or anywhere."""
    rng = random.Random(seed)
    at = rng.choice(places) if rng.random() < 0.5 else rng.randrange(len(data))
    return rng.choice(DAMAGES)(data, at, rng)


def outcome(read, path, expected):
    """ "right", "refused" or what is wrong with what came of reading a damaged file."""
    try:
        parameters = read(path)
    except (ValueError, FileNotFoundError) as error:
        text = str(error)
        return "refused" if str(path) in text and "\n" not in text else f"bad message: {text!r}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "right" if same(parameters, expected) else "silently wrong"


def same(a, b):
    return a.keys() == b.keys() and all(
        a[key].dtype == b[key].dtype
        and a[key].shape == b[key].shape
        and a[key].tobytes() == b[key].tobytes()
        for key in a
    )


def outcomes(read, path, data, places, expected, seeds):
    """How often each outcome came up, over one damage for each seed."""
    counts = {}
    for seed in seeds:
        path.write_bytes(damaged(data, places, seed))
        result = outcome(read, path, expected)
        counts.setdefault(result, []).append(seed)
    return {result: len(s) if result in ("right", "refused") else s for result, s in counts.items()}


def parameters_of(path):
    from jvi.models.files import read_model

    return read_model(path).parameters


def structure(data, contents):
    """The places of a file that are not `contents`, (start, length) each, and not zero."""
    inside = np.zeros(len(data), bool)
    for start, length in contents:
        inside[start : start + length] = True
    return np.flatnonzero(~inside & (np.frombuffer(data, np.uint8) > 0)).tolist()


def zip_structure(path):
    import zipfile

    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
    contents = [(m.header_offset + 30 + len(m.filename), m.compress_size) for m in members]
    return structure(path.read_bytes(), contents)


def hdf5_structure(path):
    import h5py

    contents = []

    def note(name, item):
        if isinstance(item, h5py.Dataset):
            for index in range(item.id.get_num_chunks()):
                chunk = item.id.get_chunk_info(index)
                contents.append((chunk.byte_offset, chunk.size))

    with h5py.File(path) as file:
        file.visititems(note)
    return structure(path.read_bytes(), contents)


@pytest.mark.parametrize("many", [1, MANY])
@pytest.mark.parametrize("name", ["tiny_iwae", "tiny_jvielbo", "tiny_vae"])
def test_no_damage_to_a_snapshot_goes_unnoticed(name, many, tmp_path):
    original = DATA / name / "snapshot_bestvalobj"
    path = tmp_path / "snapshot_bestvalobj"
    expected, places = parameters_of(original), zip_structure(original)
    read = partial(outcomes, parameters_of, path, original.read_bytes(), places, expected)
    counts = read(range(500 * many))
    print(counts)
    assert counts.keys() == {"right", "refused"}, counts


@pytest.mark.parametrize("many", [1, MANY])
def test_no_damage_to_a_whole_snapshot_read_for_resuming_goes_unnoticed(many, tmp_path):
    from jvi.models.files import read_snapshot

    original = DATA / "tiny_vae" / "snapshot_bestvalobj"
    path = tmp_path / "snapshot_bestvalobj"
    expected, places = read_snapshot(original), zip_structure(original)
    counts = outcomes(
        read_snapshot, path, original.read_bytes(), places, expected, range(500 * many)
    )
    print(counts)
    assert counts.keys() == {"right", "refused"}, counts


@pytest.mark.parametrize("many", [1, MANY])
@pytest.mark.parametrize("torch", [False, True])
def test_no_damage_to_our_safetensors_goes_unnoticed(torch, many, tmp_path):
    from jvi.models.files import read_model, write_model

    path = tmp_path / "m.safetensors"
    files = read_model(DATA / "tiny_iwae")
    write_model(path, files, torch)
    data = path.read_bytes()
    places = range(int.from_bytes(data[:8], "little") + 8)
    counts = outcomes(parameters_of, path, data, places, files.parameters, range(1000 * many))
    print(counts)
    assert counts.keys() <= {"right", "refused"}, counts


@pytest.mark.parametrize("many", [1, MANY])
def test_no_damage_to_hdf5_goes_unnoticed(many, tmp_path):
    """In a worker process: where the HDF5 library crashes or hangs on one, it goes on behind it.

    `read_arrays` reads in such a process, so that a crash is one more clean error there.
    """
    counts, start, stop = {}, 0, 1000 * many
    while start < stop:
        command = [sys.executable, __file__, str(tmp_path), str(start), str(stop)]
        worker = subprocess.run(command, capture_output=True, text=True)
        lines = worker.stdout.splitlines()
        for line in lines:
            counts[line] = counts.get(line, 0) + 1
        start += len(lines)
        if worker.returncode:
            assert worker.returncode < 0, worker.stderr
            counts["crashed"], start = counts.get("crashed", 0) + 1, start + 1
    print(counts)
    assert counts.keys() <= {"right", "refused", "crashed"}, counts
    assert counts["right"] and counts["refused"]


def hdf5_worker(folder, start, stop):
    """Print the outcome of reading each of the damaged HDF5 files, all in this process."""
    from jvi.compat import arrays
    from jvi.compat.hdf5 import read_hdf5

    def read(content, path, limits):
        try:
            return dict(read_hdf5(path, *limits))
        except Exception as error:  # as the child process of read_arrays does
            raise ValueError(f"{path}: {error!a}") from None

    arrays._read_hdf5 = read
    original = DATA / "tiny_iwae.h5"
    data, places, expected = (
        original.read_bytes(),
        hdf5_structure(original),
        parameters_of(original),
    )
    for seed in range(int(start), int(stop)):
        path = Path(folder) / "m.h5"
        path.write_bytes(damaged(data, places, seed))
        print(outcome(parameters_of, path, expected).replace("\n", " "), flush=True)


def test_damaged_hdf5_through_the_guarding_process(tmp_path):
    original, path = DATA / "tiny_iwae.h5", tmp_path / "m.h5"
    places, expected = hdf5_structure(original), parameters_of(original)
    counts = outcomes(parameters_of, path, original.read_bytes(), places, expected, range(12))
    assert counts.keys() <= {"right", "refused"}, counts


@pytest.mark.parametrize("many", [1, MANY])
@pytest.mark.parametrize("text", [META.read_bytes(), None], ids=["plain", "tagged"])
def test_damage_to_a_meta_file_reaches_nothing_but_its_options(text, many, tmp_path):
    from jvi.compat.meta import read_meta

    tagged = b"!!python/object/new:docopt.Dict\ndictitems:\n  --nhidden: !!python/unicode '8'\n"
    tagged += b"  -o: !!python/tuple [!!python/str 'a', b]\n  --seed: !!python/long '4'\n"
    path = tmp_path / "m.meta.yaml"

    def read(path):
        meta = read_meta(path)
        assert all(isinstance(value, str | bool | list | tuple | None) for value in meta.values())
        return {}

    data = text or tagged
    counts = outcomes(read, path, data, range(len(data)), {}, range(2000 * many))
    print(counts)
    assert counts.keys() == {"right", "refused"}, counts


@pytest.mark.parametrize("name", ["tiny_iwae/log", "tiny_iwae.perf"])
def test_damage_to_log_and_objective_is_a_doubt_or_nothing(name, tmp_path):
    from jvi.assessment.doubts import doubts
    from jvi.models.files import read_model

    files = read_model(DATA / "tiny_iwae")._replace(prefix=str(tmp_path / "tiny_iwae"))
    data, path = (DATA / name).read_bytes(), tmp_path / name
    path.parent.mkdir(exist_ok=True)
    for seed in range(200):
        path.write_bytes(damaged(data, range(len(data)), seed))
        assert all(isinstance(doubt, str) and "\n" not in doubt for doubt in doubts(files)), seed


def test_reading_leaves_files_as_they_were(tmp_path):
    data = (DATA / "tiny_iwae.h5").read_bytes()
    for name in ("whole.h5", "cut.h5"):
        path = tmp_path / name
        path.write_bytes(data if name == "whole.h5" else data[:50000])
        path.chmod(0o444)
        before = path.read_bytes(), path.stat().st_mtime_ns
        outcome(parameters_of, path, {})
        assert (path.read_bytes(), path.stat().st_mtime_ns) == before
    assert {p.name for p in tmp_path.iterdir()} == {"whole.h5", "cut.h5"}


if __name__ == "__main__":
    hdf5_worker(*sys.argv[1:])
