"""The definition of a projection: a name, a key, and a pure handler per event type."""

from __future__ import annotations

import inspect
import itertools
import math
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeVar

from handlers.core.events import Event, StreamId
from handlers.core.messages import MAX_START_BYTES
from handlers.projection.fingerprint import fingerprint
from handlers.projection.keys import UnstorableError, choices, decode_key, encode_key, index_entries, kind_of
from handlers.projection.port import INDEX_SLOTS, MAX_COMMIT_ROWS, IndexEntry, Row

MAX_NAME_CHARACTERS = 40


class ProjectedEvent(dict[str, Any]):
    """An event as handlers and key functions receive it: the data by name, and the event's other properties.

    Examples
    --------
    >>> event = ProjectedEvent(Event(StreamId("order-7"), 0, "PAID", '{"total": 12}', "2026-11-23T10:15:30.123Z"))
    >>> event["total"], event.stream_id, event.time[:10]
    (12, 'order-7', '2026-11-23')
    """

    __slots__ = ("event",)

    def __init__(self, event: Event, data: Mapping[str, Any] | None = None) -> None:
        dict.__init__(self, event.payload() if data is None else data)
        self.event = event

    @property
    def data(self) -> dict[str, Any]:
        """The event's data."""
        return dict(self)

    @property
    def type(self) -> str:
        """The event's type."""
        return self.event.type

    @property
    def stream_id(self) -> StreamId:
        """The event's stream."""
        return self.event.stream_id

    @property
    def event_id(self) -> int:
        """The event's position in its stream, from 0."""
        return self.event.event_id

    @property
    def id(self) -> str:
        """A text that identifies the event: ``<streamId>:<eventId>``."""
        return f"{self.event.stream_id}:{self.event.event_id}"

    @property
    def time(self) -> str:
        """When the event happened: RFC 3339 in UTC with milliseconds."""
        return self.event.time_stamp

    @property
    def metadata(self) -> dict[str, Any]:
        """The event's metadata; empty if there is none."""
        return self.event.meta()


Handler = Callable[..., Any]
"""``(row, event) -> row`` or ``(row, event, key) -> row``: takes the current row (None if there is none), the event and,
where an event may have several keys, the key: a string, or the parts of a compound key as a tuple. Returns the new row,
or None to delete it. Rows hold DynamoDB's types: str, int, Decimal, bool, None, and lists and dicts of these."""

KeyFunction = Callable[[Any], Any]
"""Takes the event; returns the key, a list or set of keys, or None if the event does not concern the projection."""

KeyPart = str | KeyFunction

_H = TypeVar("_H", bound=Handler)


def stream_id(event: ProjectedEvent) -> str:
    """Return the stream id: the key function for one row per stream, as in ``Projection("orders", key=stream_id)``."""
    return event.stream_id


class Prefix(str):
    """Follow the streams whose ids begin with this text: ``Projection("orders", key=…, streams=Prefix("order-"))``."""

    __slots__ = ()


