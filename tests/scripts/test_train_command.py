"""Runs of train.py: continued, interrupted, killed, beside each other, over an older model."""

import json
import multiprocessing
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from jvi.compat.meta import read_meta
from jvi.models.files import read_model, read_snapshot
from jvi.scripts import train
from jvi.training import step
from jvi.training.checkpoints import files_of

SIZES = "--nhidden 8 --nlatent 2 --vae-type iwae --vae-samples 2 --opt adam -b 400 --lr 1e-3"
SCRIPT = Path(train.__file__)
IMPORTED_BY_A_RUN = ["jvi.scripts.train", "jvi.training.run", "jvi.functions.kernels.on_numba"]


def run(prefix, more="", epochs=2):
    train.main([*SIZES.split(), "-o", str(prefix), "-e", str(epochs), "--quiet", *more.split()])


def start(prefix, more="", epochs=10_000, sizes=SIZES):
    """A run in a process of its own, as a shell starts it."""
    words = [*sizes.split(), "-o", str(prefix), "-e", str(epochs), *more.split()]
    pipe = subprocess.PIPE
    child = subprocess.Popen(
        [sys.executable, str(SCRIPT), *words], stdout=pipe, stderr=pipe, text=True
    )
    return child


def wait_for(condition, child):
    for _ in range(600):
        if condition() or child.poll() is not None:
            return
        time.sleep(0.05)
    child.kill()
    pytest.fail("nothing happened for half a minute")


def contents(prefix):
    """Of the files of a model, but for the clock."""
    found = {}
    for path in files_of(prefix)[1:]:
        found[path.name.removeprefix(Path(prefix).name)] = path.read_bytes()
    return found


def state(prefix):
    arrays = read_snapshot(files_of(prefix).latest)
    log = json.loads(files_of(prefix).log.read_text())
    clock = ("_snapshot_elapsed_time", "extensions/LogReport/_log")
    return (
        {k: v.tolist() for k, v in arrays.items() if k not in clock},
        [{k: v for k, v in entry.items() if k != "elapsed_time"} for entry in log],
    )


def refused(capsys, *words):
    """The one line on stderr of a command that is refused."""
    with pytest.raises(SystemExit) as stop:
        train.main(list(map(str, words)))
    text = str(stop.value)
    assert text.startswith("error: ") and "\n" not in text
    return text


def test_a_run_that_has_its_epochs_trains_nothing_and_says_so(tmp_path, capsys):
    run(tmp_path / "m", epochs=3)
    before = contents(tmp_path / "m")
    train.main(["--resume", str(tmp_path / "m"), "-e", "2", "--quiet"])
    assert "m has 3 epochs: with -e 2 there is nothing to train" in capsys.readouterr().out
    assert contents(tmp_path / "m") == before
    train.main(["--resume", str(tmp_path / "m"), "-e", "3", "-o", str(tmp_path / "n")])
    assert state(tmp_path / "n") == state(tmp_path / "m")
    assert all(path.exists() for path in files_of(tmp_path / "n"))
    assert read_model(tmp_path / "n").notes == []


def test_the_summary_says_whose_the_best_epoch_is(tmp_path, capsys):
    run(tmp_path / "m", epochs=3)
    train.main(["--resume", str(tmp_path / "m"), "-e", "4", "--lr", "0.5"])
    assert "3 of 4 (of the run that was continued)" in capsys.readouterr().out


SCHEDULED = SIZES.replace("--opt adam", "").replace("--lr 1e-3", "") + " --schedule iwae:epochs=8"


def test_a_schedule_goes_on_where_it_was(tmp_path):
    """With its own epochs and optimizer, and in any number of parts."""
    train.main([*SCHEDULED.split(), "-o", f"{tmp_path}/whole", "--quiet"])
    train.main([*SCHEDULED.split(), "-o", f"{tmp_path}/m", "-e", "2", "--quiet"])
    for epochs in ("3", "8"):
        train.main(["--resume", f"{tmp_path}/m", "-e", epochs, "--quiet"])
    assert state(tmp_path / "m") == state(tmp_path / "whole")
    log = json.loads(files_of(tmp_path / "m").log.read_text())
    expected = [0.001 * 10 ** (-i / 7) for i in range(8)]
    assert [entry["lr"] for entry in log] == pytest.approx(expected)
    meta = read_meta(files_of(tmp_path / "m").meta)
    assert (meta["--opt"], meta["--lr"], meta["--epochs"]) == ("adam:eps=1e-4", None, "8")


