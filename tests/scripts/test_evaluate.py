"""evaluate.py: a table of numbers that can be computed by hand, and files that lose nothing."""

import csv
import itertools
import json
import math
import re
import shutil

import numpy as np
import pytest
from scipy.special import logsumexp

import jvi
from jvi import datasets
from jvi.assessment import ais, tables
from jvi.assessment.evaluation import evaluations
from jvi.assessment.rows import KEYS, KL, NUMBERS
from jvi.engine.random import stream
from jvi.scripts import evaluate, train

RESULT = re.compile(r"(-\d+\.\d{8}) \+/- (\d+\.\d{8}|nan) # logp\((.+)\) (\d+)")
FEW = 12  # images


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    prefix = tmp_path_factory.mktemp("models") / "m"
    sizes = ["--nhidden", "8", "--nlatent", "3"]
    steps = ["-e", "10", "-b", "100", "--opt", "adam", "--lr", "3e-3"]
    train.main(["-o", str(prefix), "--vae-type", "iwae", "--vae-samples", "4", *sizes, *steps])
    return prefix


@pytest.fixture
def prefix(trained, tmp_path):
    """A copy, into whose folder an evaluation may write."""
    shutil.copytree(trained, tmp_path / "m")
    for ending in (".meta.yaml", ".perf"):
        shutil.copy(f"{trained}{ending}", tmp_path)
    return tmp_path / "m"


@pytest.fixture
def run(prefix, capsys):
    """Run the command; (what it printed, the JSON that it wrote)."""

    def run(*options, images=FEW, name="m.evaluation"):
        options = [*options, "--images", images] if images else options
        evaluate.main([str(option) for option in (*options, prefix)])
        path = prefix.parent / f"{name}.json"
        return capsys.readouterr().out, json.loads(path.read_text())

    return run


@pytest.fixture
def fails(prefix, capsys):
    """The command ends with one line that matches."""

    def fails(message, *options):
        with pytest.raises(SystemExit) as stop:
            evaluate.main([str(option) for option in (*options, prefix)])
        line = str(stop.value)
        assert line.startswith("error: ") and "\n" not in line
        assert re.search(message, line), line

    return fails


def digits(count=FEW, seed=0):
    data = datasets.load("digits")
    return datasets.observe_each(data, data.test[:count], seed)


def log_weights(prefix, num_samples, count=FEW):
    """The (K, N) log-weights behind an evaluation, from the documented streams of noise."""
    model = jvi.load(prefix)
    rngs = [stream(0, "evaluation noise", 0, i) for i in range(count)]
    eps = [rng.standard_normal((num_samples, model.num_latent), np.float32) for rng in rngs]
    log_w = model.log_weights(digits(count), eps=np.stack(eps, axis=1))
    return log_w.astype(np.float64)


def iwae_by_hand(log_w):
    return logsumexp(log_w, axis=0) - math.log(len(log_w))


def jvi_by_hand(log_w, order):
    """The definition: all subsets (Nowozin 2018, equations 10 and 11)."""
    num = len(log_w)
    total = 0.0
    for j in range(order + 1):
        kept = list(itertools.combinations(range(num), num - j))
        mean = np.mean([iwae_by_hand(log_w[list(rows)]) for rows in kept], axis=0)
        coefficient = (-1) ** j * (num - j) ** order
        total = total + coefficient / math.factorial(order - j) / math.factorial(j) * mean
    return total


def delete_a_group_by_hand(estimator, log_w, groups):
    """√((G-1)/G Σ (θ_g - mean θ)²) of each image, then √Σ error² / N; equal groups only."""
    size = len(log_w) // groups
    left = [np.delete(log_w, range(g * size, (g + 1) * size), axis=0) for g in range(groups)]
    values = np.array([estimator(rest) for rest in left])
    squares = ((values - values.mean(axis=0)) ** 2).sum(axis=0) * (groups - 1) / groups
    return math.sqrt(squares.sum()) / log_w.shape[-1]


def test_every_number_of_the_table_by_hand(run, prefix):
    from arviz_stats.base import array_stats

    _, report = run("-E", "vae,elbo,iwae,jvi", "--jvi-order", "1,2", "-s", "8,40")
    rows = {(row["estimate"], row["num_samples"]): row for row in report["rows"]}
    names = ["vae", "elbo", "iwae", "jvi-1", "jvi-2"]
    assert list(rows) == [*itertools.product(names, [8, 40]), (KL, 40)]
    all_log_w = log_weights(prefix, 40)
    for num in (8, 40):
        log_w = all_log_w[:num]
        estimators = {"elbo": lambda log_w: log_w.mean(axis=0), "iwae": iwae_by_hand}
        for order in (1, 2):
            estimators[f"jvi-{order}"] = lambda log_w, order=order: jvi_by_hand(log_w, order)
        for name, estimator in estimators.items():
            row, values = rows[name, num], estimator(log_w)
            assert row["mean"] == pytest.approx(values.mean(), abs=1e-5)
            error = values.std(ddof=1) / math.sqrt(FEW)
            assert row["standard_error"] == pytest.approx(error, rel=1e-4)
            sampling = delete_a_group_by_hand(estimator, log_w, 8)
            assert row["sampling_error"] == pytest.approx(sampling, rel=1e-3)
        weights = np.exp(log_w - logsumexp(log_w, axis=0))
        ess = (1 / (weights**2).sum(axis=0)).mean()
        for name in ("iwae", "jvi-1", "jvi-2"):
            assert rows[name, num]["ess"] == pytest.approx(ess, rel=1e-4)
        assert rows["vae", num]["ess"] is rows["elbo", num]["ess"] is None
    k = np.array([array_stats.psislw(-column)[1] for column in all_log_w.T])
    limit = 1 - 1 / math.log10(40)  # Vehtari et al. 2024, equation 13
    assert (k > limit).mean() > (k > 0.7).mean()
    for name in ("iwae", "jvi-2"):
        assert rows[name, 40]["heavy_tails"] == (k > limit).mean()
        assert rows[name, 40]["k_threshold"] == pytest.approx(limit)
        assert rows[name, 8]["heavy_tails"] is None  # too few samples to know
        assert rows[name, 8]["k_threshold"] is rows["vae", 40]["k_threshold"] is None
    assert report["active_units"] == active_units_by_hand(prefix)
    kl = rows[KL, 40]
    assert kl["mean"] == pytest.approx(rows["vae", 40]["mean"] - rows["iwae", 40]["mean"])
    assert kl["log_likelihood"] == "iwae" and kl["mean"] < 0
    same = jvi.evaluate(jvi.load(prefix), digits(), 40, ("vae", "iwae")).per_image
    gap_error = (same["vae"] - same["iwae"]).std(ddof=1) / math.sqrt(FEW)
    assert kl["standard_error"] == pytest.approx(gap_error, rel=1e-4)
    assert kl["standard_error"] < rows["vae", 40]["standard_error"] / 2  # another number, that is
    assert kl["parts"] == "vae - iwae, both 40 samples"
    both = np.stack([all_log_w, log_px_by_hand(prefix, 40)], axis=1)
    gap = delete_a_group_by_hand(lambda p: p[:, 1].mean(axis=0) - iwae_by_hand(p[:, 0]), both, 8)
    assert kl["sampling_error"] == pytest.approx(gap, rel=1e-3)
    apart = math.hypot(rows["vae", 40]["sampling_error"], rows["iwae", 40]["sampling_error"])
    assert abs(gap / apart - 1) > 0.1  # the same samples are not two independent sets


