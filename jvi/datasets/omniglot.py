"""Omniglot at 28 × 28 pixels."""

from pathlib import Path

import numpy as np

from jvi.compat.arrays import parse_contents
from jvi.compat.reading import present, read_file
from jvi.datasets.dataset import Dataset
from jvi.datasets.fetch import cache_folder, local_folder

__all__ = ["load"]

ARRAYS = {"images", "drawer"}
LIMIT = 32_460 * (28 * 28 + 8) + 2**10  # bytes of both together


def load(data_dir: str | Path | None = None) -> Dataset:
    """Load Omniglot: 22,722 training, 1,623 validation and 8,115 test images, each ink = 1.

    Every one of the 1,623 characters was drawn by 20 people. Drawers 1 to 14 are for training,
    15 for validation and 16 to 20 for testing, so validation asks the question of the test: known
    characters, drawn by others.

    The file is `omniglot/omniglot28.npz`: `images` (N, 28, 28) of bytes, ink = 255, area-averaged
    from the originals of 105 × 105, and `drawer` (N,). This is *not* the resampling of the IWAE
    paper's file, so log-likelihoods must not be compared with its Omniglot column.

    Parameters
    ----------
    data_dir : str or Path, optional
        A folder that holds `omniglot/`; else JVI_DATA; else the user's cache. There is no
        download: no public mirror of this very file is known.

    Returns
    -------
    Dataset

    Raises
    ------
    FileNotFoundError, ValueError
        As `jvi.load_dataset`.

    Source: Lake, Salakhutdinov and Tenenbaum (2015), Science 350.
    """
    folder = local_folder(data_dir) or cache_folder()
    path = folder / "omniglot" / "omniglot28.npz"
    if not present(path):
        raise FileNotFoundError(
            f"{path} does not exist and cannot be downloaded: "
            "put it into FOLDER/omniglot and name FOLDER by --data-dir or JVI_DATA"
        )
    images, drawer = _read(path)
    images = images.reshape(len(images), -1)
    chosen = (drawer <= 14, drawer == 15, drawer >= 16)
    parts = (images[part] / np.float32(255) for part in chosen)
    split = "by drawer: 1 to 14, 15, 16 to 20"
    return Dataset("omniglot", *parts, (28, 28), split=split)


def _read(path):
    """`images` and `drawer` of the file, checked."""
    try:
        content = read_file(path, 2 * LIMIT)
        arrays = parse_contents(content, path, (LIMIT, LIMIT), ARRAYS.__contains__).arrays
        problem = "" if arrays.keys() == ARRAYS else "it has no images or no drawer"
    except ValueError as error:
        problem = str(error).removeprefix(f"{path}: ")
    if problem:
        raise ValueError(f"{path} is damaged or not an Omniglot file: {problem}")
    images, drawer = arrays["images"], arrays["drawer"]
    if images.dtype != np.uint8 or images.shape != (*drawer.shape, 28, 28):
        raise ValueError(f"{path}: images must be bytes of shape (N, 28, 28), one for each drawer")
    if not np.array_equal(np.unique(drawer), np.arange(1, 21)):
        raise ValueError(f"{path}: drawers must be 1 to 20")
    return images, drawer
