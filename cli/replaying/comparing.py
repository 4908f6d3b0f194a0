"""Two states of a read model beside each other: pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from handlers.exactjson import dumps

Rows = dict[str, Mapping[str, Any]]
"""Key to row, the row without its key."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A row that is not the same on both sides; None: there is no row."""

    key: str
    one: Mapping[str, Any] | None
    other: Mapping[str, Any] | None


def rows_of(items: Iterable[Mapping[str, Any]], key: str) -> Rows:
    """The rows of a list, by their key."""
    return {str(item[key]): {name: value for name, value in item.items() if name != key} for item in items}


def items_of(rows: Rows, key: str) -> list[Mapping[str, Any]]:
    """Rows as a list shows them: with their key, in the order of the keys' bytes as DynamoDB has it."""
    return [{key: name, **rows[name]} for name in sorted(rows, key=lambda name: name.encode(errors="surrogatepass"))]


def differences(one: Rows, other: Rows) -> list[Difference]:
    """The rows that differ, in the order of a list."""
    keys = sorted(one.keys() | other.keys(), key=lambda name: name.encode(errors="surrogatepass"))
    found = [Difference(key, one.get(key), other.get(key)) for key in keys]
    return [each for each in found if not same(each.one, each.other)]


def same(one: object, other: object) -> bool:
    """Whether two values are the same to DynamoDB: 1.50 is 1.5, but true is not 1.

    Examples
    --------
    >>> same({"amount": Decimal("1.50")}, {"amount": Decimal("1.5")}), same(True, 1)
    (True, False)
    """
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, int | Decimal) and isinstance(other, int | Decimal):
        return one == other
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same(value, other[name]) for name, value in one.items())
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and one == other


def shown(row: Mapping[str, Any] | None) -> str:
    """A row in one table cell."""
    return "(no row)" if row is None else dumps(row)
