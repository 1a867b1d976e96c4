"""Reading arrays from files that nobody vouches for: what is read, what is not, what it costs."""

import hashlib
import io
import json
import math
import os
import struct
import time
import zipfile
import zlib

import h5py
import numpy as np
import pytest
import safetensors.numpy as safetensors_numpy

from jvi.compat import arrays as module
from jvi.compat.arrays import parse_contents, read_arrays, read_contents, write_safetensors

ARRAYS = {
    "encode/qlin0/W": np.arange(6, dtype=np.float32).reshape(2, 3),
    "updater/iteration": np.array(782),
    "updater/is_new_epoch": np.array(True),
    "log": np.array(b"[{}]"),
    "text": np.array("ein Wört"),
    "empty": np.zeros((0, 3), np.float64),
    "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "big-endian": np.arange(3, dtype=">i4"),
    "half": np.ones(2, np.float16),
}


def same(a, b):
    return a.dtype == b.dtype.newbyteorder("=") and a.shape == b.shape and np.array_equal(a, b)


def npy(array, **options):
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, **options)
    return buffer.getvalue()


def npz(path, members, **options):
    """An .npz file of these members (name to bytes)."""
    with zipfile.ZipFile(path, "w", **options) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def safetensors(path, header, data):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def read_metadata(path):
    return read_contents(path).metadata


def read_up_to(limit, path):
    """`read_arrays`, of so many bytes at most."""
    return parse_contents(path.read_bytes(), path, (limit, limit)).arrays


def refusal(path):
    """The one line with which reading `path` is refused."""
    with pytest.raises(ValueError) as caught:
        read_arrays(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ") and "\n" not in message
    return message


# --- what is read ---------------------------------------------------------------------------------


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_of_any_name_is_read_as_numpy_reads_it(save, tmp_path):
    path = tmp_path / "snapshot_bestvalobj"
    with open(path, "wb") as file:
        save(file, **ARRAYS)
    found = read_arrays(path)
    assert found.keys() == ARRAYS.keys()
    assert all(same(found[name], ARRAYS[name]) for name in ARRAYS)
    assert all(array.flags.c_contiguous and array.flags.writeable for array in found.values())


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_all_versions_of_npy_are_read(version, tmp_path):
    data = npy(ARRAYS["fortran"], version=version)
    assert same(read_arrays(npz(tmp_path / "a", {"a.npy": data}))["a"], ARRAYS["fortran"])


def test_shapes_that_python_2_wrote_as_long_integers_are_read(tmp_path):
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (2L, 3L), }".ljust(117) + b"\n"
    array = ARRAYS["encode/qlin0/W"]
    data = b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header + array.tobytes()
    assert same(read_arrays(npz(tmp_path / "a", {"a.npy": data}))["a"], array)


@pytest.mark.parametrize("array", ARRAYS.values(), ids=ARRAYS)
def test_npy_is_read_as_numpy_reads_it_and_named_as_the_file(array, tmp_path):
    np.save(tmp_path / "train.npy", array)
    found = read_arrays(tmp_path / "train.npy")
    assert found.keys() == {"train"} and same(found["train"], array)
    assert found["train"].flags.c_contiguous and found["train"].flags.writeable
    assert read_arrays(tmp_path / "train.npy", lambda name: name != "train") == {}


def test_hdf5_is_read(tmp_path):
    path = tmp_path / "a"
    with h5py.File(path, "w") as file:
        for name in ("encode/qlin0/W", "updater/iteration", "half"):
            array = ARRAYS[name]
            file.create_dataset(name, data=array, compression=4 if array.ndim else None)
        file["plain"] = np.arange(4, dtype=np.uint8)
        file.create_dataset(
            "chunks", data=np.arange(70.0).reshape(7, 10), chunks=(3, 4), compression=9
        )
    found = read_arrays(path)
    assert same(found["encode/qlin0/W"], ARRAYS["encode/qlin0/W"])
    assert same(found["updater/iteration"], ARRAYS["updater/iteration"])
    assert same(found["half"], ARRAYS["half"])
    assert same(found["plain"], np.arange(4, dtype=np.uint8))
    assert same(found["chunks"], np.arange(70.0).reshape(7, 10))


