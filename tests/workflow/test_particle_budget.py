"""How particles are split, and gradients' noise beside what another program and brute force say."""

import csv
import json

import numpy as np
import particle_budget
import pytest

import jvi
from jvi.scripts import gradient_snr, train

OPTIONS = "--particles 6 --auxiliary 1,4 -r 16 --points 8"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    prefix = str(tmp_path_factory.mktemp("model") / "run")
    words = "-d digits -e 1 -b 400 --model sbn:layers=1,units=5 --estimator rws --vae-samples 4"
    train.main([*words.split(), "--opt", "adam", "--quiet", "-o", prefix])
    return prefix


def test_every_split_spends_the_same():
    found = particle_budget.splits(10, [1, 7], ["rws"])
    assert found == [
        ("rws", "rws", 10, 0),
        ("ovis-mc", "ovis-mc:aux=1", 9, 1),
        ("ovis-mc", "ovis-mc:aux=7", 3, 7),
    ]
    for _, name, k, s in found:
        assert k + s == 10 and jvi.estimator(name).num_auxiliary == s


@pytest.mark.slow
def test_rows_are_those_of_gradient_snr(model, tmp_path):
    particle_budget.main([*OPTIONS.split(), "-o", str(tmp_path / "own"), model])
    found = json.loads((tmp_path / "own.json").read_text())
    assert found["particles"] == 6 and [row["S"] for row in found["rows"]] == [0, 0, 0, 1, 4]
    assert all(row["milliseconds"] > 0 for row in found["rows"])
    for name in ("vimco:mean=arithmetic", "ovis-mc:aux=4"):
        row = next(r for r in found["rows"] if r["estimator"] == name)
        words = ["-e", name, "-s", str(row["K"]), "-M", "1", "-r", "16", "--points", "8"]
        other = tmp_path / f"other{row['K']}"
        gradient_snr.main([*words, "--quiet", "-o", str(other), model])
        with other.with_suffix(".csv").open(newline="") as file:
            theirs = next(r for r in csv.DictReader(file) if r["parameters"] == "inference")
        for key in ("snr", "snr_error", "variance"):
            assert row[key] == pytest.approx(float(theirs[key]))


@pytest.mark.slow
def test_auxiliary_draws_are_level_with_what_they_tend_to(model):
    """With many draws OVIS-MC has the variance of OVIS γ = 0 at the same K, but for noise."""
    both = [("a", "ovis:gamma=0", 20, 0), ("b", "ovis-mc:aux=400", 20, 400)]
    one, two = particle_budget.measured(model, both, repeats=64, points=8, seed=0)
    assert abs(np.log(one["variance"] / two["variance"])) < 0.4


def test_mistakes_end_in_a_sentence(model, tmp_path):
    out = ["-o", str(tmp_path / "out"), model]
    with pytest.raises(SystemExit, match="--auxiliary 9 leaves the bound fewer than 2 of 10"):
        particle_budget.main(["--auxiliary", "1,9", *out])
    with pytest.raises(SystemExit, match="unknown estimator"):
        particle_budget.main(["-e", "vimko", *out])
