"""The rooms of the project: imports point downwards only, and what each room may speak of."""

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# From the ground up; what stands together may import each other's files, but not in a circle.
FLOORS = [
    ("spec", "text", "files"),
    ("evidence",),
    ("compat",),
    ("functions",),
    ("engine",),
    ("models",),
    ("datasets",),
    ("training",),
    ("assessment",),
    ("cli", "torch", "jax", "bayesian"),
    ("scripts",),
]
LEVEL = {room: level for level, rooms in enumerate(FLOORS) for room in rooms}


@cache
def sources():
    """The path of every module by its dotted name."""
    found = {}
    for path in sorted(
        [*ROOT.glob("jvi/**/*.py"), *ROOT.glob("compat/*.py"), *ROOT.glob("scripts/*.py")]
    ):
        parts = path.relative_to(ROOT).with_suffix("").parts
        parts = parts if parts[0] == "jvi" else ("jvi", *parts)
        found[".".join(parts).removesuffix(".__init__")] = path
    return found


def imported(name):
    """Names of this project's modules that a module imports, wherever it does."""
    known = sources()
    for node in ast.walk(ast.parse(known[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("jvi"))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("jvi"):
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in known else node.module


def room(name):
    parts = name.split(".")
    return parts[1] if len(parts) > 1 else "jvi"


@pytest.mark.parametrize("name", [n for n in sources() if room(n) not in ("jvi", "__main__")])
def test_imports_point_downwards(name):
    upwards = [
        other
        for other in imported(name)
        if room(other) != "jvi" and LEVEL[room(other)] > LEVEL[room(name)]
    ]
    assert not upwards, f"{name} imports {upwards}"


def test_no_module_imports_itself_by_way_of_others():
    graph = {name: {o for o in imported(name) if o in sources()} for name in sources()}
    done, path = set(), []

    def visit(name):
        if name in path:
            pytest.fail(" -> ".join([*path[path.index(name) :], name]))
        if name in done:
            return
        path.append(name)
        for other in graph[name]:
            # a package that names its own files, as jvi.models does, is not one of them
            if not name.startswith(f"{other}."):
                visit(other)
        path.pop()
        done.add(name)

    for name in graph:
        if name != "jvi":  # whose names are imported when first used
            visit(name)


def test_evidence_knows_no_framework():
    for path in ROOT.glob("jvi/evidence/*.py"):
        assert not re.search(r"^\s*(import|from) (chainer|cupy|torch)", path.read_text(), re.M), (
            path
        )


def test_importing_jvi_touches_neither_chainer_nor_how_python_imports():
    code = (
        "import sys; before = list(sys.meta_path), list(sys.path_hooks); import jvi;"
        "assert (sys.meta_path, sys.path_hooks) == before;"
        "heavy = {'chainer', 'scipy', 'matplotlib', 'numba', 'h5py', 'sklearn'} & set(sys.modules);"
        "assert not heavy, heavy; assert len(jvi.__path__) == 1;"
        "import jvi.evidence.diagnostics, jvi.evidence.corrections;"
        "assert 'chainer' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT.parent)


def test_only_models_and_the_past_speak_of_the_originals_network():
    for name, path in sources().items():
        if room(name) in LEVEL and room(name) not in ("models", "compat", "scripts"):
            # but for examples, which have to name some model
            text = re.sub(r"^ *(>>>|\.\.\.) .*$", "", path.read_text(encoding="utf-8"), flags=re.M)
            assert not re.search(r"\bmlp\b|\bMLP\b", text), path


def test_files_are_short():
    """Half of them are read in a minute; the longest in ten."""
    lengths = sorted(len(p.read_text(encoding="utf-8").splitlines()) for p in sources().values())
    assert lengths[len(lengths) // 2] <= 130 and lengths[-1] <= 700
