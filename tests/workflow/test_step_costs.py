"""Memory and time of steps: of known arrays, in processes of their own, and errors of medians."""

import json
import statistics

import numpy as np
import pytest
import step_costs

OPTIONS = "--model sbn:layers=1,units=8 --pixels 16 -b 2 -r 2 -s 4,8 --quiet"


def test_the_error_of_a_median_is_that_of_many_medians():
    rng = np.random.default_rng(0)
    times = 1e-3 * rng.normal(5.0, 1.0, (4000, 25))
    spread = 1e3 * np.std([statistics.median(each) for each in times])
    said = np.mean([step_costs._error_of_median(list(each)) for each in times[:1000]])
    assert said == pytest.approx(spread, rel=0.06)
    assert step_costs._error_of_median([1.0]) is None


def test_rows_are_relative_to_the_first_estimator(monkeypatch):
    times = {("a", 2): 1.0, ("b", 2): 3.0, ("a", 4): 2.0, ("b", 4): 5.0}

    def instead(function, model, name, k, *sizes):
        return {"milliseconds": times[name, k]}

    monkeypatch.setattr(step_costs, "in_a_process", instead)
    rows = step_costs.measured("sbn", ["a", "b"], [2, 4], 1, 1, 1)
    assert [row["relative"] for row in rows] == [1.0, 3.0, 1.0, 2.5]


def _peaks(megabytes):
    """Growth of the peak by an array of this size, as the measure takes it."""
    before = step_costs.own_peak()
    held = np.ones(megabytes * 2**20, np.uint8)
    return step_costs.own_peak() - before + 0.0 * held[0]


@pytest.mark.slow
def test_a_peak_is_that_of_its_own_process():
    large, small = (step_costs.in_a_process(_peaks, size) for size in (300, 30))
    assert large == pytest.approx(300, abs=20) and small == pytest.approx(30, abs=20)


@pytest.mark.slow
def test_the_command_writes_rows(tmp_path):
    words = [*OPTIONS.split(), "-e", "rws ovis-mc:aux=3", "-o", str(tmp_path / "out")]
    step_costs.main(words)
    rows = json.loads((tmp_path / "out.json").read_text())["rows"]
    assert [(r["estimator"], r["K"]) for r in rows] == [
        ("rws", 4),
        ("ovis-mc:aux=3", 4),
        ("rws", 8),
        ("ovis-mc:aux=3", 8),
    ]
    for row in rows:
        assert row["milliseconds"] > 0 and row["megabytes"] >= 0
        assert row["epoch"] == pytest.approx(row["milliseconds"] / 1e3 * 50_000 / 2)


def test_mistakes_end_before_any_work(tmp_path):
    out = ["-o", str(tmp_path / "out")]
    with pytest.raises(SystemExit, match="unknown estimator"):
        step_costs.main([*OPTIONS.split(), "-e", "vimko", *out])
    with pytest.raises(SystemExit, match="choose an estimator for discrete latents"):
        step_costs.main([*OPTIONS.split(), "-e", "iwae", *out])
