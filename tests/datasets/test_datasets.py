"""Data sets: splits, ranges, checks of every file, downloads from a local server, binarisation."""

import gzip
import hashlib
import io
import json
import subprocess
import sys
import threading
import tracemalloc
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jvi import datasets
from jvi.datasets import mnist
from jvi.datasets.fetch import fetch
from jvi.datasets.idx import parse_idx, read_bounded
from jvi.engine.random import BatchSource, stream

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 3, 2), dtype=np.uint8)


def idx(array, kind=0x08):
    """The bytes of an idx file, written independently of the reader."""
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes([0, 0, kind, array.ndim]) + sizes + array.tobytes()


GOOD = idx(PIXELS)
SMALL = mnist.File("small-images-idx3-ubyte", len(GOOD), hashlib.sha256(GOOD).hexdigest())


@pytest.fixture(autouse=True)
def nothing_of_the_users(monkeypatch, tmp_path):
    """No test sees the user's data folder, cache, or the network."""
    monkeypatch.delenv("JVI_DATA", raising=False)
    monkeypatch.setattr("pooch.os_cache", lambda project: tmp_path / "cache" / project)
    monkeypatch.setattr(mnist, "MIRRORS", ())
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


# Every data set


@pytest.mark.parametrize(
    ("name", "sizes", "image_shape"),
    [
        ("digits", (1_297, 200, 300), (8, 8)),
        ("mnist", (50_000, 10_000, 10_000), (28, 28)),
        ("omniglot", (22_722, 1_623, 8_115), (28, 28)),
    ],
)
def test_sizes_and_ranges(name, sizes, image_shape, request):
    data_dir = None if name == "digits" else request.getfixturevalue("shared") / "data"
    dataset = datasets.load(name, data_dir)
    assert dataset.name == name
    assert dataset.image_shape == image_shape
    for part, size in zip(dataset[1:4], sizes, strict=True):
        assert part.shape == (size, np.prod(image_shape))
        assert part.dtype == np.float32
        assert part.min() == 0
        assert part.max() == 1
        assert np.any((part > 0) & (part < 1)), "binarised"


def test_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"'cifar'.*digits, mnist, omniglot"):
        datasets.load("cifar")