def test_another_schedule_from_here_on(tmp_path, capsys):
    train.main([*SCHEDULED.split(), "-o", f"{tmp_path}/m", "-e", "2", "--quiet"])
    words = ("--resume", tmp_path / "m", "-e", 3, "--quiet")
    assert "write iwae:lr=1e-3" in refused(capsys, *words, "--lr", "1e-3")
    assert "--schedule constant needs --lr" in refused(capsys, *words, "--schedule", "constant")
    train.main([*map(str, words), "--schedule", "constant", "--lr", "1e-5"])
    log = json.loads(files_of(tmp_path / "m").log.read_text())
    assert [entry["lr"] for entry in log] == pytest.approx([1e-3, 0.001 * 10 ** (-1 / 7), 1e-5])


def test_an_older_model_is_continued_at_its_constant_rate_with_its_clipping(tmp_path):
    """Its meta file says neither schedule nor clipping."""
    run(tmp_path / "m")
    path = files_of(tmp_path / "m").meta
    lines = path.read_text().splitlines(keepends=True)
    kept = [line for line in lines if not line.startswith(("--schedule", "--clip", "--preset"))]
    assert len(kept) == len(lines) - 3
    path.write_text("".join(kept))
    train.main(["--resume", f"{tmp_path}/m", "-e", "4", "--quiet"])
    run(tmp_path / "whole", epochs=4)
    assert state(tmp_path / "m") == state(tmp_path / "whole")


def test_another_seed_is_refused(tmp_path, capsys):
    run(tmp_path / "m")
    text = refused(capsys, "--resume", tmp_path / "m", "-e", 3, "--seed", 5)
    assert "--seed 5 does not fit" in text and "a continued run keeps it" in text


def test_a_diverged_model_is_called_one(legacy, shared, tmp_path, capsys):
    words = ["--resume", legacy("diverged"), "-o", tmp_path / "m", "-e", 1, "-d", "mnist"]
    words += ["--data-dir", shared / "data"]
    train.main(list(map(str, words)))
    assert "note: " in (out := capsys.readouterr().out) and "the best objective is" in out


def test_a_model_without_finite_parameters_is_not_continued(tmp_path, capsys):
    run(tmp_path / "m")
    for path in (files_of(tmp_path / "m").best, files_of(tmp_path / "m").latest):
        arrays = dict(np.load(path))
        arrays["updater/model:main/encode/qlin0/W"][0, 0] = np.nan
        with open(path, "wb") as file:
            np.savez(file, **arrays)
    text = refused(capsys, "--resume", tmp_path / "m", "-e", 3)
    assert "has diverged: its parameters are not finite; train anew" in text


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("optimizer:main/encode/qlin0/W/m", np.zeros(1, np.float32), "has shape .1,."),
        ("optimizer:main/encode/qlin0/W/m", np.zeros((9, 99), np.float32), "has shape .9, 99."),
        ("optimizer:main/decode/plin2/b/v", np.zeros(64), "type float64"),
        ("optimizer:main/decode/plin2/b/v", np.float32(0), r"has shape \(\) and"),
        ("iterator:main/order", np.zeros(1297), "is no order of data points"),
        ("iterator:main/order", np.int64(3), "is no order of data points"),
        ("iterator:main/order", np.zeros(1297, int), "is not every data point once"),
        ("iterator:main/order", np.arange(1297) + 1, "is not every data point once"),
        ("iterator:main/current_position", np.int64(10**6), "lies outside the data set"),
        ("iterator:main/current_position", np.int64(-1), "no whole number from 0 on"),
        ("iteration", np.float64(np.nan), "no whole number from 0 on"),
        ("iteration", np.array([1, 2]), "no whole number from 0 on"),
        ("optimizer:main/t", np.str_("one"), "no whole number from 0 on"),
    ],
)
def test_a_snapshot_that_does_not_fit_is_refused_before_a_kernel_sees_it(
    tmp_path, capsys, key, value, message
):
    run(tmp_path / "m", epochs=1)
    path = files_of(tmp_path / "m").latest
    arrays = dict(np.load(path)) | {f"updater/{key}": value}
    with open(path, "wb") as file:
        np.savez(file, **arrays)
    with pytest.raises(SystemExit, match=message):
        train.main(["--resume", str(tmp_path / "m"), "-e", "2", "--quiet"])


