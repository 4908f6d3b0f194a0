"""Import and export events over several connections.

An import stores each event exactly once, however often it is interrupted and repeated:

- A batch has an idempotency key that follows from the file (see `batches`), so a repeated call is recognised. The store
  keeps keys for 30 days.
- A line with an eventId is appended only at that position. An event that is already stored there is compared: the same
  event counts as imported, whoever stored it and whenever; a different one is a conflict.

So the same file imported twice is imported once. To append events without eventIds a second time on purpose, name the
import (``--import-id``).
"""

from __future__ import annotations

import re
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import BinaryIO

from cli.client.http import Answer
from cli.client.records import Event, Page
from cli.client.service import Service
from cli.errors import CliError, ConflictError, NotFoundError
from cli.terminal.environment import Environment
from cli.terminal.text import shell_word, visible
from cli.transfer.batches import PARTITIONS, Batch, Batcher, Incoming, read_line, same_event
from cli.transfer.files import BadLineError, Sink, lines
from handlers.core.clock import Backoff, attempts
from handlers.core.lossless_json import dumps

# The API client itself gives up after five attempts within two seconds; an import outlasts half a minute of throttling.
_THROTTLED_STATUSES = frozenset({429, 502, 503, 504})
_RETRIES = Backoff(deadline_s=30.0, base_s=1.0, cap_s=15.0)
# All partitions together: enough that one long stream does not hold up the others in the file.
_QUEUED_BYTES_MAX = 16 * 1024 * 1024
_TICK_S = 0.2
# How long to wait for pending calls after a failure: one takes milliseconds, ten seconds at worst.
_STOP_TIMEOUT_S = 10.0


@dataclass(slots=True)
class ImportCounts:
    """What an import has done so far; safe to use from several threads."""

    imported: int = 0  # events that this run stored
    already: int = 0  # events that were already stored
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, *, imported: int = 0, already: int = 0) -> None:
        with self._lock:
            self.imported += imported
            self.already += already


def import_events(
    stream: BinaryIO,
    service: Service,
    environment: Environment,
    counts: ImportCounts,
    *,
    name: str = "",
    connections: int,
    tick: Callable[[], None],
) -> None:
    """Import every line of a stream of bytes under the name of the import, which is part of every idempotency key.

    ``counts`` says what is done, even if the import fails; ``tick`` is called several times a second. If a line can't be
    stored (`BadLineError`, `ConflictError`), nothing of its batch is stored, and nothing that was read after it.
    """
    batcher = Batcher(name)
    pool = PartitionPool(BatchAppender(service, environment, counts).append, connections, tick)
    try:
        # Batches that are incomplete when a line fails are not sent: a repeated import would group them differently.
        for number, raw in lines(stream):
            batch = batcher.add(read_line(number, raw))
            if batch is not None:
                pool.put(batch)
        for batch in batcher.rest():
            pool.put(batch)
        pool.finish()
    finally:
        pool.stop(_STOP_TIMEOUT_S)


def check(stream: BinaryIO, *, faults_max: int, tick: Callable[[int], None]) -> tuple[int, list[BadLineError]]:
    """Check every line and import nothing; return the number of good lines and the first bad ones.

    ``tick`` is called with the number of good lines so far.
    """
    good, bad = 0, list[BadLineError]()
    batcher = Batcher()
    source = lines(stream)
    while len(bad) < faults_max:
        try:
            for number, raw in source:
                batcher.add(read_line(number, raw))
                good += 1
                tick(good)
            break
        except BadLineError as error:
            bad.append(error)
    return good, bad


@dataclass(frozen=True, slots=True)
class BatchAppender:
    """Appends batches so that each event is stored once, whatever was stored before."""

    service: Service
    environment: Environment
    counts: ImportCounts

    def append(self, batch: Batch) -> None:
        """Append a batch. If an event is refused or another one is at its position, nothing of the batch is stored."""
        left = batch
        while left.events:
            try:
                answer = self._post(left)
            except ConflictError as error:
                if left.events[0].event_id is None:  # without expected positions there is nothing to compare
                    raise
                stored = self._stored_lines(left.events)
                if not stored:
                    raise _conflict(error, left.events) from error
                self.counts.add(already=len(stored))
                left = left.without(stored)
                continue
            number = len(left.events)
            self.counts.add(already=number) if answer.replayed else self.counts.add(imported=number)
            return

    def _post(self, batch: Batch) -> Answer:
        body = b'{"events":[' + b",".join(event.text.encode() for event in batch.events) + b"]}"
        failure: CliError | None = None
        for _ in attempts(_RETRIES, monotonic=self.environment.monotonic, sleep=self.environment.sleep):
            try:
                return self.service.add_events(body, idempotency_key=batch.key)
            except ConflictError:
                raise
            except CliError as error:
                failure = error
                if error.status not in _THROTTLED_STATUSES:
                    break
        assert failure is not None  # noqa: S101 - there is at least one attempt
        raise _located(failure, batch.events) from failure

    def _stored_lines(self, events: Sequence[Incoming]) -> set[int]:
        """Return the lines whose events are already stored; raise `ConflictError` if another one is at a position."""
        streams: dict[str, list[Incoming]] = {}
        for event in events:
            streams.setdefault(event.stream_id, []).append(event)
        found: set[int] = set()
        for stream_id, own in streams.items():
            for event, stored in zip(own, self._stored(stream_id, own), strict=False):
                if not same_event(event, stored):
                    raise ConflictError(
                        f"line {event.line}: event {event.event_id} of stream {visible(stream_id)} is another one in "
                        f"the store ({visible(stored['type'])} of {visible(stored['timeStamp'])})",
                        f"See it:  esctl events {shell_word(stream_id)} --from {event.event_id} --limit 1",
                    )
                found.add(event.line)
        return found

    def _stored(self, stream_id: str, events: Sequence[Incoming]) -> list[Event]:
        try:
            pages = self.service.event_pages(stream_id, first=events[0].event_id, limit=len(events))
            return [event for page in pages for event in page]
        except NotFoundError:
            return []


