"""Evidence from any log-weights: `jvi.summary`, with the table of evaluate.py."""

import math
import operator
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from jvi.assessment import tables
from jvi.assessment.advice import about_axes, about_tails, about_zeros
from jvi.assessment.estimates import STARTS, Evaluation, check_bounds, in_blocks, joined
from jvi.assessment.in_unit import in_unit
from jvi.assessment.log_weights import read
from jvi.assessment.rows import KL, Row, combine, kl_row, rows
from jvi.assessment.shown import dataframe, html_table
from jvi.evidence.quantities import Terms, bound
from jvi.evidence.unit import NATS, Unit
from jvi.files import refuse_existing

__all__ = ["Summary", "check_names", "summary"]

BLOCK = 2**19  # log-weights that are worked on at a time: 4 MB for each copy of them

# What estimates need beside log-weights, and what to ask for instead.
NEEDS = {
    "vae": "the divergence of q(z|x) from p(z) in closed form: ask for elbo, which is sampled",
    "is": "log p(x|z) of each sample: ask for iwae",
    **dict.fromkeys(STARTS, "a model: ask for iwae of the log-weights that annealing gives"),
}


class Summary(NamedTuple):
    """What log-weights say of log p(x): a table in a terminal or notebook.

    Attributes
    ----------
    rows : list of dict
        Of the table, as the files of evaluate.py have them, in nats: a row for each estimate and
        number of samples, the last one of -KL(q||p), ELBO less IWAE. nan is what is not known.
    evaluations : list of Evaluation
        For each number of samples, with ELBO and IWAE in any case, all values by data point, and
        the log-weights.
    notes : list of str
        Reasons to doubt the numbers, and what to do about them, a sentence each.
    source : str or None
        The file that the log-weights are from.

    Examples
    --------
    >>> import numpy as np
    >>> import jvi
    >>> found = jvi.summary(np.log([[1.0, 2.0], [3.0, 2.0]]), bounds=("elbo", "iwae"))
    >>> found
    estimate   samples     nats  ± images  ± samples  ESS
    elbo             2   0.6212    0.0719     0.2747    -
    iwae             2   0.6931    0.0000     0.2747  1.8
    -KL(q||p)        2  -0.0719    0.0719     0.0000    -
    -KL(q||p) is elbo - iwae, both 2 samples
    nothing is known of heavy tails: draw 30 samples or more
    """

    rows: list[Row]
    evaluations: list[Evaluation]
    notes: list[str]
    source: str | None = None

    def __repr__(self) -> str:
        return "\n".join([tables.text(self.rows), self._parts, *self.notes])

    def _repr_html_(self) -> str:
        return html_table(*tables.cells(self.rows), [self._parts, *self.notes])

    @property
    def _parts(self):
        return f"{KL} is {self.rows[-1]['parts']}"

    @property
    def per_image(self) -> dict[str, np.ndarray]:
        """`Evaluation.per_image` of most samples: arrays (N,) by name, in nats.

        Examples
        --------
        >>> import numpy as np
        >>> import jvi
        >>> found = jvi.summary(np.log([[1.0, 2.0], [3.0, 2.0]]), bounds=("elbo", "iwae"))
        >>> found.per_image["ess"]  # 1 / (1/16 + 9/16), and 2
        array([1.6, 2. ])
        """
        return max(self.evaluations, key=lambda each: each.num_samples).per_image

    def to_dataframe(self) -> Any:
        """The rows as a pandas DataFrame.

        Returns
        -------
        pandas.DataFrame

        Raises
        ------
        ImportError
            Without pandas, saying what to install.

        Examples
        --------
        >>> import numpy as np
        >>> import jvi
        >>> found = jvi.summary(np.log([[1.0, 2.0], [3.0, 2.0]]), bounds=("elbo", "iwae"))
        >>> list(found.to_dataframe()["estimate"])
        ['elbo', 'iwae', '-KL(q||p)']
        """
        return dataframe([{k: v for k, v in row.items() if k != "means"} for row in self.rows])

    def write(self, prefix: str | Path, overwrite: bool = False) -> None:
        """Write PREFIX.json and PREFIX.csv, as evaluate.py does.

        Parameters
        ----------
        prefix : str or Path
            Of the files' names.
        overwrite : bool
            Replace files that exist.

        Raises
        ------
        FileExistsError
            Where one of them exists, unless `overwrite`.

        Examples
        --------
        >>> import numpy as np
        >>> import jvi
        >>> found = jvi.summary(np.log([[1.0, 2.0], [3.0, 2.0]]), bounds=("elbo", "iwae"))
        >>> found.write("evidence")  # evidence.json and evidence.csv
        """
        if not overwrite:
            refuse_existing([f"{prefix}.json", f"{prefix}.csv"])
        tables.write(prefix, self.report())

    def report(self) -> dict[str, Any]:
        """What the JSON says.

        Returns
        -------
        dict
            By "log_weights" (the file they are from), "versions", "notes" and "rows".

        Examples
        --------
        >>> import numpy as np
        >>> import jvi
        >>> found = jvi.summary(np.log([[1.0, 2.0], [3.0, 2.0]]), bounds=("elbo", "iwae"))
        >>> [row["estimate"] for row in found.report()["rows"]]
        ['elbo', 'iwae', '-KL(q||p)']
        """
        about = {"log_weights": self.source, "versions": tables.versions()}
        return about | {"notes": self.notes, "rows": self.rows}


