"""The declaration of a route, from which dispatch, gateway, OpenAPI document, validation and clients follow.

This module and `handlers.api.routes` are pure data: clients import them without boto3 or anything that serves requests.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Any
from urllib.parse import unquote

from handlers.core.validation import Schema, Validator

_PLAIN_SEGMENT = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")

# Ample for a stream id, a name and a number.
MAX_SMALL_BODY_BYTES = 64 * 1024


class ProjectionState(StrEnum):
    """The condition of a stream in a projection."""

    LIVE = "live"
    BEHIND = "behind"
    HALTED = "halted"


@dataclass(frozen=True, slots=True)
class Body:
    """A request body.

    Attributes
    ----------
    schema
        Its schema in the OpenAPI document.
    checked
        The schema to validate before the handler is called, if not all of ``schema``: some handlers validate events
        themselves, together with the schemas of their types.
    optional
        Whether an empty body counts as ``{}``; otherwise it is invalid.
    """

    schema: Schema
    checked: Schema | None = None
    max_bytes: int = MAX_SMALL_BODY_BYTES
    optional: bool = True
    examples: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Success:
    """A successful response."""

    status: int
    description: str
    schema: Schema
    headers: Mapping[str, Schema] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Route:
    """One operation of the API.

    Attributes
    ----------
    path
        With parameters in braces: ``/streams/{streamId}/events``.
    operation
        Its operationId, unique in the API.
    function
        Logical id of the Lambda function that serves it.
    problems
        Statuses of its problem documents, apart from those of every route.
    path_parameters, query, headers
        Schemas by name. Path parameters are validated as decoded by `path_value`; query values become integers if the
        schema requires it. Unknown query parameters are refused, unknown headers ignored.
    """

    method: str
    path: str
    operation: str
    function: str
    tag: str
    summary: str
    success: Success
    description: str = ""
    problems: tuple[int, ...] = ()
    path_parameters: Mapping[str, Schema] = field(default_factory=dict)
    query: Mapping[str, Schema] = field(default_factory=dict)
    headers: Mapping[str, Schema] = field(default_factory=dict)
    body: Body | None = None

    @property
    def key(self) -> str:
        """Method and path, as in API Gateway: ``GET /streams/{streamId}/events``."""
        return f"{self.method} {self.path}"

    def url_path(self, **parameters: str) -> str:
        """Return the path with its parameters filled in and encoded."""
        return self.path.format_map({name: path_segment(value) for name, value in parameters.items()})

    @cached_property
    def validate(self) -> Validator:
        """Return the validator of a request as one value: ``{"path": {}, "query": {}, "header": {}, "body": …}``."""
        parts: dict[str, Schema] = {
            "path": {"properties": self.path_parameters, "required": list(self.path_parameters)},
            "query": record(optional=self.query),
            "header": {"properties": self.headers},
        }
        if self.body is not None:
            parts["body"] = self.body.schema if self.body.checked is None else self.body.checked
        return Validator({"properties": parts})


class Component(dict[str, Any]):
    """A named schema, which the OpenAPI document puts under ``#/components/schemas/NAME``."""

    def __init__(self, name: str, schema: Schema) -> None:
        super().__init__(schema)
        self.name = name


def record(
    required: Mapping[str, Schema] | None = None, optional: Mapping[str, Schema] | None = None, **more: Any
) -> dict[str, Any]:
    """Return the schema of an object with these fields and no others."""
    schema = {"type": "object", "properties": {**(required or {}), **(optional or {})}, "additionalProperties": False}
    return schema | ({"required": list(required)} if required else {}) | more


def array(items: Schema, **more: Any) -> dict[str, Any]:
    """Return the schema of an array."""
    return {"type": "array", "items": items, **more}


def integer(low: int | None = None, high: int | None = None, **more: Any) -> dict[str, Any]:
    """Return the schema of a whole number between two inclusive bounds."""
    bounds = {"minimum": low, "maximum": high}
    return {"type": "integer", **{name: bound for name, bound in bounds.items() if bound is not None}, **more}


def text(low: int | None = None, high: int | None = None, **more: Any) -> dict[str, Any]:
    """Return the schema of a string with inclusive bounds of its length in characters."""
    bounds = {"minLength": low, "maxLength": high}
    return {"type": "string", **{name: bound for name, bound in bounds.items() if bound is not None}, **more}


def path_segment(value: str) -> str:
    """Write a value as a path segment that every client and proxy delivers unchanged.

    Proxies may decode a path or not, and normalize it. A value that a second decoding would change, or that a URL cannot
    carry (a slash, ``..``), is therefore sent as ``~`` and the unpadded base64url of its UTF-8 text.
    """
    if _PLAIN_SEGMENT.fullmatch(value):
        return value
    return "~" + base64.urlsafe_b64encode(value.encode()).decode().rstrip("=")


def path_value(segment: str) -> str:
    """Decode a path segment, percent-encoded or as written by `path_segment`.

    Raises
    ------
    ValueError
        It is neither percent-encoded UTF-8 nor, after a ``~``, base64url of UTF-8.
    """
    if segment.startswith("~"):
        padded = segment[1:] + "=" * (-len(segment[1:]) % 4)
        return base64.b64decode(padded, altchars=b"-_", validate=True).decode()
    value = unquote(segment, errors="strict")
    if not is_unicode(value):
        raise ValueError("an unpaired surrogate")
    return value


def is_unicode(text: str) -> bool:
    """Tell whether a text can be stored, having no unpaired surrogate."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