def log_px_by_hand(prefix, num_samples):
    """log p(x|z) at the z behind `log_weights`, from log w and the densities of z."""
    model, x = jvi.load(prefix), digits()
    rngs = [stream(0, "evaluation noise", 0, i) for i in range(FEW)]
    eps = np.stack([rng.standard_normal((num_samples, 3), np.float32) for rng in rngs], axis=1)
    mean, ln_var = model.encode(x)
    p = model.decode(mean + np.exp(ln_var / 2) * eps).astype(np.float64)
    return np.where(x > 0, np.log(p), np.log1p(-p)).sum(axis=-1)


def active_units_by_hand(prefix):
    mean, _ = jvi.load(prefix).encode(digits())
    return sum(np.cov(mean.T).diagonal() * (FEW - 1) / FEW > 0.01)


def test_the_printed_table_is_that_of_the_files(run, prefix):
    out, report = run("-E", "vae,iwae,jvi", "-s", "16,64")
    lines = out.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("estimate "))
    header = re.split(r"  +", lines[start])
    assert header[:5] == ["estimate", "samples", "nats", "± images", "± samples"]
    assert header[5:] == ["ESS", "heavy tails"]
    for line, row in zip(lines[start + 1 :], report["rows"], strict=False):
        cells = line.split()
        assert cells[:2] == [row["estimate"], str(row["num_samples"])]
        keys = ("mean", "standard_error", "sampling_error", "ess")
        for cell, key, digits_ in zip(cells[2:], keys, (4, 4, 4, 1), strict=False):
            assert cell == ("-" if row[key] is None else f"{row[key]:.{digits_}f}")
        share, limit = row["heavy_tails"], {16: None, 64: "0.45"}[row["num_samples"]]
        told = [f"{100 * share:.1f}%", "(k", ">", f"{limit})"] if share is not None else ["-"]
        assert cells[6:] == told
    with open(f"{prefix}.evaluation.csv", newline="") as file:
        saved = list(csv.DictReader(file))
    assert len(saved) == len(report["rows"]) == 7
    for line, row in zip(saved, report["rows"], strict=True):
        for key in (*KEYS, *NUMBERS, "spread"):
            assert line[key] == ("" if row[key] is None else str(row[key]))


def test_the_last_lines_are_the_originals_in_the_order_of_the_table(run):
    out, report = run("-E", "iwae,vae", "-s", "16,8")
    lines = [RESULT.fullmatch(line).groups() for line in out.splitlines()[-4:]]
    names = [(name, int(count)) for _, _, name, count in lines]
    assert names == [("iwae", 16), ("iwae", 8), ("vae", 16), ("vae", 8)]
    for (mean, error, *_), row in zip(lines, report["rows"], strict=False):
        assert float(mean) == pytest.approx(row["mean"], abs=1e-8)
        assert float(error) == pytest.approx(row["standard_error"], abs=1e-8)


def test_a_single_request_ends_with_one_line(run, prefix):
    out, _ = run("-E", "jvi", "--jvi-order", "2", "-s", "16")
    result = jvi.evaluate(jvi.load(prefix), digits(), 16, ("jvi",), order=2)
    mean, error = result.mean["jvi"], result.standard_error["jvi"]
    assert out.endswith(f"evaluation.json and .csv\n{mean:.8f} +/- {error:.8f} # logp(jvi) 16\n")
    out, _ = run("-E", "iwae", "-s", "16", "--quiet")
    assert RESULT.fullmatch(out.rstrip("\n"))


def test_the_report_says_how_it_came_about(run, prefix):
    _, report = run("-s", "16", "--seed", "5")
    assert report["model"] == str(prefix / "snapshot_bestvalobj")
    assert report["data"] == "digits"
    assert report["arguments"]["--seed"] == 5 and report["arguments"]["--samples"] == [16]
    assert report["versions"]["numpy"] == np.__version__
    assert report["rows"][0]["num_images"] == FEW and report["rows"][0]["seconds"] > 0
    _, report = run("-E", "jvi", "-s", "16", "--jvi-order", "0,1", name="m.evaluation-2")
    assert report["arguments"]["--seed"] == 0 and type(report["arguments"]["--seed"]) is int
    assert report["arguments"]["--jvi-order"] == [0, 1]
    assert "--bdmc" not in report["arguments"] and "--table" not in report["arguments"]


def test_what_cannot_be_known_is_null_and_a_dash(run, prefix):
    out, report = run("-E", "iwae,jvi", "-s", "2", images=1)
    iwae, jackknife, _ = report["rows"]
    assert report["active_units"] is None and "active" not in out
    assert iwae["standard_error"] is None and iwae["sampling_error"] > 0
    assert jackknife["sampling_error"] is None
    assert re.search(r"^jvi +2 +-\d+\.\d{4} +- +\d\.\d$", out, re.MULTILINE)
    assert "Pareto k is unknown below 30 samples" in out


def test_no_table_is_ever_lost(run, fails, prefix):
    _, first = run("-s", "4")
    _, second = run("-s", "5", name="m.evaluation-2")
    _, third = run("-s", "6", "--quiet", name="m.evaluation-3")
    assert [r["arguments"]["--samples"] for r in (first, second, third)] == [[4], [5], [6]]
    assert json.loads((prefix.parent / "m.evaluation.json").read_text()) == first
    (prefix.parent / "m.evaluation-2.json").unlink()  # its .csv is still there
    run("-s", "8", name="m.evaluation-4")
    table = prefix.parent / "mine"
    run("-s", "4", "--table", table, name="mine")
    fails(r"mine\.json exists: name another file or give --overwrite", "--table", table)
    _, again = run("-s", "7", "--table", table, "--overwrite", name="mine")
    assert again["arguments"]["--samples"] == [7]
    fails("is no folder that can be written to", "--table", prefix.parent / "no" / "such")


