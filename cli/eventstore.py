"""Reading streams and events through the API, page after page: nothing here holds a whole stream."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from cli.api import Answer
from cli.errors import CliError, NotFoundError
from handlers.api.request import path_segment

PAGE_MAX = 1000  # what the API gives at once, at most
_PAGE_FIRST = 100  # so that the first lines are there at once

Event = Mapping[str, Any]
"""An event in the contract's form: streamId, eventId, type, data, timeStamp, schemaVersion and perhaps metadata."""


class Reader(Protocol):
    """The part of `cli.api.Api` that reading needs."""

    def get(self, path: str, **query: object) -> Answer: ...


@dataclass(frozen=True, slots=True)
class EventPage:
    """Some events of one stream in the order asked for.

    Attributes
    ----------
    token
        Where the list goes on; None at its end.
    """

    events: list[Event]
    token: str | None


def stream_pages(api: Reader, *, limit: int | None = None) -> Iterator[list[str]]:
    """The ids of the streams: the same order on every stack (that of a hash, then of the ids)."""
    token: str | None = None
    left = limit
    while left is None or left > 0:
        page = _page(api, "/streams", "streams", limit=_size(left, PAGE_MAX), nextToken=token)
        found = [str(stream["streamId"]) for stream in page["streams"]]
        yield found
        token = page.get("nextToken")
        left = None if left is None else left - len(found)
        if token is None:
            return


def events_page(
    api: Reader,
    stream_id: str,
    *,
    first: int | None = None,
    limit: int = PAGE_MAX,
    backwards: bool = False,
    token: str | None = None,
) -> EventPage:
    """One page of a stream, from event ``first`` on or from where ``token`` says.

    Raises
    ------
    NotFoundError
        There is no such stream.
    """
    where: dict[str, Any] = {"nextToken": token} if token else {"from": first}
    if backwards and not token:
        where["direction"] = "backward"
    page = _page(api, f"/streams/{path_segment(stream_id)}/events", "events", limit=limit, **where)
    return EventPage(page["events"], page.get("nextToken"))


def event_pages(
    api: Reader, stream_id: str, *, first: int | None = None, limit: int | None = None, backwards: bool = False
) -> Iterator[list[Event]]:
    """The events of a stream from ``first`` on (downwards when ``backwards``), at most ``limit``."""
    token: str | None = None
    left, size = limit, _PAGE_FIRST
    while left is None or left > 0:
        page = events_page(api, stream_id, first=first, limit=_size(left, size), backwards=backwards, token=token)
        yield page.events
        token, size = page.token, PAGE_MAX
        left = None if left is None else left - len(page.events)
        if token is None:
            return


def head(api: Reader, stream_id: str) -> int:
    """The last eventId of a stream; -1 where there is no such stream."""
    try:
        page = events_page(api, stream_id, limit=1, backwards=True)
    except NotFoundError:
        return -1
    return int(page.events[0]["eventId"]) if page.events else -1


def _size(left: int | None, size: int) -> int:
    return size if left is None else min(left, size)


def _page(api: Reader, path: str, name: str, **query: object) -> dict[str, Any]:
    document = api.get(path, **query).document
    if not isinstance(document, dict) or not isinstance(document.get(name), list):
        raise CliError(f"the API's answer is not a list of {name}", "Is it the right address? See:  esctl outputs")
    return document
