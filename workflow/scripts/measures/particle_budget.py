"""Measure gradients of OVIS for each split of a budget into samples and auxiliary draws.

Usage:
  particle_budget.py [options] <modelprefix>
  particle_budget.py (-h | --help)

All estimators at the parameters of one model, on the same rows of its training data: OVIS-MC with S
of the particles as auxiliary draws and K = particles - S for the bound, and those that spend all on
the bound, for which S is 0.

Options:
  -h --help                Show this help screen.
  -o <prefix>              Write PREFIX.json [default: particle_budget].
  --particles <number>     K + S [default: 10].
  --auxiliary <numbers>    Values of S, separated by commas, each from 1 to particles - 2
                           [default: 1,3,5,7].
  -e <estimators>, --estimators <estimators>
                           With all particles in the bound, separated by spaces
                           [default: ovis:gamma=1 ovis:gamma=0 vimco:mean=arithmetic].
  -r <number>, --repeats <number>
                           Gradients that each ratio is measured from [default: 64].
  --points <number>        Rows that a gradient is averaged over [default: 24].
  --seed <seed>            Seed of everything random [default: 0].
  --overwrite              Replace an existing file.

The rows of the file have, for the parameters of the inference network, the signal-to-noise ratio
snr, its standard error, the mean variance of a component of the gradient, and the milliseconds of
processor time that a gradient took.
"""

from time import process_time

from jvi.cli import (
    UsageError,
    arguments_of,
    asked,
    check_outputs,
    command,
    model_files,
    number,
    numbers,
    seed,
)

KEPT = "snr", "snr_error", "variance", "variance_error"


@command
def main(argv=None):
    from jvi.files import write_json

    arguments, _ = arguments_of(__doc__, argv)
    particles = number(arguments, "--particles", least=3, most=10**5)
    auxiliary = numbers(arguments, "--auxiliary", least=1, most=10**5)
    if max(auxiliary) > particles - 2:
        raise UsageError(
            f"--auxiliary {max(auxiliary)} leaves the bound fewer than 2 of {particles} particles"
        )
    options = {
        "repeats": number(arguments, "--repeats", least=8),
        "points": number(arguments, "--points", least=1),
        "seed": seed(arguments),
    }
    path, prefix = f"{arguments['-o']}.json", arguments["<modelprefix>"]
    check_outputs({"-o": [path]}, arguments["--overwrite"], inputs=model_files(prefix))
    with asked("--estimators"):
        each = splits(particles, auxiliary, arguments["--estimators"].split())
        rows = measured(prefix, each, **options)
    write_json(path, {"particles": particles, "rows": rows})


def splits(particles, auxiliary, estimators):
    """(name of a line, estimator, K, S) of everything that spends so many particles."""
    whole = [(name, name, particles, 0) for name in estimators]
    return whole + [("ovis-mc", f"ovis-mc:aux={s}", particles - s, s) for s in auxiliary]


def measured(prefix, splits, repeats, points, seed):
    """A row for each split, of the inference network's gradient."""
    from jvi import datasets
    from jvi.assessment.signal_to_noise import groups_of, measure, third_pass
    from jvi.cli import dataset_name
    from jvi.models.files import read_model

    files = read_model(prefix)
    data = datasets.load(dataset_name(None, files))
    x = datasets.observe_each(data, data.train[:points], seed)
    names = groups_of(files.link, files.link.check(x[:1]))["inference"]
    rows, gradients = [], 2 * repeats + third_pass(repeats)
    for line, name, k, s in splits:
        start = process_time()
        noise = measure(
            files.link, x, name, k, repeats=repeats, seed=seed, groups={"inference": names}
        )["inference"]
        spent = 1e3 * (process_time() - start) / gradients
        row = {"series": line, "estimator": name, "K": k, "S": s, "milliseconds": spent}
        rows.append(row | {key: float(getattr(noise, key)) for key in KEPT})
    return rows


if __name__ == "__main__":
    main()
