"""Validation: every fault, where it is, and in words that say what to send instead."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from handlers.core.validation import Validator

STRING = {"type": "string", "minLength": 1, "maxLength": 256}


def faults(schema: dict[str, Any], value: Any, place: str = "") -> list[tuple[str, str]]:
    return [(fault.pointer, fault.detail) for fault in Validator(schema)(value, place)]


@pytest.mark.parametrize(
    ("schema", "value", "detail"),
    [
        (STRING, 5, "must be a string of 1 to 256 characters"),
        (STRING, "", "must be a string of 1 to 256 characters"),
        (STRING, "x" * 257, "must be a string of 1 to 256 characters"),
        ({"type": "string", "pattern": r"\S"}, " ", "must not be blank"),
        ({"type": "string", "pattern": "^a+$"}, "b", "must match the pattern ^a+$"),
        ({"type": "string", "format": "date-time"}, "today", "must be an RFC 3339 time with an offset, such as"),
        ({"type": "string", "enum": ["a", "b"]}, "c", "must be one of a, b"),
        ({"type": "integer", "minimum": 1, "maximum": 1000}, 0, "must be a whole number from 1 to 1,000"),
        ({"type": "integer", "minimum": 1}, Decimal("1.0"), "must be a whole number of at least 1"),
        ({"type": "integer", "maximum": 5}, True, "must be a whole number of at most 5"),
        ({"type": "number"}, "5", "must be a number"),
        ({"type": "boolean"}, 1, "must be true or false"),
        ({"type": "array", "minItems": 1, "maxItems": 3}, [], "must be an array of 1 to 3 items"),
        ({"type": "object"}, None, "must be a JSON object"),
        ({"type": ["string", "null"]}, 5, "must be a string or null"),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, 5, "cannot be validated by any definition"),
    ],
)
def test_a_fault_says_what_is_wanted(schema: dict[str, Any], value: Any, detail: str) -> None:
    ((place, found),) = faults(schema, value)
    assert place == ""
    assert found.startswith(detail)


@pytest.mark.parametrize("key", ["a.b", "a[0]", "[1]", ".", "", "a..b", "x]", "a/b"])
def test_a_fault_in_a_dynamic_key_with_dots_and_brackets_has_its_place(key: str) -> None:
    schema = {"additionalProperties": {"items": {"properties": {"x": {"type": "string"}}}}}
    place = f"/{key.replace('/', '~1')}/1/x"
    assert faults(schema, {key: [{}, {"x": 5}], "a": {"b": 1}}) == [(place, "must be a string")]


def test_all_faults_are_found_each_at_its_place() -> None:
    event = {
        "type": "object",
        "properties": {"id": STRING, "tags": {"type": "array", "items": STRING}},
        "required": ["id"],
    }
    schema = {"type": "object", "properties": {"events": {"type": "array", "items": event}}}
    value = {"events": [{"id": "1"}, {"id": "", "tags": ["a", 5]}, {}]}
    assert [place for place, _ in faults(schema, value, "/body")] == [
        "/body/events/1/id",
        "/body/events/1/tags/1",
        "/body/events/2/id",
    ]


def test_missing_and_unknown_fields_are_faults_at_their_own_places() -> None:
    schema = {"type": "object", "properties": {"a": {}, "b": {}}, "required": ["a"], "additionalProperties": False}
    assert faults(schema, {"x/y": 1, "b.c": 2}) == [
        ("/a", "is required"),
        ("/x~1y", "is unknown (known: a, b)"),
        ("/b.c", "is unknown (known: a, b)"),
    ]
    patterned = {"type": "object", "patternProperties": {"^x": {}}, "additionalProperties": False}
    assert faults(patterned, {"x1": 1, "y": 2}) == [("/y", "is unknown (known: none)")]


def test_one_place_has_one_fault_and_a_valid_value_none() -> None:
    assert len(faults({**STRING, "pattern": r"\S"}, "")) == 1
    assert faults(STRING, "a") == []


def test_defaults_are_not_written_into_what_is_validated() -> None:
    value: dict[str, Any] = {}
    assert Validator({"type": "object", "properties": {"a": {"type": "integer", "default": 1}}})(value) == []
    assert value == {}
