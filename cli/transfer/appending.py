"""Appending one chunk so that each of its events is stored once, whatever was stored before."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from cli.client.http import Answer
from cli.client.service import Event, Service
from cli.errors import CliError, ConflictError, NotFoundError
from cli.terminal.text import shell_word, visible
from cli.transfer.batches import Chunk, derived_key
from cli.transfer.files import BadLineError
from cli.transfer.incoming import Incoming, same_event

# Throttled or busy: the API client has tried five times by then; an import has more patience, half a minute.
_PASSING_STATUSES = frozenset({429, 502, 503, 504})
_PAUSES_S = (1, 2, 4, 8, 15)


@dataclass(slots=True)
class Tally:
    """What an import has done; written by several threads.

    Attributes
    ----------
    imported
        Events that this run has stored.
    already
        Events that were there before.
    """

    imported: int = 0
    already: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def done(self) -> int:
        return self.imported + self.already

    def add(self, *, imported: int = 0, already: int = 0) -> None:
        with self._lock:
            self.imported += imported
            self.already += already


class Appender:
    """Appends chunks.

    Parameters
    ----------
    sleep
        Waits, in seconds.
    """

    def __init__(self, service: Service, tally: Tally, sleep: Callable[[float], None]) -> None:
        self._service = service
        self._tally = tally
        self._sleep = sleep

    def append(self, chunk: Chunk) -> None:
        """Append a chunk.

        Raises
        ------
        ConflictError
            Another event stands where one of these belongs.
        BadLineError
            The API refuses one of them; nothing of the chunk is stored.
        CliError
        """
        left, key = chunk.events, chunk.key
        while left:
            try:
                answer = self._post(left, key)
            except ConflictError as error:
                if left[0].event_id is None:  # nothing was expected, so nothing can be compared
                    raise
                still = self._not_there(left)
                if len(still) == len(left):
                    raise _conflict(error, left) from error
                self._tally.add(already=len(left) - len(still))
                left, key = still, derived_key(chunk.key, still)
                continue
            number = len(left)
            self._tally.add(already=number) if answer.replayed else self._tally.add(imported=number)
            return

    def _post(self, events: Sequence[Incoming], key: str) -> Answer:
        body = b'{"events":[' + b",".join(event.text.encode() for event in events) + b"]}"
        for pause_s in (*_PAUSES_S, None):
            try:
                return self._service.add_events(body, idempotency_key=key)
            except ConflictError:
                raise
            except CliError as error:
                if error.status in _PASSING_STATUSES and pause_s is not None:
                    self._sleep(pause_s)
                    continue
                raise _located(error, events) from error
        raise AssertionError("the last attempt returns or raises")

    def _not_there(self, events: Sequence[Incoming]) -> tuple[Incoming, ...]:
        """Those that are not stored yet, without what stands in the store just as it stands in the file.

        Raises
        ------
        ConflictError
        """
        streams: dict[str, list[Incoming]] = {}
        for event in events:
            streams.setdefault(event.stream_id, []).append(event)
        there: set[int] = set()
        for stream_id, own in streams.items():
            for event, stored in zip(own, self._stored(stream_id, own), strict=False):
                if not same_event(event, stored):
                    raise ConflictError(
                        f"line {event.line}: event {event.event_id} of stream {visible(stream_id)} is another one in "
                        f"the store ({visible(stored['type'])} of {visible(stored['timeStamp'])})",
                        f"See it:  esctl events {shell_word(stream_id)} --from {event.event_id} --limit 1",
                    )
                there.add(event.line)
        return tuple(event for event in events if event.line not in there)

    def _stored(self, stream_id: str, events: Sequence[Incoming]) -> list[Event]:
        try:
            pages = self._service.event_pages(stream_id, first=events[0].event_id, limit=len(events))
            return [event for page in pages for event in page]
        except NotFoundError:
            return []


def _conflict(error: ConflictError, events: Sequence[Incoming]) -> ConflictError:
    """The streams have another head than the file expects, and nothing of the chunk is stored."""
    stream_id = error.problem.get("streamId")
    event = next((each for each in events if each.stream_id == stream_id), None)
    if event is None:
        return error
    return ConflictError(
        f"line {event.line}: event {event.event_id} can't be the next one of stream {visible(stream_id)}, whose head is "
        f"{error.problem.get('head')}",
        "Events before it are missing in the store, or in the file.",
    )


def _located(error: CliError, events: Sequence[Incoming]) -> CliError | BadLineError:
    """The API's faults (``/events/3/data/amount``) at the lines of the file."""
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
