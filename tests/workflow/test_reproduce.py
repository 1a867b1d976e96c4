"""The command: what it says, and, slowly, all of it on embedded data."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
import targets

from jvi.scripts import reproduce

ROOT = Path(__file__).resolve().parent.parent.parent
TINY = [name for name in targets.names() if "tiny" in targets.read(name)["budgets"]]


def test_list_names_all_targets(capsys):
    reproduce.main(["--list"])
    said = capsys.readouterr().out
    assert all(name in said for name in targets.names())


def test_an_unknown_target_lists_the_known(capsys):
    with pytest.raises(SystemExit) as stop:
        reproduce.main(["nowozin2019"])
    assert stop.value.code == 2
    assert "unknown target 'nowozin2019': choose from " in capsys.readouterr().err


def test_an_unknown_budget_and_profile_too(capsys, tmp_path):
    with pytest.raises(SystemExit):
        reproduce.main(["-b", "large", TINY[0]])
    assert "'large' is unknown: choose from full, small, tiny" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        reproduce.main(["-b", "tiny", "-w", str(tmp_path), "--profile", "moon", TINY[0]])
    assert "--profile: 'moon'" in capsys.readouterr().err


def test_missing_data_are_said_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setenv("JVI_DATA", str(tmp_path))
    with pytest.raises(SystemExit, match=r"burda2016-table1 needs mnist: .*mnist"):
        reproduce.main(["-w", str(tmp_path / "work"), "burda2016-table1"])
    assert not (tmp_path / "work").exists()


def test_without_snakemake_it_says_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setattr(reproduce, "find_spec", lambda name: None)
    with pytest.raises(SystemExit, match="Snakemake is not installed: pip install"):
        reproduce.main(["-w", str(tmp_path / "work"), "-b", "tiny", TINY[0]])


def test_outside_of_a_clone_it_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(reproduce, "WORKFLOW", tmp_path)
    with pytest.raises(SystemExit, match="clone the repository"):
        reproduce.main(["--list"])


def test_status_before_anything_was_run(tmp_path, capsys):
    reproduce.main(["--status", "-b", "tiny", "-w", str(tmp_path / "work"), TINY[0]])
    count = len(targets.jobs(TINY[0], "tiny"))
    assert capsys.readouterr().out.count(": queued") == count


def test_two_at_once_in_one_folder_are_refused(tmp_path):
    from jvi.files import locked

    with locked(tmp_path, ""), pytest.raises(SystemExit, match="another reproduce works in"):
        reproduce.main(["-b", "tiny", "-w", str(tmp_path), TINY[0]])


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("snakemake") is None, reason="Snakemake is missing")
def test_the_tiny_set_runs_from_the_first_to_the_last_page(tmp_path):
    line = [sys.executable, str(ROOT / "scripts/reproduce.py"), "-b", "tiny", "-w", str(tmp_path)]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:] + done.stdout[-2000:]
    assert sorted(p.stem for p in (tmp_path / "pages").glob("*.md") if p.stem != "index") == TINY
    again = subprocess.run(line, cwd=ROOT, capture_output=True, text=True)
    assert "Nothing to be done" in again.stderr + again.stdout


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("snakemake") is None, reason="Snakemake is missing")
@pytest.mark.parametrize("budget", ["full", "small"])
def test_other_budgets_in_a_dry_run(tmp_path, budget):
    """Without data: the rule that looks for them comes first."""
    wanted = ",".join(n for n in targets.names() if budget in targets.read(n)["budgets"])
    line = [
        sys.executable,
        "-m",
        "snakemake",
        "-s",
        str(ROOT / "workflow/Snakefile"),
        "--cores",
        "1",
    ]
    line += ["--nolock", "--dry-run", "--quiet", "all", "--config", f"target={wanted}"]
    config = [f"budget={budget}", f"work={tmp_path}"]
    done = subprocess.run([*line, *config], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
