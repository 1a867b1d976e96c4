"""Print what the files of a model hold, and every reason to doubt them.

Usage:
  inspect_model.py <prefix>
  inspect_model.py (-h | --help)

<prefix> is what was given to train.py -o, or one file of a model: a snapshot, .npz, .h5 or
.safetensors.

Options:
  -h --help    Show this help screen.
"""

from jvi.cli import arguments_of, command
from jvi.text import table


@command
def main(argv=None):
    arguments, _ = arguments_of(__doc__, argv)
    print(summary(arguments["<prefix>"]))


def summary(prefix: str) -> str:
    """The text that `inspect_model.py` prints."""
    from jvi.assessment.doubts import doubts, trained_as
    from jvi.models.files import read_model

    files = read_model(prefix)
    facts = {
        "file": files.path,
        "model": files.link.spec,
        "trained as": trained_as(files),
        **_training(files),
        "arguments": " ".join(f"{k}={v}" for k, v in files.meta.items() if v not in (None, False)),
    }
    lines = [f"{name:<15} {value}".rstrip() for name, value in facts.items()]
    reasons = doubts(files)
    doubtful = [f"{len(reasons)} doubts:", *(f"- {reason}" for reason in reasons)]
    return "\n".join(
        [*lines, "", _parameters(files), "", *(doubtful if reasons else ["no doubts"])]
    )


def _training(files):
    """What is known of how far training went, and with what optimizer."""
    from jvi.assessment.doubts import read_best, read_log, trainer_state

    try:
        log = read_log(files.prefix)
    except (ValueError, FileNotFoundError):
        log = []
    try:
        best = f"{read_best(files.prefix):f}"
    except (ValueError, FileNotFoundError):
        best = "unknown"
    try:
        iteration, optimizer = trainer_state(files.path)
    except ValueError:  # which is among the doubts
        iteration, optimizer = None, None
    epochs = log[-1].get("epoch") if log else "unknown"
    taken = "" if iteration is None else f", snapshot taken at iteration {iteration}"
    return {
        "epochs": f"{epochs} of {files.meta.get('--epochs', 'unknown')}{taken}",
        "best objective": best,
        "optimizer": optimizer or "none stored",
    }


def _parameters(files):
    """The table of parameters."""
    rows = [
        (name, "x".join(map(str, array.shape)), *(f"{f(array):.4g}" for f in _STATISTICS.values()))
        for name, array in files.parameters.items()
    ]
    return table(rows, ("parameter", "shape", *_STATISTICS))


_STATISTICS = {
    "min": lambda a: a.min(),
    "mean": lambda a: a.mean(dtype=float),
    "max": lambda a: a.max(),
    "std": lambda a: a.std(dtype=float),
}


if __name__ == "__main__":
    main()
