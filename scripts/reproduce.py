"""Run a published table or figure again: train, evaluate, draw, and write a page with a verdict.

Usage:
  reproduce.py [options] [<target>...]
  reproduce.py --list
  reproduce.py (-h | --help)

Without targets all that have the budget. Runs are queued, pinned to their cores and resumed by
Snakemake, which this calls; it needs a clone of the repository (its folder workflow/). Interrupt
it at any time: the same command goes on, training from its last checkpoint, and runs what failed
again.

Options:
  -h --help                  Show this help screen.
  --list                     Print the targets, and what their budgets cost.
  --status                   Run nothing: print what every run is doing, queued, running, finished,
                             failed or aborted.
  -b <budget>, --budget <budget>
                             "full" (as published), "small" (minutes to an hour on two cores) or
                             "tiny" (seconds, on embedded data) [default: small].
  -j <cores>, --cores <cores>
                             So many at once; by default all cores of this machine.
  -w <folder>, --work <folder>
                             Where runs, results/ and pages/ are kept [default: reproduction].
  --publish                  Write results and pages into the repository instead, to
                             workflow/results and docs/reproduction.
  --data-dir <folder>        Folder that holds mnist/, omniglot/, cifar10/ (else the variable
                             JVI_DATA, else a download).
  --profile <profile>        "slurm" or "kubernetes" of workflow/profiles, or a folder of your own:
                             docs/cluster.md.
  --dry-run                  Print what would be run.
"""

import os
import subprocess
import sys
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

from jvi.cli import UsageError, arguments_of, asked, command, number
from jvi.text import table

WORKFLOW = Path(__file__).resolve().parent.parent / "workflow"
PUBLISHED = {
    "results": WORKFLOW / "results",
    "pages": WORKFLOW.parent / "docs" / "reproduction",
}


@command
def main(argv=None):
    arguments, given = arguments_of(__doc__, argv)
    _check_workflow()
    if arguments["--list"]:
        print(listed())
        return
    if "--data-dir" in given:
        os.environ["JVI_DATA"] = str(Path(given["--data-dir"]).resolve())
    budget, work = arguments["--budget"], Path(arguments["--work"])
    with asked():
        jobs = jobs_of(arguments["<target>"], budget)
    if arguments["--status"]:
        print(status(jobs, work, each_run=bool(arguments["<target>"])))
        return
    if arguments["--publish"] and budget == "tiny":
        raise UsageError("--publish is for results to show: full or small")
    if find_spec("snakemake") is None:
        raise ValueError("Snakemake is not installed: pip install '.[reproduce]' in the clone")
    cores = number(arguments, "--cores", least=1) if "--cores" in given else None
    if not arguments["--dry-run"]:
        check_data(jobs, budget)
    run(jobs, budget, work, cores, arguments)


def _check_workflow():
    if not (WORKFLOW / "Snakefile").exists():
        raise ValueError(
            "the targets are not installed with the package: clone the repository, and run "
            "make reproduce there"
        )
    sys.path.insert(0, str(WORKFLOW / "scripts"))


def listed():
    """All targets and what their budgets cost."""
    from targets import names, read

    lines = []
    for name in names():
        target = read(name)
        lines.append(f"{name}: {target['title']}")
        lines += [f"    {each}: {b.get('cost', '')}" for each, b in target["budgets"].items()]
    return "\n".join(lines)


def jobs_of(wanted, budget):
    """The jobs of these targets, or of all that have the budget and lack nothing, by target.

    Raises
    ------
    ValueError
        For an unknown target or budget, listing the known.
    """
    import targets

    if budget not in targets.BUDGETS:
        known = ", ".join(targets.BUDGETS)
        raise ValueError(f"--budget: {budget!a} is unknown: choose from {known}")
    known = [name for name in targets.names() if budget in targets.read(name)["budgets"]]
    wanted = wanted or [name for name in known if not lacks(name)]
    return {name: targets.jobs(name, budget) for name in wanted}


def status(jobs, work, each_run):
    """What all runs are doing: counts by target, and single ones that need a look."""
    from states import ABORTED, FAILED, FINISHED, QUEUED, RUNNING, state_of

    order = [QUEUED, RUNNING, FINISHED, FAILED, ABORTED]
    rows, lines = [], []
    for name, own in jobs.items():
        found = {job: state_of(each, work) for job, each in own.items()}
        counts = Counter(state for state, *_ in found.values())
        rows.append([name, *(str(counts[state]) for state in order)])
        lines += [
            f"{name}/{job}: {state}{f' since {since}' if since else ''}{f', {log}' if log else ''}"
            for job, (state, since, log) in found.items()
            if each_run or state in (RUNNING, FAILED, ABORTED)
        ]
    return "\n".join([table(rows, ["target", *order]), *lines])


def lacks(name):
    """The variable that a target needs and that is not set, and what it is; or nothing."""
    from targets import read

    for variable, what in read(name).get("environment", {}).items():
        if variable not in os.environ:
            return f"{variable}: {what}"


def check_data(jobs, budget):
    """Look for everything that is needed, so that what is missing is said before any work."""
    from targets import budget_of, datasets_of, read

    from jvi import datasets

    for name in jobs:
        if lacks(name):
            raise ValueError(f"{name} needs the variable {lacks(name)}")

    needed = {
        each: name
        for name in jobs
        for each in datasets_of(read(name), budget_of(read(name), name, budget))
    }
    for each, name in needed.items():
        try:
            datasets.load(each)
        except (ValueError, OSError) as error:
            raise ValueError(f"{name} needs {each}: {error}") from None


def run(jobs, budget, work, cores, arguments):
    """Hand the targets to Snakemake, and say what came out."""
    from jvi.files import locked

    config = {"target": ",".join(jobs), "budget": budget, "work": str(work)}
    config |= PUBLISHED if arguments["--publish"] else {}
    quiet = ["--dry-run"] if arguments["--dry-run"] else ["--quiet", "host", "rules"]
    line = [sys.executable, "-m", "snakemake", "-s", str(WORKFLOW / "Snakefile"), "--nolock",
            *quiet, "--rerun-incomplete", "--keep-going", "--rerun-triggers", "mtime", "params",
            "--cores", str(cores or "all"),
            "--config", *(f"{key}={value}" for key, value in config.items())]  # fmt: skip
    if arguments["--profile"]:
        line += ["--profile", _profile(arguments["--profile"])]
    if arguments["--dry-run"]:
        sys.exit(subprocess.run(line).returncode)
    work.mkdir(parents=True, exist_ok=True)
    with locked(work, f"another reproduce works in {work}: name another folder with --work"):
        code = _followed(line)
    print(status(jobs, work, each_run=False))
    if code:
        raise ValueError("not all runs finished: see above; the same command goes on")
    print(f"{PUBLISHED['pages'] if arguments['--publish'] else work / 'pages'}/index.md")


def _followed(line):
    """The exit status of Snakemake, which gets signals of a terminal, too, and is waited for."""
    process = subprocess.Popen(line)
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            process.terminate()


def _profile(name):
    folder = WORKFLOW / "profiles" / name
    found = folder if (folder / "config.yaml").exists() else Path(name)
    if not (found / "config.yaml").exists():
        known = ", ".join(
            sorted(each.parent.name for each in WORKFLOW.glob("profiles/*/config.yaml"))
        )
        raise UsageError(f"--profile: {name!a} is no folder with a config.yaml, nor one of {known}")
    return str(found)


if __name__ == "__main__":
    main()
