"""Annealing from q and from the prior: that a mode which q misses shows, and nothing else does."""

import math

import chainer
import chainer.functions as F
import numpy as np
import pytest
from scipy.stats import norm

import jvi
from jvi.assessment import ais
from jvi.assessment.evaluation import evaluations
from jvi.assessment.rows import DIFFERENCE, combine, kl_row, rows, start_row
from jvi.assessment.tables import per_image, start_notes, summary
from jvi.evidence.diagnostics import half_width, jackknife_error, pareto_threshold
from jvi.functions import gaussian_log_density, gaussian_sample, standard_normal_log_density
from jvi.spec import Spec

NOISE = 0.3  # standard deviation of x around z or around -z
SCALE = NOISE / math.sqrt(1 + NOISE**2)  # and of each mode of p(z|x), at ±x / (1 + NOISE²)


class TwoModes(chainer.Chain):
    """x is z or -z, as likely as not, plus noise; q knows of z alone, and is too wide by `width`.

    Far from zero p(z|x) has two modes of equal mass that no chain can get between, and q one.
    """

    spec, reparameterised = Spec("two-modes", {}), True
    num_pixels = num_latent = 1

    def __init__(self, width=1.5, modes=(1, -1)):
        super().__init__()
        self.width, self.modes = width, modes
        with self.init_scope():
            self.unused = chainer.Parameter(np.zeros(1, np.float32))

    def num_points(self, x):
        return len(x)

    def check(self, x):
        return x

    def infer(self, x):
        mean = (x / (1 + NOISE**2)).astype(np.float32)
        ln_var = np.full_like(mean, 2 * math.log(self.width * SCALE))
        return chainer.as_variable(mean), chainer.as_variable(ln_var)

    def draw(self, q, source, num_samples):
        z = gaussian_sample(*q, source.normal((num_samples, *q[0].shape)))
        return z, gaussian_log_density(z, *q)

    def log_joint(self, x, z):
        squares = [F.sum((x - sign * z) ** 2, axis=-1) for sign in self.modes]
        log_px = F.logsumexp(-0.5 / NOISE**2 * F.stack(squares), axis=0)
        normaliser = math.log(len(self.modes) * NOISE * math.sqrt(2 * math.pi))
        return log_px - normaliser, standard_normal_log_density(z)

    def log_q(self, q, z):
        return gaussian_log_density(z, *q)

    def draw_prior(self, source, num_samples, num_points):
        return source.normal((num_samples, num_points, 1))

    def log_evidence(self, x):
        """x ~ N(0, 1 + NOISE²), whatever the sign."""
        return norm(0, math.sqrt(1 + NOISE**2)).logpdf(x[:, 0])


SETTINGS = {"num_temps": 60, "num_steps": 4, "step_size": 0.2}
X = np.linspace(2, 3, 40, dtype=np.float32)[:, None]


def annealed(model, x=X, chains=16, **options):
    """What `evaluate.py -E elbo,ais --ais-start both` would have of one replication."""
    sampled = evaluations(model, x, [64], ["elbo", "iwae"], detail=True)
    for prior in ais.STARTS.values():
        sampled += ais.evaluations(model, x, [chains], prior=prior, **SETTINGS | options)
    return sampled


@pytest.fixture(scope="module")
def model():
    return jvi.Model(TwoModes())


@pytest.fixture(scope="module")
def both(model):
    return annealed(model)


def test_the_evidence_of_the_toy_model_is_exact(model):
    z = np.linspace(-8, 8, 4001, dtype=np.float32)[:, None, None]
    z = np.repeat(z, len(X), axis=1)
    log_joint = sum(each.array for each in model.link.log_joint(X, z)).astype(np.float64)
    integral = np.log(np.exp(log_joint).sum(axis=0) * 0.004)
    np.testing.assert_allclose(model.link.log_evidence(X), integral, atol=1e-5)


def test_from_q_half_of_the_mass_is_missed_and_nothing_in_its_row_says_so(model, both):
    """0.69 nats, at small errors, with few heavy tails and a good effective sample size."""
    found = {row["estimate"]: row for row in rows([(each, 0.0) for each in both], ais.STARTS)}
    exact = model.link.log_evidence(X).mean()
    q, prior = found["ais"], found["ais-prior"]
    assert q["mean"] - exact == pytest.approx(-math.log(2), abs=0.02)
    assert q["sampling_error"] < 0.02 and q["ess"] > 12
    assert abs(prior["mean"] - exact) < max(0.1, 3 * prior["sampling_error"])


