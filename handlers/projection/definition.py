"""The definition of a projection: a name, a key, and a pure handler per event type."""

from __future__ import annotations

import hashlib
import inspect
import io
import re
import sys
import tokenize
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType, ModuleType
from typing import Any, TypeVar

from handlers import catalogue
from handlers.core.events import StreamId

Row = Mapping[str, Any]
Handler = Callable[[Any, Any], Any]
"""``(row, data) -> row``: takes the current row (None if there is none) and the event's data; returns the new row, or None
to delete it. Rows hold DynamoDB's types: str, int, Decimal, bool, None, and lists and dicts of these."""

_H = TypeVar("_H", bound=Handler)

MAX_NAME_CHARACTERS = 40

PARTITION_ATTRIBUTE = "streamGeneration"
"""The rows table's partition key; a row must not have an attribute with this name."""


class Projection:
    """A fold of a stream's events into rows.

    Parameters
    ----------
    name
        In kebab case; it names the queue, the tables, the functions and, in PascalCase, the list endpoint.
    key
        The property of an event's data that identifies its row; also the name of the row's key attribute.
    streams
        The streams that it follows; None for all.
    idempotent
        True if applying a range of events twice leads to the same rows: a replay from the middle (``fromEventId`` > 0)
        is allowed (R3).

    Examples
    --------
    >>> seats = Projection("seats", key="seatId")
    >>> @seats.on("SEAT_TAKEN")
    ... def taken(row, data):
    ...     return {"by": data["by"]}
    >>> seats.handles("SEAT_TAKEN")
    True
    """

    def __init__(self, name: str, *, key: str, streams: Sequence[str] | None = None, idempotent: bool = False) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name) or len(name) > MAX_NAME_CHARACTERS:
            raise ValueError(
                f"projection name {name!r}: lower-case words joined by hyphens, at most {MAX_NAME_CHARACTERS} characters"
            )
        if not key or key == PARTITION_ATTRIBUTE:
            raise ValueError(f"projection {name!r}: the key must not be {key!r}")
        self.name = name
        self.key = key
        self.streams = None if streams is None else tuple(StreamId(stream) for stream in streams)
        self.idempotent = idempotent
        self._handlers: dict[str, Handler] = {}
        # The module that defines the projection, for its fingerprint.
        self.module: str = sys._getframe(1).f_globals.get("__name__", "")

    def on(self, event_type: str) -> Callable[[_H], _H]:
        """Register the handler of one event type."""

        def register(handler: _H) -> _H:
            if event_type in self._handlers:
                raise ValueError(f"projection {self.name!r} handles {event_type} twice")
            self._handlers[event_type] = handler
            return handler

        return register

    @property
    def handlers(self) -> Mapping[str, Handler]:
        """The handlers, by event type."""
        return MappingProxyType(self._handlers)

    @property
    def pascal_name(self) -> str:
        """The name as used in routes and logical ids: ``test-items`` is ``TestItems``."""
        return "".join(word.capitalize() for word in self.name.split("-"))

    def handles(self, event_type: str) -> bool:
        """Tell whether events of this type change rows."""
        return event_type in self._handlers

    def follows(self, stream_id: str) -> bool:
        """Tell whether this projection follows a stream."""
        return self.streams is None or stream_id in self.streams

    def fingerprint(self) -> str:
        """Return 16 hex digits that change with the projection's code, but not with comments or blank lines.

        The code includes the upcasters of its event types: they change how history is folded.
        """
        module = sys.modules.get(self.module)
        source = _essence(module) if module is not None else ""
        for (event_type, version), step in sorted(catalogue.upcasters().items()):
            if event_type in self._handlers:
                source += f"\n{event_type} {version}\n{_essence(step)}"
        return hashlib.sha256(f"{self.name}\n{self.key}\n{source}".encode()).hexdigest()[:16]


def _essence(code: ModuleType | Callable[..., Any]) -> str:
    """Return the source of a module or function without comments and blank lines; empty if there is none."""
    try:
        source = inspect.getsource(code)
    except (OSError, TypeError):  # defined interactively or in a test
        return ""
    lines = source.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    return "\n".join(line.rstrip() for line in lines if line.strip())
