"""The command lines as their users type them."""

import json
import re
import subprocess
import sys
from math import comb
from pathlib import Path

import numpy as np
import pytest
from docopt import docopt

from jvi.compat.meta import read_meta
from jvi.evidence.diagnostics import pareto_threshold
from jvi.models.files import read_snapshot
from jvi.scripts import convert, demo, evaluate, inspect_model, jvicount, report, train
from jvi.training.checkpoints import files_of

ROOT = Path(__file__).resolve().parents[2]
SMALL = [
    "-e",
    "2",
    "-b",
    "500",
    "--opt",
    "adam",
    "--lr",
    "1e-3",
    "--nhidden",
    "8",
    "--nlatent",
    "2",
]
RESULT = re.compile(r"(-\d+\.\d{8}) \+/- (\d+\.\d{8}) # logp\((.+)\) (\d+)\n$")


def fails(main, argv, capsys, message):
    """`main` ends with exit status 1 and one line on stderr that matches `message`."""
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in argv])
    line = str(stop.value)
    assert line.startswith("error: ") and "\n" not in line
    assert re.search(message, line), line


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    prefix = tmp_path_factory.mktemp("models") / "m"
    train.main(["-o", str(prefix), "--vae-type", "jvi", "--vae-samples", "4", *SMALL])
    return prefix


@pytest.mark.parametrize(("n", "order"), [(16, 2), (5, 0), (1000, 40), (3, 2)])
def test_jvicount_is_exact(capsys, n, order):
    jvicount.main([str(n), str(order)])
    assert int(capsys.readouterr().out) == sum(comb(n, j) for j in range(order + 1))


def test_jvicount_refuses_impossible_orders(capsys):
    fails(jvicount.main, [3, 3], capsys, "order 3 needs more than 3 samples")
    fails(jvicount.main, [0, 0], capsys, "<n> must be at least 1")
    fails(jvicount.main, ["x", 0], capsys, "<n> must be a whole number, not 'x'")


def test_train_prints_a_table_and_says_what_it_trained_on(tmp_path, capsys):
    train.main(["-o", str(tmp_path / "m"), "--vae-type", "jvi", "--vae-samples", "4", *SMALL])
    out = capsys.readouterr().out
    assert "gradient estimator jvi-clip:order=1" in out
    assert re.search(r"best epoch +2 of 2", out)
    meta = read_meta(tmp_path / "m.meta.yaml")
    assert (meta["--vae-samples"], meta["--fancy"], meta["--vis"]) == ("4", False, None)
    assert (meta["--dataset"], meta["--epochs"], meta["--jvi-raw"]) == ("digits", "2", False)
    log = json.loads((tmp_path / "m" / "log").read_text())
    assert log[-1]["estimator"] == "jvi-clip:order=1"


def test_raw_jvi_is_said_in_log_and_meta(tmp_path, capsys):
    options = ["--vae-type", "jvi", "--vae-samples", "4", "--jvi-raw", "--quiet"]
    train.main(["-o", str(tmp_path / "m"), *options, *SMALL])
    assert capsys.readouterr().out == ""
    assert json.loads((tmp_path / "m" / "log").read_text())[0]["estimator"] == "jvi:order=1"
    assert read_meta(tmp_path / "m.meta.yaml")["--jvi-raw"] is True


def test_defaults_are_the_originals():
    arguments = docopt(train.__doc__, [])
    expected = {
        "-o": "output", "--device": "-1", "--epochs": "1000", "--batchsize": "8192",
        "--fancy": False, "--lr": "1.0e-4", "--opt": "smorms3", "--vae-type": "vae",
        "--vae-samples": "1", "--jvi-order": "1", "--nhidden": "128", "--nlatent": "16",
        "--vis": None,
    }  # fmt: skip
    assert expected.items() <= arguments.items()
    arguments = docopt(evaluate.__doc__, ["m"])
    expected = {
        "--device": "-1", "--samples": "64", "--batchsize": "4096", "--reps": "1",
        "--bootstrap": False, "--resultfile": None, "--logw": None, "--eval": "iwae",
        "--jvi-order": "1",
    }  # fmt: skip
    assert expected.items() <= arguments.items()


