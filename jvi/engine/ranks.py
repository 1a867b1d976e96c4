"""Ranks: one run on many processes, started by mpiexec.

Every rank has the same data and parameters and does a share of the work. What the shares give is
put together in an order that depends on neither timing nor the MPI library, on every rank alike:

- `Ranks.gather` joins lists in the order of ranks, so that a result is that of one process to the
  last bit; and what one rank raises, all raise;
- `Ranks.sum` adds arrays in the order of ranks, in float64.

What ranks tell each other is pickled: it comes from this run alone, never from a file.

Without mpiexec there is one rank, nothing is exchanged, and mpi4py is not imported. All calls are
made by the main thread, by all ranks in the same order.
"""

import hashlib
import os
import pickle
import platform
import sys
import time
import traceback
from contextlib import contextmanager
from functools import cache
from importlib.metadata import PackageNotFoundError, version

import numpy as np

from jvi.evidence.arrays import host, namespace

__all__ = ["Ranks", "one_run", "ranks"]

# By which launchers tell a process how many they started, and which it is.
SIZES = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS")
NUMBERS = ("OMPI_COMM_WORLD_RANK", "PMI_RANK", "MV2_COMM_WORLD_RANK", "SLURM_PROCID", "PMIX_RANK")

PATIENCE = 2.0  # seconds in which another rank may say the same, and end all
SPIN = 2e-3  # seconds of asking again at once; ranks that share a core would wait for each other