def test_safetensors_written_here_are_read_with_their_metadata(tmp_path):
    path = tmp_path / "a"
    arrays = {name: ARRAYS[name] for name in ("encode/qlin0/W", "updater/iteration", "empty")}
    write_safetensors(path, arrays, {"--nhidden": "8"})
    found = read_arrays(path)
    assert all(same(found[name], arrays[name]) for name in arrays) and len(found) == 3
    assert all(array.flags.c_contiguous and array.flags.writeable for array in found.values())
    assert read_metadata(path)["--nhidden"] == "8"


def test_safetensors_that_were_written_by_hand_are_read_and_verified(tmp_path):
    """By the version before this one; -o is not UTF-8, which the library does not read."""
    path = tmp_path / "a"
    header = (
        b'{"__metadata__": {"-o": "\\udcff", "--nhidden": "8", "sha256": "235400334917d27edc81f2b8'
        b'4cafde59508cbf41eb24a23fe9b7ef94298c5775"}, "W": {"dtype": "F32", "shape": [2, 3], "data_'
        b'offsets": [0, 24]}, "n": {"dtype": "I64", "shape": [], "data_offsets": [24, 32]}}       '
    )
    arrays = {"W": ARRAYS["encode/qlin0/W"], "n": np.array(782)}
    data = b"".join(array.tobytes() for array in arrays.values())
    found = read_arrays(safetensors(path, header, data))
    assert found.keys() == arrays.keys() and all(same(found[name], arrays[name]) for name in arrays)
    assert {**read_metadata(path), "sha256": None} == {
        "-o": "\udcff",
        "--nhidden": "8",
        "sha256": None,
    }
    for changed in (header.replace(b"8", b"9", 1), header.replace(b"udcff", b"udcfe")):
        assert "checksum" in refusal(safetensors(path, changed, data))
    assert "checksum" in refusal(safetensors(path, header, data[:-1] + b"\1"))


def test_the_checksum_is_of_all_the_header_says_and_of_the_data(tmp_path):
    """So that other programs can verify it: stated here once more, from the definition."""
    path = tmp_path / "a"
    write_safetensors(path, {"b": np.ones(3, np.float32), "a": np.ones(2)}, {"--opt": "adam"})
    data = path.read_bytes()
    start = 8 + struct.unpack("<Q", data[:8])[0]
    entries = json.loads(data[8:start])
    metadata = entries.pop("__metadata__")
    checksum = metadata.pop("sha256")
    said = json.dumps([entries, metadata], sort_keys=True).encode()
    assert checksum == hashlib.sha256(said + data[start:]).hexdigest()


def test_the_safetensors_library_reads_ours_and_we_its(tmp_path):
    ours, its = tmp_path / "a", tmp_path / "b"
    arrays = {name: ARRAYS[name] for name in ("encode/qlin0/W", "updater/iteration", "half")}
    write_safetensors(ours, arrays, {"--nhidden": "8"})
    safetensors_numpy.save_file(arrays, its, {"format": "np"})
    for found in (safetensors_numpy.load_file(ours), read_arrays(its)):
        assert all(same(found[name], arrays[name]) for name in arrays)
    assert read_metadata(its) == {"format": "np"}


def test_arrays_that_are_not_kept_are_not_looked_at(tmp_path):
    path = npz(tmp_path / "a", {"a.npy": npy(np.ones(3)), "b.npy": b"rubbish"})
    assert read_arrays(path, lambda name: name == "a").keys() == {"a"}
    assert "'b'" in refusal(path)


# --- what is refused ------------------------------------------------------------------------------


