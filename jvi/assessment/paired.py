"""Which model is better: differences of estimates image by image, on the same images."""

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jvi.assessment.comparable import comparable, name_in
from jvi.assessment.estimates import Evaluation
from jvi.assessment.paired_notes import notes_on
from jvi.assessment.paired_rows import ERRORS, REFERENCE, Row, paired_rows
from jvi.assessment.shown import dataframe, html_table
from jvi.assessment.tables import known_cells, unit_of, versions
from jvi.files import refuse_existing, write_csv, write_json
from jvi.text import table

__all__ = ["Comparison", "compare", "compared"]

# Columns: the key of a row, and how its value is printed.
IN_UNIT = "in the unit"  # in the place of which its name is printed
COLUMNS = {
    "estimate": ("estimate", "{estimate}"),
    "model": ("model", "{model}"),
    "samples": ("num_samples", "{num_samples}"),
    IN_UNIT: ("value", "{value:.4f}"),
    "nats": ("mean", "{mean:.4f}"),
    "± images": ("standard_error", "{standard_error:.4f}"),
    "difference": ("difference", "{difference:+.4f}"),
    "± paired": ("paired_error", "{paired_error:.4f}"),
    "± samples": ("difference_sampling_error", "{difference_sampling_error:.4f}"),
    "z": ("z", "{z:+.1f}"),
    "better on": ("better", "{better}"),
    "verdict": ("verdict", "{verdict}"),
    "ESS": ("ess", "{ess:.1f}"),
    "heavy tails": ("heavy_tails", "{heavy_tails:.1%}"),
}
OF_ITSELF = {"difference": math.nan, "better": math.nan}  # of a model nothing is printed


