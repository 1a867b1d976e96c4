"""The page that compares models: its numbers, its pictures, and what it refuses."""

import base64
import io
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread
from pages import Page, browse, fails, number  # noqa: F401  a fixture is one of them

import jvi
from jvi import datasets
from jvi.assessment import plots, plots_of_several
from jvi.assessment.paired import compare
from jvi.assessment.plots_of_several import Curve
from jvi.assessment.report_of_several import report_of_several
from jvi.assessment.several import names_of
from jvi.models import MLP
from jvi.models.files import read_model, write_model
from jvi.scripts import report as script
from jvi.scripts import train

IMAGES, SAMPLES = 40, 64
MINUS = "\N{MINUS SIGN}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """With the models a, b and s; s is of binary latents and has neither KL nor traversals."""
    path = tmp_path_factory.mktemp("several")
    steps = ["-e", "2", "-b", "500", "--opt", "adam", "--lr", "1e-3", "--quiet"]
    for name, latent in (("a", 2), ("b", 3)):
        sizes = f"--nlatent {latent} --nhidden 8 --vae-type iwae --vae-samples 4"
        train.main(["-o", str(path / name), *sizes.split(), *steps])
    sbn = "--model sbn:units=6 --estimator vimco --vae-samples 4"
    train.main(["-o", str(path / "s"), *sbn.split(), *steps])
    return path


def written(folder, names, *options, out=None, date="86400"):
    numbers = () if "--images" in options else ("--images", IMAGES, "-s", SAMPLES)
    numbers = (*numbers, "--quiet", "--overwrite")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOURCE_DATE_EPOCH", date)
        prefixes = [folder / name for name in names]
        script.main([str(word) for word in (*numbers, *options, *prefixes)])
    return Path(out or f"{folder / names[0]}.comparison.html").read_text()


@pytest.fixture(scope="module")
def text(folder):
    return written(folder, "abs")


@pytest.fixture(scope="module")
def page(text):
    return Page(text)


@pytest.fixture(scope="module")
def record(folder, text):
    return json.loads((folder / "a.comparison.json").read_text())


@pytest.fixture(scope="module")
def evaluations(folder):
    """What `jvi.evaluate` has of each, on its own."""
    data = datasets.load("digits")
    x = datasets.observe_each(data, data.test[:IMAGES], 0)
    found = {}
    for name in "abs":
        model = jvi.load(folder / name)
        bounds = ("vae", "iwae", "jvi") if hasattr(model.link, "kl") else ("elbo", "iwae", "jvi")
        found[name] = jvi.evaluate(model, x, SAMPLES, bounds)
    return found


def told(mean, error):
    return f"{plots.number(mean)} ± {error:.2f}"


def test_means_are_those_of_evaluate(page, evaluations):
    header, *rows = page.tables["means"]
    assert header == ["model", "ELBO", "IWAE", "JVI-1"]
    assert [row[0] for row in rows] == list("abs")
    for name, *cells in rows:
        result = evaluations[name]
        assert cells == [told(m, result.standard_error[key]) for key, m in result.mean.items()]


def test_differences_are_paired(page, evaluations):
    means = {name: each.mean["iwae"] for name, each in evaluations.items()}
    best = max(means, key=means.get)
    header, *rows = page.tables["paired"]
    assert header == ["model", "ELBO", "IWAE", "JVI-1", "better on", "verdict"]
    assert [row[0] for row in rows] == [name for name in "abs" if name != best]
    for name, _, cell, *_, better, verdict in rows:
        gap = evaluations[name].per_image["iwae"] - evaluations[best].per_image["iwae"]
        error = gap.std(ddof=1) / np.sqrt(IMAGES)
        assert cell == f"{plots.number(gap.mean(), '.3f')} ± {error:.3f}"
        assert better == f"{(gap > 0).sum()} of {IMAGES}"
        assert verdict == ("worse" if gap.mean() < -2 * error else "undecided")
    assert f"{best} has the highest IWAE, " in page.text
    assert f"Less {best}, image by image" in page.text


def test_the_file_has_the_numbers_of_the_page(record, evaluations):
    rows = compare(evaluations).rows
    for ours, theirs in zip(record["rows"], rows, strict=True):
        for key in ("estimate", "model", "num_samples", "num_images", "better", "verdict"):
            assert ours[key] == theirs[key]
        for key in ("mean", "standard_error", "difference"):
            assert ours[key] == pytest.approx(theirs[key], rel=1e-9)
    assert {"reference", "notes", "versions", "seed", "num_samples"} <= set(record)
    assert record["data"] == "digits" and record["num_images"] == IMAGES
    a, _, s = record["models"]
    assert a["trained_as"] == "iwae" and a["trained_on"] == "digits" and a["latent_units"] == [2]
    assert s["network"].startswith("sbn:") and s["trained_as"] == "vimco"
    assert {row["estimate"] for row in a["rows"]} == {"vae", "iwae", "jvi", "-KL(q||p)"}
    assert s["active_units"][0] <= s["latent_units"][0] == 6


def test_beside_bounds_there_is_what_each_has(page, record):
    header, *rows = page.tables["beside"]
    gap, *others = header[1:]
    assert gap == f"{MINUS}KL(q‖p)" and others[:3] == ["ESS", "heavy tails", "active units"]
    for row, one in zip(rows, record["models"], strict=True):
        last = one["rows"][-1]
        assert row[1] == told(last["mean"], last["standard_error"])
        weighted = next(each for each in one["rows"] if each["estimate"] == "iwae")
        assert row[2:4] == [f"{weighted['ess']:.1f}", f"{weighted['heavy_tails']:.0%}"]
        assert row[4] == f"{one['active_units'][0]} of {one['latent_units'][0]}"


def test_every_model_is_described(page, folder):
    rows = {row[0]: row[1] for row in page.tables["models"]}
    assert "trained as iwae on digits" in rows["a"] and "latent=2" in rows["a"]
    assert "sbn:" in rows["s"] and "epoch" in rows["s"]
    assert rows["data"] == "digits, first 40 of 300 test images, binarised"
    assert rows["samples"] == "K = 64 per image and model, seed 0"
    assert rows["evaluated by"] == f"jvi {jvi.__version__}, 1970-01-02"


SECTIONS = ["Which is better", "Estimates", "Image by image", "The models", "Reconstructions"]
SECTIONS += ["Samples from the prior", "Where they differ"]


def test_every_section_is_there(text, page):
    assert re.findall("<h2>(.*?)</h2>", text) == SECTIONS
    assert "<h1>a · b · s</h1>" in text
    assert text.count("<svg ") == 3
    for name in "abs":
        assert f"Samples from the prior of {name}." in page.text
    assert all(image["alt"] for image in page.attributes("img"))
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_reconstructions_are_below_their_images(page, folder):
    """A strip of the images, then one of each model, pixel by pixel."""
    data = datasets.load("digits")
    x = datasets.observe_each(data, data.test[:IMAGES], 0)
    expected = [x] + [jvi.load(folder / name).reconstruct(x) for name in "abs"]
    shown = [i for i in page.attributes("img") if i["alt"] in ("test image", "a", "b", "s")]
    assert [i["alt"] for i in shown] == ["test image", "a", "b", "s"] * 2
    for start, images in ((0, shown[:4]), (10, shown[4:])):
        for picture, want in zip(images, expected, strict=True):
            png = base64.b64decode(picture["src"].partition(",")[2])
            pixels = imread(io.BytesIO(png))[1:9, :, 0]
            for i in (0, 9):
                got = pixels[:, 1 + 9 * i : 9 + 9 * i]
                np.testing.assert_allclose(got, 1 - want[start + i].reshape(8, 8), atol=2 / 255)


def test_the_images_where_models_differ_most_are_listed(page, evaluations):
    values = np.array([each.per_image["iwae"] for each in evaluations.values()])
    spread = values.max(axis=0) - values.min(axis=0)
    header, *rows = page.tables["apart"]
    assert header == ["no.", "image", "a", "b", "s"]
    chosen = [int(row[0]) for row in rows]
    assert chosen == np.argsort(-spread, kind="stable")[:8].tolist()
    for i, row in zip(chosen, rows, strict=True):
        np.testing.assert_allclose([number(c) for c in row[2:]], values[:, i], atol=0.051)


def test_the_same_seed_and_date_give_the_same_bytes(folder, text):
    out = folder / "x.html"
    again = written(folder, "abs", "-o", out, out=out)
    assert again == text
    assert (folder / "x.json").read_bytes() == (folder / "a.comparison.json").read_bytes()
    assert written(folder, "abs", "-o", out, "--seed", 1, out=out) != text


def test_reasons_to_doubt_name_the_model(folder, tmp_path):
    for name in "ab":
        write_model(tmp_path / name, read_model(folder / name))  # without logs
    shutil.copytree(folder / "s", tmp_path / "s")
    shutil.copy(folder / "s.meta.yaml", tmp_path / "s.meta.yaml")
    page = Page(written(tmp_path, "abs"))
    assert f"b: {tmp_path / 'b' / 'log'} is missing" in page.text
    assert "s: " in page.text and "s.perf is missing" in page.text
    assert "IWAE of validation by epoch" in page.text  # of s alone
    assert "IWAE of validation by epoch" not in Page(written(tmp_path, "ab")).text


def models_of(folder, names="ab"):
    return [(jvi.load(folder / name), read_model(folder / name)) for name in names]


def test_data_that_are_no_images_have_no_pictures(folder):
    data = datasets.load("digits")._replace(image_shape=None)
    text, _ = report_of_several(models_of(folder), data, IMAGES, SAMPLES)
    assert "<img" not in text and "its reconstructions" not in text
    assert re.findall("<h2>(.*?)</h2>", text) == [*SECTIONS[:4], SECTIONS[6]]
    assert Page(text).tables["apart"][0] == ["no.", "a", "b"]


ABLE = {
    "typical": ["Reconstructions"],
    "draw_prior": ["Samples from the prior"],
    "mean": ["Reconstructions", "Samples from the prior"],
    "latent_means": [],
}


@pytest.mark.parametrize("capability", ABLE)
def test_what_no_model_can_do_is_left_out(folder, monkeypatch, capability):
    owner = next(each for each in MLP.__mro__ if capability in vars(each))
    monkeypatch.delattr(owner, capability)
    text, record = report_of_several(models_of(folder), datasets.load("digits"), IMAGES, SAMPLES)
    found = re.findall("<h2>(.*?)</h2>", text)
    assert [each for each in SECTIONS if each not in found] == ABLE[capability]
    assert ("active units" in Page(text).tables["beside"][0]) == (capability != "latent_means")
    assert bool(record["models"][0]["latent_units"]) == (capability != "latent_means")


def test_what_one_model_cannot_do_is_left_out_for_it(folder, monkeypatch):
    models = models_of(folder, "as")
    monkeypatch.delattr(
        next(each for each in type(models[1][0].link).__mro__ if "typical" in vars(each)), "typical"
    )
    if hasattr(models[0][0].link, "typical"):
        page = Page(report_of_several(models, datasets.load("digits"), IMAGES, SAMPLES)[0])
        alts = {image["alt"] for image in page.attributes("img")}
        assert {"test image", "a"} <= alts and "s" not in alts
        assert "reconstructions by a." in page.text


def test_bytes_are_told_in_bits_too(tmp_path):
    model = "-d digits-grey --model iaf-resnet --depths 1 --n-z 2 --n-h 4 --estimator elbo"
    for name, seed in (("m", 0), ("n", 1)):
        words = f"{model} --opt adamax -b 650 -e 1 --quiet --seed {seed}".split()
        train.main([*words, "-o", str(tmp_path / name)])
    numbers = "--images", 6, "-s", 4
    page = Page(written(tmp_path, "mn", *numbers))
    assert "The same in bits/dim, where lower is better." in page.text
    for nats, bits in zip(page.tables["means"][1:], page.tables["units"][1:], strict=True):
        for one, other in zip(nats[1:], bits[1:], strict=True):
            mean, error = map(number, one.split(" ± "))
            expected = -mean / 64 / np.log(2), error / 64 / np.log(2)
            assert [*map(number, other.split(" ± "))] == pytest.approx(expected, abs=2e-4)


def test_evidence_that_models_know_is_a_column(tmp_path):
    steps = "-d mixture --model mixture --estimator reinforce --vae-samples 2 -b 5000 --opt adam"
    for name, seed in (("m", 0), ("n", 1)):
        words = f"{steps} --quiet -e 1 --seed {seed}".split()
        train.main([*words, "-o", str(tmp_path / name)])
    page = Page(written(tmp_path, "mn"))
    assert page.tables["means"][0] == ["model", "ELBO", "IWAE", "JVI-1", "log p(x)"]
    x = datasets.load("mixture").test[:IMAGES]
    exact = jvi.load(tmp_path / "m").link.log_evidence(x)
    assert page.tables["means"][1][-1].split()[0] == plots.number(exact.mean())


# Names and charts


@pytest.mark.parametrize(
    ("prefixes", "names"),
    [
        (["x/a", "y/b"], ["a", "b"]),
        (["x/m", "y/m"], ["x/m", "y/m"]),
        (["r/x/m", "r/y/m", "r/y/n"], ["x/m", "y/m", "y/n"]),
        (["m", "x/m"], ["m", "x/m"]),
        (["/p/x/m", "/q/x/m"], ["p/x/m", "q/x/m"]),
    ],
)
def test_names_are_the_shortest_that_differ(prefixes, names):
    assert names_of(prefixes) == names


def test_two_files_of_one_prefix_are_two_models(folder, tmp_path):
    shutil.copytree(folder / "a", tmp_path / "a")
    shutil.copy(folder / "a.meta.yaml", tmp_path / "a.meta.yaml")
    write_model(tmp_path / "a.h5", read_model(folder / "a"))
    page = Page(written(tmp_path, ["a", "a.h5"]))
    assert [row[0] for row in page.tables["means"][1:]] == ["snapshot_bestvalobj", "a.h5"]


def test_many_models_have_looks_of_their_own():
    looks = [tuple(plots_of_several._look(i).items()) for i in range(24)]
    assert len(set(looks)) == 24


def axes():
    from matplotlib.figure import Figure

    return Figure().subplots()


def test_differences_are_drawn_from_least_to_most():
    drawn = axes()
    values = np.array([3.0, -1.0, 0.5, 2.0])
    plots_of_several.draw_differences(drawn, {"b": values}, ["a", "b"])
    x, y = drawn.lines[0].get_data()
    assert y.tolist() == sorted(values) and x.tolist() == [12.5, 37.5, 62.5, 87.5]
    assert drawn.lines[0].get_color() == plots_of_several.COLOURS[1]


def test_curves_end_where_training_did_and_mark_what_is_kept():
    drawn, key = axes(), plots_of_several.VALIDATION
    log = [{"epoch": i, key: 30.0 - i} for i in range(1, 5)]
    curves = {"a": Curve(log, 3), "none": Curve([], None), "b": Curve(log[:2], None)}
    plots_of_several.draw_curves(drawn, curves)
    first, dot, second, nothing = (line.get_data() for line in drawn.lines)
    assert first[0].tolist() == [1, 2, 3, 4] and first[1].tolist() == [-29, -28, -27, -26]
    assert (dot[0].tolist(), dot[1].tolist()) == ([3], [-27])
    assert second[0].tolist() == [1, 2] and nothing[0].size == 0
    assert drawn.lines[2].get_color() == plots_of_several.COLOURS[2]


def test_long_names_keep_their_end():
    name = "a" * 50 + "-the-end"
    assert plots_of_several._short(name).endswith("-the-end")
    assert len(plots_of_several._short(name)) == plots_of_several.LONGEST


# What is refused


def test_one_model_is_reported_as_before(folder, tmp_path):
    out = tmp_path / "r.html"
    text = written(folder, "a", "-o", out, out=out)
    assert "<h2>Estimates</h2>" in text and "Which is better" not in text
    assert [path.name for path in tmp_path.iterdir()] == ["r.html"]


def test_models_must_be_different_and_be_there(folder, tmp_path):
    out = ["-o", tmp_path / "r.html"]
    fails([*out, folder / "a", folder / "a"], "are the same model: name it once")
    fails([*out, folder / "a", f"{folder}/../{folder.name}/a"], "are the same model")
    fails([*out, folder / "a", folder / "nothing"], "no model there")
    assert list(tmp_path.iterdir()) == []


def test_the_data_set_must_be_one(folder, tmp_path):
    files = read_model(folder / "b")
    meta = {**files.meta, "--dataset": "mnist"}
    write_model(f"{tmp_path / 'b'}.h5", files._replace(meta=meta))
    out = ["-o", tmp_path / "r.html"]
    message = "a was trained on digits and .*b on mnist: give the data set .* with -d"
    fails([*out, folder / "a", tmp_path / "b"], message)
    argv = [*out, "-d", "digits,digits-grey", folder / "a", folder / "b"]
    fails(argv, "several models are compared on one data set")
    page = Page(written(folder, [folder / "a", tmp_path / "b"], "-d", "digits"))
    assert "trained as iwae on mnist" in page.text and "trained as iwae on digits" in page.text


def test_nothing_is_overwritten(folder, tmp_path):
    models = folder / "a", folder / "b"
    for ending in ("html", "json"):
        taken = tmp_path / f"r.{ending}"
        taken.write_text("precious")
        fails(["-o", tmp_path / "r.html", *models], f"r.{ending} exists: .* --overwrite")
        assert taken.read_text() == "precious"
        taken.unlink()
    fails(["-o", tmp_path / "r.json", *models], "is named for two outputs")
    fails(["-o", folder / "b" / "log", "--overwrite", *models], "is a file of the model")


def test_images_must_fit_every_model(folder, legacy, tmp_path):
    argv = ["-d", "digits", "-o", tmp_path / "r.html", folder / "a", legacy("tiny_iwae")]
    fails(argv, r"tiny_iwae: digits: .*the model expects \(N, 784\)")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("flags", [[], ["--blink-settings=preferredColorScheme=0"]])
def test_a_browser_shows_all_of_it(folder, tmp_path, browse, flags):  # noqa: F811
    """With long names, too, at 400 px."""
    name = "a-model-with-a-very-long-name-that-has-no-end"
    for ending in ("", ".meta.yaml", ".perf"):
        copy = shutil.copytree if not ending else shutil.copy
        copy(f"{folder / 'a'}{ending}", f"{tmp_path / name}{ending}")
    out = tmp_path / "r.html"
    text = written(folder, [tmp_path / name, "b", "s"], "-o", out, out=out)
    seen, asked = browse(text, 400, *flags)
    assert len(seen["images"]) == text.count("<img ") > 16 and all(seen["images"])
    assert len(seen["charts"]) == 3 and all(seen["charts"])
    assert seen["overflow"] == 0 and asked == set()
    levels = [int(re.search(r"\d+", seen[key])[0]) for key in ("ink", "chart", "paper")]
    assert levels[0] == levels[1] and (levels[0] > 200, levels[2] < 50) == (bool(flags),) * 2
