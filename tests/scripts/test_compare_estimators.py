"""Estimators on equal terms: runs that go on, and tables from their files."""

import csv
import json
import math
import re

import chainer
import numpy as np
import pytest

import jvi
from jvi.assessment import comparison, comparison_run
from jvi.assessment.comparison_plots import draw_curves, draw_numbers, lowest_shown
from jvi.assessment.comparison_tables import markdown, rows, show
from jvi.assessment.experiments import CONTINUOUS, DISCRETE, EXPERIMENTS, Experiment, Run, cut, runs
from jvi.datasets import observe_each
from jvi.evidence.estimators import ESTIMATORS, PATH, SCORE, TOTAL, estimator
from jvi.files import locked
from jvi.models.files import read_model
from jvi.models.mixture import l2_errors
from jvi.scripts import compare_estimators
from jvi.training.checkpoints import files_of
from jvi.training.step import Step

SMALL = "-d digits --train-images 90 --test-images 20 -e 2 -s 16 --repeats 8 --vae-samples 4"
TIMES = ("seconds", "seconds_per_epoch", "cpu_seconds_per_epoch")

APART = {"jvi-model", "sumo", "mlmc"}  # workflow/config/targets/jvi-training.yaml compares these


def compare(folder, words):
    compare_estimators.main(["-o", str(folder), *words.split()])


