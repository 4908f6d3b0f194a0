"""The catalogue: what it knows, what it finds wrong, and that its files are fit for use."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from jsonschema import Draft7Validator

from handlers import catalogue
from handlers.core.errors import NotFoundError


def places(event_type: str, data: Any) -> set[str]:
    return {fault.pointer for fault in catalogue.validate(event_type, data)}


def test_the_three_types_of_the_walkthrough_are_known() -> None:
    assert catalogue.known_types() == ("ITEM_AMOUNT_CHANGED", "ITEM_CREATED", "ITEM_DELETED")


def test_an_unknown_type_has_no_schema_but_no_faults_either() -> None:
    assert catalogue.validate("SOMETHING_ELSE", {"any": "thing"}) == []
    assert catalogue.current_version("SOMETHING_ELSE") == 1
    with pytest.raises(NotFoundError):
        catalogue.schema("SOMETHING_ELSE")


def test_a_type_name_never_reaches_another_file() -> None:
    with pytest.raises(NotFoundError):
        catalogue.schema("../../openapi")


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({}, {"/itemId", "/amount"}),
        ({"itemId": 7, "amount": "7"}, {"/itemId", "/amount"}),
        ({"itemId": "", "amount": True}, {"/itemId", "/amount"}),
        ({"itemId": "a" * 1025, "amount": None}, {"/itemId", "/amount"}),
        (None, {""}),
        ([], {""}),
    ],
)
def test_all_faults_are_reported_at_once_each_with_its_place(data: Any, expected: set[str]) -> None:
    assert places("ITEM_CREATED", data) == expected


@pytest.mark.parametrize("amount", [0, -5, 12345678901234567890, Decimal("0.1"), Decimal("1E+125")])
def test_int_and_decimal_are_both_numbers(amount: object) -> None:
    assert catalogue.validate("ITEM_CREATED", {"itemId": "1", "amount": amount}) == []


def test_properties_outside_the_schema_are_allowed() -> None:
    assert catalogue.validate("ITEM_DELETED", {"itemId": "1", "reason": "sold"}) == []


def test_a_schema_is_a_copy() -> None:
    catalogue.schema("ITEM_CREATED")["required"].clear()
    assert catalogue.schema("ITEM_CREATED")["required"] == ["itemId", "amount"]


@pytest.mark.parametrize("event_type", catalogue.known_types())
def test_every_file_is_draft_07_and_describes_itself(event_type: str) -> None:
    schema = json.loads(json.dumps(catalogue.schema(event_type), default=float))
    Draft7Validator.check_schema(schema)
    assert schema["$schema"] == "http://json-schema.org/draft-07/schema#"
    assert schema["title"] == event_type
    assert schema["description"]
    assert schema["type"] == "object"
    assert catalogue.current_version(event_type) >= 1
    assert "multipleOf" not in json.dumps(schema)


@pytest.mark.parametrize("event_type", catalogue.known_types())
def test_every_older_version_has_a_way_to_the_newest(event_type: str) -> None:
    steps = catalogue.upcasters()
    assert all((event_type, version) in steps for version in range(1, catalogue.current_version(event_type)))
