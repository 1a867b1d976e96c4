"""Measure bias and noise of a model's gradient, and from how many data points less bias pays.

Usage:
  break_even.py [options] <modelprefix>
  break_even.py (-h | --help)

Options:
  -h --help             Show this help screen.
  -o <prefix>           Write PREFIX.json [default: break_even].
  --estimators <names>  Estimators, separated by spaces; the first is what the others are held
                        against, NAME@K one with a K of its own beside the first of the smallest K
                        [default: iwae jvi-model jvi-model:order=2 jvi-model:groups=2].
  -s <samples>, --samples <samples>
                        Values of K, separated by commas [default: 8,32].
  --points <number>     Training images of a fold [default: 128].
  --draws <number>      Draws for each, at the smallest K; fewer at the others, so that all cost the
                        same [default: 16].
  --folds <number>      Folds of other images [default: 16].
  --reference <numbers>
                        K and draws of the gradient without bias [default: 512,1].
  --seed <seed>         Seed of the noise [default: 0].
  --data-dir <folder>   Folder that holds mnist/, omniglot/ (else the variable JVI_DATA, else a
                        download).
  --overwrite           Replace an existing file.
  --quiet               No progress.

In the file are rows, one for each K and estimator: squared bias and variance of one data point's
gradient, summed over the decoder's parameters; the roots of both, bias and noise; per_point, which
is 1 / N*, and N* as break_even. Roots and N* are left out where they are not above twice the error.
Errors are in NAME_error.
"""

from jvi.cli import UsageError, arguments_of, asked, check_outputs, command, number, numbers, seed
from jvi.spec import number_of
from jvi.text import table

SHOWN = ("K", "ess", "estimator", "squared_bias", "squared_bias_error", "variance", "break_even")


@command
def main(argv=None):
    from jvi.files import write_json
    from jvi.models.files import read_model

    arguments, _ = arguments_of(__doc__, argv)
    path = f"{arguments['-o']}.json"
    counts = numbers(arguments, "--samples", least=2, most=10**5)
    plan = {
        option: number(arguments, f"--{option}", least=least)
        for option, least in (("points", 1), ("draws", 2), ("folds", 3))
    }
    reference = tuple(numbers(arguments, "--reference", least=1, most=10**6))
    if len(reference) != 2:
        raise UsageError(f"--reference must be two numbers, not {arguments['--reference']}")
    names = arguments["--estimators"].split()
    with asked("--estimators"):
        check(names, counts)
    check_outputs({"-o": path}, arguments["--overwrite"])
    files = read_model(arguments["<modelprefix>"])
    folds = _folds_of_data(files, plan, arguments["--data-dir"])
    rows = measured(
        files.link, folds, names, counts, plan["draws"], reference, seed(arguments),
        arguments["--quiet"],
    )  # fmt: skip
    write_json(path, rows)
    print(table([[_text(row[key]) for key in SHOWN] for row in rows], list(SHOWN)))


def check(names, counts):
    """Refuse estimators that cannot be measured, before any work; each weighs something once.

    Raises
    ------
    ValueError
    """
    import numpy as np

    from jvi.evidence.estimators import estimator

    if not names or "@" in names[0]:
        raise ValueError("the first estimator has no @K: the others are held against it")
    rng = np.random.default_rng(0)
    for name in names:
        for num_samples in [_at(name)[1]] if "@" in name else counts:
            estimator(_at(name)[0])(rng.normal(size=(num_samples, 2)))


def _at(name):
    """(estimator, K) of NAME@K."""
    name, at, text = name.partition("@")
    num_samples = number_of(text, int)
    if at and not 2 <= (num_samples or 0) <= 10**5:
        raise ValueError(f"{name}@{text}: after @ is a K from 2 to 100000")
    return name, num_samples


def _folds_of_data(files, plan, data_dir):
    from jvi import datasets
    from jvi.cli import dataset_name

    data = datasets.load(dataset_name(None, files), data_dir)
    size, count = plan["points"], plan["folds"]
    if size * count > len(data.train):
        raise UsageError(f"{count} folds of {size} images are more than the {len(data.train)}")
    x = datasets.observe_each(data, data.train[: size * count], 0)
    return [x[i * size : (i + 1) * size] for i in range(count)]


def measured(link, folds, names, counts, draws, reference, root, quiet=True):
    """Rows, one for each K and estimator.

    Parameters
    ----------
    link : chainer.Link
    folds : sequence of array, shape (N, …)
        Observed data points.
    names : sequence of str
        Estimators, the first what the others are held against.
    counts : sequence of int
        Values of K.
    draws : int
        For each data point, at the smallest K.
    reference : (int, int)
        K and draws of the gradient without bias.
    root : int
        Seed.
    """
    from tqdm import tqdm

    from jvi.assessment.break_even import break_even, fold, generator, unbiased

    plain = [name for name in names if "@" not in name]
    apart = [_at(name) for name in names if "@" in name]
    parts = {num_samples: [] for num_samples in counts}
    for i, x in enumerate(tqdm(folds, disable=quiet, delay=2)):
        rng, x = generator(root, i), link.check(x)
        against = unbiased(link, x, *reference, rng)

        def one(these, num_samples, x=x, rng=rng, against=against):
            each = max(2, draws * min(counts) // num_samples)
            return fold(link, x, these, num_samples, each, against, rng)

        for num_samples in counts:
            parts[num_samples].append(one(plain, num_samples))
        for name, num_samples in apart:
            found = one([name], num_samples)
            _add(parts[min(counts)][-1], f"{name}@{num_samples}", name, found)
    rows = []
    for num_samples, each in parts.items():
        ess = sum(part.ess for part in each) / len(each)
        found = break_even(each, names[0])
        rows += [_row(num_samples, ess, name, which) for name, which in found.items()]
    return rows


def _add(part, label, name, found):
    part.bias[label], part.variance[label] = found.bias[name], found.variance[name]


def _row(num_samples, ess, name, found):
    square, noise, gain = found.squared_bias, found.variance, found.per_point
    return {
        "K": num_samples,
        "ess": ess,
        "estimator": name,
        "squared_bias": square.value,
        "squared_bias_error": square.error,
        "bias": square.value**0.5 if square.value > 2 * square.error else None,
        "variance": noise.value,
        "variance_error": noise.error,
        "noise": noise.value**0.5,
        "per_point": gain.value,
        "per_point_error": gain.error,
        "break_even": found.points if gain.value > 2 * gain.error > 0 else None,
    }


def _text(value):
    return "" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