OUTPUTS = ["--logw", "--per-image", "--table", "--resultfile"]


@pytest.mark.parametrize("option", OUTPUTS)
def test_what_cannot_be_written_is_refused_before_the_work(fails, monkeypatch, tmp_path, option):
    monkeypatch.setattr(evaluate, "_replications", lambda *_: pytest.fail("has begun"))
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder.json").mkdir()
    (tmp_path / "file").write_text("precious")
    fails(r"folder(\.json)? is a folder", option, tmp_path / "folder", "--overwrite")
    fails("file is no folder that can be written to", option, tmp_path / "file" / "new")


@pytest.mark.parametrize("option", OUTPUTS[1:])
def test_one_file_cannot_hold_two_outputs(fails, tmp_path, option):
    name = tmp_path / "same.json"
    other = name.with_suffix("") if option == "--table" else name
    fails("same.json is named for two outputs", "--logw", name, option, other)
    assert not name.exists()


def test_a_result_file_is_added_to(run, tmp_path):
    for name in ("m.evaluation", "m.evaluation-2"):
        run("-s", "4", "--resultfile", tmp_path / "r", name=name)
    assert len((tmp_path / "r").read_text().splitlines()) == 2


@pytest.fixture
def stops(prefix, capsys):
    """The command ends early; the result lines that it has printed, as (estimate, samples)."""

    def stops(status, *options):
        with pytest.raises(SystemExit) as stop:
            evaluate.main([*map(str, options), "--images", str(FEW), str(prefix)])
        assert str(stop.value.code).startswith(str(status))
        found = map(RESULT.fullmatch, capsys.readouterr().out.splitlines())
        return [(match[3], int(match[4])) for match in found if match]

    return stops


def failing(error, calls=0):
    """A function that raises after some calls, which it passes on to `original`."""

    def change(original):
        left = [calls]

        def function(*arguments, **options):
            left[0] -= 1
            if left[0] < 0:
                raise error
            return original(*arguments, **options)

        return function

    return change


@pytest.mark.parametrize("quiet", [[], ["--quiet"]])
@pytest.mark.parametrize(
    ("error", "status"), [(KeyboardInterrupt(), 130), (ValueError("damaged"), "error: damaged")]
)
def test_what_is_finished_is_printed_whatever_happens_later(
    monkeypatch, stops, tmp_path, error, status, quiet
):
    once, annealed = [("iwae", 4), ("iwae", 8)], ["--ais-temps", "2", "--ais-stepsize", "0.1"]
    cases = [
        (ais, "evaluations", 0, ["-E", "ais,iwae", *annealed], once),
        (ais, "bdmc", 0, ["--bdmc"], once),
        (evaluate, "_evaluate", 2, ["-r", "3"], 2 * once),
        (ais, "evaluations", 1, ["-E", "iwae,ais", "-r", "2", *annealed], None),
        (tables, "write", 0, ["--table", tmp_path / "t"], once),
        (np, "savez", 0, ["--per-image", tmp_path / "v.npz"], once),
    ]
    for module, name, calls, options, expected in cases:
        with monkeypatch.context() as patch:
            patch.setattr(module, name, failing(error, calls)(getattr(module, name)))
            expected = expected or [*once, ("ais", 4), ("ais", 8), *once]
            assert stops(status, "-s", "4,8", *options, *quiet) == expected


def test_a_table_that_fails_leaves_nothing_behind(monkeypatch, run, prefix, capsys):
    monkeypatch.setattr(csv, "DictWriter", failing(OSError(28, "No space left"))(None))
    evaluate.main(["-s", "4", "--images", "3", str(prefix)])
    assert "note: the table is not written (No space left)" in capsys.readouterr().out
    assert not list(prefix.parent.glob("*.evaluation*"))


