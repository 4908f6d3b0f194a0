"""Read the history that a projection follows, and fold it here with the projection's code."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Any

from cli.client.records import Page, StreamStatus
from cli.client.service import PAGE_MAX, Service
from cli.errors import CliError, NotFoundError
from cli.terminal.text import shell_word, visible
from handlers.core.clock import parse_rfc3339
from handlers.core.errors import HandlerFailedError
from handlers.core.events import Event, EventId, StreamId
from handlers.core.lossless_json import dumps
from handlers.projection.definition import Projection
from handlers.projection.fold import Prepared, fold
from handlers.projection.port import Row

OnProgress = Callable[[int], None]
"""Called with the number of events read so far."""

# Each stream costs a call of some milliseconds, most of it waiting; the pages of one batch are in memory together.
_READERS, _BATCH = 8, 16


class HistoryTooLongError(CliError):
    """A projection's history has more events or streams than may be read; ``why`` says how many that are."""

    def __init__(self, projection: Projection, why: str) -> None:
        super().__init__(f"the history of {projection.name} is too long: {why}", "Read all of it:  --full")
        self.why = why


@dataclass(frozen=True, slots=True)
class Bound:
    """How much history may be read; None: all of it.

    Attributes
    ----------
    events
        The largest number of events, and of rows.
    streams
        The largest number of streams in the store, each of which costs a call.
    """

    events: int | None = None
    streams: int | None = None

    def check_events(self, projection: Projection, number: int) -> None:
        """Raise `HistoryTooLongError` if these are too many events or rows."""
        if self.events is not None and number > self.events:
            raise HistoryTooLongError(projection, f"more than {self.events:,} events or rows")

    def check_streams(self, projection: Projection, number: int) -> None:
        """Raise `HistoryTooLongError` if these are too many streams."""
        if self.streams is not None and number > self.streams:
            raise HistoryTooLongError(projection, f"more than {self.streams:,} streams")


def history(
    service: Service, stream_id: str, *, first: int = 0, last: int | None = None, on_progress: OnProgress | None = None
) -> Iterator[Event]:
    """Yield the events of a stream in order, one page in memory at a time; none if the stream does not exist.

    Parameters
    ----------
    first, last
        The first eventId, and the last one or None for all.
    on_progress
        Called after each page.
    """
    count = 0
    try:
        limit = None if last is None else last - first + 1
        for page in service.event_pages(stream_id, first=first, limit=limit, first_page=PAGE_MAX):
            yield from map(_event, page)
            count += len(page)
            if on_progress:
                on_progress(count)
    except NotFoundError:
        return


def until(events: Iterable[Event], at: datetime) -> Iterator[Event]:
    """Yield the events up to the first later one: a state that the stream really had, even if clocks differ."""
    for event in events:
        if parse_rfc3339(event.time_stamp) > at:
            return
        yield event


def in_time_order(histories: Iterable[Iterable[Event]]) -> list[Event]:
    """Return the events of several streams by time; a stream's own order counts more than its time stamps."""
    found: list[tuple[datetime, int, Event]] = []
    for number, events in enumerate(histories):
        latest: datetime | None = None
        for event in events:
            time = parse_rfc3339(event.time_stamp)
            latest = time if latest is None else max(latest, time)
            found.append((latest, number, event))
    found.sort(key=lambda each: each[:2])  # stable
    return [event for _, _, event in found]


