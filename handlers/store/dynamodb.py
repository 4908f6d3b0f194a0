"""The event store on DynamoDB.

Calls per append in the steady state: one PutItem of one write unit a kilobyte (E7), or one transaction where there are
several events or an idempotency key. Needs dynamodb:PutItem and dynamodb:Query on the Events table (Query on its index
`streams` to list streams), dynamodb:PutItem and dynamodb:GetItem on the Idempotency table.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from handlers.backoff import Backoff, attempts
from handlers.clock import Clock, SystemClock, rfc3339
from handlers.errors import Contended, VersionConflict
from handlers.events import NO_EVENTS, Event, EventId, NewEvent, StreamId
from handlers.store.contention import CONTENTION, Head, Race
from handlers.store.guards import Guards, guard_item, repeated
from handlers.store.heads import WarmHeads
from handlers.store.items import STREAM_INDEX, STREAM_SHARDS, Item, event_from_item, stream_shard, without_gap
from handlers.store.planning import AppendPlan, plan_append
from handlers.store.port import Appended, EventPage, IdempotencyKey, StreamPage
from handlers.store.writing import Lost, Undecided, put, transact

# A transaction becomes visible item by item, within milliseconds; a gap that stays for a second is damage.
GAP = Backoff(deadline_s=1.0, base_s=0.01, cap_s=0.2)


class DynamoDbEventStore:
    """An `EventStore` on an Events table and, for idempotency keys, an Idempotency table.

    Parameters
    ----------
    client
        A boto3 DynamoDB client.
    idempotency_table
        None where no idempotency keys are used (read-only functions).
    retries
        Yields once per attempt and waits in between; injectable for tests.
    """

    def __init__(
        self,
        client: Any,
        *,
        events_table: str,
        idempotency_table: str | None = None,
        clock: Clock | None = None,
        retries: Callable[[Backoff], Iterator[int]] = attempts,
    ) -> None:
        self._client = client
        self._events = events_table
        self._guards = Guards(client, idempotency_table)
        self._clock = clock or SystemClock()
        self._retries = retries
        self._heads = WarmHeads()

    def append(self, events: Sequence[NewEvent], idempotency: IdempotencyKey | None = None) -> Appended:
        plan = plan_append(events, guarded=idempotency is not None)
        write_id = secrets.token_urlsafe(9)
        race = Race(self._clock.now(), yields=self._heads.contended(plan.expected))
        head = Head.REMEMBERED if any(self._heads.get(stream) is not None for stream in plan.expected) else Head.READ
        write: _Write | None = None
        for _ in self._retries(CONTENTION):
            while True:
                try:
                    write = write or self._prepare(plan, idempotency, write_id, trust=head is not Head.READ)
                    self._execute(write, plan)
                except Undecided:
                    following = race.undecided(head)  # the same write again
                except Lost as lost:
                    write = None
                    standing = self._guards.find(idempotency) if lost.guard_stands else None
                    if standing is not None:
                        return repeated(plan, idempotency, standing)
                    self._remember(lost.taken)
                    following = race.lost(head, lost.taken_at)
                except VersionConflict:
                    # The conflict may be our own first try: a repeat answers what the first one did (E4).
                    standing = self._guards.find(idempotency)
                    if standing is None:
                        raise
                    return repeated(plan, idempotency, standing)
                else:
                    self._remember(write.events)
                    self._heads.note(plan.expected, contended=race.met_others)
                    return Appended(write.events, conflicts=race.conflicts)
                if following is None:
                    break
                head = following
            head = race.go_on()
        known = "nothing was written" if write is None else "it is not known whether this was written"
        raise Contended(f"other writers were in the way for {CONTENTION.deadline_s:g} seconds; {known}, try again")

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
        # The first event is gone for good (`esctl doctor` finds that): go on behind it, up to the next gap.
        whole = without_gap(page.events, None)
        return EventPage(whole, more=page.more or len(whole) < len(page.events))

    def _page(self, query: Mapping[str, Any]) -> EventPage:
        answer = self._client.query(**query)
        return EventPage(tuple(map(event_from_item, answer["Items"])), more="LastEvaluatedKey" in answer)

    def head(self, stream_id: StreamId) -> EventId:
        answer = self._client.query(
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
        # The id alone is the position: its hash tells the shard.
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
            answer = self._client.query(**query)
            found += [StreamId(item["streamId"]["S"]) for item in answer["Items"]]
            if "LastEvaluatedKey" in answer:
                last = found[-1]
            else:
                shard, last = shard + 1, None
        return StreamPage(tuple(found), found[-1] if shard < STREAM_SHARDS else None)

    # -- appending ---------------------------------------------------------------------------------------------------

    def _prepare(self, plan: AppendPlan, idempotency: IdempotencyKey | None, write_id: str, *, trust: bool) -> _Write:
        heads = self._base_heads(plan, trust=trust)
        now = self._clock.now()
        guard = (self._guards.table, guard_item(idempotency, heads, now)) if idempotency else None
        return _Write(plan.place(heads, rfc3339(now)), guard, write_id)

    def _base_heads(self, plan: AppendPlan, *, trust: bool) -> Mapping[StreamId, int]:
        """Return, for each stream, a head that is known to exist (E1) and is the expected one where one is (E2).

        ``trust``: a remembered head is good enough.
        """
        heads: dict[StreamId, int] = {}
        for stream, expected in plan.expected.items():
            warm = self._heads.get(stream)
            if expected == NO_EVENTS:
                head: int = NO_EVENTS  # needs no proof: event 0 has no predecessor, and the put itself shows the rest
            elif trust and warm is not None and expected in (None, warm):
                head = warm
            else:
                head = self._read_head(stream)
            if expected is not None and head != expected:
                raise VersionConflict(stream, expected, head)
            heads[stream] = head
        return heads

    def _execute(self, write: _Write, plan: AppendPlan) -> None:
        try:
            if len(write.events) == 1 and write.guard is None:
                put(self._client, self._events, write.events[0], write.write_id)
            else:
                transact(self._client, self._events, write.events, write.write_id, write.guard)
        except Lost as lost:
            if not lost.guard_stands:
                self._refuse_unexpected(plan)
            raise

    def _remember(self, existing: Iterable[Event]) -> None:
        for event in existing:
            self._heads.remember(event.stream_id, event.event_id)

    def _refuse_unexpected(self, plan: AppendPlan) -> None:
        """After a lost race: where a version was expected, it is gone for good, and another try is no use."""
        for stream, expected in plan.expected.items():
            if expected is not None:
                head = self._read_head(stream)
                if head != expected:
                    raise VersionConflict(stream, expected, head)

    def _read_head(self, stream: StreamId) -> EventId:
        head = self.head(stream)
        if head != NO_EVENTS:
            self._heads.remember(stream, head)
        return head


@dataclass(frozen=True, slots=True)
class _Write:
    """Events that have their places, and the guard that goes with them: its table and item."""

    events: tuple[Event, ...]
    guard: tuple[str, Item] | None
    write_id: str
