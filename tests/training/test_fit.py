"""Training in memory, to the last epoch."""

import numpy as np
import pytest
from scipy import stats

from jvi.models import BayesMLP
from jvi.models.model import Model
from jvi.training.fit import fit
from jvi.training.network import network_objective
from jvi.training.step import Diverged
from jvi.training.trainer import Settings


def model_and_rows(**options):
    rng = np.random.default_rng(0)
    link = BayesMLP(3, hidden="none", noise=0.5, rng=rng, **options)
    features = rng.normal(size=(30, 2))
    targets = features @ [1.0, -0.5] + 0.5 * rng.normal(size=30)
    return Model(link), np.column_stack([features, targets])


def settings_of(model, batch_size, epochs=20, scheme="uniform", **others):
    about = {"optimizer": "adam", "lr": 0.05, "clip": 0.0} | others
    objective = network_objective("elbo", model.link, scheme, 30, batch_size)
    return Settings(objective, 4, epochs=epochs, batch_size=batch_size, quiet=True, **about)


@pytest.mark.parametrize("scheme", ["uniform", "blundell"])
@pytest.mark.parametrize("batch_size", [30, 7])
def test_the_loss_of_all_batches_becomes_minus_the_evidence(scheme, batch_size):
    """Of linear regression, whose weights hardly depend on each other; the bound is below it."""
    model, rows = model_and_rows()
    design = np.column_stack([rows[:, :2], np.ones(30)])
    covariance = 0.25 * np.eye(30) + design @ design.T
    exact = stats.multivariate_normal(np.zeros(30), covariance).logpdf(rows[:, 2])
    losses = fit(model, rows, settings_of(model, batch_size, 200, scheme, lr=0.1))
    assert losses.shape == (200,) and losses[0] * 30 / batch_size > -exact + 2
    assert -exact - 0.3 < losses[-60:].mean() * 30 / batch_size < -exact + 0.8


def test_the_same_seed_trains_the_same_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = []
    for seed in (1, 1, 2):
        model, rows = model_and_rows()
        fit(model, rows, settings_of(model, 10, seed=seed))
        found.append(model.link.mu.array)
    np.testing.assert_array_equal(found[0], found[1])
    assert not np.array_equal(found[0], found[2]) and not list(tmp_path.iterdir())


def test_steps_become_small():
    """At a constant rate the last epochs would move as far as any others."""
    model, rows = model_and_rows()
    fit(model, rows, settings_of(model, 10, 60, lr=0.05))
    before = model.link.mu.array.copy()
    settings = settings_of(model, 10, 1, lr=0.05 * 0.01)
    fit(model, rows, settings)
    assert np.abs(model.link.mu.array - before).max() < 3.5 * 0.05 * 0.01


def test_what_diverges_says_so():
    model, rows = model_and_rows()
    settings = settings_of(model, 10, 50, optimizer="sgd", lr=1e6)
    with np.errstate(all="ignore"), pytest.raises(Diverged, match="diverged"):
        fit(model, rows, settings)


def test_rows_that_do_not_fit_are_refused():
    model, rows = model_and_rows()
    with pytest.raises(ValueError, match="the model expects"):
        fit(model, rows[:, :2], settings_of(model, 10))