@pytest.mark.parametrize("text", ["{}", "nonsense", "[1, 2]", "[" * 10**5])
def test_a_log_that_is_none_is_refused(tmp_path, text):
    run(tmp_path / "m", epochs=1)
    path = files_of(tmp_path / "m").latest
    arrays = dict(np.load(path)) | {"extensions/LogReport/_log": np.bytes_(text)}
    with open(path, "wb") as file:
        np.savez(file, **arrays)
    with pytest.raises(SystemExit, match="_log: damaged: not a list of numbers"):
        train.main(["--resume", str(tmp_path / "m"), "-e", "2", "--quiet"])


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_says_what_is_true_and_goes_on(tmp_path, number, status):
    child = start(tmp_path / "m")
    wait_for(files_of(tmp_path / "m").perf.exists, child)
    child.send_signal(number)
    _, error = child.communicate(timeout=60)
    assert child.returncode == status, error
    line = error.strip().splitlines()[-1]
    assert line.endswith(f"continue with --resume {tmp_path / 'm'}")
    epochs = int(line.partition("after epoch ")[2].partition(":")[0])
    train.main(["--resume", str(tmp_path / "m"), "-e", str(epochs + 2), "--quiet"])
    run(tmp_path / "whole", epochs=epochs + 2)
    assert state(tmp_path / "m") == state(tmp_path / "whole")


@pytest.mark.slow
def test_there_is_something_to_continue_from_before_the_first_epoch_ends(tmp_path):
    slow = SIZES.replace("-b 400", "-b 2")  # an epoch takes a second
    child = start(tmp_path / "m", sizes=slow)
    wait_for(files_of(tmp_path / "m").latest.exists, child)
    child.send_signal(signal.SIGINT)
    _, error = child.communicate(timeout=60)
    assert child.returncode == 130
    assert "interrupted after epoch 0: continue with --resume" in error
    train.main(["--resume", str(tmp_path / "m"), "-e", "1", "--quiet"])
    train.main([*slow.split(), "-o", str(tmp_path / "whole"), "-e", "1", "--quiet"])
    assert state(tmp_path / "m") == state(tmp_path / "whole")


def test_a_second_run_on_a_prefix_is_refused_until_the_first_is_dead(tmp_path):
    first = start(tmp_path / "m")
    wait_for(files_of(tmp_path / "m").latest.exists, first)
    second = start(tmp_path / "m", "--overwrite", epochs=1)
    _, error = second.communicate(timeout=60)
    assert second.returncode == 1 and "m is being trained by another process" in error
    first.kill()
    first.communicate(timeout=60)
    run(tmp_path / "m", "--overwrite", epochs=1)


def interrupted(monkeypatch, iteration):
    """From here on runs are interrupted in this iteration."""
    update = step.Step.__call__

    def call(self, rows, number):
        if number == iteration:
            raise KeyboardInterrupt
        update(self, rows, number)

    monkeypatch.setattr(step.Step, "__call__", call)


def stopped(capsys, *words):
    """What an interrupted run says."""
    with pytest.raises(SystemExit) as stop:
        train.main(list(map(str, words)))
    assert stop.value.code == 130
    return capsys.readouterr().err.strip()


def test_elsewhere_a_run_can_be_continued_from_the_start(tmp_path, monkeypatch, capsys):
    run(tmp_path / "m")
    words = ("--resume", tmp_path / "m", "-o", tmp_path / "n", "-e", 4, "--lr", "2e-3", "--quiet")
    with monkeypatch.context() as context:
        interrupted(context, 9)  # in the third epoch, the first of this run
        line = stopped(capsys, *words)
    assert line == f"interrupted after epoch 2: continue with --resume {tmp_path / 'n'}"
    train.main(["--resume", str(tmp_path / "n"), "--quiet"])
    train.main(list(map(str, [*words[:3], tmp_path / "o", *words[4:]])))
    assert state(tmp_path / "n") == state(tmp_path / "o")


