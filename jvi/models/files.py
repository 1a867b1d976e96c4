"""The files of one trained model: parameters, training arguments, log and best objective.

PREFIX.meta.yaml               the training arguments
PREFIX/snapshot_bestvalobj     the trainer's state, an .npz without the ending
PREFIX/log                     what was reported each epoch, JSON
PREFIX.perf                    the best validation objective
PREFIX.h5, PREFIX.safetensors  parameters alone
"""

import itertools
import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from chainer.serializers import DictionarySerializer, NpzDeserializer

from jvi.compat.arrays import Contents, read_arrays, read_contents, write_safetensors
from jvi.compat.meta import check_options, dump_meta, from_texts, read_meta, to_texts
from jvi.compat.options import NETWORK, SIZES
from jvi.compat.reading import present, read_file, stamp
from jvi.files import atomic_write
from jvi.models import of_spec
from jvi.models.mlp import MLP

__all__ = [
    "ModelFiles",
    "of_arrays",
    "outputs",
    "read_model",
    "read_parameters",
    "read_snapshot",
    "torch_name",
    "write_model",
]

SNAPSHOT = "snapshot_bestvalobj"
ENDINGS = (f"/{SNAPSHOT}", ".h5", ".safetensors")

# Where a file may hold the parameters: a trainer's snapshot, one of "jvi+elbo", or the model alone.
PATHS = ("updater/model:main/", "updater/model:elbo/", "")
ATTEMPTS = 5  # to read files that another program is replacing
MAX_SPEC = 200  # characters of --model in a meta file
_TRAINER = ("updater/", "extensions/", "extension_triggers/", "stop_trigger/", "_snapshot_elapsed")


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
        From names as ``encode/qlin0/W`` to float32 arrays; W has shape (out, in), b (out,).
    link : jvi.models.LatentVariableModel
        Of the sizes that the files say, with these parameters.
    vae_type : str or None
        As given to ``train.py --vae-type``, where known.
    notes : list of str
        What the user should be told, a line each.
    metadata : dict of str to str
        The text entries in the header of a safetensors file; else empty.
    """

    prefix: str
    path: Path
    meta: dict
    parameters: dict
    link: Any
    vae_type: str | None
    notes: list
    metadata: Mapping = MappingProxyType({})


def read_model(prefix, link=None):
    """Read a model written by the original code, this project or `convert.py`.

    Parameters
    ----------
    prefix : str or Path
        As given to ``train.py -o``, or the path of one of the model's files. Parameters are taken
        from the file named, else ``PREFIX/snapshot_bestvalobj``, else ``PREFIX.h5``, else
        ``PREFIX.safetensors``.
    link : chainer.Link, optional
        To take the parameters, of a model that `jvi.models.MODELS` does not have. Without it, the
        training arguments say what to build (``--model``), or it is the original's network.

    Returns
    -------
    ModelFiles

    Raises
    ------
    FileNotFoundError
        When there is none of these files.
    ValueError
        When one is damaged or not such a model, naming the file and the key, or two without a
        snapshot differ. Parameters that are not finite are only noted: such a model can be looked
        at.
    """
    prefix, (path, *others) = _locate(prefix)
    found, meta, notes = _read(prefix, path, _is_parameter)
    if link is None:
        link = _link(prefix, path, found.arrays, meta)
    where, parameters = _parameters(path, found.arrays, link)
    if path.name != SNAPSHOT:
        _check_same(path, others, parameters, link)
    _fill(link, parameters)
    notes += _sizes(prefix, path, meta, link)
    vae_type = meta.get("--vae-type")
    if vae_type is None and where == PATHS[1]:
        vae_type = "jvi+elbo"
    if where and vae_type and (where == PATHS[1]) != (vae_type == "jvi+elbo"):
        notes.append(f"{path}: {where} is not where --vae-type {vae_type!a} has its parameters")
    notes += _not_finite(path, parameters)
    return ModelFiles(prefix, path, meta, parameters, link, vae_type, notes, found.metadata)


def of_arrays(path, arrays, meta, notes=()):
    """`ModelFiles` of the `arrays` and training arguments of a file of another program's.

    Raises
    ------
    ValueError
        When they are not those of the model that ``--model`` names, naming `path`.
    """
    path = Path(path)
    check_options(meta, path)
    link = _said(str(path), path, meta["--model"])
    _, parameters = _parameters(path, arrays, link)
    _fill(link, parameters)
    notes = [*notes, *_not_finite(path, parameters)]
    return ModelFiles(str(path), path, meta, parameters, link, None, notes)


def read_snapshot(prefix, link=None):
    """All arrays of the trainer's snapshot of a model: parameters, optimizer state, counters, log.

    `link` is one of the same sizes, where the caller has it.

    Raises as `read_model`, also where there are parameters without a snapshot.
    """
    path = Path(prefix) if _is_named(prefix) else _locate(prefix, ENDINGS[:1])[1][0]
    (arrays, _), meta, _ = _read(_prefix(path), path)
    if "updater/iteration" not in arrays:
        raise ValueError(f"{path}: not a trainer's snapshot (updater/iteration is missing)")
    found = {name: array for name, array in arrays.items() if _is_parameter(name)}
    _parameters(path, found, link or _link(_prefix(path), path, found, meta))
    return arrays


def read_parameters(path, link):
    """The parameters of `link` in one file, as `read_model` has them."""
    return _parameters(path, read_arrays(path, _is_parameter), link)[1]


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
    needed = files.meta and path.suffix != ".safetensors" and not _has_meta(meta_path, files)
    return [path, meta_path] if needed else [path]


def _has_meta(path, files):
    """Whether `path` is the meta file of `files`, or says the same."""
    if os.path.realpath(path) == os.path.realpath(f"{files.prefix}.meta.yaml"):
        return present(path)
    expected = dump_meta(files.meta).encode()
    try:
        return read_file(path, len(expected)) == expected
    except (FileNotFoundError, ValueError):
        return False


def _write_snapshot(path, files, torch):
    where = PATHS[1] if files.vae_type == "jvi+elbo" else PATHS[0]
    with open(path, "wb") as file:
        np.savez_compressed(file, **{where + n: array for n, array in files.parameters.items()})


def _write_hdf5(path, files, torch):
    import h5py

    with h5py.File(path, "w") as file:
        for name, array in files.parameters.items():
            compression = 4 if array.size > 1 else None  # as in Chainer
            file.create_dataset(name, data=array, compression=compression)


def _write_safetensors(path, files, torch):
    names = [torch_name(name) if torch else name for name in files.parameters]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ValueError(f"two parameters would be {twice[0]} in PyTorch: keep their own names")
    arrays = dict(zip(names, files.parameters.values(), strict=True))
    write_safetensors(path, arrays, to_texts(files.meta))


_WRITERS = {".h5": _write_hdf5, ".safetensors": _write_safetensors}


def torch_name(name):
    """What PyTorch's state dict calls a parameter: ``encode.qlin0.weight`` for encode/qlin0/W."""
    *layers, kind = name.split("/")
    return ".".join([*layers, {"W": "weight", "b": "bias"}.get(kind, kind)])


