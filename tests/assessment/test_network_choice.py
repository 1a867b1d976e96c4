"""Evidence chooses the network that says most of data that nobody has shown it."""

import numpy as np
import pytest
from scipy import stats

from jvi.assessment.network_choice import choice_table, compare_networks

NOISES = 0.1, 0.3, 1.0


def data_of(rows, function, seed):
    """With noise of 0.3."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=rows)
    return np.column_stack([x, function(x) + 0.3 * rng.normal(size=rows)])


def line(x):
    return 0.8 * x


def curve(x):
    return 1.5 * np.sin(2 * x)


def exact_of_linear(rows, noise):
    design = np.column_stack([rows[:, 0], np.ones(len(rows))])
    covariance = noise**2 * np.eye(len(rows)) + design @ design.T
    return stats.multivariate_normal(np.zeros(len(rows)), covariance).logpdf(rows[:, 1])


def test_the_noise_that_evidence_chooses_is_right_and_predicts_best():
    rows, held_out = data_of(25, line, 0), data_of(300, line, 1)
    specs = [f"bayes-mlp:hidden=none,noise={noise}" for noise in NOISES]
    about = {"method": "iwae", "epochs": 250, "learning_rate": 0.1}
    found = compare_networks(specs, rows, held_out, **about)
    for each in found:
        noise = float(each.spec.rpartition("=")[2])
        assert each.spec in specs and each.model.link.noise == pytest.approx(noise)
        assert abs(each.evidence.value - exact_of_linear(rows, noise)) < 4 * each.evidence.error
        assert each.evidence.error < 0.1 and not each.doubts
    assert found[0].spec == specs[1]
    values = [each.held_out.value for each in found]
    assert values == sorted(values, reverse=True)  # evidence and held-out rows order them alike
    text = choice_table(found)
    assert text.splitlines()[1].startswith(specs[1]) and "*" not in text


@pytest.mark.slow
@pytest.mark.parametrize(("function", "best"), [(line, 0), (curve, 2)], ids=["line", "curve"])
def test_the_width_that_evidence_chooses_predicts_best(function, best):
    rows, held_out = data_of(25, function, 0), data_of(300, function, 1)
    widths = "none", "2", "10"
    specs = [f"bayes-mlp:hidden={width},activation=tanh,noise=0.3" for width in widths]
    found = compare_networks(specs, rows, held_out, num_chains=16, num_temps=200, epochs=600)
    first, second = found[:2]
    assert first.spec == specs[best]
    error = np.hypot(first.evidence.error, second.evidence.error)
    assert first.evidence.value - second.evidence.value > 2 * error
    for other in found[1:]:
        difference = first.log_density - other.log_density
        assert difference.mean() > 2 * difference.std() / np.sqrt(len(difference))


def test_what_is_doubtful_has_an_asterisk():
    rows = data_of(25, line, 0)
    spec = "bayes-mlp:hidden=none,noise=0.1"
    found = compare_networks([spec], rows, rows, method="jvi", epochs=1, num_samples=1)
    assert found[0].doubts and "*" in choice_table(found)


@pytest.mark.parametrize(
    ("specs", "held_out", "options", "message"),
    [
        (["bayes-mlp"], 5, {"method": "nuts"}, "choose from iwae, jvi, ais"),
        ([], 5, {}, "no networks to compare"),
        (["bayes-mlp"], 0, {}, "no held-out rows"),
        (["bayes-mlp:hidden=x"], 5, {}, "hidden must be"),
    ],
    ids=["method", "nothing", "rows", "network"],
)
def test_what_cannot_be_compared_is_one_sentence(specs, held_out, options, message):
    with pytest.raises(ValueError, match=message):
        compare_networks(specs, data_of(9, line, 0), data_of(held_out, line, 1), **options)
