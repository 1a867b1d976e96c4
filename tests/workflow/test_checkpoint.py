"""Checkpoints of others, found by their name."""

from collections import OrderedDict

import checkpoint
import pytest

import jvi

SHAPES = {"fc11": (5, 9), "fc12": (5, 5), "fc21": (2, 5), "fc22": (2, 5)}
DECODER = {"fc31": (5, 2), "fc32": (5, 5), "fc4": (9, 5)}


@pytest.mark.slow
@pytest.mark.parametrize("ending", [".pt", ".state.pt"])
def test_both_endings_are_converted_and_again(ending, tmp_path, monkeypatch):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    state = OrderedDict()
    for part, shapes in (("encoder", SHAPES), ("decoder", DECODER)):
        for name, shape in shapes.items():
            state[f"{part}.{name}.weight"] = torch.ones(shape)
            state[f"{part}.{name}.bias"] = torch.zeros(shape[0])
    torch.save(state, tmp_path / f"model_MIVAE_M8_k8{ending}")
    monkeypatch.setenv("JVI_CHECKPOINTS", str(tmp_path))
    for _ in range(2):  # as after an interruption
        checkpoint.main(["model_MIVAE_M8_k8", str(tmp_path / "out" / "run")])
    meta = jvi.load(tmp_path / "out" / "run").meta
    assert meta["--estimator"] == "miwae:groups=8" and meta["--vae-samples"] == "64"


@pytest.mark.parametrize("folder", [None, "elsewhere"])
def test_without_them_a_sentence_says_where_they_are_from(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("JVI_CHECKPOINTS", raising=False)
    if folder:
        monkeypatch.setenv("JVI_CHECKPOINTS", folder)
    (tmp_path / "model_MIVAE_M8_k8.pt").touch()  # not taken from the folder one happens to be in
    with pytest.raises(SystemExit, match=r"madhubabuv/TightIWAE.*tightiwae\.md") as caught:
        checkpoint.main(["model_MIVAE_M8_k8", "out/run"])
    assert "\n" not in str(caught.value) and not (tmp_path / "out").exists()