@pytest.mark.parametrize("bound", ["vae", "iwae", "iwae++", "jvi", "is"])
def test_evaluate_ends_with_the_originals_line(trained, capsys, bound):
    evaluate.main(["-E", bound, "-s", "16", str(trained)])
    out = capsys.readouterr().out
    mean, error, name, samples = RESULT.search(out).groups()
    assert (name, samples) == (bound, "16")
    assert -60 < float(mean) < -20 and 0 < float(error) < 2


def test_evaluate_writes_what_it_is_asked_for(trained, tmp_path, capsys):
    from scipy.io import loadmat

    files = ["--logw", tmp_path / "w.mat", "--per-image", tmp_path / "v.npz"]
    argv = ["-s", "16", "-r", "2", "--resultfile", "+", *files, trained]
    evaluate.main([str(argument) for argument in argv])
    lines = capsys.readouterr().out.splitlines()[-2:]
    means = [float(line.split()[0]) for line in lines]
    rows = np.loadtxt(f"{trained}.test.perf", delimiter=",")
    assert rows.shape == (2, 3) and means[0] != means[1]
    np.testing.assert_allclose(rows[:, 0], means, atol=1e-8)
    assert loadmat(tmp_path / "w.mat")["logw"].shape == (16, 256)
    per_image = np.load(tmp_path / "v.npz")
    assert per_image["iwae"].mean() == pytest.approx(means[1], abs=1e-7)
    assert per_image["ess"].shape == (300,)


def test_evaluate_says_how_far_to_trust_the_jackknife(trained, tmp_path, capsys):
    path = tmp_path / "v.npz"
    evaluate.main(["-E", "jvi", "-s", "64", "--per-image", str(path), str(trained)])
    out = capsys.readouterr().out
    counts = [
        int(n)
        for n in re.search(
            r"(\d+) of (300) values .* (\d+) have P.* (\d+) have an eff.* (\d+) a corr", out
        ).groups()
    ]
    per_image = np.load(path)
    assert counts[2] == (per_image["pareto_k"] > pareto_threshold(64)).sum()
    assert counts[3] == (per_image["ess"] < 2).sum()
    assert counts[0] >= max(counts[2:])


def test_evaluate_with_bootstrap_resamples_the_images(trained, capsys):
    evaluate.main(["-s", "4", "-r", "3", "--bootstrap", "--quiet", str(trained)])
    means = [float(line.split()[0]) for line in capsys.readouterr().out.splitlines()]
    assert len(set(means)) == 3


def test_inspect_of_a_good_model_has_no_doubts(trained, capsys):
    inspect_model.main([str(trained)])
    assert capsys.readouterr().out.rstrip().endswith("no doubts")


OTHERS = {
    "burda": ["--model", "burda:layers=2", "--estimator", "iwae"],
    "sbn": ["--model", "sbn:layers=1,units=20", "--estimator", "reinforce"],
}
UNITS = {"burda": r"\d+ of 100 \+ \d+ of 50", "sbn": r"\d+ of 20"}
SPECS = {"burda": "burda:pixels=64,layers=2", "sbn": "sbn:pixels=64,layers=1,units=20"}


@pytest.fixture(scope="module", params=OTHERS)
def other(request, tmp_path_factory):
    """(name, prefix) of a model that is not the original's."""
    prefix = tmp_path_factory.mktemp("models") / "m"
    options = ["--vae-samples", "4", "--opt", "adam", "--lr", "1e-3", "-b", "200", "-e", "2"]
    train.main(["-o", str(prefix), *OTHERS[request.param], *options, "--quiet"])
    return request.param, prefix


