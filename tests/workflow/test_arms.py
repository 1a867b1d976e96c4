"""Arms that went on from the same models: which are compared, and both errors."""

import json

import arms
import numpy as np
import pytest

RNG = np.random.default_rng(3)
IMAGES = RNG.normal(-90, 20, 50)


def evaluation(runs, label, values, numbers, samples=(512,), images=range(50)):
    name = "-".join([label, *map(str, values.values())])
    (runs / name).mkdir()
    keys = ["iwae"] if len(samples) == 1 else [f"iwae@{each}" for each in samples]
    worse = -0.02 * (values["arm"] == "dreg")
    arrays = {key: numbers + i * worse for i, key in enumerate(keys)}
    counts = np.squeeze(np.array(samples))  # of evaluate.py one number has no axis
    np.savez(runs / name / "run.npz", image=list(images), num_samples=counts, **arrays)


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


def test_an_estimate_that_a_seed_lacks_is_left_out_of_the_mean(runs):
    for arm in ("dreg", "jvi"):
        evaluation(runs, "score", {"seed": 9, "arm": arm}, IMAGES, (512,))
    found = arms.jobs(runs, ["score"], ["iwae@512", "iwae@5000"])
    rows, summary = arms.compared(found, [("jvi", "dreg")])
    assert len(rows) == summary["jvi less dreg"]["number"] == 4
    assert {*summary["jvi less dreg"]} == {"number", "iwae@512"}


def test_pairs_are_of_the_images_that_both_have(runs):
    for seed in range(3):
        better = np.load(runs / f"score-{seed}-dreg" / "run.npz")["iwae@512"][20:30] + np.arange(10)
        values = {"seed": seed, "arm": "clip"}
        evaluation(runs, "score-rest", values, better[::-1], images=range(29, 19, -1))
    found = arms.jobs(runs, ["score", "score-rest"], ["iwae@512"])
    summary = arms.compared(found, [("clip", "dreg")])[1]["clip less dreg"]
    assert summary["iwae@512"]["nats"]["value"] == pytest.approx(4.5)
    assert summary["iwae@512"]["nats"]["images"] == pytest.approx((55 / 6 / 10) ** 0.5)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (range(50, 100), "have no image in common: evaluate them alike"),
        (range(25, 75), "jvi less dreg: seeds are of different images: evaluate them alike"),
    ],
)
def test_other_images_are_no_pair(runs, images, message):
    evaluation(runs, "score", {"seed": 9, "arm": "jvi"}, IMAGES)
    evaluation(runs, "score", {"seed": 9, "arm": "dreg"}, IMAGES, images=images)
    with pytest.raises(SystemExit, match=message):
        arms.main(f"--pairs jvi:dreg --key iwae@512 -o {runs}/out {runs}".split())


def test_a_damaged_file_is_named(runs):
    path = runs / "score-0-jvi" / "run.npz"
    whole = path.read_bytes()
    for content in (b"", whole[:100], whole[:-40], b"x" * 100):
        path.write_bytes(content)
        with pytest.raises(SystemExit, match=r"score-0-jvi/run.npz is damaged: evaluate again"):
            arms.main(f"--pairs jvi:dreg -o {runs}/out {runs}".split())


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
