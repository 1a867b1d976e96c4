"""One run on many processes: the numbers, files and ends of a run on one."""

import json
import os
import signal
import time
from pathlib import Path

import mpi
import numpy as np
import pytest

import jvi
from jvi.models.files import read_snapshot
from jvi.scripts import evaluate, train
from jvi.training.checkpoints import files_of

ROOT = Path(__file__).resolve().parents[2]

pytestmark = mpi.needs_mpi

SMALL = "-b 64 --opt adam --lr 2e-3 --quiet"
RUNS = {
    "jvi": f"--vae-type jvi --vae-samples 8 --nhidden 8 --nlatent 2 -e 3 {SMALL}",
    "free-bits": f"--vae-type vae --free-bits 0.1 --nhidden 8 --nlatent 2 -e 2 {SMALL}",
    "learned": "--model sbn:layers=1,units=10 --estimator reinforce:baseline=learned "
    f"--vae-samples 4 -e 2 {SMALL}",
    "average": f"--model burda:layers=1 --estimator dreg --average 0.9 -e 2 {SMALL}",
    "flow": "-d digits-grey --model iaf-resnet --depths 1 --n-z 2 --n-h 4 --estimator elbo "
    "--kl-min 0.1 --average 0.9 -e 1 -b 64 --opt adamax --quiet",
    "uneven": f"--vae-type iwae --vae-samples 500 --nhidden 8 --nlatent 2 -e 1 {SMALL}",
}

QUICK = "-E iwae,jvi -s 3,16"
ANNEALED = (
    "-E elbo,iwae,jvi,ais -s 3,16 --jvi-order 1,2 --ais-temps 5 --ais-chains 16 --ais-steps 2"
)
ANNEALED += " --bdmc"

# Several commands on the same ranks, one after another; a pipe would mix their lines.
PROGRAM = "import sys, json; from jvi.scripts import train, evaluate\n"
PROGRAM += "for name, words in json.loads(sys.argv[1]): globals()[name].main(words)"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """The path of 500 small images: 200 to train on."""
    rng = np.random.default_rng(0)
    images = (rng.random((500, 16)) < rng.random((500, 1))).astype(np.float32)
    path = tmp_path_factory.mktemp("data") / "small.npz"
    np.savez(path, train=images[:200], validation=images[200:300], test=images[300:])
    return path


def words_of(name, data, prefix):
    dataset = [] if RUNS[name].startswith("-d") else ["-d", str(data)]
    return [*dataset, *RUNS[name].split(), "-o", str(prefix)]


def log_of(prefix):
    return json.loads(files_of(prefix).log.read_text())


def assert_same_log(one, other, rtol=1e-6):
    for mine, theirs in zip(log_of(one), log_of(other), strict=True):
        assert mine.keys() == theirs.keys()
        for key in mine.keys() - {"elapsed_time", "estimator"}:
            assert mine[key] == pytest.approx(theirs[key], rel=rtol, abs=1e-6), key


def without_times(value):
    if isinstance(value, dict):
        skipped = ("seconds", "arguments")
        return {key: without_times(each) for key, each in value.items() if key not in skipped}
    return [without_times(each) for each in value] if isinstance(value, list) else value


def commands(size, *lines):
    return mpi.run(size, "-c", PROGRAM, json.dumps(lines))


def check(size, names, data, folder, estimates):
    """Train and evaluate on so many ranks, and compare with one process."""
    lines = [("train", words_of(name, data, folder / f"{name}-{size}")) for name in names]
    table = f"{estimates} --images 200 --quiet --per-image".split()
    trained = str(folder / names[0])
    for name in names:
        train.main(words_of(name, data, folder / name))
    about = ["--table", f"{folder}/table"], [f"{folder}/image.npz", trained]
    evaluate.main([*about[0], *table, *about[1]])
    about = ["--table", f"{folder}/table-{size}"], [f"{folder}/image-{size}.npz", trained]
    lines.append(("evaluate", [*about[0], *table, *about[1]]))
    out = commands(size, *lines)
    assert out.count("logp(iwae) 16") == 1  # rank 0 alone speaks
    for name in names:
        assert_same_log(folder / name, folder / f"{name}-{size}")
    one, many = (json.loads((folder / f"table{n}.json").read_text()) for n in ("", f"-{size}"))
    assert without_times(one) == without_times(many)
    one, many = (np.load(folder / f"image{n}.npz") for n in ("", f"-{size}"))
    for key in one.files:
        np.testing.assert_array_equal(one[key], many[key], err_msg=key)
    assert not list(folder.rglob(".*"))  # nothing unfinished


def test_two_ranks_give_the_numbers_of_one(data, tmp_path):
    check(2, ["jvi"], data, tmp_path, QUICK)


@pytest.mark.slow
@pytest.mark.parametrize("size", [2, 3])
def test_any_number_of_ranks_gives_the_numbers_of_one(data, tmp_path, size):
    check(size, list(RUNS), data, tmp_path, ANNEALED)


