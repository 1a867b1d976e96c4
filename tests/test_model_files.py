"""Finding, checking and doubting the files of a model."""

import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from jvi.compat.doubts import doubts, read_log, trainer_state
from jvi.compat.model_files import read_model, read_snapshot, sizes, torch_name

DATA = Path(__file__).resolve().parent / "data"
NAMES = ["tiny_iwae", "tiny_jvielbo", "tiny_vae"]
WHERE = {"tiny_iwae": "main", "tiny_jvielbo": "elbo", "tiny_vae": "main"}
LEGACY = [*NAMES, "iwae8", "jvielbo8", "jvi8slow", "diverged"]


def plain(path):
    """The arrays of an .npz file as NumPy reads them."""
    with np.load(path) as file:
        return dict(file)


@pytest.fixture
def model(tmp_path):
    """A copy of a model, to be spoilt: its prefix."""
    for path in DATA.glob("tiny_iwae*"):
        (shutil.copytree if path.is_dir() else shutil.copy)(path, tmp_path / path.name)
    return tmp_path / "tiny_iwae"


def rewrite(prefix, change):
    """Rewrite the snapshot of `prefix` after `change` was done to its dictionary of arrays."""
    path = prefix / "snapshot_bestvalobj"
    arrays = plain(path)
    change(arrays)
    with open(path, "wb") as file:
        np.savez(file, **arrays)


# --- finding --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_parameters_of_original_snapshots_are_what_numpy_reads(name):
    files = read_model(DATA / name)
    where = f"updater/model:{WHERE[name]}/"
    expected = {k: v for k, v in plain(files.path).items() if k.startswith(where)}
    assert len(expected) == 14 == len(files.parameters)
    for key, array in expected.items():
        found = files.parameters[key.removeprefix(where)]
        assert found.dtype == np.float32 and np.array_equal(found, array)
    assert files.vae_type == files.meta["--vae-type"]
    assert sizes(files.parameters) == (784, 8, 2) and files.notes == []


@pytest.mark.parametrize("name", LEGACY)
def test_every_original_model_is_read(name, shared):
    files = read_model(shared / "legacy" / name)
    _, hidden, latent = sizes(files.parameters)
    assert (str(hidden), str(latent)) == (files.meta["--nhidden"], files.meta["--nlatent"])
    assert files.notes == []


def test_hdf5_holds_the_same_model_as_the_snapshot():
    snapshot, hdf5 = read_model(DATA / "tiny_iwae"), read_model(DATA / "tiny_iwae.h5")
    assert hdf5.path.suffix == ".h5" and hdf5.meta == snapshot.meta
    for name, array in snapshot.parameters.items():
        assert np.array_equal(hdf5.parameters[name], array)


@pytest.mark.parametrize(
    "given", ["", "/", ".meta.yaml", "/snapshot_bestvalobj", ".h5", ".npz", ".safetensors"]
)
def test_a_model_is_found_by_its_prefix_and_by_each_of_its_files(given, model):
    from jvi.compat.model_files import write_model

    for ending in (".npz", ".safetensors"):
        write_model(f"{model}{ending}", read_model(model))
    files = read_model(f"{model}{given}")
    is_file = given in (".h5", ".npz", ".safetensors")
    assert files.prefix == str(model) and files.meta["--vae-type"] == "iwae"
    assert str(files.path) == (f"{model}{given}" if is_file else f"{model}/snapshot_bestvalobj")


def test_the_snapshot_comes_before_hdf5_before_safetensors(model):
    from jvi.compat.model_files import write_model

    write_model(f"{model}.safetensors", read_model(model))
    found = []
    for _ in range(3):
        found.append(read_model(model).path)
        found[-1].unlink()
    assert [path.name for path in found] == [
        "snapshot_bestvalobj",
        "tiny_iwae.h5",
        "tiny_iwae.safetensors",
    ]
    with pytest.raises(FileNotFoundError, match=r"tiny_iwae: no model there; looked for .*\.h5"):
        read_model(model)


def test_without_a_meta_file_sizes_come_from_the_parameters(model):
    Path(f"{model}.meta.yaml").unlink()
    files = read_model(model)
    (note,) = files.notes
    assert "meta.yaml is missing" in note
    assert "784 pixels, 8 hidden and 2 latent units" in note
    assert files.meta == {} and files.vae_type is None


def test_without_a_meta_file_jvi_elbo_is_known_by_where_its_parameters_are(tmp_path):
    shutil.copytree(DATA / "tiny_jvielbo", tmp_path / "a")
    assert read_model(tmp_path / "a").vae_type == "jvi+elbo"


