"""Bounds against the known evidence: the toy of Rainforth et al. (2018) at its optimum."""

import math

import numpy as np
import pytest
from scipy import stats

from jvi import datasets
from jvi.assessment.evaluation import evaluations
from jvi.assessment.exact import EXACT, evaluation, exact_rows, gap_row, inference_gap
from jvi.assessment.rows import KL, kl_row
from jvi.models import build
from jvi.models.gaussian_toy import near_optimum
from jvi.models.model import Model

COUNT, D = 60, 20
GAP = D * (1 / 3 - math.log(4 / 3)) / 2  # of the ELBO at the optimum, in closed form


@pytest.fixture(scope="module")
def model():
    data = datasets.load("gaussian-toy")
    link = build("gaussian-toy", D, np.random.default_rng(0))
    near_optimum(link, data.train, np.random.default_rng(0), scale=0)
    return Model(link)


@pytest.fixture(scope="module")
def x():
    return datasets.load("gaussian-toy").test[:COUNT]


@pytest.fixture(scope="module")
def results(model, x):
    found = evaluations(model, x, [16, 64], ["elbo", "iwae", "vae"], detail=True)
    return [(each, 1.0) for each in (*found, evaluation(model, x))]


def test_the_exact_evidence_is_that_of_the_gaussian(model, x):
    found = evaluation(model, x)
    expected = stats.norm.logpdf(x, model.link.mu.array, math.sqrt(2)).sum(axis=-1)
    np.testing.assert_allclose(found.per_image[EXACT], expected, rtol=1e-6)
    assert found.mean[EXACT] == pytest.approx(expected.mean(), rel=1e-6)
    assert found.standard_error[EXACT] == pytest.approx(stats.sem(expected), rel=1e-6)
    assert found.sampling_error[EXACT] == found.num_samples == 0


def test_gaps_are_paired_image_by_image(results):
    *found, exact = (each for each, _ in results)
    first, *gaps = exact_rows(results, ["iwae", "elbo"])
    assert (first["estimate"], first["samples"]) == (EXACT, "-")
    names = [(row["estimate"], row["num_samples"]) for row in gaps]
    pairs = [(name, each) for name in ("iwae", "elbo") for each in found]
    assert names == [(f"{name} - exact", each.num_samples) for name, each in pairs]
    for row, (name, each) in zip(gaps, pairs, strict=True):
        gap = each.per_image[name] - exact.per_image[EXACT]
        assert row["mean"] == pytest.approx(gap.mean(), rel=1e-9)
        assert row["standard_error"] == pytest.approx(stats.sem(gap), rel=1e-9)
        assert row["standard_error"] < each.standard_error[name] / 3  # what pairing gains
        assert row["sampling_error"] == pytest.approx(each.sampling_error[name], rel=1e-9)
        assert row["parts"] == f"{name}@{each.num_samples} - exact"


def test_the_gaps_are_those_known_in_closed_form(results):
    """Of the ELBO GAP at every x; of IWAE a smaller one, and never above log p(x)."""
    rows = {(r["estimate"], r["num_samples"]): r for r in exact_rows(results, ["elbo", "iwae"])}
    for count in (16, 64):
        row = rows["elbo - exact", count]
        assert abs(row["mean"] + GAP) < 4 * row["sampling_error"] < 0.2
        row = rows["iwae - exact", count]
        assert -GAP / 2 < row["mean"] < 3 * row["sampling_error"]


def test_the_inference_gap_takes_the_exact_evidence_where_it_is_known(results):
    found = [each for each, _ in results]
    row = inference_gap(found, "vae")
    assert (row["estimate"], row["log_likelihood"]) == (KL, EXACT)
    assert row["parts"] == "vae@64 - exact" and row["num_samples"] == 64
    assert row["mean"] == gap_row(found, "vae")["mean"]
    assert abs(row["mean"] + GAP) < 4 * row["sampling_error"]
    assert inference_gap(found[:2], "vae") == kl_row(found[:2], "vae")
    assert exact_rows(results[:2], ["iwae"]) == []


def test_a_model_that_does_not_know_it_says_so(x):
    mlp = Model(build("mlp", D, np.random.default_rng(0)))
    with pytest.raises(ValueError, match=r"exact needs the exact log p\(x\), which mlp does not"):
        evaluation(mlp, x)
