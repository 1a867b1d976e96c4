"""Data of one's own: files, arrays, how they are split and observed, and what is refused."""

import gzip
import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import jvi
from jvi import datasets
from jvi.datasets import NATS, files

RNG = np.random.default_rng(0)
GREY = RNG.random((40, 3, 5)).astype(np.float32)
BYTES = RNG.integers(0, 256, (40, 3, 5), dtype=np.uint8)
BINARY = (GREY > 0.5).astype(np.uint8)
REAL = RNG.standard_normal((40, 3, 5)).astype(np.float32)


def idx(array):
    """The bytes of an idx file, written independently of the reader."""
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes([0, 0, 0x08, array.ndim]) + sizes + array.tobytes()


def npz(path, **arrays):
    np.savez(path, **arrays)
    return path


def refusal(function, *arguments, error=ValueError, **options):
    """The one line with which something is refused."""
    with pytest.raises(error) as caught:
        function(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def rows_of(data):
    return np.concatenate(data[1:4])


def in_order(rows):
    return sorted(map(bytes, rows))


# Arrays


def test_three_arrays_stay_as_they_are():
    data = jvi.dataset(GREY[:20], GREY[20:25], GREY[25:], name="grey")
    assert isinstance(data, jvi.Dataset)
    np.testing.assert_array_equal(rows_of(data), GREY.reshape(40, 15))
    assert [len(part) for part in data[1:4]] == [20, 5, 15]
    assert data.name == "grey"
    assert data.image_shape == (3, 5)
    assert data.unit == NATS == ("nats", 1, 0)
    assert data.split == "as given"
    assert all(part.dtype == np.float32 and part.ndim == 2 for part in data[1:4])


@pytest.mark.parametrize("num_rows", [3, 4, 9, 10, 19, 20, 101, 1_000])
def test_one_array_is_split_into_tenths_that_share_no_row(num_rows):
    rows = np.arange(3 * num_rows, dtype=np.float32).reshape(num_rows, 3)
    data = jvi.dataset(rows)
    tenth = max(1, num_rows // 10)
    assert [len(part) for part in data[1:4]] == [num_rows - 2 * tenth, tenth, tenth]
    assert in_order(rows_of(data)) == in_order(rows)
    again = jvi.dataset(rows.tolist())
    np.testing.assert_array_equal(rows_of(again), rows_of(data))
    share = f"a tenth of the {num_rows:,} rows, shuffled by one permutation for ever"
    assert data.split == f"validation and test: each {share}"


@pytest.mark.parametrize("missing", ["validation", "test"])
def test_one_missing_part_is_a_tenth_of_the_training_rows(missing):
    there = "test" if missing == "validation" else "validation"
    data = jvi.dataset(GREY, **{there: GREY[:7]})
    np.testing.assert_array_equal(getattr(data, there), GREY[:7].reshape(7, 15))
    made = getattr(data, missing)
    assert made.shape == (4, 15)
    assert in_order([*data.train, *made]) == in_order(GREY.reshape(40, 15))
    assert data.split.startswith(f"{missing}: a tenth of the 40 rows, shuffled")


def test_the_permutation_is_one_for_ever():
    """Whose split this changes, whose results change."""
    rows = np.arange(20.0)[:, None] + 2
    order = np.argsort(np.random.PCG64(0).random_raw(20))
    np.testing.assert_array_equal(rows_of(jvi.dataset(rows))[:, 0] - 2, order)
    assert order[-4:].tolist() == [12, 16, 5, 9]


def test_a_split_mixes_what_is_in_order():
    data = jvi.dataset(np.arange(1_000.0)[:, None])
    for part in data[1:4]:
        assert abs(part.mean() - 499.5) < 4 * 289 / np.sqrt(len(part))


@pytest.mark.parametrize(
    ("array", "observed", "divisor"),
    [
        (BINARY, "as_it_is", 1),
        (BINARY.astype(bool), "as_it_is", 1),
        (BINARY.astype(np.float64), "as_it_is", 1),
        (BYTES, "binarise", 255),
        (BYTES.astype(np.int64), "binarise", 255),
        (GREY, "binarise", 1),
        (GREY.astype(np.float16), "binarise", 1),
        (REAL, "as_it_is", 1),
        (BYTES.astype(np.float32), "as_it_is", 1),
        (BYTES.astype(int) - 1, "as_it_is", 1),
        (BYTES.astype(int) + 1, "as_it_is", 1),
    ],
)
def test_how_rows_are_observed_follows_from_their_values(array, observed, divisor):
    data = jvi.dataset(array, array, array)
    assert data.observe is getattr(datasets, observed)
    expected = array.reshape(40, 15).astype(np.float32) / np.float32(divisor)
    for part in data[1:4]:
        np.testing.assert_array_equal(part, expected)


def test_scales_are_told_from_all_parts_together():
    assert jvi.dataset(GREY, BINARY, BINARY).observe is datasets.binarise
    data = jvi.dataset(REAL, BYTES, GREY)
    assert data.observe is datasets.as_it_is
    assert data.validation.max() == 255
    assert refusal(jvi.dataset, BYTES, GREY, BINARY) == (
        "data: all parts must have one scale: here are in train bytes, "
        "validation values in [0, 1], test only 0 and 1"
    )


@pytest.mark.parametrize(
    ("shape", "image_shape"),
    [((5, 2, 8), (2, 8)), ((5, 16), (4, 4)), ((5, 1), (1, 1)), ((5, 15), None), ((5, 17), None)],
)
def test_image_shape(shape, image_shape):
    data = jvi.dataset(np.zeros(shape))
    assert data.image_shape == image_shape
    assert data.train.shape == (3, np.prod(shape[1:]))


NAN, INFINITE = REAL.copy(), REAL.astype(np.float64)
NAN[7, 1, 1], INFINITE[3, 0, 0] = np.nan, 1e300


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        (NAN, "has values in row 7 that are not finite numbers"),
        (INFINITE, "has values in row 3 that are not finite numbers"),
        ([[1, 2], [3]], "has rows of different lengths"),
        ([["a", "b"]] * 3, "must be an array of numbers, not of type <U1"),
        (np.array([[None]] * 3), "must be an array of numbers, not of type object"),
        (np.zeros((3, 2), complex), "must be an array of numbers, not of type complex128"),
        ({"train": GREY}, "must be an array of numbers, not of type object"),
        (np.zeros(3), r"has shape (3,): make it (N, D) or (N, rows, columns)"),
        (np.zeros((3, 2, 2, 3)), "has shape (3, 2, 2, 3): make it (N, D) or (N, rows, columns)"),
        (0.5, "has shape (): make it (N, D) or (N, rows, columns)"),
        (np.zeros((0, 4)), "is empty: its shape is (0, 4)"),
        (np.zeros((4, 0)), "is empty: its shape is (4, 0)"),
    ],
)
def test_what_is_no_data_is_refused_by_name(rows, sentence):
    assert refusal(jvi.dataset, rows) == f"data: train {sentence}"
    assert refusal(jvi.dataset, GREY, test=rows, name="mine") == f"mine: test {sentence}"


