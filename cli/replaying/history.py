"""The history of a stream, read through the API page after page."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any

from cli.api import Api
from cli.errors import NotFoundError
from handlers.api.request import path_segment
from handlers.clock import parse_rfc3339
from handlers.events import Event, EventId, StreamId
from handlers.exactjson import dumps

_PAGE_EVENTS = 1000  # the most that the API gives at once


def history(
    api: Api, stream_id: str, *, first: int = 0, last: int | None = None, seen: Callable[[int], None] | None = None
) -> Iterator[Event]:
    """Yield the events of a stream in their order, one page in memory at a time; none where there is no such stream.

    Parameters
    ----------
    first, last
        The first eventId, and the last one or None for all.
    seen
        Told how many events were yielded, after each page.
    """
    path = f"/streams/{path_segment(stream_id)}/events"
    position, count = first, 0
    while last is None or position <= last:
        wanted = _PAGE_EVENTS if last is None else min(_PAGE_EVENTS, last - position + 1)
        try:
            page = api.get(path, **{"from": position, "limit": wanted}).document
        except NotFoundError:
            return
        for document in page["events"]:
            yield _event(document)
        count += len(page["events"])
        if seen:
            seen(count)
        if page["nextToken"] is None or not page["events"]:
            return
        position = int(page["events"][-1]["eventId"]) + 1


def until(events: Iterator[Event], moment: datetime) -> Iterator[Event]:
    """Yield the events before the first one that is later than a moment: a state that the stream really had."""
    for event in events:
        if parse_rfc3339(event.time_stamp) > moment:
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
