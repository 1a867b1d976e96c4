"""Values that nobody means, wherever one is read: a sentence that names the file and the key."""

import json
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from jvi.assessment.doubts import doubts, read_best, read_log, trainer_state
from jvi.compat.log import parse_log
from jvi.compat.meta import check_options, from_texts
from jvi.compat.snapshot import from_original
from jvi.models import build
from jvi.models.files import ModelFiles, read_model, read_snapshot, write_model

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "tests" / "data"
TERMINAL = "\x1b[2J"

# As JSON.
NO_NUMBERS = ['"x"', "[1]", "[[[1]]]", "null", "true", "{}", '{"a": 1}', "1" + "0" * 400, "[]"]


@pytest.fixture
def model(tmp_path):
    shutil.copytree(DATA / "tiny_iwae", tmp_path / "m")
    for ending in (".meta.yaml", ".perf"):
        shutil.copy(DATA / f"tiny_iwae{ending}", tmp_path / f"m{ending}")
    return tmp_path / "m"


def refusal(read, *arguments):
    with pytest.raises(ValueError) as caught:
        read(*arguments)
    message = str(caught.value)
    assert message.isprintable() and len(message) < 500
    return message


@pytest.mark.parametrize("value", NO_NUMBERS)
@pytest.mark.parametrize("key", ["epoch", "iteration", "main/obj", "validation/main/iwae"])
def test_of_a_log(key, value, model):
    path = model / "log"
    path.write_text(f'[{{"epoch": 1, "iteration": 2}}, {{"epoch": 2, "{key}": {value}}}]')
    message = refusal(read_log, model)
    assert (
        message.startswith(f"{path}: damaged: not a list of numbers") and f"2: '{key}'" in message
    )
    assert message in doubts(read_model(model))


@pytest.mark.parametrize("value", ["NaN", "Infinity", "1e400", "1.5"])
@pytest.mark.parametrize("key", ["epoch", "iteration"])
def test_of_a_log_that_counts(key, value, model):
    (model / "log").write_text(f'[{{"{key}": {value}}}]')
    assert f"log: damaged: not a list of numbers for each epoch: entry 1: '{key}' is" in refusal(
        read_log, model
    )


def test_a_log_of_a_run_that_diverged_is_read():
    (entry,) = parse_log('[{"epoch": 1, "main/obj": NaN, "a": -1e400, "estimator": "vae"}]', "log")
    assert entry.keys() == {"epoch", "main/obj", "a"} and entry["a"] == -np.inf


@pytest.mark.parametrize(
    "text",
    [*NO_NUMBERS[:-1], "1", "[1" + "0" * 5000 + "]", "[" * 9999, '[{"a":1}', "", "\0", "[{}] []"],
)
def test_a_log_that_is_none(text, model):
    (model / "log").write_text(text)
    assert refusal(read_log, model).startswith(f"{model / 'log'}: damaged: not a list of numbers")


@pytest.mark.parametrize("text", ["", "x", "[1]", "null", "1 2", "٣", "1" + "0" * 5000, "\0"])
def test_of_a_perf_file(text, model):
    Path(f"{model}.perf").write_text(text)
    assert refusal(read_best, model).startswith(f"{model}.perf: ")


NO_COUNTS = {
    "text": np.array("x"),
    "bytes": np.array(b"3"),
    "float": np.array(3.0),
    "nan": np.array(np.nan),
    "flag": np.array(True),
    "list": np.array([3]),
    "nested": np.array([[3, 4]]),
    "nothing": np.array([], int),
    "negative": np.array(-1),
}


@pytest.mark.parametrize("value", NO_COUNTS.values(), ids=NO_COUNTS)
def test_of_an_iteration(value, model):
    path = model / "snapshot_bestvalobj"
    rewrite(path, **{"updater/iteration": value})
    message = refusal(trainer_state, path)
    assert message == f"{path}: updater/iteration is no whole number from 0 on"
    assert any(message in doubt for doubt in doubts(read_model(model)))


def rewrite(path, **changed):
    with np.load(path) as file:
        arrays = dict(file)
    with open(path, "wb") as file:
        np.savez(file, **arrays | changed)


