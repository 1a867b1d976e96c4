"""Flows at equal processor time: runs that go on, and tables and pictures from their files."""

import json
import math

import numpy as np
import pytest

from jvi.assessment import flow_experiments, timed_run
from jvi.assessment.factorised import Baseline
from jvi.assessment.flow_experiments import EXPERIMENTS, FlowExperiment, FlowRun, complete, cut
from jvi.assessment.flow_tables import by_label, rows, show
from jvi.assessment.timed_run import curve_of, spent
from jvi.datasets import load
from jvi.files import locked
from jvi.models import check_name
from jvi.models.files import read_model
from jvi.scripts import kingma_flows
from jvi.training import trainer
from jvi.training.checkpoints import files_of
from jvi.training.optimizers import make_optimizer
from jvi.training.run import Ended

TINY = FlowExperiment(
    ("iaf:posterior=diag,hidden=8,latent=2", "iaf:posterior=iaf2,hidden=8,latent=2,width=8"),
    "digits",
    minutes=0.002,
    seeds=(0, 1),
    batch_size=400,
    test_images=20,
    samples=8,
)


def flows(folder, words):
    kingma_flows.main(["-o", str(folder), *words.split()])


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(folder, results) of the whole experiment."""
    folder, data = tmp_path_factory.mktemp("flows"), cut(load("digits"), TINY)
    todo = [FlowRun(model, seed) for seed in TINY.seeds for model in TINY.models]
    return folder, [complete(each, TINY, data, folder) for each in todo]


def test_the_experiments_can_be_made():
    for experiment in EXPERIMENTS.values():
        labels = [FlowRun(model, 0).label for model in experiment.models]
        assert len(set(labels)) == len(labels)
        for model in experiment.models:
            check_name(model)
        make_optimizer(experiment.optimizer, experiment.lr)


def test_a_run_has_its_time_and_ends_with_an_epoch(made):
    for result in made[1]:
        training = result["training"]
        times = np.diff([0, *(point["cpu"] for point in training["curve"])])
        assert times.sum() == pytest.approx(training["cpu_seconds"])
        assert training["cpu_seconds"] >= 0.12 > training["cpu_seconds"] - times[-1]
        assert training["epochs"] == len(training["curve"]) == training["curve"][-1]["epoch"]
        assert result["settings"]["minutes"] == 0.002


def test_the_time_is_that_of_steps_alone(tmp_path, monkeypatch):
    """By a clock that only steps and validation move: 1,297 rows are 4, 7, 10 and 13 batches."""
    now = [0.0]
    monkeypatch.setattr(timed_run, "process_time", lambda: now[0])
    update, validate = timed_run.Updater.update_core, trainer.validate

    def step(self):
        now[0] += 1.0
        update(self)

    def slowly(*arguments):
        now[0] += 1000.0
        return validate(*arguments)

    monkeypatch.setattr(timed_run.Updater, "update_core", step)
    monkeypatch.setattr(trainer, "validate", slowly)
    data, short = cut(load("digits"), TINY), TINY._replace(minutes=9 / 60)
    found = complete(FlowRun(TINY.models[0], 0), short, data, tmp_path)["training"]
    assert [point["cpu"] for point in found["curve"]] == [4.0, 7.0, 10.0]
    assert found["cpu_seconds"] == 10.0


def test_results_are_those_of_the_best_epoch(made):
    folder, results = made
    for result in results:
        run = result["run"]
        own = folder / FlowRun(run["model"], run["seed"]).name
        assert json.loads((own / "result.json").read_text()) == result
        best = read_model(files_of(own / "model").best)
        assert str(best.link.spec) == result["spec"]
        assert result["parameters"] == sum(p.size for p in best.link.params())
        for bound in ("elbo", "iwae"):
            found = result["test"][bound]
            assert found["mean"] == pytest.approx(np.mean(found["per_image"]), abs=1e-3)
            assert len(found["per_image"]) == result["test"]["images"] == 20
        assert result["test"]["iwae"]["mean"] > result["test"]["elbo"]["mean"]


def test_what_is_interrupted_goes_on_and_nothing_is_done_twice(tmp_path, monkeypatch):
    data, each = cut(load("digits"), TINY), FlowRun(TINY.models[0], 0)
    calls, run = [], timed_run.run

    def interrupted(trainer, *arguments, **keywords):
        def stop(trainer):
            if trainer.updater.epoch == 2:
                raise KeyboardInterrupt

        trainer.extend(stop, name="stop", trigger=(1, "iteration"), priority=-1)
        run(trainer, *arguments, **keywords)

    monkeypatch.setattr(timed_run, "run", interrupted)
    longer = TINY._replace(minutes=0.008)
    with pytest.raises(Ended, match="the same command goes on from here"):
        complete(each, longer, data, tmp_path)
    monkeypatch.setattr(timed_run, "run", run)
    result = complete(each, longer, data, tmp_path)
    epochs = [point["epoch"] for point in result["training"]["curve"]]
    assert epochs == list(range(1, len(epochs) + 1)) and len(epochs) > 2
    monkeypatch.setattr(flow_experiments, "train_for", lambda *_: calls.append(1))
    assert complete(each, longer, data, tmp_path) == result and not calls


def test_a_run_of_another_process_is_left_to_it(tmp_path):
    each = FlowRun(TINY.models[0], 0)
    (tmp_path / each.name).mkdir()
    with locked(tmp_path / each.name, "busy"):
        assert complete(each, TINY, load("digits"), tmp_path) is None


def result(label, seed, elbo, unit=("nats", 1.0, 0.0)):
    bound = {"mean": float(np.mean(elbo)), "images": 0.5, "samples": 0.25, "per_image": elbo}
    return {
        "run": {"model": label, "label": label, "seed": seed},
        "settings": {"models": ["diag", "iaf2"], "test_images": len(elbo)},
        "unit": dict(zip(("name", "factor", "offset"), unit, strict=True)),
        "parameters": 7,
        "training": {"epochs": 3, "cpu_seconds": 60.0, "curve": []},
        "test": {"elbo": bound, "iwae": bound, "num_samples": 8, "images": len(elbo)},
    }


def test_differences_are_by_seed_with_students_interval():
    pairs = [([-90.0, -92.0], [-88.0, -91.0]), ([-95.0, -93.0], [-94.0, -90.0])]
    results = [result("diag", i, a) for i, (a, _) in enumerate(pairs)]
    results += [result("iaf2", i, b) for i, (_, b) in enumerate(pairs)]
    base, flow = rows(results)
    assert base["elbo"] == pytest.approx(-92.5) and "elbo_difference" not in base
    differences = np.array([1.5, 2.0])
    assert flow["elbo_difference"] == pytest.approx(1.75)
    half = 12.7062 * differences.std(ddof=1) / math.sqrt(2)  # t with one degree of freedom
    assert flow["elbo_difference_half"] == pytest.approx(half, rel=1e-4)
    by_image = np.array([1.5, 2.0])  # of (2, 1) and (1, 3), image by image
    assert flow["elbo_difference_images"] == pytest.approx(by_image.std(ddof=1) / math.sqrt(2))


def test_bits_per_dimension_turn_round_what_is_better():
    unit = ("bits/dim", -0.5, 0.0)
    results = [result("diag", 0, [-8.0, -8.0], unit), result("iaf2", 0, [-6.0, -6.0], unit)]
    base, flow = rows(results)
    assert (base["elbo"], flow["elbo"], flow["elbo_difference"]) == (4.0, 3.0, -1.0)
    assert base["elbo_images"] == 0.25
    text = show(results, {"histogram": Baseline(3.5, 0.125)})
    assert "ELBO, bits/dim" in text and "-1.0000" in text and "nan" not in text
    assert any(line.split()[:1] == ["histogram"] and "3.5000" in line for line in text.splitlines())


def test_models_keep_the_experiments_order():
    results = [result("iaf2", 0, [1.0, 2.0]), result("diag", 0, [1.0, 2.0])]
    assert list(by_label(results)) == ["diag", "iaf2"]


def test_a_curve_adds_up_processor_time():
    entry = {"epoch": 1, "iteration": 5, "elapsed_time": 9.0, "validation/main/iwae": 80.0}
    log = [entry | {"cpu": 2.0}, entry | {"epoch": 2, "cpu": 3.0}]
    assert [point["cpu"] for point in curve_of(log)] == [2.0, 5.0] and spent(log) == 5.0
    assert curve_of(log)[0]["validation"] == -80.0


@pytest.mark.slow
def test_the_command_writes_table_and_pictures(tmp_path, capsys):
    words = "--minutes 0.002 --test-images 20 -s 8 -b 400 --seeds 0,1"
    flows(tmp_path, words)
    folder = tmp_path / "digits"
    out = capsys.readouterr().out
    assert "digits: 6 runs" in out and "discretised logistic" in out and "bits/dim" in out
    made = {path.name for path in folder.iterdir()}
    runs = {f"down_{name}-seed{seed}" for name in ("diag", "iaf1", "iaf2") for seed in (0, 1)}
    assert made == runs | {"settings.json", "summary.csv", "curves.png", "images.png"}
    lines = (folder / "summary.csv").read_text().splitlines()
    assert [line.partition(",")[0] for line in lines] == [
        "model", "down_diag", "down_iaf1", "down_iaf2", "discretised logistic", "histogram",
    ]  # fmt: skip
    before = (folder / "down_diag-seed0" / "result.json").read_bytes()
    flows(tmp_path, f"{words} --tables digits")
    assert "runs" not in capsys.readouterr().out
    assert (folder / "down_diag-seed0" / "result.json").read_bytes() == before
    assert (folder / "summary.csv").read_text().splitlines() == lines


def test_numbers_are_rows_in_the_unit_of_the_data(made, tmp_path):
    folder, results = made
    kingma_flows._write_numbers(tmp_path / "new", folder)
    rows = json.loads((tmp_path / "new.json").read_text())["rows"]
    for found in results:
        run = found["run"]
        own = [r for r in rows if (r["posterior"], r["seed"]) == (run["label"], run["seed"])]
        assert len(own) == 1 + found["training"]["epochs"]
        for bound in ("elbo", "iwae"):
            test = found["test"][bound]
            assert own[0][bound] == {
                "value": test["mean"], "images": test["images"], "samples": test["samples"]
            }  # fmt: skip
        assert own[0]["cpu_minutes"] == pytest.approx(found["training"]["cpu_seconds"] / 60)
        assert own[-1]["minutes"] == pytest.approx(own[0]["cpu_minutes"])


def test_numbers_of_bytes_are_bits():
    bits = result("diag", 0, [-8.0, -8.0], ("bits/dim", -0.5, 0.0))
    bits["training"]["curve"] = [{"epoch": 1, "cpu": 30.0, "validation": -6.0}]
    first, point = kingma_flows._numbers(bits)
    assert first["elbo"] == {"value": 4.0, "images": 0.25, "samples": 0.125}
    assert (point["validation"], point["minutes"]) == (3.0, 0.5)


REFUSED = [
    ("--table new digits mnist", "--table is of one experiment, not of digits, mnist"),
    ("nothing", "unknown experiment 'nothing': choose from digits, mnist, cifar"),
    ("digits digits", "<experiment> has digits twice"),
    ("--minutes 0", "--minutes must be at least 0.001"),
    ("--average 1", "--average must be at most"),
    ("--seeds 0,0", "--seeds has 0 twice"),
    ("-s 1", "--samples must be at least 2"),
    ("--model iaf-resnet:posterior=up", "--model"),
    ("--model iaf-resnet -d mixture", "1 pixels"),
    ("-d nothing", "unknown data set 'nothing'"),
    ("--opt nothing", "--opt: unknown optimizer"),
    ("-d mixture --model mixture", "elbo needs draws of z that can be differentiated"),
    ("--free-bits 1 -d digits --model burda:layers=2", "minimum of information"),
    ("--model mlp", "digits-grey is of bytes, for which mlp has no likelihood"),
]


@pytest.mark.parametrize(("words", "sentence"), REFUSED, ids=[words for words, _ in REFUSED])
def test_refused_before_any_work(tmp_path, words, sentence, capsys):
    with pytest.raises(SystemExit):
        flows(tmp_path / "flows", words)
    error = capsys.readouterr().err.splitlines()
    assert len(error) == 1 and sentence in error[0]
    assert not (tmp_path / "flows").exists()


def test_runs_of_other_settings_are_not_mixed(tmp_path):
    words = "--minutes 0.001 --model iaf:hidden=4 -d digits --tables"
    flows(tmp_path, words)
    with pytest.raises(SystemExit, match=r"holds runs with models .*: name another place"):
        flows(tmp_path, words.replace("hidden=4", "hidden=5"))


def test_the_list_names_every_model(capsys):
    kingma_flows.main(["--list"])
    out = capsys.readouterr().out
    for name, experiment in EXPERIMENTS.items():
        assert all(f"{name}: {model}" in out for model in experiment.models)