@pytest.mark.parametrize("name", ["mnist", "omniglot"])
def test_wrong_data_folder(name, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere does not exist \(--data-dir"):
        datasets.load(name, tmp_path / "nowhere")
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"file is a file \(--data-dir"):
        datasets.load(name, tmp_path / "file")


def test_data_folder_comes_from_the_argument_before_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("JVI_DATA", str(tmp_path / "environment"))
    with pytest.raises(FileNotFoundError, match="environment"):
        datasets.load("mnist")
    with pytest.raises(FileNotFoundError, match="argument"):
        datasets.load("mnist", tmp_path / "argument")


def test_import_is_cheap():
    heavy = {"sklearn", "pooch", "requests"}
    code = "import sys, json, jvi.datasets; print(json.dumps(list(sys.modules)))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout
    assert not heavy & set(json.loads(loaded))


# Digits


def test_digits_are_those_of_scikit_learn_in_a_fixed_shuffle():
    from sklearn.datasets import load_digits

    train, validation, test = datasets.load("digits")[1:4]
    loaded = np.concatenate([train, validation, test]) * 16
    assert sorted(map(bytes, loaded.astype("u1"))) == sorted(
        map(bytes, load_digits().data.astype("u1"))
    )
    assert hashlib.sha256(bytes((test * 16).astype("u1"))).hexdigest() == (
        "5734522cfd47da57470be473970f72c199d7059bfd0418ce9ee72c03132aaefc"
    )


def test_digits_classes_mix():
    from sklearn.datasets import load_digits

    source = load_digits()
    images = map(bytes, source.data.astype("u1"))
    label = dict(zip(images, source.target, strict=True))
    for part in datasets.load("digits")[1:4]:
        counts = np.bincount([label[bytes(image)] for image in (part * 16).astype("u1")])
        assert len(counts) == 10
        assert counts.min() > 0.05 * len(part)


# MNIST


def test_mnist_validation_is_the_end_of_the_training_file(shared):
    data = shared / "data"
    dataset = datasets.load("mnist", data)
    content = gzip.decompress((data / "mnist" / "t10k-images-idx3-ubyte.gz").read_bytes())
    np.testing.assert_array_equal(np.rint(dataset.test * 255), rows(content))
    content = gzip.decompress((data / "mnist" / "train-images-idx3-ubyte.gz").read_bytes())
    np.testing.assert_array_equal(np.rint(dataset.train * 255), rows(content)[:50_000])
    np.testing.assert_array_equal(np.rint(dataset.validation * 255), rows(content)[50_000:])


def rows(content):
    return np.frombuffer(content, np.uint8, offset=16).reshape(-1, 784)


def test_mnist_reads_unpacked_files(shared, tmp_path):
    (tmp_path / "mnist").mkdir()
    for file in (mnist.TRAIN, mnist.TEST):
        source = shared / "data" / "mnist" / f"{file.name}.gz"
        (tmp_path / "mnist" / file.name).write_bytes(gzip.decompress(source.read_bytes()))
    assert datasets.load("mnist", tmp_path).test.shape == (10_000, 784)


def test_mnist_like_files_are_not_taken_for_mnist(tmp_path):
    """Such as Fashion-MNIST: same names, same sizes, other pixels."""
    (tmp_path / "mnist").mkdir()
    path = tmp_path / "mnist" / "train-images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(idx(np.ones((60_000, 28, 28), np.uint8)), 1))
    with pytest.raises(ValueError, match=r"train-images-idx3-ubyte\.gz is not MNIST's .* SHA-256"):
        datasets.load("mnist", tmp_path)


def test_missing_mnist_says_what_to_put_where(tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        datasets.load("mnist", tmp_path)
    message = str(error.value)
    for part in (str(tmp_path), mnist.TRAIN.name, mnist.TEST.name, "--data-dir", "JVI_DATA"):
        assert part in message
    assert "\n" not in message


# Omniglot


def write_omniglot(folder, **arrays):
    drawer = np.tile(np.arange(1, 21), 2).astype(np.int8)
    images = np.broadcast_to(drawer[:, None, None], (40, 28, 28)).astype(np.uint8)
    (folder / "omniglot").mkdir(exist_ok=True)
    np.savez(
        folder / "omniglot" / "omniglot28.npz", **{"images": images, "drawer": drawer} | arrays
    )


def test_omniglot_is_split_by_drawer(tmp_path):
    write_omniglot(tmp_path)
    dataset = datasets.load("omniglot", tmp_path)
    drawers = [sorted(np.rint(part[:, 0] * 255)) for part in dataset[1:4]]
    assert drawers == [sorted(2 * list(range(1, 15))), [15, 15], sorted(2 * list(range(16, 21)))]


@pytest.mark.parametrize(
    ("arrays", "fault"),
    [
        ({"images": np.zeros((40, 28, 28), np.float32)}, "must be bytes"),
        ({"images": np.zeros((39, 28, 28), np.uint8)}, "one for each drawer"),
        ({"drawer": np.zeros(40, np.int8)}, "drawers must be 1 to 20"),
        ({"drawer": np.int8(1)}, "one for each drawer"),
        ({"images": np.array([None] * 40)}, "objects are not read"),
    ],
)
def test_other_omniglot_content_is_refused(tmp_path, arrays, fault):
    write_omniglot(tmp_path, **arrays)
    with pytest.raises(ValueError, match=rf"omniglot28\.npz.*{fault}"):
        datasets.load("omniglot", tmp_path)


def saved(save, **arrays):
    buffer = io.BytesIO()
    save(buffer, **arrays)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no archive",
        saved(np.savez, images=PIXELS),
        saved(np.save, arr=PIXELS),
        saved(np.savez, images=PIXELS, drawer=PIXELS)[:-40],
        saved(np.savez, images=PIXELS, drawer=PIXELS).replace(PIXELS.tobytes(), bytes(30)),
    ],
    ids=["empty", "text", "no drawer", "npy", "cut off", "wrong checksum"],
)
def test_damaged_omniglot_is_refused(tmp_path, content):
    (tmp_path / "omniglot").mkdir()
    (tmp_path / "omniglot" / "omniglot28.npz").write_bytes(content)
    with pytest.raises(ValueError, match=r"omniglot28\.npz is damaged or not an Omniglot file"):
        datasets.load("omniglot", tmp_path)


