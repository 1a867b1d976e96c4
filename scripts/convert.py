"""Convert a model between the forms that parameters are kept in.

Usage:
  convert.py [options] <prefix> <out>
  convert.py --summary <prefix>
  convert.py (-h | --help)

<prefix> is what was given to train.py -o, or one file of a model: a snapshot, .npz, .h5 or
.safetensors; or a state dictionary of PyTorch, .pt, of the reproduction by M'Charrak et al. (2021),
which needs PyTorch (docs/tightiwae.md). The ending of <out> says what to write:
  NAME.h5            as Chainer's save_hdf5 does, with NAME.meta.yaml
  NAME.safetensors   with the training arguments in its header
  NAME.npz           a snapshot without a trainer's state, with NAME.meta.yaml
  NAME               the same as NAME/snapshot_bestvalobj, where evaluate.py looks for it; with a
                     slash at its end where NAME has a dot
Only the parameters and the training arguments are converted: to continue training, keep the
snapshot.

Options:
  -h --help    Show this help screen.
  --torch      Name the parameters as PyTorch does (encode.qlin0.weight); for .safetensors only.
  --overwrite  Replace existing files.
  --summary    Print what the files hold, and every reason to doubt them, as inspect_model.py does;
               convert a .pt file before.
"""

import os

from jvi.cli import UsageError, arguments_of, check_outputs, command, model_files

ENDINGS = (".h5", ".safetensors", ".npz")


@command
def main(argv=None):
    arguments, _ = arguments_of(__doc__, argv)
    if arguments["--summary"]:
        print(_summary(arguments["<prefix>"]))
        return
    from jvi.models.files import outputs, write_model

    out = _target(arguments["<out>"], arguments["--torch"])
    files = _read(arguments["<prefix>"])
    new = {"<out>": outputs(out, files)}
    if os.path.exists(out) and out.samefile(files.path):
        raise UsageError(f"<out>: {out} is the file to convert: name another one")
    check_outputs(new, arguments["--overwrite"], inputs=_sources(files), folders=True)
    for note in files.notes:
        print(f"note: {note}")
    for path in write_model(out, files, arguments["--torch"]):
        print(f"wrote {path}")


def _summary(prefix):
    from jvi.compat.tightiwae import ENDING
    from jvi.scripts.inspect_model import summary

    if prefix.endswith(ENDING):
        raise UsageError(f"--summary: {prefix} is a file of PyTorch: convert it before")
    return summary(prefix)


def _read(prefix):
    """The `ModelFiles` to convert."""
    from jvi.compat.tightiwae import ENDING, read_checkpoint
    from jvi.models.files import of_arrays, read_model

    if prefix.endswith(ENDING):
        return of_arrays(prefix, *read_checkpoint(prefix))
    return read_model(prefix)


def _sources(files):
    """What is not written over: all of the model but older conversions of it."""
    own = [path for path in model_files(files.prefix) if path.suffix not in ENDINGS]
    return [files.path, *own]


def _target(out, torch):
    """The file of parameters that <out> stands for."""
    from pathlib import Path

    path = Path(out)
    known = path.suffix in ENDINGS or path.name.startswith("snapshot_")
    if path.name in ("", "..") or path.name in ENDINGS or (known and out.endswith("/")):
        raise UsageError(f"<out>: {out} names no file: give it a name, as models/first.h5")
    if torch and path.suffix != ".safetensors":
        raise UsageError(f"--torch writes .safetensors files, not {out}")
    if known:
        return path
    if path.suffix and not out.endswith("/"):
        raise UsageError(
            f"<out>: {path.suffix} is no ending of a model's file: choose from "
            f"{', '.join(ENDINGS)}, or write {out}/ for a snapshot in a folder of that name"
        )
    return path / "snapshot_bestvalobj"


if __name__ == "__main__":
    main()
