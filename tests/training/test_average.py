"""The moving average of the parameters: its rule, and that it is what is selected and kept."""

import numpy as np
import pytest
from runs import log_of, settings_for, train, trainer_for

import jvi
from jvi import datasets
from jvi.compat.meta import read_meta
from jvi.models import build
from jvi.models.files import read_model, read_snapshot
from jvi.models.model import Model, load
from jvi.scripts import train as command
from jvi.training.average import ENTRY, averaged, keep_average
from jvi.training.checkpoints import SELECTED_BY, files_of, resume
from jvi.training.optimizers import optimizer_for
from jvi.training.trainer import validate

MODEL, OPTIMIZER = "updater/model:main", "updater/optimizer:main"


@pytest.fixture(scope="module")
def data():
    full = datasets.load("digits")
    return full._replace(train=full.train[:200], validation=full.validation[:50])


@pytest.fixture
def model():
    return Model(build("mlp:hidden=3,latent=2", 5, np.random.default_rng(0)))


def step_somewhere(optimizer, number):
    rng = np.random.default_rng(number)
    for parameter in optimizer.target.params():
        parameter.grad = rng.normal(size=parameter.shape).astype(np.float32)
    optimizer.update()


def averages(optimizer):
    return [parameter.update_rule.state[ENTRY] for parameter in optimizer.target.params()]


def arrays(optimizer):
    return [parameter.array for parameter in optimizer.target.params()]


def averages_in(snapshot):
    """By the parameter's name, of a snapshot's arrays."""
    ending = f"/{ENTRY}"
    found = [key for key in snapshot if key.startswith(OPTIMIZER) and key.endswith(ending)]
    return {key.removeprefix(OPTIMIZER).removesuffix(ending): snapshot[key] for key in found}


@pytest.mark.parametrize("decay", [0.3, 0.9, 0.999])
@pytest.mark.parametrize("name", ["sgd", "adamax"])
def test_an_average_is_that_of_the_loop(model, name, decay):
    """Of 0.3 the decay itself holds from the third step on, of 0.999 never in forty."""
    optimizer = optimizer_for(name, 0.1, model.link, average=decay)
    expected = [array.astype(np.float64) for array in arrays(optimizer)]
    for t in range(1, 41):
        step_somewhere(optimizer, t)
        kept = min(decay, (1 + t) / (10 + t))
        for mean, array in zip(expected, arrays(optimizer), strict=True):
            mean[...] = kept * mean + (1 - kept) * array
    for found, mean in zip(averages(optimizer), expected, strict=True):
        np.testing.assert_allclose(found, mean, rtol=1e-4, atol=1e-5)


def test_an_average_takes_the_parameters_place_for_a_while(model):
    optimizer = optimizer_for("sgd", 0.1, model.link, average=0.9)
    step_somewhere(optimizer, 0)
    before, means = arrays(optimizer), averages(optimizer)
    with pytest.raises(KeyboardInterrupt), averaged(optimizer):
        assert all(map(np.array_equal, arrays(optimizer), means))
        assert not any(map(np.array_equal, arrays(optimizer), before))
        raise KeyboardInterrupt
    assert all(a is b for a, b in zip(arrays(optimizer), before, strict=True))
    assert all(a is b for a, b in zip(averages(optimizer), means, strict=True))


def test_without_an_average_the_parameters_stay_where_they_are(model):
    optimizer = optimizer_for("sgd", 0.1, model.link)
    before = arrays(optimizer)
    with averaged(optimizer):
        assert all(a is b for a, b in zip(arrays(optimizer), before, strict=True))


@pytest.mark.parametrize("decay", [-0.1, 1.0, 2.0, np.nan])
def test_what_is_no_decay(model, decay):
    with pytest.raises(ValueError, match="average must be at least 0 and below 1, not"):
        optimizer_for("sgd", 0.1, model.link, average=decay)
    with pytest.raises(ValueError, match="average must be at least 0 and below 1, not"):
        keep_average(optimizer_for("sgd", 0.1, model.link), decay)


@pytest.mark.parametrize("vae_type", ["iwae", "jvi+elbo"])
def test_the_averages_are_what_is_validated_and_kept(tmp_path, data, vae_type):
    prefix = tmp_path / "m"
    train(prefix, data, vae_type=vae_type, epochs=4, lr=1e-2, average=0.7)
    best, latest = read_model(files_of(prefix).best), read_snapshot(files_of(prefix).latest)
    values = [entry[SELECTED_BY] for entry in log_of(prefix)]
    assert values[-1] == min(values)
    held_out = datasets.observe_each(data, data.validation, 0)
    again = validate(load(prefix), held_out, settings_for(vae_type))[SELECTED_BY]
    assert again == pytest.approx(values[-1], rel=1e-6)
    raw = read_model(files_of(prefix).latest)
    assert validate(Model(raw.link), held_out, settings_for(vae_type))[SELECTED_BY] != again
    found = averages_in(latest) if vae_type == "iwae" else averages_in(as_main(latest))
    assert found.keys() == {f"/{name}" for name in best.parameters}
    for name, array in best.parameters.items():
        np.testing.assert_array_equal(found[f"/{name}"], array)
        assert not np.array_equal(raw.parameters[name], array)
    assert not averages_in(as_main(read_snapshot(files_of(prefix).best)))


def as_main(snapshot):
    return {key.replace(":elbo/", ":main/"): value for key, value in snapshot.items()}


