"""Everything that looks like code in README, docs and help texts is run, or a table says why not.

A block says what it is: `python` and `sh` are run, in the order of their page, `text` is what a
command prints, and `bibtex` is no code. The blocks of a page share their names and a folder with a
small model, modeloutput, as the text around them assumes. Lines are run as written but for
`SHORTER`: real trainings, evaluations and pictures, only smaller.
"""

import importlib
import re
import shlex
import textwrap
import tomllib
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import targets
from docopt import docopt

import jvi
from jvi import datasets
from jvi.datasets import cifar10
from jvi.scripts import train

ROOT = Path(__file__).resolve().parent.parent
DOCS = [p for p in sorted((ROOT / "docs").rglob("*.md")) if "generated" not in p.parts]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *DOCS]
KINDS = {"python", "sh", "text", "bibtex"}
FENCE = re.compile(
    r"^(?P<indent> *)(?P<fence>`{3,}|~{3,})(?P<kind>[^\n]*)\n(?P<text>.*?)^ *(?P=fence) *$",
    re.M | re.S,
)
CODE_IN_DISGUISE = re.compile(r"^ *(>>> |\.\. code|[`~:]{3,} *\{(code|doctest))", re.M)

# What is not run, and why that is enough.
NOT_RUN = {
    r"^(\w+=\S+ )*pip install|^uv sync|^python3 -m venv": "needs a network: its words are checked",
    r"^\. \.venv/bin/activate$": "nothing to test",
    r"^make (install|test|docs|demo|bench)$": "CI, or the test of its script, does: MADE_BY",
    r"^make reproduce ": "of every target, the tiny budget runs, or the others do without their "
    "work: tests/workflow/test_reproduce.py",
    r"^snakemake --profile workflow/profiles/": "dry runs: tests/workflow/test_profiles.py",
}

# Where each target of the Makefile is run.
MADE_BY = {
    "install": (".ci/run", "make test"),  # which installs
    "test": (".ci/run", "make test"),
    "docs": (".ci/run", "make docs"),
    "demo": ("docs/install.md", "python scripts/demo.py"),
    "bench": ("tests/scripts/test_benchmark.py", "benchmark.main("),
}

# What is replaced before a line is run; all that changes what it costs, not what it does.
SHORTER = {
    r"-g 0": "-g -1",  # no GPU
    r"^mpiexec -n 4 ": "",  # as many as one gives the same: tests/training/test_ranks_training.py
    r"^taskset -c \d ": "",
    r"-e (5|15|20|60|200|1000)\b": "-e 1",
    r"-e 25\b": "-e 2",  # goes on from -e 15
    r"-s 64,5000": "-s 8,16",
    r"-s (256|500|5000)\b": "-s 8",
    r"-s 2,100\b": "-s 2,8",
    r"-s 64,512\b": "-s 8,16",
    r"--images 200": "--images 4",
    r"--ais-temps 500": "--ais-temps 3",
    r"--ais-chains (8|16)": "--ais-chains 2",
    r"--depths 2,2,2 --n-z 32 --n-h 64": "--depths 1,1 --n-z 2 --n-h 4",
    r"n_z=32 n_h=64 depths=\[2,2,2\]": "n_z=2 n_h=4 depths=[1,1]",
    r"-r 16 --points 16": "-r 8 --points 2",
    r"--nhidden 300 --nlatent 40": "--nhidden 16 --nlatent 4",
    r"--minutes (5|40)\b": "--minutes 0.001",
    r"--(validation|test)-images 2000": r"--\1-images 10",
    r"depths=1-1,n-z=16,n-h=32": "depths=1,n-z=2,n-h=4",
}
LESS = {  # and what is given beside that, where a line leaves it to defaults
    r"scripts/demo\.py": "-e 2",
    r"scripts/train\.py (?!.*(-e |--list))": "-e 1",
    r"scripts/train\.py (?!.*(-o |--list))": "--overwrite",  # the default's, of another line
    r"scripts/blundell_mnist\.py": "-d digits --hidden 8 -s 2",
    r"scripts/evaluate\.py (?!.*--ais-temps).*\bais\b": "--ais-temps 3 --images 4",
    r"scripts/compare_estimators\.py .*--data-dir": "-e 1 --seeds 0 --vae-samples 8 -s 8 "
    "--repeats 0 --train-images 64 --test-images 8",
    r"scripts/kingma_flows\.py (?!.*(--list|--minutes))": "--minutes 0.001",
    r"scripts/kingma_flows\.py (?!.*(--list|-s ))": "-s 4",
    r"scripts/kingma_flows\.py (?!.*(--list|--test-images))": "--test-images 10",
    r"scripts/kingma_flows\.py (?!.*--list)": "--seeds 0 -b 16",
}

# Pages that take more than about five seconds.
SLOW = {"comparison", "flows", "log-weights", "other-frameworks", "reproduce", "tightiwae"}
SLOW |= {"README", "train-and-evaluate", "training"}

MISSING = {"torch": "PyTorch", "jax": "JAX"}


