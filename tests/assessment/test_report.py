"""The page on a model: its numbers, its pictures, and that it needs nothing but itself."""

import base64
import html
import io
import json
import math
import re
import shutil
import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from pages import Page, browse, fails, number  # noqa: F401  a fixture is one of them

import jvi
from jvi import datasets
from jvi.assessment import plots
from jvi.assessment.doubts import doubts
from jvi.assessment.evaluation import evaluations
from jvi.assessment.page import POLICY, tag
from jvi.assessment.report import _concentration as concentration
from jvi.assessment.report import report
from jvi.assessment.similarity import ssim
from jvi.evidence.diagnostics import active_units
from jvi.models import MLP
from jvi.models.files import read_model, write_model
from jvi.models.mixture import l2_errors
from jvi.scripts import report as script
from jvi.scripts import train

IMAGES, SAMPLES = 40, 64


@pytest.fixture(scope="module", params=[2, 3], ids="{} latent dimensions".format)
def prefix(request, tmp_path_factory):
    return trained(tmp_path_factory.mktemp("models") / "m", request.param)


@pytest.fixture(scope="module")
def model3(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("models") / "m", 3)


def trained(prefix, latent):
    options = "-e 2 -b 500 --opt adam --lr 1e-3 --nhidden 8 --quiet --vae-type iwae --vae-samples 4"
    train.main(["-o", str(prefix), "--nlatent", str(latent), *options.split()])
    return prefix


@pytest.fixture(scope="module")
def page(prefix):
    return Page(written(prefix))


def written(prefix, *options, images=IMAGES, samples=SAMPLES, date="86400"):
    numbers = "--images", images, "-s", samples
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOURCE_DATE_EPOCH", date)
        script.main([str(word) for word in (*numbers, "--quiet", "--overwrite", *options, prefix)])
    return Path(f"{prefix}.report.html").read_text()


def evaluated(prefix, seed=0, images=IMAGES, samples=SAMPLES):
    model = jvi.load(prefix)
    data = datasets.load("digits")
    x = datasets.observe_each(data, data.test[:images], seed)
    options = {"seed": seed, "detail": True, "keep": True}
    return model, x, evaluations(model, x, [samples], ("vae", "iwae", "jvi"), **options)[0]


def test_its_numbers_are_those_of_evaluate(prefix, page):
    model, x, result = evaluated(prefix)
    header, *rows = page.tables["bounds"]
    assert header == ["bound or estimate", "nats per image", "± images", "± samples"]
    for row, label, name in zip(rows, ("ELBO", "IWAE", "JVI-1"), result.mean, strict=True):
        errors = result.standard_error[name], result.sampling_error[name]
        shown = [f"{errors[0]:.2f}", f"{errors[1]:.3f}"]
        assert row == [label, f"\N{MINUS SIGN}{-result.mean[name]:.2f}", *shown]
    values, limit = result.per_image, 1 - 1 / math.log10(64)
    active = active_units(model.encode(x)[0]).sum()
    assert page.tables["diagnosis"] == [
        ["effective sample size, mean", f"{values['ess'].mean():.1f} of 64"],
        ["images with Pareto k > 0.45", f"{100 * (values['pareto_k'] > limit).mean():.0f}%"],
        ["active latent units", f"{active} of {model.num_latent}"],
    ]


def test_what_is_measured_beside_bounds_is_told(prefix, page):
    model, x, result = evaluated(prefix)
    gap = result.per_image["vae"] - result.per_image["iwae"]
    sampling = np.linalg.norm(result.per_image["vae-iwae_error"]) / IMAGES
    values = ssim(x, model.reconstruct(x), (8, 8))
    header, kl, similar = page.tables["measures"]
    assert header == ["beside bounds", "mean", "± images", "± samples"]
    told = [gap.mean(), gap.std(ddof=1) / math.sqrt(IMAGES), sampling]
    assert kl == ["\N{MINUS SIGN}KL(q‖p)", *map(plots.number, told, [".2f", ".2f", ".3f"])]
    told = [values.mean(), values.std(ddof=1) / math.sqrt(IMAGES)]
    assert similar == ["SSIM", *(plots.number(each, ".3f") for each in told), ""]