def test_models_in_a_folder_that_cannot_be_written_to(monkeypatch, prefix, capsys):
    def refuse(_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(tables, "free_prefix", refuse)
    evaluate.main(["-s", "4", "--images", "3", str(prefix)])
    *_, note, line = capsys.readouterr().out.splitlines()
    assert "table is not written (Permission denied)" in note and RESULT.fullmatch(line)


def test_replications(run, prefix):
    options = ("-E", "iwae,jvi", "-s", "8,32", "-r", "3", "--resultfile", "+")
    out, report = run(*options)
    lines = [RESULT.fullmatch(line) for line in out.splitlines()[-12:]]
    printed = np.array([float(line[1]) for line in lines]).reshape(3, 4)
    saved = np.loadtxt(f"{prefix}.test.perf", delimiter=",")
    np.testing.assert_allclose(saved[:, 0].reshape(3, 4), printed)
    for row, means in zip(report["rows"], printed.T, strict=False):
        np.testing.assert_allclose(row["means"], means, atol=1e-8)
        assert row["mean"] == pytest.approx(means.mean(), abs=1e-7)
        assert row["spread"] == pytest.approx(means.std(ddof=1), abs=1e-7) and row["spread"] > 0
    assert "± reps" in out
    model, x = jvi.load(prefix), digits()
    squares = [
        evaluations(model, x, [8], ["iwae"], replication=r, detail=True)[0].sampling_error["iwae"]
        ** 2
        for r in range(3)
    ]
    assert report["rows"][0]["sampling_error"] ** 2 == pytest.approx(np.mean(squares), rel=1e-4)
    errors = saved[:, 1].reshape(3, 4).mean(axis=0)
    np.testing.assert_allclose([r["standard_error"] for r in report["rows"][:4]], errors, atol=1e-8)


def test_bootstrap_spreads_as_the_images_do(run):
    """A standard deviation of 60 is known to 9%."""
    options = ("-E", "iwae,jvi", "-s", "16", "-r", "60")
    _, report = run(*options, "--bootstrap", images=100)
    _, without = run(*options, images=100, name="m.evaluation-2")
    for row, other in zip(report["rows"][:2], without["rows"], strict=False):
        assert row["spread"] == pytest.approx(row["standard_error"], rel=0.35)
        assert other["spread"] < row["spread"] / 2


def test_arrays_of_several_rows_are_told_apart(run, prefix, tmp_path):
    path = tmp_path / "v.npz"
    options = ("--per-image", path, "--ais-temps", "4", "--ais-stepsize", "0.1")
    run("-E", "jvi,ais", "-s", "8,40", *options)
    values = np.load(path)
    assert values["num_samples"].tolist() == [8, 40]
    np.testing.assert_array_equal(values["image"], np.arange(FEW))
    assert values["ais_acceptance@8"].shape == values["ais_step_size@8"].shape == (FEW,)
    log_w = log_weights(prefix, 40)
    for num in (8, 40):
        expected = jvi_by_hand(log_w[:num], 1)
        np.testing.assert_allclose(values[f"jvi@{num}"], expected, atol=1e-4)
        assert values[f"jvi_error@{num}"].shape == values[f"heavy_tail@{num}"].shape == (FEW,)
        assert not np.array_equal(values[f"ess@{num}"], values[f"ais_ess@{num}"])
        assert (abs(values[f"ais@{num}"] - expected) < 4).all()
    assert "iwae@8" not in values

    run("-E", "jvi", "-s", "8", "--per-image", path, "--overwrite", name="m.evaluation-2")
    names = {"image", "num_samples", "jvi", "jvi_error", "ess", "pareto_k"}
    names |= {"heavy_tail", "few_samples", "large_correction", "vae-iwae_error@8"}
    others = {"vae@8", "vae_error@8", "iwae@8", "iwae_error@8"}  # of -KL(q||p)
    assert set(np.load(path)) == names | others
    assert np.load(path)["num_samples"] == 8


REQUESTS = {
    "jvi alone": ["-E", "jvi", "-s", "64"],
    "several": ["-E", "vae,elbo,iwae,jvi,is", "-s", "8,64", "--jvi-order", "1,2"],
    "annealed": ["-E", "ais", "-s", "64", "--ais-chains", "4,40"],
    "both starts": ["-E", "jvi,ais", "-s", "8,64", "--ais-chains", "40", "--ais-start", "both"],
    "from the prior, and a bracket": ["-E", "ais", "-s", "8", "--ais-prior", "--bdmc"],
}


@pytest.mark.parametrize("request_", REQUESTS)
def test_the_table_can_be_had_from_the_arrays(run, tmp_path, request_):
    """Every number of every row but seconds, from the file alone."""
    options = REQUESTS[request_]
    if "ais" in options[1]:
        options = [*options, "--ais-temps", "4", "--ais-stepsize", "0.1"]
    path = tmp_path / "v.npz"
    _, report = run(*options, "--per-image", path)
    values = dict(np.load(path))
    for row in report["rows"]:
        expected = by_arrays(values, row)
        for key in ("mean", "standard_error", "sampling_error", "ess", "heavy_tails", "acceptance"):
            given = math.nan if row[key] is None else row[key]
            assert given == pytest.approx(expected.get(key, math.nan), nan_ok=True, rel=1e-9), key


def by_arrays(values, row):
    """The numbers of a row from arrays by name."""

    def find(name, count=row["num_samples"]):
        return values[name] if name in values else values[f"{name}@{count}"]

    estimate = row["estimate"]
    if row["data"] == "simulated":
        name, _, end = estimate.rpartition("-")
        lower, upper = find(f"{name}-lower"), find(f"{name}-upper")
        each = {"lower": lower, "upper": upper, "gap": upper - lower}[end]
        return summary_of(each) | {"acceptance": row["acceptance"]}  # over both ways
    if " - " in (parts := row.get("parts", estimate)):
        split = [part.partition("@")[::2] for part in parts.partition(",")[0].split(" - ")]
        (one, k), (two, m) = ((name, int(count or row["num_samples"])) for name, count in split)
        if "@" in parts:
            independent = 0.0 if two == "exact" else find(f"{two}_error", m)
            errors = np.hypot(find(f"{one}_error", k), independent)
        else:
            errors = find(f"{one}-{two}_error", k)  # of the same samples, or the same noise
        return summary_of(find(one, k) - find(two, m), errors)
    if estimate == "exact":
        return summary_of(find(estimate), np.zeros(len(find(estimate))))
    found = summary_of(find(estimate), find(f"{estimate}_error"))
    start = f"{estimate}_" if estimate.startswith("ais") else ""
    if f"{estimate}@{row['num_samples']}" not in values:  # alone in its file
        start = ""
    if estimate not in ("vae", "elbo"):
        found["ess"] = find(f"{start}ess").mean()
        k = find(f"{start}pareto_k")
        if row["num_samples"] >= 30:
            found["heavy_tails"] = (k > row["k_threshold"]).mean()
    if estimate.startswith("ais"):
        found["acceptance"] = find(f"{start}acceptance").mean()
    return found


def summary_of(each, errors=None):
    found = {"mean": each.mean(), "standard_error": each.std(ddof=1) / math.sqrt(len(each))}
    if errors is not None:
        found["sampling_error"] = math.sqrt((errors**2).sum()) / len(errors)
    return found


def test_resampled_images_are_told(run, prefix, tmp_path):
    path = tmp_path / "v.npz"
    run("-s", "8", "-r", "2", "--bootstrap", "--per-image", path)
    values = np.load(path)
    drawn = stream(0, "bootstrap", 1).integers(FEW, size=FEW)
    np.testing.assert_array_equal(values["image"], drawn)
    x = digits()[values["image"]]
    expected = jvi.evaluate(jvi.load(prefix), x, 8, ("iwae",), replication=1).per_image["iwae"]
    np.testing.assert_allclose(values["iwae"], expected, atol=1e-5)


@pytest.mark.parametrize("reps", [1, 2])
def test_doubts_are_told_for_each_number_of_samples(run, prefix, reps):
    out, _ = run("-E", "jvi", "-s", "4,40", "-r", reps)
    last = "last replication: " if reps > 1 else ""
    model, x = jvi.load(prefix), digits()
    results = evaluations(model, x, [4, 40], ["jvi"], replication=reps - 1)
    for result, num in zip(results, (4, 40), strict=True):
        line = f"{num} samples: {last}{result.doubts['doubtful']} of {FEW} values are not"
        assert f"\n{line}" in out
    assert results[0].doubts["doubtful"] != results[1].doubts["doubtful"]


def test_the_log_weight_file_has_noise_of_its_own(run, prefix, tmp_path):
    from scipy.io import loadmat

    run("-s", "4,6", "--logw", tmp_path / "w.mat")
    rng = stream(0, "log-weight file")
    expected = jvi.load(prefix).log_weights(digits(), 6, rng)
    np.testing.assert_array_equal(loadmat(tmp_path / "w.mat")["logw"], expected)


# Measures, known evidence, several data sets


def test_what_is_measured_stands_below_the_table_and_in_the_files(run, prefix):
    from jvi.assessment.similarity import ssim

    out, report = run("-E", "iwae", "-s", "8", "-m", "ssim,active-units")
    values = ssim(digits(), jvi.load(prefix).reconstruct(digits()), (8, 8))
    similar, units = report["measures"]
    assert similar["mean"] == pytest.approx(values.mean(), rel=1e-6)
    error = values.std(ddof=1) / math.sqrt(FEW)
    assert similar["standard_error"] == pytest.approx(error, rel=1e-5)
    assert units["mean"] == report["active_units"] == active_units_by_hand(prefix)
    assert re.search(rf"^ssim +{values.mean():.4f} +{error:.4f}$", out, re.MULTILINE)
    assert re.search(rf"^active-units +{units['mean']:.0f} of 3 +-$", out, re.MULTILINE)
    assert report["arguments"]["--measures"] == ["ssim", "active-units"]
    with open(f"{prefix}.evaluation.csv", newline="") as file:
        *rows, one, two = csv.DictReader(file)
    assert len(rows) == len(report["rows"]) == 2
    assert [one["estimate"], two["estimate"]] == ["ssim", "active-units"]
    assert float(one["mean"]) == similar["mean"] and one["num_samples"] == ""
    _, without = run("-E", "iwae", "-s", "8", name="m.evaluation-2")
    assert "measures" not in without and without["active_units"] == report["active_units"]
    assert without["rows"][0]["mean"] == report["rows"][0]["mean"]


def test_without_scikit_image_nothing_is_begun(fails, monkeypatch, prefix):
    from jvi.assessment import similarity

    monkeypatch.setattr(evaluate, "_replications", lambda *_: pytest.fail("has begun"))
    monkeypatch.setattr(similarity, "find_spec", lambda _: None)
    fails("--measures ssim needs scikit-image: pip install scikit-image", "-m", "ssim")
    assert not list(prefix.parent.glob("*.evaluation*"))


@pytest.fixture
def mixture(tmp_path):
    model = "-d mixture --model mixture --estimator reinforce --vae-samples 2"
    steps = "-e 1 -b 5000 --opt adam --quiet"
    train.main([*model.split(), *steps.split(), "-o", str(tmp_path / "mix")])
    return tmp_path / "mix"


def test_a_model_that_knows_its_evidence_is_compared_with_it(mixture, tmp_path, capsys):
    """Each row from the arrays, -KL against the exact value, and no new result lines."""
    path = tmp_path / "v.npz"
    options = "-E elbo,iwae -s 8,64 -m l2-errors,active-units --images 40 --per-image"
    evaluate.main([*options.split(), str(path), str(mixture)])
    out, values = capsys.readouterr().out, dict(np.load(path))
    report = json.loads((tmp_path / "mix.evaluation.json").read_text())
    names = [row["estimate"] for row in report["rows"]]
    gaps = ["elbo - exact"] * 2 + ["iwae - exact"] * 2
    assert names == ["elbo", "elbo", "iwae", "iwae", "exact", *gaps, KL]
    model, x = jvi.load(mixture), datasets.load("mixture").test[:40]
    exact = model.link.log_evidence(x)
    np.testing.assert_allclose(values["exact"], exact, rtol=1e-6)
    for row in report["rows"][:-1]:
        expected = by_arrays(values, row)
        for key in ("mean", "standard_error", "sampling_error"):
            assert row[key] == pytest.approx(expected[key], rel=1e-9, abs=1e-12), row["estimate"]
    assert report["rows"][-1]["log_likelihood"] == "exact"
    vae = jvi.evaluate(model, x, 64, ("vae",)).per_image["vae"] - exact
    assert report["rows"][-1]["mean"] == pytest.approx(vae.mean(), rel=1e-5)
    assert re.search(rf"^exact +- +{exact.mean():.4f} ", out, re.MULTILINE)
    lines = [match[3] for match in map(RESULT.fullmatch, out.splitlines()) if match]
    assert lines == ["elbo", "elbo", "iwae", "iwae"]
    measured = [row["measure"] for row in report["measures"]]
    assert measured == ["l2-posterior", "l2-prior", "active-units"]


@pytest.fixture
def second(monkeypatch):
    """Another data set of the same size, "omniglot": the digits, upside down."""
    original = datasets.load

    def load(name, data_dir=None):
        if name != "omniglot":
            return original(name, data_dir)
        data = original("digits")
        return data._replace(name=name, test=np.ascontiguousarray(data.test[:, ::-1]))

    monkeypatch.setattr(datasets, "load", load)


SEVERAL = ("-E", "iwae,vae", "-s", "4,8", "-m", "ssim")


def test_each_of_several_data_sets_gives_what_it_gives_alone(second, run, prefix):
    out, report = run("-d", "digits,omniglot", *SEVERAL)
    assert (report["data"], report["trained_on"]) == (["digits", "omniglot"], "digits")
    assert report["notes"] == [f"{prefix} was trained on digits, not on omniglot"]
    for i, name in enumerate(report["data"]):
        _, alone = run("-d", name, *SEVERAL, name=f"m.evaluation-{i + 2}")
        for key in ("rows", "measures"):
            own = [row for row in report[key] if row["data"] == name]
            assert {row["data"] for row in alone[key]} == {"test"}
            for row, other in zip(own, alone[key], strict=True):
                changed = {"data", "seconds"}
                assert row.keys() == other.keys()
                assert all(row[k] == other[k] for k in row.keys() - changed)
        assert report["active_units"][name] == alone["active_units"]
    with open(f"{prefix}.evaluation.csv", newline="") as file:
        names = [line["data"] for line in csv.DictReader(file)]
    assert names == ["digits"] * 5 + ["omniglot"] * 5 + ["digits", "omniglot"]
    lines = [line.split(" # ")[1] for line in out.splitlines() if " # logp(" in line]
    rows = itertools.product(["digits", "omniglot"], ["iwae", "vae"], [4, 8])
    assert lines == [f"logp({estimate}) {count} {name}" for name, estimate, count in rows]


def test_several_data_sets_are_compared_in_one_table(second, run):
    out, report = run("-d", "digits,omniglot", *SEVERAL)
    found = {(r["data"], r["estimate"], r["num_samples"]): r for r in report["rows"]}
    measured = {row["data"]: row for row in report["measures"]}
    lines = out.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("trained on digits"))
    header = re.split(r"  +", lines[start])
    assert header == ["trained on digits, tested on", "iwae@8", "vae@8", KL, "ssim"]
    for line, name in zip(lines[start + 1 :], report["data"], strict=False):
        rows = [found[name, each, 8] for each in ("iwae", "vae", KL)] + [measured[name]]
        cells = [f"{row['mean']:.4f} ± {row['standard_error']:.4f}" for row in rows]
        assert re.split(r"  +", line) == [name, *cells]


