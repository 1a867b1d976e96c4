"""What a job is doing: a small file that it writes, and what can be told of it from outside."""

import os
import socket
from datetime import UTC, datetime

import places
from results import read_json

from jvi.files import write_json

__all__ = [
    "ABORTED",
    "FAILED",
    "FINISHED",
    "QUEUED",
    "RUNNING",
    "state_of",
    "write_state",
]

QUEUED, RUNNING, FINISHED = "queued", "running", "finished"
FAILED, ABORTED = "failed", "aborted"


def write_state(path, state, command):
    """Say what this process's job is doing."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    own = {"state": state, "pid": os.getpid(), "host": socket.gethostname()}
    write_json(path, own | {"since": now, "command": command})


def state_of(job, work):
    """(state, since when, its log) of a job; a process that is gone has been aborted.

    Raises
    ------
    ValueError
        Naming the file of its state, where that is damaged.
    """
    path = places.state(work, job.budget, job.target, job.name)
    finished = places.result(work, job.budget, job.target, job.kind, job.name).exists()
    if not path.exists():
        return FINISHED if finished else QUEUED, "", ""
    found = _checked(path, read_json(path))
    state = found["state"]
    if finished:
        state = FINISHED
    elif state == RUNNING and not _alive(found):
        state = ABORTED
    elif state == FINISHED:  # its result was removed
        state = QUEUED
    return state, found["since"], str(path.parent / "log.txt")


def _checked(path, found):
    kinds = {"state": str, "since": str, "host": str, "pid": int}
    if not isinstance(found, dict) or not all(
        isinstance(found.get(key), kind) for key, kind in kinds.items()
    ):
        raise ValueError(f"{path} is damaged: remove it")
    return found


def _alive(found):
    """Of a process on another host this cannot be known."""
    if found["host"] != socket.gethostname():
        return True
    try:
        os.kill(found["pid"], 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass
    return True