def test_other_models_are_evaluated(other, tmp_path, capsys):
    name, prefix = other
    argv = ["-E", "elbo,iwae,jvi", "-s", "16,64", "--table", tmp_path / "t", prefix]
    evaluate.main([str(argument) for argument in argv])
    out = capsys.readouterr().out
    of = r"-KL\(q\|\|p\) is elbo - iwae, both 64 samples"
    assert re.search(rf"{of}; {UNITS[name]} latent units are active\n", out)
    rows = json.loads((tmp_path / "t.json").read_text())["rows"]
    values = {(row["estimate"], row["num_samples"]): row["mean"] for row in rows}
    assert -100 < values["elbo", 64] < values["iwae", 16] < values["iwae", 64] < -20
    gap = values["elbo", 64] - values["iwae", 64]
    assert values["-KL(q||p)", 64] == pytest.approx(gap, abs=1e-9)
    assert RESULT.search(out).group(3, 4) == ("jvi", "64")


def test_what_other_models_cannot_be_asked_for_is_refused_before_the_work(
    other, monkeypatch, capsys
):
    name, prefix = other
    monkeypatch.setattr("jvi.datasets.load", lambda *_: pytest.fail("has begun"))
    message = f"vae needs the KL divergence .* which {name} does not have: ask for elbo"
    fails(evaluate.main, ["-E", "iwae,vae", prefix], capsys, message)
    if name == "sbn":
        message = "annealing needs continuous latents, which sbn does not have"
        fails(evaluate.main, ["-E", "ais", prefix], capsys, message)
        fails(evaluate.main, ["--bdmc", prefix], capsys, message)


def test_other_models_have_a_page(other, tmp_path):
    name, prefix = other
    path = tmp_path / "r.html"
    report.main(["-o", str(path), "--images", "40", "-s", "32", "--quiet", str(prefix)])
    page = path.read_text()
    assert f"<td>{SPECS[name]}</td>" in page
    estimator = OTHERS[name][-1]
    assert f'<th scope="row">trained as</th><td>{estimator}</td>' in page
    assert re.search(rf"active latent units</th><td>{UNITS[name]}</td>", page)
    titles = re.findall("<h2>(.*?)</h2>", page)
    assert "Pictures" in titles and "Latent space" not in titles  # without prior_quantile
    assert "Test images, each above" in page and "Samples from the prior" in page
    assert "Reasons for doubt" not in page


def test_other_models_are_inspected(other, capsys):
    name, prefix = other
    inspect_model.main([str(prefix)])
    out = capsys.readouterr().out
    assert out.rstrip().endswith("no doubts")
    assert re.search(rf"^model +{SPECS[name]}$", out, re.MULTILINE)
    assert re.search(rf"^trained as +{OTHERS[name][-1]}$", out, re.MULTILINE)
    assert re.search(r"^epochs +2 of 2, snapshot taken at iteration \d+$", out, re.MULTILINE)


def test_resume_continues_to_more_epochs(trained, tmp_path, capsys):
    train.main(["--resume", str(trained), "-e", "4", "-o", str(tmp_path / "m")])
    log = json.loads((tmp_path / "m" / "log").read_text())
    assert [entry["epoch"] for entry in log] == [1, 2, 3, 4]
    assert read_meta(tmp_path / "m.meta.yaml")["--nlatent"] == "2"
    assert len(json.loads((trained / "log").read_text())) == 2
    train.main(["--resume", str(tmp_path / "m"), "-e", "5", "--quiet"])
    assert (
        int(read_snapshot(tmp_path / "m" / "snapshot_latest")["updater/iterator:main/epoch"]) == 5
    )


def test_resume_elsewhere_takes_the_best_snapshot_along_and_overwrites_nothing(
    trained, tmp_path, capsys
):
    train.main(["--resume", str(trained), "-o", str(tmp_path / "m"), "--quiet"])  # no epoch is left
    assert files_of(tmp_path / "m").best.read_bytes() == files_of(trained).best.read_bytes()
    argv = ["--resume", trained, "-e", "3", "-o", tmp_path / "m"]
    fails(train.main, argv, capsys, "exists: choose another -o")


