"""Programs on several ranks, for tests."""

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

BESIDE = Path(sys.executable).parent / "mpiexec"  # where the wheel of an MPI library puts it
MPIEXEC = str(BESIDE) if BESIDE.exists() else shutil.which("mpiexec")

needs_mpi = pytest.mark.skipif(
    MPIEXEC is None or find_spec("mpi4py") is None, reason="needs mpi4py and mpiexec"
)


def start(size, *words, **options):
    """A process that is mpiexec of `size` ranks of Python with these words."""
    words = [MPIEXEC, "-n", str(size), sys.executable, *map(str, words)]
    environment = {**os.environ, "PYTHONWARNINGS": "error", **options.pop("env", {})}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL}
    return subprocess.Popen(words, text=True, env=environment, **pipes, **options)


def ended(process):
    """(exit status, stdout, stderr) of what `start` started, within a minute."""
    try:
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    return process.returncode, out, err


def run(size, *words, **options):
    """What the ranks print, without any failure."""
    status, out, err = ended(start(size, *words, **options))
    assert status == 0, err
    return out