def test_both_starts_disagree_and_a_warning_says_so(model, both):
    row = start_row(both)
    [combined] = combine([[row]])
    [note] = start_notes([combined])
    assert row["estimate"] == DIFFERENCE == "ais - ais-prior"
    assert abs(row["mean"]) > 3 * row["half_width"] > 3 * row["sampling_error"]
    z = row["mean"] / row["sampling_error"]
    error = f"{row['sampling_error']:.4f}"
    assert note.startswith(f"ais - ais-prior is {row['mean']:.4f} ± {error} nats (z = {z:.1f})")
    assert "they disagree" in note and z < -10


def test_the_comparison_is_by_image_and_of_the_same_chains(both):
    """By hand: the difference of each image, its spread, and chains left out of both at once."""
    row, (_, first, second) = start_row(both), both
    gap = first.per_image["ais"] - second.per_image["ais-prior"]
    assert row["mean"] == pytest.approx(gap.mean())
    assert row["standard_error"] == pytest.approx(gap.std(ddof=1) / math.sqrt(len(X)))
    pairs = np.stack([first.log_w, second.log_w], axis=1)
    errors = jackknife_error(lambda w: jvi.iwae(w[:, 0]) - jvi.iwae(w[:, 1]), pairs, 8)
    assert row["sampling_error"] == pytest.approx(np.linalg.norm(errors) / len(X))
    assert row["half_width"] == pytest.approx(half_width(errors, 8, 0.99))
    stored = per_image(both, ["ais", "ais-prior"], "elbo")
    np.testing.assert_allclose(stored["ais-ais-prior_error@16"], errors)


@pytest.mark.slow
def test_where_q_misses_nothing_the_starts_agree():
    """Over 12 seeds of one mode: few warnings, and differences as large as their errors say."""
    model = jvi.Model(TwoModes(modes=(1,)))
    scores, notes = [], 0
    for seed in range(12):
        row = start_row(annealed(model, X[::8], seed=seed))
        notes += len(start_notes(combine([[row]])))
        scores.append(row["mean"] / row["sampling_error"])
    assert notes <= 1
    assert 0.5 < np.std(scores) < 1.5


def test_a_few_images_have_wider_intervals(both, model):
    """The t quantile of eight groups is 3.5 for 99%, a normal distribution's 2.6."""
    row = start_row(annealed(model, X[:1]))
    assert row["half_width"] / row["sampling_error"] == pytest.approx(3.499, abs=1e-3)
    many = start_row(both)
    assert 2.55 < many["half_width"] / many["sampling_error"] < 2.9


def test_replications_are_judged_together(both):
    """Two of the same: the mean is the same, its error by the root of two smaller."""
    row = start_row(both)
    half = {**row, "mean": row["half_width"] * 0.8}
    assert start_notes(combine([[half]])) == []
    [note] = start_notes(combine([[half], [half]]))
    assert f"± {row['sampling_error'] / math.sqrt(2):.4f} nats" in note


def test_one_chain_of_each_cannot_be_compared(model):
    chains = annealed(model, X[:3], chains=1)
    [row, kl] = combine([[start_row(chains), kl_row(chains, "elbo")]])
    assert math.isnan(row["half_width"]) and start_notes([row]) == []
    report = {"rows": [row, kl], "active_units": None}
    assert "ais - ais-prior cannot be judged with one chain" in summary(report, [])


def test_the_divergence_is_from_the_higher_of_two_lower_bounds(both):
    row, means = kl_row(both, "elbo"), [each.mean for each in both]
    assert row["log_likelihood"] == "ais-prior"
    assert row["mean"] == pytest.approx(means[0]["elbo"] - means[2]["ais-prior"])
    assert row["parts"] == "elbo@64 - ais-prior@16" and row["samples"] == "64, 16"
    assert kl_row(both, "elbo", "ais")["log_likelihood"] == "ais"
    errors = np.hypot(both[0].per_image["elbo_error"], both[2].per_image["ais-prior_error"])
    assert row["sampling_error"] == pytest.approx(np.linalg.norm(errors) / len(X))


def test_heavy_tails_are_told_by_the_threshold_of_their_number():
    """Weights of a known shape, 0.55: too heavy for 64 samples, not for 4096."""
    model = jvi.Model(TwoModes(width=math.sqrt(0.45), modes=(1,)))
    results = evaluations(model, X, [20, 64, 4096], ["iwae"], detail=True)
    found = rows([(each, 0.0) for each in results], ["iwae"])
    assert math.isnan(found[0]["heavy_tails"]) and math.isnan(found[0]["k_threshold"])
    for row, result in zip(found[1:], results[1:], strict=True):
        k, threshold = result.per_image["pareto_k"], pareto_threshold(row["num_samples"])
        assert row["k_threshold"] == threshold
        assert row["heavy_tails"] == (k > threshold).mean()
    assert found[1]["k_threshold"] == pytest.approx(0.4464, abs=1e-4)
    assert found[2]["k_threshold"] == 0.7
    assert found[1]["heavy_tails"] != (results[1].per_image["pareto_k"] > 0.7).mean()
