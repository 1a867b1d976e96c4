"""evaluate.py --log-weights: the table of log-weights in a file, without a model."""

import os
from pathlib import Path

from jvi.cli import asked, check_effects, check_outputs
from jvi.scripts.written import write_arrays, write_table

BOUNDS = "elbo,iwae,jvi"  # unless others are asked for

# What has an effect without a model.
OPTIONS = ("--log-weights", "--name", "--eval", "--jvi-order", "--samples")
OPTIONS += ("--table", "--per-image", "--overwrite", "--quiet")


def check(typed, given):
    """Refuse, before the work, what log-weights cannot tell, and files that cannot be written."""
    from jvi.assessment.summary import check_names

    idle = [option for option in given if option.startswith("--") and option not in OPTIONS]
    check_effects(given, idle, False, "a model, not for --log-weights")
    with asked("--eval"):
        check_names(typed["--eval"], typed["--jvi-order"][0])
    table = typed["--table"]
    new = {"--per-image": typed["--per-image"]}
    new["--table"] = [f"{table}.json", f"{table}.csv"] if table else []
    own = os.path.abspath(typed["--log-weights"])
    check_outputs(new, typed["--overwrite"], data=(own, None))


def evaluate_file(typed, given):
    """Print and write what the log-weights of a file tell.

    Parameters
    ----------
    typed : dict
        Numbers and lists by option.
    given : dict
        What stands on the command line.
    """
    from jvi.assessment import tables
    from jvi.assessment.log_weights import read
    from jvi.assessment.summary import summary
    from jvi.engine.ranks import ranks

    if ranks().rank:  # one of them is enough, and would see what another has written
        return
    check(typed, given)
    path, told = typed["--log-weights"], not typed["--quiet"]
    log_w = read(path, typed["--name"])
    if told:
        num_samples, num_points = log_w.shape
        print(f"{path}: {num_points} data points, {num_samples} samples each", flush=True)
    counts = typed["--samples"] if "--samples" in given else [len(log_w)]
    found = summary(log_w, typed["--eval"], counts, typed["--jvi-order"][0], progress=told)
    if told:
        print(found)
    try:
        _write(found, typed, counts, told)
    finally:
        print(*tables.result_lines(found.rows[:-1]), sep="\n")


def _write(found, typed, counts, told):
    table, per_image = typed["--table"], typed["--per-image"]
    written = write_table(
        _report(found, typed, counts), Path(typed["--log-weights"]).with_suffix(""), table
    )
    if per_image:
        _write_per_image(found, typed)
    if told:
        print(written)
    if told and typed["--overwrite"] and not (table or per_image):
        print("note: --overwrite has no effect without --table or --per-image")


def _report(found, typed, counts):
    options = {name: typed[name] for name in OPTIONS if typed[name] not in (None, False)}
    about = {"log_weights": typed["--log-weights"], "arguments": options | {"--samples": counts}}
    return found.report() | about


def _write_per_image(found, typed):
    import numpy as np

    from jvi.assessment import tables

    arrays = tables.per_image(found.evaluations, typed["--eval"], "elbo")
    image = np.arange(len(found.per_image["ess"]))
    write_arrays(typed["--per-image"], {"image": image} | arrays)
