"""Converting and inspecting models, as their users do: from the command line."""

import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import h5py
import numpy as np
import pytest

from jvi.models.files import read_model
from jvi.scripts import convert, inspect_model, train

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "tests" / "data"
FORMS = ["a.h5", "a.safetensors", "a.npz", "a"]


def same_model(a, b):
    assert (a.meta, a.vae_type) == (b.meta, b.vae_type)
    assert a.parameters.keys() == b.parameters.keys()
    assert all(a.parameters[n].tobytes() == b.parameters[n].tobytes() for n in a.parameters)


@pytest.mark.parametrize("first", FORMS)
@pytest.mark.parametrize("second", FORMS)
def test_every_form_converts_to_every_other_without_loss(first, second, tmp_path):
    name = "tiny_jvielbo" if first in FORMS[:2] else "tiny_iwae"
    convert.main([str(DATA / name), str(tmp_path / "1" / first)])
    convert.main([str(tmp_path / "1" / first), str(tmp_path / "2" / second)])
    same_model(read_model(DATA / name), read_model(tmp_path / "2" / second))
    assert not [path for path in tmp_path.rglob(".*")]


@pytest.mark.parametrize(
    "spec", ["burda:layers=2", "sbn:layers=2,units=3", "mlp:hidden=3,latent=1"]
)
def test_models_of_every_architecture_convert_without_loss(spec, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    estimator = "reinforce" if spec.startswith("sbn") else "iwae"
    options = f"--model {spec} --estimator {estimator} --vae-samples 2 --opt adam -o m"
    train.main([*options.split(), "-b", "1000", "-e", "1", "--quiet"])
    forms = ["m", "1/a.h5", "2/a.npz", "3/a.safetensors", "4/a.safetensors", "5/a"]
    for source, target in pairwise(forms):
        convert.main([*(["--torch"] if target[0] == "4" else []), source, target])
        same_model(read_model("m"), read_model(target))
    capsys.readouterr()
    convert.main(["--summary", "4/a.safetensors"])
    name, _, sizes = spec.partition(":")
    printed = capsys.readouterr().out
    assert f"{name}:pixels=64,{sizes}" in printed and "checksum" not in printed


def described(path):
    """All that save_hdf5 decided about each dataset of an HDF5 file."""
    found = {}

    def note(name, item):
        if isinstance(item, h5py.Dataset):
            found[name] = (
                item.shape,
                item.dtype,
                item.chunks,
                item.compression,
                item.compression_opts,
                item.shuffle,
                item[()].tobytes(),
            )

    with h5py.File(path) as file:
        file.visititems(note)
    return found


def test_hdf5_is_what_save_hdf5_wrote(tmp_path):
    convert.main([str(DATA / "tiny_iwae"), str(tmp_path / "a.h5")])
    assert described(tmp_path / "a.h5") == described(DATA / "tiny_iwae.h5")


def test_keys_and_types_of_a_snapshot_are_the_originals(tmp_path):
    for name in ("tiny_iwae", "tiny_jvielbo"):
        convert.main([str(DATA / name), str(tmp_path / name)])
        paths = [folder / name / "snapshot_bestvalobj" for folder in (tmp_path, DATA)]
        with np.load(paths[0]) as ours, np.load(paths[1]) as original:
            assert len(ours.files) == 14
            for key in ours.files:
                assert ours[key].dtype == original[key].dtype
                assert np.array_equal(ours[key], original[key])
        meta = tmp_path / f"{name}.meta.yaml"
        assert meta.read_text() == (DATA / f"{name}.meta.yaml").read_text()


def test_a_model_without_meta_file_converts(tmp_path, capsys):
    (tmp_path / "a.h5").write_bytes((DATA / "tiny_iwae.h5").read_bytes())
    for out in ("b.h5", "b.safetensors", "c"):
        convert.main([str(tmp_path / "a.h5"), str(tmp_path / out)])
    assert read_model(tmp_path / "b.safetensors").meta == {}
    assert not list(tmp_path.glob("*.yaml"))
    assert "note: " in capsys.readouterr().out


def test_nothing_is_overwritten_unless_told(tmp_path, capsys):
    out = tmp_path / "a.h5"
    convert.main([str(DATA / "tiny_iwae"), str(out)])
    before = out.read_bytes()
    for _ in range(2):
        with pytest.raises(SystemExit, match="exists: name another file or give --overwrite"):
            convert.main([str(DATA / "tiny_vae"), str(out)])
        assert out.read_bytes() == before
        (tmp_path / "a.meta.yaml").unlink(missing_ok=True)
    convert.main(["--overwrite", str(DATA / "tiny_jvielbo"), str(out)])
    same_model(read_model(out), read_model(DATA / "tiny_jvielbo"))


def test_a_model_beside_its_meta_file_keeps_it(tmp_path):
    for ending in (".h5", ".meta.yaml"):
        (tmp_path / f"a{ending}").write_bytes((DATA / f"tiny_iwae{ending}").read_bytes())
    meta = tmp_path / "a.meta.yaml"
    meta.write_text("# mine\n" + meta.read_text())
    convert.main([str(tmp_path / "a"), str(tmp_path / "a.npz")])
    assert meta.read_text().startswith("# mine")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["none", "b.h5"], "none: no model there"),
        (["a.h5", "a.h5"], "is the file to convert"),
        (["--overwrite", "a.h5", "a.h5"], "is the file to convert"),
        (["--torch", "a.h5", "b.npz"], "--torch writes .safetensors"),
        (["bad.h5", "b.npz"], "bad.h5: "),
        (["--summary", "bad.h5"], "bad.h5: "),
    ],
)
def test_mistakes_end_in_one_line_and_write_nothing(arguments, reason, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = (DATA / "tiny_iwae.h5").read_bytes()
    Path("a.h5").write_bytes(data)
    Path("bad.h5").write_bytes(data[:60000])
    with pytest.raises(SystemExit) as caught:
        convert.main(arguments)
    assert reason in str(caught.value) and "\n" not in str(caught.value)
    assert {path.name for path in tmp_path.iterdir()} == {"a.h5", "bad.h5"}
    assert Path("a.h5").read_bytes() == data


# --- PyTorch --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["tiny_iwae", "tiny_jvielbo", "tiny_vae"])
def test_the_module_in_the_documentation_computes_the_original_log_weights(name, tmp_path):
    torch = pytest.importorskip("torch")
    source = (ROOT / "docs" / "files.md").read_text().split("```python\n")[1].split("```")[0]
    exec(source, documented := {})
    out = tmp_path / "a.safetensors"
    convert.main(["--torch", str(DATA / name), str(out)])
    with np.load(DATA / f"{name}.golden.npz") as golden:
        x, eps = (torch.from_numpy(golden[key].astype(np.float32)) for key in ("x", "eps"))
        with torch.no_grad():
            log_w = documented["load"](out)(x, eps).numpy()
        np.testing.assert_allclose(log_w, golden["log_w"], rtol=1e-5)


def test_names_for_pytorch_are_read_back(tmp_path):
    convert.main(["--torch", str(DATA / "tiny_iwae"), str(tmp_path / "a.safetensors")])
    same_model(read_model(tmp_path / "a.safetensors"), read_model(DATA / "tiny_iwae"))


# --- inspecting -----------------------------------------------------------------------------------


def test_inspecting_prints_what_the_files_hold(capsys):
    inspect_model.main([str(DATA / "tiny_jvielbo")])
    printed = capsys.readouterr().out
    for text in (
        "jvi+elbo",
        "mlp:pixels=784,hidden=8,latent=2",
        "1 of 1, snapshot taken at iteration 98",
        "351.627304",
        "smorms3",
        "--lr=1.0e-3",
        "no doubts",
    ):
        assert text in printed
    rows = [line.split() for line in printed.splitlines() if line.startswith("encode/qlin_mu/b")]
    values = read_model(DATA / "tiny_jvielbo").parameters["encode/qlin_mu/b"]
    assert rows[0][1] == "2"
    statistics = [values.min(), values.mean(), values.max(), values.std()]
    np.testing.assert_allclose([float(text) for text in rows[0][2:]], statistics, rtol=1e-3)


def test_the_summary_of_convert_is_what_inspect_prints(capsys):
    inspect_model.main([str(DATA / "tiny_vae")])
    printed = capsys.readouterr().out
    convert.main(["--summary", str(DATA / "tiny_vae")])
    assert capsys.readouterr().out == printed


def test_inspecting_the_model_that_diverged(shared, capsys):
    inspect_model.main([str(shared / "legacy" / "diverged")])
    printed = capsys.readouterr().out
    assert "7 doubts:" in printed and "which no binary image has" in printed


@pytest.mark.parametrize("script", ["inspect_model.py", "convert.py"])
def test_the_scripts_run_as_files_from_any_folder(script, tmp_path):
    command = [sys.executable, "-W", "error", ROOT / "scripts" / script]
    arguments = ["--summary"] * (script == "convert.py") + [DATA / "tiny_iwae"]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "") and "no doubts" in done.stdout
    mistake = subprocess.run([*command, "--none"], capture_output=True, text=True, cwd=tmp_path)
    assert mistake.returncode != 0 and "Traceback" not in mistake.stderr
