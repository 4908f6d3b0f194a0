"""The event store on DynamoDB.

Calls per append in the steady state: one PutItem of one write unit a kilobyte (E7), or one transaction where there are
several events or an idempotency key. Needs dynamodb:PutItem and dynamodb:Query on the Events table (Query on its index
`streams` to list streams), dynamodb:PutItem and dynamodb:GetItem on the Idempotency table.
"""

from __future__ import annotations

import json
import secrets
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from botocore.exceptions import ClientError

from handlers import exactjson
from handlers.backoff import attempts
from handlers.clock import Clock, SystemClock, rfc3339
from handlers.errors import Contended, Fault, IdempotencyMismatch, InvalidInput, VersionConflict
from handlers.events import NO_EVENTS, Event, EventId, NewEvent, StreamId
from handlers.store.items import STREAM_INDEX, STREAM_SHARDS, Item, event_from_item, event_item, without_gap
from handlers.store.limits import MAX_STREAM_ID_CHARACTERS
from handlers.store.planning import AppendPlan, plan_append
from handlers.store.port import Appended, EventPage, IdempotencyKey, StreamPage

# Twenty seconds of retries: far more than 16 writers on one stream need, and less than the 28 that the function has.
CONTENTION_DEADLINE_S = 20.0
# A warm copy of a head is 100 bytes or so; 10,000 of them are a megabyte.
MAX_WARM_HEADS = 10_000
# After a lost race the head is looked for among so many places behind the last one known. A batch of 16 small reads costs
# as much as three failed puts, and takes the emulator 3 ms, where a query takes 20 per thousand events of the stream.
NEAR_PLACES = 16
# A transaction becomes visible item by item, within milliseconds; a gap that stays for so long is damage.
GAP_DEADLINE_S = 1.0
# How long a repeat is recognised. Long enough for an import that is taken up again after a week's pause.
GUARD_TTL_S = 30 * 24 * 3600

_RETRYABLE_REASONS = {"TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"}


class _Lost(Exception):
    """Another writer took the place.

    Attributes
    ----------
    guard_stands
        The idempotency key was there already.
    near
        It was a single put: the event that stands in its place may well be the head.
    """

    def __init__(self, *, guard_stands: bool = False, near: bool = False) -> None:
        super().__init__()
        self.guard_stands = guard_stands
        self.near = near