def test_without_scikit_image_there_is_no_ssim(model3, monkeypatch):
    from jvi.assessment import similarity

    monkeypatch.setattr(similarity, "find_spec", lambda _: None)
    names = [row[0] for row in Page(written(model3, images=8, samples=8)).tables["measures"]]
    assert names == ["beside bounds", "\N{MINUS SIGN}KL(q‖p)"]


def test_the_evidence_that_a_model_knows_is_a_row(tmp_path):
    model = "-d mixture --model mixture --estimator reinforce --vae-samples 2"
    steps = "-e 1 -b 5000 --opt adam --quiet"
    train.main([*model.split(), *steps.split(), "-o", str(tmp_path / "mix")])
    page = Page(written(tmp_path / "mix"))
    model, x = jvi.load(tmp_path / "mix"), datasets.load("mixture").test[:IMAGES]
    exact, errors = model.link.log_evidence(x), l2_errors(model.link, x)
    assert page.tables["bounds"][-1][:2] == ["log p(x)", plots.number(exact.mean())]
    rows = {row[0]: row[1] for row in page.tables["measures"]}
    assert rows["L2 error of q(z|x)"] == f"{errors.posterior:.3f}"
    assert rows["L2 error of p(z)"] == f"{errors.prior:.3f}"
    elbo = jvi.evaluate(model, x, SAMPLES, ("vae",)).per_image["vae"]
    assert rows["\N{MINUS SIGN}KL(q‖p)"] == plots.number((elbo - exact).mean())


def test_several_data_sets_are_compared(model3):
    data = datasets.load("digits")
    turned = np.ascontiguousarray(data.test[:, ::-1])
    other = data._replace(name="turned", test=turned)
    model, files = jvi.load(model3), read_model(model3)
    text = report(model, files, data, IMAGES, SAMPLES, others=[other])
    page = Page(text)
    assert sections(text) == [SECTIONS[0], "Other data sets", *SECTIONS[1:]]
    header, *rows = page.tables["cross"]
    names = ["ELBO", "IWAE", "JVI-1", "\N{MINUS SIGN}KL(q‖p)", "SSIM"]
    assert header == ["tested on", *names]
    for (name, *cells), each in zip(rows, (data, other), strict=True):
        assert name == each.name
        alone = Page(report(model, files, each, IMAGES, SAMPLES)).tables
        told = alone["bounds"][1:] + alone["measures"][1:]
        assert cells == [f"{row[1]} ± {row[2]}" for row in told]
    assert "The model, trained on digits, on the first test images" in page.text


def test_the_limit_of_k_is_drawn_and_cited_wherever_k_is(page):
    assert "limit 0.45" in page.text and "0.7 (dashed)" not in page.text
    formula = "min(1 \N{MINUS SIGN} 1/log₁₀ K, 0.7) (Vehtari et al. 2024)"
    assert page.text.count(formula) == 3  # of the share, the chart and the table


def test_it_lists_the_worst_images_and_the_worst_estimates(prefix, page):
    values = evaluated(prefix)[2].per_image
    for name, key, best_last in (("worst", "iwae", 1), ("unsure", "pareto_k", -1)):
        rows = page.tables[name][1:]
        chosen = [int(row[0]) for row in rows]
        assert chosen == sorted(range(IMAGES), key=lambda i: best_last * values[key][i])[:8]
        for i, row in zip(chosen, rows, strict=True):
            shown = [number(cell) for cell in row[2:]]
            expected = [values[k][i] for k in ("iwae", "jvi", "ess", "pareto_k")]
            np.testing.assert_allclose(shown, expected, atol=0.051)


