"""Paired differences of models: against SciPy, brute force, and what must not change them."""

import csv
import itertools
import json
import math
import subprocess
import sys

import numpy as np
import pytest
from scipy import stats
from scipy.special import logsumexp

import jvi
from jvi.assessment.paired import compare
from jvi.assessment.summary import summary

N, K = 60, 64
BOUNDS = ("elbo", "iwae", "jvi")

# Arguments of `log_weights`: b is worse than a, c is as good.
MODELS = {"a": (0.0, 1), "b": (-1.0, 2), "c": (0.05, 3)}


def log_weights(shift=0.0, seed=1, spread=0.7, num_samples=K, images=N):
    """Of a model, with what makes an image likely under every model."""
    likely = np.random.default_rng(0).normal(-90, 5, images)
    own = np.random.default_rng(seed)
    own_likely = likely + shift + own.normal(0, 0.5, images)
    return own_likely + own.normal(-(spread**2) / 2, spread, (num_samples, images))


@pytest.fixture(scope="module")
def models():
    return {name: log_weights(*each) for name, each in MODELS.items()}


@pytest.fixture(scope="module")
def found(models):
    return compare(models, reference="a")


def by(comparison):
    return {(row["estimate"], row["model"]): row for row in comparison.rows}


def test_differences_are_those_of_a_paired_t_test(models, found):
    values = {name: logsumexp(w, axis=0) - math.log(K) for name, w in models.items()}
    for name in ("b", "c"):
        row, gap = by(found)["iwae", name], values[name] - values["a"]
        test = stats.ttest_rel(values[name], values["a"])
        assert row["difference"] == pytest.approx(gap.mean(), rel=1e-12)
        assert row["z"] == pytest.approx(test.statistic, rel=1e-9)
        assert row["paired_error"] == pytest.approx(stats.sem(gap), rel=1e-12)
        assert row["better"] == sum(g > 0 for g in gap) and row["equal"] == 0
        np.testing.assert_allclose(found.differences["iwae"][name], gap, rtol=1e-9)


def test_jackknife_and_elbo_are_their_definitions(models, found):
    """JVI-1 by leaving every sample out in turn."""
    for name, w in models.items():
        left_out = [logsumexp(np.delete(w, k, axis=0), axis=0) - math.log(K - 1) for k in range(K)]
        iwae = logsumexp(w, axis=0) - math.log(K)
        jvi_1 = K * iwae - (K - 1) * np.mean(left_out, axis=0)
        assert by(found)["jvi", name]["mean"] == pytest.approx(jvi_1.mean(), rel=1e-10)
        assert by(found)["elbo", name]["mean"] == pytest.approx(w.mean(), rel=1e-12)


def test_numbers_of_one_model_are_those_of_its_summary(models, found):
    for name, w in models.items():
        for row in summary(w, BOUNDS).rows[:-1]:
            ours = by(found)[row["estimate"], name]
            keys = "mean", "standard_error", "sampling_error", "ess", "heavy_tails", "k_threshold"
            for key in keys:
                np.testing.assert_equal(ours[key], row[key], err_msg=f"{name} {key}")


def test_sampling_errors_of_independent_samples_add_as_squares(found):
    for estimate, name in itertools.product(BOUNDS, "bc"):
        errors = [by(found)[estimate, each]["sampling_error"] for each in ("a", name)]
        row = by(found)[estimate, name]
        assert row["difference_sampling_error"] ** 2 == pytest.approx(sum(e**2 for e in errors))
        assert 0 < row["difference_sampling_error"] < row["paired_error"]  # which contains it


def test_the_paired_error_is_smaller_than_those_of_the_means(found):
    for row in found.rows:
        if row["model"] != "a":
            assert row["paired_error"] < 0.3 * row["standard_error"]


def test_verdicts(found):
    rows = by(found)
    for estimate in BOUNDS:
        assert [rows[estimate, each]["verdict"] for each in "abc"] == [
            "reference",
            "worse",
            "undecided",
        ]
    for row in found.rows:
        if row["verdict"] != "reference":
            word = "undecided" if abs(row["z"]) <= 2 else "better" if row["z"] > 0 else "worse"
            assert row["verdict"] == word


def test_swapping_the_reference_swaps_the_sign(models, found):
    other = by(compare(models, reference="b"))
    for estimate in BOUNDS:
        ours, theirs = by(found)[estimate, "b"], other[estimate, "a"]
        assert ours["difference"] == -theirs["difference"] and ours["z"] == -theirs["z"]
        assert ours["paired_error"] == theirs["paired_error"]
        assert ours["better"] + theirs["better"] == N
        assert {ours["verdict"], theirs["verdict"]} == {"better", "worse"}


