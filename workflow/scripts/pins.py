"""Cores: each job gets its own, so that two at a time do not fight."""

import os
import socket
from contextlib import ExitStack, contextmanager
from pathlib import Path

from jvi.files import locked

__all__ = ["pinned"]


@contextmanager
def pinned(work, threads):
    """Hold so many cores of this machine for this process and what it starts; yields how many.

    Cores are told apart by locks in the folder of runs, which the system releases however a
    process ends. Where too few are free, or the system cannot pin, the process stays where it is.
    """
    allowed = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    own = []
    with ExitStack() as stack:
        for core in allowed:
            if len(own) < threads and _taken(stack, work, core):
                own.append(core)
        enough = len(own) == threads
        if enough:
            os.sched_setaffinity(0, own)
        try:
            yield threads if enough else len(allowed) or os.cpu_count()
        finally:
            if enough:
                os.sched_setaffinity(0, allowed)


def _taken(stack, work, core):
    folder = Path(work) / ".cores" / f"{socket.gethostname()}-{core}"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        stack.enter_context(locked(folder, "taken"))
    except ValueError:
        return False
    return True
