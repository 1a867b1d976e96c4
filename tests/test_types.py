"""The public surface has complete type hints, and they say what is so."""

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import jvi
from jvi.assessment import ais
from jvi.evidence import corrections, diagnostics, estimators

ROOT = Path(__file__).resolve().parent.parent

PUBLIC = [getattr(jvi, name) for name in jvi.__all__]
PUBLIC += [getattr(m, n) for m in (ais, corrections, diagnostics, estimators) for n in m.__all__]

# As a user writes it, with the types that a checker should know.
PROGRAM = """
import numpy as np
import jvi

log_w = np.zeros((4, 3))
weights: jvi.Weights = jvi.estimator("jvi:order=1")(log_w)
value = jvi.jackknife(log_w, order=2)
data: jvi.Dataset = jvi.load_dataset("digits")
model: jvi.Model = jvi.train("mlp", data, "iwae", num_samples=2, epochs=1)
result: jvi.Evaluation = jvi.evaluate(model, data.test, 8)
mean: float = result.mean["iwae"]
other: jvi.Model = jvi.load("prefix")
k = jvi.diagnostics.pareto_k(log_w)
samples = jvi.ais.ais(model, data.test, num_chains=2)
jvi.evaluate(model, data.test, "eight")  # error: argument 3
jvi.train("mlp", data, epochs="many")  # error: argument epochs
jvi.jackknife(log_w, order="two")  # error: argument order
"""


def functions():
    for each in PUBLIC:
        if inspect.isfunction(each):
            yield each
        elif inspect.isclass(each):
            yield from (f for n, f in vars(each).items() if inspect.isfunction(f) and n[0] != "_")


@pytest.mark.parametrize("function", list(functions()), ids=lambda f: f.__qualname__)
def test_every_public_function_says_its_types(function):
    signature = inspect.signature(function)
    bare = [
        name
        for name, parameter in signature.parameters.items()
        if parameter.annotation is parameter.empty and name != "self"
    ]
    assert not bare and signature.return_annotation is not signature.empty


@pytest.mark.slow
def test_a_type_checker_knows_them(tmp_path):
    pytest.importorskip("mypy", reason="mypy is not installed")
    (tmp_path / "program.py").write_text(PROGRAM)
    options = ["--ignore-missing-imports", "--follow-imports=silent", "--disallow-untyped-calls"]
    command = [sys.executable, "-m", "mypy", "--no-error-summary", "--cache-dir", str(tmp_path)]
    done = subprocess.run(
        [*command, *options, str(tmp_path / "program.py")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    found = [line.split(":", 2) for line in done.stdout.splitlines() if ": error:" in line]
    expected = [i for i, line in enumerate(PROGRAM.splitlines(), 1) if "# error" in line]
    assert [int(line) for _, line, _ in found] == expected, done.stdout
