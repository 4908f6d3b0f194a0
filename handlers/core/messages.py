"""Messages from the event table's stream to the projections (P1, P7, P8).

A message is a hint, ``{"streamId": …, "eventId": …}``, and includes the event itself if it is small. Messages are ASCII
JSON: stream ids and data may contain any Unicode, but SQS and SNS reject most control characters.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping
from dataclasses import dataclass

from handlers.core import lossless_json
from handlers.core.events import Event, EventId, StreamId

# SNS and SQS accept 256 KB per message and per batch of ten; 64 KB lets several large messages share a batch (P8).
MAX_MESSAGE_BYTES = 64 * 1024

STREAM_ATTRIBUTE, START_ATTRIBUTE = "stream", "start"
"""Message attributes that subscriptions filter by: `stream_hash` and `stream_start` of the stream id."""

MAX_START_BYTES = 100


@dataclass(frozen=True, slots=True)
class Hint:
    """A notification that a stream has an event.

    Attributes
    ----------
    event
        The event itself if it is small enough.
    fresh
        True if the projector must read the state again instead of using its warm copy.
    """

    stream_id: StreamId
    event_id: EventId
    event: Event | None = None
    fresh: bool = False


def stream_hash(stream_id: str) -> str:
    """Return the hash of a stream id for group ids and filter policies: 64 hex digits."""
    return hashlib.sha256(stream_id.encode()).hexdigest()


def stream_start(stream_id: str) -> str:
    """Return the beginning of a stream id for filters by prefix: the hex digits of its first 100 bytes.

    The digits of a prefix are a prefix of the digits: each byte has two.
    """
    return stream_id.encode()[:MAX_START_BYTES].hex()


def deduplication_id(stream_id: str, event_id: int, salt: str = "") -> str:
    """Return the deduplication id of an event's message: 64 hex digits.

    A trigger message adds a ``salt``; otherwise the five-minute deduplication would drop it.
    """
    return hashlib.sha256(f"{event_id}#{salt}#{stream_id}".encode()).hexdigest()


def trigger_entry(stream_id: StreamId, head: int, salt: str) -> dict[str, str]:
    """Return the SQS entry that triggers a projector to catch up a stream; the ``salt`` must be unique.

    It has the message group of the stream's live messages (P7).
    """
    return {
        "MessageBody": encode(Hint(stream_id, EventId(head), fresh=True)),
        "MessageGroupId": stream_hash(stream_id),
        "MessageDeduplicationId": deduplication_id(stream_id, head, salt),
    }


def replay_entry(projection: str, replay_id: str, segment: int | None = None) -> dict[str, str]:
    """Return the SQS entry for a task of a replay: one segment, or what comes before and after the segments.

    Each message is its own group: concurrent workers of a task are harmless, since every commit has conditions, whereas a
    message behind a dead worker of its group would wait for the whole visibility timeout.
    """
    unique = uuid.uuid4().hex
    message = {"projection": projection, "replayId": replay_id}
    return _entry(message if segment is None else {**message, "segment": segment}, unique, unique)


def sweep_entry(projection: str, generation: int, *, salt: str = "") -> dict[str, str]:
    """Return the SQS entry for deleting an abandoned generation.

    A generation is one group, so that one worker at a time sweeps it, however often the message is sent: without a
    ``salt``, those of five minutes are one.
    """
    group = stream_hash(f"{projection}#{generation}")
    return _entry({"projection": projection, "sweep": generation}, group, f"{group[:32]}{salt}")


def _entry(message: Mapping[str, object], group: str, deduplication: str) -> dict[str, str]:
    return {
        "MessageBody": lossless_json.dumps(message, ascii_only=True),
        "MessageGroupId": group,
        "MessageDeduplicationId": deduplication,
    }


def encode(hint: Hint) -> str:
    """Serialize a hint as ASCII JSON; omits the event if the text would exceed 64 KB."""
    message: dict[str, object] = {"streamId": hint.stream_id, "eventId": hint.event_id}
    if hint.fresh:
        message["fresh"] = True
    event = hint.event
    if event is None:
        return lossless_json.dumps(message, ascii_only=True)
    inner: dict[str, object] = {"type": event.type, "data": event.data, "timeStamp": event.time_stamp}
    if event.schema_version != 1:
        inner["schemaVersion"] = event.schema_version
    if event.metadata is not None:
        inner["metadata"] = event.metadata
    # Escaping only adds bytes: data that is too large unescaped need not be tried.
    if len(event.data) < MAX_MESSAGE_BYTES:
        text = lossless_json.dumps({**message, "event": inner}, ascii_only=True)
        if len(text) <= MAX_MESSAGE_BYTES:
            return text
    return lossless_json.dumps(message, ascii_only=True)


def decode(text: str) -> Hint:
    """Parse a message body.

    Raises
    ------
    lossless_json.NotJsonError, KeyError, TypeError, ValueError
        The text is not one of our messages.
    """
    message = lossless_json.loads(text)
    stream_id, event_id = StreamId(str(message["streamId"])), EventId(int(message["eventId"]))
    inner = message.get("event")
    event = None
    if inner is not None:
        event = Event(
            stream_id,
            event_id,
            inner["type"],
            inner["data"],
            inner["timeStamp"],
            metadata=inner.get("metadata"),
            schema_version=int(inner.get("schemaVersion", 1)),
        )
    return Hint(stream_id, event_id, event, fresh=bool(message.get("fresh", False)))
