"""Training as one call."""

import tempfile
from pathlib import Path
from typing import Any

from jvi.datasets import as_dataset
from jvi.engine.ranks import ranks
from jvi.evidence.estimators import Estimator
from jvi.evidence.estimators import estimator as make
from jvi.models.files import read_model
from jvi.models.model import Model, model
from jvi.spec import split
from jvi.training.checkpoints import check_output, files_of, log_of
from jvi.training.objective import Objective, changed
from jvi.training.optimizers import CLIP
from jvi.training.run import run
from jvi.training.schedules import CONSTANT, check_rate
from jvi.training.schedules import schedule as find_schedule
from jvi.training.trainer import Settings, build_trainer

__all__ = ["train"]


def train(
    model_or_name: Any,
    data: Any,
    estimator: str | Estimator = "iwae",
    num_samples: int = 8,
    epochs: int | None = None,
    *,
    batch_size: int = 100,
    optimizer: str | None = None,
    lr: float | None = None,
    schedule: str = CONSTANT,
    clip: float = CLIP,
    anneal: str = "",
    free_bits: float = 0.0,
    average: float = 0.0,
    seed: int = 0,
    device: int = -1,
    output: str | Path | None = None,
    overwrite: bool = False,
    quiet: bool = False,
) -> Model:
    """Train a model, with a progress bar, and return it as it was after its best epoch.

    Parameters
    ----------
    model_or_name : str, jvi.Model or chainer.Link
        NAME[:key=value,…] of `jvi.models.MODELS`, a model to train further, or a link of your own
        that follows `jvi.models.LatentVariableModel`.
    data : jvi.Dataset, str, path or array
        What `jvi.load_dataset` or `jvi.dataset` take is loaded first.
    estimator : str or jvi.evidence.estimators.Estimator
        Of the gradient: NAME[:key=value,…] of `jvi.evidence.estimators.ESTIMATORS`.
    num_samples : int
        K, draws of z for each data point of a step.
    epochs : int, optional
        The schedule's; 100 where it has no end.
    batch_size : int
        Data points of a step.
    optimizer : str, optional
        NAME[:key=value,…] of `jvi.training.optimizers.OPTIMIZERS`: "sgd", "adam:eps=1e-4". The
        schedule's; "adam" where it names none.
    lr : float, optional
        Learning rate of the schedule "constant", 1e-3 unless given.
    schedule : str
        NAME[:key=value,…] of `jvi.training.schedules.SCHEDULES`: "iwae", "iwae:epochs=40".
    clip : float
        Gradients longer than this are scaled down to it; 0 for none.
    anneal : str
        OPTION=START:END:EPOCHS[,…]: what changes in the first epochs, an option of the estimator
        or "kl", the weight of log p(z) - log q(z|x); docs/estimators.md.
    free_bits : float
        What each latent unit's KL divergence costs at least, in nats; of "elbo".
    average : float
        Decay, in [0, 1), of a moving average of the parameters, as 0.999; it is what is validated,
        selected and returned. 0 for none: the parameters themselves.
    seed : int
        Of everything random: the initial parameters, the order of the data, the noise.
    device : int
        -1 for the CPU, otherwise the number of a GPU.
    output : str or Path, optional
        Prefix of the files to write; without it nothing is kept on disk.
    overwrite : bool
        Replace a model that has this prefix.
    quiet : bool
        Show nothing.

    Returns
    -------
    jvi.Model
        With the parameters of the epoch that has the best validation IWAE bound; `history` is what
        was reported of each epoch.

    Raises
    ------
    ValueError
        Before any work, where model, estimator, data and numbers do not go together.
    FileExistsError
        Where `output` has a model already.
    jvi.training.step.Diverged
        When the loss is no longer finite.

    Examples
    --------
    >>> import jvi
    >>> digits = jvi.load_dataset("digits")
    >>> model = jvi.train("mlp:hidden=4,latent=2", digits, "dreg", epochs=2, quiet=True)
    >>> [epoch["epoch"] for epoch in model.history]
    [1, 2]
    """
    data = as_dataset(data)
    trained = _model(model_or_name, data, device, seed)
    lr, found = _schedule(schedule, lr)
    settings = Settings(
        changed(Objective(make(estimator)), anneal, free_bits),
        num_samples,
        optimizer=optimizer or found.optimizer or "adam",
        lr=lr,
        epochs=(found.epochs or 100) if epochs is None else epochs,
        batch_size=batch_size,
        seed=seed,
        quiet=quiet,
        schedule=schedule,
        clip=clip,
        average=average,
    )
    meta = {
        "--model": str(trained.link.spec),
        "--estimator": str(settings.objective.estimator),
        "--dataset": data.name,
        "--vae-samples": str(num_samples),
        "--opt": settings.optimizer,
        "--lr": None if lr is None else repr(lr),
        "--schedule": schedule,
        "--clip": repr(clip),
        "--anneal": anneal or None,
        "--free-bits": repr(free_bits),
        "--average": repr(average),
        "--epochs": str(settings.epochs),
        "--batchsize": str(batch_size),
        "--seed": str(seed),
    }
    with tempfile.TemporaryDirectory() as folder:
        prefix = ranks().first(Path(folder) / "model" if output is None else Path(output))
        if ranks().rank == 0:
            check_output(prefix, overwrite)
        empty = trained.link.copy(mode="copy")  # afterwards it would take the optimizer along
        trainer = build_trainer(trained, data, settings, prefix, meta)
        run(trainer, prefix, overwrite)
        ranks().agree()  # what rank 0 has written is there
        files = read_model(files_of(prefix).best, empty)
        ranks().agree()  # before it is removed
    best = Model(files.link, device, meta)
    best.history = log_of(trainer)
    return best


def _schedule(text, lr):
    """(learning rate of a constant schedule or None, the schedule)."""
    check_rate(text, lr)
    if split(text) == (CONSTANT, {}) and lr is None:
        lr = 1e-3
    return lr, find_schedule(text, lr)


def _model(model_or_name, data, device, seed):
    if isinstance(model_or_name, str):
        return model(model_or_name, data, device, seed)
    return model_or_name if isinstance(model_or_name, Model) else Model(model_or_name, device)
