"""Streams and their events."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NewType

from handlers.core import lossless_json

StreamId = NewType("StreamId", str)
EventId = NewType("EventId", int)

NO_EVENTS = EventId(-1)
"""The head of a stream that does not exist, and the checkpoint of a projection that applied nothing."""


@dataclass(frozen=True, slots=True)
class NewEvent:
    """An event to append.

    Attributes
    ----------
    data
        A JSON object as text, exactly as validated, so that numbers and key order survive.
    expected_version
        The required head of the stream (-1: the stream must not exist), or None for any.
    metadata
        A JSON object as text (correlationId, causationId, actor, ...), or None.
    time_stamp
        The time of an imported event, RFC 3339; None for the store's clock.
    schema_version
        The schema version of the data.
    """

    stream_id: StreamId
    type: str
    data: str
    expected_version: int | None = None
    metadata: str | None = None
    time_stamp: str | None = None
    schema_version: int = 1


@dataclass(frozen=True, slots=True)
class Event:
    """A stored event: immutable, at position ``event_id`` (from 0, without gaps) of its stream."""

    stream_id: StreamId
    event_id: EventId
    type: str
    data: str
    time_stamp: str
    metadata: str | None = None
    schema_version: int = 1

    def payload(self) -> Any:
        """Return the data as Python values; numbers keep every digit."""
        return lossless_json.loads_stored(self.data)

    def meta(self) -> dict[str, Any]:
        """Return the metadata as Python values; empty if there is none."""
        return lossless_json.loads_stored(self.metadata) if self.metadata else {}

    def correlation_id(self) -> str | None:
        """Return the correlationId of the metadata for log lines; None if it is missing or unreadable."""
        try:
            found = self.meta().get("correlationId")
        except (ValueError, AttributeError):  # not written by the API; logging must not fail because of it
            return None
        return found if isinstance(found, str) and found else None
