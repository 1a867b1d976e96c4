"""Bands of the regression curve: widths inside and outside of the data, and their coverage."""

import json
import math

import numpy as np
import pytest
import regression_bands
from regression_bands import curve, grid, lines, parts, widths

from jvi.assessment.predictive import NumberPredictions
from jvi.datasets.blundell_curve import blundell_curve

Z = {0.95: 1.959964, 0.5: 0.67449}
WORDS = "--hidden 5 -e 2 -b 400 -s 10 -o new"


@pytest.fixture
def known(monkeypatch):
    """Predictions N(x, 0.1²) inside of the data and N(x, 0.3²) outside, a third of it weights."""

    def predictions(network, x, y, draws, root, level):
        std = np.where((x >= 0) & (x <= 0.5), 0.1, 0.3)
        half = Z[level] * std
        rest = std * math.sqrt(8) / 3
        return NumberPredictions(x, std, rest, std / 3, x - half, x + half, None, None, level)

    monkeypatch.setattr(regression_bands, "predictions", predictions)


def test_widths_are_those_of_known_gaussians(known):
    found = widths(None, 10, 0)
    assert found["width-95%"] == pytest.approx(
        {"inside": 2 * 1.959964 * 0.1, "outside": 2 * 1.959964 * 0.3, "ratio": 3}
    )
    assert found["width-50%"]["inside"] == pytest.approx(2 * 0.67449 * 0.1)
    assert found["weight-std"] == pytest.approx({"inside": 0.1 / 3, "outside": 0.1, "ratio": 3})


def test_lines_cross_the_whole_grid(known):
    rows = lines(None, 10, 0)
    assert len(rows) == 6 * len(grid())
    at_half = {row["line"]: row["y"] for row in rows if row["x"] == 0.5}
    assert at_half["mean"] == 0.5 and at_half["97.5%"] == pytest.approx(0.6959964)
    assert at_half["25%"] == pytest.approx(0.5 - 0.067449)
    assert at_half["without noise"] == pytest.approx(0.5)  # sin π + sin 2π is zero


def test_the_curve_is_that_of_the_data():
    """Residuals are the slope times a noise of 0.02 where the curve is steep."""
    table = blundell_curve()
    x, y = table.features[:, 0].astype(float), table.target.astype(float)
    slope = (curve(x, 1e-6) - curve(x, -1e-6)) / 2e-6
    steep = abs(slope) > 4
    noise = ((y - curve(x)) / slope)[steep]
    assert len(noise) > 190
    # its error is 0.02 / √(2 · 196), 0.001
    assert np.std(noise) == pytest.approx(0.02, abs=0.003)


def test_parts_are_rows():
    assert parts({"a": {"inside": 1, "outside": 2}, "b": {"inside": 3}}) == [
        {"part": "inside", "a": 1, "b": 3},
        {"part": "outside", "a": 2},
    ]


def test_the_command_goes_on_with_its_network(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    regression_bands.main(WORDS.split())
    rows = json.loads((tmp_path / "new.json").read_text())["rows"]
    assert [row["part"] for row in rows[:3]] == ["inside", "outside", "ratio"]
    assert 0 <= rows[0]["coverage-95%"]["value"] <= 1
    log = json.loads((tmp_path / "new-network" / "log").read_text())
    regression_bands.main(f"{WORDS} -e 3 --overwrite".replace("-e 2", "").split())
    longer = json.loads((tmp_path / "new-network" / "log").read_text())
    assert longer[:2] == log and longer[-1]["epoch"] == 3
    with pytest.raises(SystemExit, match=r"new.json exists"):
        regression_bands.main(WORDS.split())
