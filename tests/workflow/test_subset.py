"""Parts of a data set in a file are its first rows, and read as such."""

import json

import numpy as np
import subset

from jvi import datasets


def test_first_rows_of_each_part(tmp_path):
    subset.main(f"digits --train 30 --validation 5 --test 7 -o {tmp_path}/a".split())
    whole, part = datasets.load("digits"), datasets.load(str(tmp_path / "a.npz"))
    for name, count in (("train", 30), ("validation", 5), ("test", 7)):
        np.testing.assert_array_equal(getattr(part, name), getattr(whole, name)[:count])
    written = json.loads((tmp_path / "a.json").read_text())
    assert written == {"train": 30, "validation": 5, "test": 7}
