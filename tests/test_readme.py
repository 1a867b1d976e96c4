"""README has no number that a command of this repository does not print."""

import re
from pathlib import Path

import numpy as np
import pytest

from jvi.scripts import demo

README = (Path(__file__).resolve().parent.parent / "README.md").read_text(encoding="utf-8")
NUMBER = re.compile(r"-?\d+\.\d+")


def block(start):
    """The lines of the block of text that begins so."""
    [found] = re.findall(rf"^```text\n({re.escape(start)}.*?)^```$", README, re.M | re.S)
    return found.splitlines()


def test_its_prose_measures_nothing():
    code_and_links = r"^```.*?^```$|`[^`]*`|\]\([^)]*\)|^\[\w+\]: .*?$"
    prose = re.sub(code_and_links, "", README, flags=re.M | re.S)
    assert set(NUMBER.findall(prose)) == {"3.11", "7.8"}  # of Python and Chainer


@pytest.mark.slow
def test_its_table_is_the_demos(tmp_path, capsys):
    """Between machines the last digits differ by rounding; the errors are 0.23 and more."""
    demo.main(["-o", str(tmp_path)])
    printed, told = capsys.readouterr().out, block("log p(x) in nats")
    lines = [line for line in printed.splitlines() if line.startswith(("ELBO", "IWAE", "JVI-"))]
    assert told[0] in printed
    for ours, line in zip(told[2:], lines, strict=True):
        assert NUMBER.sub("", ours) == NUMBER.sub("", line)
        one, two = (np.array(NUMBER.findall(each), float) for each in (ours, line))
        np.testing.assert_allclose(one, two, atol=0.02)