def test_where_meta_file_and_parameters_disagree_the_parameters_are_believed(model):
    path = Path(f"{model}.meta.yaml")
    path.write_text(path.read_text().replace("--nlatent: '2'", "--nlatent: '3'"))
    files = read_model(model)
    assert sizes(files.parameters) == (784, 8, 2)
    assert len(files.notes) == 1 and "--nlatent is '3'" in files.notes[0]


# --- refusing -------------------------------------------------------------------------------------

MAIN = "updater/model:main/"


def drop(key):
    return lambda arrays: arrays.pop(key)


def put(key, value):
    return lambda arrays: arrays.update({key: value})


@pytest.mark.parametrize(
    ("change", "key", "reason"),
    [
        (drop(MAIN + "encode/qlin0/W"), "encode/qlin0/W", "missing"),
        (drop(MAIN + "decode/plin2/b"), "decode/plin2/b", "missing"),
        (put(MAIN + "decode/plin3/W", np.ones(3, "f4")), "decode/plin3/W", "no parameter"),
        (put("more", np.ones(3)), "more", "no parameter"),
        (put("encode/qlin0/b", np.ones(8, "f4")), "encode/qlin0/b", "no parameter"),
        (put(MAIN + "decode/plin2/b", np.ones(784)), "decode/plin2/b", "float64"),
        (put(MAIN + "decode/plin2/b", np.ones(784, "i4")), "decode/plin2/b", "int32"),
        (put(MAIN + "decode/plin2/b", np.ones(785, "f4")), "decode/plin2/b", "shape (785,)"),
        (put(MAIN + "decode/plin2/b", np.ones((784, 1), "f4")), "decode/plin2/b", "(784, 1)"),
        (put(MAIN + "decode/plin0/W", np.ones((2, 8), "f4")), "decode/plin0/W", "(8, 2)"),
        (put(MAIN + "encode/qlin1/W", np.ones((8, 8), "f4")), "encode/qlin1/W", "(8, 16)"),
        (put(MAIN + "encode/qlin0/W", np.ones((0, 784), "f4")), "encode/qlin0/W", "(0, 784)"),
        (put(MAIN + "encode/qlin_mu/W", np.array(1, "f4")), "encode/qlin_mu/W", "shape ()"),
        (put(MAIN + "encode/qlin0/W", np.array("text")), "encode/qlin0/W", "<U4"),
        (lambda arrays: arrays.clear(), "encode/qlin0/W", "no such model"),
    ],
)
def test_what_is_not_this_model_is_refused_by_file_and_key(change, key, reason, model):
    rewrite(model, change)
    for read in (read_model, read_snapshot):
        with pytest.raises(ValueError, match=r"snapshot_bestvalobj: ") as caught:
            read(model)
        assert "\n" not in str(caught.value)
        if read is read_model:
            assert key in str(caught.value) and reason in str(caught.value)


def test_a_key_too_many_in_hdf5(tmp_path):
    path = shutil.copy(DATA / "tiny_iwae.h5", tmp_path / "a.h5")
    with h5py.File(path, "a") as file:
        file["decode/plin9/W"] = np.ones((2, 2), np.float32)
    with pytest.raises(ValueError, match=r"a\.h5: 'decode/plin9/W' is no parameter"):
        read_model(path)


def test_other_files_are_not_models(tmp_path):
    for path in (
        DATA / "tiny_iwae" / "log",
        DATA / "tiny_iwae.golden.npz",
        DATA / "tiny_iwae.perf",
    ):
        with pytest.raises(ValueError, match=path.name):
            read_model(path)


def test_a_bad_meta_file_is_refused_by_name(model):
    Path(f"{model}.meta.yaml").write_text("--nhidden: !!python/object/apply:os.mkdir [made]")
    with pytest.raises(ValueError, match=r"tiny_iwae\.meta\.yaml: '--nhidden'"):
        read_model(model)


def test_a_snapshot_is_read_whole_for_resuming():
    for name in NAMES:
        arrays, expected = read_snapshot(DATA / name), plain(DATA / name / "snapshot_bestvalobj")
        assert arrays.keys() == expected.keys()
        assert all(np.array_equal(arrays[key], expected[key]) for key in expected)
    with pytest.raises(FileNotFoundError, match="looked for"):
        read_snapshot(DATA / "none")
    with pytest.raises(ValueError, match=r"tiny_iwae\.h5: not a trainer's snapshot"):
        read_snapshot(DATA / "tiny_iwae.h5")


# --- doubting -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_nothing_speaks_against_the_small_models(name):
    assert doubts(read_model(DATA / name)) == []


