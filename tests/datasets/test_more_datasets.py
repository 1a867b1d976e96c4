"""Fashion-MNIST, static MNIST and data of toy models, on small files made here."""

import gzip
import hashlib
import time
import tracemalloc
from functools import cache

import numpy as np
import pytest
from scipy import stats

from jvi import datasets
from jvi.datasets import fashion_mnist, mnist, static_mnist
from jvi.models.mixture import true_prior

RNG = np.random.default_rng(8)


@pytest.fixture(autouse=True)
def nothing_of_the_users(monkeypatch, tmp_path):
    """No test sees the user's data folder, cache, or the network."""
    monkeypatch.delenv("JVI_DATA", raising=False)
    monkeypatch.setattr("pooch.os_cache", lambda project: tmp_path / "cache" / project)
    for module in (fashion_mnist, static_mnist):
        monkeypatch.setattr(module, "MIRRORS", ())


# Fashion-MNIST

IMAGES = {
    "train": RNG.integers(0, 256, (10_003, 28, 28), dtype=np.uint8),
    "t10k": RNG.integers(0, 256, (4, 28, 28), dtype=np.uint8),
}


def idx(array):
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes()


@cache
def packed(which):
    return gzip.compress(idx(IMAGES[which]), 1, mtime=0)


@pytest.fixture
def fashion(monkeypatch, tmp_path):
    """A folder of the two files, packed, which are made the official ones."""
    folder = tmp_path / "fashion-mnist"
    folder.mkdir()
    for which, name in (("train", "TRAIN"), ("t10k", "TEST")):
        file, content = getattr(fashion_mnist, name), packed(which)
        (folder / f"{file.name}.gz").write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()
        small = file._replace(count=len(IMAGES[which]), sha256=digest)
        monkeypatch.setattr(fashion_mnist, name, small)
    return folder


def check_fashion(data):
    assert data.name == "fashion-mnist" and data.image_shape == (28, 28)
    assert data.observe is datasets.binarise
    for part, images in zip(
        data[1:4], [IMAGES["train"][:3], IMAGES["train"][3:], IMAGES["t10k"]], strict=True
    ):
        assert part.dtype == np.float32
        np.testing.assert_array_equal(np.rint(part * 255), images.reshape(len(images), -1))


def test_fashion_mnist_is_read_packed_or_not(fashion):
    check_fashion(datasets.load("fashion-mnist", fashion.parent))
    path = fashion / "t10k-images-idx3-ubyte.gz"
    path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
    path.unlink()
    check_fashion(datasets.load("fashion-mnist", fashion.parent))


def test_fashion_mnist_of_the_cache_has_the_published_hash(fashion, tmp_path):
    """And a file that has not is downloaded again, for which there is no mirror here."""
    (tmp_path / "cache" / "jvi").mkdir(parents=True)
    cached = fashion.rename(tmp_path / "cache" / "jvi" / "fashion-mnist")
    check_fashion(datasets.load("fashion-mnist"))
    again = gzip.compress(idx(IMAGES["t10k"]), 9, mtime=1)
    (cached / "t10k-images-idx3-ubyte.gz").write_bytes(again)
    with pytest.raises(FileNotFoundError, match=r"t10k.* put train.* into FOLDER/fashion-mnist"):
        datasets.load("fashion-mnist")


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (idx(IMAGES["t10k"][:3]), r"t10k.* has sizes \[3, 28, 28\], not 4 images of 28 x 28"),
        (idx(IMAGES["t10k"].reshape(2, 56, 28)), r"has sizes \[2, 56, 28\], not 4 images"),
        (idx(IMAGES["t10k"])[:-1], "truncated"),
        (idx(IMAGES["t10k"]) + b"\0", "too long"),
        (gzip.compress(idx(IMAGES["t10k"]), mtime=0)[:-5], "damaged"),
        (b"<html>", "not an idx file"),
        (b"", "not an idx file"),
    ],
    ids=["few", "tall", "cut off", "long", "half unpacked", "web page", "empty"],
)
def test_other_fashion_files_are_refused(fashion, content, fault):
    (fashion / "t10k-images-idx3-ubyte.gz").write_bytes(content)
    with pytest.raises(ValueError, match=fault):
        datasets.load("fashion-mnist", fashion.parent)


def test_mnist_is_not_taken_for_fashion_mnist(shared, tmp_path):
    (tmp_path / "fashion-mnist").symlink_to(shared / "data" / "mnist")
    with pytest.raises(ValueError, match="is MNIST's, not Fashion-MNIST's: put train"):
        datasets.load("fashion-mnist", tmp_path)


@pytest.mark.parametrize("name", ["fashion-mnist", "static-mnist"])
def test_what_is_missing_is_said_with_where_to_put_it(name, tmp_path):
    for data_dir, reason in [(tmp_path, "does not exist"), (None, "could not be downloaded")]:
        with pytest.raises(FileNotFoundError, match=rf"{reason}.* FOLDER/{name} .*JVI_DATA"):
            datasets.load(name, data_dir)
    with pytest.raises(FileNotFoundError, match=r"nowhere does not exist \(--data-dir"):
        datasets.load(name, tmp_path / "nowhere")


def test_hashes_are_of_different_files():
    files = fashion_mnist.TRAIN, fashion_mnist.TEST, *static_mnist.FILES, mnist.TRAIN, mnist.TEST
    hashes = {file.sha256 for file in files}
    assert len(hashes) == len(files) and {len(each) for each in hashes} == {64}
    assert all(set(each) <= set("0123456789abcdef") for each in hashes)


