"""Columns kept beside a network: read as they were written, and trusted in nothing."""

import json

import numpy as np
import pytest

from jvi.datasets.csv_table import of_columns
from jvi.datasets.table_file import columns_of, read_columns, same_columns, write_columns
from jvi.datasets.tabular import prepared


def table(kind="number", names=("a", "bé")):
    rng = np.random.default_rng(0)
    target = rng.normal(size=20)
    if kind == "text":
        target = np.where(target > 0, "yes, it is", "no")
    return prepared(of_columns(rng.normal(3, 2, (20, 2)), target, names=names, target_name="y"))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "table.json"


@pytest.mark.parametrize("kind", ["number", "text"])
def test_columns_come_back_to_the_last_bit(path, kind):
    columns = columns_of(table(kind))
    write_columns(path, columns)
    task, classes = {"number": ("regression", ()), "text": ("binary", ("no", "yes, it is"))}[kind]
    found = read_columns(path, task, 3)
    assert found[:4] == (("a", "bé"), "y", task, classes)
    for one, other in zip(found.scaling, columns.scaling, strict=True):
        np.testing.assert_array_equal(one, other)
    assert same_columns(found, columns)


def test_other_scales_are_another_table(path):
    one = columns_of(table())
    other = one._replace(scaling=one.scaling._replace(target_mean=7.0))
    assert not same_columns(one, other) and not same_columns(one, one._replace(names=("b", "a")))


CHANGES = [
    ({"task": "rank"}, "task is 'rank'"),
    ({"task": "classification"}, "task is 'classification', with 0 classes"),
    ({"classes": ["a", "b"]}, "task is 'regression', with 2 classes"),
    ({"classes": [1]}, "classes holds other things than texts"),
    ({"classes": "ab"}, "classes is no list"),
    ({"features": ["a", "a"]}, "features has a name twice"),
    ({"features": ["a"]}, "mean has 2 values"),
    ({"features": []}, "has 0 features"),
    ({"features": ["a", "b\x1b[2J"]}, r"the name 'b\\x1b\[2J' cannot be shown"),
    ({"target": "y\n"}, "cannot be shown"),
    ({"mean": [1.0]}, "mean has 1 values"),
    ({"mean": [1.0, float("nan")]}, "mean has 'nan'"),
    ({"mean": [1.0, True]}, "mean has 'True'"),
    ({"mean": [1.0, "2"]}, "mean has '2'"),
    ({"scale": [1.0, 0.0]}, "scale has '0.0'"),
    ({"scale": [1.0, -1.0]}, "scale has '-1.0'"),
    ({"target_scale": 1e200}, r"target_scale has '1e\+200'"),
    ({"target_scale": 1}, "target_scale is no float"),
    ({"more": 1}, "should be an object with the keys"),
]


@pytest.mark.parametrize(("change", "message"), CHANGES, ids=range(len(CHANGES)))
def test_what_a_file_cannot_say(path, change, message):
    write_columns(path, columns_of(table()))
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ValueError, match=message) as error:
        read_columns(path, "regression", 3)
    assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{", b"\xff", b"[" * 10**5, b"1" * 10**5, b'{"a": 1e999}']
)
def test_what_is_no_such_file(path, content):
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"not JSON in UTF-8|should be an object"):
        read_columns(path, "regression", 3)


def test_a_file_of_another_network(path):
    write_columns(path, columns_of(table("text")))
    for about in (("regression", 3), ("binary", 4), ("binary", 3, 3)):
        with pytest.raises(ValueError, match="but the network beside it is not"):
            read_columns(path, *about)
    with pytest.raises(FileNotFoundError):
        read_columns(path.with_name("other"), "binary", 3)


def test_names_that_a_terminal_would_obey_are_refused_before_training():
    with pytest.raises(ValueError, match="cannot be shown"):
        columns_of(table(names=("a", "b\x1b[31m")))