class Comparison(NamedTuple):
    """Several models on the same images.

    Attributes
    ----------
    rows : list of dict
        For each estimate and model "estimate", "model", "reference", "num_samples", "num_images",
        "mean", "standard_error" (of it, over images) and "sampling_error" (by Monte Carlo), in
        nats; of the reference less, image by image, "difference", "paired_error" (its standard
        error over images, which contains that by sampling), "difference_sampling_error" (as of
        independent samples; models that were given one seed share noise, which it does not know),
        "z" (the difference in paired errors), "better" (the images on which the model is the better
        one), "equal" and "verdict"; "ess", "heavy_tails" and "k_threshold". Data that have another
        unit also have "unit", "value" and "value_standard_error". nan is what is not known.
    notes : list of str
        Reasons to doubt the verdicts, a sentence each.
    reference : str
    differences : dict of str to dict of str to array, shape (N,)
        By estimate and model, nats.

    Notes
    -----
    `print`, a notebook, `to_dataframe` and `write` tell the same rows.

    Examples
    --------
    >>> import numpy as np
    >>> import jvi
    >>> log_w = np.log([[1.0, 2.0], [3.0, 2.0]])
    >>> found = jvi.compare({"a": log_w, "b": log_w + 1.0}, bounds=["iwae"])
    >>> found.reference, found.differences["iwae"]["a"]
    ('b', array([-1., -1.]))
    """

    rows: list[Row]
    notes: list[str]
    reference: str
    differences: dict[str, dict[str, np.ndarray]]

    def __repr__(self) -> str:
        return "\n".join([table(*self._cells()), *self._said()])

    def _repr_html_(self) -> str:
        return html_table(*self._cells(), self._said())

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
        >>> log_w = np.log([[1.0, 2.0], [3.0, 2.0]])
        >>> found = jvi.compare({"a": log_w, "b": log_w + 1.0}, bounds=["iwae"])
        >>> list(found.to_dataframe()["verdict"])
        ['worse', 'reference']
        """
        return dataframe(self.rows)

    def write(self, prefix: str | Path, overwrite: bool = False) -> None:
        """Write PREFIX.json (rows, notes, versions) and PREFIX.csv (rows).

        What is not known is empty.

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
        >>> log_w = np.log([[1.0, 2.0], [3.0, 2.0]])
        >>> found = jvi.compare({"a": log_w, "b": log_w + 1.0}, bounds=["iwae"])
        >>> found.write("models")  # models.json and models.csv
        """
        if not overwrite:
            refuse_existing([f"{prefix}.json", f"{prefix}.csv"])
        write_json(f"{prefix}.json", self.report())
        write_csv(f"{prefix}.csv", self.rows)

    def report(self) -> dict[str, Any]:
        """What the JSON says.

        Returns
        -------
        dict
            By "versions", "reference", "notes" and "rows".

        Examples
        --------
        >>> import numpy as np
        >>> import jvi
        >>> log_w = np.log([[1.0, 2.0], [3.0, 2.0]])
        >>> found = jvi.compare({"a": log_w, "b": log_w + 1.0}, bounds=["iwae"])
        >>> list(found.report())
        ['versions', 'reference', 'notes', 'rows']
        """
        found = {"versions": versions(), "reference": self.reference}
        return found | {"notes": self.notes, "rows": self.rows}

    def _cells(self):
        """Rows of text, without columns that are empty, and the header."""
        rows = [row | OF_ITSELF if row["verdict"] == REFERENCE else row for row in self.rows]
        return known_cells(rows, COLUMNS, {IN_UNIT: unit_of(rows)})

    def _said(self):
        count = self.rows[0]["num_images"]
        return [
            f"difference: less {self.reference}, image by image, of {count:,} images in nats; "
            f"better or worse by more than {ERRORS:g} paired errors, which contain ± samples",
            *self.notes,
        ]


def compare(
    models: Mapping[str, Any],
    bounds: Iterable[str] = ("elbo", "iwae", "jvi"),
    reference: str | None = None,
    samples: int | None = None,
    order: int = 1,
) -> Comparison:
    """Paired differences of several models on the same images, with their errors.

    Estimates of two models on the same images share most of their spread over images: what one
    model finds hard, the other does, too. The standard error of the difference image by image is
    therefore far smaller than those of the means. It contains the Monte-Carlo error.

    Parameters
    ----------
    models : dict
        By name: log-weights in all forms that `jvi.summary` takes, shape (K, N), column n being of
        the same image in each; a `Summary`, of which the most samples are taken; or an
        `Evaluation` of `jvi.evaluate`. Of one that has not kept its log-weights, ± samples is not
        known.
    bounds : iterable of str
        "elbo", "iwae", "jvi" (of the given order), "jvi-M" and, of an `Evaluation`, what it has;
        one that has "vae", the ELBO with analytic KL divergence, is taken by that as "elbo".
    reference : str, optional
        The model that the others are compared with; by default the one of the highest IWAE (or
        first bound).
    samples : int, optional
        K, the first so many samples of each; by default all.
    order : int
        Of "jvi"; an `Evaluation` without its log-weights has that of its own.

    Returns
    -------
    Comparison

    Raises
    ------
    ValueError
        For fewer than two models, an unknown reference, different numbers of images, or bounds
        that no model has.

    Examples
    --------
    Two models of 200 images, of which one is better by 0.3 nats:

    >>> import numpy as np
    >>> import jvi
    >>> rng = np.random.default_rng(0)
    >>> images = rng.normal(-90, 10, 200)  # what makes an image likely under both
    >>> wide = images + rng.normal(-0.8, 1.0, (64, 200))
    >>> narrow = images + rng.normal(-0.125, 0.5, (64, 200))
    >>> found = jvi.compare({"wide": wide, "narrow": narrow}, bounds=["iwae"])
    >>> found.reference
    'narrow'
    >>> row = found.rows[0]
    >>> row["model"], row["verdict"]
    ('wide', 'worse')
    >>> round(row["standard_error"], 1), round(row["paired_error"], 2)
    (0.7, 0.01)
    """
    if not isinstance(models, Mapping) or len(models) < 2:
        raise ValueError('give at least two models to compare, as {"a": …, "b": …}')
    bounds = list(dict.fromkeys(bounds.split(",") if isinstance(bounds, str) else bounds))
    found = {
        str(name): comparable(str(name), each, bounds, samples, order)
        for name, each in models.items()
    }
    return compared(found, bounds, reference)


def compared(
    evaluations: Mapping[str, Evaluation], bounds: Iterable[str], reference: str | None = None
) -> Comparison:
    """`compare` of evaluations as they are."""
    counts = {name: len(each.per_image["ess"]) for name, each in evaluations.items()}
    _check_counts(counts)
    bounds = list(bounds)
    common = [b for b in bounds if all(name_in(each, b) for each in evaluations.values())]
    if not common:
        raise ValueError(f"no bound of {', '.join(bounds)} is known of all models")
    reference = _reference(evaluations, common, reference)
    rows, differences = paired_rows(evaluations, common, reference)
    notes = notes_on(evaluations, rows, [b for b in bounds if b not in common], reference)
    return Comparison(rows, notes, reference, differences)


def _check_counts(counts):
    """Raise ValueError for different numbers of images."""
    (first, count), *others = counts.items()
    for name, other in others:
        if other != count:
            raise ValueError(
                f"{first} is of {count:,} images and {name} of {other:,}: paired differences need "
                "the same images, in the same order"
            )


def _reference(evaluations, bounds, wanted):
    """The name of the model that others are compared with."""
    if wanted is not None:
        if wanted not in evaluations:
            known = ", ".join(evaluations)
            raise ValueError(f"unknown reference {wanted!r}: choose from {known}")
        return wanted
    bound = "iwae" if "iwae" in bounds else bounds[0]
    return max(
        evaluations, key=lambda name: evaluations[name].mean[name_in(evaluations[name], bound)]
    )