class Block(NamedTuple):
    """Of a page: what it says it is, and its text."""

    kind: str
    text: str


def blocks(page):
    """All of them but directives, which are MyST's, as "{toctree}"."""
    for found in FENCE.finditer(page.read_text(encoding="utf-8")):
        if not found["kind"].startswith("{"):
            yield Block(found["kind"].strip(), textwrap.dedent(found["text"]))


def commands(text):
    """The command lines of a block, continued ones joined, without comments; a && b are two."""
    for line in text.replace("\\\n", "").splitlines():
        for command in re.sub(r"(^|\s)#.*", "", line).split(" && "):
            if command.strip():
                yield command.strip()


LINES = sorted({c for p in PAGES for b in blocks(p) if b.kind == "sh" for c in commands(b.text)})


def reason(line):
    """Why a line is not run, or None."""
    return next((why for pattern, why in NOT_RUN.items() if re.search(pattern, line)), None)


def shorter(line):
    for pattern, instead in SHORTER.items():
        line = re.sub(pattern, instead, line)
    return " ".join([line, *(more for pattern, more in LESS.items() if re.search(pattern, line))])


def script_of(words):
    """The module and arguments of "python scripts/NAME.py …"."""
    assert words[0] == "python" and (ROOT / words[1]).is_file(), f"say in NOT_RUN what {words} is"
    return importlib.import_module(f"jvi.scripts.{Path(words[1]).stem}"), words[2:]


# What all pages and tables must be


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_block_says_what_it_is(page):
    assert {block.kind for block in blocks(page)} <= KINDS
    assert not CODE_IN_DISGUISE.search(page.read_text(encoding="utf-8"))


def test_every_line_is_run_or_has_a_reason():
    for line in LINES:
        assert reason(line) or re.match("(mpiexec -n 4 |taskset -c . )?python scripts/", line), line


@pytest.mark.parametrize("table", [NOT_RUN, SHORTER, LESS], ids=["NOT_RUN", "SHORTER", "LESS"])
def test_every_entry_is_needed(table):
    idle = [each for each in table if not any(re.search(each, line) for line in LINES)]
    assert not idle


# Lines that are not run


@pytest.mark.parametrize("line", [line for line in LINES if line.startswith("make ")])
def test_what_is_made_is_made_in_ci(line):
    _, target, *values = shlex.split(line)
    assert target in re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.M)
    if target == "reproduce":
        values = dict(value.split("=") for value in values)
        targets.jobs(values["TARGET"], values.get("BUDGET", "small"))  # there are such
        proofs = "workflow/test_reproduce.py", "test_the_tiny_set_runs_from_the_first_to_the_last"
        assert proofs[1] in (ROOT / "tests" / proofs[0]).read_text()
    else:
        file, text = MADE_BY[target]
        assert text in (ROOT / file).read_text() and not values


@pytest.mark.parametrize("line", [line for line in LINES if re.search(r"pip install", line)])
def test_what_is_installed_exists(line):
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = {e for found in re.findall(r"\.\[(.*?)\]", line) for e in found.split(",")}
    assert named <= {*extras["optional-dependencies"]}
    assert all((ROOT / file).is_file() for file in re.findall(r"\w+=(\S+)", line))


@pytest.mark.parametrize("line", [line for line in LINES if line.startswith("snakemake ")])
def test_what_snakemake_is_asked_for_exists(line):
    values = dict(word.split("=", 1) for word in shlex.split(line) if re.match(r"\w+=", word))
    assert targets.jobs(values["target"], values["budget"])
    assert (ROOT / re.search(r"--profile (\S+)", line)[1] / "config.yaml").is_file()


# Lines as they are written, and help texts


@pytest.mark.parametrize("line", [line for line in LINES if " scripts/" in f" {line}"])
def test_commands_are_understood(line):
    """Before anything is replaced."""
    words = shlex.split(line)
    module, arguments = script_of(words[words.index("python") :])
    docopt(module.__doc__, arguments)


def examples():
    """Command lines in help texts, beside those of their usage, and before what they print."""
    for page in PAGES:
        for line in re.findall(r"^\$ (.+)", page.read_text(encoding="utf-8"), re.M):
            name, _, arguments = (
                line.removeprefix("python ").removeprefix("scripts/").partition(" ")
            )
            yield pytest.param(name, arguments, id=f"{page.stem}: {line}"[:80])
    for path in sorted((ROOT / "scripts").glob("*.py")):
        help_text = importlib.import_module(f"jvi.scripts.{path.stem}").__doc__ or ""
        after = help_text.partition("Usage:")[2].partition("\n\n")[2]
        for name, arguments in re.findall(
            r"^ +(?:python )?(?:scripts/)?(\w+\.py) (.*)", after, re.M
        ):
            yield pytest.param(name, arguments, id=f"{path.stem}: {name} {arguments}"[:80])


@pytest.mark.parametrize(("name", "arguments"), list(examples()))
def test_examples_are_understood(name, arguments):
    module, words = script_of(["python", f"scripts/{name}", *shlex.split(arguments)])
    docopt(module.__doc__, words)


