"""The definition, all subsets one by one, against orders that one can write down; and the rows."""

import json
import math

import jackknife_times
import numpy as np
import pytest


def test_the_definition_of_order_1_is_the_textbooks_jackknife():
    log_w = np.random.default_rng(0).normal(size=(5, 3))
    value, counted = jackknife_times.definition(log_w, 1)
    w = np.exp(log_w)
    without = [np.log(np.delete(w, i, axis=0).mean(axis=0)) for i in range(5)]
    assert value == pytest.approx(5 * np.log(w.mean(axis=0)) - 4 * np.mean(without, axis=0))
    assert counted == 6


@pytest.mark.slow
def test_rows(tmp_path):
    line = f"--orders 1,3 --samples 8,64,128 --most 5000 --repeats 1 -o {tmp_path}/a"
    jackknife_times.main(line.split())
    rows = json.loads((tmp_path / "a.json").read_text())
    points = {(r["order"], r["K"]): r for r in rows if r["kind"] == "point"}
    assert {key: row["terms"] for key, row in points.items()} == {
        (m, k): sum(math.comb(k, j) for j in range(m + 1)) for m in (1, 3) for k in (8, 64, 128)
    }
    assert {key for key, row in points.items() if "definition" in row} == {(1, 8), (1, 64), (3, 8)}
    assert all(row["ours"] > 0 for row in points.values())
    for row in (row for row in rows if row["kind"] == "order"):
        ours = {k: points[row["order"], k]["ours"] for k in (64, 128)}
        assert row["ratio"] == pytest.approx(ours[128] / ours[64] / 2)
        assert row["miscounted"] == 0 and row["apart"] < 1e-9
    lines = [row["line"] for row in rows if row["kind"] == "figure"]
    assert lines == ["order 1"] * 3 + ["order 1, all subsets"] * 2 + ["order 3"] * 3 + [
        "order 3, all subsets"
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--samples 64,8", "--samples must be several, rising, not 64,8"),
        ("--samples 4,8", "--samples must be at least 5"),
    ],
)
def test_mistakes(tmp_path, monkeypatch, capsys, line, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        jackknife_times.main(line.split())
    assert stop.value.code == 2 and message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