def _conflict(error: ConflictError, events: Sequence[Incoming]) -> ConflictError:
    """Return the error for a stream whose head is not the one that the file expects."""
    stream_id = error.problem.get("streamId")
    event = next((each for each in events if each.stream_id == stream_id), None)
    if event is None:
        return error
    return ConflictError(
        f"line {event.line}: event {event.event_id} can't be the next one of stream {visible(stream_id)}, whose head is "
        f"{error.problem.get('head')}",
        "Earlier events are missing in the store, or in the file.",
    )


def _located(error: CliError, events: Sequence[Incoming]) -> CliError | BadLineError:
    """Map the API's faults (``/events/3/data/amount``) to lines of the file."""
    faults: dict[int, list[str]] = {}
    for fault in error.problem.get("errors") or []:
        found = re.fullmatch(r"/events/(\d+)(.*)", str(fault.get("pointer", "")))
        if found and int(found[1]) < len(events):
            line = events[int(found[1])].line
            faults.setdefault(line, []).append(f"{found[2] or 'the event'} {fault.get('detail', 'is wrong')}")
    if not faults:
        return error
    first = min(faults)
    return BadLineError(faults[first], first)


class PartitionPool:
    """Threads that send batches: those of one partition in sequence, different partitions concurrently.

    The first exception of ``send`` stops the pool. ``tick`` is called several times a second while the caller waits.
    """

    def __init__(self, send: Callable[[Batch], None], connections: int, tick: Callable[[], None]) -> None:
        self._send = send
        self._tick = tick
        self._queues: list[deque[Batch]] = [deque() for _ in range(PARTITIONS)]
        self._busy = [False] * PARTITIONS
        self._queued_bytes = 0
        self._failure: BaseException | None = None
        self._stopped = False
        self._changed = threading.Condition()
        # Daemons: a call that hangs must not keep the program alive after Ctrl-C.
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(min(connections, PARTITIONS))]
        for thread in self._threads:
            thread.start()

    def put(self, batch: Batch) -> None:
        """Queue a batch; blocks while too much is queued. Raises a thread's exception."""
        self._tick()
        with self._changed:
            while self._queued_bytes > _QUEUED_BYTES_MAX and self._failure is None:
                self._wait()
            self._raise_failure()
            self._queues[batch.partition].append(batch)
            self._queued_bytes += batch.size_bytes
            self._changed.notify_all()

    def finish(self) -> None:
        """Wait until all batches are sent. Raises a thread's exception."""
        with self._changed:
            while self._failure is None and (any(self._queues) or any(self._busy)):
                self._wait()
            self._raise_failure()

    def stop(self, timeout_s: float) -> None:
        """Start no further batch, and wait briefly for pending ones."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: not any(self._busy), timeout_s)

    def _wait(self) -> None:
        self._changed.wait(_TICK_S)
        self._tick()

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._stopped or self._ready() is not None)
                partition = self._ready()
                if self._stopped or partition is None:
                    return
                batch = self._queues[partition].popleft()
                self._busy[partition] = True
            failure: BaseException | None = None
            try:
                self._send(batch)
            except BaseException as error:  # noqa: BLE001 - raised again on the caller's thread
                failure = error
            with self._changed:
                self._busy[partition] = False
                self._queued_bytes -= batch.size_bytes
                if failure is not None:
                    self._failure, self._stopped = self._failure or failure, True
                self._changed.notify_all()

    def _ready(self) -> int | None:
        """Return the fullest partition that has batches and no thread: it will take longest."""
        ready = [each for each in range(PARTITIONS) if self._queues[each] and not self._busy[each]]
        return max(ready, key=lambda each: len(self._queues[each]), default=None)


@dataclass(slots=True)
class ExportCounts:
    """What was written so far."""

    events: int = 0
    streams: int = 0


def export_events(
    service: Service,
    stream_ids: Iterable[str],
    sink: Sink,
    *,
    connections: int,
    tick: Callable[[ExportCounts], None],
) -> ExportCounts:
    """Write the events of some streams, in the order of the streams, then of their events.

    Each stream is complete up to an instant during the export. Memory holds a few pages, however long the streams are.
    """
    done = ExportCounts()
    for page in _prefetched_pages(service, stream_ids, connections):
        sink.write("".join(f"{dumps(event)}\n" for event in page.items).encode())
        done.events += len(page.items)
        done.streams += page.next_token is None
        tick(done)
    return done


def _prefetched_pages(service: Service, stream_ids: Iterable[str], connections: int) -> Iterator[Page[Event]]:
    """Yield all pages of all streams; the first pages of the next streams are fetched ahead."""
    pool = ThreadPoolExecutor(connections, thread_name_prefix="export")
    ahead: deque[tuple[str, Future[Page[Event]]]] = deque()
    following = iter(stream_ids)

    def fetch(stream_id: str, token: str | None = None) -> Future[Page[Event]]:
        return pool.submit(service.events_page, stream_id, token=token)

    def fill() -> None:
        while len(ahead) < connections and (stream_id := next(following, None)) is not None:
            ahead.append((stream_id, fetch(stream_id)))

    try:
        fill()
        while ahead:
            stream_id, pending = ahead.popleft()
            while True:
                page = pending.result()
                if page.next_token is None:
                    fill()
                    yield page
                    break
                pending = fetch(stream_id, page.next_token)
                yield page
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
