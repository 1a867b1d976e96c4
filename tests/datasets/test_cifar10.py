"""CIFAR-10 in all its forms, on small files made here."""

import hashlib
import io
import os
import pickle
import tarfile
import time

import numpy as np
import pytest
from PIL import Image

from jvi import datasets
from jvi.datasets import cifar10
from jvi.datasets.cifar10_batches import of_binary, of_pickle, pixel_by_pixel

COUNT = 20  # images of a whole file here
RNG = np.random.default_rng(4)
PLANES = RNG.integers(0, 256, (6, COUNT, 3072), dtype=np.uint8)
LABELS = RNG.integers(0, 10, (6, COUNT, 1), dtype=np.uint8)
ROWS = PLANES.reshape(6, COUNT, 3, 32, 32).transpose(0, 1, 3, 4, 2).reshape(6, COUNT, 3072)


@pytest.fixture(autouse=True)
def nothing_of_the_users(monkeypatch, tmp_path):
    """No test sees the user's data folder, cache, or the network."""
    monkeypatch.delenv("JVI_DATA", raising=False)
    monkeypatch.setattr("pooch.os_cache", lambda project: tmp_path / "cache" / project)
    monkeypatch.setattr(cifar10, "MIRRORS", ())


class Python2Pickler(pickle._Pickler):
    """With byte strings as Python 2 has them, which are its texts, too."""

    dispatch = pickle._Pickler.dispatch.copy()

    def save_bytes(self, obj):
        size = len(obj)
        start = b"U" + bytes([size]) if size < 256 else b"T" + size.to_bytes(4, "little")
        self.write(start + obj)
        self.memoize(obj)

    def save_text(self, obj):
        self.save_bytes(obj.encode())

    dispatch[bytes] = save_bytes
    dispatch[str] = save_text


def python2(value):
    file = io.BytesIO()
    Python2Pickler(file, 2).dump(value)
    return file.getvalue()


def batch(number, planes, **more):
    """As the Python version has it; the text "data" is also among the others."""
    names = [f"a_{i:06}.png" for i in range(len(planes))]
    labels = [int(each) for each in LABELS[number, : len(planes), 0]]
    about = f"training batch {number + 1} of 5"
    return {"batch_label": about, "labels": labels, "data": planes, "filenames": names} | more


def binary(number, count=COUNT):
    return np.hstack([LABELS[number, :count], PLANES[number, :count]]).tobytes()


def contents(version):
    if version is cifar10.BINARY:
        return {name: binary(i) for i, name in enumerate(version.files)}
    return {name: python2(batch(i, PLANES[i])) for i, name in enumerate(version.files)}


