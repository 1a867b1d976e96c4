"""Colour images of one size as PNG files of a folder."""

import io
from pathlib import Path

import numpy as np
from tqdm import tqdm

from jvi.compat.reading import read_file

__all__ = ["read_pngs"]

MOST_BYTES = 2**16  # of a file


def read_pngs(folder: Path, side: int, most: int) -> np.ndarray:
    """All images in a folder and the folders in it, in the order of their paths as text.

    Parameters
    ----------
    folder : Path
    side : int
        Rows, and columns, that each image must have.
    most : int
        Images, at most.

    Returns
    -------
    uint8 array, shape (N, side * side * 3)
        In the order row, column, channel.

    Raises
    ------
    FileNotFoundError
        When there is none.
    ValueError
        Naming a file that is no such image, or when there are too many.
    """
    paths = sorted([*folder.glob("*.png"), *folder.glob("*/*.png")], key=str)
    if not paths:
        raise FileNotFoundError(f"{folder} holds no PNG files, nor do the folders in it")
    if len(paths) > most:
        raise ValueError(f"{folder} holds {len(paths)} PNG files, not the {most} of this data set")
    images = np.empty((len(paths), side, side, 3), np.uint8)
    for image, path in zip(images, tqdm(paths, unit="image", delay=2, disable=None), strict=True):
        image[...] = _read(path, side)
    return images.reshape(len(images), -1)


def _read(path, side):
    """One image, of whose header the size is checked before anything is unpacked."""
    from PIL import Image

    content = read_file(path, MOST_BYTES)
    try:
        with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
            if image.size == (side, side) and image.mode == "RGB":
                return np.asarray(image)
    except (OSError, SyntaxError, EOFError, ValueError):
        raise ValueError(f"{path} is damaged or no PNG file") from None
    size = "x".join(map(str, image.size))
    raise ValueError(f"{path} has {size} pixels of mode {image.mode}, not {side}x{side} of RGB")
