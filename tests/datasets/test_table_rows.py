"""Rows of other files: columns by name, whatever their order, and targets if there are any."""

import numpy as np
import pytest

from jvi.datasets.csv_table import of_columns
from jvi.datasets.table_file import columns_of
from jvi.datasets.table_rows import read_features, read_rows
from jvi.datasets.tabular import prepared


def columns(target):
    features = np.random.default_rng(0).normal(3, 2, (len(target), 2))
    return columns_of(prepared(of_columns(features, target, names=["a", "b"], target_name="y")))


NUMBERS = columns(np.arange(20.0))
WORDS = columns(np.array(["red", "blue", "red", "green"] * 5))
CODES = columns(np.arange(20.0) % 2)


@pytest.fixture
def written(tmp_path):
    def write(text):
        path = tmp_path / "rows.csv"
        path.write_text(text)
        return path

    return write


@pytest.mark.parametrize(
    "text", ["a,b\n1,2\n3,4", "b,a\n2,1\n4,3", "y,b,a\nred,2,1\nx,4,3", "b, y ,a\n2,0,1\n4,9,3"]
)
def test_features_are_found_by_name(written, text):
    found = read_features(written(text), NUMBERS)
    scaling = NUMBERS.scaling
    np.testing.assert_allclose(found, ([[1, 2], [3, 4]] - scaling.mean) / scaling.scale, rtol=1e-6)


def test_targets_are_standardised_or_numbered(written):
    found = read_rows(written("y,a,b\n7,1,2\n-1,1,2"), NUMBERS)[:, -1]
    scaling = NUMBERS.scaling
    expected = (np.array([7, -1]) - scaling.target_mean) / scaling.target_scale
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert read_rows(written("y,a,b\nred,1,2\nblue,1,2"), WORDS)[:, -1].tolist() == [2, 0]
    assert read_rows(written("a,b,y\n1,2,1\n1,2,1.0"), CODES)[:, -1].tolist() == [1, 1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,y\n1,2", "has no column 'b', which the network was trained on"),
        ("a,b,c\n1,2,3", "has a column 'c' that the network was not trained on"),
        ("a,b\n1,2\n1,red", "row 2 has 'red' in column 'b', which is no number"),
        ("a,b\n1,", "row 1 .* has no value in column 'b'"),
        ("a,b,y\n1,2,", "row 1 .* has no value in column 'y'"),
        ("a,b\n1,2,3", "has 3 values"),
        ('"a,b\n1,2', "rows.csv"),
    ],
)
def test_features_that_do_not_fit(written, text, message):
    with pytest.raises(ValueError, match=message) as error:
        read_features(written(text), NUMBERS)
    assert "rows.csv" in str(error.value)


@pytest.mark.parametrize(
    ("text", "known", "message"),
    [
        ("a,b\n1,2", NUMBERS, "has no column 'y'"),
        ("a,b,y\n1,2,3\n1,2,red", NUMBERS, "row 2 has 'red' in column 'y', which is no number"),
        ("a,b,y\n1,2,red\n1,2,Red", WORDS, "row 2 has 'Red' in column 'y', which is none of the 3"),
        ("a,b,y\n1,2,2", CODES, "row 1 has '2.0' in column 'y', which is none of the 2 classes"),
    ],
)
def test_targets_that_do_not_fit(written, text, known, message):
    with pytest.raises(ValueError, match=message):
        read_rows(written(text), known)