class Projection:
    """A fold of events from any number of streams into rows.

    Parameters
    ----------
    name
        In kebab case; it names the queue, the functions and, in PascalCase, the list endpoint.
    key
        What identifies an event's row: the name of a property of its data (also the name of the row's key attribute), a
        function of the event (then the attribute is ``key``; `stream_id` gives ``streamId``), a list of properties (a
        compound key), or a mapping of attribute names to properties or functions. A function may return one key, a list
        or set of keys, or None; where several parts have several values, the keys are all their combinations.
    streams
        The streams that it follows: None for all, some of them, or those with a `Prefix`.
    indexes
        Attributes by which rows are queried, each with the attribute that sorts the rows with the same value, or None: by
        key. At most 5. A row without these attributes is not in the index.
    idempotent
        True if applying a range of events twice leads to the same rows: a replay from the middle (``fromEventId`` > 0)
        is allowed (R3).
    rows_per_stream
        True if each row comes from the events of one stream: one stream can be replayed by itself. Known if the key is
        the stream id, or if only one stream is followed.

    Examples
    --------
    >>> seats = Projection("seats", key="seatId", indexes={"by": None})
    >>> @seats.on("SEAT_TAKEN")
    ... def taken(row, event):
    ...     return {"by": event["by"]}
    >>> seats.handles("SEAT_TAKEN")
    True
    """

    def __init__(
        self,
        name: str,
        *,
        key: KeyPart | Sequence[str] | Mapping[str, KeyPart],
        streams: Prefix | Sequence[str] | None = None,
        indexes: Mapping[str, str | None] | Sequence[str] = (),
        idempotent: bool = False,
        rows_per_stream: bool = False,
    ) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name) or len(name) > MAX_NAME_CHARACTERS:
            raise ValueError(
                f"projection name {name!r}: lower-case words joined by hyphens, at most {MAX_NAME_CHARACTERS} characters"
            )
        self.name = name
        self._parts = _key_parts(name, key)
        self.key_attributes = tuple(self._parts)
        self.prefix, self.streams = _subscription(name, streams)
        self.indexes = _indexes(name, indexes)
        self.idempotent = idempotent
        one_stream = self.streams is not None and len(self.streams) == 1
        self.rows_per_stream = rows_per_stream or one_stream or stream_id in self._parts.values()
        self._stream_set = frozenset(self.streams or ())
        self._handlers: dict[str, Handler] = {}
        self._takes_key: set[str] = set()
        self._indexes_key = any(part in self._parts for index in self.indexes.items() for part in index)
        # A key function may modify the event's data (`stream_id` does not).
        self.computes_keys = any(callable(part) and part is not stream_id for part in self._parts.values())
        # Of an older copy of the domain; None: those of the deployed one.
        self.upcasters: Mapping[tuple[str, int], Callable[[Any], Any]] | None = None
        # The module that defines the projection, for its fingerprint.
        self.module: str = sys._getframe(1).f_globals.get("__name__", "")

    def on(self, event_type: str) -> Callable[[_H], _H]:
        """Register the handler of one event type.

        Raises
        ------
        ValueError
            The type has a handler already, or the handler does not take two or three arguments. Optional ones do not
            count: they keep their defaults.
        """

        def register(handler: _H) -> _H:
            if event_type in self._handlers:
                raise ValueError(f"projection {self.name!r} handles {event_type} twice")
            arguments = _required_arguments(handler)
            if arguments not in (2, 3):
                raise ValueError(
                    f"projection {self.name!r}: the handler of {event_type} must take (row, event) or (row, event, key)"
                )
            self._handlers[event_type] = handler
            if arguments == 3:
                self._takes_key.add(event_type)
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

    @property
    def only_stream(self) -> StreamId | None:
        """The stream that it follows, if it follows exactly one; its lists have a checkpoint (L1)."""
        return self.streams[0] if self.streams is not None and len(self.streams) == 1 else None

    def handles(self, event_type: str) -> bool:
        """Tell whether events of this type change rows."""
        return event_type in self._handlers

    def follows(self, stream_id: str) -> bool:
        """Tell whether this projection follows a stream."""
        if self.prefix is not None:
            return stream_id.startswith(self.prefix)
        return self.streams is None or stream_id in self._stream_set

    def keys_of(self, event: ProjectedEvent) -> Sequence[str]:
        """Return the encoded keys of the rows that an event concerns, each once; empty if there are none.

        Raises
        ------
        UnstorableError
            A key is not a string, is empty, or is too long; a named property is missing; there are too many keys.
        Exception
            Anything that a key function raises.
        """
        values = [event.get(part) if isinstance(part, str) else part(event) for part in self._parts.values()]
        if len(values) == 1 and isinstance(values[0], str):
            return (encode_key(values),)
        for (name, part), value in zip(self._parts.items(), values, strict=True):
            if isinstance(part, str) and not isinstance(value, str):  # only a function may return several keys, or none
                which = "the key" if len(values) == 1 else f"the key's part {name!r}"
                raise UnstorableError(f"{which} is {kind_of(value)}, not a string")
        parts = [choices(value) for value in values]
        count = math.prod(map(len, parts))
        if count > MAX_COMMIT_ROWS:
            raise UnstorableError(f"the event has {count:,} keys; the limit is {MAX_COMMIT_ROWS}")
        return [encode_key(each) for each in itertools.product(*parts)]

    def call(self, event_type: str, row: Row | None, event: ProjectedEvent, key: str) -> Any:
        """Return the new row of one of the event's keys, from the handler of its type."""
        if event_type in self._takes_key:
            return self._handlers[event_type](row, event, self.key_argument(key))
        return self._handlers[event_type](row, event)

    def key_argument(self, key: str) -> str | tuple[str, ...]:
        """Return an encoded key as handlers receive it: a string, or a tuple of the parts of a compound key."""
        parts = decode_key(key, len(self._parts))
        return parts[0] if len(parts) == 1 else parts

    def index_entries(self, key: str, row: Row) -> tuple[IndexEntry, ...]:
        """Return the places in the indexes of the row with an encoded key.

        Raises
        ------
        UnstorableError
            A value is too long for an index.
        """
        return index_entries(self.indexes, key, self.whole_row(key, row) if self._indexes_key else row)

    def whole_row(self, key: str, row: Row) -> dict[str, Any]:
        """Return a row with its key attributes."""
        return {**dict(zip(self._parts, decode_key(key, len(self._parts)), strict=True)), **row}

    def fingerprint(self) -> str:
        """Return 16 hex digits that change with the projection's code, including the modules of the domain it imports."""
        settings = [self.name, self.prefix, self.streams, dict(self.indexes), self.key_attributes]
        functions = [*self._handlers.values(), *filter(callable, self._parts.values())]
        return fingerprint(repr(settings), self.module, functions, self._handlers)


