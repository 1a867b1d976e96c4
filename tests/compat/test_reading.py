"""What is no ordinary file is refused by name wherever a file could be, and nothing hangs."""

import os
import shutil
import signal
import socket
from pathlib import Path

import numpy as np
import pytest

from jvi import datasets
from jvi.assessment.doubts import doubts, read_best, read_log
from jvi.compat import reading
from jvi.compat.arrays import read_arrays
from jvi.compat.meta import read_meta
from jvi.compat.reading import read_file
from jvi.models.files import outputs, read_model, read_snapshot

DATA = Path(__file__).resolve().parents[1] / "data"


@pytest.fixture(autouse=True)
def no_hang():
    """What waits for ever is an error after ten seconds."""
    signal.signal(signal.SIGALRM, lambda number, frame: pytest.fail("hangs"))
    signal.alarm(10)
    yield
    signal.alarm(0)


def a_socket(path):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


def a_link(target):
    return lambda path: path.symlink_to(target)


def a_link_to_a_fifo(path):
    os.mkfifo(path.with_name("fifo"))
    path.symlink_to(path.with_name("fifo"))


KINDS = {
    "a FIFO": os.mkfifo,
    "a folder": os.mkdir,
    "a socket": a_socket,
    "a link to a FIFO": a_link_to_a_fifo,
    "a link to a folder": a_link("/usr"),
    "a link to a device without end": a_link("/dev/zero"),
    "a link to a terminal": a_link("/dev/tty"),
    "a link to memory": a_link("/proc/self/mem"),
    "a link to what the system makes up": a_link("/proc/version"),
    "a link to nowhere": a_link("nowhere"),
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a name that is too long": a_link("x" * 300),
}


@pytest.fixture
def model(tmp_path):
    shutil.copytree(DATA / "tiny_iwae", tmp_path / "m")
    for ending in (".h5", ".meta.yaml", ".perf"):
        shutil.copy(DATA / f"tiny_iwae{ending}", tmp_path / f"m{ending}")
    return tmp_path / "m"


def load(name):
    return lambda folder: datasets.load(name, folder)


# For each place: the file, and what reads it in a folder where all else is as it should be.
PLACES = {
    "m/snapshot_bestvalobj": [lambda f: read_model(f / "m"), lambda f: read_snapshot(f / "m")],
    "m/snapshot_latest": [lambda f: read_snapshot(f / "m" / "snapshot_latest")],
    "m.meta.yaml": [
        lambda f: read_model(f / "m"),
        lambda f: read_snapshot(f / "m"),
        lambda f: read_meta(f / "m.meta.yaml"),
    ],
    "m/log": [lambda f: read_log(f / "m")],
    "m.perf": [lambda f: read_best(f / "m")],
    "n.h5": [lambda f: read_model(f / "n"), lambda f: read_arrays(f / "n.h5")],
    "n.safetensors": [lambda f: read_model(f / "n"), lambda f: read_model(f / "n.safetensors")],
    "a.npz": [lambda f: datasets.load(f / "a.npz"), lambda f: read_model(f / "a.npz")],
    "a.npy": [lambda f: datasets.load(f / "a.npy")],
    "a-ubyte.gz": [lambda f: datasets.load(f / "a-ubyte.gz")],
    "omniglot/omniglot28.npz": [load("omniglot")],
    "mnist/train-images-idx3-ubyte.gz": [load("mnist")],
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("place", PLACES)
def test_it_is_refused_by_name(place, kind, model, tmp_path):
    path = tmp_path / place
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    KINDS[kind](path)
    for read in PLACES[place]:
        with pytest.raises((ValueError, FileNotFoundError)) as caught:
            read(tmp_path)
        message = str(caught.value)
        assert str(path) in message or (path.is_dir() and str(tmp_path / "n") in message)
        assert "\n" not in message


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("place", ["m/log", "m.perf", "m.h5"])
def test_beside_a_model_it_is_a_doubt(place, kind, model, tmp_path):
    path = tmp_path / place
    path.unlink()
    KINDS[kind](path)
    (doubt,) = [doubt for doubt in doubts(read_model(model)) if "is not among" not in doubt]
    assert doubt.startswith(str(path)) and "\n" not in doubt


@pytest.mark.parametrize("kind", KINDS)
def test_where_a_model_is_written_it_is_no_meta_file(kind, model, tmp_path):
    KINDS[kind](tmp_path / "n.meta.yaml")
    assert outputs(tmp_path / "n.h5", read_model(model))[1] == tmp_path / "n.meta.yaml"


def test_a_link_to_a_file_is_as_good_as_the_file(model, tmp_path):
    (tmp_path / "n.h5").symlink_to(model.with_suffix(".h5"))
    (tmp_path / "n.meta.yaml").symlink_to(model.with_name("m.meta.yaml"))
    files = read_model(tmp_path / "n")
    assert files.meta == read_model(model).meta and files.notes == []


def test_what_becomes_a_fifo_once_it_was_looked_at(tmp_path, monkeypatch):
    path = tmp_path / "a"
    path.write_bytes(b"x")
    ordinary = os.stat(path)
    path.unlink()
    os.mkfifo(path)
    monkeypatch.setattr(reading.os, "stat", lambda path: ordinary)
    with pytest.raises(ValueError, match="a: is a FIFO, not an ordinary file"):
        read_file(path, 100)


def test_what_changes_while_it_is_read(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"x" * 100)

    class Growing:
        """A length that has something appended to the file when it is asked for."""

        def __lt__(self, size):
            with open(path, "ab") as file:
                file.write(b"y")
            return False

    with pytest.raises(ValueError, match="a: was changed while it was read"):
        read_file(path, Growing())
    assert read_file(path, 200) == b"x" * 100 + b"y"
    with pytest.raises(ValueError, match="101 bytes, at most 100 are read"):
        read_file(path, 100)


@pytest.mark.parametrize("path", ["a\0b", "x" * 5000, "", "a/b/c", "no such file"])
def test_names_that_cannot_be(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("a").write_bytes(b"")
    for read in (read_arrays, read_meta, read_model, read_log, read_best):
        with pytest.raises((ValueError, FileNotFoundError)):
            read(path)


def test_files_are_opened_for_reading_nowhere_else():
    """Each of the rooms that read what others wrote goes through the one door."""
    root = Path(__file__).resolve().parents[2]
    for pattern in ("compat/*.py", "jvi/models/*.py", "jvi/datasets/*.py", "jvi/assessment/*.py"):
        for path in root.glob(pattern):
            text = path.read_text(encoding="utf-8")
            for word in (".read_text(", ".read_bytes(", "np.load(", ', "rb")', ".is_file()"):
                assert word not in text, f"{path}: {word}: use jvi.compat.reading"


def test_ordinary_arrays_are_read(tmp_path):
    np.savez(tmp_path / "a.npz", a=np.ones(3))
    assert read_arrays(tmp_path / "a.npz")["a"].tolist() == [1, 1, 1]
