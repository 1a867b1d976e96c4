"""What CIWAE's beta becomes where it is learned."""

import json

import learned_beta
import pytest

from jvi.scripts import train


def trained(prefix, estimator, epochs=2):
    options = f"-d digits -e {epochs} --vae-samples 4 --opt adam --lr 1e-2 -b 200 --quiet"
    train.main([*options.split(), "--estimator", estimator, "-o", str(prefix)])


def test_it_begins_at_a_half_and_falls(tmp_path, capsys):
    trained(tmp_path / "a" / "run", "ciwae:beta=learned")
    learned_beta.main(["-o", str(tmp_path / "out"), str(tmp_path / "a" / "run")])
    rows = json.loads((tmp_path / "out.json").read_text())
    assert [(row["run"], row["epoch"], "end" in row) for row in rows] == [
        ("a", 0, False),
        ("a", 1, False),
        ("a", 2, False),
        ("a", 2, True),
    ]
    beta = [row["beta"] for row in rows]
    assert beta[0] == 0.5 and beta == sorted(beta, reverse=True) and 0 < beta[-1] < beta[-2]
    log = json.loads((tmp_path / "a" / "run" / "log").read_text())
    assert beta[1:3] == [each["main/beta"] for each in log]
    # Adam's steps are of at most about the rate, 0.01, and there are 14 of them
    assert beta[-1] > 0.5 - 14 * 0.01
    assert f"{beta[-1]:.6f}" in capsys.readouterr().out


def test_other_runs_end_in_a_sentence(tmp_path):
    out = str(tmp_path / "out")
    with pytest.raises(SystemExit, match="log is missing: train with -o"):
        learned_beta.main(["-o", out, str(tmp_path / "none")])
    trained(tmp_path / "b" / "run", "ciwae:beta=0.5", 1)
    with pytest.raises(SystemExit, match="learned no beta: train it with ciwae:beta=learned"):
        learned_beta.main(["-o", out, str(tmp_path / "b" / "run")])
    assert not (tmp_path / "out.json").exists()