def test_missing_training_rows_are_refused():
    sentence = "data: train must be an array of numbers, not of type object"
    assert refusal(jvi.dataset, None, GREY, GREY) == sentence


@pytest.mark.parametrize("options", [{}, {"test": GREY}, {"validation": GREY}])
def test_fewer_than_three_rows_cannot_be_split(options):
    sentence = "data: train has fewer than 3 rows (2): give more, or validation and test, too"
    assert refusal(jvi.dataset, GREY[:2], **options) == sentence
    assert len(jvi.dataset(GREY[:1], GREY, GREY).train) == 1


@pytest.mark.parametrize("other", [GREY[:, :2], GREY.transpose(0, 2, 1), GREY.reshape(40, 15)])
def test_parts_of_different_shapes_are_refused(other):
    assert refusal(jvi.dataset, GREY, test=other) == (
        f"data: the rows of all parts must have one shape, not train (3, 5), test {other.shape[1:]}"
    )


def test_repr_says_what_a_person_wants_to_know():
    assert repr(jvi.dataset(BYTES, name="mine")) == (
        "<data set mine: 32 training, 4 validation, 4 test rows of 3x5>\n"
        "  observed: binarise\n"
        "  log-likelihoods: nats\n"
        "  split: validation and test: each a tenth of the 40 rows, "
        "shuffled by one permutation for ever"
    )
    data = jvi.dataset(REAL.reshape(40, 15), REAL.reshape(40, 15), REAL.reshape(40, 15))
    assert repr(data).startswith("<data set data: 40 training, 40 validation, 40 test rows of 15>")
    assert "observed: as it is\n" in repr(data)
    assert repr(data).endswith("split: as given")


