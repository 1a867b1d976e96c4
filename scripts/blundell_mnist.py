"""Classify MNIST with a Bayesian network, a plain one and one with dropout, in the same run.

Usage:
  blundell_mnist.py [options]
  blundell_mnist.py (-h | --help)

The experiment of Blundell et al. (2015), section 5.1, in a budget of minutes: the test error after
each epoch of Bayes by Backprop (mixture prior, the divergence shared out among minibatches as
there), of the same network without a distribution, and of that with dropout; then what is left of
the Bayesian network's when weights are removed by |mean| / sigma. Prints a table, draws PREFIX.png,
and writes PREFIX.csv and, with the stage of each row ("training", or "end", pruned or whole),
PREFIX.json.

Options:
  -h --help                  Show this help screen.
  -o <prefix>                Of the files to write [default: blundell_mnist].
  -e <epochs>, --epochs <epochs>
                             Passes over the training data [default: 20].
  -b <rows>, --batchsize <rows>
                             Rows of a minibatch [default: 128].
  --hidden <sizes>           Units of each hidden layer [default: 400x400].
  --opt <opt>                Optimizer of all three, NAME[:key=value,…] [default: adam].
  --lr <lr>                  Its learning rate [default: 1e-3].
  --dropout <share>          Of hidden units [default: 0.5].
  -s <draws>, --samples <draws>
                             Draws of the weights that a prediction is averaged over [default: 10].
  --train-images <number>    Train on the first so many only.
  -d <data>, --dataset <data>
                             "mnist" or, without files, "digits" [default: mnist].
  --data-dir <folder>        Folder that holds mnist/ (else the variable JVI_DATA, else a download).
  --seed <seed>              Seed of everything random [default: 0].
  --overwrite                Replace existing files.
  --quiet                    Show no progress.
"""

from typing import Any, NamedTuple

from jvi.cli import (
    arguments_of,
    asked,
    check_outputs,
    command,
    number,
    seed,
)
from jvi.text import table

BAYES, PLAIN, DROPOUT = "Bayes by Backprop", "plain", "dropout"
PRIOR = "mixture:pi=0.5,sigma1=1,sigma2=0.0025"


class Point(NamedTuple):
    """The test error of a method, in percent, after an epoch or without a share of its weights."""

    method: str
    epoch: int
    pruned: float
    error: float
    standard_error: float
    log_density: float | None


@command
def main(argv=None):
    arguments, _ = arguments_of(__doc__, argv)
    request = _request(arguments)
    prefix = arguments["-o"]
    files = {"-o": [f"{prefix}.{ending}" for ending in ("csv", "json", "png")]}
    where = arguments["--dataset"], arguments["--data-dir"]
    check_outputs(files, arguments["--overwrite"], data=where)
    with asked("--dataset"):
        train, test, classes = _data(arguments)
    points = _points(train, test, classes, request, arguments["--quiet"])
    _write(points, prefix)
    print(_table(points, len(test)))


def _request(arguments) -> dict[str, Any]:
    from jvi.models.bayes_mlp import hidden_sizes
    from jvi.training.optimizers import make_optimizer

    with asked("--hidden"):
        hidden_sizes(arguments["--hidden"])
    with asked("--opt"):
        make_optimizer(arguments["--opt"], 1.0)
    return {
        "hidden": arguments["--hidden"],
        "optimizer": arguments["--opt"],
        "lr": number(arguments, "--lr", float, least=1e-9),
        "epochs": number(arguments, "--epochs", least=1),
        "batch_size": number(arguments, "--batchsize", least=1),
        "dropout": number(arguments, "--dropout", float, least=0, most=0.99),
        "samples": number(arguments, "--samples", least=1, most=10_000),
        "seed": seed(arguments),
    }


def _data(arguments):
    """Rows to train on (what is held out for validation, too, is not used) and to test."""
    from jvi.datasets.labelled import labelled

    rows = labelled(arguments["--dataset"], data_dir=arguments["--data-dir"])
    count = arguments["--train-images"]
    count = None if count is None else number(arguments, "--train-images", least=1)
    return rows.data.train[:count], rows.data.test, len(rows.classes)


def _points(train, test, classes, request, quiet):
    from tqdm import tqdm

    rounds, points = 3 * request["epochs"], []
    with tqdm(total=rounds, unit="epoch", disable=True if quiet else None, leave=False) as bar:
        for method in (_bayes, _plain, _dropout):
            for point in method(train, test, classes, request):
                points.append(point)
                if not point.pruned:
                    bar.set_postfix_str(f"{point.method}: {point.error:.2f}%")
                    bar.update()
    return points


