"""Train a Bayesian network on the curve of Blundell et al. (2015), and measure its bands.

Usage:
  regression_bands.py [options]
  regression_bands.py (-h | --help)

Options:
  -h --help          Show this help screen.
  -o <prefix>        Write PREFIX.json; the network is PREFIX-network, and is gone on with where it
                     is there [default: regression_bands].
  --hidden <sizes>   Units of each hidden layer [default: 100].
  --prior <prior>    Of weights, as bayesnet.py has it [default: normal].
  --perturbation <way>
                     As bayesnet.py has it [default: shared].
  -e <epochs>, --epochs <epochs>
                     Passes over the 800 training rows [default: 200].
  -b <rows>, --batchsize <rows>
                     Rows of a minibatch [default: 32].
  --lr <lr>          Learning rate of Adam [default: 1e-2].
  -s <draws>, --samples <draws>
                     Draws of the weights [default: 1000].
  --seed <seed>      Seed of everything random [default: 0].
  --overwrite        Replace an existing file.

The data are known on [0, 0.5]. In the file are: the mean width, in units of y, of the central 50%
and 95% bands inside and outside of that (up to half a unit away), of all and of what the weights
alone add (weight-std); the share of test rows, and of new rows from outside, within the 95% band;
RMSE and log p(y|x) of test rows. They are rows, by part, "inside", "outside" and the "ratio" of the
two; more rows are lines for a figure.
"""

from pathlib import Path

from jvi.cli import arguments_of, check_outputs, command, number, seed
from jvi.text import table

INSIDE, BEYOND = (0.0, 0.5), 0.5  # where x of the data lies; how far from there bands are measured
POINTS = 61  # of the grid
LEVELS = (0.95, 0.5)
TRAINING = ("hidden", "prior", "perturbation", "epochs", "batchsize", "lr", "seed")


@command
def main(argv=None):
    from jvi.assessment.trained_network import load_network
    from jvi.files import write_json

    arguments, _ = arguments_of(__doc__, argv)
    draws, root = number(arguments, "--samples", least=2, most=10**6), seed(arguments)
    path, prefix = f"{arguments['-o']}.json", f"{arguments['-o']}-network"
    check_outputs({"-o": path}, arguments["--overwrite"])
    train(prefix, arguments)
    network = load_network(prefix)
    found = parts(widths(network, draws, root) | held_out(network, draws, root))
    rows = [*found, *lines(network, draws, root)]
    write_json(path, {"rows": rows})
    print(shown(found))


def train(prefix, arguments):
    """The network's files; an unfinished training goes on."""
    from jvi.scripts import bayesnet

    given = {name: arguments[f"--{name}"] for name in TRAINING}
    if (Path(prefix) / "snapshot_latest").exists():
        words = ["--resume", prefix, "--epochs", given["epochs"]]
    else:
        words = [word for name, value in given.items() for word in (f"--{name}", value)]
        words += ["-d", "blundell-curve", "-o", prefix]
    bayesnet.main(["train", *words, "--quiet"])


def curve(x, noise=0.0):
    """y of Blundell et al. (2015), section 5.2; without noise the curve that the data lie about."""
    import numpy as np

    waves = np.sin(2 * np.pi * (x + noise)) + np.sin(4 * np.pi * (x + noise))
    return x + 0.3 * waves + noise


def grid():
    """x from `BEYOND` below the data to as much above."""
    import numpy as np

    return np.linspace(INSIDE[0] - BEYOND, INSIDE[1] + BEYOND, POINTS)


def predictions(network, x, y, draws, root, level):
    """Of rows x, (B,), and targets y, (B,) or None, in their own units."""
    from jvi.assessment.predictive import predict

    options = {"level": level, "seed": root, "scaling": network.columns.scaling}
    return predict(network.model, x[:, None], y, draws, **options)


def widths(network, draws, root):
    """Mean widths by name: inside, outside and their ratio."""
    x, found = grid(), {}
    inside = (x >= INSIDE[0]) & (x <= INSIDE[1])
    bands = {level: predictions(network, x, None, draws, root, level) for level in LEVELS}
    kinds = {f"width-{round(100 * level)}%": b.upper - b.lower for level, b in bands.items()}
    kinds |= {"weight-std": bands[0.5].weight_std, "std": bands[0.5].std}
    for name, width in kinds.items():
        within, without = float(width[inside].mean()), float(width[~inside].mean())
        found[name] = {"inside": within, "outside": without, "ratio": without / within}
    return found


def held_out(network, draws, root):
    """Coverage of the 95% band and scores of test rows; and the coverage of rows from outside."""
    import numpy as np

    from jvi.assessment.calibration import coverage, mean_score, scores
    from jvi.assessment.trained_network import own_table

    rows = own_table(network, None).data.test.astype(np.float64)
    scaling = network.columns.scaling
    x, y = rows[:, 0] * scaling.scale[0] + scaling.mean[0], scaling.target(rows[:, 1])
    inside = predictions(network, x, y, draws, root, 0.95)
    rng = np.random.default_rng(root)
    far = rng.uniform(0, 2 * BEYOND, 1000)
    far = np.where(far < BEYOND, INSIDE[0] - far, INSIDE[1] + far - BEYOND)
    outside = predictions(network, far, curve(far, rng.normal(0, 0.02, 1000)), draws, root, 0.95)
    test, beyond = scores(inside, y), float(coverage(outside, [0.95])[0])
    return {
        "coverage-95%": {
            "inside": _with_error(mean_score(np.abs(2 * inside.below - 1) <= 0.95)),
            "outside": {
                "value": float(beyond),
                "images": float((beyond * (1 - beyond) / 1000) ** 0.5),
            },
        },
        "rmse": {"inside": _with_error(test["rmse"])},
        "log_density": {"inside": _with_error(test["log_density"])},
    }


def _with_error(score):
    return {"value": float(score.value), "images": float(score.error)}


def parts(found):
    """{name: {part: number}} as a row for each part, {"part", name: number}."""
    names = dict.fromkeys(part for numbers in found.values() for part in numbers)
    return [
        {"part": part} | {name: numbers[part] for name, numbers in found.items() if part in numbers}
        for part in names
    ]


def shown(rows):
    """As text."""
    names = list(dict.fromkeys(name for row in rows for name in row))

    def entry(value):
        value = value["value"] if isinstance(value, dict) else value
        return f"{value:.4g}" if isinstance(value, float) else value

    return table([[entry(row.get(name, "-")) for name in names] for row in rows], names)


def lines(network, draws, root):
    """Rows {x, line, y}: mean, ends of the bands, and the curve without noise."""
    x = grid()
    wide, narrow = (predictions(network, x, None, draws, root, level) for level in LEVELS)
    found = {
        "2.5%": wide.lower,
        "25%": narrow.lower,
        "mean": narrow.mean,
        "75%": narrow.upper,
        "97.5%": wide.upper,
        "without noise": curve(x),
    }
    return [
        {"x": round(float(a), 6), "line": name, "y": float(b)}
        for name, values in found.items()
        for a, b in zip(x, values, strict=True)
    ]


if __name__ == "__main__":
    main()