def test_what_speaks_against_the_model_that_diverged(shared):
    found = doubts(read_model(shared / "legacy" / "diverged"))
    assert "the best objective is -7.09e+25: its log-likelihood would be positive" in found[-1]
    assert any("validation/main/obj_var is not finite (epoch 2)" in doubt for doubt in found)
    for name in set(LEGACY) - {"diverged"}:
        assert doubts(read_model(shared / "legacy" / name)) == []


def edit_log(prefix, change):
    path = prefix / "log"
    log = json.loads(path.read_text())
    change(log)
    path.write_text(json.dumps(log))


def edit(prefix, ending, old, new):
    path = Path(f"{prefix}{ending}")
    path.write_text(path.read_text().replace(old, new))


NAN = np.full(8, np.nan, np.float32)


@pytest.mark.parametrize(
    ("spoil", "doubt"),
    [
        (lambda p: rewrite(p, put(MAIN + "encode/qlin0/b", NAN)), "8 of its 8 values are not fin"),
        (
            lambda p: rewrite(p, put(MAIN + "encode/qlin0/b", np.full(8, -1e6, "f4"))),
            "encode/qlin0/b has values as large as 1e+06",
        ),
        (lambda p: rewrite(p, put("updater/iteration", np.array(99))), "ends before iteration 99"),
        (lambda p: Path(f"{p}.perf").unlink(), "tiny_iwae.perf is missing"),
        (lambda p: Path(f"{p}.perf").write_text("x"), "tiny_iwae.perf: damaged"),
        (lambda p: Path(f"{p}.perf").write_text("nan"), "best objective is not finite"),
        (lambda p: Path(f"{p}.perf").write_text("312.4"), "is not among those"),
        (lambda p: Path(f"{p}.perf").write_text("99999"), "worse than a coin"),
        (lambda p: (p / "log").unlink(), "log is missing"),
        (lambda p: (p / "log").write_text("[{"), "log: damaged"),
        (lambda p: (p / "log").write_text('["a"]'), "log: damaged"),
        (lambda p: (p / "log").write_text('[{"epoch": "1"}]'), "log: damaged"),
        (
            lambda p: edit_log(p, lambda log: log[0].update({"main/obj": -1.0})),
            "main/obj is -1: its log-likelihood would be positive",
        ),
        (lambda p: edit(p, ".meta.yaml", "--epochs: '1'", "--epochs: '5'"), "at epoch 1 of 5"),
        (lambda p: edit(p, ".meta.yaml", "adam", "sgd"), "trained with adam, not 'sgd'"),
        (lambda p: edit(p, ".meta.yaml", ": iwae", ": jvi+elbo"), "--vae-type 'jvi+elbo'"),
        (lambda p: edit(p, ".meta.yaml", "--nhidden: '8'", "--nhidden: '9'"), "--nhidden is '9'"),
        (lambda p: edit(p, ".meta.yaml", "--vae-type: iwae", ""), "incomplete: it has no --vae-t"),
        (lambda p: Path(f"{p}.meta.yaml").unlink(), "meta.yaml is missing"),
        (
            lambda p: shutil.copy(DATA / "tiny_vae" / "snapshot_bestvalobj", p),
            "tiny_iwae.h5: encode/qlin0/W is not the same as in",
        ),
        (lambda p: Path(f"{p}.h5").write_bytes(b"x"), "tiny_iwae.h5: not an .npz"),
        (
            lambda p: (p / "snapshot_bestvalobj").write_bytes(damage_to_optimizer(p)),
            "training cannot be continued",
        ),
    ],
)
def test_every_doubt(spoil, doubt, model):
    spoil(model)
    found = doubts(read_model(model))
    assert all("\n" not in line for line in found)
    assert any(doubt in line for line in found), found


def damage_to_optimizer(prefix):
    """The snapshot with one byte of an optimizer's state changed."""
    import zipfile

    path = prefix / "snapshot_bestvalobj"
    with zipfile.ZipFile(path) as archive:
        at = archive.getinfo("updater/optimizer:main/decode/plin2/W/m.npy").header_offset + 500
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    return bytes(data)


def test_the_log_and_the_trainer_state():
    assert [entry["iteration"] for entry in read_log(DATA / "tiny_iwae")] == [98]
    states = [trainer_state(DATA / name / "snapshot_bestvalobj") for name in NAMES]
    assert states == [(98, "adam"), (98, "smorms3"), (98, "sgd")]
    assert trainer_state(DATA / "tiny_iwae.h5") == (None, None)


def test_names_for_pytorch():
    assert torch_name("encode/qlin_ln_var/W") == "encode.qlin_ln_var.weight"
    assert torch_name("decode/plin2/b") == "decode.plin2.bias"
