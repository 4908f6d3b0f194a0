"""Validation against JSON Schema (draft-07) that reports every fault with its pointer in plain English.

Examples
--------
>>> validate = Validator({"type": "object", "properties": {"limit": {"type": "integer", "minimum": 1}}})
>>> [fault.detail for fault in validate({"limit": 0})]
['must be a whole number of at least 1']
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from handlers.core.errors import Fault, pointer

Schema = Mapping[str, Any]
"""A JSON Schema as Python values."""

NOT_BLANK = r"\S"
VISIBLE_ASCII = "^[!-~]+$"
PRINTABLE_ASCII = "^[ -~]+$"
BASE64URL = "^[A-Za-z0-9_-]+$"

_PATTERNS = {
    NOT_BLANK: "must not be blank",
    VISIBLE_ASCII: "must contain visible ASCII characters only",
    PRINTABLE_ASCII: "must contain printable ASCII characters only",
    BASE64URL: "must be unpadded base64url",
}
_FORMATS = {"date-time": "must be an RFC 3339 time with an offset, such as 2026-11-23T10:15:30.123Z"}
_TYPES = {
    "string": "a string",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "object": "a JSON object",
    "array": "an array",
    "null": "null",
}
# Longer names are not searched for keys with dots and brackets: responses shorten them anyway.
_MAX_WALKED_CHARACTERS = 512

# The keywords of the lower and the upper bound, and their unit.
_BOUNDS = {
    "string": ("minLength", "maxLength", " characters"),
    "array": ("minItems", "maxItems", " items"),
    "object": ("minProperties", "maxProperties", " fields"),
    "integer": ("minimum", "maximum", ""),
    "number": ("minimum", "maximum", ""),
}


class Validator:
    """Validate values against one schema: draft-07, without references.

    The schema is compiled on first use, which takes a few milliseconds. Values are not modified: defaults are not
    filled in.
    """

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self._compiled: Callable[[Any], Any] | None = None

    def __call__(self, value: Any, place: str = "") -> list[Fault]:
        """Return every fault of a value, with pointers that start with ``place``; empty if it is valid.

        The value is as `lossless_json.loads` returns it; int and Decimal are both numbers, bool is not.
        """
        import fastjsonschema

        if self._compiled is None:
            self._compiled = fastjsonschema.compile(dict(self.schema), use_default=False, fast_fail=False)
        try:
            self._compiled(value)
        except fastjsonschema.JsonSchemaValuesException as error:
            return distinct(fault for each in error.errors for fault in _faults(each, value, place))
        except fastjsonschema.JsonSchemaValueException as error:  # anyOf and the like stop at the first
            return list(_faults(error, value, place))
        return []


def distinct(faults: Iterable[Fault]) -> list[Fault]:
    """Return the first fault of each pointer, in order."""
    first: dict[str, Fault] = {}
    for each in faults:
        first.setdefault(each.pointer, each)
    return list(first.values())


def _faults(error: Any, value: Any, place: str) -> Iterator[Fault]:
    """Translate one error of fastjsonschema; a missing or unknown field is a fault with that field's pointer."""
    place += pointer(*_path(error, value))
    definition = error.definition or {}
    if error.rule == "required" and isinstance(error.value, dict):
        for name in definition["required"]:
            if name not in error.value:
                yield Fault(place + pointer(name), "is required")
    elif error.rule == "additionalProperties" and isinstance(error.value, dict):
        known, patterns = definition.get("properties", {}), definition.get("patternProperties", ())
        detail = f"is unknown (known: {', '.join(known) or 'none'})"
        for name in error.value:
            if name not in known and not any(re.search(pattern, name) for pattern in patterns):
                yield Fault(place + pointer(name), detail)
    else:
        yield Fault(place, _requirement(definition, error.rule) or str(error.message).removeprefix(f"{error.name} "))


def _path(error: Any, value: Any) -> list[str]:
    """Return the keys and indexes that lead to an error; the library's own path splits keys at dots and brackets."""
    name = error.name.removeprefix("data")  # the library's name for the whole value
    found = _walk(value, name, error.value) if len(name) <= _MAX_WALKED_CHARACTERS else None
    return list(error.path[1:]) if found is None else found


def _walk(value: Any, name: str, wanted: Any) -> list[str] | None:
    """Find the value that a name such as ``.events[1].a.b`` means, in which ``a.b`` may be one key."""
    if not name:
        return [] if value is wanted else None
    for match in re.finditer(r"(?=[.\[])|$", name):
        key, rest = name[1 : match.start()], name[match.start() :]
        inner: Any = None
        if isinstance(value, Mapping) and name[0] == "." and match.start() and key in value:
            inner = value[key]
        elif isinstance(value, list) and re.fullmatch(r"[0-9]+\]", key) and int(key[:-1]) < len(value):
            key, inner = key[:-1], value[int(key[:-1])]
        else:
            continue
        path = _walk(inner, rest, wanted)
        if path is not None:
            return [key, *path]
    return None


def _requirement(definition: Schema, rule: str) -> str | None:
    """Describe what a rule of a schema requires; None if only the library can."""
    if rule == "pattern":
        return _PATTERNS.get(definition["pattern"], f"must match the pattern {definition['pattern']}")
    if rule == "format":
        return _FORMATS.get(definition["format"])
    if rule == "enum":
        return f"must be one of {', '.join(map(str, definition['enum']))}"
    kinds = definition.get("type")
    if isinstance(kinds, str) and (rule == "type" or rule in _BOUNDS.get(kinds, ())):
        return f"must be {_TYPES[kinds]}{_bounds(definition, kinds)}"
    if rule == "type" and kinds:
        return f"must be {' or '.join(_TYPES[kind] for kind in kinds)}"
    return None


def _bounds(definition: Schema, kind: str) -> str:
    low_keyword, high_keyword, unit = _BOUNDS.get(kind, ("", "", ""))
    low, high = definition.get(low_keyword), definition.get(high_keyword)
    if low is not None and high is not None:
        return f" {'of' if unit else 'from'} {low:,} to {high:,}{unit}"
    if low is not None:
        return f" of at least {low:,}{unit}"
    return "" if high is None else f" of at most {high:,}{unit}"
