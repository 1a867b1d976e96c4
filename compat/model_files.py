"""The files of one trained model: parameters, training arguments, log and best objective.

PREFIX.meta.yaml               the training arguments
PREFIX/snapshot_bestvalobj     the trainer's state, an .npz without the ending
PREFIX/log                     what was reported each epoch, JSON
PREFIX.perf                    the best validation objective
PREFIX.h5, PREFIX.safetensors  parameters alone
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from jvi.compat.arrays import read_arrays, read_metadata, write_safetensors
from jvi.compat.meta import dump_meta, from_texts, read_meta, to_texts
from jvi.files import atomic_write

__all__ = [
    "ModelFiles",
    "outputs",
    "read_model",
    "read_snapshot",
    "sizes",
    "torch_name",
    "write_model",
]

SNAPSHOT = "snapshot_bestvalobj"
ENDINGS = (f"/{SNAPSHOT}", ".h5", ".safetensors")

# Where a file may hold the parameters: a trainer's snapshot, one of "jvi+elbo", or the model alone.
PATHS = ("updater/model:main/", "updater/model:elbo/", "")
_TRAINER = ("updater/", "extensions/", "extension_triggers/", "stop_trigger/", "_snapshot_elapsed")

# The size of each layer (out, in) by name; 2h because CReLU doubles its input.
_LAYERS = {
    "encode/qlin0": ("h", "pixels"),
    "encode/qlin1": ("h", "2h"),
    "encode/qlin_mu": ("latent", "2h"),
    "encode/qlin_ln_var": ("latent", "2h"),
    "decode/plin0": ("h", "latent"),
    "decode/plin1": ("h", "2h"),
    "decode/plin2": ("pixels", "2h"),
}


class ModelFiles(NamedTuple):
    """A model as its files have it.

    Attributes
    ----------
    prefix : str
        What the names of its files begin with.
    path : Path
        The file that the parameters came from.
    meta : dict
        The training arguments (see `jvi.compat.meta.read_meta`); empty when not recorded.
    parameters : dict of str to numpy.ndarray
        From ``encode/qlin0/W`` to float32 arrays; W has shape (out, in), b (out,).
    vae_type : str or None
        As given to ``train.py --vae-type``, where known.
    notes : list of str
        What the user should be told, a line each.
    """

    prefix: str
    path: Path
    meta: dict
    parameters: dict
    vae_type: str | None
    notes: list


def read_model(prefix):
    """Read a model written by the original code, this project or `convert.py`.

    Parameters
    ----------
    prefix : str or Path
        As given to ``train.py -o``, or the path of one of the model's files. Parameters are taken
        from the file named, else ``PREFIX/snapshot_bestvalobj``, else ``PREFIX.h5``, else
        ``PREFIX.safetensors``.

    Returns
    -------
    ModelFiles

    Raises
    ------
    FileNotFoundError
        When there is none of these files.
    ValueError
        When one is damaged or not such a model, naming the file and the key. Parameters that are
        not finite are only noted: such a model can be looked at.
    """
    prefix, path = _locate(prefix)
    where, parameters = _parameters(path, read_arrays(path, _is_parameter))
    meta, notes = _meta(prefix, path, parameters)
    vae_type = meta.get("--vae-type")
    if not isinstance(vae_type, str):
        vae_type = "jvi+elbo" if where == PATHS[1] else None
    if where and vae_type and (where == PATHS[1]) != (vae_type == "jvi+elbo"):
        notes.append(f"{path}: {where} is not where --vae-type {vae_type!a} has its parameters")
    notes += _not_finite(path, parameters)
    return ModelFiles(prefix, path, meta, parameters, vae_type, notes)


def read_snapshot(prefix):
    """All arrays of the trainer's snapshot of a model: parameters, optimizer state, counters, log.

    Raises as `read_model`, also where there are parameters without a snapshot.
    """
    path = Path(prefix) if Path(prefix).is_file() else _locate(prefix, ENDINGS[:1])[1]
    arrays = read_arrays(path)
    if "updater/iteration" not in arrays:
        raise ValueError(f"{path}: not a trainer's snapshot (updater/iteration is missing)")
    _parameters(path, {name: array for name, array in arrays.items() if _is_parameter(name)})
    return arrays


def write_model(path, files, torch=False):
    """Write a model's parameters and training arguments; existing files are replaced.

    Parameters
    ----------
    path : str or Path
        ``….h5`` as `save_hdf5` writes it, ``….safetensors`` (training arguments in its header), or
        anything else for a snapshot without a trainer's state, from which the original evaluates.
    files : ModelFiles
    torch : bool
        Whether to name parameters as PyTorch does; for safetensors only.

    Returns
    -------
    list of Path
        The files written, which `outputs` tells before.
    """
    path, *meta_path = outputs(path, files)
    with atomic_write(path) as temporary:
        _WRITERS.get(path.suffix, _write_snapshot)(temporary, files, torch)
    for other in meta_path:
        with atomic_write(other) as temporary:
            temporary.write_text(dump_meta(files.meta), encoding="utf-8")
    return [path, *meta_path]


def outputs(path, files):
    """The files that `write_model` writes: `path`, and a meta file where that is needed."""
    path = Path(path)
    meta_path = Path(f"{_prefix(path)}.meta.yaml")
    there = meta_path.is_file() and (
        meta_path.resolve() == Path(f"{files.prefix}.meta.yaml").resolve()
        or meta_path.read_bytes() == dump_meta(files.meta).encode()
    )
    needed = files.meta and path.suffix != ".safetensors" and not there
    return [path, meta_path] if needed else [path]


def _write_snapshot(path, files, torch):
    where = PATHS[1] if files.vae_type == "jvi+elbo" else PATHS[0]
    with open(path, "wb") as file:
        np.savez_compressed(file, **{where + n: array for n, array in files.parameters.items()})


def _write_hdf5(path, files, torch):
    import h5py

    with h5py.File(path, "w") as file:
        for name, array in files.parameters.items():
            file.create_dataset(name, data=array, compression=4)  # as in Chainer


def _write_safetensors(path, files, torch):
    arrays = {torch_name(n) if torch else n: array for n, array in files.parameters.items()}
    write_safetensors(path, arrays, to_texts(files.meta))


_WRITERS = {".h5": _write_hdf5, ".safetensors": _write_safetensors}


def sizes(parameters):
    """(pixels, hidden, latent) of a model's parameters."""
    hidden, pixels = parameters["encode/qlin0/W"].shape
    return pixels, hidden, len(parameters["encode/qlin_mu/W"])


