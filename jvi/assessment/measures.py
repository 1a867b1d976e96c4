"""What is measured of a model beside bounds: SSIM, active units, distances from the truth."""

import math
from collections.abc import Callable, Iterable
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from jvi.assessment import similarity
from jvi.assessment.estimates import standard_error
from jvi.assessment.evaluation import latent_means
from jvi.assessment.grid import BLOCK
from jvi.assessment.rows import Row
from jvi.datasets import Dataset
from jvi.engine.devices import rows_at_once
from jvi.engine.threads import parallel_map
from jvi.evidence.arrays import host
from jvi.evidence.diagnostics import active_units
from jvi.models.protocol import lacking

__all__ = ["MEASURES", "UNITS", "Measure", "able", "check", "check_names", "measure", "units"]

UNITS = "active-units"


class Measure(NamedTuple):
    """One of `MEASURES`.

    Attributes
    ----------
    needs : tuple of str
        Capabilities of a model.
    function : callable
        From (model, x, image_shape, seed, progress) to pairs by name: an array (N,), by data point,
        or a number; and what that is a count out of, or nan.
    images : bool
        Whether data must be images.
    """

    needs: tuple[str, ...]
    function: Callable[..., dict[str, tuple[Any, float]]]
    images: bool = False


def check_names(names: Iterable[str]) -> None:
    """Raise ValueError for a name that is not one of `MEASURES`."""
    for name in names:
        if name not in MEASURES:
            raise ValueError(f"unknown measure {name!r}: choose from {', '.join(MEASURES)}")


def check(names: Iterable[str], link: Any, data: Dataset) -> None:
    """Raise ValueError, or ImportError, for what cannot be measured of a model on a data set."""
    for name in names:
        what = f"--measures {name}"
        problems = (lacking(link, needed, what) for needed in MEASURES[name].needs)
        problem = next(filter(None, problems), None)
        if problem:
            raise ValueError(problem)
        if MEASURES[name].images and data.image_shape is None:
            raise ValueError(f"{what} needs images, which {data.name} does not have")
        if MEASURES[name].images:
            similarity.check_shape(data.image_shape, what)


def able(link: Any, data: Dataset) -> list[str]:
    """The names of all that can be measured of a model on a data set."""
    found = []
    for name in MEASURES:
        try:
            check([name], link, data)
        except (ValueError, ImportError):
            continue
        found.append(name)
    return found


def measure(
    name: str, model: Any, x: Any, data: Dataset, seed: int = 0, progress: bool = False
) -> list[Row]:
    """Rows of one of `MEASURES`, of all data points once.

    Parameters
    ----------
    name : str
    model : jvi.Model
    x : array, shape (N, …)
        Data points as the model is given them: images that it knows binary are binary.
    data : jvi.datasets.Dataset
        That they are of.
    seed : int
        Of what is drawn.
    progress : bool
        Show progress after two seconds.

    Returns
    -------
    list of dict
        "data", "measure" (its name), "num_images", "mean", "standard_error" (of the mean, over data
        points; nan for what is not an average over them), "total" (what a count is out of, or
        nan) and "seconds".
    """
    start = perf_counter()
    found = MEASURES[name].function(model, x, data.image_shape, seed, progress)
    seconds = perf_counter() - start
    return [
        {
            "data": "test",
            "measure": each,
            "num_images": len(x),
            "mean": float(np.mean(values)),
            "standard_error": standard_error(values) if np.ndim(values) else math.nan,
            "total": total,
            "seconds": seconds,
        }
        for each, (values, total) in found.items()
    ]


def units(rows: list[Row]) -> dict[str, Any]:
    """Of the rows of active units "active_units", how many there are, and "latent_units", of all.

    Numbers, or lists of them for several layers; None without rows, or where it is not known.
    """
    active, total = [row["mean"] for row in rows], [row["total"] for row in rows]
    known = bool(active) and not any(map(math.isnan, active))
    found = {"active_units": [int(each) for each in active] if known else None}
    found["latent_units"] = total or None
    alone = len(rows) == 1
    return {key: value[0] if alone and value else value for key, value in found.items()}


def _ssim(model, x, image_shape, seed, progress):
    """Of data points as the model is given them and its reconstructions of them."""
    block = max(BLOCK, rows_at_once(model.device, model.link) // BLOCK)

    def values(start):
        part = x[start : start + block]
        return similarity.ssim(host(part), host(model.reconstruct(part)), image_shape)

    parts = []
    with tqdm(total=len(x), unit="image", disable=None if progress else True, delay=2) as bar:
        for part in parallel_map(values, range(0, len(x), block), model.device):
            parts.append(part)
            bar.update(len(part))
    return {"ssim": (np.concatenate(parts), math.nan)}


def _units(model, x, image_shape, seed, progress):
    """Of each stochastic layer, numbered from the data upwards where there are several."""
    means = latent_means(model, x, seed)
    names = [f"{UNITS}-{i}" for i in range(1, len(means) + 1)] if len(means) > 1 else [UNITS]
    return {
        name: (active_units(mean).sum() if len(x) > 1 else math.nan, mean.shape[1])
        for name, mean in zip(names, means, strict=True)
    }


def _l2_errors(model, x, image_shape, seed, progress):
    posterior, prior = model.link.l2_errors(model.images(x))
    return {"l2-posterior": (posterior, math.nan), "l2-prior": (prior, math.nan)}


MEASURES = {
    "ssim": Measure(("mean", "typical"), _ssim, images=True),
    UNITS: Measure(("latent_means",), _units),
    "l2-errors": Measure(("l2_errors",), _l2_errors),
}