def results(folder):
    """Everything in result files but what the clock said, by the run's folder."""
    found = {}
    for path in sorted(folder.glob("*/result.json")):
        result = json.loads(path.read_text())
        for key in TIMES:
            assert result["training"].pop(key)
        assert result.pop("finished")
        found[path.parent.name] = result
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A comparison that nothing interrupted."""
    folder = tmp_path_factory.mktemp("comparison")
    compare(folder, f"{SMALL} --seeds 0,1 --only dreg,iwae continuous")
    return folder


def test_the_experiments_name_every_estimator_that_fits():
    routes = {name: estimator(name).route for name in (*CONTINUOUS, *DISCRETE)}
    assert {routes[name] for name in CONTINUOUS} == {TOTAL, PATH}
    assert {name.partition(":")[0] for name in CONTINUOUS} == {
        name for name, rule in ESTIMATORS.items() if rule.route in (TOTAL, PATH)
    } - APART
    scores = {name for name, rule in ESTIMATORS.items() if rule.route == SCORE}
    assert scores <= {name.partition(":")[0] for name in DISCRETE}


def test_runs_have_names_of_their_own_that_any_system_takes():
    for experiment in EXPERIMENTS.values():
        every = runs(experiment._replace(num_samples=(8, 64)))
        names = {each.name for each in every}
        assert len(names) == len(every) == 2 * 3 * len(experiment.estimators)
        assert all(re.fullmatch(r"[\w.=-]+", name) for name in names)


def test_writes_results_tables_and_plots(whole, capsys):
    folder = whole / "continuous"
    made = {path.name for path in folder.iterdir()}
    named = {f"{name}-K4-seed{seed}" for name in ("iwae", "dreg") for seed in (0, 1)}
    pictures = {"log_p.png", "snr_inference.png", "snr_model.png", "validation-K4.png"}
    assert made == named | pictures | {"settings.json", "summary.csv", "summary.md"}
    with open(folder / "summary.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["estimator"] for line in lines] == ["iwae", "dreg"]  # the experiment's order
    for line in lines:
        assert line["seeds"] == "2" and line["diverged"] == "0"
        assert -60 < float(line["log_p"]) < -20 and float(line["snr_model"]) > 0
    assert lines[0]["log_p_difference"] == "" and float(lines[1]["log_p_difference_half"]) > 0
    result = results(folder)["dreg-K4-seed1"]
    assert result["run"] == {"estimator": "dreg", "num_samples": 4, "seed": 1}
    assert result["settings"]["train_images"] == 90 and result["versions"]["jvi"]
    assert [point["step"] for point in result["training"]["curve"]] == [5, 9]  # 90 images twice


def test_the_likelihood_is_that_of_the_evaluation_command(whole):
    folder = whole / "continuous"
    data = jvi.load_dataset("digits")
    x = observe_each(data, data.test[:20], 0)
    model = jvi.load(files_of(folder / "iwae-K4-seed1" / "model").latest)
    expected = jvi.evaluate(model, x, 16, ("elbo", "iwae"), seed=1)
    got = results(folder)["iwae-K4-seed1"]["likelihood"]
    np.testing.assert_allclose(got["log_p"], expected.mean["iwae"], rtol=1e-6)
    np.testing.assert_allclose(got["log_p_images"], expected.standard_error["iwae"], rtol=1e-6)
    gap = expected.per_image["elbo"] - expected.per_image["iwae"]
    np.testing.assert_allclose(got["minus_kl"], gap.mean(), rtol=1e-5)
    np.testing.assert_allclose(got["per_image"], expected.per_image["iwae"], atol=1e-3)


def test_nothing_is_done_twice(whole, monkeypatch, capsys):
    monkeypatch.setattr(comparison, "made", None)
    compare(whole, f"{SMALL} --seeds 0,1 --only dreg,iwae continuous")
    assert "4 runs, 4 of them done before" in capsys.readouterr().out


def test_tables_come_from_the_files_alone(whole, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(jvi.datasets, "load", None)
    before = (whole / "continuous" / "summary.csv").read_bytes()
    (whole / "continuous" / "summary.csv").unlink()
    compare(whole, "--tables continuous")
    assert (whole / "continuous" / "summary.csv").read_bytes() == before
    compare(tmp_path, "--tables sbn")
    assert "sbn: no run is finished" in capsys.readouterr().out
    assert not any(tmp_path.iterdir())


class Interruption:
    """Ctrl-C in a call of a function, by its number; the function itself otherwise."""

    def __init__(self, function, number):
        self.function, self.left = function, number

    def __call__(self, *arguments):
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt
        return self.function(*arguments)


def test_an_interrupted_comparison_goes_on_to_the_same_numbers(whole, tmp_path, monkeypatch):
    words = f"{SMALL} --seeds 0,1 --only dreg,iwae continuous"
    folder = tmp_path / "continuous"
    # Steps 2 of the first epoch and 3 of the second one of the first run, then its evaluation.
    for name, number in ((Step, 2), (Step, 8), (comparison_run, 1)):
        attribute = "__call__" if name is Step else "_likelihood"
        with monkeypatch.context() as patch:
            stop = Interruption(getattr(name, attribute), number)
            patch.setattr(name, attribute, lambda *each, stop=stop: stop(*each))
            with pytest.raises(SystemExit) as left:
                compare(tmp_path, words)
        assert left.value.code == 130
        assert not list(folder.glob("*/result.json"))
    assert [path.name for path in folder.iterdir() if path.is_dir()] == ["iwae-K4-seed0"]
    latest = np.load(files_of(folder / "iwae-K4-seed0" / "model").latest)
    assert latest["updater/iteration"] == 9
    compare(tmp_path, words)
    assert results(folder) == results(whole / "continuous")


def test_a_run_of_another_process_is_left_to_it(whole, tmp_path, capsys):
    words = f"{SMALL} --seeds 0 --only dreg,iwae continuous"
    busy = tmp_path / "continuous" / "iwae-K4-seed0"
    compare(tmp_path, f"{words} --only dreg".replace("--only dreg,iwae ", ""))
    busy.mkdir()
    with locked(busy, "busy"):
        compare(tmp_path, words)
    assert "1 runs are being made by another process" in capsys.readouterr().out
    assert list(results(tmp_path / "continuous")) == ["dreg-K4-seed0"]
    compare(tmp_path, words)
    expected = results(whole / "continuous")["iwae-K4-seed0"]
    assert results(tmp_path / "continuous")["iwae-K4-seed0"] == expected


def test_estimators_that_are_one_get_the_same_numbers(tmp_path):
    """Initial parameters, order, noise and evaluation are those of the seed alone."""
    data = jvi.load_dataset("digits")
    same = ("iwae", "miwae:groups=1", "ciwae:beta=0.0")
    experiment = Experiment(
        "burda", "digits", same, (4,), 20, 1, train_images=60, test_images=10, samples=8, repeats=8
    )
    data = cut(data, experiment)
    found = [comparison.complete(Run(n, 4, 5), experiment, data, tmp_path) for n in same]
    for other in found[1:]:
        for key in ("log_p", "elbo", "minus_kl"):
            np.testing.assert_allclose(
                other["likelihood"][key], found[0]["likelihood"][key], rtol=1e-5
            )
    another = comparison.complete(Run("iwae", 4, 6), experiment, data, tmp_path)
    assert abs(another["likelihood"]["log_p"] - found[0]["likelihood"]["log_p"]) > 1e-3


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """(experiment, data, folder, result) of a mixture."""
    folder = tmp_path_factory.mktemp("mixture")
    experiment = EXPERIMENTS["mixture"]._replace(
        epochs=2, train_images=1000, test_images=200, samples=500, repeats=0
    )
    data = cut(jvi.load_dataset("mixture"), experiment)
    result = comparison.complete(Run("rws", 20, 0), experiment, data, folder)
    return experiment, data, folder, result


def test_of_a_mixture_all_is_known(mixed):
    _, data, folder, result = mixed
    files = read_model(files_of(folder / "rws-K20-seed0" / "model").latest)
    link, x = files.link, data.test.astype(np.float32)
    likelihood = result["likelihood"]
    np.testing.assert_allclose(likelihood["log_p"], link.log_evidence(x).mean(), rtol=1e-6)
    assert likelihood["log_p_samples"] == 0.0 and likelihood["log_p_images"] > 0.0
    # KL(q‖p(z|x)) by its sum over all 20 components
    with chainer.no_backprop_mode():
        logits = link.infer(x).array.astype(np.float64)
    log_q = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
    log_prior = link.prior.array - np.logaddexp.reduce(link.prior.array)
    away = (x - 10.0 * np.arange(20)) / 5.0
    log_joint = log_prior - 0.5 * away**2
    log_posterior = log_joint - np.logaddexp.reduce(log_joint, axis=1, keepdims=True)
    kl = (np.exp(log_q) * (log_q - log_posterior)).sum(axis=1).mean()
    assert abs(likelihood["minus_kl"] + kl) < 4.0 * likelihood["minus_kl_samples"]
    assert result["truth"] == pytest.approx(l2_errors(link, x)._asdict())
    assert "signal" not in result


def test_of_a_mixture_errors_are_kept_by_step(mixed):
    _, data, folder, result = mixed
    files = read_model(files_of(folder / "rws-K20-seed0" / "model").latest)
    last = l2_errors(files.link, data.validation)
    curve = result["training"]["curve"]
    assert [point["step"] for point in curve] == [10, 20]
    assert curve[1]["truth/posterior"] == pytest.approx(last.posterior)
    assert curve[1]["truth/prior"] == pytest.approx(last.prior)
    assert curve[0]["truth/prior"] != curve[1]["truth/prior"]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_run_that_diverges_is_a_result(tmp_path):
    wild = EXPERIMENTS["continuous"]._replace(lr=1e30, train_images=90, test_images=20)
    data = cut(jvi.load_dataset("digits"), wild)
    result = comparison.complete(Run("iwae", 4, 0), wild, data, tmp_path)
    assert "diverged in iteration 2" in result["diverged"] and "likelihood" not in result
    kept = json.loads((tmp_path / "iwae-K4-seed0" / "result.json").read_text())
    assert kept == result
    row = rows([result], "dreg")[0]
    assert (row["seeds"], row["diverged"]) == (0, 1) and "log_p" not in row
    assert show([row]).endswith("1 of 1")


def made(name, seed, log_p, minus_kl, per_image=(0.0, 0.0), diverged=None):
    """A result by hand."""
    result = {
        "run": {"estimator": name, "num_samples": 8, "seed": seed},
        "diverged": diverged,
        "training": {"seconds_per_epoch": 2.0 + seed, "curve": []},
    }
    if diverged is None:
        result["likelihood"] = {
            "log_p": log_p, "log_p_images": 0.5, "log_p_samples": 0.1 * (seed + 1),
            "minus_kl": minus_kl, "minus_kl_images": 0.2, "minus_kl_samples": 0.3,
            "per_image": list(per_image),
        }  # fmt: skip
    return result


def test_rows_in_closed_form():
    found = [
        made("iwae", 0, -90.0, -1.0, (-80.0, -100.0)),
        made("iwae", 1, -92.0, -2.0, (-82.0, -102.0)),
        made("iwae", 2, -91.0, -3.0, (-81.0, -101.0)),
        made("dreg", 0, -89.0, -1.5, (-79.0, -99.0)),
        made("dreg", 1, -90.0, -1.5, (-79.0, -101.0)),
        made("dreg", 2, -88.0, -4.5, (-79.0, -97.0)),
        made("jvi", 0, 0, 0, diverged="training diverged"),
        made("jvi", 1, -95.0, -2.0, (-90.0, -100.0)),
    ]
    iwae, dreg, jvi_row = rows(found, "iwae")
    assert (iwae["seeds"], iwae["diverged"], iwae["log_p"]) == (3, 0, -91.0)
    assert "log_p_difference" not in iwae
    # of -90, -92, -91 the standard deviation is 1
    np.testing.assert_allclose(iwae["log_p_error"], 1.0 / math.sqrt(3.0))
    np.testing.assert_allclose(iwae["log_p_samples"], 0.2)
    np.testing.assert_allclose(iwae["seconds_per_epoch"], 3.0)
    # differences 1, 2 and 3; t of two degrees of freedom is 4.302653 at 97.5%
    np.testing.assert_allclose(dreg["log_p_difference"], 2.0)
    np.testing.assert_allclose(dreg["log_p_difference_error"], 1.0 / math.sqrt(3.0))
    np.testing.assert_allclose(dreg["log_p_difference_half"], 4.302653 / math.sqrt(3.0), rtol=1e-6)
    # by image: (1, 3, 2) and (1, 1, 4), both 2 on average: no error by the choice of images
    assert dreg["log_p_difference_images"] == 0.0
    np.testing.assert_allclose(dreg["minus_kl_difference"], (-0.5 + 0.5 - 1.5) / 3.0)
    # the seed that did not diverge alone, with iwae's of the same seed
    assert (jvi_row["seeds"], jvi_row["diverged"], jvi_row["log_p"]) == (1, 1, -95.0)
    assert jvi_row["log_p_difference"] == -3.0 and math.isnan(jvi_row["log_p_difference_error"])
    assert "log_p_difference_half" not in jvi_row
    # (-8, 2) by image: standard deviation 10 / √2
    np.testing.assert_allclose(jvi_row["log_p_difference_images"], 5.0)


def test_tables_as_they_are_shown():
    found = [made("iwae", seed, -90.0 - seed, -1.0) for seed in (0, 1)]
    found += [made("dreg", seed, -89.0 - 2.0 * seed, -1.0) for seed in (0, 1)]
    text = show(rows(found, "iwae")).splitlines()
    assert re.split(r"  +", text[0])[:6] == [
        "estimator", "K", "log p(x)", "images", "samples", "difference"
    ]  # fmt: skip
    # differences 1 and 0: mean 0.5, error 0.5, and t of one degree of freedom 12.706
    assert re.split(r"  +", text[2])[:6] == [
        "dreg", "8", "-90.00 ± 1.00", "0.50", "0.150", "+0.50 ± 6.35"
    ]  # fmt: skip
    assert "SNR" not in text[0]  # which none of them has
    lines = markdown(rows(found, "iwae")).splitlines()
    assert lines[1].startswith("| --- | ---: |") and lines[3].startswith("| `dreg` | 8 | -90.00")


def test_axes_leave_out_what_went_astray():
    assert lowest_shown([-90.0, -91.0, -92.0, -93.0]) == -93.0
    assert lowest_shown([-90.0, -91.0, -92.0, -1e5, -88.0]) == -88.0 - 4.0 * 3.0
    assert lowest_shown([-90.0, -90.0, -95.0]) == -95.0
    assert lowest_shown([-90.0]) == -90.0


def test_plots_of_runs_that_went_astray(tmp_path):
    found = [made("iwae", 0, -90.0, -1.0), made("dreg", 0, -89.0, -1.0), made("jvi", 0, -9e9, 0.0)]
    draw_numbers(tmp_path / "a.png", rows(found, "iwae"), "log_p", "log p(x)")
    curve = [{"epoch": 1, "validation": None}, {"epoch": 2, "validation": -1e9}]
    found[0]["training"]["curve"] = [{"epoch": e, "validation": -90.0 + e} for e in (1, 2, 3)]
    found[1]["training"]["curve"] = curve
    draw_curves(tmp_path / "b.png", found[:2], "validation", ("epoch", "nats"))
    for name in ("a.png", "b.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("other", "unknown experiment 'other': choose from continuous, sbn, mixture"),
        ("sbn sbn", "<experiment> has sbn twice"),
        ("--only iwae sbn", "--only: 'iwae' is none of vimco:mean=geometric"),
        ("--only rws,rws sbn", "--only has rws twice"),
        ("--seeds 1,x sbn", "--seeds must be a whole number"),
        ("--repeats 3 sbn", "--repeats must be 0 or at least 8, not 3"),
        ("--samples 1 sbn", "--samples must be at least 2"),
        ("-e 0 sbn", "--epochs must be at least 1"),
        ("-d nothing sbn", "unknown data set 'nothing'"),
        ("-d digits mixture", "mixture is of data in one column"),
        ("-d digits --vae-samples 20 continuous", "groups must divide the 20 samples"),
        ("-d digits --vae-samples 1 sbn", "2 samples|at least 2|K"),
    ],
    ids=str,
)
def test_refuses_before_any_work(tmp_path, words, message):
    with pytest.raises(SystemExit) as stop:
        compare(tmp_path / "out", words)
    assert stop.value.code == 2 and re.search(message, str(stop.value)), stop.value
    assert not (tmp_path / "out").exists()


def test_refuses_other_settings_than_those_of_the_runs_there(whole, tmp_path):
    before = results(whole / "continuous")
    with pytest.raises(SystemExit, match="holds runs with epochs 2, not 3: name another place"):
        compare(whole, f"{SMALL} --seeds 0 --only iwae continuous".replace("-e 2", "-e 3"))
    assert results(whole / "continuous") == before
    (tmp_path / "sbn").mkdir()
    (tmp_path / "sbn" / "mine").write_text("mine")
    with pytest.raises(SystemExit, match="holds something else"):
        compare(tmp_path, f"{SMALL} sbn")
    (tmp_path / "sbn" / "run").mkdir()
    (tmp_path / "sbn" / "run" / "result.json").write_text("{")
    with pytest.raises(SystemExit, match=r"result\.json is damaged: remove it"):
        compare(tmp_path, "--tables sbn")


def test_lists_the_experiments(capsys):
    compare_estimators.main(["--list"])
    out = capsys.readouterr().out
    assert re.search(r"continuous +burda:layers=1 +mnist +64 +20 +20 +adam 0.001 +0,1,2", out)
    assert "mixture: vimco:mean=geometric, " in out
