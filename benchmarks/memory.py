"""Peak memory of a replay: ``python -m benchmarks.memory EVENTS``, in a process of its own.

The history is made up page by page as it is read, so that what is measured is the worker and not the store.
"""

from __future__ import annotations

import json
import re
import resource
import sys
from pathlib import Path

from benchmarks.target import events_on
from handlers.core.clock import SystemClock, rfc3339
from handlers.core.events import Event, EventId, StreamId
from handlers.core.lossless_json import dumps
from handlers.domain.items import TEST_STREAM, items
from handlers.replay.requests import Replays
from handlers.replay.worker import ReplayWorker
from handlers.store import EventPage
from tests.support.memory_event_store import MemoryEventStore
from tests.support.memory_read_model import MemoryReadModel
from tests.support.memory_replay_jobs import MemoryReplayJobs

ITEMS = 200
# What a page of 1 MB holds of events like these.
PAGE_EVENTS = 4_000
STREAM = StreamId(TEST_STREAM)


class MadeUp(MemoryEventStore):
    """A stream whose events are made when they are read."""

    def __init__(self, events: int) -> None:
        super().__init__()
        self._number = events
        self._at = rfc3339(SystemClock().now())

    def read(
        self, stream_id: StreamId, first: int = 0, *, limit: int | None = None, backwards: bool = False
    ) -> EventPage:
        end = min(self._number, first + PAGE_EVENTS)
        made = events_on(ITEMS, end - first, first=first)
        events = (
            Event(stream_id, EventId(first + index), each["type"], dumps(each["data"]), self._at)
            for index, each in enumerate(made)
        )
        return EventPage(tuple(events), more=end < self._number)

    def head(self, stream_id: StreamId) -> EventId:
        return EventId(self._number - 1)


def main(events: int) -> None:
    store, read_model, jobs, clock = MadeUp(events), MemoryReadModel(), MemoryReplayJobs(), SystemClock()
    replays = Replays(items, store, read_model, jobs, clock, send=lambda *_: None, new_id=lambda: "replay")
    replays.trigger(STREAM)
    ReplayWorker(items, store, read_model, jobs, clock, send_next=lambda *_: None).work(STREAM, "replay", lambda: True)
    progress = replays.progress("replay")
    if (progress.state, progress.events_done) != ("done", events):
        raise SystemExit(f"the replay is {progress}")
    print(json.dumps({"peakMb": round(_peak_bytes() / 1e6, 1)}))


def _peak_bytes() -> int:
    status = Path("/proc/self/status")
    if status.exists():  # Linux' ru_maxrss begins with what the parent process had
        return int(re.findall(r"VmHWM:\s+(\d+) kB", status.read_text())[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # in bytes on macOS


if __name__ == "__main__":
    main(int(sys.argv[1]))
