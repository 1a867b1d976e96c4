"""`jvi.summary`: the numbers of evaluate.py from log-weights alone, in bounded memory."""

import csv
import json
import math
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from scipy.special import logsumexp

import jvi
from jvi.assessment import advice, estimates, summary
from jvi.assessment.evaluation import evaluations
from jvi.assessment.rows import KL, combine, kl_row, rows
from jvi.evidence.unit import bits_per_dimension
from jvi.files import finite
from jvi.models import MLP

BOUNDS = ["elbo", "iwae", "jvi", "jvi-2"]


def gaussian(num_samples, num_points, spread=1.0, seed=0):
    """Log-weights that are normal, of data points that differ."""
    rng = np.random.default_rng(seed)
    return rng.normal(-90, spread, (num_samples, num_points)) + rng.normal(0, 5, num_points)


@pytest.fixture(scope="module")
def evaluated():
    """What a tiny model gives with 64 and 9 samples, log-weights included."""
    rng = np.random.default_rng(0)
    link = MLP(10, 4, 1, rng)
    for parameter in link.params():
        parameter.array = rng.normal(0, 0.45, parameter.shape).astype(np.float32)
    x = (np.random.default_rng(1).random((40, 10)) < 0.4).astype(np.float32)
    return evaluations(jvi.Model(link), x, [64, 9], BOUNDS, detail=True, keep=True)


def same(found, expected):
    """Whether two rows have the same numbers, nan and all."""
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        if key not in ("means", "seconds"):
            np.testing.assert_equal(found[key], value, err_msg=key)


def test_the_numbers_are_those_of_an_evaluation_of_the_model(evaluated):
    expected = rows([(each, math.nan) for each in evaluated], BOUNDS)
    [*expected, kl] = combine([[*expected, kl_row(evaluated, "elbo")]])
    found = jvi.summary(evaluated[0].log_w, BOUNDS, [64, 9])
    assert len(found.rows) == len(expected) + 1 == 9
    for row, other in zip(found.rows, [*expected, kl], strict=True):
        same(row, other)
    for one, other in zip(found.evaluations, evaluated, strict=True):
        assert one.per_image.keys() == other.per_image.keys()
        for name, values in other.per_image.items():
            np.testing.assert_array_equal(one.per_image[name], values)
        assert one.doubts == other.doubts
        np.testing.assert_array_equal(one.log_w, other.log_w)
    assert found.per_image is found.evaluations[0].per_image


def test_nothing_depends_on_blocks_or_on_the_order_in_memory(evaluated, monkeypatch):
    log_w = evaluated[0].log_w
    whole = jvi.summary(log_w, BOUNDS)
    monkeypatch.setattr(summary, "BLOCK", 7 * len(log_w))
    for array in (log_w, np.asfortranarray(log_w)):
        part = jvi.summary(array, BOUNDS)
        for name, values in whole.per_image.items():
            np.testing.assert_allclose(part.per_image[name], values, rtol=1e-12)


def test_values_in_closed_form():
    """Of normal log-weights N(m, s²): the ELBO is m, log p(x) is m + s²/2, and the KL s²/2."""
    rng = np.random.default_rng(2)
    log_w = rng.normal(-3, 0.5, (2000, 200))
    found = jvi.summary(log_w, ("elbo", "iwae", "jvi"))
    for row, expected in zip(found.rows, [-3, -2.875, -2.875, -0.125], strict=True):
        assert abs(row["mean"] - expected) < 4 * row["standard_error"] < 0.01
        # the spread over data points is that of the samples, all data points being alike
        assert row["sampling_error"] == pytest.approx(row["standard_error"], rel=0.25)
    assert found.rows[1]["ess"] == pytest.approx(2000 / math.exp(0.25), rel=0.01)
    assert found.rows[1]["heavy_tails"] == 0.0 and found.notes == []


def test_three_weights_by_hand():
    log_w = np.log([[1.0], [2.0], [3.0]])
    found = jvi.summary(log_w, ("iwae", "jvi-1", "elbo"), (3, 2))
    means = {(row["estimate"], row["num_samples"]): row["mean"] for row in found.rows}
    assert means["iwae", 3] == pytest.approx(math.log(2))
    jvi_1 = 3 * math.log(2) - 2 / 3 * (math.log(2.5) + math.log(2) + math.log(1.5))
    assert means["jvi-1", 3] == pytest.approx(jvi_1)
    assert means["iwae", 2] == pytest.approx(math.log(1.5))
    assert means["elbo", 3] == pytest.approx(math.log(6) / 3)
    assert means[KL, 3] == pytest.approx(math.log(6) / 3 - math.log(2))
    assert all(math.isnan(row["standard_error"]) for row in found.rows)  # of one data point


