"""Training a Bayesian network on a table, in the terms of any other run."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from chainer import Link

from jvi.datasets.table_file import columns_of, table_path, write_columns
from jvi.datasets.tabular import Tabular
from jvi.engine.random import stream
from jvi.evidence.estimators import estimator
from jvi.models import BayesMLP
from jvi.models.files import ModelFiles, read_snapshot
from jvi.models.model import Model, from_files
from jvi.spec import parse
from jvi.training.checkpoints import resume
from jvi.training.objective import Objective, objective_for
from jvi.training.progress import ProgressBar
from jvi.training.reweighting import reweighted
from jvi.training.trainer import Settings, build_trainer

__all__ = [
    "NetworkRun",
    "minibatch_note",
    "network",
    "network_objective",
    "network_trainer",
    "prior_options",
]

ELBO = "elbo"


def _normal(scale: float = 1.0):
    return {"prior": "normal", "prior_scale": scale}


def _mixture(pi: float = 0.5, sigma1: float = 1.0, sigma2: float = 0.0025):
    return {"prior": "mixture", "pi": pi, "sigma1": sigma1, "sigma2": sigma2}


PRIORS: dict[str, Callable[..., dict[str, Any]]] = {"normal": _normal, "mixture": _mixture}


def prior_options(text: str) -> dict[str, Any]:
    """Of `jvi.models.BayesMLP`, for "normal:scale=…" or "mixture:pi=…,sigma1=…,sigma2=…".

    Raises
    ------
    ValueError
        For an unknown prior or option, listing the known.
    """
    spec = parse(text, PRIORS, "prior")
    return PRIORS[spec.name](**spec.options)


def network(table: Tabular, options: Mapping[str, Any], rng: Any) -> BayesMLP:
    """A network for a table; its task decides the outputs, and `options` the rest.

    Raises
    ------
    ValueError
        As `jvi.models.BayesMLP`.
    """
    about: dict[str, Any] = {"task": table.task, "classes": max(2, len(table.classes))}
    return BayesMLP(table.data.train.shape[1], **about, **options, rng=rng)


def network_objective(
    text: str, link: Link, scheme: str, num_rows: int, batch_size: int
) -> Objective:
    """An estimator's objective, the divergence shared out among minibatches.

    Parameters
    ----------
    text : str
        NAME[:key=value,…] of `jvi.evidence.estimators.ESTIMATORS`. "elbo" takes the divergence in
        closed form where the prior has one.
    link : BayesMLP
    scheme : str
        A key of `jvi.training.reweighting.SCHEMES`.
    num_rows, batch_size : int
        Of the training data.

    Raises
    ------
    ValueError
        For what does not go together, or an estimator or scheme that there is not.
    """
    made, share = estimator(text), reweighted(scheme, num_rows, batch_size)
    bound = made.spec.name
    if link.fresh and bound != ELBO:
        raise ValueError(
            f"weights drawn afresh for every row ({link.spec.options['perturbation']}) are for "
            f"{ELBO}, not {bound}, which needs one draw for all rows: choose shared"
        )
    known = bound == ELBO and hasattr(link, "kl")
    objective = objective_for("vae") if known else Objective(made)
    return objective._replace(annealed=(share,) if batch_size < num_rows else ())


def minibatch_note(run: "NetworkRun", table: Tabular) -> str:
    """What to say of a bound that minibatches change into another one; else nothing."""
    rows, name = len(table.data.train), run.estimator
    if name == ELBO or run.settings.batch_size >= rows:
        return ""
    return (
        f"{name} of minibatches is not {name} of all {rows} rows, as those of elbo add up: give "
        f"-b {rows} to train on that"
    )


class NetworkRun(NamedTuple):
    """A run, apart from its data: `options` are of `jvi.models.BayesMLP`, but for its task.

    `settings` have no objective yet: `estimator` and `scheme` say it, as `network_objective` takes
    them, when the number of rows is known.
    """

    options: Mapping[str, Any]
    estimator: str
    scheme: str
    settings: Settings
    device: int = -1


def network_trainer(
    table: Tabular,
    run: NetworkRun,
    prefix: str | Path,
    meta: Mapping[str, Any],
    files: ModelFiles | None = None,
) -> Any:
    """The trainer of `jvi.training.trainer.build_trainer`, with a progress bar and no lines.

    With the first epoch the table's columns and scales are written, too, to `table_path(prefix)`.

    Parameters
    ----------
    table : Tabular
    run : NetworkRun
    prefix : str or Path
    meta : dict
        The command's arguments; what the model is, is added.
    files : ModelFiles, optional
        Of the epoch to go on from.

    Raises
    ------
    ValueError
        Before any work, where table, network and numbers do not go together.
    """
    settings = run.settings
    link = network(table, run.options, stream(settings.seed, "initial parameters"))
    about = run.scheme, len(table.data.train), settings.batch_size
    objective = network_objective(run.estimator, link, *about)
    model = Model(link, run.device) if files is None else from_files(files, run.device)
    meta = {**meta, "--model": str(link.spec)}
    silent = settings._replace(objective=objective, quiet=True)
    trainer = build_trainer(model, table.data, silent, prefix, meta)
    if not settings.quiet:
        bar = ProgressBar(settings.epochs, len(table.data.train), settings.batch_size)
        trainer.extend(bar, name="bar", trigger=_always, priority=50)
    columns, path = columns_of(table), table_path(prefix)
    keep = {"name": "table", "trigger": _first_epoch, "priority": 160}  # just before the model
    trainer.extend(lambda _: write_columns(path, columns), **keep)
    if files is not None:
        resume(trainer, read_snapshot(files.path, model.link))
    return trainer


def _always(trainer):
    return True


def _first_epoch(trainer):
    return trainer.updater.is_new_epoch and trainer.updater.epoch == 1
