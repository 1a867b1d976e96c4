"""The command that fits slopes: known power laws, small runs, files, mistakes, and the papers'."""

import csv
import json
import math
import shlex

import numpy as np
import pytest

import jvi
from jvi.scripts.gradient_snr import main, slope

SMALL = "--points 4 -r 8 -s 2,4 -M 1,2 --quiet"  # a second or two


def rows_of(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def assert_slopes_are_those_of(rows, written):
    """Every point once more, and the fit to each line of them, in a list."""
    points = [row for row in written if "against" not in row]
    assert [{k: str(v) for k, v in p.items()} for p in points] == rows
    slopes = [row for row in written if "against" in row]
    assert len(slopes) == 2 * 2 * len({r["parameters"] for r in rows})
    for each in slopes:
        own = [p for p in points if all(p[k] == each[k] for k in ("estimator", "parameters"))]
        own = [p for p in own if p["M" if each["against"] == "K" else "K"] in (1, 2)]
        line = [p for p in own if p["M"] == 1] if each["against"] == "K" else own
        found, error = slope(*([p[c] for p in line] for c in (each["against"], "snr", "snr_error")))
        expected = (None, None) if math.isnan(found) else (found, error)
        assert (each["snr_slope"]["value"], each["snr_slope"]["samples"]) == expected


@pytest.mark.parametrize("power", [-0.5, 0.5])
def test_power_laws_are_found_within_their_errors(power):
    rng, sizes, z = np.random.default_rng(0), 4.0 ** np.arange(1, 6), []
    for _ in range(400):
        truth = sizes**power
        errors = truth * rng.uniform(0.01, 0.1, 5)
        found, error = slope(sizes, truth + errors * rng.normal(size=5), errors)
        z.append((found - power) / error)
    assert abs(np.mean(z)) < 0.2 and 0.9 < np.std(z) < 1.1


def test_what_is_no_signal_is_left_out_of_a_fit():
    assert slope([1, 4, 16, 64], [1, 2, 4, 0.1], [0.1, 0.1, 0.1, 0.06])[0] == pytest.approx(0.5)
    assert all(map(math.isnan, slope([1, 4, 16], [1, 0.1, -0.1], [0.1, 0.1, 0.1])))


def test_a_small_run_writes_every_point(tmp_path, capsys):
    main(shlex.split(f"{SMALL} -o {tmp_path}/a -e 'iwae ovis:gamma=0' -p /encode/b,/mu"))
    rows = rows_of(tmp_path / "a.csv")
    keys = {(r["estimator"], r["parameters"], r["K"], r["M"]) for r in rows}
    groups, sizes = ("model", "inference", "/encode/b,/mu"), (("2", "1"), ("4", "1"), ("2", "2"))
    assert keys == {(e, g, *s) for e in ("iwae", "ovis:gamma=0") for g in groups for s in sizes}
    assert all(math.isfinite(float(r[name])) for r in rows for name in ("snr", "snr_error", "dsnr"))
    assert_slopes_are_those_of(rows, json.loads((tmp_path / "a.json").read_text()))
    assert {(r["points"], r["repeats"]) for r in rows} == {("4", "8")}
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert capsys.readouterr().out == ""
    main(shlex.split(f"{SMALL.removesuffix('--quiet')} -o {tmp_path}/b -e iwae"))
    out = capsys.readouterr().out
    assert "slope of log SNR" in out and "K = 4" in out and f"slopes: {tmp_path}/b.json" in out
    first = [r for r in rows if r["estimator"] == "iwae" and "," not in r["parameters"]]
    assert rows_of(tmp_path / "b.csv") == first  # the same seed, whatever else is measured


def test_a_trained_model(tmp_path, legacy):
    num_pixels = jvi.load(legacy("tiny_vae")).num_pixels
    rows = np.random.default_rng(0).random((40, num_pixels)) < 0.5
    np.savez(tmp_path / "rows.npz", x=rows.astype(np.float32))
    options = f"-e 'dreg stl' -d {tmp_path}/rows.npz {legacy('tiny_vae')}"
    main(shlex.split(f"{SMALL} -o {tmp_path}/c {options}"))
    assert {r["parameters"] for r in rows_of(tmp_path / "c.csv")} == {"model", "inference"}


@pytest.mark.parametrize(
    ("line", "status", "message"),
    [
        ("-f mnist", 2, "--figure must be rainforth or lievin, not 'mnist'"),
        ("-e nonsense", 2, "--estimators: unknown estimator 'nonsense'"),
        ("-e miwae:groups=2 -s 3", 2, "--estimators: miwae:groups must divide the 3 samples"),
        ("-e ovis -s 1", 2, "--estimators: ovis needs at least 2 samples"),
        ("-s 4,2", 2, "--samples must be in rising order, not 4,2"),
        ("-M 4,1", 2, "--estimates must be in rising order"),
        ("-s 0", 2, "--samples must be at least 1"),
        ("-r 7", 2, "--repeats must be at least 8"),
        ("-p /nu", 2, "--parameters: there is no '/nu': choose from /"),
        ("-d mnist", 2, "--dataset has no effect here: it is for a model"),
        ("--noise 0.1 m", 2, "--noise has no effect here: it is for the toy problem"),
        ("nowhere", 1, "nowhere"),
        ("-o taken", 1, "-o: taken.csv exists"),
    ],
)
def test_mistakes_are_found_before_the_work(tmp_path, monkeypatch, capsys, line, status, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken.csv").write_text("precious")
    with pytest.raises(SystemExit) as stop:
        main(shlex.split(line))
    found = capsys.readouterr().err or str(stop.value)
    assert message in found
    assert (stop.value.code == 2) == (status == 2)
    assert [path.name for path in tmp_path.iterdir()] == ["taken.csv"]


@pytest.mark.slow
def test_slopes_are_the_papers(tmp_path):
    """Within four standard errors, and 0.12 that the limit of large K is away."""
    line = "--points 1024 -r 48 -s 8,32,128 -M 1,8 -e 'iwae ciwae:beta=0.5 dreg ovis:gamma=0'"
    main(shlex.split(f"{line} --quiet -o {tmp_path}/a"))
    rows = rows_of(tmp_path / "a.csv")

    def fitted(name, group, axis):
        own = [r for r in rows if (r["estimator"], r["parameters"]) == (name, group)]
        own = [r for r in own if (r["M"] == "1" if axis == "K" else r["K"] == "8")]
        return slope(*([float(r[c]) for r in own] for c in (axis, "snr", "snr_error")))

    expected = {"iwae": -0.5, "ciwae:beta=0.5": 0.5, "dreg": 0.5, "ovis:gamma=0": 0.5}
    for name, power in expected.items():
        found, error = fitted(name, "inference", "K")
        assert abs(found - power) < 4 * error + 0.12, (name, found, error)
        for group in ("model", "inference"):
            found, error = fitted(name, group, "M")
            assert abs(found - 0.5) < 4 * error, (name, group, found, error)
