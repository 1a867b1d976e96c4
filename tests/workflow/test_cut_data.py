"""The first rows of a data set, as a file that is loaded, and observed, as the whole is."""

import json

import cut_data
import numpy as np
import pytest

import jvi
from jvi import datasets


def test_its_rows_are_the_first_of_each_part(tmp_path):
    cut_data.main(["--images", "50", "--test-images", "7", "-o", str(tmp_path / "cut")])
    whole, cut = datasets.load("digits"), datasets.load(str(tmp_path / "cut.npz"))
    np.testing.assert_array_equal(cut.train, whole.train[:50])
    np.testing.assert_array_equal(cut.validation, whole.validation[:7])
    np.testing.assert_array_equal(cut.test, whole.test[:7])
    sizes = json.loads((tmp_path / "cut.json").read_text())
    assert sizes == {"dataset": "digits", "train": 50, "validation": 7, "test": 7}


def test_validation_may_have_other_rows_than_test(tmp_path):
    cut_data.main(f"--images 30 --validation-images 5 --test-images 7 -o {tmp_path}/cut".split())
    cut = datasets.load(str(tmp_path / "cut.npz"))
    np.testing.assert_array_equal(cut.validation, datasets.load("digits").validation[:5])
    assert len(cut.train) == 30 and len(cut.test) == 7


def test_grey_images_are_still_drawn_anew(tmp_path):
    grey = np.random.default_rng(0).random((60, 16), dtype=np.float32)
    np.savez(tmp_path / "grey.npz", train=grey[:40], validation=grey[40:50], test=grey[50:])
    words = ["-d", str(tmp_path / "grey.npz"), "--images", "20", "--test-images", "5"]
    cut_data.main([*words, "-o", str(tmp_path / "cut")])
    data = datasets.load(str(tmp_path / "cut.npz"))
    one, two = (datasets.observe_each(data, data.train, seed) for seed in (0, 1))
    assert set(np.unique(one)) == {0, 1} and (one != two).any()
    # a binarised pixel's mean is its grey: 20 rows of 16 within five standard errors
    drawn = np.mean([datasets.observe_each(data, data.train, s).mean() for s in range(50)])
    assert abs(drawn - grey[:20].mean()) < 5 * 0.5 / np.sqrt(50 * 320)


def test_a_model_is_trained_and_evaluated_on_it(tmp_path):
    cut_data.main(["--images", "50", "--test-images", "7", "-o", str(tmp_path / "cut")])
    data = jvi.load_dataset(str(tmp_path / "cut.npz"))
    model = jvi.train("sbn:layers=1,units=5", data, "rws", 2, 1, batch_size=25, quiet=True)
    found = jvi.evaluate(model, data.test, 4, ("iwae",))
    assert found.per_image["iwae"].shape == (7,) and found.mean["iwae"] < 0


def test_mistakes_end_in_a_sentence(tmp_path):
    with pytest.raises(SystemExit, match="unknown data set"):
        cut_data.main(["-d", "mnits", "-o", str(tmp_path / "cut")])
    (tmp_path / "cut.npz").write_text("mine")
    with pytest.raises(SystemExit, match="exists"):
        cut_data.main(["-o", str(tmp_path / "cut")])