def test_ess_and_tails_against_other_code():
    from arviz_stats.base import array_stats

    log_w = gaussian(400, 12, spread=1.8)
    found = jvi.summary(log_w)
    weights = np.exp(log_w - logsumexp(log_w, axis=0))
    k = np.array([array_stats.psislw(-column)[1] for column in log_w.T])
    limit = 1 - 1 / math.log10(400)
    assert 0 < (k > limit).mean() < 1
    for row in found.rows[1:3]:
        assert row["ess"] == pytest.approx((1 / (weights**2).sum(axis=0)).mean())
        assert row["heavy_tails"] == (k > limit).mean()


def test_memory_is_bounded_beside_the_log_weights(monkeypatch):
    monkeypatch.setattr(summary, "BLOCK", 2**14)
    monkeypatch.setattr(advice, "CORNER", 32)
    monkeypatch.setattr(estimates, "pareto_k", lambda log_w: np.zeros(log_w.shape[1]))  # slow
    log_w = gaussian(256, 4096)
    jvi.summary(log_w[:, :4], ("elbo", "iwae"))  # what is imported is not counted
    tracemalloc.start()
    jvi.summary(log_w, ("elbo", "iwae"))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < log_w.nbytes / 4


def test_a_light_import():
    """`jvi.summary` of an array, its table and its file need no Chainer."""
    code = (
        "import sys, numpy as np, jvi; found = jvi.summary(np.zeros((4, 3)) + [1.0, 2.0, 3.0]);"
        "str(found); found._repr_html_(); found.report(); assert 'chainer' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# How it looks


def test_it_looks_as_evaluate_does(evaluated):
    found = jvi.summary(evaluated[0].log_w, ("iwae", "jvi"), (64, 9))
    lines = str(found).splitlines()
    assert repr(found) == str(found)
    header = "estimate samples nats ± images ± samples ESS heavy tails"
    assert lines[0].split() == header.split()
    names = [line.split()[:2] for line in lines[1:6]]
    assert names == [["iwae", "64"], ["iwae", "9"], ["jvi", "64"], ["jvi", "9"], [KL, "64"]]
    for line, row in zip(lines[1:6], found.rows, strict=True):
        assert line.split()[2:4] == [f"{row['mean']:.4f}", f"{row['standard_error']:.4f}"]
    assert lines[6] == f"{KL} is elbo - iwae, both 64 samples"
    assert lines[7].startswith("64 samples: ") and "are not to be trusted" in lines[7]
    assert lines[7:] == found.notes
    html = found._repr_html_()
    assert html.count("<tr>") == 6 and "heavy tails" in html and "are not to be trusted" in html


def test_as_a_dataframe():
    pytest.importorskip("pandas")
    found = jvi.summary(gaussian(40, 7))
    frame = found.to_dataframe()
    assert list(frame["estimate"]) == ["elbo", "iwae", "jvi", KL]
    assert list(frame["mean"]) == [row["mean"] for row in found.rows]


def test_another_unit_is_told_beside_nats():
    unit = bits_per_dimension(10)
    found = jvi.summary(gaussian(40, 7), unit=unit)
    assert "bits/dim ± images" in str(found)
    for row in found.rows[:-1]:
        assert row["value"] == pytest.approx(-row["mean"] / 10 / math.log(2))


def test_it_is_written_as_evaluate_writes(tmp_path):
    found = jvi.summary(gaussian(40, 7), samples=[8, 40])
    found.write(tmp_path / "s")
    report = json.loads((tmp_path / "s.json").read_text())
    assert report["notes"] == found.notes and report["log_weights"] is None
    assert report["rows"] == json.loads(json.dumps(finite(found.rows)))
    with open(tmp_path / "s.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["estimate"] for line in lines] == [row["estimate"] for row in found.rows]
    assert float(lines[0]["mean"]) == found.rows[0]["mean"]
    with pytest.raises(FileExistsError, match=r"s.json exists: .* overwrite=True"):
        found.write(tmp_path / "s")
    found.write(tmp_path / "s", overwrite=True)


def test_of_a_file_its_name_is_told(tmp_path):
    log_w = gaussian(8, 3)
    np.savez(tmp_path / "w.npz", logw=log_w)
    found = jvi.summary(tmp_path / "w.npz", name="logw")
    assert found.report()["log_weights"] == str(tmp_path / "w.npz")
    np.testing.assert_array_equal(found.per_image["elbo"], log_w.mean(axis=0))


# Doubts and advice


def notes(log_w, **options):
    return "\n".join(jvi.summary(log_w, **options).notes)


def test_the_advice_depends_on_the_tails():
    assert "nothing is known of heavy tails: draw 30 samples or more" in notes(gaussian(8, 5))
    few = notes(gaussian(64, 20, spread=3))
    assert "Pareto k is uncertain: draw 256 samples or more; where it stays above 0.7" in few
    assert notes(gaussian(300, 20, spread=0.3)) == ""
    heavy = np.random.default_rng(0).pareto(0.9, (1000, 20))  # k is 1.1
    hopeless = jvi.summary(np.log(heavy), ("iwae",))
    count = int((hopeless.per_image["pareto_k"] > 0.7).sum())
    assert count > 15
    message = f"Pareto k > 0.7 for {count} of 20 data points, where more samples hardly help: "
    assert any(note.startswith(message) and "annealed" in note for note in hopeless.notes)


def test_between_the_limits_it_says_how_many_samples_are_enough():
    k = np.array([0.3, 0.6, 0.65, -np.inf, np.nan])
    [evaluation] = jvi.summary(gaussian(300, 5)).evaluations
    [note] = advice.about_tails(evaluation._replace(per_image={"pareto_k": k}))
    needed = 10 ** (1 / (1 - 0.65))  # Vehtari et al. 2024, equation 11
    assert 719 < needed < 720
    told = "300 samples are too few for the Pareto k of 2 of 5 data points: draw 800 or more"
    assert note == told


def test_exchanged_axes_are_noticed():
    log_w = gaussian(64, 100)
    assert "samples first" not in notes(log_w)
    told = notes(log_w.T)
    assert "as if these were 64 samples of each of 100 data points" in told
    alike = np.random.default_rng(0).normal(size=(64, 100))  # data points that do not differ
    assert "samples first" not in notes(alike) + notes(alike.T)


@pytest.mark.filterwarnings("error")
def test_zero_weights_are_told_and_harm_no_other_number():
    log_w = gaussian(40, 6)
    log_w[3, 1] = log_w[:, 4] = -np.inf
    found = jvi.summary(log_w, ("elbo", "iwae", "jvi-1", "jvi-2"))
    told = "2 of 6 data points have zero weights (-inf), so an ELBO of -inf, 1 of them no other"
    assert any(note.startswith(told) for note in found.notes)
    fine = [0, 2, 3, 5]
    others = jvi.summary(log_w[:, fine], ("elbo", "iwae", "jvi-1", "jvi-2"))
    for name, values in others.per_image.items():
        np.testing.assert_array_equal(found.per_image[name][fine], values)
    expected = logsumexp(log_w[:, 1]) - math.log(40)
    assert found.per_image["iwae"][1] == pytest.approx(expected)
    assert found.per_image["elbo"][1] == found.per_image["iwae"][4] == -np.inf
    assert "-inf" in str(found) and found.rows[0]["mean"] == -np.inf


# Bad requests


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bounds": ("vae",)}, "not enough for vae, which needs the divergence .* ask for elbo"),
        ({"bounds": ("is",)}, r"not enough for is, which needs log p\(x\|z\) of each sample"),
        ({"bounds": ("ais",)}, "not enough for ais, which needs a model: ask for iwae of"),
        ({"bounds": ("ivae",)}, "unknown evaluation 'ivae': choose from"),
        ({"bounds": ()}, "name at least one bound"),
        ({"samples": 9}, r"samples 9 are more than the 8 .* shape \(K, N\), samples first"),
        ({"samples": 0}, "number of samples must be at least 1, not 0"),
        ({"samples": []}, "give at least one number of samples"),
        ({"samples": 2.5}, "samples must be whole numbers, not 2.5"),
        ({"order": 8}, "jackknife order 8 needs more than 8 samples, not 8"),
        ({"order": -1}, "jackknife order -1 needs"),
        ({"name": "x"}, "leave 'x' out"),
    ],
)
def test_impossible_requests_end_in_a_sentence(options, message):
    with pytest.raises(ValueError, match=message) as error:
        jvi.summary(gaussian(8, 3), **options)
    assert "\n" not in str(error.value)


def test_bounds_as_text_and_once():
    log_w = gaussian(8, 3)
    found = jvi.summary(log_w, "iwae,elbo")
    assert [row["estimate"] for row in found.rows] == ["iwae", "elbo", KL]
    assert len(jvi.summary(log_w, ["iwae", "iwae"], [4, 4]).rows) == 2
    for samples in ({4, 8}, range(4, 9, 4), iter([4, 8]), np.array([4, 8])):
        counts = [each.num_samples for each in jvi.summary(log_w, samples=samples).evaluations]
        assert sorted(counts) == [4, 8]