def test_every_section_is_there(prefix, page):
    latent = jvi.load(prefix).num_latent
    captions = ["Test images, each", "Samples from the prior", "Objective", "Share of the total"]
    captions += ["Log-likelihoods image by image", "Effective sample size", "Pareto k, the shape"]
    captions += ["The latent plane", "Means of q(z|x)"] if latent == 2 else ["Latent traversals"]
    assert all(caption in page.text for caption in captions)
    assert len(page.attributes("figure")) == len(captions) == len(page.attributes("figcaption"))
    assert ["--nlatent", str(latent)] in page.tables["settings"]
    assert all(key != "--help" for key, _ in page.tables["settings"])  # it was not given
    about = dict(page.tables["about"])
    assert about["network"] == f"mlp:pixels=64,hidden=8,latent={latent}"
    assert about["data"] == "digits, first 40 of 300 test images, binarised"
    assert about["samples"] == "K = 64 per image, seed 0"
    assert about["evaluated by"] == f"jvi {jvi.__version__}, 1970-01-02"
    assert "of the first 40 of 300 test images, its standard error" in page.text
    log = json.loads((prefix / "log").read_text())
    best = min(log, key=lambda entry: entry["validation/main/iwae"])
    taken = f"of epoch {best['epoch']} of 2, iteration {best['iteration']}"
    assert about["parameters"] == taken
    assert f"kept, epoch {best['epoch']}" in page.text  # the line in the curve


def test_a_bound_has_one_name_everywhere(prefix, page):
    """ELBO, IWAE and JVI-1 in tables, legends and captions."""
    for name in ("worst", "unsure"):
        assert page.tables[name][0] == ["no.", "image", "IWAE", "JVI-1", "ESS", "Pareto k"]
    for other in ("IWAE-", "JVI-1,", "JVI-1 K", "IWAE bound", "iwae", "vae ", "JVI "):
        assert other not in page.text.partition("trained as")[0].partition("Reasons")[0]
    for label in ("IWAE", "JVI-1"):
        assert f"mean of {label}, \N{MINUS SIGN}" in page.text
    assert "IWAE, validation" in page.text


def test_there_is_one_minus_sign(page):
    """Before a number, in tables, on axes and in legends; settings are as they were typed."""
    settings = {cell for row in page.tables["settings"] for cell in row}
    pieces = [text for inside, text in page.pieces if inside != "style" and text not in settings]
    assert [text for text in pieces if re.search(r"(^|[\s(\[,±])-\d", text)] == []
    assert sum(bool(re.search("\N{MINUS SIGN}\\d", text)) for text in pieces) > 20
    assert "clipped to [\N{MINUS SIGN}1, 3]" in page.text


def test_rows_of_traversals_are_labelled(model3):
    page = Page(written(model3))
    mean = jvi.load(model3).encode(evaluated(model3)[1])[0]
    variance = mean.var(axis=0)
    order = np.argsort(-variance, kind="stable")
    rows = [a["alt"] for a in page.attributes("img") if a["alt"].startswith("Unit")]
    assert rows == [f"Unit {unit}" for unit in order]
    places = [page.text.index(f"unit {unit} ({variance[unit]:.2f})") for unit in order]
    assert places == sorted(places)


def test_pictures_have_descriptions_and_cells_headings(page):
    assert all(image["alt"] for image in page.attributes("img"))
    assert len(page.attributes("svg")) == sum("aria-label" in a for a in page.attributes("div"))
    assert all(cell["scope"] in ("row", "col") for cell in page.attributes("th"))


def test_it_refers_to_nothing_outside(prefix, page):
    text = Path(f"{prefix}.report.html").read_text()
    assert "://" not in text and "@import" not in text
    assert set(re.findall(r"url\((.)", text)) == {"#"}
    for name, attributes in page.elements:
        assert name not in ("script", "link", "iframe", "object", "embed", "base", "form")
        for key in ("src", "href", "xlink:href", "srcset", "action", "poster"):
            assert attributes.get(key, "#").startswith(("#", "data:image/png;base64,"))
    policy = {"http-equiv": "Content-Security-Policy", "content": POLICY}
    assert [name for name, _ in page.elements[:4]] == ["html", "head", "meta", "meta"]
    assert page.elements[3][1] == policy  # before anything that it could forbid


def test_ids_are_unique_and_references_lead_to_them(prefix, page):
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    text = Path(f"{prefix}.report.html").read_text()
    assert len(ids) == len(set(ids)) > 0
    assert set(re.findall(r'(?:href="|url\()#([^")]+)', text)) <= set(ids)