def packed(version, made):
    """A gzipped tar archive with a file that is not asked for first."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        for name, content in {"readme.html": b"hello", **made}.items():
            about = tarfile.TarInfo(f"{version.folder}/{name}")
            about.size = len(content)
            archive.addfile(about, io.BytesIO(content))
    return file.getvalue()


@pytest.fixture(params=["BINARY", "PYTHON"])
def version(request, monkeypatch):
    """One of the two versions, of which the small files are made the official ones."""
    version = getattr(cifar10, request.param)
    made = contents(version)
    hashes = {name: hashlib.new(version.hash, each).hexdigest() for name, each in made.items()}
    archive = hashlib.sha256(packed(version, made)).hexdigest()
    small = version._replace(files=hashes, archive_sha256=archive)
    others = [each for each in cifar10.VERSIONS if each.folder != version.folder]
    monkeypatch.setattr(cifar10, "VERSIONS", (small, *others))
    monkeypatch.setattr(cifar10, request.param, small)
    monkeypatch.setattr(cifar10, "COUNT", COUNT)
    return small


@pytest.fixture
def folder(version, tmp_path):
    """The folder with the six files."""
    folder = tmp_path / "cifar10" / version.folder
    folder.mkdir(parents=True)
    for name, content in contents(version).items():
        (folder / name).write_bytes(content)
    return folder


def check_whole(data):
    assert data.name == "cifar10" and data.image_shape == (32, 32, 3)
    assert data.observe is datasets.of_bytes and data.unit == datasets.bits_per_dimension(3072)
    train = ROWS[:5].reshape(-1, 3072)
    for part, rows in zip(data[1:4], (train[:90], train[90:], ROWS[5]), strict=True):
        assert part.dtype == np.uint8
        np.testing.assert_array_equal(part, rows)


def first(folder):
    """The first training file."""
    return min(folder.glob("data_batch_1*"))


def test_rows_go_pixel_by_pixel():
    """Red is row, green column, blue 7 everywhere."""
    row, column = np.meshgrid(np.arange(32), np.arange(32), indexing="ij")
    planes = np.stack([row, column, np.full((32, 32), 7)]).reshape(1, 3072).astype(np.uint8)
    [found] = pixel_by_pixel(planes)
    for at in [(0, 0), (0, 31), (5, 9), (31, 0)]:
        place = (at[0] * 32 + at[1]) * 3
        assert found[place : place + 3].tolist() == [*at, 7]


def test_folder(folder, tmp_path):
    check_whole(datasets.load("cifar10", tmp_path))


def test_folder_by_environment_variable(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("JVI_DATA", str(tmp_path))
    check_whole(datasets.load("cifar10"))


def test_archive(version, tmp_path):
    (tmp_path / "cifar10").mkdir()
    (tmp_path / "cifar10" / version.archive).write_bytes(packed(version, contents(version)))
    check_whole(datasets.load("cifar10", tmp_path))
    assert [each.name for each in (tmp_path / "cifar10").iterdir()] == [version.archive]


def test_download_of_the_binary_archive(version, tmp_path, monkeypatch):
    made, requests = packed(version, contents(version)), []

    def download(self, url, path, pooch):
        requests.append(url)
        path.write_bytes(made)

    monkeypatch.setattr("pooch.HTTPDownloader.__call__", download)
    monkeypatch.setattr(cifar10, "MIRRORS", ("https://mirror/folder",))
    if version.folder == cifar10.PYTHON.folder:  # which the other version's archive is not
        with pytest.raises(FileNotFoundError, match="mirror: damaged file"):
            datasets.load("cifar10")
        return
    for _ in range(2):
        check_whole(datasets.load("cifar10"))
    assert requests == ["https://mirror/folder/cifar-10-binary.tar.gz"]
    cached = tmp_path / "cache" / "jvi" / "cifar10" / "cifar-10-binary.tar.gz"
    assert cached.read_bytes() == made


def test_without_network_or_files_one_line_says_what_to_do(tmp_path):
    (tmp_path / "cifar10").mkdir()
    for where in (None, tmp_path):
        with pytest.raises(FileNotFoundError) as error:
            datasets.load("cifar10", where)
        for told in ("cifar-10-batches-bin/", "cifar-10-python.tar.gz", "PNG", "--data-dir"):
            assert told in str(error.value)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("damage", ["cut", "changed", "missing", "other", "longer", "empty"])
def test_damaged_folders(folder, version, tmp_path, damage):
    path = first(folder)
    content = path.read_bytes()
    whole = {
        "cut": content[:-1000],
        "changed": content.replace(PLANES[0, 3].tobytes(), PLANES[0, 4].tobytes()),
        "missing": None,
        "other": (folder / list(version.files)[1]).read_bytes(),
        "longer": content + bytes(3073),
        "empty": b"",
    }[damage]
    path.unlink()
    if whole is not None:
        path.write_bytes(whole)
    with pytest.raises((ValueError, FileNotFoundError)) as error:
        datasets.load("cifar10", tmp_path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)
    if damage in ("changed", "other"):
        assert f"{version.hash.upper()} differs" in str(error.value)


def test_damaged_archives(version, tmp_path):
    path = tmp_path / "cifar10" / version.archive
    path.parent.mkdir()
    path.write_bytes(packed(version, contents(version))[:-20])
    with pytest.raises(ValueError, match="SHA-256 differs"):
        datasets.load("cifar10", tmp_path)


@pytest.mark.parametrize("count", [COUNT, 7])
def test_a_part_where_it_is_asked_for(folder, version, tmp_path, count):
    for name in list(version.files)[1:5]:
        (folder / name).unlink()
    test = folder / list(version.files)[5]
    few = binary(5, count) if version.hash == "sha256" else python2(batch(5, PLANES[5, :count]))
    test.write_bytes(few)
    data = datasets.load("cifar10-part", tmp_path)
    assert data.name == "cifar10-part"
    np.testing.assert_array_equal(data.train, ROWS[0, :18])
    np.testing.assert_array_equal(data.validation, ROWS[0, 18:])
    np.testing.assert_array_equal(data.test, ROWS[5, :count])
    with pytest.raises(FileNotFoundError, match=r"all six files are needed .*cifar10-part"):
        datasets.load("cifar10", tmp_path)


def test_too_few_images_are_no_whole_file(folder, version, tmp_path):
    few = binary(0, 7) if version.hash == "sha256" else python2(batch(0, PLANES[0, :7]))
    first(folder).write_bytes(few)
    with pytest.raises(ValueError, match=r"has 7 images, not 20 \(.*cifar10-part"):
        datasets.load("cifar10", tmp_path)


@pytest.mark.parametrize("lacking", ["train", "test"])
def test_a_part_needs_both(folder, version, tmp_path, lacking):
    names = list(version.files)
    for name in names[:5] if lacking == "train" else names[5:]:
        (folder / name).unlink()
    with pytest.raises(FileNotFoundError, match="which cifar10-part needs"):
        datasets.load("cifar10-part", tmp_path)


def test_a_part_is_of_ones_own_files():
    with pytest.raises(FileNotFoundError, match="cifar10-part is not downloaded"):
        datasets.load("cifar10-part")


# The binary version


def test_labels_are_labels():
    content = bytearray(binary(0))
    content[3073 * 4] = 10
    with pytest.raises(ValueError, match="image 4 has the label 10"):
        of_binary(bytes(content), "a file")


@pytest.mark.parametrize("size", [0, 1, 3072, 3074])
def test_binary_files_are_of_whole_images(size):
    with pytest.raises(ValueError, match=f"a file is damaged: its {size} bytes"):
        of_binary(bytes(size), "a file")


# The Python version


@pytest.mark.parametrize("dump", [python2, lambda value: pickle.dumps(value, 2)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_pickles_of_both_pythons(dump, order):
    content = dump(batch(0, np.asarray(PLANES[0], order=order)))
    np.testing.assert_array_equal(of_pickle(content, "a file"), PLANES[0])


def test_the_pickle_made_here_is_one():
    found = pickle.loads(python2(batch(0, PLANES[0])), encoding="latin1")
    np.testing.assert_array_equal(found["data"], PLANES[0])
    assert found["batch_label"] == "training batch 1 of 5"


class Harm:
    """What a pickle can do to who unpickles it."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("where", ["before", "after"])