def test_an_older_model_without_a_latest_snapshot_stays_too(tmp_path, monkeypatch, capsys):
    run(tmp_path / "m")
    files_of(tmp_path / "m").latest.unlink()
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    words = [*SIZES.split(), "-o", tmp_path / "m", "--overwrite", "--quiet", "--nhidden", 9]
    words.remove("--nhidden")  # the first one
    words.remove("8")
    with monkeypatch.context() as context:
        interrupted(context, 2)
        line = stopped(capsys, *words)
    assert line == "interrupted in the first epoch: the model that was there is as it was"
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with monkeypatch.context() as context:
        nan_in_one_batch(context, 2)
        assert "is as it was before" in refused(capsys, *words)
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}


def test_what_an_older_model_had_more_does_not_stay(tmp_path):
    run(tmp_path / "m")
    run(tmp_path / "n", "--seed 1")
    files_of(tmp_path / "m").perf.unlink()
    train.main(["--resume", f"{tmp_path}/m", "-o", f"{tmp_path}/n", "-e", "2", "--overwrite"])
    assert not files_of(tmp_path / "n").perf.exists()
    assert state(tmp_path / "n") == state(tmp_path / "m")


def test_a_model_whose_best_snapshot_is_lost_gets_one(tmp_path):
    run(tmp_path / "m", epochs=3)
    files_of(tmp_path / "m").best.unlink()
    train.main(["--resume", f"{tmp_path}/m", "-e", "4", "--lr", "0.5", "--quiet"])
    assert files_of(tmp_path / "m").best.exists()


def test_the_message_is_of_what_was_written_not_of_what_was_computed(tmp_path, monkeypatch, capsys):
    from jvi.training.checkpoints import Saver

    write = Saver._write

    def interrupt(self, trainer, contents):
        if trainer.updater.epoch == 2:
            raise KeyboardInterrupt
        write(self, trainer, contents)

    monkeypatch.setattr(Saver, "_write", interrupt)
    line = stopped(capsys, *SIZES.split(), "-o", tmp_path / "m", "-e", 3, "--quiet")
    assert line == f"interrupted after epoch 1: continue with --resume {tmp_path / 'm'}"


def test_what_was_trained_further_since_it_was_read_is_not_lost(tmp_path, monkeypatch):
    from jvi.training import checkpoints

    run(tmp_path / "m")
    read = checkpoints.resume

    def resume(trainer, arrays):
        read(trainer, arrays)
        monkeypatch.setattr(checkpoints, "resume", read)
        train.main(["--resume", f"{tmp_path}/m", "-e", "5", "--quiet"])

    monkeypatch.setattr(checkpoints, "resume", resume)
    with pytest.raises(SystemExit, match="snapshot_latest has changed since it was read"):
        train.main(["--resume", f"{tmp_path}/m", "-e", "3", "--quiet"])
    assert len(json.loads(files_of(tmp_path / "m").log.read_text())) == 5


def test_data_that_have_moved_are_the_same_data(tmp_path, capsys):
    data = np.random.default_rng(0).integers(0, 2, (50, 9))
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        np.savez(tmp_path / name / "d.npz", data)
    run(tmp_path / "m", f"-d {tmp_path}/a/d.npz", epochs=1)
    (tmp_path / "a" / "d.npz").unlink()
    words = ("--resume", tmp_path / "m", "-e", 2, "--quiet")
    assert "d.npz does not exist" in refused(capsys, *words)
    train.main(list(map(str, (*words, "-d", tmp_path / "b" / "d.npz"))))


def test_leftovers_of_a_killed_run_are_removed_by_the_next(tmp_path):
    run(tmp_path / "m")
    left = files_of(tmp_path / "m").folder / ".snapshot_latest-abc.unfinished"
    beside = tmp_path / ".m.perf-xyz.unfinished"
    other = tmp_path / ".other.perf-xyz.unfinished"
    for path in (left, beside, other):
        path.write_bytes(b"half")
    train.main(["--resume", str(tmp_path / "m"), "-e", "3", "--quiet"])
    assert not left.exists() and not beside.exists() and other.exists()


