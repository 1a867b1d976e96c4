"""Arms that went on from the same models: which are compared, and both errors."""

import json

import arms
import numpy as np
import pytest

RNG = np.random.default_rng(3)
IMAGES = RNG.normal(-90, 20, 50)


def evaluation(runs, label, values, numbers, samples=(512,)):
    name = "-".join([label, *map(str, values.values())])
    (runs / name).mkdir()
    keys = ["iwae"] if len(samples) == 1 else [f"iwae@{each}" for each in samples]
    worse = -0.02 * (values["arm"] == "dreg")
    arrays = {key: numbers + i * worse for i, key in enumerate(keys)}
    counts = np.squeeze(np.array(samples))  # of evaluate.py one number has no axis
    np.savez(runs / name / "run.npz", num_samples=counts, **arrays)


@pytest.fixture
def runs(tmp_path):
    """Three seeds of two arms, the second better by 0.1 and what the seed and the image say."""
    for seed in range(3):
        common = IMAGES + RNG.normal(size=50)
        better = 0.1 + 0.01 * seed + 0.3 * np.sin(np.arange(50))
        evaluation(tmp_path, "score", {"seed": seed, "arm": "dreg"}, common, (512, 5000))
        evaluation(tmp_path, "score", {"seed": seed, "arm": "jvi"}, common + better, (512, 5000))
    evaluation(tmp_path, "score-rest", {"net": "iaf", "seed": 0, "arm": "dreg"}, IMAGES)
    evaluation(tmp_path, "score-rest", {"net": "iaf", "seed": 0, "arm": "jvi"}, IMAGES - 1)
    evaluation(tmp_path, "score-rest", {"net": "mlp", "seed": 0, "arm": "jvi"}, IMAGES - 9)
    return tmp_path


def test_differences_are_by_image_and_by_seed(runs):
    options = "--of score,score-rest --pairs jvi:dreg,clip:dreg --key iwae@5000,iwae@512"
    arms.main([*options.split(), "-o", str(runs / "out"), str(runs)])
    found = json.loads((runs / "out.json").read_text())
    one = found["jvi less dreg"]
    shift = 0.3 * np.sin(np.arange(50))
    for key, slower in (("iwae@5000", 0.02), ("iwae@512", 0)):
        assert one[key]["nats"]["value"] == pytest.approx(0.11 + slower + shift.mean())
        assert one[key]["nats"]["images"] == pytest.approx(shift.std(ddof=1) / 50**0.5)
        assert one[key]["seeds"] == pytest.approx(0.01 / 3**0.5)
    assert one["number"] == 3
    rest = found["iaf jvi less dreg"]
    assert rest["iwae@512"]["nats"]["value"] == pytest.approx(-1)
    assert rest["iwae@512"]["seeds"] is None and "iwae@5000" not in rest
    assert {*found} == {"jvi less dreg", "iaf jvi less dreg", "rows"}
    rows = {(row.get("net"), row["seed"]): row for row in found["rows"]}
    assert len(rows) == len(found["rows"]) == 4
    row = rows[None, 2]
    assert row["arm"] == "jvi" and row["less"] == "dreg"
    assert row["iwae@512"]["value"] == pytest.approx(0.12 + shift.mean())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--of score --pairs jvi", "--pairs must be ARM:OTHER, separated by commas, not jvi"),
        ("--of score --pairs clip:dreg", "has no pair of clip:dreg yet"),
        ("--of score-rest --pairs jvi:dreg", "has none of iwae@5000: give others with --key"),
    ],
)
def test_mistakes_end_in_a_sentence(options, message, runs):
    with pytest.raises(SystemExit, match=message):
        arms.main([*options.split(), "-o", str(runs / "out"), str(runs)])
    assert not (runs / "out.json").exists()
