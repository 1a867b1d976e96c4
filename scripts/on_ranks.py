"""A command on many processes: where mpiexec has started several, they are one run."""

import functools
import os

# Of the variables by which launchers make themselves known.
LAUNCHERS = ("PMI_", "PMIX_", "OMPI_COMM_", "MV2_COMM_", "SLURM_STEP_NUM_TASKS")


def on_ranks(main):
    """A command's `main` that knows of other ranks; with no launcher about it is as it was."""

    @functools.wraps(main)
    def run(argv=None):
        if not any(name.startswith(LAUNCHERS) for name in os.environ):
            return main(argv)
        from jvi.engine.ranks import one_run  # imports Chainer

        with one_run():
            return main(argv)

    return run