def torch_name(name):
    """What PyTorch's state dict calls a parameter: ``encode.qlin0.weight`` for encode/qlin0/W."""
    layer, _, kind = name.rpartition("/")
    return layer.replace("/", ".") + {"W": ".weight", "b": ".bias"}[kind]


def _locate(prefix, endings=ENDINGS):
    """(prefix, path of the file to read the parameters from)."""
    path = Path(prefix)
    if path.is_file() and not path.name.endswith(".meta.yaml"):
        return _prefix(path), path
    prefix = str(path).removesuffix(".meta.yaml")
    tried = [Path(prefix + ending) for ending in endings]
    for path in tried:
        if path.is_file():
            return prefix, path
    raise FileNotFoundError(f"{prefix}: no model there; looked for {', '.join(map(str, tried))}")


def _prefix(path):
    """The prefix of the model that a file holds."""
    if path.name.startswith("snapshot_"):
        return str(path.parent)
    return str(path.with_suffix("") if path.suffix in (".npz", *ENDINGS) else path)


def _is_parameter(name):
    """Whether `name` should be a parameter's: all that is not the trainer's."""
    return name.startswith(PATHS[:2]) or not name.startswith(_TRAINER)


def _parameters(path, arrays):
    """(where in the file, parameters by name), checked, out of the `arrays` of a file."""
    names = [f"{layer}/{kind}" for layer in _LAYERS for kind in "Wb"]
    if torch_name(names[0]) in arrays:
        plain = {torch_name(name): name for name in names}
        arrays = {plain.get(name, name): array for name, array in arrays.items()}
    where = next((p for p in PATHS if any(f"{p}{name}" in arrays for name in names)), None)
    if where is None:
        raise ValueError(f"{path}: holds no such model ({PATHS[0]}{names[0]} is missing)")
    for name in names:
        if where + name not in arrays:
            raise ValueError(f"{path}: {where}{name} is missing")
    parameters = {name: arrays[where + name] for name in names}
    for key in arrays.keys() - {where + name for name in names}:
        if key.startswith(where) or not key.startswith(PATHS[:2]):
            raise ValueError(f"{path}: {key!a} is no parameter of this model")
    _check(path, where, parameters)
    return where, parameters


def _check(path, where, parameters):
    """Refuse parameters that are not float32 or whose shapes do not make one network."""
    for name, array in parameters.items():
        if array.dtype != np.float32:
            raise ValueError(f"{path}: {where}{name} is {array.dtype}, parameters are float32")
        if array.ndim != (2 if name.endswith("W") else 1) or not array.size:
            raise ValueError(f"{path}: {where}{name} has shape {array.shape}")
    pixels, hidden, latent = sizes(parameters)
    size = {"pixels": pixels, "h": hidden, "2h": 2 * hidden, "latent": latent}
    for layer, (num_out, num_in) in _LAYERS.items():
        expected = {"W": (size[num_out], size[num_in]), "b": (size[num_out],)}
        for kind, shape in expected.items():
            found = parameters[f"{layer}/{kind}"].shape
            if found != shape:
                raise ValueError(
                    f"{path}: {where}{layer}/{kind} has shape {found}, but {shape} is needed for "
                    f"{pixels} pixels, {hidden} hidden and {latent} latent units"
                )


def _meta(prefix, path, parameters):
    """(training arguments, notes) from the meta file, else from the header of `path`."""
    meta_path = Path(f"{prefix}.meta.yaml")
    stored = from_texts(read_metadata(path), path)
    meta = read_meta(meta_path) if meta_path.is_file() else stored
    pixels, hidden, latent = sizes(parameters)
    notes = []
    if not meta:
        notes.append(
            f"{meta_path} is missing or empty; from the parameters: "
            f"{pixels} pixels, {hidden} hidden and {latent} latent units"
        )
    elif not isinstance(meta.get("--vae-type"), str):
        notes.append(f"{meta_path} is incomplete: it has no --vae-type")
    if stored and to_texts(stored) != to_texts(meta):
        notes.append(f"{path}: its header and {meta_path} disagree; the latter is used")
    for option, size in (("--nhidden", hidden), ("--nlatent", latent)):
        if option in meta and meta[option] != str(size):
            notes.append(
                f"{meta_path}: {option} is {meta[option]!a}, but the parameters in {path} have "
                f"{size}; they are believed"
            )
    return meta, notes


def _not_finite(path, parameters):
    bad = {name: np.count_nonzero(~np.isfinite(array)) for name, array in parameters.items()}
    return [
        f"{path}: {name}: {count} of its {parameters[name].size} values are not finite"
        for name, count in bad.items()
        if count
    ]