def test_what_files_say_is_never_markup(model3, tmp_path):
    evil = "<script>alert(1)</script>\"'&<img src=x onerror=alert(1)>"
    files = read_model(model3)
    meta = {**files.meta, "--opt": evil, evil: "yes"}
    prefix = tmp_path / "<b onclick=alert(1)>m"
    write_model(f"{prefix}.h5", files._replace(meta=meta))
    prefix.mkdir()
    (prefix / "log").write_text(json.dumps([{evil: float("nan"), "epoch": 1}]))
    page = Page(written(prefix))
    assert {"script", "b"}.isdisjoint(name for name, _ in page.elements)
    assert not any(key.startswith("on") for _, attributes in page.elements for key in attributes)
    assert ["--opt", evil] in page.tables["settings"] and [evil, "yes"] in page.tables["settings"]
    assert "<b onclick=alert(1)>m: report of jvi" in page.text
    assert f"{evil} is not finite" in page.text


def test_tags_escape_all_that_is_not_one():
    assert tag("p", "<&", tag("b", 1), class_='"x') == '<p class="&quot;x">&lt;&amp;<b>1</b></p>'
    assert tag("div", aria_label="a") == '<div aria-label="a"></div>'


def test_reasons_to_doubt_are_said(model3, tmp_path):
    write_model(tmp_path / "m", read_model(model3))
    text = Page(written(tmp_path / "m")).text  # without a log and the best objective
    assert f"{tmp_path / 'm' / 'log'} is missing" in text and "m.perf is missing" in text
    assert "Objective" not in text


def test_losses_of_other_data_than_binary_images_may_be_anything(model3, tmp_path):
    write_model(tmp_path / "m.h5", read_model(model3))
    (tmp_path / "m").mkdir()
    log = [{"main/obj": -3.0, "validation/main/iwae": 1e9, "main/kl": float("inf"), "epoch": 2}]
    (tmp_path / "m" / "log").write_text(json.dumps(log))
    (tmp_path / "m.perf").write_text("1e9")
    files = read_model(tmp_path / "m")
    reasons = doubts(files)
    left = [each for each in reasons if "image" not in each and "coin" not in each]
    assert len(left) == len(reasons) - 3
    assert doubts(files._replace(link=SimpleNamespace())) == left
    assert any("main/kl is not finite" in each for each in left)


def test_the_same_seed_and_date_give_the_same_bytes(model3):
    first = written(model3)
    assert written(model3) == first
    assert written(model3, "--seed", "1") != first
    later = written(model3, date=str(2 * 86400))
    assert later != first and later.replace("1970-01-03", "1970-01-02") == first


def test_the_date_is_todays_where_none_is_given(model3, monkeypatch):
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    before = datetime.now(UTC).date()
    script.main(["--images", "2", "-s", "2", "--quiet", "--overwrite", str(model3)])
    text = Path(f"{model3}.report.html").read_text()
    days = before, datetime.now(UTC).date()
    assert any(f"jvi {jvi.__version__}, {day.isoformat()}" in text for day in days)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "today")
    fails([model3, "--overwrite"], "SOURCE_DATE_EPOCH is no number of seconds: 'today'")


def test_parameters_without_a_snapshot_are_of_an_unknown_epoch(model3, tmp_path):
    write_model(tmp_path / "m.h5", read_model(model3))
    page = Page(written(tmp_path / "m"))
    assert dict(page.tables["about"])["parameters"].startswith("of an unknown epoch")
    shutil.copytree(model3, tmp_path / "n")
    (tmp_path / "n" / "log").unlink()
    shutil.copy(f"{model3}.meta.yaml", tmp_path / "n.meta.yaml")
    iteration = json.loads((model3 / "log").read_text())[-1]["iteration"]
    found = dict(Page(written(tmp_path / "n")).tables["about"])["parameters"]
    assert re.fullmatch(r"of iteration \d+", found) and int(found.split()[-1]) <= iteration


# Pictures that are drawn with legends, and what is drawn


