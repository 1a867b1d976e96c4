"""``PREFIX.meta.yaml``: the training arguments, as docopt gave them to the original.

PyYAML 3.12 under Python 2 wrote a mapping from option to string, true, false or null, sometimes
with Python tags. A tag is never obeyed here: the few that it could write are known to mean text, a
number, a tuple or a mapping, and everything else is refused.
"""

import json
import re
from unicodedata import category

import yaml

from jvi.compat.reading import read_file

__all__ = ["check_options", "dump_meta", "from_texts", "read_meta", "to_texts"]

MAX_BYTES = 2**14  # the original's have about 240

# Options that are read again from the files of a model, each with one value.
TAKE_TEXT = {"--dataset", "--epochs", "--estimator", "--model", "--nhidden", "--nlatent", "--opt"}
TAKE_TEXT |= {"--vae-type"}

_UNSEEN = {"Cc", "Cf", "Zl", "Zp"}  # controls, what changes the direction of text, line ends

_PYTHON = "tag:yaml.org,2002:python/"
_YAML = "tag:yaml.org,2002:"
_TEXT = {_YAML + "str", _PYTHON + "str", _PYTHON + "unicode"}
_NUMBERS = {_YAML + "int", _YAML + "float", _YAML + "timestamp"}
_SEQUENCES = {_YAML + "seq": list, _PYTHON + "tuple": tuple}
_WORDS = ("true", "false", "null")
_LONG = re.compile("-?[0-9]+L?")
_DOCOPT = _PYTHON + "object/new:docopt.Dict"


def read_meta(path):
    """The arguments in a meta file.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    dict
        From option (``--nhidden``) to what docopt gives: str, bool or None (or a list or tuple of
        these). Numbers come as the text that stands in the file.

    Raises
    ------
    FileNotFoundError
        When there is no such file.
    ValueError
        When it is anything but such a mapping, naming the file and the key.
    """
    data = read_file(path, MAX_BYTES)
    try:
        return _arguments(yaml.compose(data.decode("utf-8"), Loader=_Loader))
    except yaml.YAMLError as error:
        reason = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise ValueError(f"{path}: not YAML ({reason!a})") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 ({error.reason})") from None
    except (ValueError, OverflowError, RecursionError) as error:
        raise ValueError(f"{path}: {error}") from None


def dump_meta(args):
    """The text of a meta file for docopt's arguments `args`, as the original would write it."""
    return yaml.dump(dict(args), Dumper=_Dumper, default_flow_style=False)


def to_texts(args):
    """Docopt's arguments as str to str, for the header of a safetensors file.

    Text stays as it is; all else, text that could be taken for it, and text that UTF-8 has not is
    written as JSON (which has no tuples: they come back as lists).
    """
    return {key: json.dumps(value) if _is_json(value) else value for key, value in args.items()}


def from_texts(texts, path):
    """The arguments that `to_texts` made `texts` of, as found in the file `path`.

    Entries that are no options are left out.

    Raises
    ------
    ValueError
        When one is anything but text, true, false, null or a list of these, naming it.
    """
    options = {key: text for key, text in texts.items() if key.startswith(("-", "<"))}
    return {key: _of_text(text, key, path) for key, text in options.items()}


def check_options(args, path):
    """Refuse what no training has: options that a terminal would obey, and lists for those that
    take one value.

    Parameters
    ----------
    args : dict
        The arguments in a meta file or header.
    path : str or Path
        That file, for errors.

    Raises
    ------
    ValueError
        Naming the file and the option.
    """
    for key, value in args.items():
        for text in (key, *(value if isinstance(value, list | tuple) else [value])):
            if isinstance(text, str) and any(category(letter) in _UNSEEN for letter in text):
                raise ValueError(f"{path}: {key!a} has control characters: {text[:100]!a}")
        if key in TAKE_TEXT and not isinstance(value, str | None):
            raise ValueError(f"{path}: {key} is {ascii(value)[:200]}, which is no text")


def _of_text(text, key, path):
    try:
        value = json.loads(text) if _is_json(text) else text
    except (ValueError, RecursionError):
        raise ValueError(f"{path}: damaged training arguments in its header: {key!a}") from None
    for item in value if isinstance(value, list) else [value]:
        if not isinstance(item, str | bool | None):
            shown = ascii(value)[:200]
            raise ValueError(f"{path}: {ascii(key)[1:-1]} is {shown}, which no option can be")
    return value


def _is_json(value):
    if not isinstance(value, str) or value in _WORDS or value.startswith(('"', "[")):
        return True
    return any("\ud800" <= letter <= "\udfff" for letter in value)  # a file name not in UTF-8


def _arguments(node):
    """The arguments in the root node of a document."""
    if node is not None and node.tag == _DOCOPT and isinstance(node, yaml.MappingNode):
        if [key.value for key, _ in node.value] != ["dictitems"]:
            raise ValueError("docopt.Dict: holds other things than dictitems")
        node = node.value[0][1]
    if not isinstance(node, yaml.MappingNode) or node.tag != _YAML + "map":
        raise ValueError(f"not a mapping of options ({_shown(node)})")
    result = {}
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode) or key.tag not in _TEXT or key.value in result:
            raise ValueError(f"{_shown(key)}: not the name of an option, or there twice")
        result[key.value] = _value(key.value, value)
    return result


def _value(key, node):
    """The str, bool, None, list or tuple that a value's node stands for."""
    if isinstance(node, yaml.SequenceNode) and node.tag in _SEQUENCES:
        if not all(isinstance(item, yaml.ScalarNode) for item in node.value):
            raise ValueError(f"{key!a}: a sequence of other things than text")
        return _SEQUENCES[node.tag](_value(key, item) for item in node.value)
    if isinstance(node, yaml.ScalarNode):
        if node.tag in _TEXT | _NUMBERS:
            return node.value
        if node.tag == _PYTHON + "long" and _LONG.fullmatch(node.value):
            return node.value.rstrip("L")
        if node.tag == _YAML + "bool" and node.value.lower() in _Loader.bool_values:
            return _Loader.bool_values[node.value.lower()]
        if node.tag == _YAML + "null":
            return None
    raise ValueError(f"{key!a}: {_shown(node)} is not read")


def _shown(node):
    """A few words for a node in a message."""
    return "nothing" if node is None else ascii(f"{node.tag} {node.value}")[:100]


class _Loader(yaml.SafeLoader):
    """Builds nodes, which hold text; nothing is constructed from them."""

    def compose_node(self, parent, index):
        if self.check_event(yaml.AliasEvent):
            raise ValueError("has an alias (*name), which no meta file needs")
        return super().compose_node(parent, index)


class _Dumper(yaml.SafeDumper):
    """Writes text and tuples as PyYAML under Python 2 wrote and reads them."""

    def represent_text(self, text):
        return self.represent_scalar(_YAML + "str" if text.isascii() else _PYTHON + "str", text)

    def represent_items(self, items):
        return self.represent_sequence(_PYTHON + "tuple", items)


_Dumper.add_representer(str, _Dumper.represent_text)
_Dumper.add_representer(tuple, _Dumper.represent_items)
