"""Checkpoints of the reproduction by M'Charrak et al. (2021), and PyTorch's files in general."""

import io
import os
import pickle
import struct
import sys
import zipfile
from collections import OrderedDict

import numpy as np
import pytest

import jvi
from jvi import datasets
from jvi.compat import state_dict
from jvi.compat.state_dict import read_state_dict
from jvi.compat.tightiwae import NAMES, read_checkpoint
from jvi.models.files import of_arrays, read_model
from jvi.scripts import convert

PIXELS, HIDDEN, LATENT = 9, 5, 2
SHAPES = {
    "encoder.fc11": (HIDDEN, PIXELS),
    "encoder.fc12": (HIDDEN, HIDDEN),
    "encoder.fc21": (LATENT, HIDDEN),
    "encoder.fc22": (LATENT, HIDDEN),
    "decoder.fc31": (HIDDEN, LATENT),
    "decoder.fc32": (HIDDEN, HIDDEN),
    "decoder.fc4": (PIXELS, HIDDEN),
}
NAME = "model_MIVAE_M8_k8.pt"
MODEL = "softplus-vae:pixels=9,hidden=5,latent=2"

# Of the models in the shared folder: nats of the ELBO on the first 500 test images, as told there.
SHARED = {
    "CIVAE_beta0.5": -88.34,
    "MIVAE_M1_k1": -89.18,
    "MIVAE_M1_k64": -93.97,
    "MIVAE_M8_k8": -89.25,
    "PIWAE_M8_k8": -89.81,
}


@pytest.fixture
def torch():
    return pytest.importorskip("torch", reason="PyTorch is not installed")


def state_of(torch, seed=0, dtype=np.float32):
    rng, state = np.random.default_rng(seed), OrderedDict()
    for layer, shape in SHAPES.items():
        weights = rng.normal(0, 0.5, shape).astype(dtype), rng.normal(0, 0.5, shape[0])
        state[f"{layer}.weight"] = torch.from_numpy(weights[0])
        state[f"{layer}.bias"] = torch.from_numpy(weights[1].astype(dtype))
    return state


def saved(torch, path, state, **options):
    torch.save(state, path, **options)
    return str(path)


def torch_log_weights(torch, state, x, eps):
    """What the published code computes, of the noise `eps`, by PyTorch's own distributions."""
    from torch.distributions import Bernoulli, Normal
    from torch.nn.functional import linear, softplus

    def affine(layer, h):
        return linear(h, state[f"{layer}.weight"], state[f"{layer}.bias"])

    x, eps = torch.from_numpy(x), torch.from_numpy(eps)
    h = torch.tanh(affine("encoder.fc12", torch.tanh(affine("encoder.fc11", x))))
    q = Normal(affine("encoder.fc21", h), softplus(affine("encoder.fc22", h)))
    z = q.loc + q.scale * eps
    h = torch.tanh(affine("decoder.fc32", torch.tanh(affine("decoder.fc31", z))))
    log_px = Bernoulli(logits=affine("decoder.fc4", h)).log_prob(x).sum(-1)
    log_pz = Normal(torch.zeros(()), torch.ones(())).log_prob(z).sum(-1)
    return (log_px + log_pz - q.log_prob(z).sum(-1)).numpy()


def noise(num_samples, x, num_latent):
    shape = num_samples, len(x), num_latent
    return np.random.default_rng(7).standard_normal(shape, dtype=np.float32)


def archive(steps, data=(), compression=zipfile.ZIP_STORED):
    """The bytes of a PyTorch file with the pickle `steps`."""
    with zipfile.ZipFile(buffer := io.BytesIO(), "w", compression) as file:
        file.writestr("a/data.pkl", steps)
        for i, array in enumerate(data):
            file.writestr(f"a/data/{i}", array)
        file.writestr("a/version", "3\n")
    return buffer.getvalue()


# --- what is converted ----------------------------------------------------------------------------


def test_a_converted_model_computes_what_pytorch_does(torch, tmp_path):
    state = state_of(torch)
    source = saved(torch, tmp_path / NAME, state)
    x = (np.random.default_rng(1).random((6, PIXELS)) < 0.5).astype(np.float32)
    eps = noise(4, x, LATENT)
    expected = torch_log_weights(torch, state, x, eps)
    assert np.ptp(expected) > 1
    for out in ("a.h5", "b.safetensors", "c.npz", "d"):
        convert.main([source, str(tmp_path / out)])
        model = jvi.load(tmp_path / out)
        np.testing.assert_allclose(model.log_weights(x, eps=eps), expected, rtol=1e-5)
        assert model.meta["--model"] == MODEL and model.meta["--estimator"] == "miwae:groups=8"
        assert model.notes == []
    kept = read_model(tmp_path / "d").parameters
    assert {n: kept[NAMES[n]].tobytes() for n in state} == {
        n: tensor.numpy().tobytes() for n, tensor in state.items()
    }


