"""Differences between evaluations, image by image."""

import json

import numpy as np
import paired
import pytest


def evaluation(runs, name, values, errors=0.1, images=None, key="iwae"):
    (runs / name).mkdir(parents=True)
    count = len(values)
    base, _, samples = key.partition("@")
    arrays = {
        "image": np.arange(count) if images is None else np.asarray(images),
        "num_samples": np.array([int(samples or 8), 9] if samples else 8),
        key: np.asarray(values, float),
        f"{base}_error{'@' if samples else ''}{samples}": np.full(count, errors),
    }
    np.savez(runs / name / "run.npz", **arrays)


def test_difference_and_both_errors_by_hand(tmp_path):
    evaluation(tmp_path, "a", [-80.0, -90.0, -100.0], errors=0.3)
    evaluation(tmp_path, "b", [-81.0, -92.0, -103.0], errors=0.4)
    paired.main(["-o", str(tmp_path / "out"), str(tmp_path), "a over b=a,b", "b over a=b,a"])
    found = json.loads((tmp_path / "out.json").read_text())
    assert found["a over b"]["value"] == pytest.approx(2)  # of 1, 2 and 3
    assert found["a over b"]["images"] == pytest.approx(1 / 3**0.5)
    assert found["a over b"]["samples"] == pytest.approx(0.5 / 3**0.5)
    assert found["b over a"]["value"] == pytest.approx(-2)


def test_a_key_with_its_samples_and_images_that_differ_little(tmp_path):
    """The error is that of the difference, not of either mean."""
    rng = np.random.default_rng(0)
    hard = rng.normal(-90, 20, 4000)
    evaluation(tmp_path, "a", hard + rng.normal(0.5, 1, 4000), key="iwae@64")
    evaluation(tmp_path, "b", hard, key="iwae@64")
    found = paired.compared(tmp_path, ["x=a,b"], "iwae@64")["x"]
    assert found["images"] == pytest.approx(1 / 4000**0.5, rel=0.05)
    assert abs(found["value"] - 0.5) < 3 * found["images"]


def test_pairs_that_a_budget_lacks_are_left_out(tmp_path):
    evaluation(tmp_path, "a", [0.0, 1.0])
    evaluation(tmp_path, "b", [0.0, 1.0])
    assert [*paired.compared(tmp_path, ["x=a,b", "y=c,d", "z=a,c"], "iwae")] == ["x"]
    with pytest.raises(ValueError, match="no model of any pair: run"):
        paired.compared(tmp_path, ["y=c,d"], "iwae")


@pytest.mark.parametrize(
    ("pair", "key", "message"),
    [
        ("a,b", "iwae", "is no pair: write LABEL=ONE,OTHER"),
        ("x=a", "iwae", "is no pair"),
        ("x=a,b,c", "iwae", "is no pair"),
        ("x=a,c", "iwae", "has no model of any pair: run"),
        ("x=a,b", "iwae@64", "has no iwae@64: evaluate with it"),
        ("x=a,short", "iwae", "are of different images"),
    ],
)
def test_mistakes_end_in_a_sentence(pair, key, message, tmp_path):
    evaluation(tmp_path, "a", [0.0, 1.0])
    evaluation(tmp_path, "b", [0.0, 1.0])
    evaluation(tmp_path, "short", [0.0])
    with pytest.raises(SystemExit, match=message):
        paired.main(["-o", str(tmp_path / "out"), "-k", key, str(tmp_path), pair])
    assert not (tmp_path / "out.json").exists()


def test_it_reads_what_evaluate_writes(tmp_path):
    """Two models of the digits; the means are those of the tables."""
    from jvi.scripts import evaluate, train

    means = {}
    for name, estimator in (("one", "iwae"), ("other", "elbo")):
        model, own = str(tmp_path / f"model-{name}"), str(tmp_path / name / "run")
        (tmp_path / name).mkdir()
        options = f"-d digits -e 1 -b 200 --vae-samples 2 --estimator {estimator} --quiet"
        train.main([*options.split(), "-o", model])
        options = f"-E vae,iwae -s 8 --images 20 --quiet --per-image {own}.npz --table {own}"
        evaluate.main([*options.split(), model])
        rows = json.loads((tmp_path / name / "run.json").read_text())["rows"]
        means[name] = next(row["mean"] for row in rows if row["estimate"] == "iwae")
    found = paired.compared(tmp_path, ["x=one,other"], "iwae@8")["x"]
    assert found["value"] == pytest.approx(means["one"] - means["other"], abs=1e-6)
