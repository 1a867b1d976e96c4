"""What changes while training, and a minimum of information."""

import numpy as np
import pytest
from runs import log_of, settings_for, train, trainer_for

from jvi import datasets
from jvi.engine.random import Given
from jvi.evidence.estimators import estimator
from jvi.models import MLP, SBN
from jvi.training.annealed import Annealed, annealed
from jvi.training.checkpoints import files_of, resume
from jvi.training.objective import Objective, changed, check_fit, draw, follow, loss
from jvi.training.trainer import validate


@pytest.fixture(scope="module")
def data():
    full = datasets.load("digits")
    return full._replace(train=full.train[:200], validation=full.validation[:50])


def test_a_value_goes_on_a_line_and_stays():
    (kl,) = annealed("kl=0:1:20")
    assert kl == Annealed("kl", 0.0, 1.0, 20) and annealed(str(kl)) == (kl,)
    assert [kl.at(epoch) for epoch in (0, 5, 15, 20, 1000)] == [0, 0.25, 0.75, 1, 1]
    alpha, _ = annealed("alpha=0.99:0:50, kl=0.5:1:10")
    assert alpha.at(0) == 0.99 and alpha.at(25) == pytest.approx(0.495) and alpha.at(50) == 0


@pytest.mark.parametrize("text", ["kl", "kl=1", "kl=0:1", "kl=0:1:0", "kl=0:x:3", "kl=0:1:2:3"])
def test_anything_else_is_one_sentence(text):
    with pytest.raises(ValueError, match="write OPTION=START:END:EPOCHS, as kl=0:1:20"):
        annealed(text)


@pytest.mark.parametrize(
    "name, text, message",
    [
        ("iwae", "kl=0:1:2,kl=0:1:3", "give each option once"),
        ("rws", "kl=0:1:2", "rws has no gradient for a weighted KL part"),
        ("tvo", "kl=0:1:2", "no gradient for a weighted KL part"),
        ("wake-sleep", "kl=0:1:2", "no gradient for a weighted KL part"),
        ("iwae", "alpha=0:1:2", "iwae cannot anneal 'alpha': it has kl"),
        ("ovis", "beta=0:1:2", "cannot anneal 'beta': it has kl, gamma, alpha"),
        ("renyi", "alpha=0.5:1.5:2", "alpha must not exceed 1 on the way"),
        ("renyi", "alpha=0.5:1:2", "renyi:alpha must not be 1"),
        ("ovis", "gamma=0:2:2", "ovis:gamma must be between 0 and 1, not 2.0"),
        ("ciwae", "beta=-1:0.5:2", "ciwae:beta must be between 0 and 1, not -1.0"),
        ("ciwae:beta=learned", "beta=0:0.5:2", "learns its beta: anneal it or learn it"),
    ],
)
def test_what_makes_no_sense_is_refused_before_training(name, text, message):
    link = MLP(6, 4, 2, np.random.default_rng(0))
    with pytest.raises(ValueError, match=message):
        check_fit(changed(Objective(estimator(name)), text), link, 4)


def test_the_line_is_followed_whatever_else(tmp_path, data):
    """Means of an epoch's steps; a run that was interrupted goes on where it was."""
    options = {"name": "vimco", "model": "sbn:layers=1,units=8", "annealed": "alpha=0.9:0:3"}
    whole = train(tmp_path / "whole", data, epochs=4, **options)
    found = [entry["main/alpha"] for entry in log_of(tmp_path / "whole")]
    size, iterations = 64 / 200, iter(range(100))
    epochs = [entry["iteration"] for entry in log_of(tmp_path / "whole")]
    for value, count in zip(found, np.diff([0, *epochs]), strict=True):
        each = [max(0.0, 0.9 * (1 - next(iterations) * size / 3)) for _ in range(count)]
        assert value == pytest.approx(np.mean(each), rel=1e-12)
    train(tmp_path / "part", data, epochs=2, **options)
    trainer = trainer_for(tmp_path / "part", data, epochs=4, **options)
    with np.load(files_of(tmp_path / "part").latest) as arrays:
        resume(trainer, dict(arrays))
    trainer.run(show_loop_exception_msg=False)
    assert log_of(tmp_path / "part") == log_of(tmp_path / "whole")
    for a, b in zip(whole.updater.step.model.link.params(), _links(trainer), strict=True):
        np.testing.assert_array_equal(a.array, b.array)


def _links(trainer):
    return trainer.updater.step.model.link.params()