def test_averages_are_beside_the_training_and_not_in_it(tmp_path, data):
    """Parameters and losses are those of a run without."""
    for name, average in (("with", 0.9), ("without", 0.0)):
        train(tmp_path / name, data, epochs=2, average=average)
    with_, without = (read_snapshot(files_of(tmp_path / n).latest) for n in ("with", "without"))
    assert with_.keys() - without.keys() == {
        f"{OPTIMIZER}{name}/{ENTRY}" for name in averages_in(with_)
    }
    for key in without:
        if key.startswith((MODEL, OPTIMIZER)):
            np.testing.assert_array_equal(with_[key], without[key], err_msg=key)
    losses = ([e["main/obj"] for e in log_of(tmp_path / n)] for n in ("with", "without"))
    assert next(losses) == next(losses)


@pytest.mark.parametrize("vae_type", ["jvi", "jvi+elbo"])
def test_an_interruption_changes_no_average(tmp_path, data, vae_type):
    options = {"batch_size": 48, "optimizer": "adamax", "average": 0.95, "vae_type": vae_type}
    train(tmp_path / "whole", data, epochs=4, **options)
    train(tmp_path / "parts", data, epochs=2, **options)
    trainer = trainer_for(tmp_path / "parts", data, epochs=4, **options)
    resume(trainer, read_snapshot(files_of(tmp_path / "parts").latest))
    trainer.run(show_loop_exception_msg=False)
    assert log_of(tmp_path / "parts") == log_of(tmp_path / "whole")
    for file in ("latest", "best"):
        whole, parts = (
            read_snapshot(getattr(files_of(tmp_path / name), file)) for name in ("whole", "parts")
        )
        assert whole.keys() == parts.keys()
        for key in whole.keys() - {"_snapshot_elapsed_time", "extensions/LogReport/_log"}:
            np.testing.assert_array_equal(parts[key], whole[key], err_msg=key)


@pytest.mark.parametrize("file", ["latest", "best"])
def test_averages_of_a_snapshot_without_begin_at_its_parameters(tmp_path, data, file):
    """One that was trained without, or the best epoch's, which has them for parameters."""
    train(tmp_path / "m", data, epochs=2, average=0.9 if file == "best" else 0.0)
    snapshot = read_snapshot(getattr(files_of(tmp_path / "m"), file))
    trainer = trainer_for(tmp_path / "n", data, epochs=3, average=0.9)
    resume(trainer, snapshot)
    link = trainer.updater.step.model.link
    for name, parameter in link.namedparams():
        average = parameter.update_rule.state[ENTRY]
        np.testing.assert_array_equal(parameter.array, snapshot[f"{MODEL}{name}"])
        np.testing.assert_array_equal(average, snapshot[f"{MODEL}{name}"])
        assert average is not parameter.array
    trainer.run(show_loop_exception_msg=False)
    assert averages_in(read_snapshot(files_of(tmp_path / "n").latest))


def test_a_snapshot_that_lacks_some_averages_is_refused(tmp_path, data):
    train(tmp_path / "m", data, epochs=1, average=0.9)
    snapshot = read_snapshot(files_of(tmp_path / "m").latest)
    del snapshot[f"{OPTIMIZER}/encode/qlin0/b/{ENTRY}"]
    with pytest.raises(ValueError, match=f"has no entry {OPTIMIZER}/encode/qlin0/b/{ENTRY}"):
        resume(trainer_for(tmp_path / "m", data, average=0.9), snapshot)
    snapshot[f"{OPTIMIZER}/encode/qlin0/b/{ENTRY}"] = np.zeros(3, np.float32)
    with pytest.raises(ValueError, match=f"{ENTRY} has shape \\(3,\\)"):
        resume(trainer_for(tmp_path / "m", data, average=0.9), snapshot)


def test_averages_can_be_left_out_later(tmp_path, data):
    train(tmp_path / "m", data, epochs=1, average=0.9)
    trainer = trainer_for(tmp_path / "m", data, epochs=2)
    resume(trainer, read_snapshot(files_of(tmp_path / "m").latest))
    trainer.run(show_loop_exception_msg=False)
    assert not averages_in(read_snapshot(files_of(tmp_path / "m").latest))


def test_training_as_one_call_returns_the_averages(tmp_path, data):
    options = {"epochs": 3, "lr": 1e-2, "quiet": True, "average": 0.7}
    model = jvi.train("mlp:hidden=8,latent=2", data, output=tmp_path / "m", **options)
    assert model.meta["--average"] == "0.7"
    found = averages_in(read_snapshot(files_of(tmp_path / "m").latest))
    for name, parameter in model.link.namedparams():
        np.testing.assert_array_equal(parameter.array, found[name])
    with pytest.raises(ValueError, match="average must be at least 0 and below 1, not 1"):
        jvi.train("mlp:hidden=8,latent=2", data, **options | {"average": 1.0})


def test_the_command_averages_and_a_continued_run_keeps_doing_so(tmp_path):
    prefix, sizes = str(tmp_path / "m"), "--nhidden 8 --nlatent 2 --vae-type iwae -b 700 --quiet"
    command.main([*sizes.split(), "-o", prefix, "-e", "1", "--opt", "adamax", "--average", "0.9"])
    before = averages_in(read_snapshot(files_of(prefix).latest))
    assert before and read_meta(files_of(prefix).meta)["--average"] == "0.9"
    command.main(["--resume", prefix, "-e", "2", "--quiet"])
    after = averages_in(read_snapshot(files_of(prefix).latest))
    assert after.keys() == before.keys()
    assert not any(np.array_equal(after[name], before[name]) for name in before)
    for text in ("1", "-0.5", "many"):
        with pytest.raises(SystemExit, match="error: --average"):
            command.main([*sizes.split(), "-o", f"{prefix}2", f"--average={text}"])
