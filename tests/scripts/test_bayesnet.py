"""bayesnet.py: train, predict and evaluate in the data's own units, against NumPy by hand."""

import csv
import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import multivariate_normal, norm

from jvi.scripts import bayesnet

SMALL = "--hidden 3 -e 2 -b 20 --quiet"
ROWS = 60


def table(names, columns):
    lines = zip(*columns, strict=True)
    return "\n".join([",".join(names), *(",".join(map(str, line)) for line in lines)]) + "\n"


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Tables and, of each kind of target, a network."""
    folder = tmp_path_factory.mktemp("bayesnet")
    rng = np.random.default_rng(0)
    a, b = 5 + 2 * rng.normal(size=ROWS), rng.normal(size=ROWS) / 100
    y = 100 + 10 * a + 2000 * b + 5 * rng.normal(size=ROWS)
    kind = np.where(a + rng.normal(size=ROWS) > 5, "big, red", "small")
    write = {
        "numbers.csv": table(["a", "b", "y"], [a, b, y]),
        "swapped.csv": table(["b", "a"], [b[:4], a[:4]]),
        "kinds.csv": table(["kind", "a", "b"], [[f'"{k}"' for k in kind], a, b]),
        "codes.csv": table(["a", "b", "code"], [a, b, np.arange(ROWS) % 3]),
        "hole.csv": "a,b,y\n1,2,3\n4,,6\n",
        "word.csv": "a,b\n1,2\n3,many\n",
        "short.csv": "a,y\n1,2\n",
        "long.csv": "a,b,c,y\n1,2,3,4\n",
        "constant.csv": "a,y\n" + "1,2\n1,3\n" * 5,
        "one.csv": "a,y\n" + "".join(f"{n},red\n" for n in range(9)),
    }
    for name, text in write.items():
        (folder / name).write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run("train -d numbers.csv -o linear --hidden none --lr 0.05 -e 20 -b 20 --quiet")
        run(f"train -d kinds.csv --target kind -o kinds {SMALL}")
        run(f"train -d codes.csv --task classification -o codes {SMALL}")
    return folder


@pytest.fixture
def inside(home, monkeypatch):
    monkeypatch.chdir(home)
    monkeypatch.delenv("JVI_DATA", raising=False)
    return home


def run(line):
    bayesnet.main(shlex.split(line))


def read(path):
    with open(path, newline="") as file:
        lines = list(csv.DictReader(file))
    return {name: [line[name] for line in lines] for name in lines[0]}


def floats(path, name):
    return np.array([float(each) for each in read(path)[name]])


def results(prefix):
    rows = json.loads(Path(f"{prefix}.json").read_text())["rows"]
    return {(row["part"], row["measure"], row["at"]): row for row in rows}


def tree(folder):
    return {str(p): p.is_file() and p.read_bytes() for p in Path(folder).rglob("*")}


def test_predictions_of_a_linear_network_are_its_gaussian_ones(inside, tmp_path):
    """y = (w·x + b) s + m with w ~ q is Gaussian, whatever the units and the columns' order."""
    draws = 4000
    run(f"predict linear swapped.csv -s {draws} --level 0.8 --output {tmp_path}/p.csv --quiet")
    scales = json.loads(Path("linear/table.json").read_text())
    assert scales["features"] == ["a", "b"] and scales["target"] == "y"
    raw = np.column_stack([floats("swapped.csv", name) for name in scales["features"]])
    x = (raw - scales["mean"]) / scales["scale"]
    x, unit = np.column_stack([x, np.ones(4)]), scales["target_scale"]
    with np.load("linear/snapshot_bestvalobj") as arrays:
        mu, rho, ln_sigma = (arrays[f"updater/model:main/{n}"] for n in ("mu", "rho", "ln_sigma"))
    mean, weights = x @ mu, np.sqrt(x**2 @ np.logaddexp(0, rho.astype(float)) ** 2)
    noise = np.exp(float(ln_sigma[0]))
    std = np.hypot(weights, noise)
    found = {name: floats(tmp_path / "p.csv", name) for name in read(tmp_path / "p.csv")}
    error = unit * weights / draws**0.5
    assert np.all(np.abs(found["mean"] - mean * unit - scales["target_mean"]) < 4 * error)
    np.testing.assert_allclose(found["weight_std"], unit * weights, rtol=4 / (2 * draws) ** 0.5)
    np.testing.assert_allclose(found["data_std"], unit * noise, rtol=1e-6)
    for side, name in ((0.1, "lower"), (0.9, "upper")):
        end = unit * (mean + std * norm.ppf(side)) + scales["target_mean"]
        assert np.all(np.abs(found[name] - end) < 6 * error)


