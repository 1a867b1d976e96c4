"""Result files: what a job gave, with everything that it depends on, and what is read from them.

A result is a JSON object with "format", the job and its values, its command, versions, hardware,
seconds and numbers. A number is a plain one, or an object with "value" and its standard errors,
"images" (another test set) and "samples" (other noise), None where there is none.
"""

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from jvi.compat.reading import read_file

__all__ = [
    "FORMAT",
    "numbers_of",
    "plain",
    "read_collected",
    "read_json",
    "read_result",
    "records",
]

FORMAT = 1
ADVICE = "remove it, and run its target again"
MOST = 2**26  # bytes of one
LONGEST = 4096  # entries of a list; longer ones, of images, are left out
SECONDS = int | float

OF_A_RESULT = {"label": str, "values": dict, "numbers": dict, "versions": dict, "hardware": dict}
OF_A_RESULT |= {"seconds": SECONDS, "cpu_seconds": SECONDS}
OF_COLLECTED = {"budget": str, "settings": dict, "results": list}


def read_json(path: str | Path) -> Any:
    """The content of a JSON file.

    Raises
    ------
    ValueError
        Naming the file, where it is damaged.
    """
    try:
        return json.loads(read_file(path, MOST))
    except (ValueError, RecursionError) as error:
        if str(error).startswith(str(path)):
            raise
        raise ValueError(f"{path} is damaged: {ADVICE}") from None


def read_result(path: str | Path) -> dict[str, Any]:
    """The result of a job.

    Raises
    ------
    ValueError
        Where it is damaged, or of another version than this one reads.
    """
    return _checked(path, read_json(path), OF_A_RESULT)


def read_collected(path: str | Path) -> dict[str, Any]:
    """The collected results of a target; errors as of `read_result`."""
    found = _checked(path, read_json(path), OF_COLLECTED)
    for each in found["results"] or [None]:
        _checked(path, each, OF_A_RESULT)
    return found


def _checked(path, found, kinds):
    version = found.get("format") if isinstance(found, dict) else None
    if version != FORMAT:
        raise ValueError(f"{path} is a result of format {version}, not {FORMAT}: {ADVICE}")
    whole = all(isinstance(found.get(key), kind) for key, kind in kinds.items())
    if not (whole and _are_rows(found.get("numbers", {}).get("rows", []))):
        raise ValueError(f"{path} is damaged: {ADVICE}")
    return found


def _are_rows(value):
    return isinstance(value, list) and all(isinstance(row, dict) for row in value)


def numbers_of(path: str | Path) -> dict[str, Any]:
    """What a command wrote, as numbers by name; rows of a table under "rows".

    Parameters
    ----------
    path : str or Path
        A .csv file, a .json file of a list of rows or of anything, or the table of evaluate.py.

    Raises
    ------
    ValueError
        Naming the file, where it is damaged or has other lists.
    """
    path = Path(path)
    found = _of_csv(path) if path.suffix == ".csv" else read_json(path)
    found = {"rows": found} if isinstance(found, list) else found
    if not (isinstance(found, dict) and _are_rows(found.get("rows", []))):
        raise ValueError(f"{path} must have names with numbers, or rows of these")
    if "rows" not in found or "arguments" not in found:
        return dict(_flat("", plain(found)))
    try:
        return _evaluation(found)
    except (KeyError, TypeError, AttributeError):
        raise ValueError(f"{path} is damaged: {ADVICE}") from None


def _of_csv(path):
    text = read_file(path, MOST).decode(errors="replace")
    return [
        {key: _value(entry) if entry else None for key, entry in row.items() if key is not None}
        for row in csv.DictReader(io.StringIO(text))
    ]


def _value(text):
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _evaluation(found):
    """Estimates by NAME@SAMPLES; where there are several data sets, DATASET/NAME@SAMPLES."""
    several = len({row["data"] for row in found["rows"]}) > 1
    numbers = {}
    for row in found["rows"]:
        place = f"{row['data']}/" if several else ""
        key = f"{place}{row['estimate']}@{row['num_samples']}"
        numbers[key] = {
            "value": row["mean"],
            "images": row["standard_error"],
            "samples": row["sampling_error"],
        }
        if row.get("ess") is not None:
            numbers[f"{place}ess@{row['num_samples']}"] = row["ess"]
    for measure in found.get("measures", []):
        place = f"{measure['data']}/" if several else ""
        numbers[f"{place}{measure['measure']}"] = {
            "value": measure["mean"],
            "images": measure["standard_error"],
        }
    return plain(numbers)


def plain(value: Any) -> Any:
    """For JSON: what is not finite as None, without long lists."""
    if isinstance(value, Mapping):
        kept = {str(key): plain(item) for key, item in value.items()}
        return {key: item for key, item in kept.items() if not _long(item)}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _long(item):
    return isinstance(item, list) and len(item) > LONGEST


def _flat(name, value):
    """(name, number) of everything inside, nested names joined by "/"."""
    if not isinstance(value, Mapping):
        yield name, value
        return
    mean = value.get("value", value.get("mean"))
    if isinstance(mean, (int, float)):
        yield name, {"value": mean, **{key: value.get(key) for key in ("images", "samples")}}
        return
    for key, item in value.items():
        yield from _flat(f"{name}/{key}" if name else key, item)


def records(results: Iterable[Mapping[str, Any]], labels: str | list[str]) -> list[dict[str, Any]]:
    """What tables and figures choose from: every row, or every result, with its job's values.

    Parameters
    ----------
    results : iterable of dict
    labels : str or list of str
        Jobs, as the target names them.
    """
    labels = [labels] if isinstance(labels, str) else labels
    found = []
    for result in results:
        if result["label"] not in labels:
            continue
        numbers = {key: value for key, value in result["numbers"].items() if key != "rows"}
        rows = result["numbers"].get("rows", [{}])
        found += [result["values"] | numbers | row for row in rows]
    return found
