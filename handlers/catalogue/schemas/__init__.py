"""Reading and applying the schema files beside this module."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

from handlers import exactjson
from handlers.errors import Fault, NotFound

_FOLDER = Path(__file__).parent


@cache
def known_types() -> tuple[str, ...]:
    """Return the names of the known event types, sorted."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.json")))


@cache
def _load(event_type: str) -> dict[str, Any]:
    # Only names that the folder listed are ever opened: a type comes from outside.
    if event_type not in known_types():
        raise NotFound(f"there is no event type {event_type!r} in the catalogue")
    document: dict[str, Any] = exactjson.loads((_FOLDER / f"{event_type}.json").read_text(encoding="utf-8"))
    return document


def schema(event_type: str) -> dict[str, Any]:
    """Return the JSON Schema (draft-07) of a known event type, as a copy.

    Raises
    ------
    NotFound
        The type is not in the catalogue.
    """
    return deepcopy(_load(event_type))


def current_version(event_type: str) -> int:
    """Return the version of the newest form of a type's data; 1 for types outside the catalogue."""
    return int(_load(event_type).get("version", 1)) if event_type in known_types() else 1


@cache
def _validator(event_type: str) -> Callable[[Any], Any]:
    # Compiling costs milliseconds, so only the types that come along are compiled, each once per container.
    import fastjsonschema

    # use_default=False: validation must not write into what is about to be stored.
    compiled: Callable[[Any], Any] = fastjsonschema.compile(_load(event_type), use_default=False, fast_fail=False)
    return compiled


def validate(event_type: str, data: Any) -> list[Fault]:
    """Hold data against the schema of its type.

    Parameters
    ----------
    data
        JSON values as `exactjson.loads` gives them; int and Decimal are both numbers, bool is none.

    Returns
    -------
    Every fault, each with a JSON pointer into the data (the empty string is the data itself). Empty when all is well,
    and for types outside the catalogue.
    """
    if event_type not in known_types():
        return []
    validator = _validator(event_type)
    import fastjsonschema

    try:
        validator(data)
    except fastjsonschema.JsonSchemaValuesException as error:
        return [fault for each in error.errors for fault in _faults(each)]
    except fastjsonschema.JsonSchemaValueException as error:  # inside anyOf and the like it stops at the first
        return list(_faults(error))
    return []


def _faults(error: Any) -> Iterator[Fault]:
    """Turn one error of the library into faults: a missing property is a fault at the property's place."""
    # The first part of the path is the library's name for the whole, "data".
    place = "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in error.path[1:])
    if error.rule == "required" and isinstance(error.value, dict):
        for name in error.rule_definition:
            if name not in error.value:
                yield Fault(f"{place}/{name}", "is missing")
        return
    yield Fault(place, str(error.message).removeprefix(f"{error.name} "))
