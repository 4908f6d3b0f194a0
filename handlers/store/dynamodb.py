"""The event store on DynamoDB.

Calls per append in the steady state: one PutItem, at one write unit per kilobyte (E7), or one transaction for several
events or with an idempotency key. Requires dynamodb:PutItem and dynamodb:Query on the Events table (Query on its index
`streams` to list streams, Scan to scan), dynamodb:PutItem and dynamodb:GetItem on the Idempotency table.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from handlers.core.clock import Backoff, Clock, SystemClock, attempts, rfc3339
from handlers.core.dynamodb import Retries, with_retries
from handlers.core.errors import ContendedError, VersionConflictError
from handlers.core.events import NO_EVENTS, Event, EventId, NewEvent, StreamId
from handlers.store.items import (
    STREAM_INDEX,
    STREAM_SHARDS,
    LostRaceError,
    event_from_item,
    in_stream_order,
    put,
    stream_shard,
    transact,
    without_gap,
)
from handlers.store.planning import AppendPlan, idempotency_record, plan_append, repeat_answer
from handlers.store.port import Appended, EventPage, IdempotencyKey, ScanPage, StreamPage

# The first race is usually lost because another process appended since this one last did: retrying at once succeeds.
# Losing a second one means that others are writing now. The waits are long compared with an append (about 10 ms), so one
# writer at a time proceeds uncontended at one call per event: 1.6 calls per append with 8 writers in a model of the local
# target, and 2.2 with a base of 0.1 s. The function times out after 28 s.
CONTENTION = Backoff(deadline_s=20.0, base_s=0.8, cap_s=1.0, immediate_retries=1)
# A transaction becomes visible item by item within milliseconds; a gap that persists for a second is damage.
GAP = Backoff(deadline_s=1.0, base_s=0.02, cap_s=0.2)
# About 100 bytes per stream: 10,000 take a megabyte.
MAX_CACHED_HEADS = 10_000


class HeadCache:
    """The last known heads of recently written streams. They exist, as E1 requires, but may be stale."""

    def __init__(self, capacity: int = MAX_CACHED_HEADS) -> None:
        self._heads: OrderedDict[StreamId, EventId] = OrderedDict()
        self._capacity = capacity

    def get(self, stream: StreamId) -> EventId | None:
        return self._heads.get(stream)

    def remember(self, stream: StreamId, head: EventId) -> None:
        """Remember an existing event unless a later one is known."""
        if head < self._heads.get(stream, NO_EVENTS):
            return
        self._heads[stream] = head
        self._heads.move_to_end(stream)
        if len(self._heads) > self._capacity:
            self._heads.popitem(last=False)


class DynamoDbEventStore:
    """An `EventStore` on an Events table and, for idempotency keys, an Idempotency table.

    Parameters
    ----------
    client
        A boto3 DynamoDB client.
    idempotency_table
        None if no idempotency keys are used (read-only functions).
    retries
        Yields once per attempt and waits in between.
    """

    def __init__(
        self,
        client: Any,
        *,
        events_table: str,
        idempotency_table: str | None = None,
        clock: Clock | None = None,
        retries: Retries = attempts,
    ) -> None:
        self._client = client
        self._events = events_table
        self._idempotency = idempotency_table
        self._clock = clock or SystemClock()
        self._retries = retries
        self._heads = HeadCache()

    def append(self, events: Sequence[NewEvent], idempotency: IdempotencyKey | None = None) -> Appended:
        plan = plan_append(events, with_idempotency_key=idempotency is not None)
        write_id = secrets.token_urlsafe(9)
        stale: set[StreamId] = set()
        for conflicts in self._retries(CONTENTION):
            try:
                placed = self._write(plan, idempotency, write_id, stale)
            except LostRaceError as lost:
                stale.update(event.stream_id for event in lost.taken)
                first = self._first_answer(plan, idempotency) if lost.key_used else None
                if first is not None:
                    return first
            except VersionConflictError:
                # An earlier attempt of the same request may have changed the version: then return its answer (E4).
                first = self._first_answer(plan, idempotency)
                if first is None:
                    raise
                return first
            else:
                for event in placed:
                    self._heads.remember(event.stream_id, event.event_id)
                return Appended(placed, conflicts=conflicts)
        raise ContendedError(
            f"other writers kept winning for {CONTENTION.deadline_s:g} seconds; nothing was written, try again"
        )

    def read(
        self, stream_id: StreamId, first: int = 0, *, limit: int | None = None, backwards: bool = False
    ) -> EventPage:
        query: dict[str, Any] = {
            "TableName": self._events,
            "KeyConditionExpression": f"streamId = :stream AND eventId {'<=' if backwards else '>='} :first",
            "ExpressionAttributeValues": {":stream": {"S": stream_id}, ":first": {"N": str(first)}},
            "ConsistentRead": True,
            "ScanIndexForward": not backwards,
        }
        if limit is not None:
            query["Limit"] = limit
        page = EventPage((), more=False)
        for _ in self._retries(GAP):
            page = self._page(query)
            whole = without_gap(page.events, None if backwards else first)
            if len(whole) == len(page.events):
                return page
            if whole:
                return EventPage(whole, more=True)
        # The first event is missing permanently (`esctl doctor` reports it): continue after it, up to the next gap.
        whole = without_gap(page.events, None)
        return EventPage(whole, more=page.more or len(whole) < len(page.events))

    def _page(self, query: Mapping[str, Any]) -> EventPage:
        answer = self._call(self._client.query, **query)
        return EventPage(tuple(map(event_from_item, answer["Items"])), more="LastEvaluatedKey" in answer)

    def head(self, stream_id: StreamId) -> EventId:
        answer = self._call(
            self._client.query,
            TableName=self._events,
            KeyConditionExpression="streamId = :stream",
            ExpressionAttributeValues={":stream": {"S": stream_id}},
            ProjectionExpression="eventId",
            ConsistentRead=True,
            ScanIndexForward=False,
            Limit=1,
        )
        items = answer["Items"]
        return EventId(int(items[0]["eventId"]["N"])) if items else NO_EVENTS

    def streams(self, *, limit: int = 100, after: str | None = None) -> StreamPage:
        # The id alone is the position: its hash determines the shard.
        shard, last = (int(stream_shard(after)), after) if after else (0, None)
        found: list[StreamId] = []
        while shard < STREAM_SHARDS and len(found) < limit:
            query: dict[str, Any] = {
                "TableName": self._events,
                "IndexName": STREAM_INDEX,
                "KeyConditionExpression": "streamShard = :shard" + (" AND streamId > :last" if last else ""),
                "ExpressionAttributeValues": {":shard": {"S": str(shard)}} | ({":last": {"S": last}} if last else {}),
                "Limit": limit - len(found),
            }
            answer = self._call(self._client.query, **query)
            found += [StreamId(item["streamId"]["S"]) for item in answer["Items"]]
            if "LastEvaluatedKey" in answer:
                last = found[-1]
            else:
                shard, last = shard + 1, None
        return StreamPage(tuple(found), found[-1] if shard < STREAM_SHARDS else None)

    def scan(self, segment: int, segments: int, *, after: str | None = None, limit: int | None = None) -> ScanPage:
        scan: dict[str, Any] = {
            "TableName": self._events,
            "Segment": segment,
            "TotalSegments": segments,
            "ConsistentRead": True,
        }
        if limit is not None:
            scan["Limit"] = limit
        if after is not None:
            event_id, _, stream_id = after.partition(":")
            scan["ExclusiveStartKey"] = {"streamId": {"S": stream_id}, "eventId": {"N": event_id}}
        answer = self._call(self._client.scan, **scan)
        last = answer.get("LastEvaluatedKey")
        return ScanPage(
            in_stream_order(map(event_from_item, answer["Items"])),
            f"{last['eventId']['N']}:{last['streamId']['S']}" if last else None,
        )

    # -- appending ---------------------------------------------------------------------------------------------------

    def _write(
        self, plan: AppendPlan, idempotency: IdempotencyKey | None, write_id: str, stale: Collection[StreamId]
    ) -> tuple[Event, ...]:
        """Write the events after the heads, with the idempotency record if there is a key; returns them."""
        heads = self._base_heads(plan, stale)
        now = self._clock.now()
        events = plan.place(heads, rfc3339(now))
        if len(events) == 1 and idempotency is None:
            put(self._client, self._events, events[0], write_id, self._retries)
        else:
            record = (self._idempotency_table(), idempotency_record(idempotency, heads, now)) if idempotency else None
            transact(self._client, self._events, events, write_id, record, self._retries)
        return events

    def _base_heads(self, plan: AppendPlan, stale: Collection[StreamId]) -> Mapping[StreamId, int]:
        """Return for each stream a head that is known to exist (E1) and matches the expected version, if any (E2).

        A cached head saves a read, except for the ``stale`` streams, which changed during this append.
        """
        heads: dict[StreamId, int] = {}
        for stream, expected in plan.expected.items():
            warm = None if stream in stale else self._heads.get(stream)
            if warm is not None and expected in (None, warm):
                head: int = warm
            elif expected == NO_EVENTS and stream not in stale:
                head = NO_EVENTS  # no read: event 0 has no predecessor, and the write shows whether it exists
            else:
                head = self._read_head(stream)
            if expected is not None and head != expected:
                raise VersionConflictError(stream, expected, head)
            heads[stream] = head
        return heads

    def _first_answer(self, plan: AppendPlan, key: IdempotencyKey | None) -> Appended | None:
        """Return the answer to the first request with this key, if there was one."""
        if key is None:
            return None
        answer = self._call(
            self._client.get_item,
            TableName=self._idempotency_table(),
            Key={"idempotencyKey": {"S": key.key}},
            ConsistentRead=True,
        )
        return repeat_answer(plan, key, answer["Item"]) if "Item" in answer else None

    def _call(self, operation: Callable[..., Any], **request: Any) -> Any:
        return with_retries(operation, self._retries, **request)

    def _idempotency_table(self) -> str:
        if self._idempotency is None:
            raise ValueError("this event store has no idempotency table")
        return self._idempotency

    def _read_head(self, stream: StreamId) -> EventId:
        head = self.head(stream)
        if head != NO_EVENTS:
            self._heads.remember(stream, head)
        return head
