"""Command lines of the published code of Kingma et al. (2016) in train.py's words."""

import pytest

from jvi.compat.iaf_options import MODEL, SETTINGS, TRANSLATED, translated
from jvi.compat.meta import read_meta
from jvi.compat.options import SIZES
from jvi.models import MODELS, check_name
from jvi.scripts import train
from jvi.spec import options_of, parse
from jvi.training.checkpoints import files_of
from jvi.training.optimizers import make_optimizer
from jvi.training.presets import preset

README = (
    "with problem=cifar10 n_z=32 n_h=64 depths=[2,2,2] margs.depth_ar=1 "
    "margs.posterior=down_iaf2_NL margs.kl_min=0.25"
)
TABLE_3 = (
    "with problem=cifar10 n_h=160 depths=[10,10] margs.depth_ar=2 margs.posterior=down_iaf2_nl "
    "margs.prior=diag margs.kl_min=0.25"
)


def all_of(words):
    said, assumed = translated(words.split())
    assert not said.keys() & assumed.keys()
    return said | assumed


def model(words):
    return translated(words.split()).said["--model"]


def test_the_readmes_example():
    assert all_of(README) == {
        "--dataset": "cifar10",
        "--model": "iaf-resnet:depths=2-2-2,n-z=32,n-h=64,posterior=down_iaf2,depth-ar=1",
        "--free-bits": "0.25",
        "--batchsize": "16",
        "--lr": "0.002",
        "--opt": "adamax:beta1=0.9",
        "--average": "0.999",
        "--clip": "0",
        "--estimator": "elbo",
        "--vae-samples": "1",
    }


@pytest.mark.parametrize(
    ("words", "name"), [(README, "kingma2016-small"), (TABLE_3, "kingma2016-table3")]
)
def test_presets_of_the_same_runs_say_the_same(words, name):
    found, options = all_of(words), preset(name).options
    text = preset(name).keywords["model_or_name"]
    assert parse(found.pop("--model"), MODELS, "model") == parse(text, MODELS, "model")
    optimizers = [make_optimizer(each["--opt"], 1.0).hyperparam for each in (found, options)]
    assert optimizers[0].get_dict() == pytest.approx(optimizers[1].get_dict())
    del found["--opt"]
    assert found.items() <= options.items()


def test_what_is_not_said_is_as_in_the_codes_configuration():
    assert model("problem=cifar10") == (
        "iaf-resnet:depths=2-2,n-z=32,n-h=160,posterior=down_diag,depth-ar=2"
    )
    assert translated(["margs.kl_min=0"]).said["--free-bits"] == "0"
    assert translated(["problem=cifar10"]).assumed["--free-bits"] == "0.25"


@pytest.mark.parametrize(
    ("word", "pair"),
    [
        ("depths=[3]", "depths=3"),
        ("depths=[2, 2 ,1]", "depths=2-2-1"),
        ("depths=(2,2)", "depths=2-2"),
        ("depths='[1,1]'", "depths=1-1"),
        ("n_z=8", "n-z=8"),
        ("n_h=16", "n-h=16"),
        ("margs.posterior=up_diag", "posterior=up_diag"),
        ("margs.posterior=up_iaf1_nl", "posterior=up_iaf1"),
        ("margs.posterior=DOWN_IAF2_NL", "posterior=down_iaf2"),
        ("margs.depth_ar=3", "depth-ar=3"),
    ],
)
def test_sizes(word, pair):
    found = translated(["with", word]).said["--model"]
    assert pair in found.partition(":")[2].split(",")
    check_name(found)


@pytest.mark.parametrize(
    ("word", "option", "value"),
    [
        ("n_batch=32", "--batchsize", "32"),
        ("margs.alpha=1e-3", "--lr", "1e-3"),
        ("margs.beta1=0.05", "--opt", "adamax:beta1=0.95"),
        ("margs.beta1=1", "--opt", "adamax:beta1=0"),
        ("margs.kl_min=.1", "--free-bits", ".1"),
    ],
)
def test_settings(word, option, value):
    assert translated([word]).said[option] == value
    if option == "--opt":
        optimizer = make_optimizer(value, 1.0)
        assert optimizer.hyperparam.beta1 == pytest.approx(1 - float(word.partition("=")[2]))


@pytest.mark.parametrize(
    "word",
    ["margs.prior=diag", "margs.nl=elu", "margs.kernel_h=(3,3)", "margs.kernel_x=[5, 5]",
     "margs.weightsharing=False", "n_train=0", "pad_x=0", "margs.downsample_type=nn",
     "model_type=cvae1", "px=logistic", "margs.optim=adamax"],
)  # fmt: skip
def test_what_is_so_here_may_be_said(word):
    assert translated([word]) == translated([])