def test_a_missing_file_and_a_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"a\.npz: no such file"):
        read_arrays(tmp_path / "a.npz")
    refusal(tmp_path)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0",
        b"hello, world",
        b"\x89HDF\r\n\x1a\n",
        b"PK\3\4",
        b"PK\5\6",
        b"\x80\x04N.",
        npy(np.ones(3))[:-1],
        b"\x93NUMPY",
        b"12345678{",
        b"\0" * 8 + b"{",
    ],
)
def test_files_that_are_none_of_the_four(data, tmp_path):
    path = tmp_path / "a"
    path.write_bytes(data)
    refusal(path)


class Bomb:
    """What would run code if it were unpickled."""

    def __reduce__(self):
        return os.mkdir, ("unpickled",)


def test_pickles_are_refused_and_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    objects = np.array([Bomb()], dtype=object)
    np.savez("a.npz", **{"encode/qlin0/W": objects})
    assert "'encode/qlin0/W'" in refusal(tmp_path / "a.npz")
    np.save("b.npy", objects)
    refusal(tmp_path / "b.npy")
    assert not os.path.exists("unpickled")


HEADER = b"{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }\n"


@pytest.mark.parametrize(
    "header",
    [
        HEADER.replace(b"<f4", b"|O"),
        HEADER.replace(b"<f4", b"<f3"),
        HEADER.replace(b"<f4", b"<c8"),
        HEADER.replace(b"<f4", b"|V4"),
        HEADER.replace(b"'<f4'", b"[('a', '<f4')]"),
        HEADER.replace(b"(3,)", b"(4,)"),
        HEADER.replace(b"(3,)", b"(-3,)"),
        HEADER.replace(b"(3,)", b"(10000000000,)"),
        HEADER.replace(b"(3,)", b"(" + b"1, " * 60 + b"3)"),
        HEADER.replace(b"(3,)", b"(__import__('os'),)"),
        HEADER.replace(b"False", b"0"),
        HEADER.replace(b"}", b"'more': 1}"),
        b"(" * 5000,
        b"",
    ],
)
def test_npy_headers_that_are_not_plain(header, tmp_path):
    data = b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header + b"\0" * 12
    assert "'a'" in refusal(npz(tmp_path / "a", {"a.npy": data}))


def test_members_that_are_no_arrays_or_there_twice(tmp_path):
    refusal(npz(tmp_path / "a", {"readme.txt": b"hello"}))
    with (
        pytest.warns(UserWarning, match="Duplicate"),
        zipfile.ZipFile(tmp_path / "b", "w") as archive,
    ):
        archive.writestr("a.npy", npy(np.ones(3)))
        archive.writestr("a.npy", npy(np.zeros(3)))
    assert "twice" in refusal(tmp_path / "b")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compression_that_can_ask_for_much_memory_is_refused(method, tmp_path):
    path = npz(tmp_path / "a", {"a.npy": npy(np.ones(3))}, compression=method)
    assert "compression" in refusal(path)


def hdf5(path, build):
    with h5py.File(path, "w") as file:
        build(file)
    return path


def external_storage(file):
    name = os.path.join(os.path.dirname(file.filename), "secret")
    file.create_dataset("W", (4,), "f4", external=[(name, 0, 16)])


def virtual(file):
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource("secret.h5", "W", (4,))
    file.create_virtual_dataset("W", layout)


def cycle(file):
    file.create_group("a")["b"] = file["/"]


def twice(file):
    file["a"] = np.ones(3, np.float32)
    file["W"] = file["a"]


def unwritten(file):
    file.create_dataset("W", (10**6, 10**2), "f4", chunks=(10**4, 10), compression=4)


def half_written(file):
    file.create_dataset("W", (4, 4), "f4", chunks=(2, 2), compression=4)[:2] = 1


