"""Run one job of a target: pinned to its cores, resumed where it was, its result in one file.

Usage:
  job.py [--runs <folder>] [--result <file>] <target> <budget> <job>
  job.py (-h | --help)

Options:
  --runs <folder>  Where models, logs and states are kept [default: reproduction].
  --result <file>  Where the result goes, else to its place among the runs.
"""

import hashlib
import os
import re
import shlex
import signal
import statistics
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from platform import machine, python_version
from platform import processor as processor_name
from time import monotonic

import places
from docopt import docopt
from pins import pinned
from results import FORMAT, numbers_of, read_json
from states import ABORTED, FAILED, FINISHED, RUNNING, write_state
from targets import jobs

from jvi.cli import command
from jvi.files import locked, write_json

ROOT = Path(__file__).resolve().parent.parent.parent
HARDWARE = Path("/proc/cpuinfo")
SIGNALS = signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)
MOST = 2**16  # bytes of the end of a log that are looked at
PACKAGES = ("jackknife-vi", "chainer", "numpy", "scipy", "numba")  # that numbers may depend on


@command
def main(argv=None):
    arguments = docopt(__doc__, argv)
    known = jobs(arguments["<target>"], arguments["<budget>"])
    if arguments["<job>"] not in known:
        raise ValueError(f"{arguments['<target>']} has no job {arguments['<job>']!a}")
    job = known[arguments["<job>"]]
    result = arguments["--result"]
    run(job, Path(arguments["--runs"]), Path(result) if result else None)


def run(job, work, path=None):
    """Run a job, write its state while it does, and its result at the end."""
    own = places.prefix(work, job.budget, job.target, job.name)
    line, busy = _line(job, work, own), f"{job.target}, {job.name}: another process runs it"
    texts = {"command.txt": shlex.join(_portable(line, work)), "before.txt": _before(job, work)}
    _settle(own.parent, texts, busy)
    with locked(own.parent, busy):
        _state(job, work, RUNNING, line)
        with pinned(job.threads) as cores:
            start, before = monotonic(), _processor()
            code = _follow(_resumed(line, own, job), own.parent / "log.txt")
            spent = _spend(own.parent, monotonic() - start, _processor() - before, job.kind)
        if code == ABORTED:
            _state(job, work, ABORTED, line)
            raise KeyboardInterrupt
        if code != 0:
            _state(job, work, FAILED, line)
            raise ValueError(f"{job.target}, {job.name}: {_why(code, own.parent / 'log.txt')}")
        result = _result(job, line, own, work) | spent | _where(cores)
        write_json(path or places.result(work, *_place(job)), result)
        _state(job, work, FINISHED, line)


def _line(job, work, own):
    """The command, as words, with this job's places in it."""
    of = places.prefix(work, job.budget, job.target, job.of) if job.of else ""
    runs = places.runs(work, job.budget, job.target)
    words = shlex.split(job.command)
    line = [each.format(prefix=own, out=own, of=of, runs=runs) for each in words]
    named = re.search(r"\{(prefix|out)\}", job.command)
    if job.kind == "train" and not named:
        line += ["-o", str(own)] + (["--resume", str(of)] if job.of else [])
    if job.kind == "evaluate":
        line += ["--table", str(own), "--overwrite", str(of)]
    return line


def _resumed(line, own, job):
    """The same, or training by its own files' options where there is a checkpoint to go on from."""
    training = job.kind == "train" and Path(line[0]).name == "train.py"
    if training and (own / "snapshot_latest").exists():
        line = [line[0], "--resume", str(own), "--quiet"]
    elif training:
        line = [*line, "--overwrite"]  # what ended before its first epoch
    script = ROOT / (line[0] if "/" in line[0] else f"scripts/{line[0]}")
    return [sys.executable, str(script), *line[1:]]


def _before(job, work):
    """Changes with the commands of all runs that this one goes on from or reads, and theirs."""
    found = hashlib.sha256()
    for name in filter(None, (job.of, *job.after)):
        folder = places.prefix(work, job.budget, job.target, name).parent
        for file in (folder / "command.txt", folder / "before.txt"):
            found.update(file.read_bytes() if file.exists() else b"")
    return found.hexdigest()


