"""CIFAR-10 as it is distributed, or as folders of PNG files: bytes, in bits per dimension."""

import hashlib
import io
import tarfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jvi.compat.reading import present, read_file
from jvi.datasets.cifar10_batches import IMAGE, SIDE, of_binary, of_pickle, pixel_by_pixel
from jvi.datasets.dataset import Dataset, of_bytes, shuffled
from jvi.datasets.fetch import cache_folder, fetch, local_folder
from jvi.datasets.png_folder import read_pngs
from jvi.evidence.unit import bits_per_dimension

__all__ = ["load", "load_part"]

MIRRORS = ("https://www.cs.toronto.edu/~kriz",)

COUNT = 10_000  # images of a whole file
TRAIN, TEST = 5 * COUNT, COUNT
LONGEST = 2**25  # bytes of a file
LONGEST_ARCHIVE = 2**28


class Version(NamedTuple):
    """One of the two in which the authors distribute the data.

    Attributes
    ----------
    folder, archive : str
        Names; the archive holds the folder.
    archive_sha256 : str
    parse : callable
        From (content, path) of a file to its planes.
    hash : str
        Of `files`: the authors' page and code publish MD5 for the Python version, which finds
        damage, not intent. None of what is read is run, whatever it says.
    files : dict
        By name, the test's last, hashes in hexadecimal.
    """

    folder: str
    archive: str
    archive_sha256: str
    parse: Callable[[bytes, Any], np.ndarray]
    hash: str
    files: dict[str, str]


BINARY = Version(
    "cifar-10-batches-bin",
    "cifar-10-binary.tar.gz",
    "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
    of_binary,
    "sha256",
    {
        "data_batch_1.bin": "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
        "data_batch_2.bin": "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
        "data_batch_3.bin": "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
        "data_batch_4.bin": "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
        "data_batch_5.bin": "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
        "test_batch.bin": "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b",
    },
)
PYTHON = Version(
    "cifar-10-batches-py",
    "cifar-10-python.tar.gz",
    "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
    of_pickle,
    "md5",
    {
        "data_batch_1": "c99cafc152244af753f735de768cd75f",
        "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
        "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
        "data_batch_4": "634d18415352ddfa80567beed471001a",
        "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
        "test_batch": "40351d587109b95175f43aff81a1287e",
    },
)
VERSIONS = (BINARY, PYTHON)

FORMS = (
    f"{BINARY.folder}/ or {PYTHON.folder}/ with their six files, "
    f"{BINARY.archive} or {PYTHON.archive} (from {MIRRORS[0]}/cifar.html), "
    "or train/ and test/ with PNG files"
)
ADVICE = f"put one of {FORMS} into FOLDER/cifar10 and name FOLDER by --data-dir or JVI_DATA"
PART = "the data set cifar10-part takes what there is"


def load(data_dir: str | Path | None = None) -> Dataset:
    """Load CIFAR-10: 45,000 training, 5,000 validation and 10,000 test images of 32 × 32 × 3 bytes.

    The validation images are the last 5,000 of the training files. Of PNG files, whose order is
    not known, the training images are shuffled first, by one permutation for ever. The labels are
    not read.

    Parameters
    ----------
    data_dir : str or Path, optional
        A folder that holds `cifar10/` with one of these, the first that there is being taken: a
        folder `cifar-10-batches-bin` or `cifar-10-batches-py` of six files, the archive of one of
        them as distributed, or folders `train` and `test` of PNG files, in folders or not. Else
        JVI_DATA; else the archive of the binary version is downloaded once and cached. Files and
        archives are checked by the published hashes.

    Returns
    -------
    Dataset
        Of uint8 rows, in the order row, column, channel.

    Raises
    ------
    FileNotFoundError, ValueError
        As `jvi.load_dataset`.

    Source: Krizhevsky (2009), Learning multiple layers of features from tiny images.
    """
    folder = local_folder(data_dir)
    if folder is None:
        target = cache_folder() / "cifar10" / BINARY.archive
        urls = [f"{mirror}/{BINARY.archive}" for mirror in MIRRORS]
        return _dataset("cifar10", *fetch(target, urls, partial(_of_archive, BINARY), ADVICE))
    return _dataset("cifar10", *_local(folder / "cifar10", part=False))