def test_missing_omniglot_says_what_to_put_where(tmp_path):
    for data_dir in (tmp_path, None):
        with pytest.raises(FileNotFoundError, match=r"omniglot28\.npz .*FOLDER/omniglot.*JVI_DATA"):
            datasets.load("omniglot", data_dir)


# The idx format


@given(st.lists(st.integers(1, 5), min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_idx_round_trip(shape, random):
    array = np.frombuffer(random.randbytes(np.prod(shape)), np.uint8).reshape(shape)
    np.testing.assert_array_equal(parse_idx(idx(array), "file"), array)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "not an idx file: it starts with nothing"),
        (b"\0\0\x08", "not an idx file: it starts with 00 00 08"),
        (b"PNG" + GOOD, "not an idx file"),
        (idx(PIXELS.astype(np.float32), kind=0x0D), "type 0x0d"),
        (b"\0\0\x08\0", "0 axes"),
        (idx(PIXELS.reshape(5, 3, 2, 1, 1)), "5 axes"),
        (GOOD[:11], "truncated inside its header of 16 bytes"),
        (GOOD[:-1], "truncated: sizes .5, 3, 2. need 46 bytes, it has 45"),
        (GOOD + b"\0", "too long: sizes .5, 3, 2. need 46 bytes, it has 47"),
        (idx(PIXELS[:0]), "empty"),
        (b"\0\0\x08\x03" + b"\xff" * 12, "truncated"),
    ],
)
def test_damaged_idx_is_refused(content, fault):
    with pytest.raises(ValueError, match=f"some/file.*{fault}"):
        parse_idx(content, "some/file")


@given(st.binary(max_size=40), st.integers(0, len(GOOD)))
def test_idx_never_fails_in_another_way(junk, cut):
    for content in (junk, GOOD[:cut] + junk):
        try:
            assert idx(parse_idx(content, "file")) == content
        except ValueError as error:
            assert str(error).startswith("file ")


@pytest.mark.parametrize("name", ["file", "file.gz"])
@pytest.mark.parametrize("content", [GOOD, gzip.compress(GOOD)], ids=["plain", "gzipped"])
def test_read_bounded_knows_gzip_by_content(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    assert read_bounded(path, len(GOOD)) == GOOD
    with pytest.raises(ValueError, match=rf"{name} is too long: .* 45 bytes"):
        read_bounded(path, 45)


@pytest.mark.parametrize("damage", ["cut off", "checksum", "body"])
def test_damaged_gzip_is_refused(tmp_path, damage):
    content = bytearray(gzip.compress(GOOD))
    if damage == "cut off":
        del content[-9:]
    else:
        content[-6 if damage == "checksum" else 10] ^= 0xFF
    path = tmp_path / "file.gz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"file\.gz cannot be read or is damaged"):
        read_bounded(path, len(GOOD))


def test_gzip_bomb_does_not_fill_memory(tmp_path):
    path = tmp_path / "bomb.gz"
    with gzip.open(path, "wb") as file:
        for _ in range(64):
            file.write(bytes(2**20))
    tracemalloc.start()
    with pytest.raises(ValueError, match="too long"):
        read_bounded(path, 1000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20


# Downloads, from servers on this machine


class Quiet(SimpleHTTPRequestHandler):
    def do_GET(self):
        self.server.requests.append(self.path)
        super().do_GET()

    def log_message(self, *args):
        pass


@pytest.fixture
def mirror(tmp_path):
    """Start a server for a folder of given files; returns its address and the list of requests."""
    servers = []

    def start(files):
        folder = tmp_path / f"mirror{len(servers)}"
        folder.mkdir()
        for name, content in files.items():
            (folder / name).write_bytes(content)
        server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder))
        server.requests = []
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}", server.requests

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def fetch_small(tmp_path, *mirrors):
    target = tmp_path / "cache" / "small.gz"
    urls = [f"{address}/small.gz" for address, _ in mirrors]
    return fetch(target, urls, partial(mnist._read, SMALL), "do this")