class Ranks:
    """The processes of a run, and this one's place among them.

    Parameters
    ----------
    comm : mpi4py.MPI.Intracomm, optional
        Without it this process is alone.

    Attributes
    ----------
    rank, size : int
        This process's number, from 0, and how many there are. Rank 0 writes and prints.
    cores : int or None
        How many cores the ranks on this host may use in all; None for a process that is alone.
    threads : int or None
        How many of them this rank should use: its own where it is bound to some.
    """

    def __init__(self, comm=None):
        self.comm, self.rank, self.size = comm, 0, 1
        self.place, self.cores, self.threads = 0, None, None  # place: among those on this host
        if comm is not None:
            self.rank, self.size = comm.rank, comm.size
            self._share_host()

    def _share_host(self):
        affinity = getattr(os, "sched_getaffinity", lambda _: range(os.cpu_count()))
        own = set(affinity(0))
        found = self._exchange((platform.node(), own))
        here = [cores for node, cores in found if node == platform.node()]
        self.place = sum(node == platform.node() for node, _ in found[: self.rank])
        self.cores = len(set().union(*here))
        bound = len(own) < self.cores
        self.threads = len(own) if bound else max(1, self.cores // len(here))

    def share(self, count):
        """This rank's part of `count` things, a slice; the parts' sizes differ by one at most."""
        ends = [count * rank // self.size for rank in (self.rank, self.rank + 1)]
        return slice(*ends)

    def gather(self, produce):
        """The lists that the function `produce` returns on each rank, joined in their order.

        Raises
        ------
        Exception
            What it raised on any rank, the first of them; on all ranks.
        """
        if self.size == 1:
            return produce()
        try:
            mine = produce(), None
        except Exception as error:
            mine = None, _portable(error)
        found = self._exchange(mine)
        for _, error in found:
            if error is not None:
                raise error
        return [each for part, _ in found for each in part]

    def first(self, value):
        """What rank 0 has, on all ranks."""
        return self.gather(lambda: [value])[0]

    def sum(self, arrays):
        """Replace arrays, of the same shapes on each rank, by their sums over ranks.

        Each rank adds up a segment of all numbers, from every rank in turn, in float64: as many
        bytes are sent as by a ring, and all ranks have the same sum whatever their processors.

        Parameters
        ----------
        arrays : list of array
            NumPy, or CuPy: those go by way of the host.
        """
        if self.size == 1:
            return
        dtype = np.result_type(*arrays)
        numbers, received, total = self._buffers(sum(each.size for each in arrays), dtype)
        ends = np.cumsum([0, *(each.size for each in arrays)])
        for array, start, end in zip(arrays, ends, ends[1:], strict=False):
            numbers[start:end] = host(array).ravel()
        _wait(self.comm.Ialltoall(numbers, received))
        total[...] = 0
        for segment in received.reshape(self.size, -1):
            total += segment
        _wait(self.comm.Iallgather(total.astype(dtype), numbers))
        for array, start, end in zip(arrays, ends, ends[1:], strict=False):
            array[...] = namespace(array).asarray(numbers[start:end].reshape(array.shape))

    @cache  # noqa: B019  there is one object of this class
    def _buffers(self, count, dtype):
        """For `count` numbers and all of theirs, and float64 for the sum of a rank's segment."""
        segment = -(-count // self.size)
        numbers, received = np.zeros((2, segment * self.size), dtype)
        return numbers, received, np.empty(segment)

    def agree(self, **facts):
        """Wait for all ranks, and refuse to go on where they have come with different things.

        Parameters
        ----------
        **facts
            Arrays, or lists of arrays, or what `str` says all of; by what it is to a user.

        Raises
        ------
        ValueError
            On all ranks.
        """
        if self.size == 1:
            return
        mine = {name: _digest(value) for name, value in (facts | _versions()).items()}
        found = self._exchange(mine)
        for other, theirs in enumerate(found):
            for name, value in theirs.items():
                if found[0].get(name) != value:
                    raise ValueError(
                        f"processes 0 and {other} of {self.size} do not have the same "
                        f"{name.replace('_', ' ')}: start all with the same options, files and "
                        "versions"
                    )

    def gpu(self, number, count):
        """The GPU, of `count`, for this rank where the command line names `number`."""
        return number if self.size == 1 else (number + self.place) % count

    def abort(self, status):
        """End all ranks."""
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # MPI has words of its own, which say less
        self.comm.Abort(status)

    def _exchange(self, value):
        """The values of all ranks, in their order."""
        data = np.frombuffer(pickle.dumps(value), np.uint8)
        counts = np.empty(self.size, np.int64)
        _wait(self.comm.Iallgather(np.array([len(data)]), counts))
        everything = np.empty(counts.sum(), np.uint8)
        _wait(self.comm.Iallgatherv(data, [everything, counts]))
        return [pickle.loads(part) for part in np.split(everything, np.cumsum(counts)[:-1])]


def _wait(request):
    """Until a request is done: so that signals are heard, and a core is left to who needs it."""
    start = time.perf_counter()
    while not request.Test():
        time.sleep(0 if time.perf_counter() - start < SPIN else 1e-4)


def _portable(error):
    """An error as another process can have it."""
    try:
        return pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")


def _digest(value):
    """A short text that is the same for the same value."""
    found = hashlib.blake2b(digest_size=16)
    for each in value if isinstance(value, list | tuple) else [value]:
        if hasattr(each, "dtype"):
            array = np.ascontiguousarray(host(each))
            found.update(f"{array.dtype}{array.shape}".encode())
            found.update(array.reshape(-1).view(np.uint8))
        else:
            found.update(f"{each}\0".encode())
    return found.hexdigest()


def _versions():
    found = {"python": platform.python_version()}
    for name in ("jackknife-vi", "numpy", "chainer", "numba", "scipy"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "none"
    return {"versions": str(found)}


@cache
def ranks():
    """The `Ranks` of this run.

    Raises
    ------
    ImportError, ValueError
        Where a launcher has started several processes that cannot find each other: each would do
        the whole run, and write over the others' files.
    """
    started = max(_told(SIZES), default=1)
    if started == 1 and "PMIX_RANK" not in os.environ:
        return Ranks()
    try:
        comm = _world()
    except ImportError as error:
        problem = ImportError(
            f"{started} processes were started, which find each other by mpi4py, but that cannot "
            f"be imported ({error}): pip install mpi4py mpich, or start one process"
        )
    else:
        if comm.size == max(started, comm.size) > 1:
            sys.excepthook = _unexpected
            return Ranks(comm)
        if started == 1:
            return Ranks()
        problem = ValueError(
            f"{started} processes were started, but MPI knows of {comm.size}: use the mpiexec of "
            "the MPI library that mpi4py is for (with its wheel: pip install mpich, and that's)"
        )
    if max(_told(NUMBERS), default=0):
        time.sleep(PATIENCE)  # one of them is enough to say so
    raise problem


def _told(names):
    """The whole numbers that the environment has under these names."""
    values = [os.environ.get(name, "") for name in names]
    return [int(value) for value in values if value.isdecimal()]


def _world():
    """All processes; MPI begins here."""
    os.environ.setdefault("MPIR_CVAR_SUPPRESS_ABORT_MESSAGE", "1")
    import mpi4py

    mpi4py.rc.thread_level = "funneled"
    from mpi4py import MPI

    return MPI.COMM_WORLD


@contextmanager
def one_run():
    """What a command does in this block is one run: rank 0 speaks for all, and all end together.

    Other ranks print nothing; where one fails alone, it says so in a line. Files are the business
    of who writes them: rank 0's.
    """
    try:
        here = ranks()
    except (ImportError, ValueError) as error:
        sys.exit(f"error: {error}")
    spoken = sys.stdout, sys.stderr
    if here.rank:
        sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115  for as long as it runs
    try:
        yield
    except SystemExit as stop:
        if here.size > 1 and stop.code:
            sys.stdout, sys.stderr = spoken
            _end(here, stop)
        raise


def _end(here, stop):
    """Let rank 0 say what happened before all end; another rank says it where rank 0 does not."""
    known = isinstance(stop.code, int)
    if here.rank == 0:
        if not known:
            print(stop.code, file=sys.stderr)
    else:
        time.sleep(PATIENCE)
        what = stop.args[0] if isinstance(stop.args[0], str) else "interrupted"
        print(f"{what} (process {here.rank} of 0 to {here.size - 1})", file=sys.stderr)
    here.abort(stop.code if known else 1)


def _unexpected(kind, error, trace):
    """Where nobody else deals with an error: the others would wait for this rank for ever."""
    sys.stderr = sys.__stderr__
    traceback.print_exception(kind, error, trace)
    ranks().abort(1)
