"""Numbers for tables: means, both errors, differences by seed, published ones."""

import math

import pytest
from cells import Cell, agrees, cell, cells, difference, matches, published


def number(value, images=None, samples=None):
    return {"value": value, "images": images, "samples": samples}


def test_mean_and_errors_over_seeds():
    found = [
        {"seed": seed, "iwae@64": number(value, 0.2, 0.04)}
        for seed, value in enumerate([-86.0, -85.0, -84.5])
    ]
    got = cell(found, "iwae@64")
    assert got.value == pytest.approx(-85.1666666667)
    # standard deviation of the three by hand, over the root of three
    deviation = math.sqrt((0.8333333**2 + 0.1666667**2 + 0.6666667**2) / 2)
    assert got.seeds == pytest.approx(deviation / math.sqrt(3))
    assert got.images == pytest.approx(0.2)  # the same images for every seed
    assert got.samples == pytest.approx(0.04 / math.sqrt(3))  # fresh noise


def test_one_record_has_no_error_over_seeds():
    assert cell([{"a": 3}], "a") == Cell(3, None, None, None, {None: 3})
    assert cell([{"a": 3, "e": 0.5}], "a", "e", scale=-1) == Cell(-3, None, None, 0.5, {None: -3})


def test_a_difference_of_two_keys_is_by_seed():
    found = [{"seed": s, "a": number(5 + s), "b": number(1 + 2 * s)} for s in (0, 1)]
    got = cell(found, "a - b")
    assert got.by_seed == {0: 4, 1: 3}
    assert (got.value, got.seeds, got.samples) == (3.5, 0.5, None)
    noisy = {"a": number(5, 1, 0.3), "b": number(2, 1, 0.4)}
    assert cell([noisy], "a - b") == Cell(3, None, None, pytest.approx(0.5), {None: 3})


@pytest.mark.parametrize("value", ["3", True, [], {}, {"value": "3"}, {"mean": 3}])
def test_what_is_no_number_is_none(value):
    with pytest.raises(ValueError, match="no result has a"):
        cell([{"a": value}], "a")


def test_what_is_missing_or_twice_is_refused():
    with pytest.raises(ValueError, match="no result has b"):
        cell([{"a": 1}], "b")
    with pytest.raises(ValueError, match="two results have a of seed 0"):
        cell([{"a": 1, "seed": 0}, {"a": 2, "seed": 0}], "a")


def test_differences_are_paired_where_seeds_are_shared():
    one = Cell(2.0, 1.0, None, None, {0: 1.0, 1: 3.0})
    two = Cell(1.0, 1.0, None, None, {0: 0.0, 1: 2.0})
    assert difference(one, two) == (1.0, 0.0, pytest.approx(12.706, abs=1e-3))  # t tables
    alone = Cell(1.0, None, 0.3, 0.4, {7: 1.0})
    by, error, times = difference(one, alone)
    assert by == 1.0
    assert error == pytest.approx(math.hypot(1.0, 0.5))
    assert times == pytest.approx(12.706, abs=1e-3)
    assert difference(alone, alone._replace(by_seed={8: 0.0}))[2] == 2.0


@pytest.mark.parametrize(
    ("text", "value", "error", "rounding"),
    [
        ("-88.66 ± 0.02", -88.66, 0.02, 0.005),
        ("\N{MINUS SIGN}88.66±.02", -88.66, 0.02, 0.005),
        (86.76, 86.76, None, 0.005),
        ("86.8 (19)", 86.8, None, 0.05),
        ("1.0e-3", 0.001, None, 0.5e-4),
        ("64", 64, None, 0.5),
    ],
)
def test_published_numbers(text, value, error, rounding):
    assert published(text) == (value, error, pytest.approx(rounding))


def test_what_is_no_number_is_refused():
    assert published(None) is None
    with pytest.raises(ValueError, match="no published number"):
        published("about 80")


def test_agreement_is_within_two_errors_of_the_difference():
    ours = Cell(-85.0, 0.03, 0.04, None, {})
    assert agrees(ours, published("-85.13 ± 0.05"))  # 0.13 < 2 · hypot(.05, .05)
    assert not agrees(ours, published("-85.15 ± 0.05"))
    exact = Cell(0.1234, None, None, None, {})
    assert agrees(exact, published("0.123"))  # as printed
    assert not agrees(exact, published("0.124"))


def test_tables_choose_by_row_and_column():
    results = [
        {"label": "evaluate", "values": {"objective": o, "seed": s}, "numbers": {"iwae@8": v}}
        for o, s, v in [("elbo", 0, 1.0), ("elbo", 1, 3.0), ("iwae", 0, 5.0)]
    ]
    table = {
        "job": "evaluate",
        "rows": [{"label": each, "where": {"objective": each}} for each in ("elbo", "iwae", "x")],
        "columns": [
            {"label": "IWAE", "key": "iwae@8"},
            {"label": "-", "key": "iwae@8", "scale": -1},
        ],
    }
    got = cells(table, results)
    assert [[each and each.value for each in row] for row in got] == [
        [2, -2],
        [5, -5],
        [None, None],
    ]


def test_rows_of_a_result_are_records_of_their_own():
    rows = [{"K": 8, "bias": 0.5, "error": 0.1}, {"K": 16, "bias": 0.25, "error": 0.1}]
    results = [{"label": "bias", "values": {"a": 1}, "numbers": {"rows": rows}}]
    table = {
        "job": "bias",
        "rows": [{"label": "16", "where": {"K": 16, "a": 1}}],
        "columns": [{"label": "bias", "key": "bias", "error": "error"}],
    }
    assert cells(table, results)[0][0] == Cell(0.25, None, None, 0.1, {None: 0.25})
    assert matches({"K": 16}, {"K": "16"})
