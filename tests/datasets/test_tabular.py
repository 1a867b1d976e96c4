"""Tables: what CSV files say, what they may not say, and scales that can be undone."""

import re

import numpy as np
import pytest

from jvi.datasets import csv_table
from jvi.datasets.csv_table import of_columns, read_csv
from jvi.datasets.dataset import shuffled
from jvi.datasets.tabular import BUILT_IN, built_in, coded, prepared, scaling_of
from jvi.models import build


@pytest.fixture
def written(tmp_path):
    def write(text):
        path = tmp_path / "data.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def test_a_file_is_read_as_it_is(written):
    table = read_csv(written('a, b ,y\n1,-2.5,+3\n\n"4", .5 ,1e-3\r\n'))
    assert table.names == ("a", "b") and table.target_name == "y"
    np.testing.assert_array_equal(table.features, [[1, -2.5], [4, 0.5]])
    np.testing.assert_array_equal(table.target, [3, 1e-3])


def test_the_target_may_be_any_column_and_text(written):
    table = read_csv(written("﻿kind,a,b\nwörd,1,2\n7,3,4\n"), "kind")
    assert table.names == ("a", "b") and list(table.target) == ["wörd", "7"]
    np.testing.assert_array_equal(table.features, [[1, 2], [3, 4]])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "first line should name two columns"),
        ("a;b\n1;2", "separated by commas"),
        ("1,2\n3,4", "should name the columns, but holds numbers"),
        ("a,a,b\n1,2,3", "has the name 'a' 2 times"),
        ("a,,b\n1,2,3", "has no name for column 2"),
        ("a,b\n", "has no rows below"),
        ("a,b\n1,2\n3\n", r"row 2 \(line 3\) has 1 values, the first line 2 names"),
        ("a,b\n1,2\n,4\n", r"row 2 \(line 3\) has no value in column 'a': complete such rows"),
        ("a,b\n1,NA\n", r"row 1 \(line 2\) has no value in column 'b' \(NA\)"),
        ("a,b\n1,2\n\nnan,4\n", r"row 2 \(line 4\) has no value in column 'a' \(nan\)"),
        ("a,b\n1,2\nred,4\n", r"row 2 \(line 3\) has 'red' in column 'a', which is no number"),
        ("a,b\n1_0,4\n", "'1_0' in column 'a', which is no number"),
        ("a,b\ninf,4\n", "'inf' in column 'a', which is no number"),
        ("a,b\n٣,4\n", r"'\\u0663' in column 'a', which is no number"),
        ('a,b\n"1,5",4\n', "'1,5' in column 'a', which is no number"),
        ("a,b\n1e999,4\n", "row 1 has inf in column 'a': numbers must be finite"),
        ("a,b\n1,1e101\n", r"row 1 has 1e\+101 in column 'b'"),
        ('a,b\n"1,4\n', "unexpected end of data"),
        (b"a,b\n\xff,4\n", "byte 4 is not text in UTF-8"),
        ("a,b\n1," + 101 * "x", "more than 100 letters in 'b'"),
        ("a,b\n1," + 200_000 * "x", "field larger than field limit"),
    ],
    ids=range(21),
)
def test_what_is_no_table_is_one_sentence(written, text, message):
    path = written(text)
    with pytest.raises(ValueError, match=message) as error:
        read_csv(path)
    assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)


def test_a_column_that_is_not_there(written):
    with pytest.raises(ValueError, match="has no column 'z': it has 'a', 'b'"):
        read_csv(written("a,b\n1,2"), "z")
    with pytest.raises(FileNotFoundError):
        read_csv("nowhere.csv")


def test_sizes_are_bounded(written, monkeypatch):
    monkeypatch.setattr(csv_table, "MOST_ROWS", 2)
    monkeypatch.setattr(csv_table, "MOST_COLUMNS", 3)
    with pytest.raises(ValueError, match="more rows than the 2"):
        read_csv(written("a,b\n1,2\n1,2\n1,2\n"))
    with pytest.raises(ValueError, match="has 4 columns, at most 3"):
        read_csv(written("a,b,c,d\n1,2,3,4\n"))
    monkeypatch.setattr(csv_table, "MOST_BYTES", 10)
    with pytest.raises(ValueError, match="at most 10 are read"):
        read_csv(written("a,b\n1,2\n1,2\n1,2\n"))


def test_numbers_are_matched_in_linear_time():
    """A pattern that has two ways for a number would take for ever."""
    assert not csv_table.NUMBERS.fullmatch(",".join(["1" * 40] * 2_000) + ",x")


@pytest.mark.parametrize(
    ("features", "target", "message"),
    [
        ([[1, np.nan]], [1], "row 0 has nan in column 'x1'"),
        ([[1, 2]], [np.inf], "row 0 has inf in column 'target'"),
        ([[1, 2]], [1, 2], r"features have shape \(1, 2\) and targets \(2,\)"),
        ([["a", "b"]], [1], "features must be numbers"),
        (np.zeros((0, 2)), [], "not empty"),
    ],
    ids=range(5),
)
def test_arrays_that_are_no_table(features, target, message):
    with pytest.raises(ValueError, match=message):
        of_columns(features, target)


def table_of(target, rows=40):
    rng = np.random.default_rng(0)
    features = rng.normal([5, -300], [0.1, 50], (rows, 2))
    return of_columns(features, target(features), "t", ["a", "b"], "y")