def options_of(path):
    module = importlib.import_module(f"jvi.scripts.{path.stem}")
    return set(re.findall(r"(?<![\w-])--?[a-zA-Z][\w-]*", module.__doc__ or ""))


def test_options_in_sentences_exist():
    """`train.py --seed 1` in a sentence is of that command; `--seed` alone of any."""
    known = {path.name: options_of(path) for path in (ROOT / "scripts").glob("*.py")}
    of_any = set().union(*known.values())
    for page in PAGES:
        prose = FENCE.sub("", page.read_text(encoding="utf-8"))
        for span in re.findall(r"(?<!`)`([^`\n]+)`(?!`)", prose):
            name = next((word for word in span.split() if word in known), None)
            used = set(re.findall(r"(?:^|\s)(--[a-z][\w-]*)", span))
            if name or span.startswith("--"):
                assert used <= (known[name] if name else of_any) | OTHERS, (page.name, span)


# Options of other programs: Snakemake, Slurm, and the code of docs/tightiwae.md.
OTHERS = {"--config", "--set-resources", "--set-threads", "--cpus-per-task", "--k"}
OTHERS |= {"--default-storage-provider", "--default-storage-prefix"}


# Running all of a page


def stand_in(name, shape, count=40):
    """A data set of few images, all of them noise, for one that a clone does not have."""
    rows = np.random.default_rng(0).random((3 * count, int(np.prod(shape))), np.float32)
    data = jvi.dataset(*np.split(rows, 3))._replace(name=name, image_shape=shape)
    if len(shape) == 3:
        parts = [np.rint(255 * part).astype(np.uint8) for part in data[1:4]]
        data = cifar10._dataset(name, np.concatenate(parts[:2]), parts[2])
    return data


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Empty, with DATA; data sets of images that need files are stand-ins."""
    shapes = dict.fromkeys(("mnist", "omniglot", "fashion-mnist"), (28, 28))
    for name, shape in (shapes | dict.fromkeys(("cifar10", "cifar10-part"), (32, 32, 3))).items():
        small = stand_in(name, shape)
        monkeypatch.setitem(datasets.DATASETS, name, lambda data_dir=None, small=small: small)
    (tmp_path / "DATA").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def given(text):
    """Make the models that a page speaks of and does not make."""
    if "modeloutput" in text and "-o modeloutput" not in text:
        data = (
            "mnist" if re.search("-d mnist.* modeloutput|modeloutput -d mnist", text) else "digits"
        )
        sizes = "--nhidden 16 --nlatent 4 --opt adam --lr 2e-3 -b 100 -e 3 --quiet"
        line = f"-d {data} --vae-type jvi --vae-samples 8 {sizes} -o modeloutput"
        train.main(line.split())
    for name in set(re.findall(r"convert\.py (\S+\.pt)", text)):
        checkpoint(Path(name))


def checkpoint(path):
    """A state dictionary of the network of docs/tightiwae.md, small."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    shapes = {"encoder.fc11": (5, 784), "encoder.fc12": (5, 5), "encoder.fc21": (2, 5)}
    shapes |= {"encoder.fc22": (2, 5), "decoder.fc31": (5, 2), "decoder.fc32": (5, 5)}
    shapes |= {"decoder.fc4": (784, 5)}
    weights = {f"{name}.weight": torch.full(shape, 0.01) for name, shape in shapes.items()}
    path.parent.mkdir(exist_ok=True)
    torch.save(weights | {f"{n}.bias": torch.zeros(s[0]) for n, s in shapes.items()}, path)


def run(line):
    module, words = script_of(shlex.split(shorter(line)))
    try:
        module.main(words)
    except SystemExit as stop:
        assert not stop.code, f"{line}: {stop}"


def pages():
    for page in PAGES:
        if any(block.kind in ("python", "sh") for block in blocks(page)) and any(
            b.kind == "python" or not all(map(reason, commands(b.text))) for b in blocks(page)
        ):
            marks = [pytest.mark.slow] if page.stem in SLOW else []
            yield pytest.param(page, id=page.stem, marks=marks)


@pytest.mark.parametrize("page", list(pages()))
@pytest.mark.filterwarnings("ignore:.*non-writable:UserWarning")  # of torch.from_numpy
def test_all_of_a_page_runs(page, folder):
    """In its order; what has a reason not to is left out."""
    given(page.read_text(encoding="utf-8"))
    names, missing = {"__name__": page.stem}, set()
    for kind, text in blocks(page):
        if kind == "python":
            needed = {each for each in MISSING if re.search(rf"(import|jvi\.|from) ?{each}", text)}
            absent = {each for each in needed if find_spec(each) is None}
            if not absent:
                exec(compile(text, str(page), "exec"), names)
            missing |= absent
        for line in commands(text) if kind == "sh" else ():
            if not reason(line):
                run(line)
    if missing:
        pytest.skip(f"without the blocks on {' and '.join(map(MISSING.get, sorted(missing)))}")
