"""Events as DynamoDB items, and back."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from handlers.core.events import Event, EventId, StreamId
from handlers.core.messages import stream_hash

Item = dict[str, Any]
"""An item in DynamoDB's own notation: ``{"name": {"S": "…"}}``."""

# A partition of an index takes 1,000 writes a second; with eight, 8,000 streams a second can be born (E6).
STREAM_SHARDS = 8

STREAM_INDEX = "streams"


def stream_shard(stream_id: str) -> str:
    """Return the partition of the stream index that a stream belongs to."""
    return str(int(stream_hash(stream_id)[:8], 16) % STREAM_SHARDS)


def event_item(event: Event, write_id: str) -> Item:
    """Return an event as an item.

    ``write_id`` is unique to one call of append. A writer whose answer was lost on the way finds its own event by it,
    rather than taking it for somebody else's and appending a second time.
    """
    item: Item = {
        "streamId": {"S": event.stream_id},
        "eventId": {"N": str(event.event_id)},
        "type": {"S": event.type},
        "data": {"S": event.data},
        "timeStamp": {"S": event.time_stamp},
        "writeId": {"S": write_id},
    }
    if event.metadata is not None:
        item["metadata"] = {"S": event.metadata}
    if event.schema_version != 1:
        item["schemaVersion"] = {"N": str(event.schema_version)}
    if event.event_id == 0:
        item["streamShard"] = {"S": stream_shard(event.stream_id)}
    return item


def event_from_item(item: Item) -> Event:
    """Return the event that an item holds.

    Raises
    ------
    KeyError
        The item is no event of ours.
    """
    metadata = item.get("metadata")
    version = item.get("schemaVersion")
    return Event(
        StreamId(item["streamId"]["S"]),
        EventId(int(item["eventId"]["N"])),
        item["type"]["S"],
        item["data"]["S"],
        item["timeStamp"]["S"],
        None if metadata is None else metadata["S"],
        1 if version is None else int(version["N"]),
    )


def without_gap(events: tuple[Event, ...], first: int | None) -> tuple[Event, ...]:
    """Return the events of a page up to the first gap, the one before them included where ``first`` is given.

    A query is not isolated from transactions: one that comes in the middle of an append of several events may see a
    later one and not those before it ("Amazon DynamoDB transactions: how it works", isolation levels, read-committed).
    """
    if events and first is not None and events[0].event_id != first:
        return ()
    for index, (one, other) in enumerate(pairwise(events), start=1):
        if abs(other.event_id - one.event_id) != 1:
            return events[:index]
    return events