def test_scales_are_of_the_training_part_and_can_be_undone():
    table = table_of(lambda f: 1000 + 20 * f[:, 0])
    found = prepared(table, validation=0.2, test=0.25)
    data, scaling = found.data, found.scaling
    assert [len(part) for part in data[1:4]] == [22, 8, 10] and found.task == "regression"
    assert data.train.dtype == np.float32 and data.observe.__name__ == "as_it_is"
    np.testing.assert_allclose(data.train.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(data.train.std(axis=0), 1, rtol=1e-5)
    assert abs(data.test.mean(axis=0)).max() > 0.01  # not of its own
    rows = shuffled(np.column_stack([table.features, table.target]))
    together = np.concatenate(data[1:4])
    np.testing.assert_allclose(scaling.target(together[:, -1]), rows[:, -1], rtol=1e-6)
    np.testing.assert_allclose(scaling.rows(rows[:, :-1], rows[:, -1]), together, rtol=1e-6)
    np.testing.assert_allclose(scaling.features(rows[:, :-1]), together[:, :-1], rtol=1e-6)
    sigma = scaling.target_scale
    assert scaling.deviation(2.0) == pytest.approx(2 * sigma)
    # p(y) dy = p(standardised) d standardised
    assert scaling.log_density(-1.0) == pytest.approx(-1 - np.log(sigma))


@pytest.mark.parametrize(
    ("target", "task", "classes"),
    [
        (lambda f: np.where(f[:, 0] > 5, "yes", "no"), "binary", ("no", "yes")),
        (lambda f: (f[:, 0] > 5).astype(int), "binary", ("0", "1")),
        (lambda f: f[:, 0] > 5, "binary", ("0", "1")),
        (lambda f: np.array(["b", "a", "c", "a"] * 10), "classification", ("a", "b", "c")),
        (lambda f: np.array([3, 10, 7, 3] * 10), "regression", ()),
    ],
    ids=["text", "bits", "booleans", "three", "numbers"],
)
def test_the_task_follows_from_the_targets(target, task, classes):
    table = table_of(target)
    found, names, numbers = coded(table)
    assert (found, names) == (task, classes)
    if classes:
        given = np.array([str(int(t)) if t in (0, 1) else str(t) for t in table.target.tolist()])
        np.testing.assert_array_equal(np.array(classes)[numbers.astype(int)], given)
        assert prepared(table).scaling.target_scale == 1.0


def test_numbers_may_be_classes_in_their_order():
    task, classes, numbers = coded(
        table_of(lambda f: np.array([3, 10, 7, 3] * 10)), "classification"
    )
    assert task == "classification" and classes == ("3", "7", "10")
    np.testing.assert_array_equal(numbers[:4], [0, 2, 1, 0])


@pytest.mark.parametrize(
    ("target", "task", "message"),
    [
        (lambda f: ["a"] * 40, None, "column 'y' has one class only, a"),
        (lambda f: np.ones(40), "binary", "column 'y' has one class only, 1"),
        (lambda f: ["a", "b", "c", "d"] * 10, "binary", "has 4 classes: binary is of two"),
        (lambda f: ["1", "x"] * 20, "regression", "has 'x' in row 2, which is no number"),
        (lambda f: np.ones(40), None, "the target 'y' has one value only, 1"),
        (lambda f: f[:, 0], "ranking", "unknown task 'ranking'"),
    ],
    ids=range(6),
)
def test_targets_from_which_nothing_can_be_learned(target, task, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        prepared(table_of(target), task)


def test_columns_that_say_nothing_are_named():
    table = table_of(lambda f: f[:, 0])
    table.features[:, 1] = 0.1
    with pytest.raises(ValueError, match=r"t: column 'b' has one value only, 0\.1, in the"):
        prepared(table)
    found = prepared(table, keep_constant=True)
    np.testing.assert_array_equal(found.data.test[:, 1], 0)
    with pytest.raises(ValueError, match="column 1 has one value only"):
        scaling_of(table.features, table.target, "regression")


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        (4, {}, "has 4 rows, at least 5"),
        (5, {"test": 0.8}, "of 5 rows, 1 and 4 held out leave too few"),
        (9, {"validation": 0.0}, "share of validation rows must be between 0 and 1"),
    ],
)
def test_tables_that_are_too_small(rows, options, message):
    with pytest.raises(ValueError, match=message):
        prepared(table_of(lambda f: f[:, 0], rows), **options)


@pytest.mark.parametrize("name", BUILT_IN)
def test_scikit_learns_tables_are_what_networks_take(name, tmp_path):
    if name == "california":
        with pytest.raises(FileNotFoundError, match="has not downloaded the California"):
            built_in(name, tmp_path)
        return
    found = prepared(built_in(name), "classification" if name == "digits" else None,
                     keep_constant=name == "digits")  # fmt: skip
    expected = {
        "diabetes": ("regression", (442, 10), 0),
        "breast-cancer": ("binary", (569, 30), 2),
        "wine": ("classification", (178, 13), 3),
        "digits": ("classification", (1797, 64), 10),
    }[name]
    sizes = sum(len(part) for part in found.data[1:4]), len(found.names)
    assert (found.task, sizes, len(found.classes)) == expected
    classes = f",classes={len(found.classes)}" if found.task == "classification" else ""
    columns = found.data.train.shape[1]
    link = build(f"bayes-mlp:task={found.task}{classes}", columns, np.random.default_rng(0))
    assert link.check(found.data.train).dtype == np.float32


def test_there_are_no_other_tables():
    with pytest.raises(ValueError, match="unknown table 'iris2': choose from diabetes"):
        built_in("iris2")
