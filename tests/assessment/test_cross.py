"""Reports on several data sets, put together by hand."""

import math

import pytest

from jvi.assessment.cross import Cell, cross, merged, split_names
from jvi.assessment.rows import KL
from jvi.assessment.tables import crossed


def row(estimate, count, mean, data="test"):
    return {"data": data, "estimate": estimate, "num_samples": count, "mean": mean} | {
        "standard_error": 0.5
    }


def report(shift, units):
    """IWAE of two K, larger one first, the inference gap, a measure and a bracket."""
    rows = [row("iwae", 64, -80 + shift), row("iwae", 8, -90 + shift), row(KL, 64, -5 + shift)]
    measured = {"data": "test", "measure": "ssim", "mean": 0.25, "standard_error": math.nan}
    return {
        "notes": [f"note {shift}"],
        "active_units": units,
        "latent_units": 8,
        "measures": [measured],
        "rows": [*rows, row("bdmc-gap", 8, 1.0, "simulated")],
    }


REPORTS = {"mnist": report(0, 7), "omniglot": report(-40, [3, 2])}


def test_rows_say_which_data_set_they_are_of():
    found = merged(REPORTS, "mnist")
    names = [each["data"] for each in found["rows"]]
    assert names == ["mnist"] * 3 + ["simulated"] + ["omniglot"] * 3 + ["simulated"]
    assert [each["mean"] for each in found["rows"]][4:6] == [-120, -130]
    assert [each["data"] for each in found["measures"]] == ["mnist", "omniglot"]
    assert found["active_units"] == {"mnist": 7, "omniglot": [3, 2]}
    assert found["notes"] == ["note 0", "note -40"]
    assert (found["data"], found["trained_on"]) == (["mnist", "omniglot"], "mnist")
    assert REPORTS["mnist"]["rows"][0]["data"] == "test"  # what was given stays as it was


def test_one_report_stays_as_it_is():
    assert merged({"mnist": REPORTS["mnist"]}, "x") == {"data": "mnist", **REPORTS["mnist"]}


def test_the_table_takes_the_most_samples():
    columns, table = cross(REPORTS, ["iwae"])
    assert columns == ["iwae@64", KL, "ssim"]
    assert table["mnist"][:2] == [Cell(-80, 0.5), Cell(-5, 0.5)]
    assert table["omniglot"][:2] == [Cell(-120, 0.5), Cell(-45, 0.5)]
    assert table["omniglot"][2].mean == 0.25


def test_what_was_not_measured_of_a_data_set_is_empty():
    without = {**REPORTS, "toy": {"rows": REPORTS["mnist"]["rows"]}}
    columns, table = cross(without, ["iwae"])
    assert columns[-1] == "ssim" and table["toy"] == [Cell(-80, 0.5), Cell(-5, 0.5), None]
    first, *lines = crossed(columns, table, "mnist").splitlines()
    assert first.split("  ")[0] == "trained on mnist, tested on"
    assert [line.split() for line in lines] == [
        ["mnist", *["-80.0000", "±", "0.5000", "-5.0000", "±", "0.5000", "0.25"]],
        ["omniglot", *["-120.0000", "±", "0.5000", "-45.0000", "±", "0.5000", "0.25"]],
        ["toy", *["-80.0000", "±", "0.5000", "-5.0000", "±", "0.5000", "-"]],
    ]
    assert crossed(columns, table, None).startswith("trained on unknown data, ")


def test_names_are_separated_by_commas_but_for_a_file_that_has_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert split_names(None) == [] and split_names("mnist") == ["mnist"]
    assert split_names("mnist,a,b.npz") == ["mnist", "a,b.npz".partition(",")[0], "b.npz"]
    (tmp_path / "a,b.npz").touch()
    assert split_names("a,b.npz") == ["a,b.npz"]
    for text, problem in (("mnist,", "a name missing"), ("a,b,a", "a twice")):
        with pytest.raises(ValueError, match=f"--dataset has {problem}"):
            split_names(text)