def test_resume_onto_itself_continues_in_place(tmp_path, capsys):
    prefix = str(tmp_path / "m")
    train.main(["-o", prefix, "--quiet", *SMALL])
    train.main(["--resume", prefix, "-o", prefix, "--overwrite", "-e", "3", "--quiet"])
    assert len(json.loads((tmp_path / "m" / "log").read_text())) == 3
    assert files_of(prefix).best.exists()


def test_resume_refuses_what_does_not_fit(trained, tmp_path, capsys):
    fails(train.main, ["--resume", trained, "--nhidden", "9"], capsys, "--nhidden 9 does not fit")
    fails(train.main, ["--resume", tmp_path / "no"], capsys, "no model there")


def test_originals_are_not_continued_in_place_unasked(legacy, shared, tmp_path, capsys):
    import shutil

    for name in ("tiny_iwae", "tiny_iwae.meta.yaml"):
        source = legacy(name)
        copy = shutil.copytree if source.is_dir() else shutil.copyfile
        copy(source, tmp_path / name)
    argv = ["--resume", tmp_path / "tiny_iwae", "-e", "2", "--data-dir", shared / "data"]
    fails(train.main, argv, capsys, "name another place with -o, or give --overwrite")


def test_the_graph_is_drawn(tmp_path, capsys):
    graph = tmp_path / "graph.dot"
    train.main(["-o", str(tmp_path / "m"), "--vis", str(graph), "--quiet", *SMALL])
    assert graph.read_text().startswith("digraph")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--fancy"], "--fancy names a model variant that the public original code lacks"),
        (["-d", "msrc12"], "unknown data set 'msrc12'"),
        (["-d", "mnist", "--data-dir", "nowhere"], "nowhere"),
        (["--vae-type", "jvi"], "jackknife order 1 needs --vae-samples 2 or more"),
        (["--vae-type", "jvi", "--vae-samples", "2", "--jvi-order", "2"], "needs --vae-samples 3"),
        (["--vae-type", "foo"], "unknown VAE type 'foo'"),
        (["--vae-samples", "0"], "--vae-samples must be at least 1"),
        (["-b", "-5"], "--batchsize must be at least 1, not -5"),
        (["-e", "many"], "--epochs must be a whole number, not 'many'"),
        (["--lr", "-1"], "--lr must be positive"),
        (["--lr", "nan"], "--lr must be a number, not 'nan'"),
        (["--opt", "lbfgs"], "unknown optimizer 'lbfgs': choose from sgd"),
        (["-g", "0"], "GPU 0 cannot be used"),
        (["-g", "-7"], "--device must be at least -1, not -7"),
    ],
)
def test_train_refuses_in_one_line_and_writes_nothing(
    tmp_path, monkeypatch, capsys, options, message
):
    monkeypatch.chdir(tmp_path)
    fails(train.main, options, capsys, message)
    assert list(tmp_path.iterdir()) == []


def test_train_does_not_overwrite(trained, tmp_path, capsys):
    fails(train.main, ["-o", trained, *SMALL], capsys, "exists: choose another -o")
    (tmp_path / "file").write_text("")
    fails(train.main, ["-o", tmp_path / "file" / "m", *SMALL], capsys, "file")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-E", "ivae"], "unknown evaluation 'ivae'"),
        (["-E", "jvi", "-s", "1"], "order 1 needs more than 1 samples"),
        (["-s", "0"], "--samples must be at least 1"),
        (["-b", "-1"], "--batchsize must be at least 1"),
        (["-d", "mnist", "--data-dir", "nowhere"], "nowhere"),
        (["-g", "0"], "GPU 0 cannot be used"),
        (["--logw", "no/such/folder/w.mat"], "is no folder that can be written to"),
        (["--resultfile", "no/such/folder/r"], "is no folder that can be written to"),
        (["-r", "0"], "--reps must be at least 1"),
        (["--seed", "-1"], "--seed must be at least 0"),
    ],
)
def test_evaluate_refuses_in_one_line(trained, capsys, options, message):
    fails(evaluate.main, [*options, trained], capsys, message)