LOG = [
    {"epoch": i}
    | dict.fromkeys(("main/obj", "validation/main/obj", "validation/main/iwae"), 30 - i)
    for i in range(1, 9)
]
CURVE = np.geomspace(1, 64, 7)
CHARTS = {
    "curve": (plots.draw_curve, LOG, 8),
    "likelihoods": (plots.draw_likelihoods, {"IWAE": np.arange(9.0), "JVI-1": np.arange(9.0) + 1}),
    "concentration": (plots.draw_concentration, CURVE, np.linspace(0, 1, 7)[:, None] ** [[1, 2]]),
    "pareto": (plots.draw_pareto, np.ones(9), np.linspace(-1, 3, 9), 64, 0.45),
    "latent": (plots.draw_latent, np.random.default_rng(0).normal(size=(99, 2)), np.arange(99) > 9),
}


@pytest.mark.parametrize("name", CHARTS)
def test_no_legend_lies_over_a_curve(monkeypatch, name):
    """All of it is outside the axes, and inside the picture."""
    seen, draw, *arguments = [], *CHARTS[name]
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: seen.append(figure))
    with pytest.raises(ValueError):  # nothing is written
        plots.svg(name, draw, *arguments)
    [figure] = seen
    with rc_context(plots._SVG):
        FigureCanvasAgg(figure).draw()
    [axes] = figure.axes
    legend = axes.get_legend() or figure.legends[0]
    box, inside = legend.get_window_extent(), axes.get_window_extent()
    assert box.y0 >= inside.y1 - 1 or box.y1 <= inside.y0 + 1
    assert figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1


def test_no_legend_lies_over_the_curve_of_the_demo(model3, monkeypatch):
    seen = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: seen.append(figure))
    model = jvi.load(model3)
    x = evaluated(model3)[1][:8]
    rng = np.random.default_rng(0)
    plots.picture_of_run(model3.parent / "demo.png", LOG, model, x, (8, 8), rng)
    [figure] = seen
    figure.canvas.draw()
    axes = figure.axes[0]
    box, others = axes.get_legend().get_window_extent(), figure.axes[1].get_window_extent()
    assert box.y0 >= axes.get_window_extent().y1 - 1 and box.x1 <= others.x0
    assert figure.get_supxlabel() == f"epoch 8 of 8, jvi {jvi.__version__}"
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels[-2:] == ["IWAE, validation", "kept, epoch 8"]


def test_the_epoch_that_is_kept_is_the_best_one():
    values = zip(LOG, (3.0, 1.0, 5.0, 2.0), strict=False)
    log = [{**entry, "validation/main/iwae": value} for entry, value in values]
    assert plots.best_epoch(log) == 2
    assert plots.best_epoch([{"epoch": 1}]) is plots.best_epoch([]) is None
    assert plots.best_epoch([{"epoch": 1, "validation/main/iwae": float("nan")}]) is None


def test_shares_of_the_weight_are_of_the_samples_that_evaluate_draws(model3):
    """With every m among the counts, their differences are the normalised weights."""
    _, _, result = evaluated(model3, seed=3, samples=12)
    count, shares = concentration(result.log_w)
    assert count.tolist() == list(range(1, 13))
    weights = np.diff(shares, axis=0, prepend=0)
    assert (np.diff(weights, axis=0) < 1e-12).all()  # the largest comes first
    np.testing.assert_allclose(1 / (weights**2).sum(axis=0), result.per_image["ess"], rtol=1e-4)


def test_log_weights_are_drawn_once(model3, monkeypatch):
    counts = []

    def draw(link, q, source, num_samples):
        counts.append(num_samples * len(q[0]))
        return original(link, q, source, num_samples)

    original = MLP.draw
    monkeypatch.setattr(MLP, "draw", draw)
    report(jvi.load(model3), read_model(model3), datasets.load("digits"), 40, 64)
    assert sum(counts) == 40 * 64


def test_shares_do_not_depend_on_the_blocks(model3, monkeypatch):
    log_w = evaluated(model3)[2].log_w
    whole = concentration(log_w)[1]
    monkeypatch.setattr("jvi.assessment.report.GRID", 64 * 7)
    np.testing.assert_array_equal(concentration(log_w)[1], whole)


@pytest.mark.parametrize(("images", "samples"), [(2, 2), (13, 29), (10**6, 30)])
def test_few_images_few_samples_and_more_than_there_are(model3, images, samples):
    page = Page(written(model3, images=images, samples=samples))
    assert f"first {min(images, 300)} of 300" in dict(page.tables["about"])["data"]
    told = dict(page.tables["diagnosis"]).get("images with Pareto k above its limit")
    unknown = told == "unknown: K < 30"
    assert unknown == ("Pareto k, the shape" not in page.text) == (samples < 30)