@pytest.mark.parametrize(
    "build",
    [
        lambda f: f.__setitem__("W", h5py.ExternalLink("secret.h5", "/W")),
        lambda f: f.__setitem__("W", h5py.SoftLink("/elsewhere")),
        external_storage,
        virtual,
        cycle,
        twice,
        unwritten,
        half_written,
        lambda f: f.create_dataset("W", (10**11,), "f4"),
        lambda f: f.create_dataset("W", (10**11,), "f4", chunks=(10,), compression=4),
        lambda f: f.create_dataset("W", (10**8,), "f4", chunks=(10**8,), compression=4),
        lambda f: f.create_dataset("W", (4,), "f4"),
        lambda f: f.create_dataset("W", data=np.ones(4, ">f4")),
        lambda f: f.create_dataset("W", data=np.ones(4), compression="lzf"),
        lambda f: f.create_dataset("W", data=np.ones(4), chunks=(2,), maxshape=(None,)),
        lambda f: f.create_dataset("W", data=["text"]),
        lambda f: f.create_dataset("W", data=f.ref, dtype=h5py.ref_dtype),
        lambda f: f.create_dataset("W", data=h5py.Empty("f4")),
        lambda f: f.__setitem__("W", np.dtype("f4")),
        lambda f: f.create_group("/".join("abcdefghijklmnopqrstuvw") + "/W"),
    ],
)
def test_hdf5_that_save_hdf5_does_not_write(build, tmp_path):
    (tmp_path / "secret").write_bytes(b"\0" * 16)
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["W"] = np.ones(4, np.float32)
    assert "W" in (message := refusal(hdf5(tmp_path / "a.h5", build))) or "'a" in message


ENTRY = {"dtype": "F32", "shape": [3], "data_offsets": [0, 12]}


@pytest.mark.parametrize(
    "header",
    [
        {"a": {**ENTRY, "shape": [4]}},
        {"a": {**ENTRY, "shape": [-3]}},
        {"a": {**ENTRY, "shape": [3.0]}},
        {"a": {**ENTRY, "shape": "3"}},
        {"a": {**ENTRY, "shape": [10**11]}},
        {"a": {**ENTRY, "dtype": "F64"}},
        {"a": {**ENTRY, "dtype": "OBJECT"}},
        {"a": {**ENTRY, "dtype": ["F32"]}},
        {"a": {**ENTRY, "data_offsets": [4, 16]}},
        {"a": {**ENTRY, "data_offsets": [0, 10**12]}},
        {"a": {**ENTRY, "data_offsets": [0]}},
        {"a": {**ENTRY, "more": 1}},
        {"a": [ENTRY]},
        {"a": ENTRY, "b": ENTRY},
        {"a": {**ENTRY, "shape": [2], "data_offsets": [0, 8]}},
        {"a": ENTRY, "__metadata__": {"a": 1}},
        {"a": ENTRY, "__metadata__": ["a"]},
        {"a": ENTRY, "__metadata__": {"sha256": "0" * 64}},
        b'{"a": 1, "a": 2}',
        json.dumps({"a": ENTRY}).encode()[:-1] + b', "a": ' + json.dumps(ENTRY).encode() + b"}",
        b'{"a": {"dtype": "F32", "shape": [3], "shape": [3], "data_offsets": [0, 12]}}',
        {"a": {**ENTRY, "shape": [-3, -1]}},
        {"a": {**ENTRY, "shape": [math.nan]}},
        {"a": {**ENTRY, "shape": [math.inf], "data_offsets": [0, math.inf]}},
        {"a": {**ENTRY, "dtype": "BF16"}},
        {"a": {**ENTRY, "shape": [3] + [1] * 40}},
        {"a": {**ENTRY, "data_offsets": [12, 24]}},
        {"a\nb": {**ENTRY, "data_offsets": [12, 24]}},
        {"a": {**ENTRY, "data_offsets": ["0", "12"]}},
        {"a": {**ENTRY, "data_offsets": [-12, 0]}},
        {"a": {"dtype": "U8", "shape": [], "data_offsets": [False, True]}, "b": ENTRY},
        b'{"a": ' + b"[" * 100000,
        b'{"a": 1' + b"0" * 10000 + b"}",
        b'{"\xff": 1}',
        b"{} {}",
    ],
)
def test_safetensors_whose_header_does_not_fit_their_data(header, tmp_path):
    refusal(safetensors(tmp_path / "a", header, b"\0" * 12))