def test_simulated_data_are_bracketed_once(second, run):
    options = ("--bdmc", "--ais-temps", "2", "--ais-stepsize", "0.1", "-s", "4")
    out, report = run("-d", "digits,omniglot", *options)
    assert sum(row["data"] == "simulated" for row in report["rows"]) == 3
    assert out.count("images simulated from the model") == 1


def test_what_is_finished_of_the_first_data_set_is_printed(second, monkeypatch, prefix, capsys):
    failing_later = failing(KeyboardInterrupt(), 1)(evaluate._evaluate)
    monkeypatch.setattr(evaluate, "_evaluate", failing_later)
    options = ["-d", "digits,omniglot", "-s", "4", "--images", str(FEW), str(prefix)]
    with pytest.raises(SystemExit) as stop:
        evaluate.main(options)
    assert stop.value.code == 130
    assert capsys.readouterr().out.splitlines()[-1].endswith("# logp(iwae) 4 digits")


def test_no_work_begins_before_every_data_set_fits(fails, monkeypatch, prefix, tmp_path):
    monkeypatch.setattr(evaluate, "_replications", lambda *_: pytest.fail("has begun"))
    np.savez(tmp_path / "other.npz", np.random.default_rng(0).integers(0, 2, size=(30, 9)))
    other = tmp_path / "other.npz"
    fails(r"other.npz: images have shape \(\d+, 9\), the model expects", "-d", f"digits,{other}")
    fails("--dataset has digits twice", "-d", "digits,digits")
    fails("--per-image is of one data set: give one", "-d", f"digits,{other}", "--per-image", "x")
    fails("--images 301: digits has only 300", "-d", f"digits,{other}", "--images", "301")
    assert not list(prefix.parent.glob("*.evaluation*"))


