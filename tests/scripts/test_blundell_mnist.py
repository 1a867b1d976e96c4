"""The comparison of a Bayesian network with plain ones."""

import csv
import json

import numpy as np
import pytest

from jvi.datasets.labelled import labelled
from jvi.engine.random import stream
from jvi.scripts import blundell_mnist
from jvi.training.perceptron import Perceptron, error_of, fitted


@pytest.fixture(scope="module")
def rows():
    return labelled("digits").data.train[:300]


def test_all_three_learn_and_what_is_pruned_is_told(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = "-d digits -e 6 -b 32 --hidden 30 --lr 5e-3 -s 3 --train-images 600 --quiet -o new"
    blundell_mnist.main(words.split())
    printed = capsys.readouterr().out
    with open("new.csv", newline="") as file:
        points = list(csv.DictReader(file))
    assert len(points) == 3 * 6 + 4 and (tmp_path / "new.png").stat().st_size > 10_000
    rows = json.loads((tmp_path / "new.json").read_text())["rows"]
    for row, point in zip(rows, points, strict=True):
        assert (row["method"], row["pruned"]) == (point["method"], float(point["pruned"]))
        assert row["error"]["value"] == float(point["error"])
        assert row["error"]["images"] == float(point["standard_error"])
    # of each method one whole network at the end, and the four pruned ones
    assert sum(row["stage"] == "end" for row in rows) == 3 + 4
    for method in ("Bayes by Backprop", "plain", "dropout"):
        curve = [p for p in points if p["method"] == method and float(p["pruned"]) == 0]
        assert [int(p["epoch"]) for p in curve] == list(range(1, 7))
        errors = [float(p["error"]) for p in curve]
        assert errors[-1] < 40  # guesses among ten classes have 90
        assert f"{errors[-1]:.2f} ±" in printed
    assert [float(p["pruned"]) for p in points if float(p["pruned"])] == [0.5, 0.75, 0.95, 0.98]


def test_dropout_of_nothing_is_none_and_what_is_left_has_the_same_mean(rows):
    features = rows[:, :-1]
    plain, half = (Perceptron((64, 20, 10), stream(0, "order"), share) for share in (0.0, 0.5))
    for a, b in zip(plain.params(), half.params(), strict=True):
        np.testing.assert_array_equal(a.array, b.array)
    rng = np.random.default_rng(0)
    np.testing.assert_array_equal(plain(features, rng).array, plain(features).array)
    drawn = np.array([half(features, rng).array for _ in range(400)])
    error = drawn.std(axis=0) / np.sqrt(len(drawn))
    z = (drawn.mean(axis=0) - half(features).array) / np.maximum(error, 1e-6)
    assert 0.9 < z.std() < 1.1 and abs(z).max() < 5.5


def test_a_plain_network_has_the_same_numbers_for_the_same_seed(rows):
    found = []
    for _ in range(2):
        link = Perceptron((64, 12, 10), stream(3, "initial parameters"), 0.3)
        curve = [error_of(link, rows).mean() for _ in fitted(link, rows, "adam", 1e-2, 50, 4, 3)]
        found.append(curve)
    assert found[0] == found[1] and found[0][-1] < 0.5 * found[0][0]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--hidden x", "--hidden: bayes-mlp:hidden must be as 50"),
        ("--opt sgdd", "--opt: unknown optimizer 'sgdd'"),
        ("-d nothing", "--dataset: unknown data set 'nothing'"),
        ("--dropout 1", "--dropout must be at most 0.99"),
    ],
)
def test_mistakes_are_one_sentence_and_write_nothing(tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        blundell_mnist.main(words.split())
    assert message in capsys.readouterr().err and not list(tmp_path.iterdir())
