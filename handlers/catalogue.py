"""The catalogue of known event types: a JSON Schema (draft-07) per type, and upcasters between schema versions.

The types are the files ``handlers/domain/events/<TYPE>.json``. A schema's ``version`` is the version of the data it
describes; for each earlier version, ``handlers/domain/upcasters.py`` has a function that returns the next one. Properties
not named in a schema are kept.

Schemas must not use ``multipleOf``: fastjsonschema computes it with floats, or without bound for huge exponents.

Examples
--------
>>> from handlers import catalogue
>>> [fault.pointer for fault in catalogue.validate("ITEM_CREATED", {"itemId": 7})]
['/amount', '/itemId']
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from handlers.core import lossless_json
from handlers.core.errors import Fault, NotFoundError
from handlers.core.validation import Validator

_SCHEMAS = Path(__file__).parent / "domain" / "events"

Upcaster = Callable[[Any], Any]
"""``data -> data``, pure; numbers are int and Decimal."""

_upcasters: dict[tuple[str, int], Upcaster] = {}


# -- schemas -------------------------------------------------------------------------------------------------------------


@cache
def known_types() -> tuple[str, ...]:
    """Return the names of the known event types, sorted."""
    return tuple(sorted(path.stem for path in _SCHEMAS.glob("*.json")))


@cache
def _load(event_type: str) -> dict[str, Any]:
    # Open only files that were listed: the type is untrusted input.
    if event_type not in known_types():
        raise NotFoundError(f"there is no event type {event_type!r} in the catalogue")
    document: dict[str, Any] = lossless_json.loads((_SCHEMAS / f"{event_type}.json").read_text(encoding="utf-8"))
    return document


def schema(event_type: str) -> dict[str, Any]:
    """Return a copy of the JSON Schema of a known event type.

    Raises
    ------
    NotFoundError
        The type is not in the catalogue.
    """
    return deepcopy(_load(event_type))


def current_version(event_type: str) -> int:
    """Return the current schema version of a type; 1 for types outside the catalogue."""
    return int(_load(event_type).get("version", 1)) if event_type in known_types() else 1


@cache
def _validator(event_type: str) -> Validator:
    return Validator(_load(event_type))


def validate(event_type: str, data: Any) -> list[Fault]:
    """Return every fault of an event's data, with pointers into the data; none for types outside the catalogue.

    Parameters
    ----------
    data
        As `lossless_json.loads` returns it; int and Decimal are both numbers, bool is not.
    """
    return _validator(event_type)(data) if event_type in known_types() else []


# -- upcasters -----------------------------------------------------------------------------------------------------------


def upcaster(event_type: str, *, from_version: int) -> Callable[[Upcaster], Upcaster]:
    """Register the upcaster from ``from_version`` to the next version.

    Raises
    ------
    ValueError
        There is one already.
    """

    def register(step: Upcaster) -> Upcaster:
        if _upcasters.setdefault((event_type, from_version), step) is not step:
            raise ValueError(f"{event_type} has two upcasters from version {from_version}")
        return step

    return register


def upcast(
    event_type: str, schema_version: int, data: Any, steps: Mapping[tuple[str, int], Upcaster] | None = None
) -> Any:
    """Return the data in the current version of its type; ``steps`` are those of an older domain.

    Data without an upcaster from its version (a current, unknown or future one) is returned unchanged. This runs for every
    event of a replay: that case must stay cheap.
    """
    if steps is None:
        _register_domain()
        steps = _upcasters
    while (step := steps.get((event_type, schema_version))) is not None:
        data = step(data)
        schema_version += 1
    return data


def upcasters() -> Mapping[tuple[str, int], Upcaster]:
    """Return the upcasters by event type and the version that they start from."""
    _register_domain()
    return MappingProxyType(_upcasters)


@contextmanager
def other_upcasters() -> Iterator[Mapping[tuple[str, int], Upcaster]]:
    """Register the upcasters of another copy of the domain in the mapping that is returned."""
    global _upcasters
    _register_domain()
    deployed, _upcasters = _upcasters, {}
    try:
        yield _upcasters
    finally:
        _upcasters = deployed


@cache
def _register_domain() -> None:
    # By name: the domain is a layer above, which imports this one.
    importlib.import_module("handlers.domain.upcasters")
