"""Every code block in README and docs: Python is run, commands are parsed, and run if quick.

A block says what it is: `python` and `sh` are checked here, `text` is what a command prints, and
anything else (`bibtex`) is no code. The Python blocks of a file share their names and run in a
folder with a small model of the digits, modeloutput, as the text around them assumes.
"""

import os
import re
import shlex
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest
from docopt import docopt

from jvi.scripts import train

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
KINDS = {"python", "sh", "text", "bibtex"}
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)

# What a command needs that a test does not have: a GPU, the network, MNIST, the developers' tools.
SLOW = re.compile(
    r"-g 0|^python3|mnist|--data-dir|^make|^pip|^uv|^PIP|stability|benchmark|py-spy|demo\.py"
)


def blocks(page, kind):
    return [text for name, text in BLOCK.findall(page.read_text(encoding="utf-8")) if name == kind]


def commands():
    for page in PAGES:
        for text in blocks(page, "sh"):
            for line in text.replace("\\\n", "").splitlines():
                line = line.partition("#")[0].strip()
                if line:
                    yield pytest.param(line, id=f"{page.stem}: {line}"[:80])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """With a model of the digits."""
    path = tmp_path_factory.mktemp("docs")
    sizes = "--nhidden 16 --nlatent 4 --opt adam --lr 2e-3 -b 100 -e 3 --quiet"
    train.main([*f"--vae-type jvi --vae-samples 8 {sizes}".split(), "-o", f"{path}/modeloutput"])
    return path


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_says_what_it_is(page):
    assert {name for name, _ in BLOCK.findall(page.read_text(encoding="utf-8"))} <= KINDS


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p, "python")], ids=lambda p: p.name)
@pytest.mark.filterwarnings("ignore:.*non-writable:UserWarning")  # of torch.from_numpy
def test_python_blocks_run(page, folder, monkeypatch):
    monkeypatch.chdir(folder)
    names, skipped = {"__name__": page.stem}, set()
    for text in blocks(page, "python"):
        needed = {
            name for name in ("torch", "jax") if re.search(rf"(import|jvi\.|from) ?{name}", text)
        }
        missing = {name for name in needed if find_spec(name) is None}
        if not missing:
            exec(compile(text, str(page), "exec"), names)
        skipped |= missing
    if skipped:
        pytest.skip(f"not installed, so without the blocks on {', '.join(sorted(skipped))}")


@pytest.mark.parametrize("line", list(commands()))
def test_commands_are_commands(line):
    """Of this project: the script is there and understands its options."""
    words = [word for word in shlex.split(line) if not re.fullmatch(r"\w+=\S*", word)]
    if words[0] == "make":
        targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.M)
        assert set(words[1:]) <= set(targets)
    if words[0] == "python" and words[1].startswith("scripts/"):
        module = import_module(f"jvi.{words[1].removesuffix('.py').replace('/', '.')}")
        docopt(module.__doc__, words[2:])


# Of the README, what takes more than a few seconds; other pages run in slow tests anyway.
LONGER = re.compile("bayesnet|compare_estimators|5000|burda:layers=2")


def quick():
    """What takes seconds, the longer ones marked slow."""
    for param in commands():
        if not SLOW.search(param.values[0]):
            short = param.id.startswith("README") and not LONGER.search(param.values[0])
            marks = [] if short else [pytest.mark.slow]
            yield pytest.param(*param.values, id=param.id, marks=marks)


@pytest.mark.parametrize("line", list(quick()))
def test_quick_commands_run(line, folder):
    words = shlex.split(line)
    assert words[0] == "python", "say what else this is, in SLOW"
    words[:2] = [sys.executable, str(ROOT / words[1])]
    environment = {**os.environ, "MPLBACKEND": "Agg"}
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
