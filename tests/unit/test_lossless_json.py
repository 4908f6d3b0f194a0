"""JSON in and out without losing a digit."""

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.core import lossless_json
from handlers.core.lossless_json import NotJsonError

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
NUMBERS = st.integers() | st.decimals(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)


@given(VALUES)
def test_what_is_written_is_read_back_exactly(value: Any) -> None:
    text = lossless_json.dumps(value)

    assert lossless_json.loads(text) == value
    assert lossless_json.loads_stored(text) == value
    assert lossless_json.loads(lossless_json.dumps(value, ascii_only=True)) == value
    assert lossless_json.dumps(value, ascii_only=True).isascii()


@pytest.mark.parametrize("text", ["12345678901234567890", "0.1", "-5", "1e300", "1E-7", "100.00", "0", "true", "null"])
def test_numbers_keep_their_digits(text: str) -> None:
    assert (
        Decimal(lossless_json.dumps(lossless_json.loads(text))) == Decimal(text) if text[0] in "-0123456789" else True
    )
    assert json.loads(lossless_json.dumps(lossless_json.loads(text))) == json.loads(text)


def test_whole_numbers_are_int_and_others_decimal() -> None:
    assert [type(value) for value in lossless_json.loads("[1, 1.0, 1e2, true]")] == [int, Decimal, Decimal, bool]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("NaN", "NaN"),
        ("[-Infinity]", "-Infinity"),
        ('{"a":1,"a":2}', "'a' twice"),
        ('{"x":{"b":1,"c":2,"b":3}}', "'b' twice"),
        ("{", "line 1, column 2"),
        ("", "line 1, column 1"),
        ("1 2", "Extra data"),
        ('"\\ud800"', "surrogate"),
        ('{"\\udc00": 1}', "surrogate"),
        ('["\ud800"]', "surrogate"),
        ("[" * 100_000, "nested too deeply"),
        ("1" * 5000, "5,000 digits"),
        ("1e99999999999999999999", "out of range"),
        ("\ufeff{}", ""),
    ],
    ids=lambda value: repr(value[:20]),
)
def test_what_is_no_json_is_refused_with_the_reason(text: str, why: str) -> None:
    with pytest.raises(NotJsonError) as refused:
        lossless_json.loads(text)

    assert why in str(refused.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), Decimal("NaN")])
def test_what_json_cannot_hold_is_not_written(value: Any) -> None:
    with pytest.raises(ValueError, match=r".+"):
        lossless_json.dumps({"a": value})
