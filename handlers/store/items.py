"""Events as DynamoDB items: read, and written by one conditional put or one transaction (E1, E3)."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Sequence
from itertools import compress, pairwise
from typing import Any

from botocore.exceptions import ClientError

from handlers.core.clock import attempts
from handlers.core.dynamodb import Retries, failure_reasons, is_transient, with_retries
from handlers.core.errors import ContendedError
from handlers.core.events import Event, EventId, StreamId
from handlers.core.messages import stream_hash

Item = dict[str, Any]
"""An item in DynamoDB's notation: ``{"name": {"S": "…"}}``."""

# A partition of an index takes 1,000 writes per second; eight allow 8,000 new streams per second (E6).
STREAM_SHARDS = 8

STREAM_INDEX = "streams"


class LostRaceError(Exception):
    """Another writer was first; nothing was written.

    Attributes
    ----------
    key_used
        The idempotency key has a record already.
    taken
        The events whose ids are taken by another writer's events.
    """

    def __init__(self, taken: Iterable[Event], *, key_used: bool = False) -> None:
        super().__init__()
        self.key_used = key_used
        self.taken = tuple(taken)


# -- items ---------------------------------------------------------------------------------------------------------------


def stream_shard(stream_id: str) -> str:
    """Return the partition of the stream index to which a stream belongs."""
    return str(int(stream_hash(stream_id)[:8], 16) % STREAM_SHARDS)


def event_item(event: Event, write_id: str) -> Item:
    """Return an event as an item.

    ``write_id`` is unique to one append: a writer whose response was lost recognizes its own event by it, instead of
    appending it twice.
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
    """Return the event of an item.

    Raises
    ------
    KeyError
        The item is not an event.
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
    """Return the events of a page up to the first gap; with ``first``, a page that starts later is a gap.

    A query is not isolated from transactions: during an append of several events it may return a later one without the
    earlier ones ("Amazon DynamoDB transactions: how it works", isolation levels, read-committed).
    """
    if events and first is not None and events[0].event_id != first:
        return ()
    for index, (one, other) in enumerate(pairwise(events), start=1):
        if abs(other.event_id - one.event_id) != 1:
            return events[:index]
    return events


def in_stream_order(events: Iterable[Event]) -> tuple[Event, ...]:
    """Return the events of a scan stream by stream, in the order of their first appearance, each in order."""
    streams: dict[StreamId, list[Event]] = {}
    for event in events:
        streams.setdefault(event.stream_id, []).append(event)
    return tuple(event for found in streams.values() for event in sorted(found, key=lambda each: each.event_id))


# -- writes --------------------------------------------------------------------------------------------------------------


def put(client: Any, events_table: str, event: Event, write_id: str, retries: Retries = attempts) -> None:
    """Write one event; succeeds if an earlier attempt with this ``write_id`` has written it.

    Raises
    ------
    LostRaceError
    ContendedError
        It is unknown whether this was written.
    """
    try:
        _write(
            client.put_item,
            retries,
            TableName=events_table,
            Item=event_item(event, write_id),
            ConditionExpression="attribute_not_exists(streamId)",
            ReturnValuesOnConditionCheckFailure="ALL_OLD",
        )
    except ClientError as error:
        if failure_reasons(error) != {"ConditionalCheckFailedException"}:
            raise
        if not _is_ours(error.response, write_id):
            raise LostRaceError([event]) from error


def transact(
    client: Any,
    events_table: str,
    events: Sequence[Event],
    write_id: str,
    record: tuple[str, Item] | None,
    retries: Retries = attempts,
) -> None:
    """Write all events or none, together with the idempotency record (its table and item) if there is one.

    Raises
    ------
    LostRaceError
    ContendedError
        It is unknown whether this was written.
    """
    writes = [_conditional_put(events_table, event_item(event, write_id), "streamId") for event in events]
    if record is not None:
        writes.append(_conditional_put(*record, "idempotencyKey"))
    try:
        token = str(uuid.uuid4())
        _write(client.transact_write_items, retries, TransactItems=writes, ClientRequestToken=token)
    except ClientError as error:
        reasons = error.response.get("CancellationReasons", ())
        failed = [reason.get("Code") == "ConditionalCheckFailed" for reason in reasons]
        others = failure_reasons(error) - {"ConditionalCheckFailed"}
        if not any(failed) or not all(map(is_transient, others)):
            raise
        # One event of ours proves that all are written. Others may still be locked, even by our own earlier attempt.
        if any(_is_ours(reason, write_id) for reason in reasons):
            return
        taken = compress(events, failed)  # the record is the last item
        raise LostRaceError(taken, key_used=record is not None and failed[-1]) from error


def _write(operation: Callable[..., Any], retries: Retries, **request: Any) -> None:
    try:
        with_retries(operation, retries, **request)
    except ContendedError as error:
        raise ContendedError(f"{error}; it is unknown whether this was written, try again") from error


def _conditional_put(table: str, item: Item, key: str) -> dict[str, Any]:
    return {
        "Put": {
            "TableName": table,
            "Item": item,
            "ConditionExpression": f"attribute_not_exists({key})",
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }
    }


def _is_ours(refused: Any, write_id: str) -> bool:
    """Tell whether this append wrote the existing item: boto3 retries a call whose response was lost."""
    existing = refused.get("Item") or {}
    return bool(existing.get("writeId", {}).get("S") == write_id)
