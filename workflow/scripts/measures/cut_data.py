"""Write the first rows of a data set to a file that train.py and evaluate.py take as --dataset.

Usage:
  cut_data.py [options]
  cut_data.py (-h | --help)

Options:
  -h --help                Show this help screen.
  -o <prefix>              Write PREFIX.npz, and PREFIX.json with its sizes [default: cut_data].
  -d <dataset>, --dataset <dataset>
                           Data set, as train.py has it [default: digits].
  --images <number>        Rows of the training data, at most as many as there are [default: 1000].
  --test-images <number>   Rows of the test data, likewise [default: 1000].
  --validation-images <number>
                           Rows of the validation data; by default as many as of the test data.
  --overwrite              Replace existing files.

Values stay what they are, so that grey images are drawn anew as pixels of zeros and ones at each
step, and fixed ones stay fixed.
"""

from jvi.cli import arguments_of, check_outputs, command, dataset_name, number

PARTS = {"train": "--images", "validation": "--validation-images", "test": "--test-images"}


@command
def main(argv=None):
    from jvi.datasets import load
    from jvi.files import atomic_write, write_json

    arguments, _ = arguments_of(__doc__, argv)
    prefix, name = arguments["-o"], dataset_name(arguments["--dataset"])
    if arguments["--validation-images"] is None:
        arguments["--validation-images"] = arguments["--test-images"]
    counts = {part: number(arguments, option, least=1) for part, option in PARTS.items()}
    check_outputs({"-o": [f"{prefix}.npz", f"{prefix}.json"]}, arguments["--overwrite"])
    parts = first_rows(load(name), counts)
    with atomic_write(f"{prefix}.npz") as temporary, open(temporary, "wb") as file:
        _save(file, parts)
    sizes = {key: len(rows) for key, rows in parts.items()}
    write_json(f"{prefix}.json", {"dataset": name, **sizes})


def first_rows(data, counts):
    """{"train", "validation", "test": float32 rows}, of each the first so many."""
    return {key: getattr(data, key)[:count] for key, count in counts.items()}


def _save(file, parts):
    import numpy as np

    np.savez(file, **parts)


if __name__ == "__main__":
    main()
