"""Several models on the same images: what a page that compares them, and its file, tell of each."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jvi.assessment.assessed import Assessed, assess, check_fit
from jvi.assessment.doubts import trained_as
from jvi.assessment.evaluation import latent_means
from jvi.assessment.paired import Comparison, compared
from jvi.assessment.pictures import Pictures
from jvi.assessment.tables import counted
from jvi.assessment.told import Kept, active, kept, log_of, reasons
from jvi.datasets import Dataset
from jvi.models.files import ModelFiles

__all__ = ["BOUNDS", "One", "Several", "names_of", "record", "several"]

BOUNDS = ("elbo", "iwae", "jvi")


class One(NamedTuple):
    """One of the models.

    Attributes
    ----------
    files : ModelFiles
    assessed : Assessed
        Without log-weights.
    pictures : Pictures
    log : list of dict
    since : Kept
    active, latent : list of int
        Active units of each layer, and how many there are; empty where that is not known.
    reasons : list of str
        To doubt it.
    """

    files: ModelFiles
    assessed: Assessed
    pictures: Pictures
    log: list[dict[str, float]]
    since: Kept
    active: list[int]
    latent: list[int]
    reasons: list[str]

    @property
    def units(self) -> str:
        """How many latent units are active, in words."""
        return counted(self.active, self.latent) if self.latent else ""


class Several(NamedTuple):
    """Models by their name on the page, and how far each is from the best."""

    models: dict[str, One]
    paired: Comparison


def names_of(prefixes: Sequence[str]) -> list[str]:
    """The shortest ends of paths, of whole parts, that tell them from each other."""
    parts = [Path(prefix).parts for prefix in prefixes]
    length = 1
    while length < max(map(len, parts)) and len({p[-length:] for p in parts}) < len(parts):
        length += 1
    return [str(Path(*each[-length:])) for each in parts]


def _names(files):
    """By prefixes, or by files where two have one prefix: a snapshot and an .h5, say."""
    prefixes = [each.prefix for each in files]
    several_of_one = len(set(map(Path, prefixes))) < len(files)
    return names_of([str(each.path) for each in files] if several_of_one else prefixes)


def several(
    models: Sequence[tuple[Any, ModelFiles]],
    data: Dataset,
    num_images: int,
    num_samples: int,
    seed: int = 0,
    progress: bool = False,
) -> Several:
    """Evaluate models on the first `num_images` test images, the same for all.

    Parameters
    ----------
    models : list of (jvi.Model, ModelFiles)
        At least two.
    data : jvi.datasets.Dataset
    num_images, num_samples : int
        N, at most, and K.
    seed : int
    progress : bool
        Show progress after two seconds.

    Raises
    ------
    ValueError
        When images do not fit one of the models, which is named, or log-weights are not finite.
    """
    names = _names([files for _, files in models])
    for name, (model, _) in zip(names, models, strict=True):
        try:
            check_fit(model, data, num_images)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    numbers = num_images, num_samples, seed, progress
    found = {n: _one(*each, data, *numbers) for n, each in zip(names, models, strict=True)}
    return Several(found, compared({n: one.assessed.result for n, one in found.items()}, BOUNDS))


def _one(model, files, data, num_images, num_samples, seed, progress):
    assessed = assess(model, data, num_images, num_samples, seed, progress)
    result = assessed.result._replace(log_w=None)  # of all models they would fill the memory
    means = latent_means(model, assessed.x, seed) if hasattr(model.link, "latent_means") else []
    log, (units, of_all) = log_of(files), active(means)
    return One(
        files=files,
        assessed=assessed._replace(result=result),
        pictures=Pictures(model, assessed.x, data.image_shape),
        log=log,
        since=kept(files, log),
        active=units,
        latent=of_all,
        reasons=reasons(files, result),
    )


def record(found: Several, data: Dataset, num_samples: int, seed: int) -> dict[str, Any]:
    """What the page's file of JSON has: of each model its rows, and the paired differences."""
    count = found.paired.rows[0]["num_images"]
    return {
        "data": data.name,
        "num_images": count,
        "num_samples": num_samples,
        "seed": seed,
        "models": [_of_one(name, one) for name, one in found.models.items()],
        **found.paired.report(),
    }


def _of_one(name, one):
    return {
        "name": name,
        "prefix": one.files.prefix,
        "file": str(one.files.path),
        "trained_as": trained_as(one.files),
        "trained_on": one.files.meta.get("--dataset"),
        "network": str(one.files.link.spec),
        "epoch": one.since.epoch,
        "rows": _untimed(one.assessed.rows),
        "measures": _untimed(one.assessed.measures),
        "active_units": one.active,
        "latent_units": one.latent,
        "doubts": one.reasons,
    }


def _untimed(rows):
    """Without seconds, which differ each time."""
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]
