"""What a command may write: nothing of the user's, of a model or of the data, and what can be."""

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from jvi.cli.exit_status import UsageError

__all__ = ["check_outputs", "model_files"]


def check_outputs(
    outputs: Mapping[str, Any],
    overwrite: bool,
    appended: Mapping[str, Any] | None = None,
    *,
    inputs: Iterable[str | Path] = (),
    data: tuple[str | None, str | None] = (None, None),
    folders: bool = False,
) -> None:
    """Refuse, before the work, files that could not or must not be written after it.

    Parameters
    ----------
    outputs, appended : mapping from option to path or list of paths
        Files to make, and files to add to; None is none.
    overwrite : bool
        Whether files to make may exist.
    inputs : iterable of path
        Files that are written to in no case, `overwrite` or not, whether they exist or not: those
        of the model.
    data : (str or None, str or None)
        The data set and the folder of data sets as given, which are no place to write to, either.
    folders : bool
        Whether missing folders are made, as for a model: that may lie anywhere below the folder of
        data sets, but not among the files of one.

    Raises
    ------
    OSError, ValueError
        Naming the option. Two paths are one file whether they are spelt alike or not.
    """
    new, old, inputs = _pairs(outputs), _pairs(appended or {}), list(inputs)
    for i, (option, path) in enumerate([*new, *old]):
        _check_place(option, path, folders)
        if any(_same(path, each) for each in inputs):
            raise UsageError(f"{option}: {path} is a file of the model: name another file")
        if _is_data(path, *data, whole=not folders):
            raise UsageError(f"{option}: {path} is a file of the data: name another file")
        if any(_same(path, other) for _, other in [*new, *old][:i]):
            raise UsageError(
                f"{option}: {path} is named for two outputs: name another file for one of them"
            )
    for option, path in new:
        if os.path.lexists(path) and not overwrite:
            raise FileExistsError(f"{option}: {path} exists: name another file or give --overwrite")


def _pairs(outputs):
    """(option, path as text) of each path."""
    lists = {o: p if isinstance(p, list | tuple) else [p] for o, p in outputs.items()}
    return [(o, os.fspath(path)) for o, paths in lists.items() for path in paths if path]


def _check_place(option, path, folders):
    """Refuse what cannot be written to."""
    if os.path.isdir(path) or path.endswith(os.sep):
        raise IsADirectoryError(f"{option}: {path} is a folder: name a file")
    parent = Path(path).parent
    if folders:
        parent = next(each for each in (parent, *parent.parents) if os.path.lexists(each))
    if not (parent.is_dir() and os.access(parent, os.W_OK | os.X_OK)):
        raise PermissionError(f"{option}: {parent} is no folder that can be written to")
    if os.path.lexists(path) and not os.path.isfile(path):
        raise ValueError(f"{option}: {path} is no ordinary file: name another file")
    if os.path.lexists(path) and not os.access(path, os.W_OK):
        raise PermissionError(f"{option}: {path} cannot be written to: name another file")
    with suppress(FileNotFoundError):
        os.stat(path)  # a name that is too long is found now


def _same(one, other):
    """Whether two paths are one file, or would be: through links, or where case does not matter."""
    if os.path.exists(one) and os.path.exists(other):
        return os.path.samefile(one, other)
    one, other = os.path.realpath(one), os.path.realpath(other)
    alike = one.lower() == other.lower()
    return one == other or (alike and _ignores_case(os.path.dirname(one)))


def _ignores_case(folder):
    parent, name = os.path.split(folder)
    with suppress(OSError):
        return name != name.swapcase() and os.path.samefile(
            folder, os.path.join(parent, name.swapcase())
        )
    return False


def _is_data(path, name, data_dir, whole):
    """Whether a path is a file of a data set or lies where these belong.

    With `whole` any file that is there, below the folder of data sets, is one.
    """
    from jvi.datasets import DATASETS
    from jvi.datasets.fetch import local_folder
    from jvi.datasets.files import is_path

    if name is not None and is_path(name) and _same(path, os.path.expanduser(name)):
        return True
    with suppress(OSError, ValueError):  # a folder that there is not has no files
        folder = local_folder(data_dir)
        if folder is None:
            return False
        real, own = Path(path).resolve(), [folder / each for each in DATASETS]
        if any(real.is_relative_to(each.resolve()) for each in own):
            return True
        if whole and os.path.exists(path) and real.is_relative_to(folder.resolve()):
            return True
        return any(_same(path, file) for each in own if each.is_dir() for file in each.iterdir())
    return False


def model_files(prefix: str | Path) -> list[Path]:
    """The names that files of a model have, whether they exist or not, and all in its folder."""
    folder = Path(prefix)
    endings = (".meta.yaml", ".perf", ".h5", ".safetensors", ".npz")
    names = [Path(f"{folder}{ending}") for ending in endings]
    names += [folder / name for name in ("log", "snapshot_bestvalobj", "snapshot_latest")]
    inside = folder.iterdir() if folder.is_dir() else ()
    return list(dict.fromkeys([*names, *(path for path in inside if path.is_file())]))
