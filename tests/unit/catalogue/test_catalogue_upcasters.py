"""Upcasters: older stored forms become the newest before anybody sees them."""

from __future__ import annotations

from typing import Any

import pytest

from handlers import catalogue
from handlers.catalogue import upcaster


@upcaster("UPCAST_TEST", from_version=1)
def has_currency(data: Any) -> Any:
    return {**data, "currency": "EUR"}


@upcaster("UPCAST_TEST", from_version=2)
def amount_is_an_object(data: Any) -> Any:
    return {"price": {"amount": data["amount"], "currency": data["currency"]}}


@pytest.mark.parametrize(
    ("version", "stored"),
    [
        (1, {"amount": 5}),
        (2, {"amount": 5, "currency": "EUR"}),
        (3, {"price": {"amount": 5, "currency": "EUR"}}),
    ],
)
def test_every_stored_form_becomes_the_newest(version: int, stored: dict[str, Any]) -> None:
    before = dict(stored)
    assert catalogue.upcast("UPCAST_TEST", version, stored) == {"price": {"amount": 5, "currency": "EUR"}}
    assert stored == before


def test_data_of_other_types_and_of_newer_versions_stays_as_it_is() -> None:
    data = {"amount": 5}
    assert catalogue.upcast("UNHEARD_OF", 1, data) is data
    assert catalogue.upcast("UPCAST_TEST", 9, data) is data


def test_a_step_is_registered_once() -> None:
    with pytest.raises(ValueError, match="two upcasters"):
        upcaster("UPCAST_TEST", from_version=1)(lambda data: data)