def test_the_state_of_a_module_is_read(torch, tmp_path):
    """It carries more than tensors: the version of each part."""
    module = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Tanh())
    found = read_state_dict(saved(torch, tmp_path / "a.pt", module.state_dict()))
    assert found.keys() == {"0.weight", "0.bias"}
    np.testing.assert_array_equal(found["0.weight"], module[0].weight.detach().numpy())
    transposed = {"w": torch.arange(6.0).reshape(2, 3).T}
    found = read_state_dict(saved(torch, tmp_path / "b.pt", transposed))
    assert found["w"].tolist() == [[0, 3], [1, 4], [2, 5]]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("MIVAE_M1_k1", {"--estimator": "elbo", "--vae-samples": "1"}),
        ("MIVAE_M1_k64", {"--estimator": "iwae", "--vae-samples": "64"}),
        ("MIVAE_M8_k8_repeat10_best", {"--estimator": "miwae:groups=8", "--vae-samples": "64"}),
        ("MIVAE_M8_k1.state", {"--estimator": "elbo", "--vae-samples": "8"}),
        ("CIVAE_beta0.5", {"--estimator": "ciwae:beta=0.5"}),
        ("PIWAE_M8_k8", {}),
        ("CIVAE_beta0.05_omniglot", {"--estimator": "ciwae:beta=0.05", "--dataset": "omniglot"}),
    ],
)
def test_training_options_are_told_by_the_name(name, options, torch, tmp_path):
    path = saved(torch, tmp_path / f"model_{name}.pt", state_of(torch))
    _, meta, notes = read_checkpoint(path)
    assert meta == {"--model": MODEL, "--dataset": "mnist"} | options
    note = {"CIVAE": "its name does not say K", "PIWAE": "otherwise than its name says"}
    assert len(notes) == (name[:5] in note)
    assert all(n.startswith(path) and note[name[:5]] in n for n in notes)


@pytest.mark.parametrize("name", ["a.pt", "model_MIVAE_M8.pt", "model_MIVAE_M8_k88888.pt"])
def test_of_another_name_only_the_model_is_known(name, torch, tmp_path):
    path = saved(torch, tmp_path / name, state_of(torch))
    _, meta, notes = read_checkpoint(path)
    assert meta == {"--model": MODEL}
    assert len(notes) == 1 and "its name does not say what it was trained on" in notes[0]


def test_estimators_of_names_are_ours(torch, tmp_path):
    for name in ("MIVAE_M1_k1", "MIVAE_M1_k64", "MIVAE_M8_k8", "CIVAE_beta0.5"):
        path = saved(torch, tmp_path / f"model_{name}.pt", state_of(torch))
        jvi.estimator(read_checkpoint(path)[1]["--estimator"])


def test_the_command_prints_the_notes(torch, tmp_path, capsys):
    source = saved(torch, tmp_path / "model_PIWAE_M8_k8.pt", state_of(torch))
    convert.main([source, str(tmp_path / "a.h5")])
    assert "note: " in (printed := capsys.readouterr().out) and "10 groups of 10" in printed


def test_numbers_that_are_not_finite_are_noted(torch, tmp_path):
    state = state_of(torch)
    state["decoder.fc4.bias"][0] = np.nan
    path = saved(torch, tmp_path / NAME, state)
    assert "1 of its 9 values are not finite" in of_arrays(path, *read_checkpoint(path)).notes[0]


# --- what is refused ------------------------------------------------------------------------------


def without(state, name):
    del state[name]


def with_another(state, name, shape):
    state[name] = next(iter(state.values())).new_zeros(shape)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: without(s, "encoder.fc11.weight"), "has no encoder.fc11.weight"),
        (lambda s: without(s, "decoder.fc4.bias"), "pixels/b is missing"),
        (lambda s: with_another(s, "decoder.fc5.bias", 9), "'decoder.fc5.bias' is no parameter"),
        (lambda s: with_another(s, "encoder.fc11.weight", 45), r"weight has shape \(45,\)"),
        (lambda s: with_another(s, "encoder.fc21.weight", (0, 5)), r"weight has shape \(0, 5\)"),
        (lambda s: with_another(s, "encoder.fc22.weight", (5, 2)), r"lin_rho/W has .* is needed"),
        (lambda s: with_another(s, "encoder.fc11.bias", (5, 1)), r"lin0/b has .* is needed"),
    ],
)
def test_shapes_that_do_not_fit_are_named(change, message, torch, tmp_path):
    change(state := state_of(torch))
    path = saved(torch, tmp_path / NAME, state)
    with pytest.raises(ValueError, match=rf"{NAME}: .*{message}"):
        of_arrays(path, *read_checkpoint(path))


