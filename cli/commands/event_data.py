"""Putting an event's data together from what was typed: pure functions."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from difflib import get_close_matches
from typing import Any

from cli.errors import UsageError
from handlers import catalogue
from handlers.core.lossless_json import NotJsonError, loads

SHORTHANDS = {"itemId": "--item-id", "amount": "--amount"}
"""Fields that have an option of their own."""


@dataclass(frozen=True, slots=True)
class Lacking:
    """A field that a known type requires and that is not given.

    Attributes
    ----------
    name
        The field's name in the data.
    schema
        Its JSON schema.
    """

    name: str
    schema: Mapping[str, Any]

    @property
    def question(self) -> str:
        meaning = str(self.schema.get("description", "")).rstrip(".")
        return f"{self.name} ({meaning})" if meaning else self.name

    def parse(self, text: str) -> Any:
        """What was typed, as the schema's type; text needs no quotes.

        Raises
        ------
        UsageError
        """
        if self.schema.get("type", "string") == "string":
            return text
        if self.schema.get("type") in ("number", "integer"):
            return number(text, self.name)
        return json_value(text, self.name)


def given_data(text: str | None, shorthand: Mapping[str, str | None]) -> dict[str, Any]:
    """The data from ``--data`` and the shorthand options.

    Raises
    ------
    UsageError
        It is not a JSON object, or a field is given twice.
    """
    data = {} if text is None else json_value(text, "--data")
    if not isinstance(data, dict):
        raise UsageError(
            "--data can't be used: it is not a JSON object", """Write it as in:  --data '{"itemId": "1"}'"""
        )
    for name, value in shorthand.items():
        if value is None:
            continue
        if name in data:
            raise UsageError(f"{name} is given twice: by {SHORTHANDS[name]} and in --data")
        data[name] = number(value, SHORTHANDS[name]) if name == "amount" else value
    return data


def lacking(event_type: str, data: Mapping[str, Any]) -> list[Lacking]:
    """What a known type still lacks; nothing for an unknown one."""
    if event_type not in catalogue.known_types():
        return []
    schema = catalogue.schema(event_type)
    properties = schema.get("properties", {})
    return [Lacking(name, properties.get(name, {})) for name in schema.get("required", []) if name not in data]


def lacking_error(event_type: str, fields: Sequence[Lacking]) -> UsageError:
    names = " and ".join(field.name for field in fields)
    options = " ".join(f"{SHORTHANDS[field.name]} {field.name.upper()}" for field in fields if field.name in SHORTHANDS)
    rest = [field.name for field in fields if field.name not in SHORTHANDS]
    by_data = f"--data JSON with {' and '.join(rest)}" if rest else "--data JSON"
    hint = f"Add {options} or {by_data}." if options else f"Add {by_data}."
    return UsageError(f"{event_type} lacks {names}", hint)


def unknown_type_note(event_type: str) -> str | None:
    """What to say about a type that is not in the catalogue."""
    known = catalogue.known_types()
    if event_type in known:
        return None
    near = get_close_matches(event_type.upper(), known, n=1)
    meant = f"; did you mean {near[0]}?" if near else ""
    return f"{event_type} is not a known type: it is stored and not projected{meant}"


def number(text: str, name: str) -> int | Decimal:
    """A number with exactly the digits that were typed.

    Raises
    ------
    UsageError
    """
    try:
        value = loads(text.strip())
    except NotJsonError as error:
        raise _no_number(text, name) from error
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise _no_number(text, name)
    return value


def json_value(text: str, name: str) -> Any:
    """Any JSON value.

    Raises
    ------
    UsageError
    """
    try:
        return loads(text)
    except NotJsonError as error:
        hint = """Write it as in:  '{"itemId": "1", "amount": 225}'"""
        if re.match(r"\s*\{\s*[A-Za-z_]+\s*:", text):
            hint = "The shell has taken the double quotes away; put the whole in single quotes."
        raise UsageError(f"{name} can't be used: {error}", hint) from error


def _no_number(text: str, name: str) -> UsageError:
    return UsageError(f"{name} can't be {text!r}: it is no number", "Write one like 225, -5 or 0.1.")
