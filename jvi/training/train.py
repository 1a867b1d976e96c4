"""Training as one call."""

import tempfile
from pathlib import Path
from typing import Any

from jvi.datasets import as_dataset
from jvi.evidence.estimators import Estimator
from jvi.evidence.estimators import estimator as make
from jvi.models.files import read_model
from jvi.models.model import Model, model
from jvi.training.checkpoints import check_output, files_of, log_of
from jvi.training.objective import Objective
from jvi.training.run import run
from jvi.training.trainer import Settings, build_trainer

__all__ = ["train"]


def train(
    model_or_name: Any,
    data: Any,
    estimator: str | Estimator = "iwae",
    num_samples: int = 8,
    epochs: int = 100,
    *,
    batch_size: int = 100,
    optimizer: str = "adam",
    lr: float = 1e-3,
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
        K.
    epochs, batch_size : int
    optimizer : str
        "adam", "sgd" or "smorms3".
    lr : float
        Learning rate.
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
    """
    data = as_dataset(data)
    trained = _model(model_or_name, data, device, seed)
    settings = Settings(
        Objective(make(estimator)), num_samples, optimizer, lr, epochs, batch_size, seed, quiet
    )
    meta = {
        "--model": str(trained.link.spec),
        "--estimator": str(settings.objective.estimator),
        "--dataset": data.name,
        "--vae-samples": str(num_samples),
        "--opt": optimizer,
        "--lr": repr(lr),
        "--epochs": str(epochs),
        "--batchsize": str(batch_size),
        "--seed": str(seed),
    }
    with tempfile.TemporaryDirectory() as folder:
        prefix = Path(folder) / "model" if output is None else Path(output)
        check_output(prefix, overwrite)
        trainer = build_trainer(trained, data, settings, prefix, meta)
        run(trainer, prefix, overwrite)
        files = read_model(files_of(prefix).best, trained.link.copy(mode="copy"))
    best = Model(files.link, device, meta)
    best.history = log_of(trainer)
    return best


def _model(model_or_name, data, device, seed):
    if isinstance(model_or_name, str):
        return model(model_or_name, data, device, seed)
    return model_or_name if isinstance(model_or_name, Model) else Model(model_or_name, device)
