"""The command: what it says, and, slowly, all of it on embedded data."""

import importlib.util
import shutil
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


def test_a_dry_run_needs_no_data(tmp_path, monkeypatch):
    monkeypatch.setenv("JVI_DATA", str(tmp_path))
    lines = []

    def instead(line):
        lines.append(line)
        return subprocess.CompletedProcess(line, 0)

    monkeypatch.setattr(reproduce.subprocess, "run", instead)
    with pytest.raises(SystemExit) as stop:
        reproduce.main(["--dry-run", "--publish", "-w", str(tmp_path / "a b"), "burda2016-table1"])
    assert stop.value.code == 0 and not (tmp_path / "a b").exists()
    assert "--dry-run" in lines[0] and f"work={tmp_path / 'a b'}" in lines[0]
    assert f"pages={ROOT / 'docs' / 'reproduction'}" in lines[0]


def test_what_a_target_needs_beside_data_is_said_before_any_work(tmp_path, monkeypatch):
    monkeypatch.delenv("JVI_CHECKPOINTS", raising=False)
    with pytest.raises(SystemExit, match=r"tightiwae-models needs the variable JVI_CHECKPOINTS"):
        reproduce.main(["-w", str(tmp_path / "work"), "tightiwae-models"])


def test_seconds_on_digits_are_nothing_to_publish(capsys):
    with pytest.raises(SystemExit):
        reproduce.main(["--publish", "-b", "tiny", TINY[0]])
    assert "--publish is for results to show" in capsys.readouterr().err


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
def test_a_page_is_made_anew_where_its_target_says_something_else(tmp_path):
    """In a folder whose name has a space."""
    name, work = "blundell2015-regression", tmp_path / "a b"
    line = [sys.executable, str(ROOT / "scripts/reproduce.py"), "-b", "tiny", "-w", str(work), name]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    copy = shutil.copytree(ROOT / "workflow", tmp_path / "copy")
    target = copy / "config" / "targets" / f"{name}.yaml"
    line = [sys.executable, "-m", "snakemake", "-s", str(copy / "Snakefile"), "--cores", "1"]
    line += ["--nolock", "--dry-run", "--rerun-triggers", "mtime", "params"]
    line += ["--config", f"target={name}", "budget=tiny", f"work={work}"]
    for before, after, rules in (("", "", []), ("source: ", "source: X, ", ["page", "index"])):
        target.write_text(target.read_text().replace(before, after, 1))
        done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True)
        said = done.stdout + done.stderr
        assert done.returncode == 0, said[-4000:]
        made = [each for each in ("measure", "collect", "page", "index") if f"rule {each}:" in said]
        assert made == rules


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
