"""What a job is doing: a small file that it writes, and what can be told of it from outside."""

import json
import os
import socket
from datetime import UTC, datetime
from pathlib import Path

import places
from results import read_json

from jvi.files import atomic_write

__all__ = [
    "ABORTED",
    "FAILED",
    "FINISHED",
    "QUEUED",
    "RUNNING",
    "state_of",
    "write_json",
    "write_state",
]

QUEUED, RUNNING, FINISHED = "queued", "running", "finished"
FAILED, ABORTED = "failed", "aborted"


def write_json(path, value):
    """Write a file, whole or not at all."""
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1, allow_nan=False) + "\n")


def write_state(path, state, command):
    """Say what this process's job is doing."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    own = {"state": state, "pid": os.getpid(), "host": socket.gethostname()}
    write_json(path, own | {"since": now, "command": command})


def state_of(job, work):
    """(state, since when, its log) of a job; a process that is gone has been aborted."""
    path = places.state(work, job.budget, job.target, job.name)
    if not path.exists():
        return QUEUED, "", ""
    found = read_json(path)
    state, since = found["state"], found["since"]
    if places.result(work, job.budget, job.target, job.kind, job.name).exists():
        state = FINISHED
    elif state == RUNNING and not _alive(found):
        state = ABORTED
    elif state == FINISHED:  # its result was removed
        state = QUEUED
    return state, since, str(path.parent / "log.txt")


def _alive(found):
    """Of a process on another host this cannot be known."""
    return found["host"] != socket.gethostname() or Path(f"/proc/{found['pid']}").exists()
