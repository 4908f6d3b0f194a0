"""What an append writes, computed before anything is written: event ids, and the idempotency record (E4). Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from handlers.core.clock import rfc3339
from handlers.core.dynamodb import TRANSACTION_ITEMS
from handlers.core.errors import Fault, IdempotencyMismatchError, InvalidInputError
from handlers.core.events import Event, EventId, NewEvent, StreamId
from handlers.store.items import Item
from handlers.store.port import Appended, IdempotencyKey

# How long a repeated request is recognized: long enough to resume an import after a week.
IDEMPOTENCY_TTL_S = 30 * 24 * 3600


@dataclass(frozen=True, slots=True)
class AppendPlan:
    """The events of one call, and the required head of each stream.

    Attributes
    ----------
    events
        As given.
    expected
        The required head of each stream, None for any; in order of first appearance.
    """

    events: tuple[NewEvent, ...]
    expected: Mapping[StreamId, int | None]

    def place(self, heads: Mapping[StreamId, int], time_stamp: str) -> tuple[Event, ...]:
        """Assign event ids after the given heads; ``time_stamp`` is for the events without their own."""
        following = {stream: head + 1 for stream, head in heads.items()}
        placed = []
        for event in self.events:
            event_id = following[event.stream_id]
            following[event.stream_id] = event_id + 1
            placed.append(
                Event(
                    stream_id=event.stream_id,
                    event_id=EventId(event_id),
                    type=event.type,
                    data=event.data,
                    time_stamp=event.time_stamp or time_stamp,
                    metadata=event.metadata,
                    schema_version=event.schema_version,
                )
            )
        return tuple(placed)


def plan_append(events: Sequence[NewEvent], *, with_idempotency_key: bool) -> AppendPlan:
    """Determine the required head of each stream of an append.

    Raises
    ------
    InvalidInputError
        No events, more than a transaction holds, or contradictory expected versions of one stream.
    """
    limit = TRANSACTION_ITEMS - 1 if with_idempotency_key else TRANSACTION_ITEMS
    if not 1 <= len(events) <= limit:
        reason = ": the idempotency record is one of the 100 items of a transaction" if with_idempotency_key else ""
        raise InvalidInputError([Fault("/events", f"has {len(events)} events, not 1 to {limit}{reason}")])
    expected: dict[StreamId, int | None] = {}
    counted: dict[StreamId, int] = {}
    faults = []
    for index, event in enumerate(events):
        before = counted.get(event.stream_id, 0)
        counted[event.stream_id] = before + 1
        base = None if event.expected_version is None else event.expected_version - before
        if base is not None and base < -1:
            faults.append(Fault(f"/events/{index}/expectedVersion", "is less than the number of preceding events"))
        if expected.setdefault(event.stream_id, base) is None:
            expected[event.stream_id] = base
        elif base is not None and base != expected[event.stream_id]:
            faults.append(Fault(f"/events/{index}/expectedVersion", "contradicts an earlier event of the same stream"))
    if faults:
        raise InvalidInputError(faults)
    return AppendPlan(tuple(events), expected)


def idempotency_record(key: IdempotencyKey, heads: Mapping[StreamId, int], now: datetime) -> Item:
    """Return the item to write with an append after the given heads.

    Event ids and the time are enough to repeat the answer: the payload hash pins the rest to the request.
    """
    answer = json.dumps({"heads": list(heads.values()), "at": rfc3339(now)}, separators=(",", ":"))
    return {
        "idempotencyKey": {"S": key.key},
        "payloadHash": {"S": key.payload_hash},
        "answer": {"S": answer},
        "expiresAt": {"N": str(int(now.timestamp()) + IDEMPOTENCY_TTL_S)},
    }


def repeat_answer(plan: AppendPlan, key: IdempotencyKey, record: Item) -> Appended:
    """Return the answer to the first request with this key.

    Raises
    ------
    IdempotencyMismatchError
        The first request had a different payload.
    """
    if record["payloadHash"]["S"] != key.payload_hash:
        raise IdempotencyMismatchError("this Idempotency-Key was used for another request")
    answer = json.loads(record["answer"]["S"])
    heads = dict(zip(plan.expected, answer["heads"], strict=True))
    return Appended(plan.place(heads, answer["at"]), replayed=True)
