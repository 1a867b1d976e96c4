"""What depends on data in a link is set from the first batch of a new run, and never again."""

import chainer
import numpy as np
import pytest
from runs import settings_for

import jvi
from jvi.datasets import Dataset, as_it_is, bits_per_dimension, of_bytes
from jvi.engine.random import stream
from jvi.models import GaussianToy
from jvi.models.files import read_snapshot
from jvi.models.model import Model
from jvi.scripts import train as command
from jvi.training.average import ENTRY
from jvi.training.checkpoints import files_of, log_of, resume
from jvi.training.trainer import FIRST, build_trainer

STILL = {"optimizer": "sgd", "lr": 1e-12}  # so that what was set is there after an epoch, too


class Shown(GaussianToy):
    """It sets mu to the mean of what it is shown and some noise, and remembers it."""

    of_bytes = True  # for the tests of such data

    def __init__(self, dim, rng=None):
        super().__init__(dim, rng)
        self.seen, self.checked = [], []

    def check(self, x):
        self.checked.append((x.dtype, len(x), x.max()))
        return super().check(x)

    def initialise(self, x, source):
        assert not chainer.config.enable_backprop
        noise = source.normal((1, *x.shape))[0].mean(axis=0)
        self.seen.append(np.array(x))
        self.mu.array = x.mean(axis=0) + noise


def rows(number=300, dim=3):
    return np.random.default_rng(0).normal(size=(number, dim)).astype(np.float32)


def data_of(array):
    return Dataset("rows", array, array[:20], array[:20], observe=as_it_is)


def trainer_at(prefix, link, epochs=1, data=None, meta=None, **options):
    settings = settings_for(name="iwae", epochs=epochs, **STILL | options)
    model = Model(link, meta=meta)
    return build_trainer(model, data or data_of(rows()), settings, prefix, {})


def trained(prefix, **options):
    trainer = trainer_at(prefix, Shown(3, np.random.default_rng(1)), **options)
    trainer.run(show_loop_exception_msg=False)
    return trainer


@pytest.mark.parametrize("batch_size", [64, 200])
def test_a_new_run_shows_its_first_batch_once(tmp_path, batch_size):
    trainer = trained(tmp_path / "m", epochs=2, batch_size=batch_size, average=0.9)
    link, number = trainer.updater.step.model.link, min(batch_size, FIRST)
    expected = rows()[stream(0, "order", 0).permutation(300)[:number]]
    assert len(link.seen) == 1
    np.testing.assert_array_equal(link.seen[0], expected)
    noise = link.mu.array - expected.mean(axis=0)
    assert 0 < np.abs(noise).max() < 5 / np.sqrt(number)
    np.testing.assert_allclose(link.mu.update_rule.state[ENTRY], link.mu.array, rtol=1e-6)


def test_what_is_set_depends_on_the_seed_alone(tmp_path):
    mu = []
    for number, seed in enumerate([5, 5, 6]):
        trainer = trained(tmp_path / str(number), seed=seed)
        mu.append(trainer.updater.step.model.link.mu.array)
    np.testing.assert_array_equal(mu[0], mu[1])
    assert np.abs(mu[0] - mu[2]).min() > 1e-4


def test_a_continued_run_shows_nothing(tmp_path):
    trained(tmp_path / "m", lr=1e-3)
    trainer = trainer_at(tmp_path / "m", Shown(3, np.random.default_rng(1)), epochs=2)
    resume(trainer, read_snapshot(files_of(tmp_path / "m").latest, trainer.updater.step.model.link))
    trainer.run(show_loop_exception_msg=False)
    assert trainer.updater.step.model.link.seen == []


def test_a_run_continued_from_before_its_first_step_is_a_new_one(tmp_path):
    """With the training arguments of its files, as a model that is read has them."""
    whole = trained(tmp_path / "whole").updater.step.model.link
    first = trainer_at(tmp_path / "m", Shown(3, np.random.default_rng(1)))
    first._start_at = 0.0  # without a run it has no clock
    first.get_extension("save").initialize(first)
    link = Shown(3, np.random.default_rng(2))
    trainer = trainer_at(tmp_path / "m", link, meta={"--seed": "0"})
    resume(trainer, read_snapshot(files_of(tmp_path / "m").latest, link))
    trainer.run(show_loop_exception_msg=False)
    assert len(link.seen) == 1
    for name, parameter in link.namedparams():
        np.testing.assert_array_equal(parameter.array, dict(whole.namedparams())[name].array)


def test_a_model_that_is_trained_further_is_shown_nothing():
    data, options = data_of(rows()), {"epochs": 1, "quiet": True, "lr": 1e-3}
    link = Shown(3, np.random.default_rng(1))
    model = jvi.train(link, data, **options)
    assert len(link.seen) == 1
    jvi.train(model, data, **options)
    assert model.link.seen == []


# --- bytes, and what is told of them --------------------------------------------------------------


def bytes_of(number=2500, dim=3):
    array = np.random.default_rng(0).integers(0, 256, (number, dim)).astype(np.uint8)
    unit = bits_per_dimension(dim)
    return Dataset("bytes", array, array[:20], array[:20], observe=of_bytes, unit=unit)


def test_bytes_are_checked_as_they_are_observed_and_not_all_at_once(tmp_path):
    link = Shown(3, np.random.default_rng(1))
    trainer_at(tmp_path / "m", link, data=bytes_of())
    assert sum(number for _, number, _ in link.checked) == 2500 + 20
    for dtype, number, largest in link.checked:
        assert dtype == np.float32 and number <= 1024 and 0.5 < largest < 1


def test_bytes_that_a_model_does_not_take_are_refused(tmp_path):
    with pytest.raises(ValueError, match="4"):
        trainer_at(tmp_path / "m", Shown(4, np.random.default_rng(1)), data=bytes_of())


@pytest.mark.parametrize("unit", ["bits/dim", "nats"])
def test_each_epochs_bound_is_told_in_the_datas_unit(tmp_path, capsys, unit):
    data = bytes_of() if unit == "bits/dim" else data_of(rows())
    trainer = trained(tmp_path / "m", data=data, quiet=False)
    entry, lines = log_of(trainer)[-1], capsys.readouterr().out.splitlines()
    heads, numbers = lines[-2].split(), lines[-1].split()
    shown = dict(zip(heads, map(float, numbers), strict=False))
    nats = -entry["validation/main/iwae"]
    told = command._in_units(nats, trainer)
    assert shown["iwae"] == pytest.approx(nats, abs=1e-3)
    assert ("bits/dim" in heads) == (unit == "bits/dim")
    if unit == "bits/dim":
        assert shown[unit] == pytest.approx(-nats / (3 * np.log(2)), abs=1e-3)
        assert told == f"{nats:.3f} nats, {-nats / (3 * np.log(2)):.4f} bits/dim"
    else:
        assert told == f"{nats:.3f} nats"


def test_bytes_are_refused_by_models_of_other_data():
    link = GaussianToy(3, np.random.default_rng(0))
    data = data_of(rows().astype(np.uint8))._replace(observe=of_bytes)
    with pytest.raises(ValueError, match="of bytes, for which gaussian-toy has no likelihood"):
        jvi.train(link, data, epochs=1, quiet=True)