SMALL_IMAGES = PIXELS.reshape(5, 6) / np.float32(255)
DAMAGED = [gzip.compress(GOOD)[:-3], gzip.compress(GOOD[:-1] + b"x"), b"<html>log in</html>"]


def test_a_download_is_cached(tmp_path, mirror):
    first = mirror({"small.gz": gzip.compress(GOOD)})
    for _ in range(2):
        np.testing.assert_array_equal(fetch_small(tmp_path, first), SMALL_IMAGES)
    assert first[1] == ["/small.gz"]


def test_mirrors_are_tried_in_turn(tmp_path, mirror):
    lacking, damaged = mirror({}), mirror({"small.gz": DAMAGED[0]})
    good, spare = (mirror({"small.gz": gzip.compress(GOOD)}) for _ in range(2))
    np.testing.assert_array_equal(
        fetch_small(tmp_path, lacking, damaged, good, spare), SMALL_IMAGES
    )
    assert [len(requests) for _, requests in (lacking, damaged, good, spare)] == [1, 1, 1, 0]
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["small.gz"]


@pytest.mark.parametrize("content", DAMAGED, ids=["cut off", "wrong hash", "web page"])
def test_a_damaged_download_does_not_stay(tmp_path, mirror, content):
    with pytest.raises(FileNotFoundError, match=r"127\.0\.0\.1:\d+: damaged file\): do this"):
        fetch_small(tmp_path, mirror({"small.gz": content}))
    assert list((tmp_path / "cache").glob("*")) == []


def test_a_damaged_cache_is_replaced(tmp_path, mirror):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "small.gz").write_bytes(DAMAGED[0])
    first = mirror({"small.gz": gzip.compress(GOOD)})
    for _ in range(2):
        np.testing.assert_array_equal(fetch_small(tmp_path, first), SMALL_IMAGES)
    assert len(first[1]) == 1


def test_an_unusable_cache_is_one_clear_line(tmp_path, mirror):
    (tmp_path / "cache").touch()
    with pytest.raises(FileNotFoundError, match=r"small\.gz could not be downloaded to .*cache"):
        fetch_small(tmp_path, mirror({"small.gz": gzip.compress(GOOD)}))


def test_mnist_without_network_is_one_clear_line(monkeypatch, capfd):
    addresses = ("http://127.0.0.1:9", "http://127.0.0.1:10")  # nothing listens there
    monkeypatch.setattr(mnist, "MIRRORS", addresses)
    with pytest.raises(FileNotFoundError) as error:
        datasets.load("mnist")
    message = str(error.value)
    assert "127.0.0.1:9: ConnectionError; 127.0.0.1:10: ConnectionError" in message
    for part in (mnist.TRAIN.name, mnist.TEST.name, "FOLDER/mnist", "--data-dir", "JVI_DATA"):
        assert part in message
    assert "\n" not in message
    assert capfd.readouterr() == ("", "")


def test_mnist_downloads_what_it_lacks(shared, monkeypatch, mirror):
    files = {
        f"{file.name}.gz": (shared / "data" / "mnist" / f"{file.name}.gz").read_bytes()
        for file in (mnist.TRAIN, mnist.TEST)
    }
    address, requests = mirror(files)
    monkeypatch.setattr(mnist, "MIRRORS", (address,))
    for _ in range(2):
        assert datasets.load("mnist").train.shape == (50_000, 784)
    assert requests == [f"/{name}" for name in files]


