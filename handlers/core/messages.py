"""The message on its way from the table's stream to a projection (P1, P7, P8).

A message is a hint, ``{"streamId": …, "eventId": …}``; the event itself rides along while it is small. The text is
ASCII JSON: stream ids and data may hold any Unicode, SQS and SNS bodies may not (they refuse most control characters).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from handlers.core import lossless_json
from handlers.core.events import Event, EventId, StreamId

# SNS and SQS take 256 KB a message and 256 KB a batch of ten; 64 KB leaves room for several large ones in a batch (P8).
MAX_MESSAGE_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Hint:
    """ "Stream S has event n."

    Attributes
    ----------
    event
        The event itself where it was small enough to ride along.
    fresh
        True for a nudge: the projector must look at the store's state rather than trust its warm copy.
    """

    stream_id: StreamId
    event_id: EventId
    event: Event | None = None
    fresh: bool = False


def stream_hash(stream_id: str) -> str:
    """Return the hash that stands for a stream in group ids and filter policies: 64 hex digits."""
    return hashlib.sha256(stream_id.encode()).hexdigest()


def deduplication_id(stream_id: str, event_id: int, salt: str = "") -> str:
    """Return the deduplication id of "event n of stream S": 64 hex digits.

    A nudge adds a ``salt``, else the five-minute deduplication would swallow it.
    """
    return hashlib.sha256(f"{event_id}#{salt}#{stream_id}".encode()).hexdigest()


def trigger_entry(stream_id: StreamId, head: int, salt: str) -> dict[str, str]:
    """Return the SQS entry that makes a projector look at a stream again.

    Its group is the stream's, as for live messages (P7). Without a ``salt`` that differs each time, SQS would drop it as a
    duplicate of one sent in the last five minutes.
    """
    return {
        "MessageBody": encode(Hint(stream_id, EventId(head), fresh=True)),
        "MessageGroupId": stream_hash(stream_id),
        "MessageDeduplicationId": deduplication_id(stream_id, head, salt),
    }


def encode(hint: Hint) -> str:
    """Write a hint as ASCII JSON; the event is left out when the text would be over 64 KB."""
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
    # Escaping makes at most six bytes of one; an event that is too large even unescaped is not worth the attempt.
    if len(event.data) < MAX_MESSAGE_BYTES:
        text = lossless_json.dumps({**message, "event": inner}, ascii_only=True)
        if len(text) <= MAX_MESSAGE_BYTES:
            return text
    return lossless_json.dumps(message, ascii_only=True)


def decode(text: str) -> Hint:
    """Read a message body.

    Raises
    ------
    lossless_json.NotJsonError, KeyError, TypeError, ValueError
        When it is no message of ours.
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
