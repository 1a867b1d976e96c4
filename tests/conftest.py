"""Fixtures that several test files share."""

import os
from pathlib import Path

import matplotlib
import pytest

import jvi  # noqa: F401  before Chainer, which needs its shim

matplotlib.use("Agg")

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared():
    """The developers' folder of MNIST and original models, which users do not have."""
    path = Path(os.environ.get("JVI_SHARED", ROOT.parent / "shared"))
    if not (path / "legacy").is_dir():
        pytest.skip(f"no folder of original models at {path} (set JVI_SHARED)")
    return path