def test_nothing_in_a_pickle_is_run(tmp_path, protocol, where):
    made, value = tmp_path / "harm", batch(0, PLANES[0])
    harmful = {"harm": Harm(made), **value} if where == "before" else value | {"z": Harm(made)}
    content = pickle.dumps(harmful, protocol)
    with pytest.raises(ValueError, match="which is not run"):
        of_pickle(content, "a file")
    assert not made.exists()
    pickle.loads(content)  # it would have
    assert made.exists()


OTHERS = {
    "int16": {"data": PLANES[0].astype(np.int16)},
    "u2": {"data": PLANES[0].astype(">u2")},
    "3071": {"data": PLANES[0, :, :3071]},
    "3-axes": {"data": PLANES[0].reshape(-1, 3, 1024)},
    "flat": {"data": PLANES[0].ravel()},
    "bytes": {"data": PLANES[0].tobytes()},
    "list": {"data": [1, 2, 3]},
    "text": {"data": "data"},
    "other": {"pixels": PLANES[0]},
    "none": {"data": PLANES[0, :0]},
    "empty": [],
    "word": "data",
}


@pytest.mark.parametrize("value", OTHERS.values(), ids=OTHERS)
def test_other_pickles(value):
    with pytest.raises(ValueError, match="a file is damaged or not of CIFAR-10's Python version"):
        of_pickle(python2(value), "a file")


def test_an_array_that_claims_more_than_it_has():
    content = python2({"data": PLANES[0]})
    shape = b"K\x14M\x00\x0c\x86"
    assert content.count(shape) == 1
    for lie in (b"K\x15M\x00\x0c\x86", b"K\x13M\x00\x0c\x86", b"K\x14M\x01\x0c\x86"):
        with pytest.raises(ValueError, match="bytes"):
            of_pickle(content.replace(shape, lie), "a file")
    lie = b"J\xec\xff\xff\xffJ\x00\xf4\xff\xff\x86"  # (-20, -3072), whose product is right
    with pytest.raises(ValueError, match="bytes"):
        of_pickle(content.replace(shape, lie), "a file")


def test_cut_pickles_end_in_one_sentence():
    content = python2(batch(0, PLANES[0, :1]))
    for size in range(len(content)):
        with pytest.raises(ValueError, match=r"^a file is damaged or not") as error:
            of_pickle(content[:size], "a file")
        assert "\n" not in str(error.value)


