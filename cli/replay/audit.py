"""Fold a stream's history with the projection's code: rows as of a moment, and audits of read models."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from cli.client.service import PAGE_MAX, Listing, Row, Service, StreamStatus
from cli.errors import CliError, NotFoundError, UsageError
from cli.terminal.text import shell_word, visible
from handlers.core.clock import parse_rfc3339
from handlers.core.errors import HandlerFailedError
from handlers.core.events import Event, EventId, StreamId
from handlers.core.lossless_json import dumps
from handlers.projection.definition import Projection
from handlers.projection.fold import fold_all

Rows = dict[str, Row]
"""Rows by key, without the key attribute."""

OnProgress = Callable[[int], None]
"""Called with the number of events read so far."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A row that differs between two states; None if it does not exist."""

    key: str
    one: Row | None
    other: Row | None


@dataclass(frozen=True, slots=True)
class Effect:
    """The differences between two states of one stream's rows.

    Attributes
    ----------
    checkpoint
        The checkpoint of the later state.
    before, after
        Number of rows before and after a replay, or stored and expected.
    settled
        False if events were applied while the rows were read, which may explain some differences.
    """

    stream_id: str
    checkpoint: int
    before: int
    after: int
    differences: tuple[Difference, ...]
    settled: bool = True


@dataclass(frozen=True, slots=True)
class Moment:
    """A point in a stream's history: after an event, or at a time."""

    event_id: int | None = None
    at: datetime | None = None


def moment(text: str) -> Moment:
    """Parse the value of ``--as-of``: an eventId, or a time (UTC unless it says otherwise).

    Raises
    ------
    UsageError
    """
    if re.fullmatch(r"[0-9]{1,16}", text):  # eventIds end at 2^53
        return Moment(event_id=int(text))
    try:
        at = datetime.fromisoformat(text)
        at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError):
        raise UsageError(
            f"--as-of can't be {text!r}: it must be an eventId or a time",
            "For example:  --as-of 41   or   --as-of 2026-11-23T10:15:30Z",
        ) from None
    return Moment(at=at)


def streams_of(service: Service, projection: Projection, stream_id: str | None = None) -> tuple[StreamStatus, ...]:
    """Return the status of a projection's streams, or of one of them.

    Raises
    ------
    NotFoundError
        The stack has no such projection, or the projection does not follow the stream.
    """
    # The name is not sent: a stack without the projection would reject the query.
    found = service.projections(stream_id=stream_id)
    described = next((each for each in found if each.name == projection.name), None)
    if described is None:
        raise NotFoundError(
            f"the stack has no projection {projection.name}: its code is from another version", "Deploy:  esctl deploy"
        )
    if stream_id is not None and not described.streams:
        raise NotFoundError(f"the projection {projection.name} does not follow stream {visible(stream_id)}")
    return described.streams


def rows_as_of(service: Service, projection: Projection, when: Moment, stream_id: str | None = None) -> Listing:
    """Return all rows of a read model as of a moment; reads events only.

    Raises
    ------
    NotFoundError
        The event does not exist yet.
    CliError
        A handler raises before that moment, so the read model never reached it.
    """
    streams = streams_of(service, projection, stream_id)
    if len(streams) != 1:
        raise UsageError(f"the projection {projection.name} follows several streams", "Choose one with --stream-id.")
    stream = streams[0]
    if when.event_id is not None and when.event_id > stream.head:
        last = "the stream has no events yet" if stream.head < 0 else f"the last one is event {stream.head}"
        raise NotFoundError(f"there is no event {when.event_id}: {last}")
    events = history(service, stream.stream_id, last=when.event_id)
    rows: Rows = {}
    checkpoint = _fold(projection, events if when.at is None else _until(events, when.at), rows, stream)
    return Listing(_items(rows, projection.key), checkpoint)