def _locate(prefix, endings=ENDINGS):
    """(prefix, paths of the files that hold the parameters, the one to read first)."""
    path = Path(prefix)
    if _is_named(path) and not path.name.endswith(".meta.yaml"):
        return _prefix(path), [path]
    prefix = str(path).removesuffix(".meta.yaml")
    tried = [Path(prefix + ending) for ending in endings]
    found = [path for path in tried if present(path)]
    if not found:
        looked = ", ".join(map(str, tried))
        raise FileNotFoundError(f"{prefix}: no model there; looked for {looked}")
    return prefix, found


def _is_named(path):
    """Whether `path` is a file of its own, or should be, and not the prefix of others."""
    return present(path) and not os.path.isdir(path)


def _prefix(path):
    """The prefix of the model that a file holds."""
    if path.name.startswith("snapshot_"):
        return str(path.parent)
    return str(path.with_suffix("") if path.suffix in (".npz", *ENDINGS) else path)


def _is_parameter(name):
    """Whether `name` should be a parameter's: all that is not the trainer's."""
    return name.startswith(PATHS[:2]) or not name.startswith(_TRAINER)


def _link(prefix, path, arrays, meta):
    """A link of the sizes that a model's files say, without parameters."""
    if meta.get("--model") is not None:
        link = _said(prefix, path, meta["--model"])
        if not isinstance(link, MLP):
            return link
    return _mlp(arrays)


def _mlp(arrays):
    """The original's network with the sizes of its first weights; the others are checked later."""
    shapes, layers = {}, ("encode/qlin0/W", "encode/qlin_mu/W", "encode/qlin_ln_var/W")
    for where, layer in itertools.product(PATHS, layers):
        for name in (where + layer, torch_name(layer)):
            if name in arrays and arrays[name].ndim == 2 and arrays[name].size:
                shapes.setdefault(layer, arrays[name].shape)
    first, mean, ln_var = (shapes.get(layer) for layer in layers)
    hidden, pixels = first or (1, 1)
    return MLP(pixels, hidden, (mean or ln_var or (1,))[0])


def _said(prefix, path, spec):
    """The link, without parameters, that training arguments name."""
    source = _source(prefix, path)
    if len(spec) > MAX_SPEC:
        shown = ascii(spec)[:MAX_SPEC]
        raise ValueError(f"{source}: --model is {shown}, which is not NAME:key=value,…")
    try:
        return of_spec(spec)
    except ValueError as error:
        raise ValueError(f"{source}: --model: {error}") from None


