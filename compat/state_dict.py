"""PyTorch's state dictionaries out of files that nobody vouches for, by its weights-only loader.

What `torch.save` writes is a zip archive with a pickle, which is a program. Before PyTorch sees
the file, the archive's checksums are compared, and the pickle may ask for nothing but what makes
tensors of float32: of what the weights-only loader would allow some takes any memory.
"""

import io
import pickletools
from pathlib import Path

import numpy as np

from jvi.compat.reading import read_file
from jvi.compat.zips import list_members, read_member

__all__ = ["read_state_dict"]

MAX_BYTES = 2**28  # of a file

_GLOBALS = {"collections OrderedDict", "torch._utils _rebuild_tensor_v2", "torch FloatStorage"}
_NAMING = {"GLOBAL", "INST", "STACK_GLOBAL", "EXT1", "EXT2", "EXT4"}  # steps that look something up


def read_state_dict(path):
    """The arrays that a PyTorch file holds by name: ``torch.save(module.state_dict(), path)``.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    dict of str to numpy.ndarray
        float32, in C order.

    Raises
    ------
    FileNotFoundError
        When there is no such file.
    ImportError
        Without PyTorch.
    ValueError
        When it is no such file, is damaged or holds anything but tensors of float32, such as a
        whole module. The message names the file.
    """
    content = read_file(path, MAX_BYTES)
    sizes = _checked(content, Path(path))
    state = _load(content, path)
    arrays = {name: _array(tensor, f"{path}: {name!a}") for name, tensor in _items(state, path)}
    if sorted(array.nbytes for array in arrays.values()) != sizes:
        raise ValueError(f"{path}: damaged: its tensors are not the data that it has")
    return {name: np.array(array, order="C") for name, array in arrays.items()}


def _checked(content, path):
    """The sizes of the data in an archive, sorted, once it is known to be a plain one."""
    if not content.startswith(b"PK\3\4"):
        raise ValueError(f"{path}: not a PyTorch file of today: save its state_dict() again")
    try:
        members = list_members(content)
        if sum(member.size for member in members) > len(content):
            raise ValueError("is compressed, as torch.save writes none")
        if len({member.name.lower() for member in members}) < len(members):
            raise ValueError("damaged: a member is there twice")
        data = {member.name: read_member(content, member) for member in members}
        pickles = [name for name in data if name.lower().endswith("data.pkl")]
        if len(pickles) != 1:
            raise ValueError("not a PyTorch file (it needs one data.pkl)")
        _check_pickle(bytes(data.pop(pickles[0])))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return sorted(len(each) for name, each in data.items() if name.split("/")[-2:-1] == ["data"])


def _check_pickle(pickle):
    """Refuse steps that look up anything but `_GLOBALS`; nothing is run."""
    for step, argument, _ in pickletools.genops(pickle):
        if step.name in _NAMING and argument not in _GLOBALS:
            raise ValueError(
                f"asks for {argument or step.name!a}, but only a state dictionary of float32 "
                "tensors is read; if you trust the file, torch.save the state_dict() of its module"
            )


def _load(content, path):
    try:
        import torch
    except ImportError as error:
        raise ImportError(f"{path} is read by PyTorch: pip install torch") from error
    try:
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # of many kinds, for what damage can say
        reason = str(error).partition("\n")[0]
        raise ValueError(f"{path}: not a state dictionary ({reason[:200]!a})") from None


def _items(state, path):
    if not isinstance(state, dict) or not all(isinstance(name, str) for name in state):
        raise ValueError(f"{path}: not a state dictionary, of tensors by name")
    return state.items()


def _array(tensor, where):
    """An array on a tensor's memory, which can be smaller than its shape says."""
    try:
        return tensor.detach().numpy()
    except (AttributeError, TypeError, RuntimeError):
        raise ValueError(f"{where}: not a tensor of numbers") from None