def test_the_order_of_images_does_not_matter(models, found):
    order = np.random.default_rng(5).permutation(N)
    shuffled = compare({name: w[:, order] for name, w in models.items()}, reference="a")
    for ours, theirs in zip(found.rows, shuffled.rows, strict=True):
        for key in ("difference", "paired_error", "difference_sampling_error", "z"):
            np.testing.assert_allclose(ours[key], theirs[key], rtol=1e-9)


def test_a_constant_is_a_difference_without_error():
    w = log_weights()
    row = by(compare({"a": w, "b": w + 0.5}, reference="a"))["elbo", "b"]
    assert row["difference"] == pytest.approx(0.5) and row["better"] == N
    assert row["z"] > 1e6 and row["verdict"] == "better"


def test_a_model_is_not_better_than_itself(models):
    for row in compare({"a": models["a"], "same": models["a"]}, reference="a").rows:
        if row["model"] == "same":
            assert row["difference"] == row["z"] == row["better"] == 0 and row["equal"] == N
            assert row["verdict"] == "undecided"


def test_the_reference_is_the_best_by_iwae(models):
    best = compare(models)
    means = {name: jvi.iwae(w).mean() for name, w in models.items()}
    assert best.reference == max(means, key=means.get)
    assert all(row["reference"] == best.reference for row in best.rows)
    assert compare(models, bounds=["elbo"]).reference == max(models, key=lambda n: models[n].mean())


def test_paired_errors_cover_also_by_sampling_alone():
    """Models that are equally good: of 200 comparisons 4.6% have |z| > 2."""
    rng, worse = np.random.default_rng(7), 0
    for _ in range(200):
        likely = rng.normal(-90, 5, 100)
        one, two = (likely + rng.normal(0, 0.5, (16, 100)) for _ in range(2))
        rows = compare({"a": one, "b": two}, bounds=["iwae"], reference="a").rows
        worse += rows[1]["verdict"] != "undecided"
    expected, error = 200 * 0.0455, math.sqrt(200 * 0.0455 * 0.9545)
    assert abs(worse - expected) < 3 * error


def test_every_form_of_a_model_gives_the_same(models, found, tmp_path):
    np.savez(tmp_path / "b.npz", log_w=models["b"])
    as_summary = summary(models["c"], BOUNDS, samples=[8, K])
    mixed = {"a": summary(models["a"]).evaluations[-1], "b": tmp_path / "b.npz", "c": as_summary}
    for ours, theirs in zip(found.rows, compare(mixed, reference="a").rows, strict=True):
        np.testing.assert_equal(ours, theirs)


def test_a_jackknife_is_of_the_order_that_is_asked_for(models, found):
    """Whatever order "jvi" was of in what is given."""
    given = {name: summary(w, BOUNDS, order=2) for name, w in models.items()}
    for order in (1, 2):
        rows = compare(given, order=order, reference="a").rows
        np.testing.assert_equal(rows, compare(models, order=order, reference="a").rows)
        means = [row["mean"] for row in rows if row["estimate"] == "jvi"]
        expected = [jvi.jackknife(w, order).mean() for w in models.values()]
        assert means == pytest.approx(expected, rel=1e-12)
    assert rows != found.rows
    lean = given["a"].evaluations[0]._replace(log_w=None)
    row = by(compare({"a": lean, "b": models["b"]}))["jvi", "a"]
    assert row["mean"] == lean.mean["jvi"]  # of order 2: nothing else is known


def test_the_first_samples_are_taken_where_fewer_are_wanted(models, found):
    few = compare(models, samples=8, reference="a")
    short = compare({name: w[:8] for name, w in models.items()}, reference="a")
    again = compare({n: summary(w) for n, w in models.items()}, samples=8, reference="a")
    np.testing.assert_equal(few.rows, short.rows)
    np.testing.assert_equal(few.rows, again.rows)
    assert {row["num_samples"] for row in few.rows} == {8}
    assert few.rows[1]["mean"] != found.rows[1]["mean"]


@pytest.fixture(scope="module")
def trained():
    """Two models of the digits, and test images."""
    data = jvi.load_dataset("digits")
    options = {"num_samples": 4, "epochs": 1, "seed": 0}
    models = [
        jvi.train(f"mlp:hidden={hidden},latent=2", data, "iwae", **options) for hidden in (4, 16)
    ]
    return models, (data.test[:40] > 0.5).astype(np.float32)


