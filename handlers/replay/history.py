"""The history of a stream, page after page, for a replay."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

from handlers.core.events import StreamId
from handlers.projection.state import Replay
from handlers.store import EventPage, EventStore


class HistoryPages:
    """The history, page after page; the next page is fetched while this one is folded."""

    def __init__(self, store: EventStore, stream_id: StreamId, *, ahead: bool) -> None:
        self._store = store
        self._stream_id = stream_id
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="history") if ahead else None
        self._coming: tuple[int, Future[EventPage]] | None = None

    def chunk(self, replay: Replay) -> EventPage:
        """Return the page after the replay's checkpoint; just the chunk that was begun where there is one.

        A page may have grown since, at the end of the history, or come out shorter.
        """
        page = self._after(replay.checkpoint)
        if replay.chunk is None:
            return page
        events = list(page.events)
        while events and events[-1].event_id < replay.chunk.to:
            events += self._after(events[-1].event_id).events
        within = tuple(event for event in events if event.event_id <= replay.chunk.to)
        return EventPage(within, more=True)

    def _after(self, checkpoint: int) -> EventPage:
        coming, self._coming = self._coming, None
        ready = coming is not None and coming[0] == checkpoint
        page = coming[1].result() if coming and ready else self._store.read(self._stream_id, checkpoint + 1)
        if self._pool and page.more and page.events:
            last = page.events[-1].event_id
            self._coming = (last, self._pool.submit(self._store.read, self._stream_id, last + 1))
        return page

    def close(self) -> None:
        """Let go of the page that nobody asked for."""
        if self._pool:
            self._pool.shutdown(wait=False, cancel_futures=True)
