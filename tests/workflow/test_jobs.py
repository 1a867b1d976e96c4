"""One job: its line, its place, its state, its result."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import job as runner
import pins
import places
import pytest
from pins import pinned
from results import numbers_of, read_collected, read_result
from states import ABORTED, FAILED, FINISHED, QUEUED, state_of, write_state
from targets import Job

from jvi.files import locked

WRITES = "import sys; open(sys.argv[1] + '.json', 'w').write('{\"a\": {\"b\": 2.5}}')"


@pytest.fixture(autouse=True)
def cores(tmp_path, monkeypatch):
    """Other runs of this machine hold none of these."""
    monkeypatch.setattr(pins, "FOLDER", tmp_path / "cores")


def measure(tmp_path, code=WRITES):
    script = tmp_path / "script.py"
    script.write_text(code)
    return Job("t", "tiny", "m-0", "m", "measure", {"seed": 0}, f"{script} {{out}}", 1, None, ())


def test_a_result_says_all_it_depends_on(tmp_path):
    each = measure(tmp_path)
    assert state_of(each, tmp_path)[0] == QUEUED
    runner.run(each, tmp_path)
    found = read_result(places.result(tmp_path, "tiny", "t", "measure", "m-0"))
    assert found["numbers"] == {"a/b": 2.5}
    assert (found["label"], found["values"]) == ("m", {"seed": 0})
    assert found["hardware"]["cores"] == 1
    assert found["seconds"] > 0
    assert {"versions", "command", "finished"} <= {*found}
    assert str(tmp_path / "tiny") not in found["command"]
    assert state_of(each, tmp_path)[0] == FINISHED


def test_a_failure_is_said_in_its_own_last_line_and_run_again(tmp_path):
    each = measure(tmp_path, "import sys; sys.exit('error: no data')")
    with pytest.raises(ValueError, match="t, m-0: error: no data"):
        runner.run(each, tmp_path)
    assert state_of(each, tmp_path)[0] == FAILED
    runner.run(measure(tmp_path), tmp_path)
    assert state_of(each, tmp_path)[0] == FINISHED


def test_a_job_that_was_killed_says_so(tmp_path):
    each = measure(tmp_path, "import os; print('50%', flush=True); os.kill(os.getpid(), 9)")
    with pytest.raises(ValueError, match=r"t, m-0: ended by signal 9, after: 50% \(.*log.txt\)"):
        runner.run(each, tmp_path)


SIGNALLED = "import os, sys, time; os.kill(os.getppid(), %d); time.sleep(%d); " + WRITES


@pytest.mark.parametrize("number", runner.SIGNALS)
def test_signals_end_the_command_too_and_handlers_are_put_back(tmp_path, number):
    before = signal.getsignal(number)
    each = measure(tmp_path, SIGNALLED % (number, 60))
    with pytest.raises(KeyboardInterrupt):
        runner.run(each, tmp_path)
    assert state_of(each, tmp_path)[0] == ABORTED
    assert signal.getsignal(number) is before


def test_what_nohup_ignores_ends_nothing(tmp_path):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        runner.run(measure(tmp_path, SIGNALLED % (signal.SIGHUP, 0)), tmp_path)
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("more", ["", " more"])
def test_a_job_that_another_process_runs_is_left_alone(tmp_path, more):
    each = measure(tmp_path)
    runner.run(each, tmp_path)
    files = {path: path.read_bytes() for path in (tmp_path / "tiny").rglob("*") if path.is_file()}
    busy = pytest.raises(ValueError, match="t, m-0: another process runs it")
    with locked(tmp_path / "tiny" / "t" / "m-0", ""), busy:
        runner.run(each._replace(command=each.command + more), tmp_path)
    assert all(path.read_bytes() == content for path, content in files.items())


def test_earlier_attempts_count_where_they_are_gone_on_from(tmp_path):
    for kind, seconds in (("train", 5), ("evaluate", 3)):
        folder = tmp_path / kind
        runner._spend(folder, 2, 1, kind)
        assert runner._spend(folder, 3, 1, kind)["seconds"] == seconds


def test_a_state_is_that_of_the_result_or_said_to_be_damaged(tmp_path):
    each = measure(tmp_path)
    result = places.result(tmp_path, "tiny", "t", "measure", "m-0")
    result.parent.mkdir(parents=True)
    result.touch()
    assert state_of(each, tmp_path)[0] == FINISHED
    path = places.state(tmp_path, "tiny", "t", "m-0")
    path.parent.mkdir()
    write_state(path, FINISHED, "")
    result.unlink()
    assert state_of(each, tmp_path)[0] == QUEUED
    for text in ("[]", '{"state": "running", "pid": "1"}', "{"):
        path.write_text(text)
        with pytest.raises(ValueError, match=f"{path} is damaged: remove it"):
            state_of(each, tmp_path)


def test_a_process_that_is_gone_was_aborted(tmp_path):
    each = measure(tmp_path)
    path = places.state(tmp_path, "tiny", "t", "m-0")
    path.parent.mkdir(parents=True)
    write_state(path, "running", "")
    assert state_of(each, tmp_path)[0] == "running"
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    path.write_text(json.dumps(json.loads(path.read_text()) | {"pid": gone.pid}))
    assert state_of(each, tmp_path)[0] == ABORTED


def test_files_of_another_command_are_put_aside(tmp_path):
    each = measure(tmp_path)
    runner.run(each, tmp_path)
    runner.run(each._replace(command=each.command + " more"), tmp_path)
    kept = tmp_path / "tiny" / "t" / "m-0.old-1"
    assert (kept / "run.json").exists()
    assert "more" not in (kept / "command.txt").read_text()


def test_a_run_begins_again_where_what_it_goes_on_from_does(tmp_path):
    base, last = measure(tmp_path), measure(tmp_path)._replace(name="c", after=("b",))
    between = last._replace(name="b", of="m-0", after=())
    for each in (base, between, last, between, last):
        runner.run(each, tmp_path)
    assert not list((tmp_path / "tiny" / "t").glob("*.old-*"))
    for each in (base._replace(command=base.command + " more"), between, last):
        runner.run(each, tmp_path)
    kept = sorted(path.name for path in (tmp_path / "tiny" / "t").glob("*.old-*"))
    assert kept == ["b.old-1", "c.old-1", "m-0.old-1"]


TRAIN = Job("t", "tiny", "train-0", "train", "train", {}, "train.py -e 3", 1, None, ())


def lines(each, tmp_path):
    own = places.prefix(tmp_path, each.budget, each.target, each.name)
    return own, runner._resumed(runner._line(each, tmp_path, own), own, each)[2:]


def test_training_goes_on_from_its_checkpoint(tmp_path):
    own, line = lines(TRAIN, tmp_path)
    assert line == ["-e", "3", "-o", str(own), "--overwrite"]
    own.mkdir(parents=True)
    (own / "snapshot_latest").touch()
    assert lines(TRAIN, tmp_path)[1] == ["--resume", str(own), "--quiet"]


def test_training_that_goes_on_from_another_model(tmp_path):
    arm = TRAIN._replace(name="arm-0", of="train-0")
    base = places.prefix(tmp_path, "tiny", "t", "train-0")
    own, line = lines(arm, tmp_path)
    assert line == ["-e", "3", "-o", str(own), "--resume", str(base), "--overwrite"]
    own.mkdir(parents=True)
    (own / "snapshot_latest").touch()
    assert lines(arm, tmp_path)[1] == ["--resume", str(own), "--quiet"]


def test_evaluation_gets_the_model_and_a_place_for_its_table(tmp_path):
    each = Job("t", "tiny", "e-0", "e", "evaluate", {}, "evaluate.py -s 8", 1, "train-0", ())
    own, line = lines(each, tmp_path)
    model = places.prefix(tmp_path, "tiny", "t", "train-0")
    assert line == ["-s", "8", "--table", str(own), "--overwrite", str(model)]


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system cannot pin")
def test_two_jobs_have_cores_of_their_own(tmp_path):
    before = os.sched_getaffinity(0)
    if len(before) < 2:
        pytest.skip("one core")
    with pinned(1) as count:
        own = os.sched_getaffinity(0)
        assert (count, len(own)) == (1, 1)
        os.sched_setaffinity(0, before)  # as another process
        with pinned(1):
            assert not own & os.sched_getaffinity(0)
        with pinned(len(before)) as most:  # too few are free
            assert most == len(before)
            assert os.sched_getaffinity(0) == before
    assert os.sched_getaffinity(0) == before


def test_tables_of_evaluate_are_numbers_with_both_errors(tmp_path):
    row = {"data": "test", "estimate": "iwae", "num_samples": 8, "mean": -1.5, "ess": 3.0}
    row |= {"standard_error": 0.1, "sampling_error": 0.01}
    path = tmp_path / "run.json"
    path.write_text(json.dumps({"arguments": {}, "rows": [row]}))
    want = {"value": -1.5, "images": 0.1, "samples": 0.01}
    assert numbers_of(path) == {"iwae@8": want, "ess@8": 3.0}
    path.write_text(json.dumps({"arguments": {}, "rows": [row, row | {"data": "omniglot"}]}))
    assert numbers_of(path)["omniglot/iwae@8"] == want


def test_rows_of_csv_files_are_numbers(tmp_path):
    path = tmp_path / "run.csv"
    path.write_text("K,name,bias\n8,jvi,-0.5\n16,iwae,nan\n")
    rows = [{"K": 8, "name": "jvi", "bias": -0.5}, {"K": 16, "name": "iwae", "bias": None}]
    assert numbers_of(path) == {"rows": rows}


def test_lists_are_of_rows_and_what_is_not_finite_is_none(tmp_path):
    path = tmp_path / "run.json"
    path.write_text('[{"K": 8, "bias": NaN}]')
    assert numbers_of(path) == {"rows": [{"K": 8, "bias": None}]}
    for text in ("[1, 2]", "3", '{"rows": 3}'):
        path.write_text(text)
        with pytest.raises(ValueError, match=f"{path} must have names with numbers, or rows"):
            numbers_of(path)
    path.write_text('{"arguments": {}, "rows": [{}]}')
    with pytest.raises(ValueError, match=f"{path} is damaged"):
        numbers_of(path)


RESULT = {
    "format": 1, "label": "m", "values": {}, "numbers": {"rows": [{}]}, "versions": {},
    "hardware": {}, "seconds": 1, "cpu_seconds": 0.5,
}  # fmt: skip
COLLECTED = {"format": 1, "budget": "tiny", "settings": {}, "results": [RESULT]}


@pytest.mark.parametrize(
    "text",
    [
        *("{", '{"format": 0}', "[]", "[" * 10**5),
        *(json.dumps(RESULT | {key: None}) for key in RESULT),
        json.dumps(RESULT | {"numbers": {"rows": [1]}}),
        *(json.dumps(COLLECTED | {key: None}) for key in COLLECTED),
        *(json.dumps(COLLECTED | {"results": value}) for value in ([], [1], [RESULT, {}])),
    ],
)
def test_results_of_another_version_and_damaged_ones_are_refused(tmp_path, text):
    path = tmp_path / "x.json"
    for read, whole in ((read_result, RESULT), (read_collected, COLLECTED)):
        path.write_text(json.dumps(whole))
        assert read(path) == whole
        path.write_text(text)
        with pytest.raises(ValueError, match=f"{path} is .*: remove it, and run its target again"):
            read(path)


@pytest.mark.slow
def test_an_interrupted_training_has_the_numbers_of_one_that_was_not(tmp_path):
    command = "train.py -d digits -e 40 --vae-samples 2 --estimator iwae"
    each = TRAIN._replace(command=command)
    code = (
        f"import sys; sys.path.insert(0, {str(Path(runner.__file__).parent)!r});"
        "import job; from pathlib import Path; from targets import Job;"
        f"job.run(Job(*{tuple(each)!r}), Path({str(tmp_path)!r}))"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    own = places.prefix(tmp_path, "tiny", "t", "train-0")
    while not (own / "log").exists():
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    process.wait()
    assert state_of(each, tmp_path)[0] == ABORTED
    assert len(json.loads((own / "log").read_text())) < 40
    runner.run(each, tmp_path)
    runner.run(each._replace(name="whole"), tmp_path)
    whole = places.prefix(tmp_path, "tiny", "t", "whole")
    cut, uncut = (json.loads((each / "log").read_text()) for each in (own, whole))
    assert [e["validation/main/iwae"] for e in cut] == [e["validation/main/iwae"] for e in uncut]
    assert "--resume" in shlex.join(runner._resumed(["train.py", "-o", "x"], own, each))


def test_the_same_folder_by_another_name_is_the_same_command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    each = measure(tmp_path)
    runner.run(each, Path("work"))
    runner.run(each, tmp_path / "work")
    assert not list(tmp_path.rglob("*.old-1"))