class _Undecided(Exception):
    """Somebody's transaction was in the way. It may have been our own first try, so the same places are tried again."""


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
        retries: Callable[[float], Iterator[int]] = attempts,
    ) -> None:
        self._client = client
        self._events = events_table
        self._guards = idempotency_table
        self._clock = clock or SystemClock()
        self._retries = retries
        self._warm_heads: OrderedDict[StreamId, EventId] = OrderedDict()

    def append(self, events: Sequence[NewEvent], idempotency: IdempotencyKey | None = None) -> Appended:
        plan = plan_append(events, guarded=idempotency is not None)
        write_id = secrets.token_urlsafe(9)
        placed: tuple[Event, ...] = ()
        trust = True  # what is remembered; after a lost race it is known to be old
        for attempt in self._retries(CONTENTION_DEADLINE_S):
            try:
                if not placed:
                    heads = self._base_heads(plan, trust=trust)
                    now = self._clock.now()
                    guard = self._guard_item(idempotency, heads, now) if idempotency else None
                    placed = plan.place(heads, rfc3339(now))
                self._write(placed, write_id, plan, guard)
            except _Undecided:
                continue
            except _Lost as lost:
                # A single put that failed has shown that an event stands in its place. The first time, the place behind
                # that is worth a try: with two writers taking turns it is the right one, and costs no read.
                trust = lost.near and attempt == 0
                if lost.near:
                    self._remember(placed[0].stream_id, placed[0].event_id)
                placed = ()
                standing = self._guard(idempotency) if lost.guard_stands else None
                if standing is not None:
                    return self._repeat(plan, idempotency, standing)
            except VersionConflict:
                # The conflict may be our own first try: a repeat answers what the first one did (E4).
                standing = self._guard(idempotency)
                if standing is None:
                    raise
                return self._repeat(plan, idempotency, standing)
            else:
                for event in placed:
                    self._remember(event.stream_id, event.event_id)
                return Appended(placed, conflicts=attempt)
        raise Contended(f"other writers won for {CONTENTION_DEADLINE_S:g} seconds; nothing was written, try again")

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
        page = self._page(query)
        for _ in self._retries(GAP_DEADLINE_S):
            whole = without_gap(page.events, None if backwards else first)
            if len(whole) == len(page.events):
                return page
            if whole:
                return EventPage(whole, more=True)
            page = self._page(query)
        return page  # an event is gone for good; `esctl doctor` finds the gap

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
        shard, last = _position(after) if after else (0, None)
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
        return StreamPage(tuple(found), json.dumps([shard, last]) if shard < STREAM_SHARDS else None)

    # -- appending ---------------------------------------------------------------------------------------------------

    def _base_heads(self, plan: AppendPlan, *, trust: bool) -> Mapping[StreamId, int]:
        """Return, for each stream, a head that is known to exist (E1) and is the expected one where one is (E2).

        ``trust``: a remembered head is good enough.
        """
        heads: dict[StreamId, int] = {}
        for stream, expected in plan.expected.items():
            warm = self._warm_heads.get(stream)
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

    def _write(self, placed: Sequence[Event], write_id: str, plan: AppendPlan, guard: Item | None) -> None:
        try:
            if len(placed) == 1 and guard is None:
                self._put(placed[0], write_id)
            else:
                self._transact(placed, write_id, guard)
        except _Lost as lost:
            if not lost.guard_stands:
                self._refuse_unexpected(plan)
            raise

    def _put(self, event: Event, write_id: str) -> None:
        try:
            self._client.put_item(
                TableName=self._events,
                Item=event_item(event, write_id),
                ConditionExpression="attribute_not_exists(streamId)",
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code == "TransactionConflictException":
                raise _Undecided from error
            if code != "ConditionalCheckFailedException":
                raise
            if not _is_ours(error.response, write_id):
                raise _Lost(near=True) from error

    def _transact(self, placed: Sequence[Event], write_id: str, guard: Item | None) -> None:
        """Write all or none."""
        writes = [self._conditional_put(self._events, event_item(event, write_id), "streamId") for event in placed]
        if guard is not None:
            writes.append(self._conditional_put(self._guard_table(), guard, "idempotencyKey"))
        try:
            self._client.transact_write_items(TransactItems=writes)
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code in {"TransactionInProgressException", "TransactionConflictException"}:
                raise _Undecided from error
            if code != "TransactionCanceledException":
                raise
            reasons: Any = error.response.get("CancellationReasons", [])
            codes = {reason.get("Code") for reason in reasons} - {"None", None}
            if codes <= _RETRYABLE_REASONS:
                raise _Undecided from error
            if not codes <= _RETRYABLE_REASONS | {"ConditionalCheckFailed"}:
                raise
            if _is_ours(reasons[0], write_id):
                return
            guard_stands = guard is not None and reasons[-1].get("Code") == "ConditionalCheckFailed"
            raise _Lost(guard_stands=guard_stands) from error

    @staticmethod
    def _conditional_put(table: str, item: Item, key: str) -> dict[str, Any]:
        return {
            "Put": {
                "TableName": table,
                "Item": item,
                "ConditionExpression": f"attribute_not_exists({key})",
                "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
            }
        }

    def _refuse_unexpected(self, plan: AppendPlan) -> None:
        """After a lost race: where a version was expected, it is gone for good, and another try is no use."""
        for stream, expected in plan.expected.items():
            if expected is not None:
                head = self._read_head(stream)
                if head != expected:
                    raise VersionConflict(stream, expected, head)

    def _read_head(self, stream: StreamId) -> EventId:
        """Read the head: near the one remembered, if there is one, else wherever it is."""
        known = self._warm_heads.get(stream)
        head = None if known is None else self._head_near(stream, known)
        if head is None:
            head = self.head(stream)
        if head != NO_EVENTS:
            self._remember(stream, head)
        return head

    def _head_near(self, stream: StreamId, known: EventId) -> EventId | None:
        """Look at the places behind a head that existed; None where the present one is further on.

        An event that is there proves those before it (E1), so it does no harm that a batch is read bit by bit.
        """
        places = [
            {"streamId": {"S": stream}, "eventId": {"N": str(known + step)}} for step in range(1, NEAR_PLACES + 1)
        ]
        answer = self._client.batch_get_item(
            RequestItems={self._events: {"Keys": places, "ProjectionExpression": "eventId", "ConsistentRead": True}}
        )
        found = [int(item["eventId"]["N"]) for item in answer["Responses"].get(self._events, [])]
        if answer.get("UnprocessedKeys") or len(found) == NEAR_PLACES:
            return None
        return EventId(max(found, default=known))

    def _remember(self, stream: StreamId, head: EventId) -> None:
        if head < self._warm_heads.get(stream, NO_EVENTS):
            return
        self._warm_heads[stream] = head
        self._warm_heads.move_to_end(stream)
        if len(self._warm_heads) > MAX_WARM_HEADS:
            self._warm_heads.popitem(last=False)

    # -- idempotency -------------------------------------------------------------------------------------------------

    def _guard_table(self) -> str:
        if self._guards is None:
            raise ValueError("this event store was made without an idempotency table")
        return self._guards

    @staticmethod
    def _guard_item(idempotency: IdempotencyKey, heads: Mapping[StreamId, int], now: datetime) -> Item:
        # The rest of the answer is in the request itself, which the payload hash pins: eventIds and the time are enough.
        answer = json.dumps({"heads": list(heads.values()), "at": rfc3339(now)}, separators=(",", ":"))
        return {
            "idempotencyKey": {"S": idempotency.key},
            "payloadHash": {"S": idempotency.payload_hash},
            "answer": {"S": answer},
            "expiresAt": {"N": str(int(now.timestamp()) + GUARD_TTL_S)},
        }

    def _guard(self, idempotency: IdempotencyKey | None) -> Item | None:
        if idempotency is None:
            return None
        answer = self._client.get_item(
            TableName=self._guard_table(), Key={"idempotencyKey": {"S": idempotency.key}}, ConsistentRead=True
        )
        item: Item | None = answer.get("Item")
        return item

    @staticmethod
    def _repeat(plan: AppendPlan, idempotency: IdempotencyKey | None, guard: Item) -> Appended:
        """Return the first answer again."""
        if idempotency is None or guard["payloadHash"]["S"] != idempotency.payload_hash:
            raise IdempotencyMismatch("this Idempotency-Key was used for another request")
        answer = json.loads(guard["answer"]["S"])
        heads = dict(zip(plan.expected, answer["heads"], strict=True))
        return Appended(plan.place(heads, answer["at"]), replayed=True)


def _position(text: str) -> tuple[int, str | None]:
    """Read where a list of streams goes on; it comes back from clients, who may have written it themselves."""
    try:
        shard, last = exactjson.loads(text)
    except (ValueError, TypeError):
        shard, last = None, None
    known = type(shard) is int and 0 <= shard < STREAM_SHARDS
    if not known or not (last is None or (isinstance(last, str) and 1 <= len(last) <= MAX_STREAM_ID_CHARACTERS)):
        raise InvalidInput([Fault("query:nextToken", "is not a page token of this list; begin without one")])
    return shard, last


def _is_ours(refused: Any, write_id: str) -> bool:
    """Tell whether the item in the way is what this very call wrote: a call whose answer was lost is repeated."""
    standing = refused.get("Item") or {}
    return bool(standing.get("writeId", {}).get("S") == write_id)