def test_evaluations_of_models_are_compared(trained):
    models, x = trained
    bounds = ("vae", "iwae", "jvi")
    kept = [jvi.evaluate(model, x, 32, bounds, keep=True) for model in models]
    found = compare(dict(zip("ab", kept, strict=True)), reference="a")
    rows = by(found)
    for estimate, name in (("elbo", "vae"), ("iwae", "iwae"), ("jvi", "jvi")):
        gap = kept[1].per_image[name] - kept[0].per_image[name]
        assert rows[estimate, "b"]["difference"] == pytest.approx(gap.mean())
    known = summary(kept[0].log_w).rows[1]["sampling_error"]
    assert rows["iwae", "a"]["sampling_error"] == pytest.approx(known)
    assert math.isnan(rows["elbo", "a"]["sampling_error"])  # log-weights do not tell it
    lean = compare({n: each._replace(log_w=None) for n, each in zip("ab", kept, strict=True)})
    row = by(lean)["iwae", "a" if lean.reference == "b" else "b"]
    assert math.isnan(row["difference_sampling_error"]) and row["verdict"] != "reference"
    assert "± samples" not in str(lean).splitlines()[0]


def test_a_bound_that_one_does_not_have_is_left_out_with_a_note(trained):
    models, x = trained
    lean = {
        n: jvi.evaluate(m, x, 32, bounds)
        for n, m, bounds in zip("ab", models, (("iwae",), ("iwae", "jvi")), strict=True)
    }
    found = compare(lean)
    assert set(found.differences) == {"iwae"}
    assert found.notes[:2] == [
        "elbo is left out: not known of a, b",
        "jvi is left out: not known of a",
    ]
    with pytest.raises(ValueError, match="no bound of elbo is known of all models"):
        compare(lean, bounds="elbo")
    with pytest.raises(ValueError, match="a: it is of 32 samples, not 8, and has not kept"):
        compare(lean, samples=8)
    kept = dict.fromkeys("ab", jvi.evaluate(models[0], x, 8, ("vae",), keep=True))
    with pytest.raises(ValueError, match="a: log-weights are not enough for vae"):
        compare(kept, bounds=["vae"], samples=4)


def test_data_in_bits_are_told_in_bits(models):
    from jvi.datasets import bits_per_dimension

    unit = bits_per_dimension(64)
    ours = {name: summary(w, unit=unit) for name, w in models.items()}
    row = compare(ours).rows[0]
    assert row["unit"] == "bits/dim" and row["value"] == unit.value(row["mean"])
    assert row["value_standard_error"] == unit.error(row["standard_error"])
    assert "bits/dim" in str(compare(ours)) and "bits/dim" not in str(compare(models))
    mixed = str(compare({"a": models["a"], "b": ours["b"]})).splitlines()
    assert "bits/dim" in mixed[0]


# Notes


def notes(models, **options):
    return "\n".join(compare(models, **options).notes)


def test_different_numbers_of_samples_are_allowed_and_said(models):
    told = notes({"a": models["a"], "b": log_weights(num_samples=2000, seed=2)})
    assert "different numbers of samples (a 64, b 2,000)" in told
    assert "different numbers" not in notes(models)


def test_few_images_are_said_to_be_few(models):
    told = notes({name: each[:, :8] for name, each in models.items()})
    assert "8 images are few: verdicts by 2 errors are wrong more often than 5%" in told
    assert "are few" not in notes(models)


def test_images_that_are_no_pairs_are_noticed(models):
    order = np.random.default_rng(3).permutation(N)
    told = notes({"a": models["a"], "b": models["b"][:, order]})
    assert "b and a hardly agree on which images are likely" in told
    assert "hardly agree" not in notes(models)


def test_heavy_tails_are_noticed_where_samples_are_enough_to_see_them():
    heavy = log_weights(spread=4.0, num_samples=512, seed=2)
    light = log_weights(spread=0.3, num_samples=512)
    assert "heavy tails (share of images: b " in notes({"a": light, "b": heavy})
    assert "heavy tails" not in notes({"a": light, "b": light})
    assert "heavy tails" not in notes({"a": light[:64], "b": heavy[:64]})


def test_contradictions_of_bounds_are_noticed():
    """A model with a wide q is worse by IWAE of few samples, whatever log p(x) is."""
    one, two = log_weights(seed=1, spread=0.1), log_weights(0.3, seed=1, spread=1.5)
    found = compare({"a": one, "b": two}, samples=4, reference="a")
    verdicts = [by(found)[estimate, "b"]["verdict"] for estimate in ("iwae", "jvi")]
    assert verdicts == ["worse", "undecided"]
    assert any("worse by iwae and undecided by jvi" in note for note in found.notes)
    assert "may be one of bias" not in notes({"a": one, "b": one})


