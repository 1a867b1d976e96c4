"""Cores: each job gets its own, so that two at a time do not fight."""

import os
import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path

from jvi.files import locked

__all__ = ["pinned"]

# This user's on this machine: runs of all folders share its cores.
FOLDER = Path(tempfile.gettempdir()) / f"jvi-cores-{getattr(os, 'getuid', int)()}"


@contextmanager
def pinned(threads):
    """Hold so many cores of this machine for this process and what it starts; yields how many.

    Cores are told apart by locks, which the system releases however a process ends. Where too few
    are free, or the system cannot pin, the process stays where it is.
    """
    allowed = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    own = []
    with ExitStack() as stack:
        for core in allowed:
            if len(own) < threads and _taken(stack, core):
                own.append(core)
        enough = len(own) == threads
        if enough:
            os.sched_setaffinity(0, own)
        try:
            yield threads if enough else len(allowed) or os.cpu_count()
        finally:
            if enough:
                os.sched_setaffinity(0, allowed)


def _taken(stack, core):
    try:
        (FOLDER / str(core)).mkdir(parents=True, exist_ok=True)
        stack.enter_context(locked(FOLDER / str(core), "taken"))
    except (ValueError, OSError):
        return False
    return True