@pytest.mark.parametrize(
    "wrong", [{"shape": [4]}, {"dtype": "OBJECT"}, {"data_offsets": [0]}, {"more": 1}], ids=str
)
def test_the_array_that_does_not_fit_is_named(wrong, tmp_path):
    entries = {"good": {**ENTRY, "data_offsets": [12, 24]}, "bad": {**ENTRY, **wrong}}
    assert "'bad'" in refusal(safetensors(tmp_path / "a", entries, b"\0" * 24))


def test_a_changed_number_in_our_safetensors_is_noticed_and_in_others_cannot_be(tmp_path):
    path = tmp_path / "a"
    write_safetensors(path, {"a": np.ones(3, np.float32)}, {})
    path.write_bytes(path.read_bytes()[:-1] + b"\x40")
    assert "checksum" in refusal(path)
    assert read_arrays(safetensors(path, {"a": ENTRY}, b"\x40" * 12))["a"][0] > 3


# --- what it costs --------------------------------------------------------------------------------


@pytest.fixture
def cheap():
    """Fails a test whose process comes to need more than 300 MB or 10 s."""
    import resource

    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    yield
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000
    assert time.monotonic() - start < 10


def test_a_zip_bomb(cheap, tmp_path):
    """A file of 240 kB with 20 members of 240 MB, each of which would be small enough."""
    header = HEADER.replace(b"(3,)", b"(60000000,)").ljust(118) + b"\n"
    path = tmp_path / "a"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("0.npy", "w") as member:
            member.write(b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header)
            for _ in range(240):
                member.write(bytes(10**6))
        first = archive.infolist()[0]
        for number in range(1, 20):  # all point to the same data
            info = zipfile.ZipInfo(f"{number}.npy")
            for field in ("CRC", "file_size", "compress_size", "compress_type", "header_offset"):
                setattr(info, field, getattr(first, field))
            archive.filelist.append(info)
        archive._didModify = True
    assert path.stat().st_size < 300_000
    assert "within another member" in refusal(path)


def test_a_member_that_declares_100_gigabytes(cheap, tmp_path):
    header = HEADER.replace(b"(3,)", b"(25000000000,)")
    data = b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header
    refusal(npz(tmp_path / "a", {"a.npy": data}))
    path = npz(tmp_path / "b", {"a.npy": npy(np.ones(3))})
    data = bytearray(path.read_bytes())
    at = data.rindex(b"PK\1\2")
    data[at + 24 : at + 28] = b"\xfe\xff\xff\xff"
    path.write_bytes(data)
    assert "at most" in refusal(path)


def test_a_member_that_is_longer_than_it_declares(cheap, tmp_path):
    path = npz(tmp_path / "a", {"a.npy": bytes(2**26)}, compression=zipfile.ZIP_DEFLATED)
    data = bytearray(path.read_bytes())
    for mark, place in ((b"PK\1\2", 24), (b"PK\3\4", 22)):
        at = data.rindex(mark)
        data[at + place : at + place + 4] = struct.pack("<L", 100)
    path.write_bytes(data)
    refusal(path)


def test_a_hundred_thousand_members(cheap, tmp_path):
    entry = struct.pack(
        "<4s6H3L5H2L", b"PK\1\2", *[20, 20, 0, 0, 0, 0], *[0, 0, 0], *[5, 0, 0, 0, 0], 0, 0
    )
    directory = b"".join(entry + b"%05d" % n for n in range(100_000))
    path = tmp_path / "a"
    for count in (1, 65535):  # what it says may not be so
        end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, count, count, len(directory), 4, 0)
        path.write_bytes(b"PK\3\4" + directory + end)
        assert "more than" in refusal(path)


def test_a_bomb_in_an_hdf5_chunk(cheap, tmp_path):
    """A chunk that decompresses to far more than its size."""

    def build(file):
        dataset = file.create_dataset("W", (4,), "f4", chunks=(4,), compression=4)
        dataset.id.write_direct_chunk((0,), zlib.compress(bytes(10**8)))

    assert "'W'" in refusal(hdf5(tmp_path / "a", build))