# Files


def write(path, array):
    """`array` in the format that the name says."""
    if path.name.endswith(".npz"):
        np.savez_compressed(path, array)
    elif path.name.endswith(".npy"):
        np.save(path, array)
    else:
        content = idx(array)
        path.write_bytes(gzip.compress(content) if path.name.endswith(".gz") else content)
    return path


NAMES = ["mine.npz", "mine.npy", "mine-images-idx3-ubyte", "mine-images-idx3-ubyte.gz", "mine.IDX"]


@pytest.mark.parametrize("array", [BYTES, BYTES.reshape(40, 15)], ids=["images", "rows"])
@pytest.mark.parametrize("name", NAMES)
def test_every_format_gives_what_its_array_gives(tmp_path, monkeypatch, name, array):
    path = write(tmp_path / name, array)
    expected = jvi.dataset(array)
    monkeypatch.chdir(tmp_path)
    for spelling in (path, str(path), name, f"./{name}"):
        data = jvi.load_dataset(spelling)
        np.testing.assert_array_equal(rows_of(data), rows_of(expected))
        assert data[4:] == expected[4:]
        assert data.name == str(Path(spelling))


@pytest.mark.parametrize("name", NAMES)
def test_content_counts_and_not_the_ending(tmp_path, name):
    path = write(tmp_path / name, BYTES)
    for other in ("other.npz", "other.npy", "other", "other.gz"):
        path = path.rename(tmp_path / other)
        assert jvi.load_dataset(path).train.shape == (32, 15)


@pytest.mark.parametrize("parts", [(), ("test",), ("validation",), ("validation", "test")])
def test_an_npz_file_has_parts_by_name(tmp_path, parts):
    arrays = {"train": GREY} | {part: GREY[:6] for part in parts}
    data = jvi.load_dataset(npz(tmp_path / "mine.npz", **arrays))
    expected = jvi.dataset(**arrays)
    np.testing.assert_array_equal(rows_of(data), rows_of(expected))
    assert data.split == expected.split


@pytest.mark.parametrize("name", ["images", "arr_0", "x"])
def test_a_single_array_of_another_name_is_the_whole(tmp_path, name):
    data = jvi.load_dataset(npz(tmp_path / "mine.npz", **{name: GREY}))
    np.testing.assert_array_equal(rows_of(data), rows_of(jvi.dataset(GREY)))


@pytest.mark.parametrize("name", ["train.npy", "test.npy", "anything.npy"])
def test_the_name_of_an_npy_file_does_not_matter(tmp_path, name):
    assert jvi.load_dataset(write(tmp_path / name, GREY)).train.shape == (32, 15)