def test_evaluate_refuses_a_data_set_of_another_size(legacy, capsys):
    argv = ["-d", "digits", legacy("tiny_iwae")]
    fails(
        evaluate.main, argv, capsys, r"images have shape \(300, 64\), the model expects \(N, 784\)"
    )


def test_evaluate_refuses_to_overwrite(trained, tmp_path, capsys):
    (tmp_path / "w.mat").write_text("precious")
    fails(evaluate.main, ["--logw", tmp_path / "w.mat", trained], capsys, "exists: name another")
    assert (tmp_path / "w.mat").read_text() == "precious"


def test_evaluate_without_a_model(tmp_path, capsys):
    fails(evaluate.main, [tmp_path / "nothing"], capsys, "no model there")


def test_demo(tmp_path, capsys):
    demo.main(["-o", str(tmp_path), "-e", "3"])
    out = capsys.readouterr().out
    meta = read_meta(tmp_path / "model.meta.yaml")
    assert (meta["--dataset"], meta["--estimator"]) == ("digits", "jvi-clip:order=1")
    assert re.search(r"JVI-2 +-\d+\.\d{3} ± \d\.\d{3}", out)
    numbers = json.loads((tmp_path / "results.json").read_text())
    assert len(numbers) == 12 and {"bound", "num_samples", "mean", "standard_error"} <= set(
        numbers[0]
    )
    assert (tmp_path / "demo.png").read_bytes().startswith(b"\x89PNG")
    assert files_of(tmp_path / "model").best.exists()


@pytest.mark.parametrize(
    "argv",
    [["scripts/jvicount.py"], ["-m", "jvi", "jvicount"]],
    ids=["as a file", "as a module"],
)
def test_commands_run_from_a_checkout(argv):
    argv = [sys.executable, *argv, "16", "2"]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "137\n" and done.stderr == ""


def test_errors_are_one_line_on_stderr_with_status_1():
    argv = [sys.executable, "scripts/evaluate.py", "no-such-model"]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1


def test_usage_errors_say_how_to_use_it():
    argv = [sys.executable, "scripts/train.py", "--no-such-option"]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "\nUsage:" in done.stderr
    assert done.stderr.startswith("error: --no-such-option: unknown")
    assert "Traceback" not in done.stderr


# --- a disk that takes no more, a folder that is only read, no memory --------------------------


