"""Upcasters: each turns the data of one event type from one schema version into the next.

Stored events never change. Whoever folds them sees the newest form only, because every stored form passes through
`upcast` on its way to a projection.

Examples
--------
When version 2 of ``ITEM_CREATED`` gets a currency, its schema says ``"version": 2`` and this file gets::

    @upcaster("ITEM_CREATED", from_version=1)
    def item_created_has_currency(data):
        return {**data, "currency": "EUR"}
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

Upcaster = Callable[[Any], Any]
"""``data -> data``, pure; numbers are int and Decimal."""

_upcasters: dict[tuple[str, int], Upcaster] = {}


def upcaster(event_type: str, *, from_version: int) -> Callable[[Upcaster], Upcaster]:
    """Register the step from ``from_version`` to the version after it.

    Raises
    ------
    ValueError
        When that step is there already.
    """

    def register(step: Upcaster) -> Upcaster:
        if _upcasters.setdefault((event_type, from_version), step) is not step:
            raise ValueError(f"{event_type} has two upcasters from version {from_version}")
        return step

    return register


def upcast(event_type: str, schema_version: int, data: Any) -> Any:
    """Return the data in the newest form of its type.

    Data without a step from its version (the newest form, an unknown type, a version newer than this code) comes back
    as it is: this runs for every event of a replay, so the common case is one look-up.
    """
    while (step := _upcasters.get((event_type, schema_version))) is not None:
        data = step(data)
        schema_version += 1
    return data


def steps() -> Mapping[tuple[str, int], Upcaster]:
    """Return the steps that exist, by (event type, version it starts from)."""
    return MappingProxyType(_upcasters)