# Binarisation

DIGITS = datasets.load("digits")


def source(seed, num_rows):
    return BatchSource(np.random.default_rng(seed), num_rows)


def test_binarised_pixels_have_the_grey_values_as_means():
    grey = np.linspace(0, 1, 41, dtype=np.float32)
    draws = datasets.binarise(np.tile(grey, (20_000, 1)), source(1, 20_000))
    assert draws.dtype == np.float32
    assert set(np.unique(draws)) == {0, 1}
    error = np.sqrt(grey * (1 - grey) / 20_000)  # 0 at black and white: those are certain
    assert np.all(np.abs(draws.mean(axis=0) - grey) <= 4 * error)


def test_binarisation_takes_the_uniform_numbers_of_its_generator_in_order():
    grey = np.random.default_rng(0).random((7, 5), dtype=np.float32)
    uniform = np.random.default_rng(1).random((7, 5))
    np.testing.assert_array_equal(datasets.binarise(grey, source(1, 7)), uniform < grey)


def test_dynamic_binarisation_is_new_every_time_and_reproducible():
    grey = np.full((2, 1_000), 0.5, np.float32)
    draws = source(2, 2)
    first, second = datasets.binarise(grey, draws), datasets.binarise(grey, draws)
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(datasets.binarise(grey, source(2, 2)), first)


@given(st.integers(0, 2**32), st.integers(1, 12))
def test_fixed_binarisation_does_not_depend_on_batches(seed, batch):
    grey = np.random.default_rng(3).random((12, 5, 4), dtype=np.float32)
    batches = [
        datasets.observe_each(DIGITS, grey[start : start + batch], seed, start)
        for start in range(0, 12, batch)
    ]
    whole = datasets.observe_each(DIGITS, grey, seed)
    np.testing.assert_array_equal(np.concatenate(batches), whole)


@pytest.mark.parametrize("start", [0, 5_000])
def test_fixed_binarisation_is_that_of_a_stream_for_each_image(start):
    """Also where images are worked on in several blocks."""
    grey = np.random.default_rng(3).random((1_100, 5), dtype=np.float32)
    uniform = [stream(7, "binarisation", start + n).random(5) for n in range(len(grey))]
    found = datasets.observe_each(DIGITS, grey, 7, start)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, uniform < grey)


def test_fixed_binary_digits_are_those_of_every_version():
    found = datasets.observe_each(DIGITS, DIGITS.test, 3, 17)
    assert hashlib.sha256(found.tobytes()).hexdigest() == (
        "5fd449a2150e320f2554f1602d419c2d236fae82204a8f41084ca2b219c4b7f5"
    )


def test_fixed_binarisation_differs_between_images_and_seeds_and_has_the_right_means():
    grey = np.tile(np.linspace(0, 1, 41, dtype=np.float32), (5_000, 1))
    draws = datasets.observe_each(DIGITS, grey, seed=0)
    error = np.sqrt(grey[0] * (1 - grey[0]) / 5_000)
    assert np.all(np.abs(draws.mean(axis=0) - grey[0]) <= 4 * error)
    assert len(np.unique(draws, axis=0)) > 4_990
    assert np.mean(draws != datasets.observe_each(DIGITS, grey, seed=1)) > 0.3


@pytest.mark.parametrize("pixel", [-0.01, 1.01, 255, np.nan])
def test_pixels_outside_the_unit_interval_are_refused(pixel):
    images = np.array([[0.5, pixel]], np.float32)
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        datasets.binarise(images, source(0, 1))
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        datasets.observe_each(DIGITS, images, 0)


def test_what_is_seen_as_it_is_draws_no_numbers_and_may_be_any():
    data = DIGITS._replace(observe=datasets.as_it_is)
    rows = np.array([[-3.0, 0.25], [7.0, 1e6]])
    found = datasets.observe_each(data, rows, 0)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, rows)
    np.testing.assert_array_equal(datasets.as_it_is(rows, None), rows)