class Histories:
    """The events of all streams that a projection follows, stream by stream.

    Attributes
    ----------
    events, streams
        Number of events and streams read so far.
    """

    def __init__(
        self, service: Service, projection: Projection, bound: Bound, on_progress: OnProgress | None = None
    ) -> None:
        self._service = service
        self._projection = projection
        self._bound = bound
        self._on_progress = on_progress
        self._seen: set[str] = set()
        self.events = 0

    @property
    def streams(self) -> int:
        return len(self._seen)

    def __iter__(self) -> Iterator[Iterator[Event]]:
        """Yield the events of each stream that was not yielded before; each is to be read before the next one.

        Raises
        ------
        HistoryTooLongError
        """
        stream_ids = self._stream_ids()
        with ThreadPoolExecutor(_READERS) as pool:
            while batch := list(islice(stream_ids, _BATCH)):
                for stream_id, page in zip(batch, pool.map(self._first_page, batch), strict=True):
                    self._seen.add(stream_id)
                    yield self._events(stream_id, page)

    def _stream_ids(self) -> Iterator[str]:
        projection = self._projection
        if projection.streams is not None:
            yield from (each for each in projection.streams if each not in self._seen)
            return
        listed = 0
        for page in self._service.stream_pages():
            listed += len(page)
            self._bound.check_streams(projection, listed)
            yield from (each for each in page if each not in self._seen and projection.follows(each))

    def _first_page(self, stream_id: str) -> Page[Mapping[str, Any]]:
        try:
            return self._service.events_page(stream_id, first=0)
        except NotFoundError:
            return Page([], None)

    def _events(self, stream_id: str, page: Page[Mapping[str, Any]]) -> Iterator[Event]:
        while True:
            self.events += len(page.items)
            self._bound.check_events(self._projection, self.events)
            if self._on_progress:
                self._on_progress(self.events)
            yield from map(_event, page.items)
            if page.next_token is None:
                return
            page = self._service.events_page(stream_id, token=page.next_token)


@dataclass(frozen=True, slots=True)
class Stopped:
    """Where the fold of a stream ended, because the handler raises at its next event."""

    failure: HandlerFailedError
    status: StreamStatus

    def error(self) -> CliError:
        """Return the error for a history that cannot be folded."""
        failure, stream_id = self.failure, self.status.stream_id
        return CliError(
            f"history cannot be folded past event {failure.event_id} ({failure.event_type}) of stream "
            f"{visible(stream_id)}: {failure.error}",
            f"See the event:  esctl events {shell_word(stream_id)} --from {failure.event_id} --limit 1",
        )


@dataclass(slots=True)
class Fold:
    """The rows that events of any number of streams lead to.

    Attributes
    ----------
    status_of
        Returns the status of a stream; asked only if a handler raises, for the events that an operator skipped.
    sources
        The streams whose events wrote a row, by the row's encoded key.
    stopped
        The streams that could not be folded to their end.
    """

    projection: Projection
    status_of: Callable[[str], StreamStatus]
    rows: dict[str, Row] = field(default_factory=dict)
    sources: dict[str, set[str]] = field(default_factory=dict)
    stopped: dict[str, Stopped] = field(default_factory=dict)
    _skipped: dict[str, frozenset[str]] = field(default_factory=dict)

    def all(self, histories: Iterable[Iterable[Event]]) -> None:
        """Fold the events of several streams; where they share rows, in the order of time."""
        if self.projection.rows_per_stream:
            for events in histories:
                self.events(events)
        else:
            self.events(in_time_order(histories))

    def events(self, events: Iterable[Event]) -> int:
        """Fold events, of one stream in its order; returns the last eventId that took effect, or -1."""
        last = -1
        for event in events:
            if event.stream_id not in self.stopped and self._apply(event):
                last = event.event_id
        return last

    def _apply(self, event: Event) -> bool:
        stream_id = event.stream_id
        skipped = self._skipped.get(stream_id, frozenset())
        before = event.event_id - 1
        prepared = Prepared(self.projection, event)
        rows = {key: self.rows.get(key) for key in prepared.keys}
        folded = fold(self.projection, [prepared], rows, before, skipped=skipped)
        if folded.failure is not None:
            status = self.status_of(stream_id)
            if stream_id not in self._skipped:
                self._skipped[stream_id] = frozenset(map(str, status.skipped))
                return self._apply(event)
            self.stopped[stream_id] = Stopped(folded.failure, status)
            return False
        for key, row in folded.changed.items():
            self.sources.setdefault(key, set()).add(stream_id)
            if row is None:
                self.rows.pop(key, None)
            else:
                self.rows[key] = row
        return True


def _event(document: Mapping[str, Any]) -> Event:
    metadata = document.get("metadata")
    return Event(
        StreamId(document["streamId"]),
        EventId(int(document["eventId"])),
        document["type"],
        dumps(document["data"]),
        document["timeStamp"],
        metadata=None if metadata is None else dumps(metadata),
        schema_version=int(document.get("schemaVersion", 1)),
    )
