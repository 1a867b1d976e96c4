"""Bits per dimension beside nats, and pictures in colour, of small images of binary numbers."""

import base64
import csv
import io
import json
import math
import re

import numpy as np
import pytest
from PIL import Image

import jvi
from jvi import datasets
from jvi.assessment import plots
from jvi.assessment.in_unit import in_unit
from jvi.assessment.similarity import ssim
from jvi.datasets import NATS, bits_per_dimension
from jvi.models import MLP
from jvi.scripts import evaluate, report, train

SHAPE = (4, 4, 3)
BITS = bits_per_dimension(48)
FACTOR = 48 * math.log(2)


def colours(data_dir=None):
    """Images of which the left half is red, and the right one anything."""
    rows = np.random.default_rng(0).integers(0, 2, (60, *SHAPE))
    rows[:, :, :2] = 1, 0, 0
    data = datasets.of_arrays(rows.reshape(60, 48), name="colours")
    return data._replace(image_shape=SHAPE, unit=BITS)


@pytest.fixture(scope="module")
def prefix(tmp_path_factory):
    prefix = tmp_path_factory.mktemp("models") / "m"
    options = "-d colours -e 1 -b 20 --nhidden 4 --nlatent 3 --quiet --vae-type iwae"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(datasets.DATASETS, "colours", colours)
        train.main(["-o", str(prefix), *options.split(), "--vae-samples", "4"])
    return prefix


@pytest.fixture(autouse=True)
def known(monkeypatch):
    monkeypatch.setitem(datasets.DATASETS, "colours", colours)


def row(estimate, mean, **more):
    return {"estimate": estimate, "mean": mean, "standard_error": 0.5 * FACTOR} | more


def test_rows_in_nats_stay_as_they_are():
    rows = [row("iwae", -3.0)]
    assert in_unit(rows, NATS) == rows
    assert in_unit(rows, NATS)[0] is rows[0]


@pytest.mark.parametrize("dequantised", [False, True])
@pytest.mark.parametrize("name", ["iwae", "vae", "jvi-2", "ais-prior", "exact", "bdmc-upper"])
def test_an_estimate_has_the_offset(name, dequantised):
    more = {"sampling_error": 0.25 * FACTOR, "spread": math.nan, "ess": 7.0}
    [found] = in_unit([row(name, -3 * FACTOR, **more)], bits_per_dimension(48, dequantised))
    assert found["mean"] == -3 * FACTOR and found["ess"] == 7.0
    assert found["unit"] == "bits/dim"
    assert found["value"] == pytest.approx(11 if dequantised else 3)
    assert found["value_standard_error"] == pytest.approx(0.5)
    assert found["value_sampling_error"] == pytest.approx(0.25)
    assert math.isnan(found["value_spread"])


@pytest.mark.parametrize("dequantised", [False, True])
@pytest.mark.parametrize("name", ["-KL(q||p)", "ais - ais-prior", "iwae - exact", "bdmc-gap"])
def test_a_difference_has_none(name, dequantised):
    [found] = in_unit([row(name, -3 * FACTOR)], bits_per_dimension(48, dequantised))
    assert found["value"] == pytest.approx(3)
    assert found["value_standard_error"] == pytest.approx(0.5)
    assert "value_sampling_error" not in found


def test_an_evaluation_tells_both(prefix):
    model, data = jvi.load(prefix), colours()
    plain = jvi.evaluate(model, data.test, 5, ("elbo", "iwae"))
    found = jvi.evaluate(model, data.test, 5, ("elbo", "iwae"), unit=data.unit)
    assert found.mean == plain.mean and "bits" not in repr(plain)
    for name, (value, error) in found.in_unit.items():
        assert value == pytest.approx(-plain.mean[name] / FACTOR)
        assert error == pytest.approx(plain.standard_error[name] / FACTOR)
        assert f"{plain.mean[name]:.4f}" in repr(found)
        assert f"{value:.4f} ± {error:.4f} bits/dim" in repr(found)
    assert plain.in_unit == {n: (plain.mean[n], plain.standard_error[n]) for n in plain.mean}