def load_part(data_dir: str | Path | None = None) -> Dataset:
    """What there is of CIFAR-10 in a folder of one's own: at least one training file, and a test.

    The last tenth of the training images is for validation. Files of 10,000 images are checked as
    by `load`, of which all else is true; shorter ones have no hash.
    """
    folder = local_folder(data_dir)
    if folder is None:
        raise FileNotFoundError(f"cifar10-part is not downloaded, cifar10 is: {ADVICE}")
    return _dataset("cifar10-part", *_local(folder / "cifar10", part=True))


def _dataset(name, train, test, order="training images"):
    count = max(1, len(train) // 10)
    if count == len(train):
        raise ValueError(f"{name} has a single training image: at least 2 are needed")
    unit = bits_per_dimension(IMAGE)
    split = f"the last {count:,} of the {order} are for validation"
    parts = train[:-count], train[-count:], test
    return Dataset(name, *parts, (SIDE, SIDE, 3), of_bytes, unit, split)


def _local(folder, part):
    """(training images, test images, …), of the first form that a folder holds."""
    for version in VERSIONS:
        if present(folder / version.folder):
            return _of_folder(version, folder / version.folder, part)
    for version in VERSIONS:
        if present(folder / version.archive):
            return _of_archive(version, folder / version.archive)
    if present(folder / "train"):
        return _of_pngs(folder, part)
    raise FileNotFoundError(f"{folder} holds no CIFAR-10: {ADVICE}")


def _of_folder(version, folder, part):
    rows = {}
    for name in version.files:
        path = folder / name
        if present(path):
            rows[name] = _rows(version, name, read_file(path, LONGEST), path, part)
        elif not part:
            raise FileNotFoundError(f"{path} does not exist: all six files are needed ({PART})")
    return _joined(version, rows, folder)


def _of_archive(version, path):
    """Of a published archive, whose hash is checked before any of it is unpacked."""
    content = read_file(path, LONGEST_ARCHIVE)
    if hashlib.sha256(content).hexdigest() != version.archive_sha256:
        raise ValueError(
            f"{path} is damaged or not CIFAR-10's {version.archive}: its SHA-256 differs"
        )
    rows = {}
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        for name in version.files:
            file = archive.extractfile(f"{version.folder}/{name}").read()
            rows[name] = _rows(version, name, file, f"{path}: {name}", False)
    return _joined(version, rows, path)


def _rows(version, name, content, path, part):
    """The images of one file, which is the published one, or, of a part, another number of them."""
    found = hashlib.new(version.hash, content, usedforsecurity=False).hexdigest()
    planes = version.parse(content, path)
    whole = len(planes) == COUNT
    if whole and found != version.files[name]:
        raise ValueError(f"{path} is not CIFAR-10's {name}: its {version.hash.upper()} differs")
    if not whole and (len(planes) > COUNT or not part):
        raise ValueError(f"{path} has {len(planes):,} images, not {COUNT:,} ({PART})")
    return pixel_by_pixel(planes)


def _joined(version, rows, where):
    """(training images, test images) of the rows of files, by name."""
    *training, test = version.files
    train = [rows[name] for name in training if name in rows]
    if not train or test not in rows:
        lacking = f"none of {training[0]}, …" if not train else f"no {test}"
        raise FileNotFoundError(f"{where} holds {lacking}, which cifar10-part needs, too")
    return np.concatenate(train), rows[test]


def _of_pngs(folder, part):
    train, test = read_pngs(folder / "train", SIDE, TRAIN), read_pngs(folder / "test", SIDE, TEST)
    if not part and (len(train), len(test)) != (TRAIN, TEST):
        found = f"{len(train):,} and {len(test):,} PNG files in train and test"
        raise ValueError(f"{folder} has {found}, not {TRAIN:,} and {TEST:,} ({PART})")
    return shuffled(train), test, "training images, shuffled by one permutation for ever,"
