"""evaluate.py --log-weights: the table of a file, in the terminal and beside the file."""

import csv
import json
import re
from types import SimpleNamespace

import numpy as np
import pytest

import jvi
from jvi import datasets
from jvi.assessment.rows import KL
from jvi.scripts import evaluate, train

RESULT = re.compile(r"-\d+\.\d{8} \+/- \d+\.\d{8} # logp\(.+\) \d+")


@pytest.fixture
def log_w():
    rng = np.random.default_rng(0)
    return rng.normal(-90, 1.5, (64, 30)) + rng.normal(0, 5, 30)


@pytest.fixture
def file(tmp_path, log_w):
    np.savez(tmp_path / "w.npz", log_w=log_w, other=np.zeros(2))
    return tmp_path / "w.npz"


@pytest.fixture
def run(file, capsys):
    """Run the command; (what it printed, the JSON that it wrote)."""

    def run(*options, path=file, name="w.evaluation"):
        evaluate.main([str(each) for each in ("--log-weights", path, *options)])
        return capsys.readouterr().out, json.loads((file.parent / f"{name}.json").read_text())

    return run


@pytest.fixture
def fails(file, capsys):
    """The command ends with one line that matches, and writes nothing."""

    def fails(message, *options, path=file):
        before = sorted(file.parent.iterdir())
        with pytest.raises(SystemExit) as stop:
            evaluate.main([str(each) for each in ("--log-weights", path, *options)])
        line = str(stop.value)
        assert line.startswith("error: ") and "\n" not in line
        assert re.search(message, line), line
        assert sorted(file.parent.iterdir()) == before

    return fails


def test_the_table_and_the_lines_are_those_of_a_summary(run, file, log_w):
    out, report = run()
    found = jvi.summary(log_w)
    lines = out.splitlines()
    assert lines[0] == f"{file}: 30 data points, 64 samples each"
    assert out.startswith(f"{lines[0]}\n{found}\n")
    assert lines[-4] == f"table: {file.parent / 'w.evaluation'}.json and .csv"
    for line, row in zip(lines[-3:], found.rows[:3], strict=True):
        mean, error = f"{row['mean']:.8f}", f"{row['standard_error']:.8f}"
        assert line == f"{mean} +/- {error} # logp({row['estimate']}) 64"
    assert [row["estimate"] for row in report["rows"]] == ["elbo", "iwae", "jvi", KL]
    assert [row["mean"] for row in report["rows"]] == [row["mean"] for row in found.rows]
    assert report["notes"] == found.notes and report["log_weights"] == str(file)
    assert report["arguments"]["--samples"] == [64] and "jvi" in report["versions"]


def test_estimates_orders_and_numbers_of_samples(run, log_w):
    out, report = run("-E", "jvi,iwae", "--jvi-order", "1,2", "-s", "8,64", "--quiet")
    names = ["jvi-1", "jvi-2", "iwae"]
    found = jvi.summary(log_w, names, [8, 64])
    assert [row["mean"] for row in report["rows"]] == [row["mean"] for row in found.rows]
    lines = out.splitlines()
    assert len(lines) == 6 and all(map(RESULT.fullmatch, lines))
    assert re.findall(r"\((.+)\) (\d+)", out) == [(n, s) for n in names for s in ("8", "64")]


def test_files_go_where_they_are_wanted(run, fails, file, log_w):
    table, arrays = file.parent / "t", file.parent / "p.npz"
    options = ["--table", table, "--per-image", arrays]
    _, report = run(*options, name="t")
    assert not list(file.parent.glob("*.evaluation*"))
    with open(f"{table}.csv", newline="") as opened:
        means = [float(line["mean"]) for line in csv.DictReader(opened)]
    assert means == [row["mean"] for row in report["rows"]]
    with np.load(arrays) as found:
        np.testing.assert_array_equal(found["image"], np.arange(30))
        np.testing.assert_array_equal(found["elbo@64"], log_w.mean(axis=0))
        assert {"iwae@64", "iwae_error@64", "pareto_k@64", "heavy_tail@64"} <= set(found)
    fails("p.npz exists: name another file or give --overwrite", *options)
    run(*options, "--overwrite", name="t")


def test_no_table_is_replaced(run, file):
    run("--quiet")
    before = (file.parent / "w.evaluation.json").read_bytes()
    run("-s", "8", "--quiet")
    assert (file.parent / "w.evaluation.json").read_bytes() == before
    report = json.loads((file.parent / "w.evaluation-2.json").read_text())
    assert report["rows"][0]["num_samples"] == 8


