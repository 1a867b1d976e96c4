"""Write the first rows of each part of a data set as one .npz file that train.py -d takes.

Usage:
  subset.py [options] <dataset>
  subset.py (-h | --help)

Options:
  -h --help              Show this help screen.
  -o <prefix>            Write PREFIX.npz, and how many rows it has to PREFIX.json
                         [default: subset].
  --train <number>       Rows to train on [default: 20000].
  --validation <number>  Rows to validate on [default: 500].
  --test <number>        Rows to test on [default: 1000].
  --overwrite            Replace existing files.
"""

from jvi.cli import arguments_of, check_outputs, command, dataset_name, number

PARTS = ("train", "validation", "test")


@command
def main(argv=None):
    import numpy as np

    from jvi import datasets
    from jvi.files import atomic_write, write_json

    arguments, _ = arguments_of(__doc__, argv)
    wanted = {part: number(arguments, f"--{part}", least=1) for part in PARTS}
    paths = [f"{arguments['-o']}{suffix}" for suffix in (".npz", ".json")]
    check_outputs({"-o": paths}, arguments["--overwrite"])
    data = datasets.load(dataset_name(arguments["<dataset>"]))
    rows = {part: np.asarray(getattr(data, part)[:count]) for part, count in wanted.items()}
    with atomic_write(paths[0]) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, **rows)
    write_json(paths[1], {part: len(each) for part, each in rows.items()})


if __name__ == "__main__":
    main()