def test_changed_pickles_are_read_or_refused():
    """Any byte of what is not pixels: nothing but ValueError, and no array of other pixels."""
    content, rng = python2(batch(0, PLANES[0, :1])), np.random.default_rng(1)
    start = content.index(PLANES[0, 0].tobytes())
    places = [i for i in range(len(content)) if not start - 5 <= i < start + 3072]
    for place in rng.choice(places, 3_000):
        changed = bytearray(content)
        changed[place] = rng.integers(256)
        try:
            found = of_pickle(bytes(changed), "a file")
        except ValueError:
            continue
        assert found.shape == (1, 3072)


def test_endless_pickles_take_seconds_at_most():
    start = time.perf_counter()
    with pytest.raises(ValueError, match="more than 1000000 steps"):
        of_pickle(b"\x80\x02" + b"N" * 2**25, "a file")
    assert time.perf_counter() - start < 60


# PNG files


def save(path, row, mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(row.reshape(32, 32, 3)).convert(mode).save(path)


@pytest.fixture
def pngs(tmp_path):
    """Ten training images in folders of classes, four for testing without."""
    for i in range(10):
        save(tmp_path / "cifar10" / "train" / ("frog", "truck")[i % 2] / f"{i}.png", ROWS[0, i])
    for i in range(4):
        save(tmp_path / "cifar10" / "test" / f"{i}_cat.png", ROWS[5, i])
    return tmp_path / "cifar10"


def in_order(rows):
    return sorted(map(bytes, rows))


def test_png_files(pngs, tmp_path, monkeypatch):
    monkeypatch.setattr(cifar10, "TRAIN", 10)
    monkeypatch.setattr(cifar10, "TEST", 4)
    data = datasets.load("cifar10", tmp_path)
    np.testing.assert_array_equal(data.test, ROWS[5, :4])
    assert in_order([*data.train, *data.validation]) == in_order(ROWS[0, :10])
    assert data.train.shape == (9, 3072) and data.train.dtype == np.uint8
    assert "shuffled" in data.split
    again = datasets.load("cifar10", tmp_path)
    np.testing.assert_array_equal(data.train, again.train)


def test_some_png_files_are_a_part(pngs, tmp_path):
    with pytest.raises(ValueError, match=r"has 10 and 4 PNG files .* \(.*cifar10-part"):
        datasets.load("cifar10", tmp_path)
    data = datasets.load("cifar10-part", tmp_path)
    assert (len(data.train), len(data.validation), len(data.test)) == (9, 1, 4)


@pytest.mark.parametrize("fault", ["grey", "size", "cut", "text", "long", "folder", "jpeg"])
def test_png_files_that_are_none(pngs, tmp_path, fault):
    path = pngs / "test" / "1_cat.png"
    content = path.read_bytes()
    path.unlink()
    if fault == "grey":
        save(path, ROWS[0, 0], "L")
    elif fault == "size":
        Image.new("RGB", (32, 31)).save(path)
    elif fault == "folder":
        path.mkdir()
    elif fault == "jpeg":
        Image.new("RGB", (32, 32)).save(path, format="jpeg")
    else:
        made = {"cut": content[:-100], "text": b"hello", "long": content + bytes(2**16)}
        path.write_bytes(made[fault])
    with pytest.raises(ValueError) as error:
        datasets.load("cifar10-part", tmp_path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_folders_without_png_files(pngs, tmp_path):
    for path in (pngs / "test").iterdir():
        path.unlink()
    with pytest.raises(FileNotFoundError, match="test holds no PNG files"):
        datasets.load("cifar10-part", tmp_path)


# What is there


def test_part_of_the_real_files(shared):
    data = datasets.load("cifar10-part", shared / "data")
    assert data.train.shape == (9_000, 3072) and data.train.dtype == np.uint8
    assert (len(data.validation), len(data.test)) == (1_000, 1_000)
    # Red, green and blue have the published means of the training set, about.
    mean = data.train.reshape(-1, 3).mean(axis=0) / 255
    np.testing.assert_allclose(mean, [0.4914, 0.4822, 0.4465], atol=0.01)
    # Neighbours in a row of one colour are alike, which in another order they are not.
    images = data.train[:500].reshape(-1, 32, 32, 3).astype(float)
    assert np.corrcoef(images[:, :, 1:].ravel(), images[:, :, :-1].ravel())[0, 1] > 0.9
