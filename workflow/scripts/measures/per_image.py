"""Estimates image by image, as evaluate.py writes them with --per-image."""

import io
import zipfile
from pathlib import Path
from typing import Any

from jvi.compat.reading import read_file

__all__ = ["read"]

MOST = 2**30  # bytes of a file


def read(path: str | Path, key: str) -> tuple[Any, Any, Any] | None:
    """(numbers of images, estimates, their sampling errors or None), each of shape (N,).

    None where the file has no such estimate. NAME@SAMPLES is called NAME alone in a file of one
    number of samples.

    Raises
    ------
    ValueError
        Naming the file, where it is damaged.
    """
    import numpy as np

    content, (name, _, samples) = io.BytesIO(read_file(path, MOST)), key.partition("@")
    try:
        with np.load(content) as arrays:
            counts = [str(each) for each in np.ravel(arrays["num_samples"])]
            end = f"@{samples}" if samples and (key in arrays or counts != [samples]) else ""
            names = ("image", f"{name}{end}", f"{name}_error{end}")
            images, values, errors = (arrays.get(each) for each in names)
    except (ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile):
        raise ValueError(f"{path} is damaged: evaluate again") from None
    return None if values is None else (images, values, errors)