@pytest.mark.parametrize(
    "value",
    [
        *NO_COUNTS.values(),
        *map(np.array, NO_NUMBERS[:-1]),
        np.array([b"[]"]),
        np.array(b'[{"epoch": "1"}]'),
        np.array(b"\xff"),
        np.array('[{"epoch": 1e400}]'),
        np.array('[{"\x1b[2J": 1}]'),
        np.array("[{}, " + "1" * 5000 + "]"),
    ],
)
def test_of_a_log_in_a_snapshot(value, model):
    rewrite(model / "snapshot_bestvalobj", **{"extensions/LogReport/_log": value})
    message = refusal(from_original, read_snapshot(model))
    assert message.startswith("the snapshot's extensions/LogReport/_log: damaged")


OPTIONS = ["--dataset", "--epochs", "--estimator", "--model", "--nhidden", "--opt", "--vae-type"]


@pytest.mark.parametrize("value", ["true", "[a, b]", "[]"])
@pytest.mark.parametrize("option", OPTIONS)
def test_of_an_option_in_a_meta_file(option, value, model):
    path = Path(f"{model}.meta.yaml")
    lines = [line for line in path.read_text().splitlines() if not line.startswith(option)]
    path.write_text("\n".join([*lines, f"{option}: {value}"]))
    for read in (read_model, read_snapshot):
        assert refusal(read, model).startswith(f"{path}: {option} is ")


@pytest.mark.parametrize("value", ["1" + "0" * 5000, "1e400", ".nan", "-1", "'٣'", "''", "null"])
@pytest.mark.parametrize("option", ["--epochs", "--nhidden", "--vae-type", "--dataset", "--opt"])
def test_text_in_a_meta_file_may_be_any(option, value, model):
    path = Path(f"{model}.meta.yaml")
    lines = [line for line in path.read_text().splitlines() if not line.startswith(option)]
    path.write_text("\n".join([*lines, f"{option}: {value}"]))
    assert all(doubt.isprintable() for doubt in doubts(read_model(model)))


@pytest.mark.parametrize(
    "text", ["[[]]", '["a", 1]', '["a", {"b": []}]', '["a", 1e400]', "[" * 9999, '"a', "[1" * 5000]
)
def test_of_an_option_in_a_header(text):
    assert refusal(from_texts, {"--opt": text}, "m.safetensors").startswith("m.safetensors: ")
    assert "--opt" in refusal(from_texts, {"--opt": text}, "m.safetensors")


# --- control characters ---------------------------------------------------------------------------


@pytest.mark.parametrize("text", [TERMINAL, "\x9b2J", "a\nb", "\u202ecod.exe", "\u2028", "\x07"])
def test_options_that_a_terminal_would_obey_are_refused(text):
    for options in ({"-o": text}, {text: "a"}, {"-o": ["a", text]}, {"--opt": text}):
        message = refusal(check_options, options, "m.meta.yaml")
        assert message.startswith("m.meta.yaml: ") and "control characters" in message
    check_options({"-o": "Modèle 7/ü", "--caf\udce9": "caf\udce9"}, "m.meta.yaml")


def meta_line(prefix, line):
    with open(f"{prefix}.meta.yaml", "a") as file:
        file.write(f"\n{line}\n")


SPOILS = {
    "value": lambda p: meta_line(p, f'"--data": "a{ascii(TERMINAL)[1:-1]}"'),
    "key": lambda p: meta_line(p, f'"--{ascii(TERMINAL)[1:-1]}": b'),
    "raw": lambda p: meta_line(p, f"--data: '{TERMINAL}'"),
    "tag": lambda p: meta_line(p, f"--data: !<{TERMINAL}> a"),
    "log key": lambda p: (p / "log").write_text(json.dumps([{f"x{TERMINAL}": 1e99}])),
    "log value": lambda p: (p / "log").write_text(json.dumps([{"x": TERMINAL}])),
    "estimator": lambda p: (p / "log").write_text(json.dumps([{"estimator": TERMINAL}])),
    "parameter": lambda p: rewrite(p / "snapshot_bestvalobj", **{TERMINAL: np.ones(1)}),
    "array": lambda p: (p / "snapshot_bestvalobj").write_bytes(TERMINAL.encode() * 9),
}


MAIN = """
import runpy, sys
program, *options, prefixes = sys.argv[1:]
for prefix in prefixes.split(","):
    sys.argv = [program, *options, prefix]
    try:
        runpy.run_path(program, run_name="__main__")
    except SystemExit as end:
        print(end, file=sys.stderr)
"""