def test_what_speaks_against_log_weights_is_said(models):
    turned = {name: np.ascontiguousarray(w[:N].T) for name, w in models.items()}
    assert "a: rows differ and columns do not" in notes(turned)
    zero = models["a"].copy()
    zero[0, :3] = -np.inf
    found = compare({"a": zero, "b": models["b"]}, reference="b")
    assert "a: 3 of 60 data points have zero weights" in "\n".join(found.notes)
    assert by(found)["elbo", "a"]["verdict"] == "undecided"
    assert by(found)["iwae", "a"]["verdict"] == "better"


# Faces


def test_what_is_printed(models, found):
    header, *lines = str(found).splitlines()
    assert header.split()[:4] == ["estimate", "model", "samples", "nats"]
    assert len(lines) == 9 + 1 + len(found.notes) and "less a, image by image, of 60" in lines[9]
    row = by(found)["iwae", "b"]
    line = next(each for each in lines if each.startswith("iwae") and " b " in each)
    expected = f"{row['difference']:+.4f}", f"{row['paired_error']:.4f}", str(row["better"])
    assert set(expected) | {"worse"} <= set(line.split())
    own = next(each for each in lines if each.startswith("iwae") and " a " in each)
    assert own.split().count("-") == 5  # of itself


def test_html_and_data_frame_have_the_same_rows(found):
    text = found._repr_html_()
    assert text.count("<tr") == 10 and "reference" in text
    frame = found.to_dataframe()
    assert len(frame) == 9 and list(frame["verdict"]) == [row["verdict"] for row in found.rows]
    np.testing.assert_array_equal(frame["difference"], [row["difference"] for row in found.rows])


def test_names_are_never_markup(models):
    found = compare({"<b>": models["a"], "c": models["c"]})
    assert "<b>" not in found._repr_html_() and "&lt;b&gt;" in found._repr_html_()


def test_files_are_written_whole_and_not_over_others(found, tmp_path):
    found.write(tmp_path / "x")
    report = json.loads((tmp_path / "x.json").read_text())
    assert report["reference"] == "a" and report["versions"]["jvi"] == jvi.__version__
    assert report["rows"][0]["z"] is None
    assert report["rows"][1]["difference"] == found.rows[1]["difference"]
    with open(tmp_path / "x.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["verdict"] for row in rows] == [row["verdict"] for row in found.rows]
    assert rows[0]["z"] == "" and float(rows[1]["z"]) == found.rows[1]["z"]
    with pytest.raises(FileExistsError, match=r"x\.json exists: .* overwrite=True"):
        found.write(tmp_path / "x")
    (tmp_path / "x.json").unlink()
    with pytest.raises(FileExistsError, match=r"x\.csv exists"):
        found.write(tmp_path / "x")
    found.write(tmp_path / "x", overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.csv", "x.json"]


# Refusals


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (lambda m: {"a": m["a"]}, {}, "at least two models"),
        (lambda m: [m["a"], m["b"]], {}, "at least two models"),
        (lambda m: m, {"reference": "d"}, "unknown reference 'd': choose from a, b, c"),
        (
            lambda m: m | {"b": m["b"][:, 1:]},
            {},
            "a is of 60 images and b of 59: paired",
        ),
        (lambda m: m, {"bounds": ["iwae", "foo"]}, "unknown evaluation 'foo'"),
        (lambda m: m, {"bounds": ["vae"]}, "a: log-weights are not enough for vae"),
        (lambda m: m, {"samples": 65}, "a: samples 65 are more than the 64"),
        (lambda m: m | {"b": np.zeros(3)}, {}, "b: "),
        (lambda m: m | {"b": m["b"] * np.nan}, {}, "b: "),
    ],
)
def test_it_refuses_in_one_sentence(models, change, options, message):
    with pytest.raises(ValueError, match=message) as error:
        compare(change(models), **options)
    assert "\n" not in str(error.value)


def test_a_file_that_is_missing_is_named(models, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"b: .*nothing\.npz"):
        compare({"a": models["a"], "b": tmp_path / "nothing.npz"})


def test_one_image_is_never_decided():
    row = compare({"a": log_weights(images=1), "b": log_weights(-9, images=1)}).rows[-1]
    assert row["verdict"] == "undecided" and math.isnan(row["paired_error"])


def test_it_needs_no_chainer():
    code = (
        "import sys, numpy as np, jvi; w = np.random.default_rng(0).normal(size=(8, 5));"
        "print(jvi.compare({'a': w, 'b': w + 1})); assert 'chainer' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