def test_images_need_not_be_square(model3):
    data = datasets.load("digits")._replace(image_shape=(4, 16))
    page = Page(report(jvi.load(model3), read_model(model3), data, 40, 8))
    sizes = [(int(image["width"]), int(image["height"])) for image in page.attributes("img")]
    assert sizes[0] == (10 * 17 + 1, 6 * 5 + 1)  # 3 rows of 10 images and their reconstructions
    assert sizes[-1] == (2 * 17 + 1, 5 + 1)


SECTIONS = ["Estimates", "Training", "Pictures", "Latent space"]
SECTIONS += ["Log-likelihoods and weights", "Images to look at"]


def sections(page_text):
    return re.findall("<h2>(.*?)</h2>", page_text)


def test_data_that_are_no_images_have_no_pictures(model3):
    data = datasets.load("digits")
    model, files = jvi.load(model3), read_model(model3)
    text = report(model, files, data._replace(image_shape=None), 40, 30)
    without, full = Page(text), report(model, files, data, 40, 30)
    assert sections(full) == SECTIONS
    assert sections(text) == [each for each in SECTIONS if each not in SECTIONS[2:4]]
    assert without.attributes("img") == [] and "beside its reconstruction" not in without.text
    assert "The lowest log-likelihoods." in without.text
    assert without.tables["worst"][0] == ["no.", "IWAE", "JVI-1", "ESS", "Pareto k"]
    for name in ("bounds", "diagnosis", "about"):
        assert without.tables[name] == Page(full).tables[name]


RECONSTRUCTIONS, SAMPLED = {"Test images, each", "beside its reconstruction"}, {"Samples from"}


def test_how_data_were_observed_is_said(model3):
    data = datasets.load("digits")._replace(observe=datasets.as_it_is)
    page = Page(report(jvi.load(model3), read_model(model3), data, 40, 8))
    assert dict(page.tables["about"])["data"] == "digits, first 40 of 300 test images, as it is"
    mean = jvi.evaluate(jvi.load(model3), data.test[:40], 8, ("iwae",)).mean["iwae"]
    assert page.tables["bounds"][2][1] == f"\N{MINUS SIGN}{-mean:.2f}"


ABLE = {
    "mean": RECONSTRUCTIONS | SAMPLED | {"Latent space"},
    "typical": RECONSTRUCTIONS,
    "draw_prior": SAMPLED,
    "prior_quantile": {"Latent space"},
    "latent_means": {"Latent space", "active latent units"},
    "kl": set(),
}


@pytest.mark.parametrize("capability", ABLE)
def test_what_a_model_cannot_do_is_left_out(model3, monkeypatch, capability):
    owner = next(each for each in MLP.__mro__ if capability in vars(each))
    monkeypatch.delattr(owner, capability)
    data = datasets.load("digits")
    text = Page(report(jvi.load(model3), read_model(model3), data, 40, 30)).text
    every = set().union(*ABLE.values())
    assert {each for each in every if each not in text} == ABLE[capability]
    assert ("Pictures" not in text) == (capability == "mean")


def test_pictures_hold_the_pixels(prefix, page):
    from matplotlib.image import imread

    model, x, _ = evaluated(prefix)
    data = page.attributes("img")[0]["src"].partition(",")[2]
    shown = imread(io.BytesIO(base64.b64decode(data)))[:, :, 0]
    first = shown[1:9, 1:9], shown[10:18, 1:9]  # an image, and below it its reconstruction
    for got, want in zip(first, (x[0], model.reconstruct(x[:1])[0]), strict=True):
        np.testing.assert_allclose(got, 1 - want.reshape(8, 8), atol=1.5 / 255)


def test_logs_of_the_original_are_drawn():
    log = [{"p_obj/obj": 5.0 + i, "epoch": i, "validation/main/obj": float("inf")} for i in (1, 2)]
    drawn = plots.svg("curve", plots.draw_curve, log)
    assert "objective, training batches" in drawn and "IWAE" not in drawn


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1e308, 10**300, 0])
def test_no_number_in_a_log_is_too_wild_to_draw(value):
    log = [{"main/obj": value, "validation/main/obj": -value, "epoch": i} for i in range(20)]
    assert "objective, validation" in plots.svg("curve", plots.draw_curve, log)