def test_validation_is_of_the_end(data):
    link = SBN(64, 1, 8, np.random.default_rng(0))
    from jvi.models.model import Model

    x = datasets.observe_each(data, data.validation, 0)
    plain, annealing = (
        validate(Model(link), x, settings_for(name=name, annealed=text))
        for name, text in (("vimco:alpha=0.3", ""), ("vimco", "alpha=0.9:0.3:5"))
    )
    assert plain == annealing


# --- A minimum of information ---------------------------------------------------------------------


def small():
    """A float64 model, images and noise: N = 5, K = 3, 6 pixels, 4 units."""
    rng = np.random.default_rng(0)
    link = MLP(6, 4, 4, rng)
    for parameter in link.params():
        parameter.array = rng.normal(0, 0.5, parameter.shape)
    return link, (rng.random((5, 6)) < 0.5).astype(np.float64), rng.normal(size=(3, 5, 4))


def test_the_kl_divergence_is_the_sum_of_its_units():
    link, x, _ = small()
    q = link.infer(x)
    units = link.kl_of_units(q).array
    assert units.shape == (5, 4) and (units > 0).all()
    np.testing.assert_allclose(units.sum(axis=1), link.kl(q).array, rtol=1e-12)


def test_its_gradient_is_that_of_the_larger_of_both():
    """Of Σ_j max(lambda, mean KL_j) - mean log p(x|z), by finite differences."""
    link, x, eps = small()
    mean = link.kl_of_units(link.infer(x)).array.mean(axis=0)
    free = float(np.sort(mean)[1:3].mean())  # between the second and the third
    objective = changed(Objective(estimator("elbo")), free_bits=free)

    def value(step, parameter, direction):
        start = parameter.array
        parameter.array = start + step * direction
        q = link.infer(x)
        log_px, _ = link.log_joint(x, link.draw(q, Given([eps]), 3)[0])
        kl = link.kl_of_units(q).array.mean(axis=0)
        parameter.array = start
        return np.maximum(free, kl).sum() - log_px.array.mean()

    now = {"open": (mean > free).astype(np.float64)}
    assert now["open"].sum() == 2
    link.cleargrads()
    draws = draw(link, x, Given([eps]), 3, objective, now)
    loss(link, draws, objective, follow(draws, objective, now)[1]).backward()
    for name, parameter in link.namedparams():
        direction = np.random.default_rng(8).normal(size=parameter.shape)
        slope = (value(1e-6, parameter, direction) - value(-1e-6, parameter, direction)) / 2e-6
        assert (parameter.grad * direction).sum() == pytest.approx(slope, rel=1e-5, abs=1e-8), name


def test_which_units_count_is_said_by_the_whole_batch(data, monkeypatch):
    """Not by its pieces: in however many a batch is worked on, its gradient is the same."""
    from jvi.engine import devices

    found = []
    for rows in (4096, 40):
        monkeypatch.setattr(devices, "ROWS", rows)
        trainer = trainer_for("unused", data, vae_type="vae", free_bits=0.05, batch_size=64)
        step = trainer.updater.step
        step(np.arange(64), 0)
        found.append([parameter.grad for parameter in step.model.link.params()])
    for one, other in zip(*found, strict=True):
        assert np.linalg.norm(one - other) <= 1e-5 * np.linalg.norm(one)


def test_it_keeps_units_in_use(tmp_path, data):
    """A decoder that begins far from using them; the KL divergence stays about what is free."""
    options = {"vae_type": "vae", "epochs": 25, "lr": 3e-3, "num_latent": 4, "batch_size": 50}
    train(tmp_path / "plain", data, **options, annealed="kl=5:5:1")
    train(tmp_path / "free", data, **options, annealed="kl=5:5:1", free_bits=0.5)
    plain, free = (log_of(tmp_path / name)[-1]["main/kl"] for name in ("plain", "free"))
    assert plain < 1.0 and free > 4 * 0.5 * 0.8


def test_it_is_of_the_elbo_alone():
    link = MLP(6, 4, 2, np.random.default_rng(0))
    with pytest.raises(ValueError, match="not of iwae: choose --estimator elbo"):
        check_fit(changed(Objective(estimator("iwae")), free_bits=0.1), link, 4)
    with pytest.raises(ValueError, match="free bits must be 0 or more nats, not -1"):
        changed(Objective(estimator("elbo")), free_bits=-1.0)
    with pytest.raises(ValueError, match="that divergence unit by unit, which sbn does not have"):
        objective = changed(Objective(estimator("elbo")), free_bits=0.1)._replace(
            estimator=estimator("reinforce")
        )
        check_fit(objective, SBN(6, 1, 4, np.random.default_rng(0)), 4)
