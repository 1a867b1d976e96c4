"""What is compared with what: models, data, estimators and budgets, as data."""

from collections.abc import Callable
from typing import Any, NamedTuple

from jvi.datasets import Dataset
from jvi.models.mixture import l2_errors

__all__ = [
    "CONTINUOUS",
    "DISCRETE",
    "EXPERIMENTS",
    "Experiment",
    "Run",
    "cut",
    "runs",
    "settings_of",
]

CONTINUOUS = (
    "iwae",
    "elbo",
    "jvi",
    "jvi-iwae",
    "jvi-elbo",
    "jvi-clip",
    "jvi-dreg",
    "miwae:groups=8",
    "piwae:groups=8",
    "ciwae:beta=0.5",
    "ciwae:beta=learned",
    "renyi:alpha=0.5",
    "stl",
    "dreg",
    "rws-dreg",
    "renyi-dreg",
)

DISCRETE = (
    "vimco:mean=geometric",
    "vimco:mean=arithmetic",
    "reinforce",
    "reinforce:baseline=learned",
    "ovis:gamma=0",
    "ovis:gamma=1",
    "ovis-mc",
    "rws",
    "wake-sleep",
    "tvo",
    "tvo:log10-beta=-3",
)


class Experiment(NamedTuple):
    """Estimators on one model and one data set, each with the same budget and the same seeds.

    Attributes
    ----------
    model, dataset : str
        Names, as `jvi.model` and `jvi.load_dataset` take them.
    estimators : tuple of str
        The first one is what the others are compared with.
    num_samples : tuple of int
        Values of K.
    batch_size, epochs, optimizer, lr
        As `jvi.train` has them.
    seeds : tuple of int
    train_images, test_images : int or None
        The first so many of the data, None for all; as many for validation as for the test.
    samples : int
        Of the estimate of log p(x), where that is not known exactly.
    repeats : int
        Of the gradient, from which its signal-to-noise ratio is measured; 0 for none.
    truth : callable or None
        Of (link, x): a NamedTuple of distances from what is true, where that is known.
    """

    model: str
    dataset: str
    estimators: tuple[str, ...]
    num_samples: tuple[int, ...]
    batch_size: int
    epochs: int
    optimizer: str = "adam"
    lr: float = 1e-3
    seeds: tuple[int, ...] = (0, 1, 2)
    train_images: int | None = None
    test_images: int | None = None
    samples: int = 5000
    repeats: int = 100
    truth: Callable[[Any, Any], Any] | None = None


# Burda et al. 2016 and Rainforth et al. 2018 (K M = 64, batches of 20); Mnih & Rezende 2016; Le et
# al. 2019, whose 100,000 steps are a hundred passes over 100,000 draws.
EXPERIMENTS = {
    "continuous": Experiment("burda:layers=1", "mnist", CONTINUOUS, (64,), 20, 20),
    "sbn": Experiment("sbn:layers=1", "mnist", DISCRETE, (20,), 20, 20),
    "mixture": Experiment("mixture", "mixture", DISCRETE, (20,), 100, 100, truth=l2_errors),
}


class Run(NamedTuple):
    """One of an experiment's: what is trained, and with which seed."""

    estimator: str
    num_samples: int
    seed: int

    @property
    def name(self) -> str:
        """For its folder."""
        plain = self.estimator.replace(":", "-").replace(",", "-")
        return f"{plain}-K{self.num_samples}-seed{self.seed}"

    def __str__(self) -> str:
        return f"{self.estimator}, K = {self.num_samples}, seed {self.seed}"


def runs(experiment: Experiment) -> list[Run]:
    """All of an experiment's, seed after seed, so that all estimators are there early."""
    return [
        Run(name, num_samples, seed)
        for seed in experiment.seeds
        for num_samples in experiment.num_samples
        for name in experiment.estimators
    ]


def cut(data: Dataset, experiment: Experiment) -> Dataset:
    """The first rows of each part, as many as an experiment takes."""
    test = slice(experiment.test_images)
    return data._replace(
        train=data.train[: experiment.train_images],
        validation=data.validation[test],
        test=data.test[test],
    )


def settings_of(experiment: Experiment, data: Dataset) -> dict[str, Any]:
    """What all runs of an experiment share, for JSON; `data` is `cut`."""
    return {
        "model": experiment.model,
        "dataset": experiment.dataset,
        "train_images": len(data.train),
        "validation_images": len(data.validation),
        "test_images": len(data.test),
        "batch_size": experiment.batch_size,
        "epochs": experiment.epochs,
        "optimizer": experiment.optimizer,
        "lr": experiment.lr,
        "samples": experiment.samples,
        "repeats": experiment.repeats,
    }
