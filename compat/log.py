"""``PREFIX/log``, also within a snapshot: a JSON list of what was reported each epoch."""

import json

__all__ = ["MAX_BYTES", "TEXT", "parse_log"]

MAX_BYTES = 2**24
MAX_NUMBERS = 2**19  # of all epochs together; 3,000 epochs have 40,000
TEXT = "estimator"  # the one entry that is no number
WHOLE = ("epoch", "iteration")


def parse_log(text, where):
    """The entries of a log: for each epoch a dict of the numbers that were reported.

    Parameters
    ----------
    text : str or bytes
        The JSON, with Infinity and NaN.
    where : str
        File and key it comes from, for errors.

    Returns
    -------
    list of dict of str to int or float
        Without the entry `TEXT`.

    Raises
    ------
    ValueError
        When it is no such list, naming the epoch's place and the key.
    """
    damaged = f"{where}: damaged: not a list of numbers for each epoch"
    # What is not there cannot be built: each element but one follows a comma.
    if text.count("," if isinstance(text, str) else b",") > MAX_NUMBERS:
        raise ValueError(f"{where}: more than {MAX_NUMBERS} numbers")
    try:
        entries = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError(damaged) from None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ValueError(damaged)
    return [_entry(entry, f"{damaged}: entry {n}") for n, entry in enumerate(entries, 1)]


def _entry(entry, damaged):
    """The numbers of one epoch."""
    for key, value in entry.items():
        if key == TEXT:
            continue
        if type(value) not in (int, float) or (isinstance(value, int) and abs(value) >= 2**63):
            raise ValueError(f"{damaged}: {key[:100]!a} is {ascii(value)[:50]}, not a number")
        if not key.isprintable() or (key in WHOLE and not isinstance(value, int)):
            raise ValueError(f"{damaged}: {key[:100]!a} is {value}")
    entry.pop(TEXT, None)
    return entry
