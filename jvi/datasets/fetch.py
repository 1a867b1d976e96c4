"""Where the files of a data set come from: a folder of the user's, the cache, or a mirror."""

import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from jvi.compat.reading import present
from jvi.files import atomic_write

__all__ = ["cache_folder", "fetch", "local_folder", "obtain"]


def local_folder(data_dir: str | Path | None = None) -> Path | None:
    """The user's folder of data sets: `data_dir`, else what JVI_DATA names, else None.

    Raises
    ------
    FileNotFoundError, ValueError
        When there is no such folder, or it is a file.
    """
    given = data_dir or os.environ.get("JVI_DATA")
    if not given:
        return None
    folder = Path(given).expanduser()
    if not folder.exists():
        raise FileNotFoundError(f"data folder {folder} does not exist (--data-dir or JVI_DATA)")
    if not folder.is_dir():
        raise ValueError(f"data folder {folder} is a file (--data-dir or JVI_DATA)")
    return folder


def cache_folder() -> Path:
    """The user's cache, laid out like any other folder of data sets."""
    import pooch

    return Path(pooch.os_cache("jvi"))


def obtain(
    names: Iterable[str],
    folder: str,
    data_dir: str | Path | None,
    mirrors: Iterable[str],
    read: Callable[[Path], Any],
    advice: str,
    read_published: Callable[[Path], Any] | None = None,
) -> Any:
    """What `read` returns of a published file: the user's own, else by way of the cache.

    Parameters
    ----------
    names : iterable of str
        What the file may be called in the user's folder; the mirrors and the cache have the first.
    folder : str
        Of the data set, in the user's folder and in the cache.
    data_dir : str or Path, optional
        As for `local_folder`.
    mirrors, read, advice
        As for `fetch`; mirrors without the file's name.
    read_published : callable, optional
        Instead of `read` for what was downloaded, where that can be checked more strictly.

    Raises
    ------
    FileNotFoundError
        When there is no such file, in the user's folder or on any mirror.
    """
    paths, local = [Path(folder) / name for name in names], local_folder(data_dir)
    if local is None:
        urls = [f"{mirror}/{paths[0].name}" for mirror in mirrors]
        return fetch(cache_folder() / paths[0], urls, read_published or read, advice)
    for path in paths:
        if present(local / path):
            return read(local / path)
    raise FileNotFoundError(f"{local / paths[0]} does not exist: {advice}")


def fetch(target: Path, urls: Iterable[str], read: Callable[[Path], Any], advice: str) -> Any:
    """Read the cached file `target`; when it is missing or damaged, download it first.

    A download only gets its place in the cache after it has been read without an error.

    Parameters
    ----------
    target : Path
        The file in the cache.
    urls : iterable of str
        Mirrors, tried in turn.
    read : callable
        Takes a path, returns the data; ValueError means that the file is damaged or a wrong one.
    advice : str
        What the user can do when no mirror works.

    Returns
    -------
    What `read` returns.

    Raises
    ------
    FileNotFoundError
        When no mirror works, with a reason for each.
    """
    if present(target):
        with suppress(ValueError, FileNotFoundError):
            return read(target)
    failures = []
    for url in urls:
        try:
            with atomic_write(target) as temporary:
                return _download(url, temporary, read)
        except OSError as error:  # this includes all errors of requests
            failures.append(f"{urlsplit(url).netloc}: {error.strerror or type(error).__name__}")
        except ValueError:
            failures.append(f"{urlsplit(url).netloc}: damaged file")
    reasons = "; ".join(failures)
    raise FileNotFoundError(
        f"{target.name} could not be downloaded to {target.parent} ({reasons}): {advice}"
    )


def _download(url, path, read):
    """Download one file with a progress bar, and read it."""
    import pooch

    pooch.HTTPDownloader(progressbar=True)(url, path, None)
    return read(path)