def test_scales_are_those_of_the_training_rows(inside):
    from jvi.datasets.csv_table import read_csv
    from jvi.datasets.dataset import shuffled

    found = read_csv("numbers.csv")
    train = shuffled(np.column_stack([found.features, found.target]))[:48]
    scales = json.loads(Path("linear/table.json").read_text())
    np.testing.assert_allclose(scales["mean"], train[:, :2].mean(axis=0))
    np.testing.assert_allclose(scales["scale"], train[:, :2].std(axis=0))
    np.testing.assert_allclose(scales["target_scale"], train[:, 2].std())


def test_an_evaluation_is_of_the_predictions_of_test_rows(inside, tmp_path):
    run(f"predict linear --output {tmp_path}/p.csv --quiet")
    run(f"evaluate linear --prune --table {tmp_path}/e --quiet")
    target, mean, log_density, lower, upper = (
        floats(tmp_path / "p.csv", name) for name in ("y", "mean", "log_density", "lower", "upper")
    )
    assert set(np.round(target, 4)) < set(np.round(floats("numbers.csv", "y"), 4))
    by_hand = {
        "rmse": ((target - mean) ** 2).mean() ** 0.5,
        "log_density": log_density.mean(),
        "coverage": ((lower < target) & (target < upper)).mean(),
    }
    rows = results(tmp_path / "e")
    for name, value in by_hand.items():
        np.testing.assert_allclose(rows["test", name, 100]["value"], value, rtol=1e-4)
    error = log_density.std(ddof=1) / len(target) ** 0.5
    np.testing.assert_allclose(rows["test", "log_density", 100]["error"], error, rtol=1e-3)
    assert rows["test", "pruned rmse", 0.0]["value"] == rows["test", "rmse", 100]["value"]
    assert len(read(tmp_path / "e.csv")["measure"]) == len(rows)
    for name in ("calibration", "weights", "pruning"):
        assert (tmp_path / f"e.{name}.png").read_bytes().startswith(b"\x89PNG")


def test_a_file_of_other_rows_is_tested_whole(inside, tmp_path, capsys):
    text = Path("numbers.csv").read_text().splitlines()
    (tmp_path / "new.csv").write_text("\n".join(text[:4]))
    run(f"evaluate linear -d {tmp_path}/new.csv --table {tmp_path}/e")
    assert "3 test rows" in capsys.readouterr().out
    (tmp_path / "moved.csv").write_text("\n".join(text))
    run(f"evaluate linear -d {tmp_path}/moved.csv --table {tmp_path}/e --overwrite")
    assert "6 test rows" in capsys.readouterr().out  # of the file that it was trained on


@pytest.mark.parametrize("name", ["kinds", "codes"])
def test_probabilities_and_entropies_of_classes(inside, tmp_path, name):
    run(f"predict {name} --output {tmp_path}/p.csv --quiet")
    run(f"evaluate {name} --table {tmp_path}/e --quiet")
    found = read(tmp_path / "p.csv")
    classes = [key[2:-1] for key in found if key.startswith("p(")]
    assert classes == {"kinds": ["big, red", "small"], "codes": ["0", "1", "2"]}[name]
    p = np.array([[float(each) for each in found[f"p({c})"]] for c in classes])
    np.testing.assert_allclose(p.sum(axis=0), 1, rtol=1e-6)
    assert found["class"] == [classes[number] for number in p.argmax(axis=0)]
    entropy, data, weights = (
        floats(tmp_path / "p.csv", key) for key in ("entropy", "data_entropy", "weight_entropy")
    )
    np.testing.assert_allclose(entropy, -(p * np.log(p)).sum(axis=0), rtol=1e-5)
    np.testing.assert_allclose(data + weights, entropy, rtol=1e-5)
    known = found["kind" if name == "kinds" else "code"]
    right = np.mean([one == other for one, other in zip(known, found["class"], strict=True)])
    assert results(tmp_path / "e")["test", "accuracy", 100]["value"] == pytest.approx(right)
    chosen = [p[classes.index(each), row] for row, each in enumerate(known)]
    np.testing.assert_allclose(floats(tmp_path / "p.csv", "log_density"), np.log(chosen), rtol=1e-4)