# Annealing

OPTIONS = {
    "num_temps": ("--ais-temps", 5),
    "schedule": ("--ais-schedule", "geometric"),
    "sigma": ("--ais-sigma", 1.5),
    "num_steps": ("--ais-steps", 3),
    "step_size": ("--ais-stepsize", 0.2),
}


@pytest.mark.parametrize("option", OPTIONS)
def test_annealing_is_as_asked_for(run, prefix, option):
    _, report = run("-E", "ais", "-s", "4", *map(str, sum(OPTIONS.values(), ())), "--ais-prior")
    settings = {name: value for name, (_, value) in OPTIONS.items()}
    model, x = jvi.load(prefix), digits()
    expected = jvi.iwae(ais.ais(model, x, 4, prior=True, **settings).log_w).mean()
    assert report["rows"][0]["mean"] == pytest.approx(expected, abs=1e-5)
    del settings[option]
    settings |= {"num_temps": 6} if option == "num_temps" else {}
    other = jvi.iwae(ais.ais(model, x, 4, prior=True, **settings).log_w).mean()
    assert abs(other - expected) > 1e-4  # the option matters


def test_both_starts_in_one_run(run, prefix):
    """Two rows with numbers of their own, their difference, and lines in the original's form."""
    options = ("--ais-temps", "5", "--ais-stepsize", "0.2", "-s", "8,16")
    out, report = run("-E", "iwae,ais", "--ais-start", "both", *options)
    *rows, kl = report["rows"]
    names = [(row["estimate"], row["num_samples"]) for row in rows]
    pairs = list(itertools.product(["iwae", "ais", "ais-prior"], [8, 16]))
    assert names == [*pairs, ("ais - ais-prior", 16)]
    model, x = jvi.load(prefix), digits()
    for row, prior in ((rows[3], False), (rows[5], True)):
        log_w = ais.ais(model, x, 16, 5, step_size=0.2, prior=prior).log_w
        assert row["mean"] == pytest.approx(iwae_by_hand(log_w).mean(), abs=1e-5)
    assert rows[6]["mean"] == pytest.approx(rows[3]["mean"] - rows[5]["mean"])
    assert kl["log_likelihood"] == max(rows[3], rows[5], key=lambda row: row["mean"])["estimate"]
    lines = [RESULT.fullmatch(line).groups() for line in out.splitlines()[-6:]]
    assert [(name, int(count)) for *_, name, count in lines] == pairs
    disagree = abs(rows[6]["mean"]) > rows[6]["half_width"]
    assert ("they disagree" in out) == disagree == any("disagree" in n for n in report["notes"])
    assert ("they agree" in out) == (not disagree)
    assert "\nais-prior: " in out and report["arguments"]["--ais-start"] == "both"


def test_one_start_is_named_by_what_it_is(run):
    options = ("-E", "ais", "-s", "4", "--ais-temps", "3", "--ais-stepsize", "0.2", "--bdmc")
    found = []
    for i, start in enumerate((["--ais-prior"], ["--ais-start", "prior"], ["--ais-start", "q"])):
        _, report = run(*options, *start, name=f"m.evaluation{f'-{i + 1}' if i else ''}")
        found.append([(row["estimate"], row["mean"]) for row in report["rows"]])
    assert found[0] == found[1]
    names = ["bdmc-lower", "bdmc-upper", "bdmc-gap"]
    assert [name for name, _ in found[2]] == ["ais", KL, *names]
    prior = [name.replace("bdmc", "bdmc-prior") for name in names]
    assert [name for name, _ in found[0]] == ["ais-prior", KL, *prior]
    assert all(abs(a - b) > 1e-4 for (_, a), (_, b) in zip(found[0], found[2], strict=True))


def test_both_starts_are_bracketed(run):
    options = ("--ais-temps", "3", "--ais-stepsize", "0.2", "-s", "4", "--ais-start", "both")
    _, report = run("--bdmc", *options)
    names = [row["estimate"] for row in report["rows"] if row["data"] == "simulated"]
    ends = [f"{name}-{end}" for name in ("bdmc", "bdmc-prior") for end in ("lower", "upper", "gap")]
    assert names == ends


