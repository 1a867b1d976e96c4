"""Bias on Gamma weights: digamma functions, means that are known, and rows of the file."""

import json

import gamma_bias
import numpy as np
import pytest
from scipy.special import digamma


def test_rows_are_exact_and_drawn_ones_agree(tmp_path):
    line = f"--shape 0.5 --orders 0,1 --samples 4,16 --draws 20000 --seed 3 -o {tmp_path}/a"
    gamma_bias.main(line.split())
    rows = json.loads((tmp_path / "a.json").read_text())
    points = {(r["order"], r["K"]): r for r in rows if r["kind"] == "point"}
    iwae = {k: digamma(k / 2) - np.log(k / 2) for k in (3, 4, 15, 16)}
    for k in (4, 16):
        jvi = k * iwae[k] - (k - 1) * iwae[k - 1]
        assert points[0, k]["exact"] == pytest.approx(iwae[k], rel=1e-12)
        assert points[1, k]["exact"] == pytest.approx(jvi, rel=1e-10)
    for row in points.values():
        drawn = row["drawn"]
        assert abs(drawn["value"] - row["exact"]) < 4 * drawn["samples"] < 0.1
    orders = [r for r in rows if r["kind"] == "order"]
    assert [r["slope"] for r in orders] == pytest.approx([-1, -2], abs=2e-3)
    for row in orders:
        distances = [
            (points[row["order"], k]["drawn"]["value"] - points[row["order"], k]["exact"])
            / points[row["order"], k]["drawn"]["samples"]
            for k in (4, 16)
        ]
        assert row["farthest"] == pytest.approx(max(distances, key=abs))


def test_a_regression_keeps_the_mean_and_says_its_error():
    z = []
    for i in range(300):
        rng = np.random.default_rng(i)
        control, noise = rng.normal(size=(2, 200))
        mean, error = gamma_bias.controlled_mean(3.0 + 5.0 * control + noise, control[None])
        z.append((mean - 3.0) / error)
    assert error == pytest.approx(200**-0.5, rel=0.2)  # of the noise, whatever the control is
    assert abs(np.mean(z)) < 0.2 and 0.88 < np.std(z) < 1.12


@pytest.mark.parametrize("shape", [0.1, 1.0])
def test_controls_have_mean_zero(shape):
    w = np.random.default_rng(0).gamma(shape, size=(5, 200_000))
    controls = gamma_bias.moments(w, shape)
    errors = controls.std(axis=1) / 200_000**0.5
    assert (abs(controls.mean(axis=1)) < 4 * errors).all() and (errors < 0.005).all()


def test_a_power_law_has_its_power():
    assert gamma_bias.slope((10, 1000), (-2.0, 2e-6)) == pytest.approx(-3)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--samples 3", "--samples must be at least 4"),
        ("--slope 64", "--slope must be two numbers, not 64"),
        ("--shape 0", "--shape must be at least 0.001"),
        ("--draws 10", "--draws must be at least 100"),
    ],
)
def test_mistakes(tmp_path, monkeypatch, capsys, line, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        gamma_bias.main(line.split())
    assert stop.value.code == 2 and message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
