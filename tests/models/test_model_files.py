"""Finding, checking and doubting the files of a model."""

import json
import shutil
import time
from pathlib import Path

import chainer
import chainer.links as L
import h5py
import numpy as np
import pytest
from chainer.serializers import DictionarySerializer

from jvi.assessment.doubts import doubts, read_log, trainer_state
from jvi.compat.meta import dump_meta
from jvi.models import MODELS
from jvi.models.files import read_model, read_snapshot, torch_name, write_model
from jvi.scripts import train
from jvi.spec import Spec

DATA = Path(__file__).resolve().parents[1] / "data"
NAMES = ["tiny_iwae", "tiny_jvielbo", "tiny_vae"]
WHERE = {"tiny_iwae": "main", "tiny_jvielbo": "elbo", "tiny_vae": "main"}
LEGACY = [*NAMES, "iwae8", "jvielbo8", "jvi8slow", "diverged"]


def plain(path):
    """The arrays of an .npz file as NumPy reads them."""
    with np.load(path) as file:
        return dict(file)


def sizes(files):
    """(pixels, hidden, latent) of a model of the original's architecture."""
    assert files.link.spec.name == "mlp"
    return tuple(files.link.spec.options.values())


def same(parameters, expected):
    """Whether two dictionaries of parameters are the same, bit by bit."""
    return parameters.keys() == expected.keys() and all(
        (found := parameters[name]).dtype == array.dtype == np.float32
        and found.shape == array.shape
        and found.tobytes() == array.tobytes()
        for name, array in expected.items()
    )


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
    assert sizes(files) == (784, 8, 2) and files.notes == []


@pytest.mark.parametrize("name", LEGACY)
def test_every_original_model_is_read(name, shared):
    files = read_model(shared / "legacy" / name)
    _, hidden, latent = sizes(files)
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
    for ending in (".npz", ".safetensors"):
        write_model(f"{model}{ending}", read_model(model))
    files = read_model(f"{model}{given}")
    is_file = given in (".h5", ".npz", ".safetensors")
    assert files.prefix == str(model) and files.meta["--vae-type"] == "iwae"
    assert str(files.path) == (f"{model}{given}" if is_file else f"{model}/snapshot_bestvalobj")


def test_the_snapshot_comes_before_hdf5_before_safetensors(model):
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
    assert "mlp:pixels=784,hidden=8,latent=2" in note
    assert files.meta == {} and files.vae_type is None


def test_without_a_meta_file_jvi_elbo_is_known_by_where_its_parameters_are(tmp_path):
    shutil.copytree(DATA / "tiny_jvielbo", tmp_path / "a")
    assert read_model(tmp_path / "a").vae_type == "jvi+elbo"


def test_where_meta_file_and_parameters_disagree_the_parameters_are_believed(model):
    path = Path(f"{model}.meta.yaml")
    path.write_text(path.read_text().replace("--nlatent: '2'", "--nlatent: '3'"))
    files = read_model(model)
    assert sizes(files) == (784, 8, 2)
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


# --- models of every architecture -----------------------------------------------------------------

SPECS = {  # what is trained, for a moment, and how
    "bayes-mlp:hidden=3,task=regression,activation=relu,prior=normal,prior-scale=1.0,noise=learned,"
    "perturbation=shared": "iwae",
    "burda:layers=1": "iwae",
    "burda:layers=2": "iwae",
    "mlp:hidden=3,latent=2": "iwae",
    "sbn:layers=1,units=4": "reinforce",
    "sbn:layers=3,units=5": "reinforce",
    "conv:channels=2,latent=2": "iwae",
    "gaussian-toy": "iwae",
    "gaussian-vae:hidden=3,latent=2": "iwae",
    "softplus-vae:hidden=3,latent=2": "iwae",
    "mixture:components=3": "reinforce",
    "iaf:hidden=3,latent=2,posterior=iaf2,steps=2,width=4,depth-ar=1": "iwae",
    "iaf-resnet:depths=1-1,n-z=1,n-h=2,posterior=down_iaf2,depth-ar=1": "iwae",
}
# Of the others: what they are trained on, and the size that it decides.
DATA_OF = {
    "bayes-mlp": ("digits", "columns=64"),
    "gaussian-toy": ("gaussian-toy", "dim=20"),
    "gaussian-vae": ("digits", "columns=64"),
    "iaf-resnet": ("digits-grey", "pixels=64"),
    "mixture": ("mixture", "columns=1"),
}
FORMS = ["m", "m.h5", "m.npz", "m.safetensors", "torch.safetensors"]