def test_the_evidence_of_a_linear_network_in_the_targets_unit(inside, tmp_path):
    """Targets are N(m, s² (X Xᵀ + noise² I)) once the weights are integrated out."""
    train = f"train -d numbers.csv -o {tmp_path}/m --hidden none --noise 0.4 -b 48 -e 150 --lr 0.05"
    run(f"{train} -s 2 --perturbation local --quiet")
    some = "-s 2000 --ais-temps 40 --ais-chains 8"
    run(f"evaluate {tmp_path}/m/snapshot_latest --evidence iwae,jvi,jvi-2,ais {some} --quiet")
    from jvi.assessment.trained_network import load_network, own_table

    network = load_network(tmp_path / "m")
    rows, unit = own_table(network, None).data.train, network.columns.scaling.target_scale
    x = np.column_stack([rows[:, :2], np.ones(len(rows))])
    covariance = x @ x.T + 0.16 * np.eye(len(rows))
    exact = multivariate_normal(np.zeros(len(rows)), covariance).logpdf(rows[:, 2])
    exact -= len(rows) * np.log(unit)
    found = results(tmp_path / "m.evaluation")
    for name in ("iwae", "jvi-1", "jvi-2", "ais-prior"):
        row = next(row for key, row in found.items() if key[:2] == ("train", f"evidence {name}"))
        assert abs(row["value"] - exact) < 4 * row["error"], name
        assert row["error"] < 0.1 or name == "ais-prior"
    assert found["train", "effective sample size", 2000]["value"] > 200


def test_evidence_that_is_not_to_be_believed_is_called_so(inside, tmp_path, capsys):
    run(f"train -d numbers.csv -o {tmp_path}/m --hidden 30 -e 1 --quiet")
    run(f"evaluate {tmp_path}/m --evidence iwae -s 50")
    assert "note: Pareto k is" in capsys.readouterr().out


def test_training_goes_on_as_if_it_had_not_stopped(inside, tmp_path):
    run(f"train -d numbers.csv -o {tmp_path}/whole {SMALL} -s 2 --lr 1e-2".replace("e 2", "e 4"))
    run(f"train -d numbers.csv -o {tmp_path}/part {SMALL} -s 2 --lr 1e-2")
    run(f"train --resume {tmp_path}/part -e 4 --quiet")
    files = [tmp_path / name / "snapshot_latest" for name in ("whole", "part")]
    one, other = (dict(np.load(file).items()) for file in files)
    assert one.keys() == other.keys()
    for name in one:
        if "updater" in name:
            np.testing.assert_array_equal(one[name], other[name], name)
    tables = [(tmp_path / name / "table.json").read_text() for name in ("whole", "part")]
    assert tables[0] == tables[1]


def test_every_way_to_train(inside, tmp_path, capsys):
    for number, line in enumerate(
        (
            "--estimator iwae -s 3",
            "--estimator jvi:order=1 -s 3 -b 1000",
            "--estimator dreg -s 2 --kl-weighting blundell",
            "--hidden 3 --prior mixture:pi=0.3,sigma2=0.1 --perturbation flipout",
            "--prior normal:scale=0.5 --perturbation local --activation tanh --hidden 3x2",
        )
    ):
        run(f"train -d numbers.csv -o {tmp_path}/{number} -e 2 {line}")
        said = capsys.readouterr().out
        assert ("of minibatches is not" in said) == ("iwae" in line or "dreg" in line)
        assert re.search(r"test +-\d.*\nstandard deviation of the noise: \d", said)


def test_the_curve_of_one_feature_is_drawn(inside, tmp_path):
    run(f"train -d blundell-curve -o {tmp_path}/m {SMALL} -b 400".replace("-b 20", ""))
    run(f"evaluate {tmp_path}/m --quiet")
    assert (tmp_path / "m.evaluation.curve.png").stat().st_size > 5000


