"""Schedules: the published rates, and that a run which follows one can be interrupted anywhere."""

import numpy as np
import pytest
from runs import log_of, settings_for, train, trainer_for

from jvi import datasets
from jvi.models.files import read_snapshot
from jvi.training.checkpoints import files_of, resume
from jvi.training.schedules import SCHEDULES, check_rate, schedule


def test_iwaes_rates_are_the_published_ones_in_every_epoch():
    expected = [0.001 * 10 ** (-i / 7) for i in range(8) for _ in range(3**i)]
    found = schedule("iwae")
    assert found.epochs == len(expected) == 3280
    assert [found.rate(epoch) for epoch in range(3280)] == pytest.approx(expected, rel=1e-12)
    assert found.rate(10**6) == found.rate(3279) == pytest.approx(1e-4)


@pytest.mark.parametrize("epochs", [8, 9, 10, 13, 40, 100, 3279, 3281, 20_000])
def test_in_another_number_of_epochs_each_rate_stays_longer_than_the_one_before(epochs):
    """Up to rounding, by the same factor: the root of 1 + b + … + b^7 = epochs."""
    found = schedule(f"iwae:epochs={epochs},lr=0.5")
    rates = [found.rate(epoch) for epoch in range(epochs)]
    starts = [0, *(np.flatnonzero(np.diff(rates)) + 1)]
    np.testing.assert_allclose([rates[i] for i in starts], 0.5 * 10 ** (-np.arange(8) / 7))
    roots = np.roots([*[1] * 7, 1 - epochs])
    ratio = roots[(abs(roots.imag) < 1e-9) & (roots.real > 0)].real.item()
    expected = np.cumsum(ratio ** np.arange(8))
    assert found.epochs == epochs == pytest.approx(expected[-1])
    np.testing.assert_allclose([*starts[1:], epochs], expected, atol=0.5 + 1e-6)


def test_a_constant_rate_never_changes_and_has_no_end():
    found = schedule("constant", lr=1e-5)
    assert {found.rate(epoch) for epoch in (0, 1, 10**9)} == {1e-5}
    assert found.epochs is None and found.optimizer is None
    assert schedule("constant:lr=0.25", lr=1e-5).rate(3) == 0.25


def test_a_rate_that_falls_is_held_first_and_ends_at_its_share():
    found = schedule("decay:hold=2,epochs=5,lr=0.8,last=0.125")
    rates = [found.rate(epoch) for epoch in range(8)]
    assert rates == pytest.approx([0.8, 0.8, 0.4, 0.2, 0.1, 0.1, 0.1, 0.1], rel=1e-14)
    assert found.epochs == 5 and found.optimizer is None
    longer = schedule("decay:hold=2,epochs=50,lr=0.8,last=0.125")
    assert [longer.rate(epoch) for epoch in range(2)] == rates[:2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cosine", "unknown schedule 'cosine': choose from constant, decay, iwae"),
        ("constant", "schedule constant needs lr: write constant:lr="),
        ("constant:lr=0", "constant:lr must be positive, not 0"),
        ("iwae:lr=-1", "iwae:lr must be positive, not -1"),
        ("iwae:epochs=7", "iwae:epochs must be at least 8, one a rate, not 7"),
        ("iwae:epochs=1e3", "iwae:epochs must be a whole number"),
        ("decay:epochs=9", "schedule decay needs hold: write decay:hold="),
        ("decay:hold=9,epochs=9", "decay:hold must be from 0 to below the 9 epochs, not 9"),
        ("decay:hold=-1,epochs=9", "decay:hold must be from 0 to below the 9 epochs, not -1"),
        ("decay:hold=1,epochs=9,last=0", "decay:last must be above 0 and at most 1, .* not 0"),
        ("decay:hold=1,epochs=9,lr=0", "decay:lr must be positive, not 0"),
        ("iwae:stages=3", "schedule iwae has no option 'stages': it has epochs, lr"),
    ],
)
def test_what_is_no_schedule(text, message):
    with pytest.raises(ValueError, match=message):
        schedule(text)


def test_a_rate_is_said_once():
    check_rate("constant", 0.1)
    check_rate("iwae:epochs=40", None)
    for text, name in (("iwae", "iwae"), ("constant:lr=1", "constant")):
        with pytest.raises(ValueError, match=f"says the learning rate: write {name}:lr=0.1"):
            check_rate(text, 0.1)


def test_every_schedule_is_described():
    assert all(make.__doc__ for make in SCHEDULES.values())


@pytest.fixture(scope="module")
def data():
    full = datasets.load("digits")
    return full._replace(train=full.train[:60], validation=full.validation[:20])


STEEP = {"schedule": "iwae:epochs=8,lr=0.1", "optimizer": "adam:eps=1e-4", "batch_size": 25}


def test_the_log_has_the_rate_of_each_epoch_and_the_rates_are_applied(tmp_path, data):
    """With plain gradient descent and one clipped gradient the length of a step is the rate."""
    options = STEEP | {"optimizer": "sgd", "clip": 1e-6, "batch_size": 60}
    trainer = trainer_for(tmp_path / "m", data, epochs=8, **options)
    link, before, steps = trainer.updater.step.model.link, [], []

    def measure(trainer):
        now = np.concatenate([p.array.ravel() for p in link.params()]).astype(np.float64)
        steps.append(np.linalg.norm(now - before[-1]) if before else np.nan)
        before.append(now)

    for parameter in link.params():
        parameter.array *= 0  # near zero, small steps are seen in float32
    before.append(np.zeros(sum(p.size for p in link.params())))
    trainer.extend(measure, name="measure", trigger=(1, "iteration"), priority=1000)
    trainer.run(show_loop_exception_msg=False)
    expected = 0.1 * 10 ** (-np.arange(8) / 7)
    assert [entry["lr"] for entry in log_of(tmp_path / "m")] == pytest.approx(expected)
    np.testing.assert_allclose(steps, 1e-6 * expected, rtol=1e-3)


@pytest.mark.parametrize("stop", [1, 4])
def test_a_run_that_is_continued_across_changes_of_the_rate_is_the_whole_run(tmp_path, data, stop):
    train(tmp_path / "whole", data, epochs=7, **STEEP)
    train(tmp_path / "parts", data, epochs=stop, **STEEP)
    trainer = trainer_for(tmp_path / "parts", data, epochs=7, **STEEP)
    link = trainer.updater.step.model.link
    resume(trainer, read_snapshot(files_of(tmp_path / "parts").latest, link))
    trainer.run(show_loop_exception_msg=False)
    assert log_of(tmp_path / "parts") == log_of(tmp_path / "whole")
    assert len({entry["lr"] for entry in log_of(tmp_path / "whole")}) == 7
    whole, parts = (read_snapshot(files_of(tmp_path / n).latest, link) for n in ("whole", "parts"))
    for name in whole:
        if name not in ("_snapshot_elapsed_time", "extensions/LogReport/_log"):
            np.testing.assert_array_equal(parts[name], whole[name], err_msg=name)


def test_settings_know_their_rate():
    assert settings_for(lr=0.3).rate(5) == 0.3
    assert settings_for(lr=None, schedule="iwae").rate(1) == pytest.approx(0.001 * 10 ** (-1 / 7))
