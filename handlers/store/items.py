"""Events as DynamoDB items: read, and written by one conditional put or one transaction (E1, E3)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import compress, pairwise
from typing import Any

from botocore.exceptions import ClientError

from handlers.core.events import Event, EventId, StreamId
from handlers.core.messages import stream_hash

Item = dict[str, Any]
"""An item in DynamoDB's notation: ``{"name": {"S": "…"}}``."""

# A partition of an index takes 1,000 writes per second; eight allow 8,000 new streams per second (E6).
STREAM_SHARDS = 8

STREAM_INDEX = "streams"

_RETRYABLE_REASONS = {"TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"}


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


class UndecidedError(Exception):
    """Another transaction, possibly our own earlier attempt, was in progress: repeat the same write."""


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


# -- writes --------------------------------------------------------------------------------------------------------------


def put(client: Any, events_table: str, event: Event, write_id: str) -> None:
    """Write one event; succeeds if an earlier attempt with this ``write_id`` has written it.

    Raises
    ------
    LostRaceError, UndecidedError
    """
    try:
        client.put_item(
            TableName=events_table,
            Item=event_item(event, write_id),
            ConditionExpression="attribute_not_exists(streamId)",
            ReturnValuesOnConditionCheckFailure="ALL_OLD",
        )
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code == "TransactionConflictException":
            raise UndecidedError from error
        if code != "ConditionalCheckFailedException":
            raise
        if not _is_ours(error.response, write_id):
            raise LostRaceError([event]) from error


def transact(
    client: Any, events_table: str, events: Sequence[Event], write_id: str, record: tuple[str, Item] | None
) -> None:
    """Write all events or none, together with the idempotency record (its table and item) if there is one.

    Raises
    ------
    LostRaceError, UndecidedError
    """
    writes = [_conditional_put(events_table, event_item(event, write_id), "streamId") for event in events]
    if record is not None:
        writes.append(_conditional_put(*record, "idempotencyKey"))
    try:
        client.transact_write_items(TransactItems=writes)
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code in {"TransactionInProgressException", "TransactionConflictException"}:
            raise UndecidedError from error
        if code != "TransactionCanceledException":
            raise
        reasons: Any = error.response.get("CancellationReasons", [])
        codes = {reason.get("Code") for reason in reasons} - {"None", None}
        if codes <= _RETRYABLE_REASONS:
            raise UndecidedError from error
        if not codes <= _RETRYABLE_REASONS | {"ConditionalCheckFailed"}:
            raise
        # One event of ours proves that all are written. Others may still be locked, even by our own earlier attempt.
        if any(_is_ours(reason, write_id) for reason in reasons):
            return
        failed = [reason.get("Code") == "ConditionalCheckFailed" for reason in reasons]
        taken = compress(events, failed)  # the record is the last item
        raise LostRaceError(taken, key_used=record is not None and failed[-1]) from error


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
