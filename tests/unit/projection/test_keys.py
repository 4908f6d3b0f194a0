"""Keys and index values as strings: in the order of what they stand for, and never the same for two of them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from handlers.core.dynamodb import LARGEST_EXPONENT, NUMBER_DIGITS, SMALLEST_EXPONENT
from handlers.projection.keys import (
    MAX_INDEX_VALUE_BYTES,
    MAX_KEY_BYTES,
    UnstorableError,
    choices,
    decode_key,
    encode_key,
    index_entries,
    index_value,
    leading_parts,
    sort_value,
    upper_bound,
)
from handlers.projection.port import IndexEntry

# Mostly characters that an encoding may get wrong.
TEXTS = st.text(st.sampled_from("\x00\x01\x02a~\x7f\u2028\uffff\U0010ffff") | st.characters(codec="utf-8"), min_size=1)
PAIRS = st.tuples(TEXTS.filter(lambda text: len(text) < 80), TEXTS.filter(lambda text: len(text) < 80))


def decimals() -> st.SearchStrategy[Decimal]:
    """Every number that DynamoDB stores, and different ways to write it."""
    digits = st.integers(-(10**NUMBER_DIGITS) + 1, 10**NUMBER_DIGITS - 1) | st.integers(-20, 20)
    exponents = st.integers(SMALLEST_EXPONENT, LARGEST_EXPONENT - NUMBER_DIGITS) | st.integers(-2, 2)
    return st.builds(lambda number, exponent: Decimal(number).scaleb(exponent), digits, exponents)


def in_table_order(text: str) -> bytes:
    """DynamoDB orders strings by their UTF-8 bytes."""
    return text.encode()


# -- compound keys ---------------------------------------------------------------------------------------------------------


@given(PAIRS)
@example(("\x00", "\x01"))
@example(("\x01\x00", "\x02\x01"))
def test_a_compound_key_is_decoded_to_its_parts(parts: tuple[str, str]) -> None:
    assert decode_key(encode_key(parts), 2) == parts


@given(PAIRS, PAIRS)
@example(("a", "\x01"), ("a\x00", "b"))
@example(("a", "z"), ("a\x00", "a"))
@example(("a", "z"), ("a\x01", "a"))
def test_compound_keys_have_the_order_of_their_parts(one: tuple[str, str], other: tuple[str, str]) -> None:
    one_key, other_key = in_table_order(encode_key(one)), in_table_order(encode_key(other))

    assert (one_key < other_key) == (tuple(map(in_table_order, one)) < tuple(map(in_table_order, other)))
    assert (one_key == other_key) == (one == other)


@given(TEXTS.filter(lambda text: len(text) < 80), PAIRS)
@example("c1", ("c1", "x"))
@example("c1", ("c10", "x"))
@example("c1", ("c1\x00", "x"))
@example("c1", ("c1\x01", "x"))
def test_the_range_of_a_leading_part_holds_the_keys_with_this_part_and_no_others(
    part: str, parts: tuple[str, str]
) -> None:
    low, high = leading_parts([part], 2), upper_bound([part], 2)

    inside = in_table_order(low) <= in_table_order(encode_key(parts)) <= in_table_order(high)

    assert inside == (parts[0] == part)


@given(PAIRS, st.integers(0, 3))
def test_the_last_leading_part_may_be_incomplete(parts: tuple[str, str], length: int) -> None:
    assert encode_key(parts).startswith(leading_parts([parts[0], parts[1][:length]], 2))
    assert encode_key(parts).startswith(leading_parts([parts[0][:length]], 2))


@given(TEXTS.filter(lambda text: len(text) < 80))
def test_a_key_of_one_part_is_stored_unchanged(text: str) -> None:
    assert encode_key([text]) == leading_parts([text], 1) == upper_bound([text], 1) == text
    assert decode_key(text, 1) == (text,)


@pytest.mark.parametrize(
    ("parts", "error"),
    [
        ([None], "the key is null, not a string"),
        ([7], "the key is an int, not a string"),
        ([b"a"], "the key is a bytes, not a string"),
        ([("a", "b")], "the key is a tuple, not a string"),
        ([""], "the key has 0 bytes, not 1 to 1,024"),
        (["a", ""], "the key has 0 bytes, not 1 to 1,024"),
        (["\ud800"], "unpaired surrogate"),
        (["a", "b\udfff"], "unpaired surrogate"),
        (["x" * 1025], "the key has 1,025 bytes, not 1 to 1,024"),
        (["é" * 513], "the key has 1,026 bytes, not 1 to 1,024"),
        (["x" * 512, "y" * 512], "the key has 1,025 bytes, not 1 to 1,024"),
        (["x", "\x00" * 512], "the key has 1,026 bytes, not 1 to 1,024"),
    ],
)
def test_a_key_that_can_not_be_stored_is_refused_by_name(parts: list[Any], error: str) -> None:
    with pytest.raises(UnstorableError, match=error):
        encode_key(parts)


@pytest.mark.parametrize("parts", [["x" * MAX_KEY_BYTES], ["é" * 512], ["x" * 511, "y" * 512]])
def test_the_longest_key_is_accepted(parts: list[str]) -> None:
    assert len(encode_key(parts).encode()) == MAX_KEY_BYTES


# -- what key functions return ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("returned", "expected"),
    [
        (None, []),
        ([], []),
        (set(), []),
        ("a", ["a"]),
        (["b", "a", "b"], ["b", "a"]),
        ({"b", "a"}, ["a", "b"]),
        (frozenset("ba"), ["a", "b"]),
    ],
)
def test_a_key_function_returns_none_one_or_several_keys(returned: Any, expected: list[str]) -> None:
    assert list(choices(returned)) == expected


@pytest.mark.parametrize(
    "returned", [7, True, "", b"a", ("a", "b"), {"a": 1}, [None], ["a", 7], [["a"]], ["a", ""], {"a", 7}, iter("ab")]
)
def test_anything_else_that_a_key_function_returns_is_refused(returned: Any) -> None:
    with pytest.raises(UnstorableError, match="the key "):
        choices(returned)


# -- index values ----------------------------------------------------------------------------------------------------------


@given(decimals(), decimals())
@example(Decimal("-1.5"), Decimal(-1))
@example(Decimal("1e-130"), Decimal(0))
@example(Decimal("-1e-130"), Decimal("-0"))
@example(Decimal("9.9e125"), Decimal("1e125"))
@example(Decimal("1.10"), Decimal("1.1"))
@example(Decimal(10), Decimal(9))
@example(Decimal(-10), Decimal(-9))
def test_numbers_sort_as_numbers(one: Decimal, other: Decimal) -> None:
    one_text, other_text = sort_value(one), sort_value(other)

    assert one_text is not None
    assert other_text is not None
    assert (one_text < other_text, one_text == other_text) == (one < other, one == other)


@given(decimals(), TEXTS)
def test_numbers_sort_before_strings(number: Decimal, text: str) -> None:
    assert str(sort_value(number)) < str(sort_value(text))


@given(TEXTS, TEXTS)
def test_strings_sort_as_strings(one: str, other: str) -> None:
    texts = [str(sort_value(each)) for each in (one, other)]

    assert (in_table_order(texts[0]) < in_table_order(texts[1])) == (in_table_order(one) < in_table_order(other))


@pytest.mark.parametrize("value", [None, True, False, [], {}, 1.5])
def test_other_values_have_no_place_in_a_sort(value: Any) -> None:
    assert sort_value(value) is None


@given(decimals(), decimals())
@example(Decimal("-0.0"), Decimal(0))
@example(Decimal("1E+2"), Decimal("100.00"))
def test_equal_numbers_are_found_by_the_same_text(one: Decimal, other: Decimal) -> None:
    assert (index_value(one) == index_value(other)) == (one == other)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("paid", "paid"),
        (7, "7"),
        (-7, "-7"),
        (100, "100"),
        (Decimal("7.50"), "7.5"),
        (Decimal("1E+2"), "100"),
        (Decimal("0.001"), "0.001"),
        (Decimal("-0"), "0"),
        (Decimal("1e-130"), "0." + "0" * 129 + "1"),
        (True, "true"),
        (False, "false"),
        ("", None),
        (None, None),
        ([], None),
        ({}, None),
    ],
)
def test_an_index_finds_a_value_by_its_text(value: Any, text: str | None) -> None:
    assert index_value(value) == text


def test_a_row_is_in_the_indexes_whose_attributes_it_has() -> None:
    indexes = {"status": "at", "by": None, "missing": None, "status2": "missing"}
    row = {"status": "paid", "at": 5, "by": "ann", "status2": "x"}

    assert index_entries(indexes, "k", row) == (
        IndexEntry(1, "paid", str(sort_value(5))),
        IndexEntry(2, "ann", "k"),
    )


@pytest.mark.parametrize(
    ("row", "attribute"),
    [
        ({"status": "x" * (MAX_INDEX_VALUE_BYTES + 1), "at": 1}, "status"),
        ({"status": "é" * 751, "at": 1}, "status"),
        ({"status": "x", "at": "y" * MAX_KEY_BYTES}, "at"),
    ],
)
def test_a_value_too_long_for_an_index_is_refused_by_name(row: dict[str, Any], attribute: str) -> None:
    with pytest.raises(UnstorableError, match=f"the attribute '{attribute}' is longer than"):
        index_entries({"status": "at"}, "k", row)


def test_the_longest_values_of_an_index_are_accepted() -> None:
    row = {"status": "x" * MAX_INDEX_VALUE_BYTES, "at": "y" * (MAX_KEY_BYTES - 1)}

    assert len(index_entries({"status": "at"}, "k", row)) == 1
