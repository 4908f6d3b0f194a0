"""Rows of a read model as of a moment in the past: folded from events, never read from the read model."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from cli.client.records import Listing, Row, RowQuery, StreamStatus
from cli.client.service import Service
from cli.errors import NotFoundError, UsageError
from cli.replay.audit import Rows, key_order, new_fold
from cli.replay.history import Bound, Histories, OnProgress, history, until
from handlers.core.lossless_json import NotJsonError, loads
from handlers.projection.definition import Projection
from handlers.projection.keys import leading_parts, sort_bound, sort_value, upper_bound


@dataclass(frozen=True, slots=True)
class Moment:
    """A point in history: after an event of a stream, or at a time."""

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


def rows_as_of(
    service: Service,
    projection: Projection,
    when: Moment,
    query: RowQuery,
    bound: Bound,
    on_progress: OnProgress | None = None,
) -> tuple[Listing, tuple[StreamStatus, ...]]:
    """Return the rows that a query selects as of a moment, and the streams that could not be folded up to it.

    Raises
    ------
    NotFoundError
        The event does not exist yet.
    HistoryTooLongError
    CliError
        The projection follows one stream, and its handler raises before that moment: the read model never reached it.
    """
    if projection.only_stream is not None:
        return _of_one_stream(service, projection, projection.only_stream, when, query, bound, on_progress), ()
    if when.at is None:
        raise UsageError(
            f"--as-of must be a time here: {projection.name} follows several streams, each with its own eventIds",
            "For example:  --as-of 2026-11-23T10:15:30Z",
        )
    at = when.at
    fold = new_fold(service, projection)
    fold.all(until(events, at) for events in Histories(service, projection, bound, on_progress))
    stopped = tuple(each.status for each in fold.stopped.values())
    return Listing(select(projection, fold.rows, query)), stopped


def _of_one_stream(
    service: Service,
    projection: Projection,
    stream_id: str,
    when: Moment,
    query: RowQuery,
    bound: Bound,
    on_progress: OnProgress | None,
) -> Listing:
    if when.event_id is not None and when.event_id > (head := service.head(stream_id)):
        last = "the stream has no events yet" if head < 0 else f"the last one is event {head}"
        raise NotFoundError(f"there is no event {when.event_id}: {last}")

    def check(count: int) -> None:
        bound.check_events(projection, count)
        if on_progress:
            on_progress(count)

    events = history(service, stream_id, last=when.event_id, on_progress=check)
    fold = new_fold(service, projection)
    checkpoint = fold.events(events if when.at is None else until(events, when.at))
    for each in fold.stopped.values():
        raise each.error()
    whole = query == RowQuery(descending=query.descending)
    return Listing(select(projection, fold.rows, query), checkpoint if whole else None)


def select(projection: Projection, rows: Rows, query: RowQuery) -> list[Row]:
    """Return the rows that a query selects, in its order, as the API does for stored rows.

    Raises
    ------
    NotFoundError
        There is no row with the query's key, or the projection has no such index.
    """
    places = {key: key for key in rows} if query.index is None else _places(projection, rows, query.index, query.value)
    by_key = query.index is None or projection.indexes[query.index] is None
    parts = len(projection.key_attributes) if by_key else 1
    low, high = (_bound(each, parts, by_key) for each in (query.low, query.high))
    found = [
        key
        for key, place in places.items()
        if (low is None or key_order(place) >= key_order(leading_parts(low, parts)))
        and (high is None or key_order(place) <= key_order(upper_bound(high, parts)))
    ]
    if query.key is not None:
        key = leading_parts(_bound(query.key, parts, True) or [], parts)
        if key not in rows:
            raise NotFoundError(f"not found: {projection.name} had no row with the key {query.key} then")
        found = [key]
    elif query.prefix is not None:
        prefix = leading_parts(_bound(query.prefix, parts, True) or [], parts)
        found = [key for key in found if key.startswith(prefix)]
    found.sort(key=lambda key: (key_order(places[key]), key_order(key)), reverse=query.descending)
    return [projection.whole_row(key, rows[key]) for key in found]


def _places(projection: Projection, rows: Rows, index: str, value: str | None) -> dict[str, str]:
    """Return the keys of the rows with a value in an index, each with the text that sorts it."""
    names = list(projection.indexes)
    if index not in names:
        known = f"Indexes: {', '.join(names)}." if names else "It has no indexes."
        raise NotFoundError(f"the projection {projection.name} has no index {index}", known)
    slot = names.index(index) + 1
    return {
        key: entry.sort
        for key, row in rows.items()
        for entry in projection.index_entries(key, row)
        if (entry.slot, entry.value) == (slot, value)
    }


def _bound(text: str | None, parts: int, by_key: bool) -> list[str] | None:
    """Return the leading parts that a bound of the key names, or the one encoded bound of an index's sort attribute."""
    if text is None:
        return None
    if not by_key:
        return [sort_value(sort_bound(text)) or ""]
    value = _json(text)
    if parts > 1 and isinstance(value, list) and all(isinstance(each, str) for each in value):
        return value
    return [text]


def _json(text: str) -> Any:
    try:
        return loads(text)
    except NotJsonError:
        return None
