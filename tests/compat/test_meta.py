"""Meta files: what PyYAML 3.12 wrote under Python 2 is understood, and nothing is constructed."""

import time
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from jvi.compat.meta import dump_meta, from_texts, read_meta, to_texts

DATA = Path(__file__).resolve().parents[1] / "data"

# Written by PyYAML 3.12 under Python 2.7.18 for docopt.Dict, and for dict, with all types that can
# come up.
TAGGED = r"""!!python/object/new:docopt.Dict
dictitems:
  --a: !!python/unicode 'x'
  --b: !!python/str "caf\xE9"
  --c: !!python/long '5'
  --d: !!python/tuple
  - !!python/unicode '1'
  - b
  --e: null
  --f: true
  --fl: 0.001
  --g: 1180591620717411303424
  --h: 'no'
  --i: 7
  --l:
  - a
  - b
  --n: 'null'
  !!python/unicode '--u': "caf\xE9"
  -o: '1.0e-3'
"""
PLAIN = "\n".join(line[2:] for line in TAGGED.splitlines()[2:])
MEANT = {
    "--a": "x",
    "--b": "café",
    "--c": "5",
    "--d": ("1", "b"),
    "--e": None,
    "--f": True,
    "--fl": "0.001",
    "--g": "1180591620717411303424",
    "--h": "no",
    "--i": "7",
    "--l": ["a", "b"],
    "--n": "null",
    "--u": "café",
    "-o": "1.0e-3",
}


def read(text, tmp_path):
    path = tmp_path / "m.meta.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_meta(path)


@pytest.mark.parametrize("text", [TAGGED, PLAIN], ids=["docopt.Dict", "dict"])
def test_what_python_2_wrote_is_read(text, tmp_path):
    assert read(text, tmp_path) == MEANT


@pytest.mark.parametrize("text", ["--c: !!python/long '5L'", "--c: !!python/long 5"])
def test_long_integers(text, tmp_path):
    assert read(text, tmp_path) == {"--c": "5"}


@pytest.mark.parametrize("name", ["tiny_iwae", "tiny_jvielbo", "tiny_vae"])
def test_what_we_write_is_what_the_original_wrote(name):
    path = DATA / f"{name}.meta.yaml"
    assert dump_meta(read_meta(path)) == path.read_text()


def test_original_meta_files_mean_what_docopt_gave():
    meta = read_meta(DATA / "tiny_jvielbo.meta.yaml")
    assert meta["--nhidden"] == "8" and meta["--lr"] == "1.0e-3" and meta["--opt"] == "smorms3"
    assert meta["--fancy"] is False and meta["--vae-type"] == "jvi+elbo"


TEXTS = st.text(st.characters(blacklist_categories=["Cs"]), max_size=20)
TRICKY = st.sampled_from(
    ["", "no", "null", "~", "1", "1.0e-3", "0x10", "010", "1:30", "2018-01-01", "=", "<<", "1_000"]
)
VALUES = st.one_of(TEXTS, TRICKY, st.booleans(), st.none(), st.lists(TEXTS))
META = st.dictionaries(TEXTS.map("--{}".format), VALUES)


@settings(deadline=None)
@given(META)
def test_what_is_written_is_read(tmp_path_factory, meta):
    assert read(dump_meta(meta), tmp_path_factory.getbasetemp()) == meta
    if "!!python" not in dump_meta(meta):  # which stands for text that is not ASCII
        assert yaml.safe_load(dump_meta(meta)) == meta


@settings(deadline=None)
@given(META)
def test_arguments_survive_the_header_of_a_safetensors_file(meta):
    assert from_texts(to_texts(meta), "a") == meta
    assert all(isinstance(text, str) for text in to_texts(meta).values())


def test_arguments_that_are_not_utf_8_survive_a_header_that_has_to_be():
    meta = {"-o": "caf\udce9"}
    assert from_texts(to_texts(meta), "a") == meta
    assert to_texts(meta)["-o"].isascii()


def test_other_entries_of_a_header_are_no_arguments():
    assert from_texts({"format": "pt", "sha256": "0", "--opt": "adam"}, "a") == {"--opt": "adam"}
    with pytest.raises(ValueError, match="a: damaged training arguments"):
        from_texts({"--opt": "[adam"}, "a")


@pytest.mark.parametrize(
    "text",
    [
        "!!python/object/apply:os.mkdir ['made']",
        "--a: !!python/object/apply:os.mkdir ['made']",
        "--a: !!python/object/new:os.mkdir ['made']",
        "--a: !!python/object:docopt.Dict {}",
        "--a: !!python/object/new:docopt.Dict {dictitems: {}}",
        "--a: !!python/name:os.mkdir ''",
        "--a: !!python/module:os ''",
        "--a: !!binary 'AAAA'",
        "--a: !local x",
        "--a: !!python/long x",
        "--a: !!bool maybe",
        "--a: {b: c}",
        "--a: [[b]]",
        "--a: !!set {b, c}",
        "--a: !!omap [b: c]",
        "--a: x\n--a: y",
        "1: x",
        "[a]: x",
        "? !!python/object/apply:os.mkdir ['made']\n: x",
        "<<: {--a: x}",
        "!!python/object/new:docopt.Dict\nstate: {}\ndictitems: {}",
        "!!python/object/new:docopt.Dict\nargs: [1]",
        "!!python/object/new:docopt.Dict []",
        "!!python/object/new:os.mkdir\ndictitems: {}",
        "--a: &x [b]\n--c: *x",
        "--a: &x [*x]",
        "- a",
        "a",
        "",
        "--a: x\n---\n--b: y",
        "--a: 'x",
        "--a: \t- x: [",
        b"--a: \xff",
        b"--a: \x00",
        '--a: "\\U99999999"',
        "--a: %x\n%",
        "#" * 20000,
    ],
)
def test_anything_else_is_refused_in_one_line(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"m\.meta\.yaml: ") as caught:
        read(text, tmp_path)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400
    assert not Path("made").exists()


def test_the_key_is_named(tmp_path):
    with pytest.raises(ValueError, match="'--evil'"):
        read("--evil: !!python/name:os.system ''", tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 16000,
        "{" * 16000,
        "--a: " + "[" * 8000 + "]" * 8000,
        "? " * 8000,
        "- " * 8000,
        "\n".join(" " * n + "a:" for n in range(170)),
        "".join(f"a{n}: &a{n} [{f'*a{n - 1},' * 9 if n else 'x'}]\n" for n in range(100)),
        "&a " * 5000,
        "!a " * 5000,
        "a: " * 5000,
        "'" + "\n" * 16000,
        '"' + "\\\n" * 8000,
        "|" + "\n" * 16000,
        "a\n" * 8000,
        ",".join("[" * 5000),
        "%YAML 1.1\n" * 1500,
        "\ufeff" * 5000,
        "[" + "a," * 8000,
        "{" + "? " * 8000,
    ],
)
def test_bombs_are_refused_in_a_second(text, tmp_path):
    start = time.monotonic()
    with pytest.raises(ValueError, match=r"m\.meta\.yaml: "):
        read(text, tmp_path)
    assert time.monotonic() - start < 5  # about 0.5


def test_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.meta\.yaml: no such file"):
        read_meta(tmp_path / "none.meta.yaml")