def data_of(spec):
    return DATA_OF.get(spec.partition(":")[0], ("digits", "pixels=64"))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The prefix of a model that `train.py` wrote, by its spec."""
    folder, made = tmp_path_factory.mktemp("trained"), {}

    def prefix(spec):
        if spec not in made:
            made[spec] = folder / str(len(made))
            options = f"--model {spec} --estimator {SPECS[spec]} --vae-samples 2 --opt adam"
            data, _ = data_of(spec)
            options += f" --dataset {data} -b 1000 -e 1 --quiet -o {made[spec]}"
            train.main(options.split())
        return made[spec]

    return prefix


def test_every_architecture_is_among_these():
    assert {spec.partition(":")[0] for spec in SPECS} == MODELS.keys()


@pytest.mark.parametrize("spec", SPECS)
def test_what_was_trained_is_read(spec, trained):
    files = read_model(trained(spec))
    name, _, options = spec.partition(":")
    sizes = ",".join(filter(None, [data_of(spec)[1], options]))
    assert str(files.link.spec) == f"{name}:{sizes}" == files.meta["--model"]
    where = "updater/model:main/"
    arrays = read_snapshot(trained(spec))
    assert same(
        {k.removeprefix(where): v for k, v in arrays.items() if k.startswith(where)},
        {k: files.parameters[k] for k in sorted(files.parameters)},
    )
    for key, parameter in files.link.namedparams():
        assert np.array_equal(parameter.array, files.parameters[key.lstrip("/")])
        assert parameter.array.flags.writeable
    assert files.notes == [] and files.vae_type is None


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("spec", SPECS)
def test_what_is_written_in_each_form_is_read_back_bit_by_bit(spec, form, trained, tmp_path):
    files = read_model(trained(spec))
    path = tmp_path / ("m/snapshot_bestvalobj" if form == "m" else form)
    write_model(path, files, torch=form.startswith("torch"))
    back = read_model(tmp_path / form)
    assert same(back.parameters, files.parameters)
    assert (back.meta, back.link.spec, back.notes) == (files.meta, files.link.spec, [])
    assert back.path == path


def test_what_pytorch_would_call_two_parameters_the_same_is_not_written(tmp_path):
    files = read_model(DATA / "tiny_iwae")
    twins = {"a/W": np.ones(3, np.float32), "a/weight": np.zeros(3, np.float32)}
    with pytest.raises(ValueError, match=r"a\.weight"):
        write_model(tmp_path / "a.safetensors", files._replace(parameters=twins), torch=True)
    assert list(tmp_path.iterdir()) == []


def test_both_spellings_of_a_parameter_in_one_file_are_refused(tmp_path):
    from jvi.compat.arrays import write_safetensors

    files = read_model(DATA / "tiny_iwae")
    more = {"encode.qlin0.weight": np.zeros((8, 784), np.float32)}
    write_safetensors(tmp_path / "a.safetensors", {**files.parameters, **more}, {})
    with pytest.raises(ValueError, match=r"'encode\.qlin0\.weight' is no parameter"):
        read_model(tmp_path / "a.safetensors")


def test_without_its_meta_file_another_model_is_not_guessed(trained, tmp_path):
    path = shutil.copytree(trained("sbn:layers=1,units=4"), tmp_path / "m")
    with pytest.raises(ValueError, match=r"no such model as mlp .* is missing.*--model") as caught:
        read_model(path)
    assert "\n" not in str(caught.value)
    link = MODELS["sbn"](64, layers=1, units=4)
    files = read_model(path, link=link)
    assert files.link is link and "sbn:pixels=64,layers=1,units=4" in files.notes[0]
    assert same(files.parameters, read_model(trained("sbn:layers=1,units=4")).parameters)


@pytest.fixture
def say(trained, tmp_path):
    """A function that has a copy of a model's meta file say another --model; the copy's prefix."""

    def change(spec, text):
        prefix = trained(spec)
        shutil.copytree(prefix, tmp_path / "m")
        meta = Path(f"{prefix}.meta.yaml").read_text()
        lines = [line for line in meta.splitlines() if not line.startswith("--model")]
        (tmp_path / "m.meta.yaml").write_text("\n".join([*lines, text]), encoding="utf-8")
        return tmp_path / "m"

    return change


@pytest.fixture
def cheap():
    """Fails a test whose process comes to need more than 30 MB or 2 s."""
    import resource

    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    yield
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 30_000
    assert time.monotonic() - start < 2


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("burda:pixels=64,layers=1", "missing|no parameter|no such model"),
        ("sbn:pixels=64,layers=1,units=5", r"shape \(4, 64\), but \(5, 64\) is needed for sbn:"),
        ("sbn:pixels=16777215,layers=3,units=16777215", "is missing"),
        ("sbn:pixels=64,layers=1,units=16777215", "shape"),
        ("sbn:pixels=64,layers=1,units=16777217", "units must be at most 16777216"),
        ("sbn:pixels=64,layers=1000000000,units=4", "layers must be at most 16777216"),
        ("sbn:pixels=64,layers=10000000,units=4", "layers must be 1 to 3"),
        ("burda:pixels=64,layers=1000000000", "layers must be at most 16777216"),
        ("burda:pixels=64,layers=3", "layers must be 1 or 2"),
        ("burda:pixels=64,layers=0", "layers must be at least 1"),
        ("burda:pixels=64,layers=-1", "layers must be at least 1"),
        ("burda:pixels=1000000000000,layers=1", "no number of pixels"),
        ("burda:pixels=0", "no number of pixels"),
        ("burda:layers=1", "no number of pixels"),
        ("burda", "no number of pixels"),
        (
            "burda:pixels=64,layers=" + "9" * 90,
            "layers must be (at most|a whole number).* not .?999",
        ),
        ("burda:pixels=64,layers=" + "9" * 5000, "which is not NAME"),
        ("burda:pixels=" + "9" * 150, "no number of pixels"),
        ("burda:pixels=64,layers=\u0661", "must be a whole number"),
        ("burda:pixels=\u0666\u0664", "no number of pixels"),
        ("burda:pixels=64,layers=\u00b2", "must be a whole number"),
        ("burda:pixels=64,layers=1.0", "must be a whole number"),
        ("burda:pixels=64,layers=", "must be a whole number"),
        ("burda:pixels=64,pixels=64", "each key once"),
        ("burda:pixels=64,rng=1", "no option 'rng'"),
        ("burda:pixels=64,num_pixels=1", "no option"),
        ("burda:,,,", "each key once"),
        ("mlp:,,,", "each key once"),
        ("mlp:pixels=64,hidden=1000000000,latent=2", "hidden must be at most"),
        ("transformer:pixels=64", "unknown model 'transformer': choose from mlp, burda, sbn"),
        ("os.system:pixels=64", "unknown model"),
        ("__class__:pixels=64", "unknown model"),
        ("a\nb:pixels=64", "'--model' has control characters"),
        ("", "no number of pixels|unknown model"),
        ("\x00", "'--model' has control characters"),
        (True, "--model is True"),
        (["sbn", "mlp"], r"--model is \['sbn', 'mlp'\]"),
        ([], r"--model is \[\]"),
    ],
)
def test_a_hostile_model_in_a_meta_file_is_one_sentence_and_costs_nothing(
    said, reason, say, trained, request
):
    trained("sbn:layers=1,units=4")
    prefix = say("sbn:layers=1,units=4", dump_meta({"--model": said}))
    request.getfixturevalue("cheap")
    for read in (read_model, read_snapshot):
        with pytest.raises(ValueError, match=reason) as caught:
            read(prefix)
        assert str(caught.value).startswith(f"{prefix}")
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 600


@pytest.mark.parametrize("text", ["{a: b}", "[[a]]", "!!python/name:os.system ''"])
def test_a_model_that_no_meta_file_can_hold(text, say):
    with pytest.raises(ValueError, match=r"m\.meta\.yaml: '--model'"):
        read_model(say("sbn:layers=1,units=4", f"--model: {text}"))


@pytest.mark.parametrize("said", [["sbn", ["mlp"]], "transformer:pixels=8", {"a": 1}, 3])
def test_a_hostile_model_in_the_header_of_a_safetensors_file(said, trained, tmp_path):
    files = read_model(trained("sbn:layers=1,units=4"))
    write_model(tmp_path / "m.safetensors", files._replace(meta={"--model": said}))
    with pytest.raises(ValueError, match=r"m\.safetensors: --model"):
        read_model(tmp_path / "m")


def test_an_mlp_is_believed_its_parameters(say):
    prefix = say("mlp:hidden=3,latent=2", "--model: mlp:pixels=64,hidden=9,latent=2")
    (note,) = read_model(prefix).notes
    assert "--model is 'mlp:pixels=64,hidden=9,latent=2'" in note
    assert "mlp:pixels=64,hidden=3,latent=2; they are believed" in note


# --- two files under one name ---------------------------------------------------------------------


@pytest.mark.parametrize("spec", ["burda:layers=2", "mlp:hidden=3,latent=2"])
def test_two_files_under_one_name_have_to_be_the_same_model(spec, trained, tmp_path):
    files, prefix = read_model(trained(spec)), tmp_path / "m"
    other = {name: array + 1 for name, array in files.parameters.items()}
    for ending, parameters in ((".h5", files.parameters), (".safetensors", other)):
        write_model(f"{prefix}{ending}", files._replace(parameters=parameters))
    with pytest.raises(ValueError, match="two files under one name") as caught:
        read_model(prefix)
    for ending in (".h5", ".safetensors"):
        assert f"{prefix}{ending}" in str(caught.value) and "\n" not in str(caught.value)
    assert same(read_model(f"{prefix}.h5").parameters, files.parameters)
    assert same(read_model(f"{prefix}.safetensors").parameters, other)
    write_model(f"{prefix}.safetensors", files, torch=True)
    assert read_model(prefix).path == Path(f"{prefix}.h5")
    write_model(f"{prefix}.safetensors", files._replace(parameters=other))
    write_model(prefix / "snapshot_bestvalobj", files)
    assert same(read_model(prefix).parameters, files.parameters), "a snapshot comes first"


def test_two_files_under_one_name_of_which_one_is_damaged_or_of_another_model(trained, tmp_path):
    shutil.copy(DATA / "tiny_iwae.h5", tmp_path / "m.h5")
    other = tmp_path / "m.safetensors"
    for spoil in (
        lambda: other.write_bytes(b"x"),
        lambda: write_model(other, read_model(trained("burda:layers=1"))),
        lambda: write_model(other, read_model(DATA / "tiny_vae")),
    ):
        spoil()
        with pytest.raises(ValueError, match="two files under one name"):
            read_model(tmp_path / "m")


def test_parameters_that_are_not_finite_can_still_be_the_same(tmp_path):
    files = read_model(DATA / "tiny_iwae")
    parameters = {**files.parameters, "encode/qlin0/b": np.full(8, np.nan, np.float32)}
    for ending in (".h5", ".safetensors"):
        write_model(tmp_path / f"m{ending}", files._replace(parameters=parameters))
    assert any("not finite" in note for note in read_model(tmp_path / "m").notes)


# --- a model of one's own -------------------------------------------------------------------------


class Own(chainer.Chain):
    """A network that this project does not know, with a layer of no size yet, and statistics."""

    spec = Spec("own", {"units": 3})

    def __init__(self, units=3):
        super().__init__()
        with self.init_scope():
            self.first = L.Linear(None, units)
            self.norm = L.BatchNormalization(units)
            self.scale = chainer.Parameter(np.full(1, 2, np.float32))


def own():
    """One that has seen data."""
    link = Own()
    rng = np.random.default_rng(0)
    link.first(rng.standard_normal((4, 5)).astype("f"))
    link.norm(rng.standard_normal((4, 3)).astype("f"))
    return link


@pytest.mark.parametrize("form", FORMS)
def test_a_model_of_ones_own_is_written_and_read(form, tmp_path):
    link = own()
    state = DictionarySerializer()
    state.save(link)
    assert {"norm/avg_mean", "norm/N", "scale"} < state.target.keys()
    with open(tmp_path / "a.npz", "wb") as file:
        np.savez(file, **{f"updater/model:main/{k}": v for k, v in state.target.items()})
    files = read_model(tmp_path / "a.npz", link=Own())
    path = tmp_path / ("m/snapshot_bestvalobj" if form == "m" else form)
    write_model(path, files, torch=form.startswith("torch"))
    back = DictionarySerializer()
    back.save(read_model(tmp_path / form, link=Own()).link)
    assert back.target.keys() == state.target.keys()
    for name, array in state.target.items():
        assert back.target[name].dtype == array.dtype
        assert np.array_equal(back.target[name], array)


def test_parameters_that_do_not_fit_ones_own_link_leave_it_as_it_was(tmp_path):
    link = own()
    before = {name: parameter.array.copy() for name, parameter in link.namedparams()}
    with pytest.raises(ValueError, match=r"tiny_iwae/snapshot.*no such model as own \("):
        read_model(DATA / "tiny_iwae", link=link)
    assert all(np.array_equal(p.array, before[name]) for name, p in link.namedparams())


def test_a_link_of_the_right_shapes_takes_the_parameters_and_is_returned():
    link = MODELS["mlp"](784, 8, 2)
    files = read_model(DATA / "tiny_iwae", link=link)
    assert files.link is link and files.notes == []
    assert np.array_equal(link.encode.qlin0.W.array, files.parameters["encode/qlin0/W"])
    with pytest.raises(ValueError, match=r"shape \(8, 784\).*needed for mlp:pixels=784,hidden=9"):
        read_model(DATA / "tiny_iwae", link=MODELS["mlp"](784, 9, 2))


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