def test_a_safetensors_header_that_declares_much(cheap, tmp_path):
    path = tmp_path / "a"
    path.write_bytes(struct.pack("<Q", 2**40) + b"{}")
    assert "header" in refusal(path)
    refusal(
        safetensors(path, {"a": {**ENTRY, "shape": [10**11], "data_offsets": [0, 4 * 10**11]}}, b"")
    )


def test_many_arrays_in_hdf5(cheap, tmp_path):
    def build(file):
        for number in range(11_000):
            file.create_group(str(number))

    assert "too many" in refusal(hdf5(tmp_path / "a", build))


def forms(path, array):
    """The same array in a file of each kind."""
    yield hdf5(path / "a.h5", lambda file: file.__setitem__("a", array))
    np.save(path / "a.npy", array)
    yield path / "a.npy"
    np.savez(path / "a.npz", a=array)
    yield path / "a.npz"
    write_safetensors(path / "a.safetensors", {"a": array}, {})
    yield path / "a.safetensors"


def test_the_limit_of_each_kind_is_what_it_is_called_with(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MAX_BYTES", 10_000)
    array = np.arange(2000.0)
    for path in forms(tmp_path, array):
        message = refusal(path)
        assert "'a'" in message and "at most 10000" in message
        with pytest.raises(ValueError, match="at most 15999"):
            read_up_to(15_999, path)
        assert same(read_up_to(20_000, path)["a"], array)


def test_the_limit_is_of_all_arrays_together(tmp_path):
    arrays = {"a": np.ones(1000), "b": np.ones(1000)}
    np.savez(tmp_path / "a.npz", **arrays)
    write_safetensors(tmp_path / "a.safetensors", arrays, {})
    hdf5(tmp_path / "a.h5", lambda file: file.update(arrays))
    for path in tmp_path.iterdir():
        with pytest.raises(ValueError, match="in total"):
            read_up_to(15_999, path)
        assert read_up_to(16_500, path).keys() == arrays.keys()


def zip64(directory, count, start):
    """The end of a zip archive that may have more than 2 GiB."""
    record = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, count, count, directory, start)
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, start + directory & 2**64 - 1, 1)
    return (
        record + locator + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, 2**32 - 1, 2**32 - 1, 0)
    )


def test_the_directory_of_a_large_archive(cheap, tmp_path):
    data = npz(tmp_path / "a", {"a.npy": npy(np.ones(3))}).read_bytes()
    start, end = data.index(b"PK\1\2"), data.index(b"PK\5\6")
    path = tmp_path / "b"
    path.write_bytes(data[:end] + zip64(end - start, 1, start))
    assert same(read_arrays(path)["a"], np.ones(3))
    for directory, count, place in [
        (end - start, 2, start),
        (end - start, 10**12, start),
        (10**15, 1, start),
        (end - start, 1, 2**64 - 1),
        (end - start, 0, 2**64 - 1),
    ]:
        path.write_bytes(data[:end] + zip64(directory, count, place))
        refusal(path)


@pytest.mark.slow
def test_an_npz_of_more_than_2_gib(tmp_path):
    np.savez(tmp_path / "a.npz", a=np.arange(2**28, dtype=np.float64), b=np.ones(3))
    assert "at most" in refusal(tmp_path / "a.npz")
    found = read_up_to(2**32, tmp_path / "a.npz")
    assert found["a"][-1] == 2**28 - 1 and same(found["b"], np.ones(3))


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "crashes"),
        ("import time; time.sleep(60)", "does not finish"),
        ("import sys; sys.exit('why')", "why"),
        ("print('not an .npz')", "damaged"),
        ("bytearray(10**11)", "MemoryError"),
    ],
)
def test_whatever_the_hdf5_library_does_is_one_line(
    program, expected, cheap, tmp_path, monkeypatch
):
    (reader := tmp_path / "reader.py").write_text(program)
    monkeypatch.setattr(module, "HDF5_READER", reader)
    monkeypatch.setattr(module, "MAX_HDF5_SECONDS", 2)
    assert expected in refusal(hdf5(tmp_path / "a", lambda f: None))
