"""Minibatches of a Bayesian network add up to the whole data, value and gradient."""

from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest

from jvi.engine.random import Given
from jvi.evidence.estimators import estimator
from jvi.models import build
from jvi.training.objective import Objective, check_fit, draw, follow, loss
from jvi.training.reweighting import SCHEMES, kl_weights, reweighted


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("num_batches", [1, 2, 7, 53, 1_074, 5_000])
def test_weights_sum_to_one(scheme, num_batches):
    weights = kl_weights(scheme, num_batches)
    assert len(weights) == num_batches and np.isfinite(weights).all() and (weights >= 0).all()
    assert weights.sum() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("num_batches", [1, 3, 60, 1_000])
def test_blundells_weights_are_the_papers_fractions(num_batches):
    exact = [
        float(Fraction(2 ** (num_batches - i), 2**num_batches - 1))
        for i in range(1, num_batches + 1)
    ]
    np.testing.assert_allclose(kl_weights("blundell", num_batches), exact, rtol=1e-14)


def log_weights_and_gradient(link, x, eps, kl):
    """The batch's ELBO of one draw, and minus the gradient of its loss, flat."""
    objective, now = Objective(estimator("elbo")), {"kl": kl}
    link.cleargrads()
    draws = draw(link, x, Given([eps]), 1, objective, now)
    loss(link, draws, objective, follow(draws, objective, now)[1]).backward()
    return draws.followed[0, 0], -np.concatenate([p.grad for _, p in sorted(link.namedparams())])


@pytest.fixture(scope="module")
def network():
    rng = np.random.default_rng(0)
    link = build("bayes-mlp:hidden=3,activation=tanh", 3, rng)
    for parameter in link.params():
        parameter.array = parameter.array.astype(np.float64)
    return link, rng.normal(size=(6, 3)), rng.normal(size=(1, 1, link.num_latent))


def partitions(rows):
    """Every way in which six rows fall into three batches of two, in any order of the batches."""
    if not rows:
        yield []
        return
    for pair in combinations(rows, 2):
        rest = [row for row in rows if row not in pair]
        yield from ([list(pair), *others] for others in partitions(rest))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_batches_add_up_to_the_whole_in_every_partition(network, scheme):
    """At the same draw of the weights, and so in expectation over draws and partitions."""
    link, x, eps = network
    bound, gradient = log_weights_and_gradient(link, x, eps, 1.0)
    weights, all_ways = kl_weights(scheme, 3), list(partitions(range(6)))
    assert len(all_ways) == 90
    for way in all_ways[::7]:
        parts = [
            log_weights_and_gradient(link, x[rows], eps, w)
            for rows, w in zip(way, weights, strict=True)
        ]
        assert sum(value for value, _ in parts) == pytest.approx(bound, rel=1e-12)
        np.testing.assert_allclose(sum(g for _, g in parts), gradient, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_without_the_weights_batches_do_not_add_up(network, scheme):
    link, x, eps = network
    bound, _ = log_weights_and_gradient(link, x, eps, 1.0)
    naive = sum(log_weights_and_gradient(link, x[i : i + 2], eps, 1.0)[0] for i in (0, 2, 4))
    assert abs(naive - bound) > 1


@pytest.mark.parametrize(("num_rows", "batch_size"), [(12, 4), (10, 4), (7, 7), (5, 9), (1000, 3)])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_epoch_pays_the_divergence_once(scheme, num_rows, batch_size):
    """As the step asks: after iteration · batch / rows epochs; batches go on over the end."""
    values, size = reweighted(scheme, num_rows, batch_size), min(batch_size, num_rows)
    paid = np.zeros(6)
    for iteration in range(6 * num_rows // size + 6):
        epoch = iteration * size / num_rows
        number = iteration * size // num_rows
        if number < 6:
            paid[number] += values.at(epoch)
    np.testing.assert_allclose(paid, 1, rtol=1e-12)
    assert values.start == kl_weights(scheme, -(-num_rows // size))[0]
    assert values.end == 1.0 and str(values) == f"kl={scheme}"


def test_an_objective_takes_it_as_what_changes():
    link = build("bayes-mlp", 3, np.random.default_rng(0))
    for name in ("elbo", "iwae", "dreg"):
        objective = Objective(estimator(name), annealed=(reweighted("blundell", 100, 10),))
        check_fit(objective, link, 2)
        assert objective.at_last == {"kl": 1.0}
    with pytest.raises(ValueError, match="rws has no gradient for a weighted KL part"):
        check_fit(objective._replace(estimator=estimator("rws")), link, 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("thirds", 10, 2), "unknown weighting 'thirds': choose from blundell, uniform"),
        (("blundell", 60_000, 10), "6,000 batches are more than 'blundell' has weights for"),
        (("uniform", 10, 0), "no batches of 0 can be made of 10 rows"),
    ],
)
def test_what_cannot_be_weighted_is_one_sentence(arguments, message):
    with pytest.raises(ValueError, match=message):
        reweighted(*arguments)
