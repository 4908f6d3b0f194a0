"""Reading and applying the schema files beside this module."""

from __future__ import annotations

from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

from handlers.core import lossless_json
from handlers.core.errors import Fault, NotFoundError
from handlers.core.validation import Validator

_FOLDER = Path(__file__).parent


@cache
def known_types() -> tuple[str, ...]:
    """Return the names of the known event types, sorted."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.json")))


@cache
def _load(event_type: str) -> dict[str, Any]:
    # Only names that the folder listed are ever opened: a type comes from outside.
    if event_type not in known_types():
        raise NotFoundError(f"there is no event type {event_type!r} in the catalogue")
    document: dict[str, Any] = lossless_json.loads((_FOLDER / f"{event_type}.json").read_text(encoding="utf-8"))
    return document


def schema(event_type: str) -> dict[str, Any]:
    """Return the JSON Schema (draft-07) of a known event type, as a copy.

    Raises
    ------
    NotFoundError
        The type is not in the catalogue.
    """
    return deepcopy(_load(event_type))


def current_version(event_type: str) -> int:
    """Return the version of the newest form of a type's data; 1 for types outside the catalogue."""
    return int(_load(event_type).get("version", 1)) if event_type in known_types() else 1


@cache
def _validator(event_type: str) -> Validator:
    return Validator(_load(event_type))


def validate(event_type: str, data: Any) -> list[Fault]:
    """Hold data against the schema of its type.

    Parameters
    ----------
    data
        JSON values as `lossless_json.loads` gives them; int and Decimal are both numbers, bool is none.

    Returns
    -------
    Every fault, each with a JSON pointer into the data (the empty string is the data itself). Empty when all is well,
    and for types outside the catalogue.
    """
    return _validator(event_type)(data) if event_type in known_types() else []
