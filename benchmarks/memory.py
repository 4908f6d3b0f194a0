"""Peak memory of a replay: ``python -m benchmarks.memory EVENTS STREAMS``, in a process of its own.

The history is made up page by page as it is read, and what is written is counted and dropped, so that what is measured is
the worker and not the adapters.
"""

from __future__ import annotations

import json
import re
import resource
import sys
from pathlib import Path
from typing import Any

from benchmarks.replaying import Replaying
from benchmarks.target import events_on
from handlers.core.clock import SystemClock, rfc3339
from handlers.core.events import Event, EventId, StreamId
from handlers.core.lossless_json import dumps
from handlers.domain.items import items
from handlers.projection.port import Commit
from handlers.projection.state import StateItem
from handlers.store import EventPage
from handlers.store.port import ScanPage
from tests.support.domain.orders import orders
from tests.support.memory_event_store import MemoryEventStore
from tests.support.memory_read_model import MemoryReadModel

ITEMS = 200
# What a page of 1 MB holds of events like these.
PAGE_EVENTS = 4_000
AT = rfc3339(SystemClock().now())


class OneStream(MemoryEventStore):
    """A stream whose events are made when they are read."""

    def __init__(self, events: int) -> None:
        super().__init__()
        self._number = events

    def read(
        self, stream_id: StreamId, first: int = 0, *, limit: int | None = None, backwards: bool = False
    ) -> EventPage:
        end = min(self._number, first + PAGE_EVENTS)
        made = events_on(ITEMS, end - first, first=first)
        events = (
            Event(stream_id, EventId(first + index), each["type"], dumps(each["data"]), AT)
            for index, each in enumerate(made)
        )
        return EventPage(tuple(events), more=end < self._number)

    def head(self, stream_id: StreamId) -> EventId:
        return EventId(self._number - 1)


class ManyStreams(MemoryEventStore):
    """Streams of orders whose events are made when they are scanned."""

    def __init__(self, events: int, streams: int) -> None:
        super().__init__()
        self._each, self._streams_made = events // streams, streams

    def scan(self, segment: int, segments: int, *, after: str | None = None, limit: int | None = None) -> ScanPage:
        first = int(after) if after else segment
        numbers = range(first, self._streams_made, segments)[: PAGE_EVENTS // self._each]
        found = []
        for number in numbers:
            for event_id in range(self._each):
                kind = "ORDER_PAID" if event_id else "ORDER_PLACED"
                data = dumps({"customerId": f"customer-{number % 365}", "total": number % 97})
                found.append(Event(StreamId(f"order-{number:07}"), EventId(event_id), kind, data, AT))
        following = numbers[-1] + segments
        return ScanPage(tuple(found), str(following) if following < self._streams_made else None)


class Forgetful(MemoryReadModel):
    """Forgets the rows and states of streams that it is given: nobody reads them while a generation is built."""

    def commit(self, commit: Commit) -> None:
        kept = tuple(change for change in commit.changes if not isinstance(change.item, StateItem))
        if kept:
            super().commit(Commit(kept, fences=commit.fences))


def main(events: int, streams: int) -> None:
    replaying = (
        Replaying(items, OneStream(events), MemoryReadModel(), cpu=True)
        if streams == 1
        else Replaying(orders, ManyStreams(events, streams), Forgetful(), cpu=True)
    )
    done = replaying.run()
    if done != events:
        raise SystemExit(f"{done:,} of {events:,} events were replayed")
    print(json.dumps({"peakMb": round(_peak_bytes() / 1e6, 1)}))


def _peak_bytes() -> int:
    status: Any = Path("/proc/self/status")
    if status.exists():  # Linux' ru_maxrss begins with what the parent process had
        return int(re.findall(r"VmHWM:\s+(\d+) kB", status.read_text())[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # in bytes on macOS


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
