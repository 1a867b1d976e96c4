"""Pictures of a Bayesian network: that they show what they are given."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from jvi.assessment import bayes_plots
from jvi.assessment.calibration import Score, reliability
from jvi.assessment.predictive import NumberPredictions
from jvi.assessment.pruning import Pruned


@pytest.fixture
def axes():
    return Figure().subplots()


def bands(level):
    grid = np.linspace(0, 1, 5)
    ends = grid - level, grid + level
    return NumberPredictions(grid, *3 * [np.full(5, 0.1)], *ends, None, None, level)


def test_a_curve_has_bands_of_each_level_and_the_data(axes):
    points = np.array([[0.1, 0.2], [0.3, 0.4]])
    both = [bands(0.95), bands(0.5)]
    bayes_plots.draw_bands(axes, both[0].mean, both, points, ("age", "price"))
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("age", "price")
    lowest = [each.get_paths()[0].vertices[:, 1].min() for each in axes.collections]
    np.testing.assert_allclose(lowest, [-0.95, -0.5])
    np.testing.assert_array_equal(axes.lines[0].get_xydata(), points)
    np.testing.assert_allclose(axes.lines[2].get_ydata(), both[1].mean + 0.1)


def test_reliability_is_accuracy_against_confidence(axes):
    probabilities = np.array([[0.9, 0.1], [0.1, 0.9], [0.4, 0.6], [0.55, 0.45]])
    found = reliability(probabilities, np.array([0, 1, 0, 0]), 10)
    bayes_plots.draw_reliability(axes, found)
    known = axes.lines[0].get_xydata()
    known = known[~np.isnan(known).any(axis=1)]
    assert known[-1].tolist() == pytest.approx([0.9, 1.0])
    assert sum(bar.get_height() for bar in axes.patches) == pytest.approx(1)


@pytest.mark.parametrize(
    ("name", "shown"), [("accuracy", [0.1, 0.4]), ("rmse", [0.9, 0.6])], ids=["accuracy", "rmse"]
)
def test_pruning_is_error_against_share(axes, name, shown):
    scores = [{name: Score(value, 0.01)} for value in (0.9, 0.6)]
    curve = [Pruned(share, 1, each) for share, each in zip((0.0, 0.5), scores, strict=True)]
    bayes_plots.draw_pruning(axes, curve)
    np.testing.assert_allclose(axes.lines[0].get_xydata().T, [[0, 0.5], shown])


def test_every_weight_is_in_the_histograms(tmp_path):
    axes = Figure().subplots(1, 2)
    means, ratios = np.array([-1.0, 0, 2]), np.array([10.0, 0, 1])
    bayes_plots.draw_weights(axes, means, ratios)
    assert [sum(bar.get_height() for bar in each.patches) for each in axes] == [3, 3]
    bayes_plots.draw_weights(axes, np.zeros(2), np.zeros(2))
    bayes_plots.picture(tmp_path / "w.png", bayes_plots.draw_weights, means, ratios, panels=2)
    assert (tmp_path / "w.png").read_bytes().startswith(b"\x89PNG")


def test_coverage_is_drawn_against_its_level(axes):
    bayes_plots.draw_coverage(axes, np.array([0.1, 0.5]), np.array([0.2, 0.6]))
    np.testing.assert_array_equal(axes.lines[0].get_xydata(), [[0.1, 0.2], [0.5, 0.6]])