@pytest.fixture
def spoilt(tmp_path):
    """A model for each of `SPOILS`."""
    prefixes = []
    for number, spoil in enumerate(SPOILS.values()):
        prefixes.append(tmp_path / f"m{number}")
        shutil.copytree(DATA / "tiny_iwae", prefixes[-1])
        for ending in (".meta.yaml", ".perf"):
            shutil.copy(DATA / f"tiny_iwae{ending}", f"{prefixes[-1]}{ending}")
        spoil(prefixes[-1])
    return prefixes


@pytest.mark.parametrize(
    "program",
    ["inspect_model.py", "evaluate.py", pytest.param("report.py", marks=pytest.mark.slow)],
)
def test_no_file_speaks_to_the_terminal(program, spoilt, tmp_path):
    """The bytes that a program prints, of all models in one process, which is quicker."""
    np.save(tmp_path / "a.npy", np.eye(30, 784, dtype=np.uint8))
    options = {
        "evaluate.py": ["-d", str(tmp_path / "a.npy"), "-s", "4"],
        "report.py": ["-d", str(tmp_path / "a.npy"), "-s", "64"],
    }.get(program, [])
    names = ",".join(map(str, spoilt))
    command = [sys.executable, "-c", MAIN, str(ROOT / "scripts" / program), *options, names]
    done = subprocess.run(command, capture_output=True, timeout=300)
    print(done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace"))
    said = done.stdout + done.stderr
    assert b"Traceback" not in said
    assert all(f"{prefix}".encode() in said for prefix in spoilt)
    assert not any(sign in said for sign in (b"\x1b", b"\x9b", b"\x07", b"\0"))


def test_a_perf_file_does_not_speak_to_the_terminal(model):
    from jvi.scripts.inspect_model import summary

    Path(f"{model}.perf").write_text(TERMINAL)
    assert TERMINAL not in summary(model)


# --- one reading, one moment ----------------------------------------------------------------------


def of_width(hidden, prefix):
    """A model whose parameters are all `hidden`, and so are its arguments."""
    link = build(f"mlp:hidden={hidden},latent=2", 4, np.random.default_rng(0))
    parameters = {
        name.lstrip("/"): np.full(p.shape, hidden, np.float32) for name, p in link.namedparams()
    }
    meta = {"--nhidden": str(hidden), "--vae-type": "iwae"}
    return ModelFiles(str(prefix), prefix, meta, parameters, link, "iwae", [])


def is_whole(files):
    """Whether parameters and link are of one model, and arguments of another one are noted."""
    (width,) = {float(number) for array in files.parameters.values() for number in array.flat}
    noted = any("--nhidden" in note for note in files.notes)
    of_another = files.meta["--nhidden"] != f"{width:.0f}"
    one_file = files.path.suffix == ".safetensors"
    return files.link.spec.options["hidden"] == width and of_another <= (noted and not one_file)


@pytest.mark.parametrize("in_place", [False, True], ids=["replaced", "written over"])
@pytest.mark.parametrize("form", ["m.safetensors", "m/snapshot_bestvalobj"])
@pytest.mark.parametrize("loads", [300, pytest.param(3000, marks=pytest.mark.slow, id="many")])
def test_what_is_replaced_while_it_is_read_is_one_model_or_none(form, in_place, loads, tmp_path):
    """One model's parameters with another's arguments came of one load in twelve."""
    path, whole = tmp_path / form, []
    for hidden in (3, 7):
        where = tmp_path / str(hidden)
        write_model(where / form, of_width(hidden, where / "m"))
        names = [form, "m.meta.yaml"] if "snapshot" in form else [form]
        whole.append({name: (where / name).read_bytes() for name in names})
    path.parent.mkdir(exist_ok=True)
    stop = threading.Event()

    def put(name, data):
        beside = tmp_path / (name if in_place else "new")
        beside.write_bytes(data)
        if not in_place:
            beside.replace(tmp_path / name)

    def replace():
        while not stop.is_set():
            for files in whole:
                for name, data in files.items():
                    put(name, data)

    for name, data in whole[0].items():
        put(name, data)
    thread = threading.Thread(target=replace)
    thread.start()
    counts = {True: 0, False: 0, "refused": 0}
    try:
        for _ in range(loads):
            try:
                counts[is_whole(read_model(path))] += 1
            except (ValueError, FileNotFoundError) as error:
                assert str(tmp_path) in str(error)
                counts["refused"] += 1
    finally:
        stop.set()
        thread.join()
    print(form, in_place, counts)
    assert counts[False] == 0, counts
