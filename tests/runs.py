"""Training runs that several test files share."""

import json

from jvi.engine.random import stream
from jvi.models import MLP, build
from jvi.models.model import Model
from jvi.training.checkpoints import files_of
from jvi.training.objective import Objective, changed, estimator, objective_for
from jvi.training.trainer import Settings, build_trainer

META = {"--dataset": "digits", "--vae-type": "jvi", "--nhidden": "8", "--help": False, "-o": "m"}


def settings_for(vae_type="jvi", order=1, raw=False, name=None, **options):
    """Of one of the original's types, or of an estimator's name."""
    objective = Objective(estimator(name)) if name else objective_for(vae_type, order, raw)
    changes = options.pop("annealed", ""), options.pop("free_bits", 0.0)
    objective = changed(objective, *changes)
    known = {"num_samples": 4, "optimizer": "adam", "lr": 1e-3, "batch_size": 64, "quiet": True}
    return Settings(objective=objective, **known | options)


def trainer_for(prefix, data, epochs=3, vae_type="jvi", model=None, **options):
    sizes = data.train.shape[1], options.pop("num_hidden", 8), options.pop("num_latent", 2)
    settings = settings_for(vae_type, epochs=epochs, **options)
    rng = stream(settings.seed, "initial parameters")
    link = build(model, sizes[0], rng) if model else MLP(*sizes, rng)
    meta = META | {"--vae-type": vae_type}
    return build_trainer(Model(link), data, settings, prefix, meta)


def train(prefix, data, **options):
    trainer = trainer_for(prefix, data, **options)
    trainer.run(show_loop_exception_msg=False)
    return trainer


def log_of(prefix):
    entries = json.loads(files_of(prefix).log.read_text())
    return [{k: v for k, v in entry.items() if k != "elapsed_time"} for entry in entries]
