"""Data with targets by name: what they are for, and where they come from."""

import gzip

import numpy as np
import pytest

from jvi.datasets.blundell_curve import blundell_curve
from jvi.datasets.labelled import is_file, labelled


@pytest.mark.parametrize(
    ("name", "task", "classes", "features"),
    [
        ("diabetes", "regression", 0, 10),
        ("breast-cancer", "binary", 2, 30),
        ("wine", "classification", 3, 13),
        ("digits", "classification", 10, 64),
        ("blundell-curve", "regression", 0, 1),
    ],
)
def test_each_name_has_its_task(name, task, classes, features):
    found = labelled(name)
    assert (found.task, len(found.classes), len(found.names)) == (task, classes, features)
    assert found.data.name == name


def test_the_curve_is_the_papers():
    """To first order y - f(x) = ε f'(x), as x itself and the last ε have the same slope, 1."""
    found = blundell_curve(4000)
    x, y = found.features[:, 0], found.target
    assert found.names == ("x",) and 0 <= x.min() < 0.001 and 0.499 < x.max() <= 0.5
    f = x + 0.3 * np.sin(2 * np.pi * x) + 0.3 * np.sin(4 * np.pi * x)
    slope = 1 + 0.6 * np.pi * np.cos(2 * np.pi * x) + 1.2 * np.pi * np.cos(4 * np.pi * x)
    steep = np.abs(slope) > 2.5
    standard = (y - f)[steep] / (0.02 * slope[steep])
    assert abs(standard.mean()) < 4 / steep.sum() ** 0.5 + 0.02
    assert abs(standard.std() - 1) < 4 / (2 * steep.sum()) ** 0.5 + 0.02
    np.testing.assert_array_equal(blundell_curve(4000).target, y)


def test_what_names_a_file(tmp_path):
    assert is_file("a.csv") and is_file("A.CSV") and is_file("./diabetes")
    assert not is_file("diabetes") and not is_file("csv")
    path = tmp_path / "t.csv"
    path.write_text("k,a\n" + "".join(f"{'no' if n % 2 else 'yes'},{n}\n" for n in range(10)))
    found = labelled(str(path), "k")
    assert (found.task, found.classes, found.names) == ("binary", ("no", "yes"), ("a",))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("iris",), "unknown data set 'iris': choose one of blundell-curve, diabetes, .*mnist"),
        (("wine", "alcohol"), "wine has its target"),
        (("mnist", None, "regression"), "mnist is for classification, not regression"),
    ],
)
def test_what_cannot_be(arguments, message):
    with pytest.raises(ValueError, match=message):
        labelled(*arguments)


def test_labels_that_are_not_mnists_are_refused(tmp_path):
    (tmp_path / "mnist").mkdir()
    with pytest.raises(FileNotFoundError, match=r"put train-labels-idx1-ubyte.gz and .* beside"):
        labelled("mnist", data_dir=tmp_path)
    content = b"\0\0\x08\x01\0\0\0\x02\x01\x02"
    path = tmp_path / "mnist" / "train-labels-idx1-ubyte.gz"
    path.write_bytes(gzip.compress(content))
    with pytest.raises(ValueError, match="is not MNIST's train-labels-idx1-ubyte"):
        labelled("mnist", data_dir=tmp_path)


@pytest.mark.slow
def test_mnist_has_its_digits(shared):
    """How many of each digit the official files have is known (LeCun et al. 1998)."""
    found = labelled("mnist", data_dir=shared / "data")
    train, validation, test = found.data[1:4]
    counts = np.bincount(np.concatenate([train, validation])[:, -1].astype(int))
    assert counts.tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert np.bincount(test[:, -1].astype(int)).tolist() == [
        980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009,
    ]  # fmt: skip
    assert len(train) == 50_000 and train.shape[1] == 785
    assert test[:, :-1].max() == np.float32(255 / 126) and train[0, -1] == 5
