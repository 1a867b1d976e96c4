"""Ranks: what a run on many processes exchanges, and how it ends."""

import re
import sys
import textwrap

import mpi
import numpy as np
import pytest

from jvi.engine import ranks as module
from jvi.engine.ranks import Ranks, ranks

# On three ranks. What fails here fails on one rank alone: rank 0 would wait for it for ever.
PROGRAM = textwrap.dedent(
    """
    import sys
    import numpy as np
    from jvi.engine.ranks import ranks
    from jvi.engine.threads import cores, parallel_map

    here = ranks()
    assert here.size == 3 and here.gather(lambda: [here.rank]) == [0, 1, 2]
    assert here.first(here.rank + 7) == 7
    assert here.cores == cores() and here.threads == max(1, cores() // 3), here.threads

    everything = [np.arange(5.0), "text", {"a": 1}, None]
    own = everything[here.share(4)]
    assert [str(each) for each in here.gather(lambda: own)] == [str(each) for each in everything]

    def draws(rank, dtype, shapes=((7, 3), (), (1000,))):
        rng = np.random.default_rng(rank)
        return [np.array(rng.normal(size=shape) * 10.0**rank, dtype) for shape in shapes]

    for dtype in (np.float32, np.float64, np.float32):
        arrays = draws(here.rank, dtype)
        here.sum(arrays)
        for found, *parts in zip(arrays, *(draws(rank, dtype) for rank in range(3))):
            exact = parts[0].astype(float) + parts[1] + parts[2]
            np.testing.assert_array_equal(found, exact.astype(dtype))
            assert found.dtype == dtype and found.shape == parts[0].shape

    def fails():
        if here.rank == 2:
            raise ArithmeticError("of rank 2")
        return []

    for _ in range(2):  # and one can go on afterwards
        try:
            here.gather(fails)
        except ArithmeticError as error:
            assert str(error) == "of rank 2"
        else:
            raise AssertionError("no error")

    class Odd(Exception):  # one that cannot be made again from what it says
        def __init__(self, one, two):
            super().__init__(one)

    def odd():
        raise Odd("odd", 2)

    try:
        here.gather(odd)
    except RuntimeError as error:
        assert "odd" in str(error)

    here.agree(data=[np.zeros(3)], options="same")
    for data in (
        np.zeros(3 + (here.rank == 1)),
        np.zeros(3) + here.rank // 2,
        np.zeros(3, np.float32 if here.rank else np.float64),
        here.rank,
    ):
        try:
            here.agree(data=data)
        except ValueError as error:
            assert "do not have the same data" in str(error), error
        else:
            raise AssertionError(data)
    assert here.gpu(1, 4) == (1, 2, 3)[here.rank] and here.gpu(0, 2) == (0, 1, 0)[here.rank]
    print(f"rank {here.rank} is done", flush=True)
    """
)


def test_one_process_is_all_there_is(monkeypatch):
    alone = Ranks()
    assert (alone.rank, alone.size, alone.share(10)) == (0, 1, slice(0, 10))
    assert alone.gather(lambda: [1, 2]) == [1, 2] and alone.first("x") == "x"
    array = np.ones(3)
    alone.sum([array])
    alone.agree(data=array)
    np.testing.assert_array_equal(array, 1)
    for name in (*module.SIZES, "PMIX_RANK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(module, "_world", None)  # nothing asks for MPI
    assert ranks.__wrapped__().size == 1
    monkeypatch.setenv("PMI_SIZE", "1")
    assert ranks.__wrapped__().size == 1


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64])
def test_shares_are_all_there_is_once_and_alike(size):
    for count in (0, 1, 5, 64, 1000):
        here = Ranks()
        here.size, parts = size, []
        for here.rank in range(size):
            parts.append(range(count)[here.share(count)])
        assert [each for part in parts for each in part] == list(range(count))
        assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_processes_that_cannot_find_each_other_do_not_run_each_for_itself(monkeypatch):
    monkeypatch.setattr(module, "PATIENCE", 0)

    def missing():
        raise ImportError("No module named 'mpi4py'")

    for variable in ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS"):
        with monkeypatch.context() as context:
            context.setenv(variable, "4")
            context.setattr(module, "_world", missing)
            with pytest.raises(ImportError, match=r"4 processes were started.*pip install mpi4py"):
                ranks.__wrapped__()
            context.setattr(module, "_world", lambda: type("Comm", (), {"rank": 0, "size": 1}))
            with pytest.raises(ValueError, match="4 processes were started, but MPI knows of 1"):
                ranks.__wrapped__()


def test_no_mpi_is_asked_for_without_a_launcher():
    assert ranks().size > 1 or "mpi4py.MPI" not in sys.modules


@mpi.needs_mpi
def test_what_three_ranks_exchange(tmp_path):
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    said = re.findall(r"rank \d is done", mpi.run(3, path))  # lines of ranks may mix
    assert sorted(said) == [f"rank {i} is done" for i in range(3)]


@mpi.needs_mpi
@pytest.mark.slow
def test_an_error_that_nobody_catches_ends_all():
    code = (
        "import time; from jvi.engine.ranks import ranks; here = ranks()\n"
        "if here.rank == 1: raise RuntimeError('of rank 1')\n"
        "time.sleep(50)"
    )
    status, _, err = mpi.ended(mpi.start(2, "-c", code))
    assert status == 1 and err.rstrip().endswith("RuntimeError: of rank 1")