def summary(
    log_w: Any,
    bounds: Iterable[str] = ("elbo", "iwae", "jvi"),
    samples: int | Iterable[int] | None = None,
    order: int = 1,
    *,
    name: str | None = None,
    unit: Unit = NATS,
    progress: bool = False,
) -> Summary:
    """Estimates of log p(x) from log-weights, their errors, and how far to trust them.

    The numbers are those that `evaluate.py` has of the same log-weights (docs/evaluation.md says
    what each is and where it comes from). Data points are worked on block by block, in float64.

    Parameters
    ----------
    log_w : array, str, Path, mapping, or an object of ArviZ or xarray
        log p(x, z) - log q(z|x) in nats, for K samples z of q(z|x) of each of N data points: an
        array (K, N) of any library, an .npz, .npy or .csv file, or an ArviZ InferenceData, an
        xarray DataTree, Dataset or DataArray, whose chains and draws are the samples.
        -inf is a zero weight.
    bounds : iterable of str
        Of "elbo", "iwae", "jvi" (of the given order), "jvi-M" (of order M) and "iwae++" (JVI-1).
    samples : int or iterable of int, optional
        Numbers of samples, by default K; smaller ones are the first of all. A jackknife is left out
        of those that are too few for its order.
    order : int
        Of "jvi", less than the largest number of samples.
    name : str, optional
        Of the array or variable in what holds several; "log_w", "logw" or "log_weights", or the
        only one, unless given.
    unit : jvi.datasets.Unit
        In which means are told beside nats.
    progress : bool
        Show a progress bar after two seconds.

    Returns
    -------
    Summary

    Raises
    ------
    FileNotFoundError
        When there is no such file.
    ValueError
        For anything but floating-point numbers of shape (K, N) without NaN and +inf, impossible
        numbers of samples or orders, and estimates that need more than log-weights.

    Examples
    --------
    >>> import numpy as np
    >>> import jvi
    >>> found = jvi.summary(np.log([[1.0, 2.0], [3.0, 2.0]]), bounds=("elbo", "iwae"))
    >>> [row["estimate"] for row in found.rows]
    ['elbo', 'iwae', '-KL(q||p)']
    >>> found.per_image["iwae"]  # log 2 of both
    array([0.69314718, 0.69314718])
    """
    source = os.fspath(log_w) if isinstance(log_w, str | os.PathLike) else None
    log_w = read(log_w, name)
    bounds = list(dict.fromkeys(bounds.split(",") if isinstance(bounds, str) else bounds))
    counts = _counts(samples, len(log_w))
    check_names(bounds, order)
    check_bounds(counts, bounds, order)
    with np.errstate(invalid="ignore", divide="ignore"):  # of zero weights
        every = list(dict.fromkeys([*bounds, "elbo", "iwae"]))
        parts = _parts(log_w, counts, every, order, progress)
        evaluations = joined(parts, counts, every, order, log_w, unit)
        told = rows([(each, math.nan) for each in evaluations], bounds)
        told = in_unit(combine([[*told, kl_row(evaluations, "elbo")]]), unit)
    most = max(evaluations, key=lambda each: each.num_samples)
    notes = about_axes(log_w) + about_zeros(log_w)
    notes += tables.doubted(evaluations, always=False) + about_tails(most)
    return Summary(told, evaluations, notes, source)


def _counts(samples, most):
    """Numbers of samples, all different, of at most `most`."""
    if samples is None:
        return [most]
    try:
        counts = [*map(operator.index, samples if np.iterable(samples) else [samples])]
    except TypeError:
        raise ValueError(f"samples must be whole numbers, not {samples!r}") from None
    if counts and max(counts) > most:
        raise ValueError(
            f"samples {max(counts)} are more than the {most} of each data point: log-weights have "
            "shape (K, N), samples first"
        )
    return list(dict.fromkeys(counts))


def check_names(bounds: Iterable[str], order: int = 1) -> None:
    """Raise ValueError, in one line, for what is no estimate from log-weights alone."""
    bounds = list(bounds)
    if not bounds:
        raise ValueError("name at least one bound: elbo, iwae, jvi, jvi-M")
    for name in bounds:
        if name in NEEDS:
            raise ValueError(f"log-weights are not enough for {name}, which needs {NEEDS[name]}")
        bound(name, order)


def _parts(log_w, counts, bounds, order, progress):
    """What `in_blocks` finds, block by block."""
    num_samples, num_points = log_w.shape
    size, parts = max(1, BLOCK // num_samples), []
    with tqdm(total=num_points, unit="image", disable=None if progress else True, delay=2) as bar:
        for start in range(0, num_points, size):
            block = np.ascontiguousarray(log_w[:, start : start + size])
            parts.append(in_blocks(Terms(block, block, None), counts, bounds, order, detail=True))
            bar.update(block.shape[1])
    return parts
