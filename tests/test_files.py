"""Files appear whole or not at all, whatever goes wrong while they are written."""

import errno
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from jvi.files import (
    append_text,
    atomic_write,
    locked,
    make_folders,
    refuse_existing,
    remove_leftovers,
    write_csv,
    write_json,
)


def full(number=errno.ENOSPC):
    return OSError(number, os.strerror(number))


def everything(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_a_file_appears_when_the_block_has_succeeded(tmp_path):
    path = tmp_path / "deep" / "er" / "file"
    with atomic_write(path) as temporary:
        temporary.write_text("whole")
        assert not path.exists() and temporary.parent == path.parent
    assert path.read_text() == "whole" and everything(path.parent) == ["file"]
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask()


def umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


@pytest.mark.parametrize(
    "error", [ValueError("no"), KeyboardInterrupt(), full(), MemoryError(), SystemExit(3)]
)
def test_what_fails_leaves_neither_file_nor_folder(tmp_path, error):
    with pytest.raises(type(error)), atomic_write(tmp_path / "deep" / "er" / "file") as temporary:
        temporary.write_text("half")
        raise error
    assert everything(tmp_path) == []


def test_json_is_whole_or_not_at_all(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"a": (1, float("nan"))})
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert json.loads(path.read_text()) == {"a": [1, None]}
    assert list(tmp_path.iterdir()) == [path]


def test_a_table_is_whole_or_not_at_all(tmp_path):
    path = tmp_path / "a.csv"
    rows = [{"a": 1, "b": float("nan")}, {"a": -np.inf, "b": "é, or x", "c": True}]
    write_csv(path, rows)
    assert path.read_bytes().decode() == 'a,b,c\n1,,\n,"é, or x",True\n'
    write_csv(path, rows, ["b", "d"])
    assert path.read_bytes().decode() == 'b,d\n,\n"é, or x",\n'
    with pytest.raises(TypeError):
        write_csv(path, [*rows, 1])
    assert path.stat().st_size > 0 and list(tmp_path.iterdir()) == [path]


def test_files_that_exist_are_refused(tmp_path):
    refuse_existing([tmp_path / "none"])
    (tmp_path / "dangling").symlink_to(tmp_path / "none")
    with pytest.raises(FileExistsError, match=r"dangling exists: .* overwrite=True"):
        refuse_existing([tmp_path / "none", tmp_path / "dangling"])


def test_what_fails_leaves_the_old_file_and_its_folder(tmp_path):
    path = tmp_path / "deep" / "file"
    path.parent.mkdir()
    path.write_text("old")
    with pytest.raises(OSError, match="No space left"), atomic_write(path) as temporary:
        temporary.write_text("half")
        raise full()
    assert path.read_text() == "old" and everything(tmp_path) == ["deep", "deep/file"]


def test_errors_name_the_file_and_not_the_temporary_one(tmp_path):
    path = tmp_path / "file"
    with pytest.raises(OSError, match="quota") as caught, atomic_write(path):
        raise full(errno.EDQUOT)
    assert caught.value.filename == str(path)
    with pytest.raises(OSError, match="No space") as caught, atomic_write(path) as temporary:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(temporary))
    assert caught.value.filename == str(path)
    with pytest.raises(FileNotFoundError) as caught, atomic_write(path):
        (tmp_path / "another").read_text()
    assert caught.value.filename == str(tmp_path / "another")


def test_what_libraries_make_of_a_full_disk_is_called_so(tmp_path):
    path = tmp_path / "file"
    with pytest.raises(OSError, match="No space left") as caught, atomic_write(path):
        try:
            raise full()
        except OSError:
            raise ValueError("Can't close the ZIP file") from None  # the context stays
    assert caught.value.filename == str(path)
    with pytest.raises(OSError, match=r"^\[Errno 28\] No space left"), atomic_write(path):
        raise RuntimeError("write failed: errno = 28, error message = 'No space'")
    with pytest.raises(ValueError, match="of another kind"), atomic_write(path):
        raise ValueError("of another kind")


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 64 kB; only root can have one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)], capture_output=True
    )
    if made.returncode:
        pytest.skip("no tmpfs can be mounted here (not root?)")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def write_npz(path):
    with open(path, "wb") as file:
        np.savez(file, a=np.zeros(2**17))


def write_hdf5(path):
    with h5py.File(path, "w") as file:
        file.create_dataset("a", data=np.zeros(2**17))


def write_safetensors(path):
    from jvi.compat.arrays import write_safetensors

    write_safetensors(path, {"a": np.zeros(2**17, np.float32)}, {})


WRITERS = [write_npz, write_hdf5, write_safetensors, lambda path: path.write_bytes(bytes(2**20))]


@pytest.mark.parametrize("write", WRITERS)
def test_a_full_disk_leaves_the_old_file(small_disk, write):
    path = small_disk / "file"
    path.write_text("old")
    message = "No space left on device"
    with pytest.raises(OSError, match=message) as caught, atomic_write(path) as temporary:
        write(temporary)
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(path))
    assert path.read_text() == "old" and everything(small_disk) == ["file"]


def test_a_file_larger_than_allowed_leaves_the_old_one(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**15, hard))
    try:
        with pytest.raises(OSError, match="File too large"), atomic_write(path) as temporary:
            write_npz(temporary)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_text() == "old" and everything(tmp_path) == ["file"]


def test_appending_is_whole_or_not_at_all(small_disk):
    path = small_disk / "file"
    append_text(path, "one\n")
    append_text(path, "two ±\n")
    assert path.read_text() == "one\ntwo ±\n"
    with pytest.raises(OSError, match="No space left") as caught:
        append_text(path, "x" * 2**20)
    assert caught.value.filename == str(path) and path.read_text() == "one\ntwo ±\n"
    with pytest.raises(OSError, match="No space left"):
        append_text(small_disk / "new", "x" * 2**20)
    assert everything(small_disk) == ["file"]


def test_folders_made_for_nothing_are_removed_but_no_others(tmp_path):
    (tmp_path / "there").mkdir()
    with pytest.raises(ValueError), make_folders(tmp_path / "there" / "a" / "b"):
        raise ValueError
    assert everything(tmp_path) == ["there"]
    with pytest.raises(ValueError), make_folders(tmp_path / "there" / "a" / "b"):
        (tmp_path / "there" / "a" / "file").write_text("mine")
        raise ValueError
    assert everything(tmp_path) == ["there", "there/a", "there/a/file"]
    with make_folders(tmp_path / "new"):
        pass
    assert (tmp_path / "new").is_dir()


def test_leftovers_are_those_of_this_file(tmp_path):
    for name in (".m[1].perf-a.unfinished", ".m1.perf-a.unfinished", ".m[1].perf-b"):
        (tmp_path / name).write_text("half")
    remove_leftovers(tmp_path / "m[1].perf")
    assert everything(tmp_path) == [".m1.perf-a.unfinished", ".m[1].perf-b"]


def test_a_folder_is_held_until_the_holder_is_dead(tmp_path):
    code = "import sys, time\nfrom jvi.files import locked\n"
    code += f"with locked({str(tmp_path)!r}, ''):\n    print('held', flush=True); time.sleep(60)"
    pipe = subprocess.PIPE
    child = subprocess.Popen([sys.executable, "-c", code], stdout=pipe, text=True)
    assert child.stdout.readline() == "held\n"
    with pytest.raises(ValueError, match="busy"), locked(tmp_path, "busy"):
        pass
    child.kill()
    child.communicate()
    with locked(tmp_path, "busy"):
        assert Path(tmp_path).exists()