REFUSED = [
    ("train -d hole.csv", 1, r"hole.csv: row 2 \(line 3\) has no value in column 'b'"),
    ("train -d word.csv", 1, "word.csv: has 2 rows, at least 5 are needed"),
    ("train -d constant.csv", 1, "column 'a' has one value only"),
    ("train -d one.csv", 1, "has one class only, red"),
    ("train -d kinds.csv --target kind --task regression", 1, "'kind' has .* which is no number"),
    ("train -d kinds.csv", 1, "'kind', which is no number"),
    ("train -d numbers.csv --target z", 1, "has no column 'z': it has 'a', 'b', 'y'"),
    ("train -d nowhere.csv", 1, "nowhere.csv: no such file"),
    ("train -d housing", 1, "unknown data set 'housing': choose one of blundell-curve, diabetes"),
    ("train -d diabetes --target age", 1, "diabetes has its target"),
    ("train -d numbers.csv -o linear", 1, "exists: choose another -o"),
    ("train -d numbers.csv -o numbers.csv", 1, "numbers.csv"),
    ("train --hidden 5x", 2, "bayes-mlp:hidden must be as 50"),
    ("train --prior cauchy", 2, "--prior: unknown prior 'cauchy': choose from normal, mixture"),
    ("train --prior mixture:pi=2", 2, "pi must be between 0 and 1"),
    ("train --noise 0", 2, "noise must be from"),
    ("train --noise loud", 2, "--noise must be a number"),
    ("train -d kinds.csv --target kind --noise 1", 2, "--noise has no effect here: it is for reg"),
    ("train --perturbation local --prior mixture", 2, "choose flipout"),
    ("train --perturbation local --estimator iwae", 2, "are for elbo, not iwae"),
    ("train --estimator nonsense", 2, "unknown estimator .nonsense.: choose from elbo"),
    ("train --estimator jvi", 2, "order|samples"),
    ("train --kl-weighting none", 2, "unknown weighting 'none'"),
    ("train --kl-weighting blundell -d blundell-curve -b 1 -e 1 --target x", 1, "has its target"),
    ("train --lr 0", 2, "--lr must be at least"),
    ("train -s 0", 2, "--samples must be at least 1"),
    ("train -g 0", 1, "GPU 0 cannot be used"),
    ("train --prune", 2, "--prune has no effect here: it is for evaluate"),
    ("train --resume nowhere", 1, "nowhere"),
    ("train --resume linear --lr 1", 2, "--lr has no effect here"),
    ("train --resume linear -d codes.csv", 1, "codes.csv"),
    ("predict linear --lr 1", 2, "--lr has no effect here: it is for train"),
    ("predict nowhere", 1, "nowhere: no model there"),
    ("predict linear hole.csv", 1, "row 2 .* has no value in column 'b'"),
    ("predict linear word.csv", 1, "word.csv: row 2 has 'many' in column 'b', which is no number"),
    ("predict linear short.csv", 1, "short.csv: has no column 'b'"),
    ("predict linear long.csv", 1, "has a column 'c' that the network was not trained on"),
    ("predict linear swapped.csv -d diabetes", 2, "give <file> or -d, not both"),
    ("predict linear -d diabetes", 1, "diabetes is not what linear was trained on"),
    ("predict linear --level 1", 2, "--level must be at most"),
    ("predict linear swapped.csv --output swapped.csv --overwrite", 2, "is a file of the data"),
    ("predict linear swapped.csv --output linear/log --overwrite", 2, "is a file of the model"),
    ("predict linear swapped.csv --output hole.csv", 1, "hole.csv exists: name another file"),
    ("evaluate linear --evidence nonsense", 2, "unknown estimate 'nonsense': choose from elbo"),
    ("evaluate linear --evidence jvi-99", 2, "jvi-M must be from jvi-1 to jvi-16"),
    ("evaluate linear --evidence jvi-5 -s 5", 2, "jackknife order 5 needs more than 5 draws"),
    ("evaluate linear --evidence iwae,iwae", 2, "--evidence has iwae twice"),
    ("evaluate linear --ais-temps 5", 2, "--ais-temps has no effect here"),
    ("evaluate linear --table linear/table", 2, "linear/table.json is a file of the model"),
    ("evaluate linear -d short.csv", 1, "short.csv: has no column 'b'"),
    ("evaluate linear --evidence iwae -d long.csv", 1, "has a column 'c'"),
    ("evaluate kinds -d numbers.csv", 1, "numbers.csv: has no column 'kind'|has a column 'y'"),
]


@pytest.mark.parametrize(("line", "status", "words"), REFUSED, ids=[each[0] for each in REFUSED])
def test_a_mistake_is_one_sentence_and_changes_nothing(inside, capsys, line, status, words):
    before = tree(inside)
    with pytest.raises(SystemExit) as stop:
        run(line)
    said = str(stop.value)
    assert re.search(words, said), said
    assert said.startswith("error: ") and "\n" not in said
    assert (stop.value.code if isinstance(stop.value.code, int) else 1) == status, said
    assert tree(inside) == before