def test_one_rank_does_it_and_the_others_look_at_nothing(file, capsys, monkeypatch):
    """Rank 0 may have written what another would refuse to write over."""
    from jvi.engine import ranks

    (file.parent / "t.json").write_text("rank 0's")
    monkeypatch.setattr(ranks, "ranks", lambda: SimpleNamespace(rank=1))
    evaluate.main(["--log-weights", str(file), "--table", str(file.parent / "t")])
    assert capsys.readouterr().out == ""
    assert sorted(path.name for path in file.parent.iterdir()) == ["t.json", "w.npz"]


def test_a_name_chooses_the_array(run, file, log_w):
    np.savez(file, one=log_w, two=log_w + 1)
    _, report = run("--name", "two")
    assert report["rows"][0]["mean"] == pytest.approx(log_w.mean() + 1)


def test_overwrite_alone_is_noted(run):
    out, _ = run("--overwrite")
    assert "note: --overwrite has no effect without --table or --per-image\n" in out


def test_tables_of_text(run, file, log_w):
    np.savetxt(file.parent / "v.csv", log_w, delimiter=",")
    _, report = run(path=file.parent / "v.csv", name="v.evaluation")
    assert report["rows"][0]["mean"] == pytest.approx(log_w.mean(), rel=1e-12)


def test_what_logw_writes_can_be_read_back(tmp_path, capsys):
    prefix = tmp_path / "m"
    sizes = [
        "--vae-type",
        "iwae",
        "--vae-samples",
        "4",
        "--nhidden",
        "8",
        "--nlatent",
        "3",
        "-e",
        "1",
    ]
    train.main(["-o", str(prefix), *sizes, "--quiet"])
    path = tmp_path / "w.npz"
    evaluate.main(["-s", "8", "--images", "12", "--logw", str(path), "--quiet", str(prefix)])
    with np.load(path) as found:
        log_w = found["log_w"]
    assert log_w.shape == (8, 12)
    evaluate.main(["--log-weights", str(path), "-E", "iwae", "--quiet"])
    line = capsys.readouterr().out.splitlines()[-1]
    assert float(line.split()[0]) == pytest.approx(jvi.iwae(log_w).mean(), abs=1e-7)
    data = datasets.load("digits")
    x = datasets.observe_each(data, data.test[:12], 0)
    again = jvi.evaluate(jvi.load(prefix), x, 8, ("iwae",)).mean["iwae"]
    assert abs(again - float(line.split()[0])) < 2.0  # other draws of the same


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--reps", "2"], "--reps has no effect here: it is for a model, not for --log-weights"),
        (["-d", "mnist"], "--dataset has no effect here: it is for a model"),
        (["--seed", "1"], "--seed has no effect here: it is for a model"),
        (["--ais-temps", "10"], "--ais-temps has no effect here: it is for a model"),
        (["--logw", "x.npz"], "--logw has no effect here: it is for a model"),
        (["-E", "iwae", "--jvi-order", "2"], '--jvi-order has no effect here: it is for "jvi"'),
        (["-E", "vae"], "--eval: log-weights are not enough for vae, .* ask for elbo"),
        (["-E", "ais"], "--eval: log-weights are not enough for ais"),
        (["-E", "ivae"], "--eval: unknown evaluation 'ivae'"),
        (["-E", "iwae,iwae"], "--eval has iwae twice"),
        (["-s", "65"], "samples 65 are more than the 64"),
        (["-s", "1", "--jvi-order", "1"], "order 1 needs more than 1 samples"),
        (["--name", "none"], "has no 'none': name one of what it holds, 'log_w', 'other'"),
        (["--name", "other"], r"has shape \(2,\): log-weights have shape \(K, N\)"),
    ],
)
def test_impossible_requests_end_in_one_line(fails, options, message):
    fails(message, *options)


def test_the_file_itself_is_no_place_to_write_to(fails, file):
    fails("w.npz is a file of the data", "--per-image", file, "--overwrite")


def test_a_file_that_is_not_there(fails, file):
    fails("x.npz: no such file", path=file.parent / "x.npz")


def test_a_name_is_of_log_weights_alone(capsys):
    with pytest.raises(SystemExit, match="--name has no effect here: it is for --log-weights"):
        evaluate.main(["--name", "x", "model"])


def test_a_model_and_log_weights_are_two_things(file, capsys):
    with pytest.raises(SystemExit):
        evaluate.main(["--log-weights", str(file), "model"])
    assert "not to be combined" in capsys.readouterr().err