def audit(
    service: Service, projection: Projection, stream: StreamStatus, on_progress: OnProgress | None = None
) -> Effect:
    """Compare a read model with a fold of its history up to its own checkpoint. Writes nothing.

    Raises
    ------
    CliError
        A handler raises, or the rows cannot be read at one checkpoint.
    """
    listing = service.rows(projection, stream_id=stream.stream_id)
    if not listing.settled:
        raise CliError(
            "cannot compare: events are applied faster than the rows can be read", "Try again when fewer events arrive."
        )
    expected: Rows = {}
    if listing.checkpoint >= 0:
        events = history(service, stream.stream_id, last=listing.checkpoint, on_progress=on_progress)
        _fold(projection, events, expected, stream)
    return _effect(stream.stream_id, listing.checkpoint, rows_by_key(listing.items, projection.key), expected)


def changed(service: Service, projection: Projection, stream: StreamStatus, before: Listing, after: Listing) -> Effect:
    """Return what a replay changed.

    Events applied in the meantime are first folded into the earlier rows, so that they do not count as differences.
    """
    one, other = rows_by_key(before.items, projection.key), rows_by_key(after.items, projection.key)
    number = len(one)
    if before.checkpoint < after.checkpoint:
        since = history(service, stream.stream_id, first=before.checkpoint + 1, last=after.checkpoint)
        _fold(projection, since, one, stream)
    effect = _effect(stream.stream_id, after.checkpoint, one, other)
    return replace(effect, before=number, settled=before.settled and after.settled)


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


def rows_by_key(items: Iterable[Row], key: str) -> Rows:
    """Return rows by key."""
    return {str(item[key]): {name: value for name, value in item.items() if name != key} for item in items}


def differences(one: Rows, other: Rows) -> list[Difference]:
    """Return the rows that differ, in list order."""
    keys = sorted(one.keys() | other.keys(), key=_key_order)
    found = [Difference(key, one.get(key), other.get(key)) for key in keys]
    return [each for each in found if not same(each.one, each.other)]


def same(one: object, other: object) -> bool:
    """Return whether DynamoDB considers two values equal: 1.50 equals 1.5, but true does not equal 1.

    Examples
    --------
    >>> same({"amount": Decimal("1.50")}, {"amount": Decimal("1.5")}), same(True, 1)
    (True, False)
    """
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, int | Decimal) and isinstance(other, int | Decimal):
        return one == other
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same(value, other[name]) for name, value in one.items())
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and one == other


def _fold(projection: Projection, events: Iterator[Event], rows: Rows, stream: StreamStatus) -> int:
    """Fold events into rows as the stack does, skipping skipped events; returns the last eventId."""
    try:
        return fold_all(projection, events, rows, skipped={str(event_id) for event_id in stream.skipped})
    except HandlerFailedError as error:
        raise CliError(
            f"history cannot be folded past event {error.event_id} ({error.event_type}): {error.error}",
            f"See the event:  esctl events {shell_word(stream.stream_id)} --from {error.event_id} --limit 1",
        ) from error


def _until(events: Iterator[Event], at: datetime) -> Iterator[Event]:
    """Yield the events up to the first later one: a state that the stream really had, even if clocks differ."""
    for event in events:
        if parse_rfc3339(event.time_stamp) > at:
            return
        yield event


def _event(document: Mapping[str, Any]) -> Event:
    return Event(
        StreamId(document["streamId"]),
        EventId(int(document["eventId"])),
        document["type"],
        dumps(document["data"]),
        document["timeStamp"],
        schema_version=int(document.get("schemaVersion", 1)),
    )


def _items(rows: Rows, key: str) -> list[Row]:
    return [{key: name, **rows[name]} for name in sorted(rows, key=_key_order)]


def _key_order(key: str) -> bytes:
    """Return the sort key that DynamoDB uses: UTF-8 bytes."""
    return key.encode(errors="surrogatepass")


def _effect(stream_id: str, checkpoint: int, one: Rows, other: Rows) -> Effect:
    return Effect(stream_id, checkpoint, len(one), len(other), tuple(differences(one, other)))