def whole_module(torch, path):
    with pytest.MonkeyPatch.context() as patch:  # it would keep its source, too
        patch.setattr("inspect.getsourcelines", lambda module: ([], 0))
        torch.save(torch.nn.Linear(2, 2), path)


def an_npz(torch, path):
    with path.open("wb") as file:
        np.savez(file, a=np.ones(2))


def a_view(torch, path):
    """A tensor that says it is larger than its memory."""
    torch.save({"a": torch.zeros(1).expand(2**20, 2**20)}, path)


WRONG = {
    "module": (whole_module, "asks for 'torch.nn.modules.linear Linear'.*state_dict"),
    "legacy": (
        lambda t, p: t.save(state_of(t), p, _use_new_zipfile_serialization=False),
        "save its state_dict",
    ),
    "double": (lambda t, p: t.save(state_of(t, dtype=float), p), "torch DoubleStorage"),
    "parameter": (lambda t, p: t.save({"a": t.nn.Parameter(t.zeros(2))}, p), "_rebuild_parameter"),
    "nested": (lambda t, p: t.save({"a": {"b": t.zeros(2)}}, p), "'a': not a tensor"),
    "list": (lambda t, p: t.save([t.zeros(2)], p), "not a state dictionary"),
    "numbered": (lambda t, p: t.save({1: t.zeros(2)}, p), "not a state dictionary"),
    "view": (a_view, "not the data that it has"),
    "shared": (lambda t, p: t.save(dict.fromkeys("ab", t.zeros(2)), p), "not the data that it has"),
    "npz": (an_npz, "needs one data.pkl"),
    "text": (lambda t, p: p.write_text("hello"), "not a PyTorch file"),
    "empty": (lambda t, p: p.write_bytes(b""), "not a PyTorch file"),
    "directory": (lambda t, p: p.mkdir(), "is a folder"),
    "fifo": (lambda t, p: os.mkfifo(p), "is a FIFO"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_other_files_are_refused_in_one_line(kind, torch, tmp_path):
    make, message = WRONG[kind]
    make(torch, path := tmp_path / NAME)
    with pytest.raises(ValueError, match=message) as caught:
        read_state_dict(path)
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)


class Harmful:
    """What a pickle can do to who unpickles it."""

    def __init__(self, *call):
        self.call = call

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("call", [(os.mkdir, ("made",)), (bytearray, (10**15,))])
def test_nothing_in_a_pickle_is_run(protocol, call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    steps = pickle.dumps(OrderedDict(a=Harmful(*call)), protocol)
    (tmp_path / NAME).write_bytes(archive(steps))
    with pytest.raises(ValueError, match=r"asks for .*, but only a state dictionary"):
        read_state_dict(tmp_path / NAME)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (archive(b"\x80\x02}."), None),
        (archive(b"\x80\x02}.", [b"1234"]), "not the data that it has"),
        (archive(b"\x80\x02"), "pickle"),
        (archive(b""), "pickle"),
        (archive(b"\x80\x02N."), "not a state dictionary"),
        (archive(b"\x80\x02K\x01K\x02a."), "not a state dictionary"),
        (archive(b"\x80\x02}." + bytes(10**6), (), zipfile.ZIP_DEFLATED), "is compressed"),
        (archive(b"\x80\x02}.")[:-30], "damaged"),
    ],
    ids=["no", "extra", "cut", "empty", "none", "wrong", "bomb", "end"],
)
def test_archives_made_by_hand(content, message, torch, tmp_path):
    (tmp_path / NAME).write_bytes(content)
    if message is None:
        assert read_state_dict(tmp_path / NAME) == {}
        return
    with pytest.raises(ValueError, match=rf"{NAME}: .*{message}"):
        read_state_dict(tmp_path / NAME)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", ["a/data.pkl", "A/DATA.PKL"])
