"""Signal and noise on the toy problem: its gap in closed form, and another program's numbers."""

import csv
import json

import asymptotic_variance
import numpy as np
import pytest

from jvi.evidence.arrays import host
from jvi.scripts import gradient_snr

QUICK = "--points 16 -r 8 -s 2,8 --quiet"


@pytest.mark.parametrize(("deviation", "variance"), [(False, 2 / 3), (True, 4 / 9)])
def test_the_gap_at_the_optimum_is_that_of_the_variance(deviation, variance):
    link, x = asymptotic_variance.problem(deviation, False, 1024, 0.0, 0)
    mean, ln_var = (host(each.array).astype(float) for each in link.infer(x))
    mu, var = host(link.mu.array).astype(float), np.exp(ln_var)
    # E log p(x, z) + entropy of q, by hand, in units that leave log(2 pi) standing twice
    joint = -0.5 * ((x - mean) ** 2 + (mean - mu) ** 2 + 2 * var).sum(1) - 20 * np.log(2 * np.pi)
    elbo = joint + 0.5 * (1 + np.log(2 * np.pi) + ln_var).sum(1)
    gap = (link.log_evidence(x) - elbo).mean()
    assert gap == pytest.approx(10 * (2 * variance - 1 - np.log(2 * variance)), abs=1e-4)


def test_centred_data_have_no_mean():
    link, x = asymptotic_variance.problem(True, True, 64, 0.01, 0)
    np.testing.assert_allclose(x.mean(axis=0), 0, atol=1e-6)
    assert np.abs(host(link.mu.array)).max() < 0.06  # six deviations of what it was moved by


@pytest.mark.slow
def test_the_plain_set_up_is_that_of_gradient_snr(tmp_path):
    own, other = tmp_path / "own", tmp_path / "other"
    asymptotic_variance.main([*QUICK.split(), "-e", "iwae ovis:gamma=0", "-o", str(own)])
    words = [*QUICK.split(), "-M", "1", "-p", "/encode/b", "-e", "iwae ovis:gamma=0"]
    gradient_snr.main([*words, "-o", str(other)])
    with other.with_suffix(".csv").open(newline="") as file:
        theirs = {_key(row): float(row["snr"]) for row in csv.DictReader(file)}
    rows = json.loads(own.with_suffix(".json").read_text())["rows"]
    ours = {_key(row): row["snr"] for row in rows if "snr" in row}
    assert len(ours) == 2 * 3 * 2 and ours == pytest.approx(theirs)


def _key(row):
    return row["estimator"], row["parameters"].replace("/encode/", ""), int(row["K"])


def test_a_narrower_q_gives_other_numbers(tmp_path):
    paths = [tmp_path / name for name in ("wide", "narrow")]
    for path, more in zip(paths, ([], ["--deviation"]), strict=True):
        asymptotic_variance.main([*QUICK.split(), "-e", "ovis:gamma=0", *more, "-o", str(path)])
    wide, narrow = (json.loads(p.with_suffix(".json").read_text())["rows"][0] for p in paths)
    assert wide["K"] == narrow["K"] and wide["variance"] != narrow["variance"]


def test_slopes_of_power_laws():
    rows = [
        {"estimator": name, "parameters": "b", "K": k, "snr": k**power, "snr_error": 0.01}
        for name, power in (("up", 0.5), ("down", -0.5))
        for k in (4, 16, 64)
    ]
    none = {"estimator": "none", "parameters": "b", "K": 4, "snr": 0.1, "snr_error": 1.0}
    found = asymptotic_variance.slopes([*rows, none])
    assert [each["estimator"] for each in found] == ["up", "down"]
    assert [each["slope"] for each in found] == pytest.approx([0.5, -0.5])


def test_mistakes_end_in_a_sentence(tmp_path):
    out = ["-o", str(tmp_path / "out")]
    with pytest.raises(SystemExit, match="unknown estimator"):
        asymptotic_variance.main([*QUICK.split(), "-e", "ovi", *out])
    (tmp_path / "out.json").write_text("mine")
    with pytest.raises(SystemExit, match="exists"):
        asymptotic_variance.main([*QUICK.split(), *out])
