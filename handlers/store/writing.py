"""Writing events that have their places: one conditional put, or one transaction (E1, E3)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import compress
from typing import Any

from botocore.exceptions import ClientError

from handlers.core.events import Event
from handlers.store.items import Item, event_item

_RETRYABLE_REASONS = {"TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"}


class LostRaceError(Exception):
    """Another writer was first; nothing was written.

    Attributes
    ----------
    guard_stands
        The idempotency key was there already.
    taken
        The events whose places hold another writer's event.
    """

    def __init__(self, taken: Iterable[Event], *, guard_stands: bool = False) -> None:
        super().__init__()
        self.guard_stands = guard_stands
        self.taken = tuple(taken)


class UndecidedError(Exception):
    """Another transaction was in progress, perhaps our own earlier attempt: the same write has to be repeated."""


def put(client: Any, events_table: str, event: Event, write_id: str) -> None:
    """Write one event.

    Parameters
    ----------
    write_id
        Unique to this append: an event in the way that has it was written by an earlier attempt, whose answer was lost.

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
    client: Any, events_table: str, events: Sequence[Event], write_id: str, guard: tuple[str, Item] | None
) -> None:
    """Write all events or none, and with them the guard (its table and item), if there is one.

    Raises
    ------
    LostRaceError, UndecidedError
    """
    writes = [_conditional_put(events_table, event_item(event, write_id), "streamId") for event in events]
    if guard is not None:
        writes.append(_conditional_put(*guard, "idempotencyKey"))
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
        # All or none: one event of ours proves all. The others may still be locked, even by our own earlier attempt.
        if any(_is_ours(reason, write_id) for reason in reasons):
            return
        failed = [reason.get("Code") == "ConditionalCheckFailed" for reason in reasons]
        taken = compress(events, failed)  # the guard comes last
        raise LostRaceError(taken, guard_stands=guard is not None and failed[-1]) from error


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
    """Tell whether this very append wrote the item in the way: boto3 repeats a call whose answer was lost."""
    standing = refused.get("Item") or {}
    return bool(standing.get("writeId", {}).get("S") == write_id)