@pytest.fixture
def disk(tmp_path):
    """A disk of 1 MB with a model "m" on it; only root can have one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if mount("-t", "tmpfs", "-o", "size=1m", "tmpfs", folder):
        pytest.skip("no tmpfs can be mounted here (not root?)")
    train.main(["-o", str(folder / "m"), "--quiet", *SMALL])
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def mount(*words):
    return subprocess.run(["mount", *map(str, words)], capture_output=True).returncode


def contents(folder):
    return {path: path.is_file() and path.read_bytes() for path in folder.rglob("*")}


WRITING = {
    "train -o {}/new": "new/snapshot_latest",
    "train -o {}/new --vis {}/g.dot": "g.dot",
    "train -o {}/m --overwrite": "m/snapshot_latest",
    "train --resume {}/m -e 4": "m/snapshot_latest",
    "train --resume {}/m -e 4 -o {}/deep/n": "deep/n/snapshot_latest",
    "train --resume {}/m -e 2 -o {}/n": "n/snapshot_latest",
    "convert {}/m {}/x.h5": "x.h5",
    "convert {}/m {}/x.npz": "x.npz",
    "convert {}/m {}/x.safetensors": "x.safetensors",
    "convert {}/m {}/deep/x": "deep/x/snapshot_bestvalobj",
    "evaluate -s 4 {}/m --table {}/t": "t.json",
    "evaluate -s 4 {}/m --logw {}/w.mat": "w.mat",
    "evaluate -s 4 {}/m --per-image {}/i.npz": "i.npz",
    "evaluate -s 4 {}/m --resultfile {}/r": "r",
    "report -s 4 --images 3 {}/m": "m.report.html",
    "demo -e 1 -o {}/d": "d/model/snapshot_latest",
}
MAIN = {"train": train, "convert": convert, "evaluate": evaluate, "report": report, "demo": demo}


def of_line(line, folder):
    name, *words = line.format(*[folder] * 3).split()
    small = ["-b", "500", "--opt", "adam", "--nhidden", "8", "--nlatent", "2"]
    return MAIN[name].main, words + small * (name == "train" and "--resume" not in words)


def test_a_full_disk_is_one_line_that_names_the_file_and_changes_nothing(disk, capsys):
    before = contents(disk)
    (disk / "rest").write_bytes(bytes(2**14))
    with pytest.raises(OSError), open(disk / "fill", "wb", buffering=0) as file:
        while True:
            file.write(bytes(2**12))
    filled = contents(disk)
    for line, path in WRITING.items():
        main, words = of_line(line, disk)
        fails(main, words, capsys, f"{disk / path}: No space left on device")
        assert contents(disk) == filled, line
    assert before.items() <= filled.items()


def test_a_model_on_a_full_or_read_only_disk_is_evaluated(disk, capsys):
    before = contents(disk)
    assert mount("-o", "remount,ro", disk) == 0
    evaluate.main(["-s", "4", str(disk / "m")])
    out = capsys.readouterr().out
    assert "note: the table is not written (Read-only file system); name another place" in out
    assert RESULT.search(out)
    for line, path in WRITING.items():
        main, words = of_line(line, disk)
        message = rf"{disk}\S* (is no folder that can be|cannot be) written to|Read-only.*{path}"
        fails(main, words, capsys, message)
    assert contents(disk) == before


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize("script", ["jvicount.py 16 2", "train.py --list-models"])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_standard_output_is_called_so(script, unbuffered):
    import os

    name, *words = script.split()
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, str(ROOT / "scripts" / name), *words],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            env=os.environ | {"PYTHONUNBUFFERED": unbuffered},
        )
    assert done.returncode == 1
    assert done.stderr == "error: standard output: No space left on device\n"


def test_too_little_memory_is_one_line_that_names_the_options(tmp_path):
    code = """if True:
        import resource, sys
        from jvi.scripts import train
        import jvi.models, jvi.training.trainer, jvi.datasets
        jvi.datasets.load("digits")
        size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (size + 2**28, size + 2**28))
        train.main(["-o", sys.argv[1], "--nhidden", "20000", "--quiet"])
    """
    argv = [sys.executable, "-c", code, str(tmp_path / "deep" / "m")]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert done.stderr.startswith("error: not enough memory (Unable to allocate ")
    assert "--vae-samples or --nhidden" in done.stderr and done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("module", [train, evaluate, report])
def test_every_command_says_which_options_take_memory(module, monkeypatch, trained, capsys):
    def no_memory(*arguments, **options):
        raise MemoryError

    monkeypatch.setattr("jvi.datasets.load", no_memory)
    argv = ["-o", "unused"] if module is train else [trained]
    fails(module.main, argv, capsys, "not enough memory: give a smaller .*--(vae-)?samples")


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_a_terminal_without_the_letters_does_not_end_a_command(trained, encoding):
    import os

    argv = [sys.executable, str(ROOT / "scripts" / "evaluate.py"), "-s", "4", str(trained)]
    environment = os.environ | {"PYTHONIOENCODING": encoding}
    done = subprocess.run(argv, capture_output=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert ("± images".encode() if encoding == "utf-8" else rb"\xb1 images") in done.stdout
