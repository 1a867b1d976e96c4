"""Sizes of a model as options of train.py by themselves, and other spellings of options."""

import pytest

from jvi.compat.meta import check_options, read_meta
from jvi.compat.options import SIZES, owners
from jvi.models.files import read_model
from jvi.scripts import train
from jvi.training.checkpoints import files_of

GREY = "-d digits-grey --estimator elbo --opt adamax -b 650 -e 1 --quiet"
RESNET = f"{GREY} --model iaf-resnet --depths 1,1 --n-z 2 --n-h 4 --posterior up_iaf1_NL"
DENSE = "--model iaf:hidden=4,latent=2,width=4 --posterior iaf1 --depth-ar 2"


def trained(prefix, words):
    train.main([*words.split(), "-o", str(prefix)])
    return read_model(prefix).link.spec, read_meta(files_of(prefix).meta)


def refused(words, capsys):
    with pytest.raises(SystemExit) as stop:
        train.main(words.split())
    lines = capsys.readouterr().err.splitlines()
    assert stop.value.code in (1, 2) and len(lines) == 1
    return lines[0]


def test_every_model_says_whose_options_they_are():
    assert owners("--nhidden") == ["mlp"] and owners("--depths") == ["iaf-resnet"]
    assert owners("--posterior") == ["iaf-resnet", "iaf"] and owners("--lr") == []
    assert all(f"  {option} <" in train.__doc__ for model in SIZES.values() for option in model)


def test_they_are_the_models_and_stay_so(tmp_path, capsys):
    prefix = tmp_path / "m"
    spec, meta = trained(prefix, f"{RESNET} --kl-min 0.5 --average 0.9")
    expected = {"depths": "1-1", "n_z": 2, "n_h": 4, "posterior": "up_iaf1", "depth_ar": 1}
    assert expected.items() <= spec.options.items()
    assert meta["--model"] == str(spec)
    assert (meta["--free-bits"], meta["--average"]) == ("0.5", "0.9")
    assert "--kl-min" not in meta
    assert (meta["--depths"], meta["--depth-ar"], meta["--posterior"]) == ("1-1", "1", "up_iaf1")
    check_options(meta, "meta")
    train.main(["--resume", str(prefix), "-e", "2", "--depths", "1,1", "--n-z", "2", "--quiet"])
    assert read_meta(files_of(prefix).meta)["--free-bits"] == "0.5"
    line = refused(f"--resume {prefix} -e 3 --n-z 3", capsys)
    assert f"--n-z 3 does not fit {prefix}, trained with 2: a continued run keeps it" in line
    line = refused(f"--resume {prefix} -e 3 --depths 2", capsys)
    assert "--depths 2 does not fit" in line and "trained with 1-1" in line
    line = refused(f"--resume {prefix} -e 3 --nhidden 3", capsys)
    assert "--nhidden is mlp's, but" in line


def test_the_dense_model_has_two_of_them(tmp_path):
    spec, _ = trained(tmp_path / "m", f"{DENSE} -b 650 -e 1 --opt adamax --estimator elbo --quiet")
    assert spec.options["posterior"] == "iaf1" and spec.options["depth_ar"] == 2


def test_what_the_originals_reader_sees_is_as_before(tmp_path):
    """Of the original's network: its sizes as text, and nothing for sizes that others have."""
    small = "--nhidden 4 --nlatent 2 -b 650 -e 1 --quiet"
    _, meta = trained(tmp_path / "m", f"{small} --vae-type vae --opt adam")
    assert (meta["--nhidden"], meta["--nlatent"]) == ("4", "2")
    assert all(meta[option] is None for option in SIZES["iaf-resnet"])
    check_options(meta, "meta")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("--depths 2,2", "--depths is iaf-resnet's depths: give sizes once, in --model mlp:"),
        ("--model iaf --n-z 2", "--n-z is iaf-resnet's n_z"),
        ("--model burda --posterior diag", "--posterior is iaf-resnet and iaf's posterior"),
        ("--model iaf-resnet --nhidden 3", "--nhidden is mlp's hidden"),
        ("--model iaf-resnet:depths=2 --depths 2", "--depths is iaf-resnet's depths: give sizes o"),
        ("--model iaf-resnet:n-z=2 --n-z 2", "--n-z is iaf-resnet's n_z: give sizes once"),
        ("--model iaf-resnet --n-z x", "--n-z must be a whole number"),
        ("--model iaf-resnet --n-h 0", "--n-h must be at least 1"),
        ("--model iaf-resnet --depth-ar -1", "--depth-ar must be at least 0"),
        ("--model iaf-resnet --depths 2,x", "depths"),
        ("--model iaf-resnet --posterior iaf9", "posterior"),
        ("--kl-min 1 --free-bits 1", "--kl-min is another name of --free-bits: give one"),
        ("--kl-min x", "--free-bits must be a number"),
    ],
)
def test_refused_in_one_line(words, sentence, capsys):
    assert sentence in refused(f"-d digits-grey {words}", capsys)
