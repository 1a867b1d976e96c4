"""Profiles of Snakemake: what they say, and dry runs with each where its plugins are installed."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
PROFILES = ROOT / "workflow" / "profiles"

# What each needs beside Snakemake.
PLUGINS = {
    "default": [],
    "slurm": ["snakemake_executor_plugin_slurm"],
    "kubernetes": ["snakemake_executor_plugin_kubernetes", "snakemake_storage_plugin_fs"],
}
REMOTE = ["slurm", "kubernetes"]


def profile(name):
    return yaml.safe_load((PROFILES / name / "config.yaml").read_text(encoding="utf-8"))


def test_there_is_one_for_each_place():
    assert sorted(path.name for path in PROFILES.iterdir()) == sorted(PLUGINS)


@pytest.mark.parametrize("name", PLUGINS)
def test_a_failed_job_stops_no_other_and_a_new_script_makes_none_anew(name):
    found = profile(name)
    assert found["keep-going"] and found["rerun-incomplete"]
    assert set(found["rerun-triggers"]) == {"mtime", "params"}


def test_the_default_one_is_no_more_than_holds_everywhere():
    """Snakemake lays it over any other."""
    assert {"executor", "cores", "jobs", "retries", "default-resources"}.isdisjoint(
        profile("default")
    )
    for name in REMOTE:
        found = profile(name)
        assert all(found[key] == value for key, value in profile("default").items())


@pytest.mark.parametrize("name", REMOTE)
def test_remote_jobs_have_limits_and_are_queued_again(name):
    found = profile(name)
    assert found["executor"] == name and found["jobs"] >= 1 and found["retries"] >= 1
    assert found["default-resources"]["mem_mb"] >= 1000


def test_checkpoints_outlive_pods():
    """The volume that is mounted is where the storage is, too."""
    found = profile("kubernetes")
    [volume] = found["kubernetes-persistent-volumes"]
    assert volume.partition(":")[2] == found["default-storage-prefix"]


@pytest.mark.slow
@pytest.mark.parametrize("name", PLUGINS)
def test_dry_run(name, tmp_path):
    missing = [each for each in ["snakemake", *PLUGINS[name]] if find_spec(each) is None]
    if missing:
        pytest.skip(f"{' and '.join(missing)} not installed")
    line = [sys.executable, "-m", "snakemake", "-s", str(ROOT / "workflow" / "Snakefile")]
    line += ["--profile", str(PROFILES / name), "--directory", str(tmp_path), "--dry-run"]
    if name == "kubernetes":
        line += ["--default-storage-prefix", str(tmp_path / "storage")]
    (tmp_path / "storage").mkdir()
    line += ["--config", "budget=small", "target=blundell2015-regression"]
    done = subprocess.run(line, capture_output=True, text=True, cwd=ROOT)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said[-2000:]
    assert "rule measure:" in said and "rule page:" in said
    assert ("mem_mb=4000" in said) == (name != "default")