def _settle(folder, texts, busy):
    """Put the files of other commands, for the target was changed, out of the way."""
    written = {folder / name: f"{text}\n" for name, text in texts.items()}
    if any(path.exists() and path.read_text() != text for path, text in written.items()):
        number = next(n for n in range(1, 10**6) if not Path(f"{folder}.old-{n}").exists())
        with locked(folder, busy):
            folder.rename(f"{folder}.old-{number}")
    folder.mkdir(parents=True, exist_ok=True)
    for path, text in written.items():
        path.write_text(text)


def _follow(line, log):
    """Run a command to its end; it is told of signals, so that it can keep its checkpoint.

    It has a session of its own, or those of a terminal would reach it twice. What is ignored here,
    as by nohup, stays so.
    """
    stopped, process = [], None

    def stop(number, frame):
        stopped.append(number)
        if process:
            process.terminate()

    heard = [each for each in SIGNALS if signal.getsignal(each) != signal.SIG_IGN]
    before = {number: signal.signal(number, stop) for number in heard}
    try:
        with log.open("ab") as file:
            process = subprocess.Popen(line, stdout=file, stderr=file, start_new_session=True)
        if stopped:  # while it was started
            process.terminate()
        code = process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return ABORTED if stopped else code


def _why(code, log):
    """What a command said last, and which signal ended it, if one did."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - MOST))
        lines = file.read(MOST).decode(errors="replace").replace("\r", "\n").splitlines()
    said = next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")
    ended = f"ended by signal {-code}, after: " if code < 0 else ""
    return f"{ended}{said} ({log})"


def _processor():
    times = os.times()
    return times.children_user + times.children_system


def _spend(folder, seconds, processor, kind):
    """Seconds of this attempt, and of earlier ones, which all but evaluations may go on from."""
    kept = folder / "seconds.json"
    before = read_json(kept) if kept.exists() and kind != "evaluate" else {}
    spent = {
        "seconds": before.get("seconds", 0) + seconds,
        "cpu_seconds": before.get("cpu_seconds", 0) + processor,
    }
    write_json(kept, spent)
    return spent


def _result(job, line, own, work):
    return {
        "format": FORMAT,
        "target": job.target,
        "budget": job.budget,
        "job": job.name,
        "label": job.label,
        "kind": job.kind,
        "values": job.values,
        "command": shlex.join(_portable(line, work)),
        "numbers": _numbers(job, own),
        "versions": {each: version(each) for each in PACKAGES} | {"python": python_version()},
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _portable(line, work):
    """Without this machine's folders."""
    return [each.replace(f"{work}/", "RUNS/") for each in line]


def _numbers(job, own):
    if job.kind == "train":
        return _training(own)
    written = [own.with_suffix(end) for end in (".json", ".csv") if own.with_suffix(end).exists()]
    if not written:
        raise ValueError(f"{job.target}, {job.name}: its command wrote no {own}.json or .csv")
    return numbers_of(written[0])


def _training(own):
    """Of a log: epochs, the best validation bound, and the time that an epoch took."""
    if not (own / "log").exists():
        return {}
    log = read_json(own / "log")
    times = [entry["elapsed_time"] for entry in log]
    steps = [b - a for a, b in zip([0.0, *times], times, strict=False)]
    bounds = [-e["validation/main/iwae"] for e in log if "validation/main/iwae" in e]
    return {
        "epochs": log[-1]["epoch"],
        "best": max(bounds) if bounds else None,
        "seconds_per_epoch": statistics.median(steps),
    }


def _where(cores):
    return {"hardware": {"processor": processor(), "cores": cores}}


def processor():
    """The name of this machine's processor, as far as the system tells."""
    told = HARDWARE.read_text(errors="replace") if HARDWARE.exists() else ""
    found = re.search(r"^model name\s*:\s*(.+)$", told, re.M)
    return found[1] if found else processor_name() or machine()


def _place(job):
    return job.budget, job.target, job.kind, job.name


def _state(job, work, what, line):
    write_state(places.state(work, job.budget, job.target, job.name), what, shlex.join(line))


if __name__ == "__main__":
    main()