def _key_parts(name: str, key: KeyPart | Sequence[str] | Mapping[str, KeyPart]) -> Mapping[str, KeyPart]:
    """Return the key's attributes, each with its property or function."""
    if isinstance(key, str):
        parts: dict[Any, Any] = {key: key}
    elif callable(key):
        parts = {"streamId" if key is stream_id else "key": key}
    elif isinstance(key, Mapping):
        parts = dict(key)
    else:
        parts = {part: part for part in key}
        if len(parts) < len(key):
            raise ValueError(f"projection {name!r}: the key names a property twice")
    valid = all(_is_name(attribute) and (_is_name(part) or callable(part)) for attribute, part in parts.items())
    if not parts or not valid:
        raise ValueError(
            f"projection {name!r}: the key must be a property, a function of the event, a list of properties, or a mapping "
            "of attribute names to properties or functions"
        )
    return parts


def _indexes(name: str, indexes: Mapping[str, str | None] | Sequence[str]) -> Mapping[str, str | None]:
    """Return each indexed attribute with the attribute that sorts its rows."""
    if isinstance(indexes, str):
        raise ValueError(f"projection {name!r}: indexes is a list of attributes, or a mapping")
    found = dict(indexes) if isinstance(indexes, Mapping) else dict.fromkeys(indexes)
    if not all(_is_name(attribute) and (sort is None or _is_name(sort)) for attribute, sort in found.items()):
        raise ValueError(f"projection {name!r}: indexes maps attributes to attributes, or to None: sorted by key")
    if len(found) > INDEX_SLOTS:
        raise ValueError(f"projection {name!r} has {len(found)} indexes; the limit is {INDEX_SLOTS}")
    return MappingProxyType(found)


def _subscription(name: str, streams: Prefix | Sequence[str] | None) -> tuple[str | None, tuple[StreamId, ...] | None]:
    """Return the prefix and the streams that a projection follows, at most one of them."""
    if isinstance(streams, Prefix):
        # SNS compares prefixes of a message attribute: the hex digits of the id's first bytes.
        if not 1 <= len(streams.encode()) <= MAX_START_BYTES:
            raise ValueError(f"projection {name!r}: a prefix has 1 to {MAX_START_BYTES} bytes")
        return str(streams), None
    if isinstance(streams, str) or (streams is not None and not (streams and all(map(_is_name, streams)))):
        raise ValueError(f"projection {name!r}: streams is a list of one or more ids, or a Prefix")
    return None, None if streams is None else tuple(dict.fromkeys(map(StreamId, streams)))


def _is_name(value: object) -> bool:
    return isinstance(value, str) and value != ""


def _required_arguments(handler: Handler) -> int | None:
    """Return the number of positional arguments that a handler requires; None if they cannot be told."""
    try:
        parameters = inspect.signature(handler).parameters.values()
    except (TypeError, ValueError):  # not callable, or a built-in function without a signature
        return None
    required = [each for each in parameters if each.default is each.empty and each.kind is not each.VAR_KEYWORD]
    if any(each.kind not in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD) for each in required):
        return None
    return len(required)
