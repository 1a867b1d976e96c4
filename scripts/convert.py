"""Convert a model between the forms that parameters are kept in.

Usage:
  convert.py [options] <prefix> <out>
  convert.py --summary <prefix>
  convert.py (-h | --help)

<prefix> is what was given to train.py -o, or one file of a model: a snapshot, .npz, .h5 or
.safetensors. The ending of <out> says what to write:
  NAME.h5            as Chainer's save_hdf5 does, with NAME.meta.yaml
  NAME.safetensors   with the training arguments in its header
  NAME.npz           a snapshot without a trainer's state, with NAME.meta.yaml
  NAME               the same as NAME/snapshot_bestvalobj, where evaluate.py looks for it
Only the parameters and the training arguments are converted: to continue training, keep the
snapshot.

Options:
  -h --help    Show this help screen.
  --torch      Name the parameters as PyTorch does (encode.qlin0.weight); for .safetensors only.
  --overwrite  Replace existing files.
  --summary    Print what the files hold, and every reason to doubt them, as inspect_model.py does.
"""

from docopt import docopt

from jvi.cli import command


@command
def main(argv=None):
    arguments = docopt(__doc__, argv)
    if arguments["--summary"]:
        from jvi.scripts.inspect_model import summary

        print(summary(arguments["<prefix>"]))
        return
    from jvi.models.files import outputs, read_model, write_model

    out = _target(arguments["<out>"], arguments["--torch"])
    files = read_model(arguments["<prefix>"])
    for path in outputs(out, files):
        if path.exists() and path.samefile(files.path):
            raise ValueError(f"{path} is the file to convert: name another one")
        if path.exists() and not arguments["--overwrite"]:
            raise FileExistsError(f"{path} exists: name another file or give --overwrite")
    for note in files.notes:
        print(f"note: {note}")
    for path in write_model(out, files, arguments["--torch"]):
        print(f"wrote {path}")


def _target(out, torch):
    """The file of parameters that <out> stands for."""
    from pathlib import Path

    path = Path(out)
    if torch and path.suffix != ".safetensors":
        raise ValueError(f"--torch writes .safetensors files, not {out}")
    if path.suffix in (".h5", ".safetensors", ".npz") or path.name.startswith("snapshot_"):
        return path
    return path / "snapshot_bestvalobj"


if __name__ == "__main__":
    main()
