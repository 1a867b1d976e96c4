"""The targets themselves: every command can be typed, every table and claim refers to what is."""

import re
import shlex
from functools import cache
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
import targets
from cells import published
from docopt import docopt

from jvi import estimator
from jvi.models import MODELS
from jvi.spec import split

ROOT = Path(__file__).resolve().parent.parent.parent
EACH = [(name, budget) for name in targets.names() for budget in targets.read(name)["budgets"]]
PLACES = {"prefix": "p", "out": "o", "of": "m", "runs": "r"}


@cache
def usage(path):
    spec = spec_from_file_location(f"usage_of_{path.stem}", path)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.__doc__


def typed(job):
    """(script, arguments) of a job's command, as its script reads them."""
    line = [word.format(**PLACES) for word in shlex.split(job.command)]
    path = ROOT / (line[0] if "/" in line[0] else f"scripts/{line[0]}")
    extra = [PLACES["of"]] if job.kind == "evaluate" else []
    return path, docopt(usage(path), [*line[1:], *extra])


@pytest.mark.parametrize(("name", "budget"), EACH)
def test_every_command_is_one_that_its_script_takes(name, budget):
    found = targets.jobs(name, budget)
    assert found
    several = {re.sub(r"--seeds? \d+", "", job.command): job for job in found.values()}
    for job in several.values():
        path, arguments = typed(job)
        if path.name in ("train.py", "evaluate.py"):
            model, rule = arguments.get("--model"), arguments.get("--estimator")
            assert model is None or split(model)[0] in MODELS
            assert rule is None or estimator(rule)


@pytest.mark.parametrize("name", targets.names())
def test_tables_claims_and_figures_refer_to_what_is_there(name):
    target = targets.read(name)
    tables = target.get("tables", [])
    for table in tables:
        used = [{**table, **row, **column} for row in table["rows"] for column in table["columns"]]
        labels = {x for u in used for x in ([u["job"]] if isinstance(u["job"], str) else u["job"])}
        assert labels <= {*target["jobs"]}
        assert all("key" in each for each in used)
        assert table["caption"]
        for line in table.get("published", []):
            assert len(line) <= len(table["columns"])
            assert [published(text) for text in line]
        assert len(table.get("published", table["rows"])) == len(table["rows"])
    for claim in target.get("claims", []):
        table = tables[claim.get("table", 0)]
        known = {f"{r['label']} / {c['label']}" for r in table["rows"] for c in table["columns"]}
        pair = claim.get("greater") or claim["near"]
        assert {each for each in pair if isinstance(each, str)} <= known
        assert len(pair) == 2
    for figure in targets.figures_of(target, name).values():
        wanted = [figure["job"]] if isinstance(figure["job"], str) else figure["job"]
        assert {*wanted} <= {*target["jobs"]}
        assert {"x", "y", "labels", "caption"} <= {*figure}


@pytest.mark.parametrize("name", targets.names())
def test_a_target_says_where_it_is_from_and_what_it_costs(name):
    target = targets.read(name)
    assert target["source"] and target["about"].strip()
    assert all(budget.get("cost") for budget in target["budgets"].values())
    assert {*target.get("remarks", {})} <= {*target["budgets"]}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(targets, "FOLDER", tmp_path)
    return tmp_path


GOOD = """
title: T
source: S
about: A
budgets: {tiny: {seeds: [0, 1], e: 3, cost: none}}
jobs:
  train:
    kind: train
    over: {k: [1, 5], seed: seeds}
    with: {k: {1: --one, 5: --five}}
    command: train.py -e {e} {k_option} --seed {seed}
  evaluate: {kind: evaluate, of: train, over: {data: [a b]}, command: "evaluate.py -d {data}"}
  all: {kind: measure, after: [evaluate], command: "x.py -o {out}"}
"""


def test_jobs_are_a_product_each_after_what_it_needs(folder):
    (folder / "good.yaml").write_text(GOOD)
    found = targets.jobs("good", "tiny")
    assert list(found)[:5] == [
        "train-1-0",
        "train-1-1",
        "train-5-0",
        "train-5-1",
        "evaluate-1-0-a_b",
    ]
    assert found["train-5-1"].command == "train.py -e 3 --five --seed 1"
    evaluate = found["evaluate-5-0-a_b"]
    assert (evaluate.of, evaluate.values) == ("train-5-0", {"k": 5, "seed": 0, "data": "a b"})
    assert len(found["all"].after) == 4
    assert found["all"].command == "x.py -o {out}"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("[]", "a target is a mapping"),
        (GOOD.replace("source: S", ""), "source is missing"),
        (GOOD.replace("tiny:", "huge:"), "nothing is known of huge"),
        (GOOD.replace("kind: train", "kind: play"), "job train needs a command and a kind"),
        (GOOD.replace("of: train", "of: trian"), "evaluate is of trian, which does not stand"),
        (GOOD.replace("seed: seeds", "seed: sedes"), "train has no list of seed"),
        (GOOD.replace("{e}", "{epochs}"), "train has no value for 'epochs'"),
        (
            GOOD.replace("over: {data: [a b]}", "over: {data: [a b, a-b]}"),
            "-a_b is the name of another job",
        ),
        (GOOD.replace("  all:", "  measure:"), "measure is the name of another job, or of a kind"),
        (GOOD.replace("{seeds: [0, 1], e: 3, cost: none}", "cheap"), "budget tiny is no mapping"),
        (GOOD + "  more: none", "job more needs a command and a kind"),
        (GOOD + "claims: [{near: [a, b]}]", "each of claims needs says"),
        (GOOD + "tables: [none]", "each of tables needs caption, columns, rows"),
        (GOOD + "x: [", "while parsing"),
    ],
)
def test_a_target_that_is_wrong_is_refused(folder, wrong, said):
    (folder / "bad.yaml").write_text(wrong)
    with pytest.raises(ValueError, match=re.escape(said)):
        targets.jobs("bad", "tiny")


def test_unknown_targets_and_budgets_list_the_known(folder):
    (folder / "good.yaml").write_text(GOOD)
    with pytest.raises(ValueError, match="unknown target 'goood': choose from good"):
        targets.read("goood")
    with pytest.raises(ValueError, match="good has no budget 'full': choose from tiny"):
        targets.jobs("good", "full")
