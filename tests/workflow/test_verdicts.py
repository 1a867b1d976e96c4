"""Claims and verdicts, decided by numbers."""

import pytest
from verdicts import CONTRADICTED, HOLDS, OPEN, decide, verdict

TABLE = {
    "job": "evaluate",
    "rows": [{"label": "A", "where": {"m": "a"}}, {"label": "B", "where": {"m": "b"}}],
    "columns": [{"label": "x", "key": "x"}],
}
GREATER = [{"says": "A is above B", "greater": ["A / x", "B / x"]}]


def results(a, b):
    return [
        {"label": "evaluate", "values": {"m": m, "seed": seed}, "numbers": {"x": value}}
        for m, values in (("a", a), ("b", b))
        for seed, value in enumerate(values)
    ]


@pytest.mark.parametrize(
    ("a", "outcome"),
    [
        ([1.0, 2.0, 3.1], HOLDS),  # above b by 1, 1 and 1.1
        ([-1.0, 0.0, 0.9], CONTRADICTED),
        ([1.0, 0.0, 2.5], OPEN),  # by 1, -1 and 0.5
        ([1.0, 1.5, 3.5], OPEN),  # by 1 ± 0.29: of three seeds that is too little
    ],
)
def test_claims_are_decided_by_intervals_of_paired_differences(a, outcome):
    found = decide(GREATER, [TABLE], results(a, [0.0, 1.0, 2.0]))
    assert [each.outcome for each in found] == [outcome]


@pytest.mark.parametrize(("value", "outcome"), [(0.4565, HOLDS), (0.4575, CONTRADICTED)])
def test_near(value, outcome):
    claim = {"says": "the gap", "near": ["A / x", 0.45651], "within": 1e-4}
    assert decide([claim], [TABLE], results([value], [0]))[0].outcome == outcome


def test_without_numbers_nothing_is_decided():
    assert decide(GREATER, [TABLE], results([1.0], []))[0].outcome == OPEN


def test_a_claim_about_no_cell_is_refused():
    with pytest.raises(ValueError, match="no cell is 'C / x'"):
        decide([{"says": "", "greater": ["C / x", "B / x"]}], [TABLE], [])


def target(published):
    return {"tables": [TABLE | {"published": published}], "claims": GREATER}


@pytest.mark.parametrize(
    ("published", "b", "budget", "word"),
    [
        ([["1.5 ± 0.3"], [None]], [0.0, 0.1], {}, "reproduced"),
        ([["9"], [None]], [0.0, 0.1], {}, "differs"),
        ([["9"], [None]], [0.0, 0.1], {"levels": "short"}, "reproduced in its claims"),
        ([[None], [None]], [3.0, 3.1], {"levels": "short"}, "differs"),
        ([[None], [None]], [0.0, 2.0], {"levels": "short"}, "not decided"),
        ([["1.5 ± 0.3"], [None]], [0.0, 2.0], {}, "partly reproduced"),
    ],
)
def test_verdicts(published, b, budget, word):
    said = verdict(target(published), budget, results([1.4, 1.6], b))
    assert said.word == word


def test_why_names_what_is_apart():
    said = verdict(target([["9"], ["0.05"]]), {}, results([1.4, 1.6], [0.0, 0.1]))
    assert said.why == "1 of 1 claims hold. 1 of 2 numbers agree. other numbers: A / x"


@pytest.mark.parametrize(
    ("table", "word"),
    [(TABLE, "measured"), (TABLE | {"published": [["9"], [None]]}, "not reachable")],
)
def test_where_nothing_can_be_compared(table, word):
    assert verdict({"tables": [table]}, {"levels": "x"}, results([1.0], [0.0])).word == word
    assert verdict({"tables": [table]}, {}, []).word == word


def test_columns_that_are_not_comparable_count_for_nothing():
    column = TABLE["columns"][0] | {"compare": False}
    table = TABLE | {"columns": [column], "published": [["9"], ["9"]]}
    assert verdict({"tables": [table]}, {}, results([1.0], [0.0])).word == "measured"


def test_our_own_claims_are_decided_but_not_counted():
    claims = [GREATER[0] | {"ours": True}]
    [found] = decide(claims, [TABLE], results([1.0], [0.0]))
    assert (found.outcome, found.ours) == (HOLDS, True)
    assert (
        verdict({"tables": [TABLE], "claims": claims}, {}, results([0.0], [1.0])).word == "measured"
    )


@pytest.mark.parametrize(("a", "outcome"), [(9.0, HOLDS), (-0.5, HOLDS), (-1.5, CONTRADICTED)])
def test_not_behind_by_more_than_so_much(a, outcome):
    claim = GREATER[0] | {"within": 1}
    assert decide([claim], [TABLE], results([a], [0.0]))[0].outcome == outcome


@pytest.mark.parametrize(
    ("shift", "outcome"), [(0.3, HOLDS), (3.0, OPEN), (9.0, CONTRADICTED)]
)  # ± 0.5; the interval of two seeds is 6.35
def test_equal_is_not_decided_between_two_errors_and_the_interval(shift, outcome):
    found = results([shift, shift + 1.0], [0.0, 0.0])
    claim = {"says": "", "near": ["A / x", 0.5]}
    assert decide([claim], [TABLE], found)[0].outcome == outcome


def test_a_table_says_how_near_counts_as_the_same():
    table = TABLE | {"published": [["3"], [None]], "within": 2}
    assert verdict({"tables": [table]}, {}, results([1.0], [0.0])).word == "reproduced"
    assert verdict({"tables": [table | {"within": 1}]}, {}, results([1.0], [0.0])).word == "differs"
