"""What a replay worker holds in memory: the next page of history, and rows of the generation being built (R5)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice

from handlers.core.events import StreamId
from handlers.projection.definition import Row
from handlers.projection.port import MAX_COMMIT_ROWS, ReadModel
from handlers.projection.state import Chunk, Replay
from handlers.store import EventPage, EventStore

# Rows kept between pages (R5); other rows are read again.
MAX_CACHED_ROWS = 20_000
# 20,000 rows of 8 KB are 160 MB of text; at the 400 KB that a row may have they would be 8 GB.
MAX_CACHED_ROW_BYTES = 8_192


class HistoryPages:
    """The pages of a stream's history; with ``ahead`` the next page is fetched while the current one is folded."""

    def __init__(self, store: EventStore, stream_id: StreamId, *, ahead: bool) -> None:
        self._store = store
        self._stream_id = stream_id
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="history") if ahead else None
        self._next: tuple[int, Future[EventPage]] | None = None

    def after(self, replay: Replay) -> EventPage:
        """Return the page after the replay's checkpoint; exactly the started page if there is one.

        A page may have grown since it was started, at the end of the history, or may now be shorter.
        """
        page = self._read(replay.checkpoint)
        if replay.chunk is None:
            return page
        events = list(page.events)
        while events and events[-1].event_id < replay.chunk.to:
            events += self._read(events[-1].event_id).events
        within = tuple(event for event in events if event.event_id <= replay.chunk.to)
        return EventPage(within, more=True)

    def _read(self, checkpoint: int) -> EventPage:
        following, self._next = self._next, None
        ready = following is not None and following[0] == checkpoint
        page = following[1].result() if following and ready else self._store.read(self._stream_id, checkpoint + 1)
        if self._pool and page.more and page.events:
            last = page.events[-1].event_id
            self._next = (last, self._pool.submit(self._store.read, self._stream_id, last + 1))
        return page

    def close(self) -> None:
        """Discard the page read ahead."""
        if self._pool:
            self._pool.shutdown(wait=False, cancel_futures=True)


class RowCache:
    """Rows of the generation being built, kept between pages.

    They are valid only at the position at which they were written: another worker may have advanced the replay.
    """

    def __init__(self, read_model: ReadModel, stream_id: StreamId) -> None:
        self._read_model = read_model
        self._stream_id = stream_id
        self._rows: OrderedDict[str, Row | None] = OrderedDict()
        self._position: _Position | None = None
        self._complete = False

    def get(self, replay: Replay, keys: Sequence[str]) -> dict[str, Row | None]:
        """Return rows of the replay's generation; None for those that do not exist."""
        if _position(replay) != self._position:
            self.clear()
            self._position = _position(replay)
            # A generation is empty before its first commit: a row that is not cached does not exist.
            self._complete = replay.checkpoint == -1 and replay.chunk is None
        missing = iter([] if self._complete else [key for key in keys if key not in self._rows])
        found: dict[str, Row | None] = {}
        while batch := list(islice(missing, MAX_COMMIT_ROWS)):
            found |= self._read_model.load(self._stream_id, batch, replay.generation).rows
        return {key: found[key] if key in found else self._rows.get(key) for key in keys}

    def put(self, replay: Replay, rows: Mapping[str, Row | None], sizes: Mapping[str, int]) -> None:
        """Cache rows as written, except large ones; ``replay`` is the position after the write."""
        self._position = _position(replay)
        for key, row in rows.items():
            self._rows[key] = row
            self._rows.move_to_end(key)
            if sizes.get(key, 0) > MAX_CACHED_ROW_BYTES:
                del self._rows[key]
                self._complete = False
        while len(self._rows) > MAX_CACHED_ROWS:
            self._rows.popitem(last=False)
            self._complete = False

    def clear(self) -> None:
        """Drop all rows: another worker wrote."""
        self._rows.clear()
        self._position = None
        self._complete = False


_Position = tuple[int, int, Chunk | None]


def _position(replay: Replay) -> _Position:
    return replay.generation, replay.checkpoint, replay.chunk