def test_a_pickle_behind_another_is_refused(name, tmp_path):
    """Which of the two is read would be for PyTorch to say."""
    with zipfile.ZipFile(tmp_path / NAME, "w") as file:
        for each, call in ((name, (bytearray, (10**15,))), ("a/data.pkl", None)):
            file.writestr(each, pickle.dumps(Harmful(*call), 2) if call else b"\x80\x02}.")
    with pytest.raises(ValueError, match="a member is there twice"):
        read_state_dict(tmp_path / NAME)


def test_damage_is_noticed(torch, tmp_path):
    """One bit anywhere: an error that names the file, or the same arrays."""
    path = tmp_path / NAME
    saved(torch, path, {"a": torch.arange(8.0), "b": torch.ones(2, 3)})
    whole, rng, refused = path.read_bytes(), np.random.default_rng(3), 0
    expected = read_state_dict(path)
    for _ in range(300):
        content = bytearray(whole)
        content[rng.integers(len(whole))] ^= 1 << int(rng.integers(8))
        path.write_bytes(content)
        try:
            found = read_state_dict(path)
        except ValueError as error:
            assert NAME in str(error) and "\n" not in str(error)
            refused += 1
            continue
        assert found.keys() == expected.keys()
        assert all(np.array_equal(found[name], expected[name]) for name in expected)
    assert 50 < refused < 300  # much of a small archive is padding


def test_the_size_is_bounded_before_reading(tmp_path, monkeypatch):
    (tmp_path / NAME).write_bytes(archive(b"\x80\x02}."))
    monkeypatch.setattr(state_dict, "MAX_BYTES", 100)
    with pytest.raises(ValueError, match="at most 100 are read"):
        read_state_dict(tmp_path / NAME)


def test_storage_that_is_said_to_be_larger_than_it_is(torch, tmp_path):
    path = tmp_path / NAME
    saved(torch, path, {"a": torch.zeros(300)})
    with zipfile.ZipFile(path) as file:
        steps = file.read(next(n for n in file.namelist() if n.endswith("data.pkl")))
    claimed = steps.replace(b"M" + struct.pack("<H", 300), b"M" + struct.pack("<H", 60000))
    assert claimed.count(struct.pack("<H", 60000)) == 2  # the storage, and the tensor on it
    path.write_bytes(archive(claimed, [bytes(1200)]))
    with pytest.raises(ValueError, match=NAME):
        read_state_dict(path)


# --- the command ----------------------------------------------------------------------------------


def test_without_pytorch_one_sentence_says_what_to_do(tmp_path, monkeypatch):
    (tmp_path / NAME).write_bytes(archive(b"\x80\x02}."))
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(SystemExit, match=rf"{NAME} is read by PyTorch: pip install torch"):
        convert.main([str(tmp_path / NAME), str(tmp_path / "a.h5")])
    assert os.listdir(tmp_path) == [NAME]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.pt", "a.h5"], "none.pt: no such file"),
        (["text.pt", "a.h5"], "text.pt: not a PyTorch file"),
        ([NAME, NAME], "is no ending of a model's file"),
        (["--summary", NAME], "convert it before"),
    ],
)
def test_mistakes_end_in_one_line_and_write_nothing(
    arguments, message, torch, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    saved(torch, NAME, state_of(torch))
    (tmp_path / "text.pt").write_text("hello")
    with pytest.raises(SystemExit, match=message) as caught:
        convert.main(arguments)
    assert "\n" not in str(caught.value)
    assert set(os.listdir(tmp_path)) == {NAME, "text.pt"}


# --- the published models -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def published(shared):
    """The path of a published model by name, and of the folder of data sets."""
    if not (shared / "data" / "tightiwae").is_dir():
        pytest.skip(f"no published models at {shared / 'data' / 'tightiwae'}")
    return lambda name: shared / "data" / "tightiwae" / f"model_{name}.state.pt"


@pytest.mark.parametrize("name", SHARED)
def test_a_published_model_computes_what_pytorch_does(name, published, shared, torch):
    path = published(name)
    model = jvi.Model(of_arrays(path, *read_checkpoint(path)).link)
    data = datasets.load("mnist", shared / "data")
    x = datasets.observe_each(data, data.test[:500], 0)
    eps = noise(8, x[:40], 50)
    state = torch.load(path, weights_only=True)
    expected = torch_log_weights(torch, state, x[:40], eps)
    np.testing.assert_allclose(model.log_weights(x[:40], eps=eps), expected, rtol=1e-5)
    elbo = model.log_weights(x, eps=noise(8, x, 50)).mean()
    assert elbo == pytest.approx(SHARED[name], abs=0.7)  # images are binarised anew