@pytest.mark.parametrize(
    ("arrays", "held"),
    [
        ({}, "no array"),
        ({"test": GREY}, "'test'"),
        ({"validation": GREY}, "'validation'"),
        ({"x_train": GREY, "x_test": GREY}, "'x_test', 'x_train'"),
        ({"train": GREY, "valid": GREY}, "'train', 'valid'"),
        ({"train": GREY, "a\nb": GREY}, r"'a\nb', 'train'"),
        ({f"a{i}": GREY for i in range(9)}, "'a0', 'a1', 'a2', 'a3', 'a4' and 4 more"),
    ],
)
def test_other_arrays_are_refused_and_not_ignored(tmp_path, arrays, held):
    """So that a part by a wrong name is not replaced by one split off."""
    path = npz(tmp_path / "mine.npz", **arrays)
    assert refusal(jvi.load_dataset, path) == (
        f"{path} holds {held}: it should hold the arrays train and, optionally, validation and "
        "test, or a single one of another name"
    )


def test_errors_name_file_and_array(tmp_path):
    path = npz(tmp_path / "mine.npz", train=REAL, test=NAN)
    sentence = f"{path}: test has values in row 7 that are not finite numbers"
    assert refusal(jvi.load_dataset, path) == sentence
    path = write(tmp_path / "labels-idx1-ubyte", BYTES[:, 0, 0])
    assert refusal(jvi.load_dataset, path).startswith(f"{path}: train has shape (40,): make it")
    path = npz(tmp_path / "text.npz", train=np.array([["a"]] * 3))
    sentence = f"{path}: train must be an array of numbers, not of type <U1"
    assert refusal(jvi.load_dataset, path) == sentence


def npy(array, **options):
    buffer = io.BytesIO()
    np.save(buffer, array, **options)
    return buffer.getvalue()


def test_nothing_is_unpickled(tmp_path):
    content = npy(np.array([os.getcwd] * 3), allow_pickle=True)
    (tmp_path / "mine.npy").write_bytes(content)
    with zipfile.ZipFile(tmp_path / "mine.npz", "w") as archive:
        archive.writestr("train.npy", content)
    for name in ("mine.npy", "mine.npz"):
        message = refusal(jvi.load_dataset, tmp_path / name)
        assert message.startswith(str(tmp_path / name))
        assert "objects are not read" in message


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_arrays_of_one_name_are_refused(tmp_path):
    path = tmp_path / "mine.npz"
    with zipfile.ZipFile(path, "w") as archive:
        for array in (GREY, BINARY):
            archive.writestr("train.npy", npy(array))
    message = refusal(jvi.load_dataset, path)
    assert message.startswith(f"{path}: 'train.npy'")
    assert "twice" in message


@given(st.sampled_from(NAMES[:4]), st.data())
def test_damage_never_ends_otherwise_than_in_one_sentence(tmp_path_factory, name, data):
    path = write(tmp_path_factory.mktemp("damage") / name, BYTES[:5])
    content = bytearray(path.read_bytes())
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=3)):
        content[place] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        assert jvi.load_dataset(path).train.shape[0] >= 1
    except ValueError as error:
        assert str(error).startswith(str(path))
        assert "\n" not in str(error)


@pytest.mark.parametrize("content", [b"", b"P", b"a,b\n1,2\n", b"\x89HDF\r\n\x1a\n", b"\x80\x04N."])
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "mine.npz"
    path.write_bytes(content)
    assert refusal(jvi.load_dataset, path) == f"{path} is not an .npz, .npy or idx file"


def test_what_a_file_unpacks_to_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "LIMIT", 100_000)
    zeros = np.zeros((300, 400), np.uint8)
    for name in ("mine.npz", "mine.npy", "mine-ubyte", "mine.gz"):
        path = write(tmp_path / name, zeros)
        assert str(path) in refusal(jvi.load_dataset, path)
        assert jvi.load_dataset(write(path, zeros[:200])).train.shape == (160, 400)


# Names


def test_missing_files_are_one_clear_line(tmp_path):
    missing = tmp_path / "mine.npz"
    sentence = refusal(jvi.load_dataset, str(missing), error=FileNotFoundError)
    assert sentence == f"{missing} does not exist"
    missing = tmp_path / "nowhere" / "mine"
    sentence = refusal(jvi.load_dataset, missing, error=FileNotFoundError)
    assert sentence == f"{missing} does not exist"


