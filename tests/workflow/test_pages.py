"""Collecting, drawing and writing: pages are made from result files alone."""

import json

import figure
import index
import job as runner
import page
import pytest
import targets
from collect import main as collect
from targets import jobs

TARGET = """
title: Squares
source: Nobody (2026), Table 0
about: What squares are.
budgets: {small: {seeds: [0, 1], cost: nothing}}
jobs:
  m:
    kind: measure
    over: {a: [2, 3], seed: seeds}
    command: "SCRIPT {a} {seed} {out}"
tables:
  - caption: Squares.
    corner: number
    job: m
    rows: [{label: two, where: {a: 2}}, {label: three, where: {a: 3}}]
    columns: [{label: square, key: square}]
    published: [["4.1 ± 0.3"], [null]]
claims: [{says: more is more, greater: [three / square, two / square]}]
figures: [{job: m, x: a, y: square, labels: [number, square], caption: A parabola.}]
remarks: {small: They are squares.}
"""
CODE = """import json, sys
a, seed = int(sys.argv[1]), int(sys.argv[2])
square = {"value": a * a + 0.25 * seed, "images": 0.5}
json.dump({"square": square}, open(sys.argv[3] + ".json", "w"))
"""


@pytest.fixture
def collected(tmp_path, monkeypatch):
    script = tmp_path / "square.py"
    script.write_text(CODE)
    monkeypatch.setattr(targets, "FOLDER", tmp_path)
    (tmp_path / "squares.yaml").write_text(TARGET.replace("SCRIPT", str(script)))
    found = [tmp_path / "work" / f"{name}.json" for name in jobs("squares", "small")]
    for each, path in zip(jobs("squares", "small").values(), found, strict=True):
        runner.run(each, tmp_path / "work", path)
    path = tmp_path / "results" / "small" / "squares.json"
    collect(["squares", "small", str(path), *map(str, found)])
    return path


def test_a_page_has_numbers_verdict_and_cost(collected, tmp_path):
    for each in (tmp_path / "work").rglob("*"):
        if each.is_file():
            each.unlink()  # the collected file is enough
    page.main(["squares", str(collected), str(tmp_path / "squares.md")])
    text = (tmp_path / "squares.md").read_text()
    assert "| two | 4.12 ± 0.12 ± 0.50<br>*4.1 ± 0.3* |" in text
    assert "| three | 9.12 ± 0.12 ± 0.50 |" in text
    assert "**Verdict: reproduced.** 1 of 1 claims hold. 1 of 1 numbers agree." in text
    assert "| more is more | holds | +5" in text
    assert "They are squares." in text
    assert "make reproduce TARGET=squares BUDGET=small" in text
    assert "4 jobs took" in text
    assert "![A parabola.](squares.png)" in text


def test_lines_of_a_figure_are_means_over_seeds(collected):
    target = targets.read("squares")
    results = json.loads(collected.read_text())["results"]
    lines = figure.curves(target["figures"][0], results)
    assert lines == {"": [(2, 4.125, 0.125), (3, 9.125, 0.125)]}
    with pytest.raises(ValueError, match="no result has cube"):
        figure.curves(target["figures"][0] | {"y": "cube"}, results)


def test_pictures_are_the_same_every_time(collected, tmp_path):
    for name in ("one.png", "two.png"):
        figure.main(["squares", "squares", str(collected), str(tmp_path / name)])
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    assert (tmp_path / "one.png").read_bytes().startswith(b"\x89PNG")


def test_the_index_lists_what_has_been_run(collected, tmp_path):
    index.main([str(tmp_path / "results"), str(tmp_path / "index.md")])
    text = (tmp_path / "index.md").read_text()
    assert "| [squares](squares.md) | Squares | small | reproduced |" in text
    index.main([str(tmp_path / "none"), str(tmp_path / "index.md")])
    assert "| squares | Squares | - | not run | - |" in (tmp_path / "index.md").read_text()


def test_what_is_not_there_is_not_collected(collected, tmp_path):
    with pytest.raises(SystemExit, match=r"nothing\.json"):
        collect(["squares", "small", str(tmp_path / "x"), str(tmp_path / "nothing.json")])
    assert not (tmp_path / "x").exists()