def test_log_p_is_of_the_same_estimate_in_every_replication(run):
    options = ("--ais-temps", "1", "--ais-chains", "2", "-r", "8", "--ais-start", "both")
    _, report = run("-E", "ais", "-s", "8", *options)
    rows = {row["estimate"]: row for row in report["rows"]}
    _, vae = run("-E", "vae", "-s", "8", "-r", "8", name="m.evaluation-2")
    against = rows[rows[KL]["log_likelihood"]]["means"]
    expected = np.subtract(vae["rows"][0]["means"], against)
    np.testing.assert_allclose(rows[KL]["means"], expected, atol=1e-5)


def test_annealing_meets_importance_sampling(run):
    """Both estimate log p(x) of the same images; their Monte-Carlo errors are independent."""
    options = ("--ais-temps", "150", "--ais-steps", "4")
    _, report = run("-E", "iwae,ais,vae", "-s", "64", *options, images=8)
    annealed = report["rows"][1]
    _, reference = run("-E", "iwae", "-s", "20000", images=8, name="m.evaluation-2")
    exact = reference["rows"][0]
    error = math.hypot(annealed["sampling_error"], exact["sampling_error"])
    assert abs(annealed["mean"] - exact["mean"]) < 3 * error < 0.2
    assert annealed["ess"] > report["rows"][0]["ess"]
    assert annealed["mean"] > report["rows"][0]["mean"]  # the better bound on log p(x)


def test_annealing_has_the_seed_and_the_replication(run, prefix):
    options = ("--ais-temps", "3", "--ais-stepsize", "0.2", "--ais-steps", "2")
    _, report = run("-E", "ais", "-s", "4", "-r", "2", "--seed", "7", *options)
    model, x = jvi.load(prefix), digits(seed=7)
    settings = {"num_temps": 3, "step_size": 0.2, "num_steps": 2}
    means = {
        (seed, r): iwae_by_hand(ais.ais(model, x, 4, seed=seed, replication=r, **settings).log_w)
        for seed in (0, 7)
        for r in (0, 1)
    }
    means = {key: values.mean() for key, values in means.items()}
    np.testing.assert_allclose(report["rows"][0]["means"], [means[7, 0], means[7, 1]], atol=1e-4)
    values = sorted(means.values())
    assert min(np.diff(values)) > 1e-3


def test_annealing_has_chains_of_its_own(run, prefix):
    """And log p(x) of -KL is theirs, in each replication, even if it is the lower one."""
    options = ("--ais-temps", "1", "--ais-chains", "3,2", "-r", "2")
    _, report = run("-E", "iwae,ais", "-s", "5,64", *options)
    *rows, kl = report["rows"]
    found = [(row["estimate"], row["num_samples"]) for row in rows]
    assert found == [("iwae", 5), ("iwae", 64), ("ais", 3), ("ais", 2)]
    _, vae = run("-E", "vae", "-s", "64", "-r", "2", name="m.evaluation-2")
    assert rows[1]["mean"] > rows[2]["mean"]
    assert kl["log_likelihood"] == "ais" and kl["num_samples"] == 64
    expected = np.subtract(vae["rows"][0]["means"], rows[2]["means"])
    np.testing.assert_allclose(kl["means"], expected, atol=1e-5)


@pytest.mark.parametrize(
    ("step", "note"),
    [
        ("3", "nearly all moves are rejected: give a smaller --ais-stepsize, or none to"),
        ("0.2", None),
        ("0.001", "the steps are so short that chains stay: give a larger --ais-stepsize, or none"),
    ],
)
def test_acceptance_is_told(run, prefix, step, note):
    options = ["--ais-temps", "5", "--ais-steps", "3", "--ais-stepsize", step, "--bdmc"]
    out, report = run("-E", "ais", "-s", "4", *options)
    settings = {"num_temps": 5, "num_steps": 3, "step_size": float(step)}
    model, x = jvi.load(prefix), digits()
    ends = ais.bdmc(model, FEW, 4, **settings)
    shares = {"ais": ais.ais(model, x, 4, **settings).acceptance.mean(), "bdmc": ends.acceptance}
    for row, name in zip((report["rows"][0], report["rows"][-1]), shares, strict=True):
        assert row["acceptance"] == pytest.approx(shares[name], abs=0.02)
        assert row["step_size"] == pytest.approx(float(step))
        share = f"{100 * row['acceptance']:.1f}%"
        line = f"\n{name}: {share} of the moves accepted, mean step size {float(step):.3g}\n"
        assert line in out
        said = f"{name}: {note}" in out and any(note in said for said in report["notes"])
        assert said if note else "note: " not in out and report["notes"] == []


def test_adapted_steps_are_not_called_short(run, monkeypatch):
    def samples(model, x, *_, **__):
        return ais.AnnealedSamples(np.zeros((4, len(x))), *np.full((2, len(x)), rate))

    monkeypatch.setattr("jvi.assessment.annealing.ais", samples)
    rate = 0.99
    out, _ = run("-E", "ais", "-s", "4")
    assert "note: " not in out
    rate = 0.1
    out, _ = run("-E", "ais", "-s", "4", name="m.evaluation-2")
    assert "note: ais: nearly all moves are rejected: give a smaller --ais-stepsize\n" in out


def test_bdmc_has_the_seed_and_a_number_of_images(run, prefix):
    options = ("--ais-temps", "3", "--ais-stepsize", "0.2", "--ais-steps", "2")
    chains = ("-s", "4", "--ais-chains", "3,2")
    _, report = run("--bdmc", "--seed", "3", *chains, *options, images=None)
    settings = {"num_temps": 3, "step_size": 0.2, "num_steps": 2}
    ends, others = (ais.bdmc(jvi.load(prefix), 100, 2, seed=s, **settings) for s in (3, 0))
    rows = report["rows"][-3:]
    assert [(row["num_images"], row["num_samples"]) for row in rows] == 3 * [(100, 2)]
    assert rows[0]["mean"] == pytest.approx(ends.mean_lower, abs=1e-4)
    assert abs(others.mean_lower - ends.mean_lower) > 1e-2


