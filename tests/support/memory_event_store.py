"""The event store in memory: the contract's model, and what tests run on."""

from __future__ import annotations

import threading
import zlib
from collections.abc import Sequence
from itertools import islice

from handlers.core.clock import Clock, SystemClock, rfc3339
from handlers.core.errors import IdempotencyMismatchError, VersionConflictError
from handlers.core.events import NO_EVENTS, Event, EventId, NewEvent, StreamId
from handlers.store.planning import plan_append
from handlers.store.port import Appended, EventPage, IdempotencyKey, ScanPage, StreamPage


class MemoryEventStore:
    """An `EventStore` of plain lists; safe to share between threads."""

    def __init__(self, clock: Clock | None = None, *, page_events: int = 1000) -> None:
        self._clock = clock or SystemClock()
        self._page_events = page_events
        self._streams: dict[StreamId, list[Event]] = {}
        self._answers: dict[str, tuple[str, tuple[Event, ...]]] = {}
        self._segments: dict[int, list[list[StreamId]]] = {}
        self._lock = threading.Lock()

    def append(self, events: Sequence[NewEvent], idempotency: IdempotencyKey | None = None) -> Appended:
        plan = plan_append(events, with_idempotency_key=idempotency is not None)
        with self._lock:
            if idempotency and idempotency.key in self._answers:
                payload_hash, first = self._answers[idempotency.key]
                if payload_hash != idempotency.payload_hash:
                    raise IdempotencyMismatchError("this Idempotency-Key was used for another request")
                return Appended(first, replayed=True)
            heads = {stream: len(self._streams.get(stream, ())) - 1 for stream in plan.expected}
            for stream, expected in plan.expected.items():
                if expected is not None and expected != heads[stream]:
                    raise VersionConflictError(stream, expected, heads[stream])
            placed = plan.place(heads, rfc3339(self._clock.now()))
            for event in placed:
                self._streams.setdefault(event.stream_id, []).append(event)
            if idempotency:
                self._answers[idempotency.key] = (idempotency.payload_hash, placed)
            return Appended(placed)

    def read(
        self, stream_id: StreamId, first: int = 0, *, limit: int | None = None, backwards: bool = False
    ) -> EventPage:
        events = self._streams.get(stream_id, [])
        size = min(limit or self._page_events, self._page_events)
        if backwards:
            first = min(first, len(events) - 1)  # as a query does: from beyond the head, begin at the head
            chosen = events[max(0, first + 1 - size) : first + 1][::-1]
            return EventPage(tuple(chosen), more=bool(chosen) and chosen[-1].event_id > 0)
        chosen = events[first : first + size]
        return EventPage(tuple(chosen), more=first + size < len(events))

    def head(self, stream_id: StreamId) -> EventId:
        return EventId(len(self._streams.get(stream_id, ())) - 1) if stream_id in self._streams else NO_EVENTS

    def streams(self, *, limit: int = 100, after: str | None = None) -> StreamPage:
        names = sorted(stream for stream in self._streams if after is None or stream > after)
        chosen = names[:limit]
        return StreamPage(tuple(chosen), chosen[-1] if len(names) > limit else None)

    def scan(self, segment: int, segments: int, *, after: str | None = None, limit: int | None = None) -> ScanPage:
        # A position is the number of a stream in the segment, and of an event in the stream.
        streams = self._streams_of(segment, segments)
        number, first = map(int, after.split(":")) if after else (0, 0)
        found: list[Event] = []
        size = min(limit or self._page_events, self._page_events)
        while number < len(streams):
            events = self._streams[streams[number]]
            found += events[first : first + size - len(found)]
            if len(found) == size:
                return ScanPage(tuple(found), f"{number}:{found[-1].event_id + 1}")
            number, first = number + 1, 0
        return ScanPage(tuple(found), None)

    def _streams_of(self, segment: int, segments: int) -> list[StreamId]:
        with self._lock:
            found = self._segments.setdefault(segments, [[] for _ in range(segments)])
            for name in islice(self._streams, sum(map(len, found)), None):  # those since the last call
                found[zlib.crc32(name.encode()) % segments].append(name)
            return found[segment]