def test_an_older_model_stays_until_there_is_a_new_one(tmp_path, monkeypatch):
    run(tmp_path / "m")
    before = contents(tmp_path / "m")

    def diverge(*arguments):
        raise step.Diverged("its log-weights are not finite")

    with monkeypatch.context() as context:
        context.setattr(step.Step, "_step", diverge)
        with pytest.raises(SystemExit, match=r"m/snapshot_bestvalobj is as it was before"):
            run(tmp_path / "m", "--overwrite")
    assert contents(tmp_path / "m") == before
    run(tmp_path / "m", "--overwrite --seed 3")
    assert contents(tmp_path / "m") != before
    run(tmp_path / "n", "--seed 3")
    assert state(tmp_path / "m") == state(tmp_path / "n")


def test_a_run_that_fails_at_once_leaves_nothing(tmp_path, monkeypatch):
    def diverge(*arguments):
        raise step.Diverged("its log-weights are not finite")

    monkeypatch.setattr(step.Step, "_step", diverge)
    with pytest.raises(SystemExit, match="no epoch was finished; try a smaller --lr"):
        run(tmp_path / "deep" / "er" / "m")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["", ".", "..", "/", "a/.."])
def test_names_that_name_nothing(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    message = "names no model: give it a name" if name else "-o is empty: give it a value"
    with pytest.raises(SystemExit, match=message):
        train.main(["-o", name, "-e", "1", "--quiet"])
    assert list(tmp_path.iterdir()) == []


def test_a_trailing_slash_does_not_matter(tmp_path):
    run(f"{tmp_path}/m/", epochs=1)
    assert files_of(tmp_path / "m").meta.exists()


def test_what_cannot_be_written_is_found_before_the_work(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit, match=r"file is not a folder: choose another -o"):
        run(tmp_path / "file" / "m")


def nan_in_one_batch(monkeypatch, iteration, batches=1):
    """Makes the data of some iterations useless."""
    observed, calls = step.Step._gradients, []

    def gradients(self, x, *others):
        calls.append(None)
        if iteration <= len(calls) - 1 < iteration + batches:
            x = np.full_like(x, np.nan)
        return observed(self, x, *others)

    monkeypatch.setattr(step.Step, "_gradients", gradients)


def test_divergence_names_iteration_gradient_and_rate(tmp_path, monkeypatch):
    nan_in_one_batch(monkeypatch, 5)
    with pytest.raises(SystemExit) as stop:
        run(tmp_path / "m")
    text = str(stop.value)
    assert "training diverged in iteration 6: its log-weights are not finite" in text
    assert "largest gradient of the step before" in text and "learning rate: 0.001" in text


def test_bad_batches_can_be_left_out(tmp_path, monkeypatch, capsys):
    nan_in_one_batch(monkeypatch, 5)
    train.main([*SIZES.split(), "-o", f"{tmp_path}/m", "-e", "3", "--on-nan", "skip"])
    out = capsys.readouterr().out
    assert "batches skipped" in out and out.strip().endswith("1")
    assert all(np.isfinite(a).all() for a in read_model(tmp_path / "m").parameters.values())


def test_but_not_all_of_them(tmp_path, monkeypatch):
    nan_in_one_batch(monkeypatch, 0, batches=10**6)
    with pytest.raises(SystemExit, match="every batch of this epoch was skipped"):
        run(tmp_path / "m", "--on-nan skip")


@pytest.mark.slow
def test_killed_at_any_moment_and_continued_it_ends_the_same(tmp_path):
    """Also while writing: sixty times, at random moments.

    Processes are forked from one that has imported everything, so that they are killed at work.
    """
    epochs, rng = 200, np.random.default_rng(0)
    run(tmp_path / "whole", epochs=epochs)
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(IMPORTED_BY_A_RUN)
    new = [*SIZES.split(), "-o", str(tmp_path / "m"), "-e", str(epochs), "--overwrite", "--quiet"]
    latest = files_of(tmp_path / "m").latest

    def written():
        return latest.stat().st_mtime_ns if latest.exists() else 0

    for kills in range(61):
        words = ["--resume", str(tmp_path / "m"), "--quiet"] if latest.exists() else new
        child = processes.Process(target=train.main, args=(words,))
        child.start()
        for _ in range(rng.integers(3)):  # of epochs, however busy the machine is
            before = written()
            while written() == before and child.is_alive():
                time.sleep(0.001)
        child.join(120 if kills == 60 else rng.uniform(0, 0.03))
        if child.exitcode is not None:
            break
        child.kill()
        child.join()
    assert child.exitcode == 0 and kills > 30
    assert state(tmp_path / "m") == state(tmp_path / "whole")
