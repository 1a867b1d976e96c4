"""Measure signal-to-noise ratios of gradients against K near the optimum of a Gaussian toy problem.

Usage:
  asymptotic_variance.py [options]
  asymptotic_variance.py (-h | --help)

The problem is that of Rainforth et al. (2018), section 4. scripts/gradient_snr.py measures the same
with 2/3 as the variance of q; the published code of Liévin et al. (2020) has it as q's standard
deviation, and the level of its figure is that of data whose mean is small. Both are options here.

Options:
  -h --help                  Show this help screen.
  -o <prefix>                Write PREFIX.json [default: asymptotic_variance].
  -e <estimators>, --estimators <estimators>
                             Separated by spaces [default: iwae vimco:mean=arithmetic ovis:gamma=0].
  -s <numbers>, --samples <numbers>
                             Values of K, in rising order [default: 3,10,32,100].
  -r <number>, --repeats <number>
                             Gradients that each ratio is measured from [default: 64].
  --points <number>          Data points that a gradient is averaged over [default: 1024].
  --noise <scale>            Standard deviation of what moves the optimum [default: 0.01].
  --deviation                q has 2/3 as its standard deviation, not as its variance.
  --centred                  Subtract the mean of the data.
  --seed <seed>              Seed of everything random [default: 0].
  --overwrite                Replace an existing file.
  --quiet                    Print nothing.

The rows of the file have, for each estimator and each of the groups "model", "inference" and "b"
(/encode/b alone), snr at every K, its standard error, and apart from these the slope of log snr
against log K.
"""

import math

from jvi.cli import arguments_of, asked, check_outputs, command, number, numbers, seed
from jvi.models.gaussian_toy import GaussianToy, near_optimum
from jvi.scripts.gradient_snr import slope
from jvi.text import table


class NarrowToy(GaussianToy):
    """With q(z|x) = N(A x + b, 4/9 I), as in the published code of Liévin et al. (2020)."""

    def infer(self, x):
        mean, ln_var = super().infer(x)
        return mean, 2.0 * ln_var


@command
def main(argv=None):
    from jvi.files import write_json

    arguments, _ = arguments_of(__doc__, argv)
    path = f"{arguments['-o']}.json"
    check_outputs({"-o": [path]}, arguments["--overwrite"])
    options = {
        "estimators": arguments["--estimators"].split(),
        "samples": numbers(arguments, "--samples", least=2, most=10**6),
        "repeats": number(arguments, "--repeats", least=8),
        "seed": seed(arguments),
    }
    link, x = problem(
        arguments["--deviation"],
        arguments["--centred"],
        number(arguments, "--points", least=1),
        number(arguments, "--noise", float, least=0.0),
        options["seed"],
    )
    with asked("--estimators"):
        rows = measured(link, x, **options, quiet=arguments["--quiet"])
    write_json(path, {"points": len(x), "rows": rows + slopes(rows)})
    if not arguments["--quiet"]:
        print(table(*_printed(rows, options["samples"])))


def problem(deviation, centred, points, scale, root):
    """(link near its optimum, data): q's 2/3 a standard deviation or not, data centred or not."""
    from jvi import datasets
    from jvi.engine.random import stream

    x = datasets.load("gaussian-toy").train[:points]
    x = x - x.mean(axis=0) if centred else x
    rng = stream(root, "initial parameters")
    link = (NarrowToy if deviation else GaussianToy)(x.shape[1], rng)
    near_optimum(link, x, rng, scale)
    return link, x


def measured(link, x, estimators, samples, repeats, seed, quiet=True):
    """A row for each estimator, group of parameters and K; estimators share their draws."""
    from tqdm import tqdm

    from jvi.assessment.signal_to_noise import groups_of, measure

    groups = groups_of(link, link.check(x[:1])) | {"b": ["/encode/b"]}
    work = [(name, i, k) for name in estimators for i, k in enumerate(samples)]
    rows = []
    for name, i, k in tqdm(work, desc="gradients", disable=True if quiet else None):
        found = measure(link, x, name, k, repeats=repeats, seed=seed * 2**16 + i, groups=groups)
        for group, noise in found.items():
            rows.append({"estimator": name, "parameters": group, "K": k, **_numbers(noise)})
    return rows


def _numbers(noise):
    kept = "snr", "snr_error", "variance", "magnitude"
    return {name: float(getattr(noise, name)) for name in kept}


def slopes(rows):
    """Slopes of log snr against log K, of the points that are above zero by two errors."""
    found = []
    for name, group in dict.fromkeys((row["estimator"], row["parameters"]) for row in rows):
        line = [r for r in rows if (r["estimator"], r["parameters"]) == (name, group)]
        fit = slope(*([r[key] for r in line] for key in ("K", "snr", "snr_error")))
        if fit[0] == fit[0]:
            own = {"slope": fit[0], "slope_error": fit[1]}
            found.append({"estimator": name, "parameters": group, **own})
    return found


def _printed(rows, samples):
    lines = {}
    for row in rows:
        snr, error = row["snr"], row["snr_error"]
        cell = "-" if math.isnan(snr + error) else f"{snr:.4f} ± {error:.4f}"
        lines.setdefault((row["estimator"], row["parameters"]), []).append(cell)
    header = ["SNR", "parameters", *(f"K = {k}" for k in samples)]
    return [[*key, *cells] for key, cells in lines.items()], header


if __name__ == "__main__":
    main()
