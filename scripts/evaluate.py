"""Estimate the log-likelihood of a trained model on its test set.

Usage:
  evaluate.py [options] <modelprefix>
  evaluate.py (-h | --help)

Options:
  -h --help                    Show this help screen.
  -d <dataset>, --dataset <dataset>
                               Data set: "digits", "mnist" or "omniglot"; by default the one that
                               the model was trained on.
  -g <device>, --device <device>
                               Number of the GPU to run on, -1 for the CPU [default: -1].
  -s <samples>, --samples <samples>
                               Number of samples per image [default: 64].
  -b <batchsize>, --batchsize <batchsize>
                               At most so many images are worked on at a time; the result does not
                               depend on it [default: 4096].
  -r <reps>, --reps <reps>     Replications, each with fresh samples [default: 1].
  --bootstrap                  Resample the test set with replacement in each replication.
  --resultfile <resultfile>    Append mean, standard error and seconds to this file, separated by
                               commas; "+" names it PREFIX.test.perf.
  --logw <logwdata.mat>        Write the log-weights of the first 256 images, in MATLAB's format.
  --per-image <file.npz>       Write the value and the effective sample size of each image (of the
                               last replication), and for the jackknife whether to trust it.
  -E <evaltype>, --eval <evaltype>
                               Estimate: "vae" (ELBO), "iwae", "iwae++" (JVI of order 1), "jvi" or
                               "is" [default: iwae].
  --jvi-order <order>          Order of the jackknife, zero is IWAE [default: 1].
  --seed <seed>                Seed of everything random [default: 0].
  --data-dir <folder>          Folder that holds mnist/, omniglot/ (else the variable JVI_DATA, else
                               a download).
  --overwrite                  Replace existing --logw and --per-image files.
  --quiet                      Print the result line only.
  --profile                    Print before the last line where the time went.

The last line is the mean in nats per image, its standard error over images, the estimate and the
number of samples:
  -85.12345678 +/- 0.12345678 # logp(iwae) 64
"""

import sys

if __name__ == "__main__":
    from os.path import dirname, realpath

    sys.path[0] = dirname(dirname(realpath(__file__)))

from docopt import docopt

from jvi.cli import command, number

LOGW_IMAGES = 256


@command
def main(argv=None):
    arguments = docopt(__doc__, argv)
    from pathlib import Path

    from jvi import datasets
    from jvi.compat.doubts import doubts
    from jvi.compat.model_files import read_model
    from jvi.evaluation import check_request
    from jvi.model import load

    bound, order = arguments["--eval"], number(arguments, "--jvi-order", least=0)
    num_samples = number(arguments, "--samples", least=1)
    reps, seed = number(arguments, "--reps", least=1), number(arguments, "--seed", least=0)
    check_request(num_samples, [bound], order, number(arguments, "--batchsize", least=1))
    prefix = arguments["<modelprefix>"]
    result_file = arguments["--resultfile"]
    result_file = Path(f"{prefix}.test.perf" if result_file == "+" else result_file or "-")
    new_files = [arguments[option] for option in ("--logw", "--per-image") if arguments[option]]
    _check_outputs(new_files, [result_file], arguments["--overwrite"])

    model = load(prefix, number(arguments, "--device"))
    name = arguments["--dataset"] or model.meta.get("--dataset")
    if name is None:
        raise ValueError(f"{prefix} does not say what it was trained on: give the data set with -d")
    test = datasets.binarise_each(datasets.load(name, arguments["--data-dir"]).test, seed)
    if not arguments["--quiet"]:
        for doubt in doubts(read_model(prefix)):
            print(f"note: {doubt}")
        print(f"{prefix}: {len(test)} test images of {name}, {num_samples} samples each")
    if arguments["--logw"]:
        _write_log_weights(model, test[:LOGW_IMAGES], num_samples, seed, arguments["--logw"])
    for replication in range(reps):
        result, seconds = _evaluate(model, test, bound, order, num_samples, replication, arguments)
        mean, error = result.mean[bound], result.standard_error[bound]
        if result.doubts and not arguments["--quiet"]:
            print(_doubts(result, len(test)))
        print(f"{mean:.8f} +/- {error:.8f} # logp({bound}) {num_samples}", flush=True)
        if arguments["--resultfile"]:
            with result_file.open("a") as file:
                file.write(f"{mean:.8f},{error:.8f},{seconds:.8f}\n")
    if arguments["--per-image"]:
        _write_per_image(result, arguments["--per-image"])


def _evaluate(model, test, bound, order, num_samples, replication, arguments):
    """One replication's `Evaluation`, and the seconds that it took."""
    from time import perf_counter

    from jvi.backend import stream
    from jvi.evaluation import evaluate
    from jvi.profiling import printed_profile

    seed = int(arguments["--seed"])
    if arguments["--bootstrap"]:
        test = test[stream(seed, "bootstrap", replication).integers(len(test), size=len(test))]
    start = perf_counter()
    with printed_profile(arguments["--profile"]):
        result = evaluate(
            model,
            test,
            num_samples,
            (bound,),
            order,
            seed,
            replication=replication,
            batch_size=int(arguments["--batchsize"]),
            progress=not arguments["--quiet"],
        )
    return result, perf_counter() - start


def _doubts(result, num_images):
    """How many of the jackknife's values are not to be trusted, and why."""
    from jvi.diagnostics import MIN_TAIL

    counts = result.doubts
    tails = f"{counts['heavy_tail']} have Pareto k > 0.7"
    if result.num_samples < MIN_TAIL:
        tails = f"Pareto k is unknown below {MIN_TAIL} samples"
    return (
        f"{counts['doubtful']} of {num_images} values are not to be trusted: {tails}, "
        f"{counts['few_samples']} have an effective sample size < 2, "
        f"{counts['large_correction']} a correction above the standard error"
    )


def _check_outputs(new, appended, overwrite):
    """Refuse before the work what could not be written after it."""
    from os import W_OK, access
    from pathlib import Path

    for path in map(Path, new):
        if path.exists() and not overwrite:
            raise FileExistsError(f"{path} exists: name another file or give --overwrite")
    for path in map(Path, [*new, *appended]):
        if not access(path.parent, W_OK):
            raise PermissionError(f"{path.parent} is no folder that can be written to")


def _write_log_weights(model, images, num_samples, seed, path):
    from scipy.io import savemat

    from jvi.backend import stream, to_host
    from jvi.files import atomic_write

    rng = stream(seed, "pictures")
    log_w = to_host(model.log_weights(images, num_samples, rng))
    with atomic_write(path) as temporary, open(temporary, "wb") as file:
        savemat(file, {"logw": log_w})


def _write_per_image(result, path):
    import numpy as np

    from jvi.files import atomic_write

    with atomic_write(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, num_samples=result.num_samples, **result.per_image)


if __name__ == "__main__":
    main()