def test_bdmc_brackets_data_of_the_model(run, prefix):
    options = ("--ais-temps", "6", "--ais-stepsize", "0.2", "--ais-steps", "2")
    out, report = run("--bdmc", "-s", "4,8", *options, images=20)
    ends = ais.bdmc(
        jvi.load(prefix), 20, 4, 6, step_size=0.2, num_steps=2, schedule="sigmoid", sigma=1.0
    )
    rows = {row["estimate"]: row for row in report["rows"] if row["data"] == "simulated"}
    expected = {
        "bdmc-lower": (ends.mean_lower, ends.lower_error),
        "bdmc-upper": (ends.mean_upper, ends.upper_error),
        "bdmc-gap": (ends.gap, ends.gap_error),
    }
    assert list(rows) == list(expected)
    for name, (mean, error) in expected.items():
        assert rows[name]["mean"] == pytest.approx(mean, abs=1e-4)
        assert rows[name]["standard_error"] == pytest.approx(error, abs=1e-4)
        assert re.search(rf"^{name} +4 +{mean:.3f}", out, re.MULTILINE)
    assert "20 images simulated from the model" in out
    assert out.splitlines()[-1].endswith("# logp(iwae) 8")


# Bad input


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-E", "iwae,ivae"], "unknown evaluation 'ivae': choose from vae, .*, ais"),
        (["-E", "iwae,,vae"], "unknown evaluation '': choose from"),
        (["-E", ""], "--eval is empty: give it a value"),
        (["-E", "iwae,vae,iwae"], "--eval has iwae twice"),
        (["-E", "jvi,jvi-1", "--jvi-order", "1,2"], "--eval has jvi-1 twice"),
        (["--jvi-order", "2,2"], "--jvi-order has 2 twice"),
        (["-s", "64,0"], "--samples must be at least 1, not 0"),
        (["-s", "64,"], "--samples must be a whole number, not ''"),
        (["-s", "64,64"], "--samples has 64 twice"),
        (["-E", "jvi", "-s", "1,2", "--jvi-order", "1,2"], "order 2 needs more than 2 samples"),
        (["--images", "0"], "--images must be at least 1"),
        (["--images", "301"], "--images 301: digits has only 300 test images"),
        (["--ais-chains", "4,0"], "--ais-chains must be at least 1, not 0"),
        (["--ais-temps", "0"], "--ais-temps must be at least 1"),
        (["--ais-steps", "x"], "--ais-steps must be a whole number"),
        (["--ais-sigma", "0"], "sigma must be positive"),
        (["--ais-stepsize", "-1"], "step size must be positive"),
        (["--ais-schedule", "cosine"], "unknown schedule 'cosine': choose from sigmoid"),
        (["--ais-start", "p"], "unknown --ais-start 'p': choose from q, prior, both"),
        (["--ais-start", "both", "--ais-prior"], "--ais-prior is --ais-start prior, not both"),
        (["-E", "ais-prior"], "unknown evaluation 'ais-prior': choose from"),
        (["-E", "ais,ais", "--ais-start", "both"], "--eval has ais twice"),
    ],
)
def test_impossible_requests_end_in_one_line(fails, prefix, options, message):
    fails(message, *options)
    assert not list(prefix.parent.glob("*.evaluation*"))


@pytest.fixture
def with_images(monkeypatch):
    """Change the test images of the data set."""
    original = datasets.load

    def change(function):
        def load(name, data_dir=None):
            data = original(name, data_dir)
            test = data.test.copy()
            function(test)
            return data._replace(test=test)

        monkeypatch.setattr(datasets, "load", load)

    return change


@pytest.mark.parametrize("value", [math.nan, 1.5, -0.1])
def test_an_image_that_is_damaged_is_named(with_images, fails, value):
    def damage(images):
        images[[5, 9], 3] = value

    with_images(damage)
    fails(r"image 5 has values outside \[0, 1\] or that are not numbers")


def test_images_that_are_all_zero_are_counted(with_images, run):
    def clear(images):
        images[[4, 6]] = 0.0

    with_images(clear)
    out, report = run("-s", "4")
    note = "2 of the test images are all zero, the first is number 4"
    assert f"note: {note}\n" in out and note in report["notes"]


def test_data_that_are_no_images_are_observed_as_they_are(monkeypatch, run, prefix):
    data = datasets.load("digits")
    data = data._replace(image_shape=None, observe=datasets.as_it_is, test=data.test.copy())
    data.test[[4, 6]] = 0.0
    monkeypatch.setattr(datasets, "load", lambda *_: data)
    out, report = run("-s", "4")
    mean = jvi.evaluate(jvi.load(prefix), data.test[:FEW], 4, ("iwae",)).mean["iwae"]
    assert report["rows"][0]["mean"] == pytest.approx(mean, abs=1e-6)
    assert "all zero" not in out and report["notes"] == []


def test_another_data_set_than_the_models_is_noted(run, prefix):
    meta = prefix.parent / "m.meta.yaml"
    meta.write_text(meta.read_text().replace("digits", "omniglot"))
    out, report = run("-s", "4", "-d", "digits")
    assert f"note: {prefix} was trained on omniglot, not on digits\n" in out
    assert any("omniglot" in note for note in report["notes"])


def test_a_model_whose_weights_are_not_finite_is_refused(run, fails, prefix):
    path = prefix / "snapshot_bestvalobj"
    arrays = dict(np.load(path))
    arrays["updater/model:main/decode/plin2/b"][:] = 3e38
    with open(path, "wb") as file:
        np.savez(file, **arrays)
    fails("image 0 has log-weights that are not finite", "-s", "4")


@pytest.mark.slow
def test_an_original_model_by_annealing_and_by_importance_sampling(legacy, shared, tmp_path):
    """100,000 samples, where these are enough: Pareto k below 0.7. All are in test_ais.py."""
    name = "tiny_jvielbo"
    for path in legacy(name).parent.glob(f"{name}*"):
        (shutil.copytree if path.is_dir() else shutil.copy)(path, tmp_path / path.name)
    options = ["-d", "mnist", "--data-dir", str(shared / "data"), "--images", "20", "--quiet"]
    arrays = []
    for evaluation in (["-E", "iwae", "-s", "100000"], ["-E", "ais", "--ais-temps", "300"]):
        path = tmp_path / f"{evaluation[1]}.npz"
        per_image = ["--per-image", str(path)]
        evaluate.main([*evaluation, *options, *per_image, str(tmp_path / name)])
        arrays.append(np.load(path))
    sampled, annealed = arrays
    enough = sampled["pareto_k"] < 0.7
    assert enough.sum() >= 5
    errors = np.concatenate([sampled["iwae_error"][enough], annealed["ais_error"][enough]])
    difference = (annealed["ais"] - sampled["iwae"])[enough].mean()
    assert abs(difference) < 3 * np.linalg.norm(errors) / enough.sum() < 0.2