# Static MNIST

BINARY = [RNG.integers(0, 2, (count, 784)) for count in (5_000, 3, 2)]


@cache
def text(part):
    return "".join(" ".join(map(str, row)) + "\n" for row in BINARY[part].tolist()).encode()


@pytest.fixture
def static(monkeypatch, tmp_path):
    """A folder of the three files, which are made the published ones."""
    folder, files = tmp_path / "static-mnist", []
    folder.mkdir()
    for part, file in enumerate(static_mnist.FILES):
        (folder / file.name).write_bytes(text(part))
        digest = hashlib.sha256(text(part)).hexdigest()
        files.append(file._replace(count=len(BINARY[part]), sha256=digest))
    monkeypatch.setattr(static_mnist, "FILES", tuple(files))
    return folder


def test_static_mnist_is_read(static):
    data = datasets.load("static-mnist", static.parent)
    assert data.name == "static-mnist" and data.image_shape == (28, 28)
    for part, rows in zip(data[1:4], BINARY, strict=True):
        assert part.dtype == np.float32
        np.testing.assert_array_equal(part, rows)
    np.testing.assert_array_equal(datasets.observe_each(data, data.test, 3), data.test)


def test_static_mnist_of_the_cache(static, tmp_path):
    (tmp_path / "cache" / "jvi").mkdir(parents=True)
    static.rename(tmp_path / "cache" / "jvi" / "static-mnist")
    np.testing.assert_array_equal(datasets.load("static-mnist").test, BINARY[2])


GOOD = text(1)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (GOOD[:-1], "has 4703 bytes, not the 4704 of 3 lines of 784 digits"),
        (GOOD[:-1568], "has 3136 bytes, not the 4704"),
        (GOOD + b"\n", "has 4705 bytes"),
        (b"", "has 0 bytes"),
        (b"2" + GOOD[1:], "valid.amat: line 1 should be 784 zeros and ones with spaces between"),
        (GOOD[:1568] + b" " + GOOD[1569:], "line 2 should be"),
        (GOOD[:3137] + b"0" + GOOD[3138:], "line 3 should be"),
        (GOOD[:-1] + b" ", "line 3 should be"),
        (GOOD[:1567] + b" " + GOOD[1568:], "line 1 should be"),
        (GOOD[:-2] + (b"1" if GOOD[-2:-1] == b"0" else b"0") + b"\n", "valid.* SHA-256 differs"),
        (bytes(4704), "line 1 should be"),
    ],
)
def test_other_static_files_are_refused(static, content, fault):
    (static / "binarized_mnist_valid.amat").write_bytes(content)
    with pytest.raises(ValueError, match=fault):
        datasets.load("static-mnist", static.parent)


def test_a_static_file_of_full_size_is_read_at_once(monkeypatch, tmp_path):
    """In a second or so, and with little beside the file and the images themselves."""
    (tmp_path / "static-mnist").mkdir()
    content = text(0) * 10
    path = tmp_path / "static-mnist" / "binarized_mnist_train.amat"
    path.write_bytes(content)
    file = static_mnist.FILES[0]
    assert len(content) == 78_400_000 and file.count == 50_000
    file = file._replace(sha256=hashlib.sha256(content).hexdigest())
    del content
    tracemalloc.start()
    start = time.perf_counter()
    images = static_mnist._read(file, path)
    seconds, peak = time.perf_counter() - start, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_array_equal(images[-5_000:], BINARY[0])
    assert peak < 78_400_000 + images.nbytes + 2**25
    assert seconds < 5


# Toy data

TOY = [-0.093967214, 1.3844261, 2.5448391]
MIXTURE = [52.320034, 111.5471, 102.27132]


def test_the_gaussian_toys_data_never_change():
    data = datasets.load("gaussian-toy")
    assert [part.shape for part in data[1:4]] == 3 * [(1_024, 20)]
    assert data.train.dtype == np.float32 and data.image_shape is None
    assert data.observe is datasets.as_it_is
    np.testing.assert_array_equal(data.train, datasets.load("gaussian-toy", "ignored").train)
    np.testing.assert_allclose(data.train[0, :3], TOY, rtol=1e-6)
    assert "1,024 training, 1,024 validation, 1,024 test rows of 20" in repr(data)


def test_the_gaussian_toys_data_have_their_distribution():
    """Rows are N(mu, 2 I) with one mu, of variance about 1, for all parts."""
    parts = datasets.load("gaussian-toy")[1:4]
    mu = np.concatenate(parts).mean(axis=0)
    assert 0.4 < mu.var() < 2
    for part in parts:
        away = (part - mu) / 2**0.5
        assert stats.kstest(away.ravel(), "norm").pvalue > 0.001
        assert abs(away.mean(axis=0)).max() < 4.5 / 32
        assert abs(np.corrcoef(away.T) - np.eye(20)).max() < 5 / 32


def test_the_mixtures_data_never_change_and_have_their_distribution():
    data = datasets.load("mixture")
    assert [part.shape for part in data[1:4]] == [(100_000, 1), (1_000, 1), (1_000, 1)]
    assert data.train.dtype == np.float32 and data.observe is datasets.as_it_is
    np.testing.assert_allclose(data.train[:3, 0], MIXTURE, rtol=1e-6)

    def cdf(x):
        return stats.norm.cdf(np.subtract.outer(x, 10 * np.arange(20)), scale=5) @ true_prior(20)

    for part in data[1:4]:
        assert stats.kstest(part[:, 0].astype(np.float64), cdf).pvalue > 0.001