def test_a_path_is_one_file_and_never_guessed(tmp_path):
    """Two files under one name: the user says which."""
    write(tmp_path / "mine.npy", GREY)
    write(tmp_path / "mine.npz", BINARY)
    path = tmp_path / "mine"
    assert refusal(jvi.load_dataset, path, error=FileNotFoundError) == (
        f"{path} does not exist: name one of mine.npy, mine.npz beside it"
    )
    write(tmp_path / "a-ubyte.gz", BYTES)
    path = tmp_path / "a-ubyte"
    message = refusal(jvi.load_dataset, path, error=FileNotFoundError)
    assert message == f"{path} does not exist: name one of a-ubyte.gz beside it"
    write(path, 255 * BINARY)
    assert set(np.unique(jvi.load_dataset(path).train)) == {0, 1}


def test_a_folder_is_refused(tmp_path):
    assert refusal(jvi.load_dataset, tmp_path) == f"{tmp_path} is a folder: name a file in it"
    assert refusal(jvi.load_dataset, f"{tmp_path}/").startswith(f"{tmp_path} is a folder")


def test_a_plain_name_is_a_data_set_of_the_package(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "mine.npz", GREY).rename(tmp_path / "digits")
    assert jvi.load_dataset("digits").train.shape == (1_297, 64)
    assert jvi.load_dataset("./digits").train.shape == (32, 15)
    assert jvi.load_dataset(tmp_path / "digits").train.shape == (32, 15)


@pytest.mark.parametrize("name", ["mine", "mine.csv", ""])
def test_an_unknown_name_says_how_a_file_is_named(name):
    assert refusal(jvi.load_dataset, name) == (
        f"unknown data set {name!r}: choose one of {', '.join(datasets.DATASETS)}, or name a file "
        f"with its ending (.npz, .npy, .gz, .idx, -ubyte) or folder (./{name})"
    )


def test_home_is_found(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    write(tmp_path / "mine.npy", GREY)
    assert jvi.load_dataset("~/mine.npy").train.shape == (32, 15)


def test_as_dataset_takes_whatever_data_come_as(tmp_path):
    path, data = write(tmp_path / "mine.npy", GREY), jvi.dataset(GREY)
    assert datasets.as_dataset(data) is data
    assert datasets.as_dataset("digits").name == "digits"
    for given_as in (path, str(path), GREY, GREY.tolist()):
        np.testing.assert_array_equal(rows_of(datasets.as_dataset(given_as)), rows_of(data))


# From a file to a trained model


@pytest.mark.parametrize("array", [GREY, BYTES, BINARY], ids=["grey", "bytes", "binary"])
def test_training_on_a_file(tmp_path, array):
    path = npz(tmp_path / "mine.npz", train=array, test=array[:9])
    model = jvi.train("mlp:hidden=8,latent=2", path, "iwae", num_samples=2, epochs=1, quiet=True)
    x = datasets.observe_each(jvi.load_dataset(path), jvi.load_dataset(path).test, 0)
    found = jvi.evaluate(model, x, 4, ["iwae"])
    assert np.isfinite(found.mean["iwae"])
    assert -15 < found.mean["iwae"] < 0
    assert len(model.history) == 1
    again = jvi.train("mlp:hidden=8,latent=2", path, "iwae", num_samples=2, epochs=1, quiet=True)
    assert jvi.evaluate(again, x, 4, ["iwae"]).mean == found.mean


def test_a_model_of_binary_pixels_refuses_other_numbers(tmp_path):
    path = write(tmp_path / "mine.npy", REAL)
    with pytest.raises(ValueError, match="a model of binary pixels has no likelihood"):
        jvi.train("mlp:hidden=8,latent=2", path, "iwae", num_samples=2, epochs=1, quiet=True)