@pytest.mark.parametrize("name", ["tiny_iwae", "diverged"])
def test_a_report_on_an_original_model(legacy, shared, tmp_path, name):
    path = tmp_path / "r.html"
    options = ["--data-dir", shared / "data", "-o", path, "--images", 20, "-s", 32, "--quiet"]
    script.main([str(word) for word in (*options, legacy(name))])
    page = Page(path.read_text())
    assert dict(page.tables["about"])["trained as"] == ("jvi" if name == "diverged" else "iwae")
    assert ("estimates are above 0 nats" in page.text) == (name == "diverged")


def test_only_when_told_it_overwrites(model3, tmp_path, capsys):
    path = tmp_path / "r.html"
    path.write_text("precious")
    fails(["-o", path, model3], "r.html exists: name another file or give --overwrite")
    assert path.read_text() == "precious"
    script.main(["-o", str(path), "--overwrite", "--images", "2", "-s", "2", str(model3)])
    assert capsys.readouterr().out == f"report: {path}\n"
    assert path.read_text().startswith("<!DOCTYPE html>")
    assert [path.name for path in tmp_path.iterdir()] == ["r.html"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-s", "1"], "--samples must be at least 2, not 1"),
        (["--images", "1"], "--images must be at least 2, not 1"),
        (["--seed", "-1"], "--seed must be at least 0"),
        (["-o", "no/such/folder/r.html"], "no/such/folder is no folder that can be written to"),
        (["-o", "README.md/r.html"], "README.md is no folder that can be written to"),
        (["-o", "tests", "--overwrite"], "tests is a folder: name a file"),
        (["-d", "cifar"], "unknown data set 'cifar'"),
        (["-d", "mnist", "--data-dir", "nowhere"], "nowhere"),
        (["-g", "0"], "GPU 0 cannot be used"),
    ],
)
def test_it_refuses_in_one_line_and_writes_nothing(model3, tmp_path, options, message):
    output = [] if "-o" in options else ["-o", tmp_path / "r.html"]
    fails([*options, *output, model3], message)
    assert list(tmp_path.iterdir()) == []


def test_it_refuses_a_data_set_of_another_size(legacy, tmp_path):
    argv = ["-d", "digits", "-o", tmp_path / "r.html", legacy("tiny_iwae")]
    fails(argv, r"images have shape \(300, 64\), the model expects \(N, 784\)")
    fails([tmp_path / "nothing"], "no model there")


# In a real browser.


@pytest.fixture
def server():
    """A web server that lists the paths it was asked for."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *arguments):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}", asked
        http.shutdown()
        thread.join()


def test_a_browser_shows_all_of_it_and_asks_nobody(prefix, browse):  # noqa: F811
    text = written(prefix)
    for width, flags in ((400, []), (1000, ["--blink-settings=preferredColorScheme=0"])):
        seen, asked = browse(text, width, *flags)
        assert len(seen["images"]) == text.count("<img ") > 16 and all(seen["images"])
        assert len(seen["charts"]) == text.count("<svg ") > 4 and all(seen["charts"])
        assert seen["overflow"] == 0 and asked == set()
        levels = [int(re.search(r"\d+", seen[key])[0]) for key in ("ink", "chart", "paper")]
        dark = bool(flags)
        assert levels[0] == levels[1] and (levels[0] > 200, levels[2] < 50) == (dark, dark)


def test_a_browser_would_notice(model3, browse, server):  # noqa: F811
    """What the test above relies on can fail; and what is put into the page cannot ask anybody."""
    url, asked = server
    leaking = written(model3).replace("<main>", f'<main><img src="{url}/leak">')
    assert not browse(leaking)[0]["images"][0] and asked == []
    open_page = leaking.replace(html.escape(POLICY), "img-src *")
    seen, found = browse(open_page)
    assert asked == ["/leak"] and found == {"127.0.0.1"}
    assert seen["images"][:2] == [False, False]  # the second, because data: is no longer allowed
