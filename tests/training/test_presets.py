"""Presets: every one can be trained, and says where each of its numbers comes from."""

import inspect
import json
from pathlib import Path

import numpy as np
import pytest

import jvi
from jvi.cli import arguments_of
from jvi.compat.meta import read_meta
from jvi.datasets import DATASETS
from jvi.evidence.estimators import estimator
from jvi.models import check_name
from jvi.scripts import train
from jvi.training.checkpoints import files_of
from jvi.training.optimizers import make_optimizer
from jvi.training.presets import KEYWORDS, filled_in, preset, presets
from jvi.training.schedules import schedule

NAMES = tuple(presets())
OPTIONS, _ = arguments_of(train.__doc__, [])


def test_they_are_the_papers():
    assert set(NAMES) == {
        *("burda2016", "rainforth2018", "lievin2020-sbn", "lievin2020-gmm", "nowozin2018"),
        *("kingma2016-cifar10", "kingma2016-table3", "kingma2016-small", "kingma2016-mnist"),
    }
    assert all(f'"{name}"' in train.__doc__ for name in NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_value_is_a_text_of_a_known_option_with_a_source(name):
    found = preset(name)
    assert found.options.keys() == found.sources.keys() <= OPTIONS.keys()
    for option, value in found.options.items():
        assert isinstance(value, str) and isinstance(found.sources[option], str), option
        assert len(found.sources[option]) > 5, option
    assert {"--dataset", "--model", "--estimator", "--vae-samples", "--batchsize"} <= set(
        found.options
    )
    assert {"--opt", "--clip", "--epochs"} <= set(found.options)
    assert ("--lr" in found.options) != ("--schedule" in found.options)


@pytest.mark.parametrize("name", NAMES)
def test_every_value_means_something(name):
    options = preset(name).options
    assert options["--dataset"] in DATASETS
    check_name(options["--model"])
    samples = int(options["--vae-samples"])
    estimator(options["--estimator"])(np.zeros((samples, 1)))
    make_optimizer(options["--opt"], 1.0)


@pytest.mark.parametrize("name", ["burda2016", "rainforth2018"])
def test_with_the_schedule_come_its_epochs_and_its_optimizer(name):
    options = preset(name).options
    found = schedule(options["--schedule"])
    assert (str(found.epochs), found.optimizer) == (options["--epochs"], options["--opt"])


@pytest.mark.parametrize(
    ("name", "steps", "rows"),
    [("lievin2020-sbn", 4_000_000, 50_000), ("lievin2020-gmm", 100_000, 100_000)],
)
def test_steps_are_told_in_epochs(name, steps, rows):
    options = preset(name).options
    assert int(options["--epochs"]) * rows == steps * int(options["--batchsize"])


# What replaces options of presets whose steps would take minutes.
SIZES = {"--depths": "1", "--n-z": "2", "--n-h": "4", "--depth-ar": "1", "--batchsize": "650"}
SMALLER = {
    "kingma2016-cifar10": SIZES,
    "kingma2016-table3": SIZES,
    "kingma2016-small": SIZES,
    "kingma2016-mnist": {"--model": "iaf:steps=2,width=16"},
}


def small(name, folder):
    """Data of the shape that a preset's are, as a file."""
    if name == "cifar10":
        return "digits-grey"
    rng = np.random.default_rng(0)
    if name == "mixture":
        rows = 50 + 50 * rng.normal(size=(40, 1))
    else:
        rows = rng.integers(0, 2, size=(40, 784))
    path = folder / f"{name}.npz"
    np.savez(path, rows.astype(np.float32))
    return str(path)


@pytest.mark.parametrize("name", NAMES)
def test_every_preset_trains_and_is_continued_without_it(name, tmp_path):
    """On other data and for an epoch: these options are replaced, the others are the preset's."""
    options = preset(name).options
    smaller = SMALLER.get(name, {})
    options = options | smaller
    data, prefix = small(options["--dataset"], tmp_path), str(tmp_path / "m")
    words = [word for pair in smaller.items() for word in pair]
    words += ["-d", data, "-e", "1", "-o", prefix, "--quiet"]
    train.main(["--preset", name, *words])
    meta = read_meta(files_of(prefix).meta)
    changed = {"--dataset": data, "--epochs": "1", "--model": meta["--model"]}
    for option, value in (options | changed).items():
        assert meta[option] == value, option
    assert meta["--model"].startswith(options["--model"].partition(":")[0])
    assert all(pair in meta["--model"] for pair in options["--model"].partition(":")[2].split(","))
    train.main(["--resume", prefix, "-e", "2", "--quiet"])
    assert [e["epoch"] for e in json.loads(files_of(prefix).log.read_text())] == [1, 2]
    again = read_meta(files_of(prefix).meta)
    assert again == meta | {"--epochs": "2", "--resume": prefix}


def with_preset(name, words=""):
    """The arguments that a command line comes to."""
    return filled_in(*arguments_of(train.__doc__, ["--preset", name, *words.split()]))


def test_what_is_given_wins():
    found = with_preset("burda2016", "--model burda:layers=2 --vae-samples 5 -e 40 --clip 4")
    expected = {"--model": "burda:layers=2", "--vae-samples": "5", "--epochs": "40", "--clip": "4"}
    assert expected.items() <= found.items()
    assert {
        "--dataset": "mnist",
        "--batchsize": "20",
        "--schedule": "iwae",
    }.items() <= found.items()
    assert with_preset("burda2016", "--opt sgd")["--opt"] == "sgd"


def test_a_given_schedule_brings_its_epochs_and_optimizer():
    found = with_preset("burda2016", "--schedule iwae:epochs=40")
    assert found["--epochs"] == "40"
    found = with_preset("lievin2020-sbn", "--schedule iwae")
    assert (found["--epochs"], found["--opt"]) == ("3280", "adam:eps=1e-4")
    found = with_preset("lievin2020-sbn", "--schedule iwae -e 3 --opt sgd")
    assert (found["--epochs"], found["--opt"]) == ("3", "sgd")
    found = with_preset("burda2016", "--schedule constant --lr 1e-3")
    assert (found["--epochs"], found["--lr"], found["--schedule"]) == ("3280", "1e-3", "constant")


def test_an_objective_is_named_in_one_way():
    found = with_preset("burda2016", "--vae-type vae")
    assert (found["--vae-type"], found["--estimator"]) == ("vae", None)


def test_without_a_preset_nothing_changes_but_what_a_schedule_says():
    arguments, given = arguments_of(train.__doc__, ["--seed", "3"])
    assert filled_in(arguments, given) == arguments
    arguments, given = arguments_of(train.__doc__, ["--schedule", "iwae"])
    changed = {"--epochs": "3280", "--opt": "adam:eps=1e-4"}
    assert filled_in(arguments, given) == arguments | changed


@pytest.mark.parametrize("name", NAMES)
def test_the_same_as_arguments_of_the_call(name):
    keywords = preset(name).keywords
    known = inspect.signature(jvi.train).parameters
    assert keywords.keys() <= known.keys()
    assert {keyword for keyword, _ in KEYWORDS.values()} <= known.keys()
    check_name(keywords["model_or_name"])
    assert keywords["num_samples"] == int(preset(name).options["--vae-samples"])


def test_the_call_and_the_command_are_the_same_training(tmp_path):
    data = small("mnist", tmp_path)
    keywords = preset("nowozin2018").keywords | {"data": data, "epochs": 1}
    assert keywords["model_or_name"] == "mlp:hidden=300,latent=40"
    jvi.train(**keywords, output=tmp_path / "call", quiet=True)
    words = ["--preset", "nowozin2018", "-d", data, "-e", "1", "--quiet"]
    train.main([*words, "-o", str(tmp_path / "command")])
    logs = [json.loads(files_of(tmp_path / n).log.read_text()) for n in ("call", "command")]
    for log in logs:
        del log[0]["elapsed_time"]
    assert logs[0] == logs[1]


def test_an_unknown_name_is_refused():
    with pytest.raises(ValueError, match="unknown preset 'burda': choose from burda2016, rainf"):
        preset("burda")


def test_they_are_listed_with_every_source(capsys):
    train.main(["--list-presets"])
    lines = capsys.readouterr().out.splitlines()
    for name in NAMES:
        found = preset(name)
        assert any(line == f"{name}: {found.about}" for line in lines)
        for option, value in found.options.items():
            words = [option, value, found.sources[option]]
            assert any(line.split(None, 2) == words for line in lines), words


def test_the_file_lies_beside_the_module():
    assert (Path(inspect.getfile(preset)).parent / "presets.yaml").is_file()
