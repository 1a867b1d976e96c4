"""NAME[:key=value,…]: what it means, and what is refused."""

import pytest

from jvi.spec import Spec, number_of, options_of, parse, split


def thing(data, *, order: int = 1, rate: float = 0.5, kind: str = "plain", other=None):
    """Only annotated parameters are options."""


def needy(size: int):
    pass


TABLE = {"thing": thing, "needy": needy}


def test_options_are_the_annotated_parameters():
    assert options_of(thing) == {"order": (int, 1), "rate": (float, 0.5), "kind": (str, "plain")}


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("thing", {}),
        ("thing:order=3", {"order": 3}),
        ("thing:order=-3, rate=1e-3", {"order": -3, "rate": 1e-3}),
        ("thing:rate=.5,kind=fine", {"rate": 0.5, "kind": "fine"}),
        ("thing:rate=2", {"rate": 2.0}),
    ],
)
def test_it_is_read_and_spelt_alike(text, options):
    spec = parse(text, TABLE, "thing")
    assert spec == Spec("thing", {"order": 1, "rate": 0.5, "kind": "plain"} | options)
    assert parse(str(spec), TABLE, "thing") == spec
    assert {name: type(value) for name, value in spec.options.items()} == {
        "order": int, "rate": float, "kind": str
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("other", "unknown thing 'other': choose from thing, needy"),
        ("thing:size=1", "thing thing has no option 'size': it has order, rate, kind"),
        ("thing:order", "write NAME:key=value"),
        ("thing:order=1,order=1", "each key once"),
        ("thing:=1", "write NAME:key=value"),
        ("thing:order=", "thing:order must be a whole number, not ''"),
        ("thing:order=10000000000", "thing:order must be at most 1000000000"),
        ("thing:order=-10000000000", "thing:order must be at most 1000000000"),
        ("thing:kind=schön", "thing:kind must be a word"),
        ("needy", "needs size: write needy:size=…"),
    ],
)
def test_it_is_refused_with_what_would_be_right(text, message):
    with pytest.raises(ValueError, match=message):
        parse(text, TABLE, "thing")


@pytest.mark.parametrize(
    "text", ["", "x", "1_0", "+1", " 1", "1 ", "0x1", "٣", "\uff13", "1.0", "1e3", "nan", "-"]
)
def test_what_is_no_whole_number(text):
    assert number_of(text, int) is None
    with pytest.raises(ValueError, match="must be a whole number"):
        parse(f"thing:order={text or 'x'}".replace(" ", "_"), TABLE, "thing")


@pytest.mark.parametrize(
    "text",
    ["", ".", "x", "1_0.0", "+1", " 1", "0x1p3", "٣.٣", "nan", "inf", "-inf", "1e400", "1e", "e1",
     "1e5e5", "1,5", "1" * 100, "infinity"],
)  # fmt: skip
def test_what_is_no_number(text):
    assert number_of(text, float) is None


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("0", int, 0),
        ("-7", int, -7),
        ("007", int, 7),
        ("99999999999999999999", int, 99999999999999999999),
        ("1.0e-4", float, 1e-4),
        ("-.5", float, -0.5),
        ("3.", float, 3.0),
        ("1E+5", float, 1e5),
        ("1e-400", float, 0.0),
        (repr(0.1 + 0.2), float, 0.1 + 0.2),
        (repr(5e-324), float, 5e-324),
    ],
)
def test_what_is_a_number(text, kind, value):
    found = number_of(text, kind)
    assert found == value and type(found) is kind


def test_split_keeps_texts():
    assert split("a:b-c=1,d= x ") == ("a", {"b_c": "1", "d": "x"})