@pytest.fixture
def evaluated(prefix, tmp_path, capsys):
    """What was printed, the JSON, and the lines of the CSV."""
    table = tmp_path / "table"
    evaluate.main(["-E", "iwae,jvi", "-s", "8,16", "-r", "2", "--table", str(table), str(prefix)])
    with open(f"{table}.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    return capsys.readouterr().out, json.loads((tmp_path / "table.json").read_text()), lines


def test_the_table_tells_both(evaluated):
    out, made, _ = evaluated
    header, *lines = out[out.index("estimate") :].splitlines()
    for title in ("bits/dim ± images", "nats", "± images", "± samples", "± reps"):
        assert title in header
    for line, row in zip(lines, made["rows"], strict=False):
        name, _, value, sign, error, nats = line.split()[:6]
        assert name == row["estimate"] and sign == "±"
        assert float(nats) == pytest.approx(row["mean"], abs=1e-4)
        assert float(value) == pytest.approx(-row["mean"] / FACTOR, abs=1e-4)
        assert float(error) == pytest.approx(row["standard_error"] / FACTOR, abs=1e-4)
    [last] = [row["value"] for row in made["rows"] if row["estimate"] == "-KL(q||p)"]
    assert last > 0 and "-KL(q||p)" in lines[4]  # the ELBO takes more bits than log p(x)


def test_files_have_both(evaluated):
    _, made, lines = evaluated
    for row, line in zip(made["rows"], lines, strict=False):
        assert row["unit"] == line["unit"] == "bits/dim"
        assert row["value"] == pytest.approx(-row["mean"] / FACTOR)
        for key in ("standard_error", "sampling_error", "spread"):
            assert row[f"value_{key}"] == pytest.approx(row[key] / FACTOR)
            assert float(line[f"value_{key}"]) == row[f"value_{key}"]


def test_result_lines_stay_in_nats(evaluated):
    out, made, _ = evaluated
    found = [float(line.split()[0]) for line in out.splitlines() if "# logp(" in line]
    ours = [np.mean(found[i::4]) for i in range(4)]
    wanted = [row["mean"] for row in made["rows"][:4]]
    assert sorted(ours) == pytest.approx(sorted(wanted), abs=1e-7)


def test_bytes_are_checked_as_they_are_observed(prefix, monkeypatch, capsys, tmp_path):
    """Rows of uint8 are in [0, 255], which a model in [0, 1] never sees."""

    def of_bytes(data_dir=None):
        data = colours()
        parts = {n: (getattr(data, n) * 200).astype(np.uint8) for n in ("train", "test")}
        return data._replace(**parts, observe=datasets.of_bytes)

    monkeypatch.setitem(datasets.DATASETS, "colours", of_bytes)
    monkeypatch.setattr(MLP, "of_bytes", True, raising=False)
    evaluate.main(["-s", "4", "--quiet", "--table", str(tmp_path / "t"), str(prefix)])
    printed = float(capsys.readouterr().out.split()[0])
    x = of_bytes().test.astype(np.float32) / 256
    expected = jvi.evaluate(jvi.load(prefix), x, 4, ("iwae",)).mean["iwae"]
    assert printed == pytest.approx(expected, abs=1e-7)


# Pictures


def test_a_grid_of_colours():
    images = np.random.default_rng(1).random((3, 24))
    found = plots.grid(images, (2, 4, 3), 2)
    assert found.shape == (7, 11, 3)
    np.testing.assert_array_equal(found[1:3, 6:10], images[1].reshape(2, 4, 3))
    np.testing.assert_array_equal(found[4:6, 1:5], images[2].reshape(2, 4, 3))
    assert np.all(found[0] == 0.5) and np.all(found[:, 5] == 0.5)


def test_a_png_has_the_colours():
    bytes_ = np.random.default_rng(2).integers(0, 256, (5, 7, 3))
    found = Image.open(io.BytesIO(plots.png(bytes_ / 255)))
    np.testing.assert_array_equal(np.asarray(found.convert("RGB")), bytes_)


def test_means_that_round_beyond_the_range_can_be_drawn():
    found = Image.open(io.BytesIO(plots.png(np.array([[[1 + 1e-6, -1e-6, 0.5]]]))))
    assert found.convert("RGB").getpixel((0, 0))[:2] == (255, 0)


def test_similarity_of_colours_is_the_mean_over_channels():
    rng = np.random.default_rng(3)
    x, y = rng.random((2, 4, 12, 16, 3))
    channels = [
        ssim(x[..., c].reshape(4, -1), y[..., c].reshape(4, -1), (12, 16)) for c in range(3)
    ]
    found = ssim(x.reshape(4, -1), y.reshape(4, -1), (12, 16, 3))
    np.testing.assert_allclose(found, np.mean(channels, axis=0), rtol=1e-10)


@pytest.fixture
def page(prefix, tmp_path):
    path = tmp_path / "page.html"
    report.main(["-s", "8", "--quiet", "-o", str(path), str(prefix)])
    return path.read_text()


def test_a_report_tells_bits(page, prefix):
    data = colours()
    x = datasets.observe_each(data, data.test, 0)
    mean = jvi.evaluate(jvi.load(prefix), x, 8, ("iwae",)).mean["iwae"]
    assert "bits/dim ± images" in page and "lower is better" in page
    [cells] = re.findall(r">IWAE</th>(.*?)</tr>", page)[:1]
    assert re.findall(r"<td>([^<]*)", cells)[3].startswith(f"{-mean / FACTOR:.4f} ± ")


def test_a_report_has_colours(page):
    found = re.findall(r'<img src="data:image/png;base64,([^"]*)" alt="([^"]*)"[^>]*>', page)
    [picture] = [each for each, alt in found if alt.startswith("Test images")]
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(picture))).convert("RGB"))
    assert pixels[1:5, 1:3].tolist() == [[[255, 0, 0]] * 2] * 4  # the first test image
    tags = re.findall(r"<img [^>]*>", page)
    assert tags and all('class="colour"' in tag for tag in tags)
    assert "img:not(.colour)" in page  # which a dark page would show in their negative


def test_a_report_of_grey_images_has_none_of_it(tmp_path, prefix, monkeypatch):
    def grey(data_dir=None):
        return colours()._replace(image_shape=(6, 8), unit=NATS)

    monkeypatch.setitem(datasets.DATASETS, "colours", grey)
    path = tmp_path / "page.html"
    report.main(["-s", "8", "--quiet", "-o", str(path), str(prefix)])
    assert "bits/dim" not in path.read_text() and 'class="colour"' not in path.read_text()


def test_a_picture_of_a_run_in_colour(prefix, tmp_path):
    model, data = jvi.load(prefix), colours()
    log = [{"epoch": e, "main/obj": 30 - e, "validation/main/iwae": 31 - e} for e in (1, 2)]
    rng = np.random.default_rng(0)
    plots.picture_of_run(tmp_path / "run.png", log, model, data.test[:6], SHAPE, rng)
    pixels = np.asarray(Image.open(tmp_path / "run.png").convert("RGB")).reshape(-1, 3)
    assert np.all(pixels == [255, 0, 0], axis=1).sum() > 500
