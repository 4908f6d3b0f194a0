"""Rows on their way into a table: every digit kept, and nothing let through that DynamoDB does not store."""

from __future__ import annotations

from decimal import Decimal
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.projection import Projection
from handlers.projection.items import deserialize, serialize
from handlers.projection.keys import UnstorableError
from handlers.projection.rows import MAX_NAME_BYTES, MAX_ROW_BYTES, check_number, check_row


@pytest.mark.parametrize(
    "number",
    [0, -5, 12345678901234567890, 10**40, -(10**125), Decimal("0.1"), Decimal("1." + "0" * 45), Decimal("9" * 38)],
)
def test_a_number_within_the_limits_is_stored_with_every_digit(number: int | Decimal) -> None:
    check_number(number)

    assert deserialize(serialize(number)) == number


@pytest.mark.parametrize(
    "number",
    [10**126, Decimal("1e-131"), Decimal("1" * 39), 10**38 + 1, Decimal("NaN"), Decimal("sNaN"), Decimal("-Infinity")],
)
def test_a_number_out_of_range_is_refused(number: int | Decimal) -> None:
    with pytest.raises(UnstorableError):
        check_number(number)


def nested(levels: int, *, of: type = dict) -> Any:
    """A row with this many containers inside one another, the row included."""
    value: Any = 1
    for _ in range(levels - 1):
        value = {"a": value} if of is dict else [value]
    return {"a": value}


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**37), 10**37) | st.text(st.characters(codec="utf-8"), max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(min_size=1, max_size=5), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text(st.characters(codec="utf-8"), min_size=1, max_size=5), VALUES, max_size=4))
def test_the_size_of_a_row_is_not_less_than_dynamodb_s(row: dict[str, Any]) -> None:
    assert check_row(row) >= dynamodb_size(row)


def dynamodb_size(value: Any) -> int:
    """The size as DynamoDB documents it ("DynamoDB item sizes and formats")."""
    if isinstance(value, str):
        return len(value.encode())
    if value is None or isinstance(value, bool):
        return 1
    if isinstance(value, int):
        return (len(str(abs(value)).strip("0")) + 1) // 2 + 1 + (value < 0)
    if isinstance(value, dict):
        return 3 + sum(1 + len(name.encode()) + dynamodb_size(each) for name, each in value.items())
    return 3 + sum(1 + dynamodb_size(each) for each in value)


@pytest.mark.parametrize(
    "row", [{"a": "x" * (MAX_ROW_BYTES - 5)}, {"a": "é" * ((MAX_ROW_BYTES - 5) // 2)}, {"n": "x" * MAX_NAME_BYTES}]
)
def test_the_largest_row_is_accepted(row: dict[str, Any]) -> None:
    assert check_row(row) <= MAX_ROW_BYTES


@pytest.mark.parametrize("row", [{"a": "x" * (MAX_ROW_BYTES - 4)}, {"a": "é" * ((MAX_ROW_BYTES - 3) // 2)}])
def test_a_larger_row_is_refused_by_its_size(row: dict[str, Any]) -> None:
    with pytest.raises(UnstorableError, match=r"the row has 393,\d+ bytes; the limit is 393,216"):
        check_row(row)


@pytest.mark.parametrize("of", [dict, list])
def test_a_row_is_nested_up_to_the_limit(of: type) -> None:
    check_row(nested(31, of=of))
    with pytest.raises(UnstorableError, match="nested more than 32 levels deep"):
        check_row(nested(32, of=of))


def test_a_row_that_contains_itself_is_refused() -> None:
    row: dict[str, Any] = {}
    row["itself"] = row

    with pytest.raises(UnstorableError, match="nested more than"):
        check_row(row)


@pytest.mark.parametrize("name", ["", None, 7, b"a", ("a",)])
@pytest.mark.parametrize("inside", [False, True])
def test_an_attribute_s_name_is_text(name: Any, inside: bool) -> None:
    row = {name: 1}

    with pytest.raises(UnstorableError, match="is not a valid attribute name"):
        check_row({"a": [row]} if inside else row)


def test_a_name_that_is_too_long_is_refused() -> None:
    with pytest.raises(UnstorableError, match="an attribute name has 65,536 bytes; the limit is 65,535"):
        check_row({"a": {"x" * 65_536: 1}})


@pytest.mark.parametrize("key", ["k", ["j", "k"], {"k": "other"}])
def test_the_key_s_attributes_are_reserved(key: Any) -> None:
    projection = Projection("a", key=key)

    assert check_row({"other": 1}, projection) > 0
    with pytest.raises(UnstorableError, match="the row has an attribute 'k', which is reserved for the key"):
        check_row({"k": 1}, projection)


@pytest.mark.parametrize("row", [{}, MappingProxyType({"a": 1}), {"a": (1, 2)}, {"a": MappingProxyType({"b": None})}])
def test_rows_may_be_any_mapping(row: Any) -> None:
    assert check_row(row) >= 3