REFUSED = [
    ("problem=mnist", "problem=mnist cannot be had here, only problem=cifar10: mnist is binary"),
    ("problem=lfw", "problem=lfw cannot be had here"),
    ("margs.prior=made", "margs.prior=made cannot be had here, only margs.prior=diag"),
    ("margs.weightsharing=all", "margs.weightsharing=all cannot be had here"),
    ("margs.kernel_h=(5,5)", "margs.kernel_h=.5,5. cannot be had here"),
    ("n_train=100", "n_train=100 cannot be had here"),
    ("pad_x=2", "pad_x=2 cannot be had here"),
    ("margs.optim=eve", "margs.optim=eve cannot be had here"),
    ("margs.posterior=down_iaf2", "margs.posterior=down_iaf2: is a linear convolution without con"),
    ("margs.posterior=up_iaf1", "up_iaf1_nl is"),
    ("margs.posterior=down_iaf2_nl2", "down_iaf2_nl2: is none of up_diag, up_iaf1_nl"),
    ("margs.posterior=down_iaf2_deep", "is none of"),
    ("margs.posterior=down_tim", "is none of"),
    ("n_h1=64", "n_h1=64 is not translated: known are depths, n_z, n_h"),
    ("est_marglik=10", "est_marglik=10 is not translated"),
    ("N_Z=3", "N_Z=3 is not translated"),
    ("n_z=0", "n_z=0: must be a whole number, at least 1"),
    ("n_z=3.5", "n_z=3.5: must be a whole number"),
    ("n_z=٣", "must be a whole number"),
    ("margs.depth_ar=0", "must be a whole number, at least 1"),
    ("depths=2,2", "depths=2,2: must be whole numbers in brackets"),
    ("depths=[]", "must be whole numbers in brackets"),
    ("depths=[2,x]", "must be whole numbers in brackets"),
    ("margs.kl_min=-1", "margs.kl_min=-1: must be a number, not negative"),
    ("margs.alpha=nan", "must be a number"),
    ("margs.beta1=0", "must be above 0 and at most 1"),
    ("margs.beta1=2", "must be above 0 and at most 1"),
    ("n_z=", "write key=value, each key once"),
    ("=3", "write key=value, each key once"),
    ("n_z", "'n_z': a word too many"),
    ("with", "'with': a word too many"),
]


@pytest.mark.parametrize(("word", "sentence"), REFUSED, ids=[word for word, _ in REFUSED])
def test_what_cannot_be_had_is_named(word, sentence):
    with pytest.raises(ValueError, match=sentence):
        translated(["with", "depths=[2,2]" if word.startswith("n_z") else "n_z=4", word])


def test_a_key_twice_is_refused():
    with pytest.raises(ValueError, match="each key once"):
        translated(["n_z=4", "n_z=4"])


def test_the_tables_agree():
    assert {*MODEL, *SETTINGS} == TRANSLATED.keys() and not MODEL.keys() & SETTINGS.keys()
    for name, options in SIZES.items():
        assert set(options.values()) <= options_of(MODELS[name]).keys()
    keys = {key.replace("-", "_") for key in MODEL.values()}
    assert keys == set(SIZES["iaf-resnet"].values())


SMALL = "depths=[1] n_z=2 n_h=4 margs.depth_ar=1 margs.posterior=down_iaf1_NL n_batch=650"


def test_train_says_and_does_what_the_words_say(tmp_path, capsys):
    ours = ["-d", "digits-grey", "-e", "1", "-o", str(tmp_path / "m")]
    train.main([*ours[:2], "with", *SMALL.split(), *ours[2:]])
    note, *_ = capsys.readouterr().out.splitlines()
    assert note.startswith("note: read as train.py --model iaf-resnet:depths=1,n-z=2,n-h=4,poster")
    assert "--dataset" not in note  # what stands there wins over what the code would do
    words = note.removeprefix("note: read as train.py ").split()
    meta = read_meta(files_of(tmp_path / "m").meta)
    again = ["-o", str(tmp_path / "again"), "-d", "digits-grey", "-e", "1", "--quiet"]
    train.main([*words, *again])
    other = read_meta(files_of(tmp_path / "again").meta)
    assert {key for key in meta if meta[key] != other[key]} == {"-o", "--quiet"}
    assert "<setting>" not in meta and "--kl-min" not in meta
    assert (tmp_path / "m.perf").read_text() == (tmp_path / "again.perf").read_text()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("n_z=4 --lr 1e-3 margs.alpha=1", "--lr does not go with key=value words"),
        ("n_z=4 --model burda", "--model does not go with key=value words"),
        ("n_z=4 --depths 2", "--depths does not go with"),
        ("n_z=4 --preset burda2016", "--preset does not go with"),
        ("n_z=4 --resume m", "--resume does not go with"),
        ("margs.prior=made", "margs.prior=made cannot be had here"),
        ("m", "'m': a word too many"),
        ("--anneal kl=0:1:2 m=1", "m=1 is not translated"),
    ],
)
def test_train_refuses_in_one_line(words, sentence, capsys):
    with pytest.raises(SystemExit) as stop:
        train.main(words.split())
    assert stop.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert sentence in lines[0] and len(lines) == 1


def test_values_with_an_equals_sign_are_not_taken_for_settings(tmp_path, capsys):
    sizes = "-d digits --model sbn:layers=1,units=3 --estimator vimco --vae-samples 2 -b 600"
    train.main([*sizes.split(), "-e", "1", "-o", f"{tmp_path}/n_z=3", "--lr=1e-3"])
    assert "read as" not in capsys.readouterr().out
    assert (tmp_path / "n_z=3.perf").exists()


@pytest.mark.parametrize(
    ("more", "kept", "left"),
    [
        ("--vae-type vae", {"--vae-type": "vae"}, "--estimator"),
        ("--schedule iwae", {"--schedule": "iwae"}, "--lr"),
        ("--average 0.99", {"--average": "0.99"}, "--average"),
    ],
)
def test_options_that_are_given_win(more, kept, left, capsys):
    arguments, given = train._understood(
        *train.arguments_of(train.__doc__, ["depths=[1,1]", *more.split()])
    )
    assert kept.items() <= arguments.items() and kept.items() <= given.items()
    assert left not in capsys.readouterr().out