def _bayes(train, test, classes, request):
    """A `Point` after each epoch, then those of pruned networks."""
    from jvi.assessment.pruning import SHARES, pruning_curve
    from jvi.engine.random import stream
    from jvi.models import BayesMLP
    from jvi.models.model import Model
    from jvi.training.fit import passes
    from jvi.training.network import network_objective, prior_options
    from jvi.training.trainer import Settings

    about = {"task": "classification", "classes": classes, **prior_options(PRIOR)}
    rng = stream(request["seed"], "initial parameters")
    model = Model(BayesMLP(train.shape[1], request["hidden"], **about, rng=rng))
    shared = "elbo", model.link, "blundell", len(train), request["batch_size"]
    names = "optimizer", "lr", "epochs", "batch_size", "seed"
    chosen = {name: request[name] for name in names}
    settings = Settings(network_objective(*shared), clip=0.0, **chosen)
    options = {"num_samples": request["samples"], "seed": request["seed"]}

    def pruned(shares):
        return pruning_curve(model, test[:, :-1], test[:, -1], shares, **options)

    for epoch, _ in enumerate(passes(model, train, settings), 1):
        [whole] = pruned([0.0])
        yield _scored(whole, epoch)
    for each in pruned(SHARES[1:]):
        yield _scored(each, settings.epochs)


def _scored(pruned, epoch):
    accuracy, log_density = pruned.scores["accuracy"], pruned.scores["log_density"]
    error = 100 * (1 - accuracy.value)
    return Point(BAYES, epoch, pruned.share, error, 100 * accuracy.error, log_density.value)


def _plain(train, test, classes, request, name=PLAIN, dropout=0.0):
    from jvi.assessment.estimates import standard_error
    from jvi.engine.random import stream
    from jvi.models.bayes_mlp import hidden_sizes
    from jvi.training.perceptron import Perceptron, error_of, fitted

    sizes = train.shape[1] - 1, *hidden_sizes(request["hidden"]), classes
    link = Perceptron(sizes, stream(request["seed"], "initial parameters"), dropout)
    names = "optimizer", "lr", "batch_size", "epochs", "seed"
    for epoch in fitted(link, train, *(request[each] for each in names)):
        mistakes = 100.0 * error_of(link, test)
        yield Point(name, epoch, 0.0, float(mistakes.mean()), standard_error(mistakes), None)


def _dropout(train, test, classes, request):
    return _plain(train, test, classes, request, DROPOUT, request["dropout"])


def _write(points, prefix):
    from jvi.assessment.bayes_plots import picture
    from jvi.files import write_csv, write_json

    write_csv(f"{prefix}.csv", [point._asdict() for point in points])
    write_json(f"{prefix}.json", {"rows": _rows(points)})
    picture(f"{prefix}.png", _draw, points, panels=2)


def _rows(points):
    """Points by name, errors with their standard errors over test images."""
    last = max(point.epoch for point in points)
    return [
        {
            "method": point.method,
            "epoch": point.epoch,
            "stage": "end" if point.epoch == last else "training",
            "pruned": point.pruned,
            "error": {"value": point.error, "images": point.standard_error},
            "log_density": point.log_density,
        }
        for point in points
    ]


def _draw(axes, points):
    for method in (BAYES, PLAIN, DROPOUT):
        curve = [each for each in points if each.method == method and not each.pruned]
        axes[0].plot([p.epoch for p in curve], [p.error for p in curve], label=method)
    axes[0].set(xlabel="epochs", ylabel="test error in percent", title="Learning curves")
    axes[0].legend()
    last = max(point.epoch for point in points)
    curve = [each for each in points if each.method == BAYES and each.epoch == last]
    errors = [each.standard_error for each in curve]
    axes[1].errorbar([100 * p.pruned for p in curve], [p.error for p in curve], errors, marker="o")
    axes[1].set(xlabel="percent of weights removed", ylabel="test error in percent")
    axes[1].set_title("Pruned by |mean| / sigma")


def _table(points, count):
    last = max(point.epoch for point in points)
    rows = [
        [
            point.method,
            f"{100 * point.pruned:g}%",
            f"{point.error:.2f} ± {point.standard_error:.2f}%",
            "-" if point.log_density is None else f"{point.log_density:.4f}",
        ]
        for point in points
        if point.epoch == last
    ]
    title = f"after {last} epochs, {count} test images, ± standard error over images"
    columns = ["method", "removed", "test error", "log p(class)"]
    return f"{title}\n{table(rows, columns)}"


if __name__ == "__main__":
    main()
