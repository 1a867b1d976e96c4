"""Every public name says what it takes, gives and refuses, and has an example that runs."""

import ast
import doctest
import importlib
import inspect
import re
import textwrap
from pathlib import Path
from types import FunctionType

import pytest

import jvi

API = Path(__file__).resolve().parent.parent / "docs" / "api.md"

# Public beside what `jvi` names: parts of it that are asked for by themselves, and what models and
# estimators of one's own are made with.
MODULES = [
    "jvi",
    *(where for where, attribute in jvi._LAZY.values() if not attribute),
    "jvi.bayesian",
    "jvi.evidence.bounds",
    "jvi.evidence.estimators",
    "jvi.evidence.jackknife",
    "jvi.evidence.quantities",
    "jvi.evidence.surrogate",
    "jvi.models.protocol",
]

# What examples need that is not everywhere, by the end of their names.
NEEDS = {"to_dataframe": "pandas"}

OPTIONS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


def _imported():
    """Modules by name, and why others cannot be had, as without PyTorch or JAX."""
    modules, missing = {}, {}
    for where in MODULES:
        try:
            modules[where] = importlib.import_module(where)
        except ImportError as error:
            missing[where] = str(error)
    return modules, missing


def _named(modules):
    """Objects that modules name, by the first name of each; data, such as tables, are not."""
    found = {}
    for where, module in modules.items():
        for name in module.__all__:
            value = getattr(module, name)
            if callable(value) and value not in found.values():
                found[f"{where}.{name}"] = value
    return found


def _listed():
    """Objects that the page of the reference lists, by name; None for what does not exist."""
    names = re.findall(r"^   (jvi\.[\w.]+)$", API.read_text("utf-8"), re.MULTILINE)
    there = [name for name in names if not name.startswith(tuple(f"{m}." for m in MISSING))]
    return {name: _of_name(name) for name in there}


def _of_name(name):
    value = jvi
    for part in name.split(".")[1:]:
        value = getattr(value, part, None)
    return value


def _members(kind):
    """Methods and properties that this project defines, not those of its libraries' classes."""
    for base in kind.__mro__:
        if base.__module__.split(".")[0] == "jvi":
            for name, value in vars(base).items():
                public = name == "__call__" or not name.startswith("_")
                if public and isinstance(value, FunctionType | property):
                    yield name, value


loaded, MISSING = _imported()
NAMED, LISTED = _named(loaded), _listed()
TOP = {id(value): (name, value) for name, value in [*LISTED.items(), *NAMED.items()]}
OBJECTS = {name: value for name, value in TOP.values() if value is not None}
OBJECTS |= {
    f"{name}.{member}": value
    for name, kind in OBJECTS.items()
    if inspect.isclass(kind)
    for member, value in _members(kind)
}
public = pytest.mark.parametrize(
    "value",
    [pytest.param(value, id=name) for name, value in OBJECTS.items()]
    + [
        pytest.param(None, id=where, marks=pytest.mark.skip(reason=reason))
        for where, reason in MISSING.items()
    ],
)


def _sections(value):
    """Lines of each section of a docstring by its title."""
    lines = (inspect.getdoc(value) or "").splitlines()
    titles = [i for i in range(1, len(lines)) if re.fullmatch("-{3,}", lines[i])]
    ends = [*(i - 1 for i in titles[1:]), len(lines)]
    return {lines[i - 1]: lines[i + 1 : end] for i, end in zip(titles, ends, strict=True)}


def _entries(lines):
    """Names of a section: of "a, **b : type", a and b."""
    heads = [line.split(" : ")[0] for line in lines if line and not line.startswith(" ")]
    return [name.lstrip("*") for head in heads for name in head.split(", ")]


def _taken(value):
    """(section, names) that a docstring has to explain."""
    if isinstance(value, property) or getattr(value, "_is_protocol", False):
        return "Parameters", []
    if hasattr(value, "_fields"):
        return "Attributes", list(value._fields)
    return "Parameters", [name for name in inspect.signature(value).parameters if name != "self"]


def _body(value):
    """Nodes of a function, with those of functions inside it."""
    source = textwrap.dedent(inspect.getsource(inspect.unwrap(value)))
    return list(ast.walk(ast.parse(source)))


def _raised(body):
    """Names of exceptions that are raised by name."""
    calls = [node.exc for node in body if isinstance(node, ast.Raise)]
    return {call.func.id for call in calls if isinstance(getattr(call, "func", None), ast.Name)}


def _complaints(value):
    """What a docstring lacks."""
    sections = _sections(value)
    kind, names = _taken(value)
    explained = _entries(sections.get(kind, []))
    if explained != names:
        yield f"{kind} explain {explained}, not {names}"
    if not any(line.startswith(">>>") for line in sections.get("Examples", [])):
        yield "no Examples"
    if not isinstance(value, FunctionType):
        return
    body = _body(value)
    annotated = inspect.signature(value).return_annotation not in (None, inspect.Signature.empty)
    returns = annotated or any(isinstance(node, ast.Return) and node.value for node in body)
    if returns and "Returns" not in sections:
        yield "no Returns"
    for name in sorted(_raised(body) - set(_entries(sections.get("Raises", [])))):
        yield f"no Raises of {name}"


@public
def test_docstring_is_whole(value):
    assert list(_complaints(value)) == []


@public
def test_example_runs(value, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = getattr(value, "__qualname__", "property")
    if needed := NEEDS.get(name.rpartition(".")[2]):
        pytest.importorskip(needed)
    example = doctest.DocTestParser().get_doctest(inspect.getdoc(value), {}, name, None, 0)
    said = []
    result = doctest.DocTestRunner(optionflags=OPTIONS).run(example, out=said.append)
    assert result.attempted
    assert not result.failed, "".join(said)


def test_page_of_the_reference_lists_all():
    assert [name for name, value in LISTED.items() if value is None] == []
    shown = set(LISTED.values())
    assert [name for name, value in NAMED.items() if value not in shown] == []


def test_what_a_docstring_lacks_is_found():
    def poor(a, *b):
        """Says little.

        Parameters
        ----------
        a : int
        """
        if a:
            raise KeyError(b)
        return a

    assert list(_complaints(poor)) == [
        "Parameters explain ['a'], not ['a', 'b']",
        "no Examples",
        "no Returns",
        "no Raises of KeyError",
    ]
