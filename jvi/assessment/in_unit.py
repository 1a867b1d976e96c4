"""Rows of the table in the unit of their data, beside nats."""

from collections.abc import Iterable

from jvi.assessment.rows import KL, Row
from jvi.evidence.unit import NATS, Unit

__all__ = ["ERRORS", "VALUES", "in_unit"]

ERRORS = ("standard_error", "sampling_error", "spread")

# What rows of data in another unit than nats have more: its name, the mean in it, and its errors.
VALUES = ("unit", "value", *(f"value_{key}" for key in ERRORS))


def in_unit(rows: Iterable[Row], unit: Unit) -> list[Row]:
    """Rows with `VALUES`, or as they are where the unit is nats.

    The row of a difference of two estimates has that of their values, so without the offset: in
    bits per dimension an ELBO below log p(x) is above it.

    Parameters
    ----------
    rows : iterable of dict
        As `jvi.assessment.rows` makes them, in nats.
    unit : jvi.datasets.Unit
        Of the data.
    """
    if unit == NATS:
        return list(rows)
    return [row | _values(row, unit) for row in rows]


def _values(row, unit):
    convert = unit.difference if _is_difference(row["estimate"]) else unit.value
    errors = {f"value_{key}": unit.error(row[key]) for key in ERRORS if key in row}
    return {"unit": unit.name, "value": convert(row["mean"]), **errors}


def _is_difference(name):
    """Of KL, ais - ais-prior, iwae - exact, bdmc-gap."""
    return name == KL or " - " in name or name.endswith("-gap")
