"""Convert a published checkpoint of the tighter-bounds reproduction, found by its name.

Usage:
  checkpoint.py <name> <prefix>
  checkpoint.py (-h | --help)

<name> is that of a file without its ending, as model_MIVAE_M8_k8: NAME.pt or NAME.state.pt in the
folder that the variable JVI_CHECKPOINTS names, a state dictionary of PyTorch (docs/tightiwae.md).
<prefix> is where the model goes; what an earlier call left there is replaced.

Options:
  -h --help    Show this help screen.
"""

import os
from pathlib import Path

from jvi.cli import arguments_of, command
from jvi.scripts import convert

VARIABLE = "JVI_CHECKPOINTS"
ENDINGS = (".pt", ".state.pt")
SOURCE = "github.com/madhubabuv/TightIWAE"


@command
def main(argv=None):
    arguments, _ = arguments_of(__doc__, argv)
    path = find(arguments["<name>"], os.environ.get(VARIABLE, ""))
    convert.main([str(path), arguments["<prefix>"], "--overwrite"])


def find(name, folder):
    """The file of a checkpoint.

    Raises
    ------
    FileNotFoundError
        Saying where it is from, and what to do with it.
    """
    paths = [Path(folder) / f"{name}{ending}" for ending in ENDINGS]
    for path in paths:
        if folder and path.exists():
            return path
    where = f"{paths[0]} does not exist" if folder else f"{VARIABLE} names no folder"
    raise FileNotFoundError(
        f"{where}: save the state dictionary of each model of {SOURCE}, as docs/tightiwae.md has "
        f"it, and name their folder by {VARIABLE}"
    )


if __name__ == "__main__":
    main()