def _parameters(path, arrays, link):
    """(where in the file, parameters by name), checked, out of the `arrays` of a file."""
    expected = _state(link)
    arrays = _original_names(arrays, expected)
    where = next((p for p in PATHS if any(f"{p}{name}" in arrays for name in expected)), None)
    if where is None:
        raise ValueError(
            f"{path}: holds no such model as {link.spec.name} ({PATHS[0]}{next(iter(expected))} is "
            "missing); does its meta file have the right --model?"
        )
    for name in expected:
        if where + name not in arrays:
            raise ValueError(f"{path}: {where}{name} is missing")
    for key in arrays.keys() - {where + name for name in expected}:
        if key.startswith(where) or not key.startswith(PATHS[:2]):
            raise ValueError(f"{path}: {key!a} is no parameter of this model")
    for name, needed in expected.items():
        _check(f"{path}: {where}{name}", arrays[where + name], needed, link.spec)
    return where, {name: arrays[where + name] for name in expected}


def _state(link):
    """The arrays that Chainer would write of a link by name: parameters, and what is persistent.

    An encoder's come first, as data meet them. Layers that learn their size from the data have
    None for parameters.
    """
    (serializer := DictionarySerializer()).save(link)
    names = sorted(serializer.target, key=lambda name: (not name.startswith("encode/"), name))
    return {name: serializer.target[name] for name in names}


def _original_names(arrays, expected):
    """`arrays` by the link's names, where a file has PyTorch's."""
    plain = {torch_name(name): name for name in expected if torch_name(name) != name}
    if not plain.keys() & arrays.keys() or set(plain.values()) & arrays.keys():
        return arrays
    return {plain.get(name, name): array for name, array in arrays.items()}


def _check(where, array, needed, spec):
    sizeless = needed.dtype == object
    dtype, shape = (np.float32, array.shape) if sizeless else (needed.dtype, needed.shape)
    if array.dtype != dtype:
        raise ValueError(f"{where} is {array.dtype}, parameters are {np.dtype(dtype)}")
    if array.shape != shape:
        raise ValueError(f"{where} has shape {array.shape}, but {shape} is needed for {spec}")


def _check_same(path, others, parameters, link):
    """Refuse other files under the name of `path` that hold other parameters."""
    for other in others:
        try:
            found = read_parameters(other, link)
        except ValueError:
            found = {}
        for name, array in parameters.items():
            if name not in found or not np.array_equal(found[name], array, equal_nan=True):
                raise ValueError(
                    f"{path} and {other} are two files under one name, whose {name} is not the "
                    "same: name the one to read"
                )


def _fill(link, parameters):
    for name, parameter in link.namedparams():
        array = parameters[name.lstrip("/")].copy()
        parameter.array = parameter.device.send(array)
    NpzDeserializer(parameters).load(link)  # also what is persistent without being a parameter


def _read(prefix, path, keep=None):
    """(contents of `path`, training arguments, notes), all as they were at one moment."""
    paths = path, f"{prefix}.meta.yaml"
    for _ in range(ATTEMPTS):
        before = [stamp(path) for path in paths]
        found = read_contents(path, keep)
        meta, notes = _meta(prefix, path, found)
        if before == [stamp(path) for path in paths]:
            return found, meta, notes
    raise ValueError(f"{path}: is being replaced while it is read: try again")


def _meta(prefix, path, found: Contents):
    """(training arguments, notes) from the meta file, else from the header of `path`."""
    meta_path = Path(f"{prefix}.meta.yaml")
    stored = from_texts(found.metadata, path)
    meta = read_meta(meta_path) if present(meta_path) else stored
    check_options(meta, _source(prefix, path))
    notes = []
    if stored and to_texts(stored) != to_texts(meta):
        notes.append(f"{path}: its header and {meta_path} disagree; the latter is used")
    return meta, notes


def _source(prefix, path):
    """The file that training arguments come from."""
    meta_path = Path(f"{prefix}.meta.yaml")
    return meta_path if present(meta_path) else path


def _sizes(prefix, path, meta, link):
    """Notes where the training arguments do not say what the parameters are."""
    meta_path = Path(f"{prefix}.meta.yaml")
    if not meta:
        yield f"{meta_path} is missing or empty; from the parameters: {link.spec}"
    elif not any(isinstance(meta.get(option), str) for option in ("--vae-type", "--estimator")):
        yield f"{meta_path} is incomplete: it has no --vae-type"
    if not isinstance(link, MLP):
        return
    sizes = link.spec.options
    found = {option: sizes[key] for option, key in SIZES[NETWORK].items()} | {"--model": link.spec}
    for option, size in found.items():
        if option in meta and meta[option] not in (None, str(size)):
            yield (
                f"{meta_path}: {option} is {meta[option]!a}, but the parameters in {path} have "
                f"{size}; they are believed"
            )


def _not_finite(path, parameters):
    bad = {name: np.count_nonzero(~np.isfinite(array)) for name, array in parameters.items()}
    return [
        f"{path}: {name}: {count} of its {parameters[name].size} values are not finite"
        for name, count in bad.items()
        if count
    ]