@pytest.mark.slow
def test_any_number_of_ranks_goes_on_from_a_checkpoint(data, tmp_path):
    """Epochs of one, then three, then two processes: as four epochs of one."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    words = words_of("jvi", data, whole)
    train.main(_epochs(words, 4))
    train.main(_epochs(words_of("jvi", data, parts), 1))
    for size, epochs in ((3, 2), (2, 4)):
        commands(size, ("train", ["--resume", str(parts), "-e", str(epochs), "--quiet"]))
    assert_same_log(whole, parts)
    elsewhere = tmp_path / "elsewhere"
    line = ["--resume", str(parts), "-o", str(elsewhere), "-e", "4"]
    out = commands(2, ("train", line))
    assert "nothing to train" in out and log_of(elsewhere) == log_of(parts)


def _epochs(words, epochs):
    place = words.index("-e")
    return [*words[:place], "-e", str(epochs), *words[place + 2 :]]


def waiting(data, prefix, size=2):
    """Ranks that train on and on, after their first checkpoint, and their numbers in the system."""
    words = [*_epochs(words_of("jvi", data, prefix), 10**6), "--clip", "3"]
    code = "import os; from pathlib import Path\n"
    code += f"Path('{prefix}.' + os.environ['PMI_RANK']).write_text(str(os.getpid()))\n"
    process = mpi.start(size, "-c", code + PROGRAM, json.dumps([("train", words)]))
    end = time.monotonic() + 40
    while not files_of(prefix).best.exists():
        assert time.monotonic() < end and process.poll() is None, process.communicate()
        time.sleep(0.05)
    numbers = [int(Path(f"{prefix}.{rank}").read_text()) for rank in range(size)]
    return process, numbers


def running(number):
    """Whether a process is there that is not waiting for somebody to ask how it ended."""
    try:
        os.kill(number, 0)
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


@pytest.mark.parametrize(
    ("rank", "number", "said"),
    [
        (1, signal.SIGKILL, ""),
        pytest.param(0, signal.SIGKILL, "", marks=pytest.mark.slow),
        pytest.param(1, signal.SIGTERM, "interrupted (process 1 of", marks=pytest.mark.slow),
        pytest.param(0, signal.SIGINT, "continue with --resume", marks=pytest.mark.slow),
    ],
)
def test_a_rank_that_ends_ends_all_and_the_checkpoint_is_whole(data, tmp_path, rank, number, said):
    prefix = tmp_path / "m"
    process, numbers = waiting(data, prefix)
    start = time.monotonic()
    os.kill(numbers[rank], number)
    status, _, err = mpi.ended(process)
    assert status != 0 and said in err and time.monotonic() - start < 10
    if said:
        assert len(err.splitlines()) == 1, err
    while any(map(running, numbers)):
        assert time.monotonic() - start < 10
        time.sleep(0.05)
    assert int(read_snapshot(files_of(prefix).latest)["updater/iteration"]) > 0
    assert isinstance(log_of(prefix), list)


@pytest.mark.slow
def test_ranks_with_other_options_or_data_are_refused(data, tmp_path):
    words = words_of("jvi", data, tmp_path / "m")
    code = "import os; rank = os.environ['PMI_RANK']; from jvi.scripts import train\n"
    seeds = f"train.main({words!r} + ['--seed', rank])"
    status, _, err = mpi.ended(mpi.start(2, "-c", code + seeds))
    assert status == 1 and "do not have the same options" in err and err.count("\n") == 1
    for rank in "01":
        (tmp_path / rank).mkdir()
        arrays = dict(np.load(data))
        arrays["train"][0, 0] = float(rank)
        np.savez(tmp_path / rank / "small.npz", **arrays)
    there = f"os.chdir({str(tmp_path)!r} + '/' + rank)\n"
    there += f"train.main(['-d', 'small.npz'] + {words[2:]!r})"
    status, _, err = mpi.ended(mpi.start(2, "-c", code + there))
    assert status == 1 and "do not have the same data" in err and err.count("\n") == 1
    assert not files_of(tmp_path / "m").folder.exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("-b 1", "a batch of 1 cannot be split over 2 processes"),
        ("-e none", "--epochs must be a whole number"),
        ("--lr 1e30 --opt sgd --clip none", "training diverged"),
    ],
)
def test_a_mistake_is_told_once(data, tmp_path, words, said):
    line = ["-d", str(data), "--vae-type", "iwae", "--quiet", *words.split()]
    line += ["-o", str(tmp_path / "m")]
    process = mpi.start(2, "-c", PROGRAM, json.dumps([("train", line)]), env={"PYTHONWARNINGS": ""})
    status, _, err = mpi.ended(process)
    errors = [each for each in err.splitlines() if each.startswith("error")]
    assert status in (1, 2) and len(errors) == 1 and said in errors[0], err


@pytest.mark.slow
def test_training_as_one_call_gives_every_rank_the_model():
    program = "import jvi; from jvi.engine.ranks import ranks\n"
    program += "m = jvi.train('mlp:hidden=4,latent=2', 'digits', 'iwae', 4, 1, quiet=True)\n"
    program += "every = ranks().gather(lambda: [m.history[-1]['validation/main/iwae']])\n"
    program += "assert len(every) == 2 and every[0] == every[1]\n"
    program += "print(every[0]) if ranks().rank == 0 else None"
    alone = jvi.train("mlp:hidden=4,latent=2", "digits", "iwae", 4, 1, quiet=True)
    told = float(mpi.run(2, "-c", program).split()[0])
    assert told == pytest.approx(alone.history[-1]["validation/main/iwae"], rel=1e-6)
