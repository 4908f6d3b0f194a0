"""The typed client of the deployed API: one method per route, records instead of documents.

Every method raises a `CliError` if the API refuses the call, fails or is unreachable (see `cli.client.http.error_of`);
the methods' docstrings name only errors that a caller may want to handle. Event ids are numbers from 0, and -1 means
that there is no event.

Examples
--------
>>> service = Service(http)  # doctest: +SKIP
>>> service.add_event({"streamId": "1", "type": "ITEM_CREATED", "data": {"itemId": "7"}}).document  # doctest: +SKIP
{'streamId': '1', 'eventId': 0, ...}
>>> [event["type"] for page in service.event_pages("1") for event in page]  # doctest: +SKIP
['ITEM_CREATED']
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol, TypeVar

from cli.client.http import Answer
from cli.client.records import (
    Event,
    Listing,
    Page,
    ProjectionStatus,
    ReplayJob,
    Row,
    RowQuery,
    StreamEvent,
    StreamStatus,
)
from cli.errors import CliError, ConflictError, DegradedError, NotFoundError, TimedOutError
from cli.terminal.text import shell_word, visible
from handlers.api.route import path_segment
from handlers.projection.definition import Projection

T = TypeVar("T")

PAGE_MAX = 1000  # the API's largest page of events, streams and rows
INDEX_PAGE_MAX = 100
STREAMS_MAX = 100  # the largest number of streams that the API describes per projection
NO_EVENT = -1
_FIRST_PAGE = 100  # small, so that the first lines appear immediately
_UNSETTLED_ATTEMPTS = 3
_NOT_OURS = "Is this the right address? See:  esctl outputs"


class Transport(Protocol):
    """The part of `cli.client.http.HttpClient` that the service uses; ``path`` is percent-encoded."""

    def get(self, path: str, **query: object) -> Answer: ...
    def post(self, path: str, body: object, *, idempotency_key: str | None = None) -> Answer: ...


class Service:
    """The routes of one deployed stack. Safe to use from several threads."""

    def __init__(self, http: Transport) -> None:
        self._http = http

    # Events

    def add_event(self, event: Mapping[str, Any], *, idempotency_key: str | None = None) -> Answer:
        """Append one event: `POST /addEvent`. The answer's document contains its streamId and eventId.

        Raises
        ------
        ConflictError
            The event's ``expectedVersion`` is not the head of the stream.
        """
        return self._http.post("/addEvent", event, idempotency_key=idempotency_key)

    def add_events(self, body: bytes, *, idempotency_key: str) -> Answer:
        """Append up to 100 events, all or none: `POST /addEvents`. ``body`` is the request as JSON text."""
        return self._http.post("/addEvents", body, idempotency_key=idempotency_key)

    def stream_pages(self, *, limit: int | None = None) -> Iterator[list[str]]:
        """Yield the ids of the streams, page by page, in the same order on every stack: `GET /streams`."""

        def fetch(size: int, token: str | None) -> Page[Mapping[str, Any]]:
            return self._page("/streams", "streams", limit=size, nextToken=token)

        for page in _pages(fetch, limit):
            yield [str(stream["streamId"]) for stream in page.items]

    def events_page(
        self,
        stream_id: str,
        *,
        first: int | None = None,
        limit: int = PAGE_MAX,
        backwards: bool = False,
        token: str | None = None,
    ) -> Page[Event]:
        """Return one page of a stream, from event ``first`` or ``token`` on: `GET /streams/{streamId}/events`.

        Raises
        ------
        NotFoundError
            The stream does not exist.
        """
        where: dict[str, Any] = {"nextToken": token} if token else {"from": first}
        if backwards and not token:
            where["direction"] = "backward"
        return self._page(f"/streams/{path_segment(stream_id)}/events", "events", limit=limit, **where)

    def event_pages(
        self,
        stream_id: str,
        *,
        first: int | None = None,
        limit: int | None = None,
        backwards: bool = False,
        first_page: int = _FIRST_PAGE,
    ) -> Iterator[list[Event]]:
        """Yield a stream's events page by page, from ``first`` on, newest first if ``backwards``.

        Parameters
        ----------
        first_page
            Size of the first page; by default small, so that the first events appear immediately.

        Raises
        ------
        NotFoundError
            The stream does not exist.
        """

        def fetch(size: int, token: str | None) -> Page[Event]:
            return self.events_page(stream_id, first=first, limit=size, backwards=backwards, token=token)

        for page in _pages(fetch, limit, first_page):
            yield page.items

    def head(self, stream_id: str) -> int:
        """Return the last eventId of a stream, or -1 if the stream does not exist."""
        try:
            page = self.events_page(stream_id, limit=1, backwards=True)
        except NotFoundError:
            return NO_EVENT
        return int(page.items[0]["eventId"]) if page.items else NO_EVENT

    # Read models

    def items(self, projection: Projection, *, limit: int | None = None) -> Listing:
        """Return all rows of a projection that follows one stream, or the first ``limit``, at one checkpoint.

        `GET /list<Name>`.
        """
        for _ in range(_UNSETTLED_ATTEMPTS):
            listing = self._items(projection, limit)
            if listing.settled:
                return listing
        return listing

    def rows(self, projection: str, query: RowQuery | None = None, *, limit: int | None = None) -> Listing:
        """Return the rows that a query selects, or the first ``limit``: `GET /projections/{name}/rows`.

        Raises
        ------
        NotFoundError
            The projection does not exist, or there is no row with the query's key.
        DegradedError, TimedOutError
            The event that the query waits for was not applied: its stream is halted, or it takes too long.
        """
        query = query or RowQuery()
        found: list[Row] = []
        token: str | None = None
        for page in self.row_pages(projection, query, limit=limit):
            found += page.items
            token = page.next_token
        return Listing(found, complete=token is None)

    def row_pages(self, projection: str, query: RowQuery, *, limit: int | None = None) -> Iterator[Page[Row]]:
        """Yield the rows that a query selects, page by page. Raises as `rows`."""
        path = f"/projections/{path_segment(projection)}/rows"
        largest = PAGE_MAX if query.index is None else INDEX_PAGE_MAX

        def fetch(size: int, token: str | None) -> Page[Row]:
            place: dict[str, object] = {"after": query.after} if token is None else {"nextToken": token}
            if query.key is not None:
                return self._page(path, "rows", **query.parameters(), **place)
            return self._page(path, "rows", **query.parameters(), **place, limit=min(size, largest))

        try:
            yield from _pages(fetch, limit)
        except ConflictError as error:
            raise _not_applied(error, projection, query) from error

    def projections(
        self, *, name: str | None = None, stream_id: str | None = None, limit: int | None = None
    ) -> list[ProjectionStatus]:
        """Return the status of all projections, or of one, or of one stream: `GET /projections`.

        Parameters
        ----------
        limit
            The largest number of streams per projection: 20 by default, at most 100.
        """
        page: Page[Mapping[str, Any]] = self._page(
            "/projections", "projections", limit=limit, name=name, streamId=stream_id
        )
        return [ProjectionStatus.of(each) for each in page.items]

    def stream_status(self, projection: str, stream_id: str) -> StreamStatus:
        """Return the status of one stream in a projection.

        Raises
        ------
        NotFoundError
            The projection does not exist, or does not follow the stream.
        """
        found = self.projections(name=projection, stream_id=stream_id)
        described = next((each for each in found if each.name == projection), None)
        if described is None or not described.streams:
            raise NotFoundError(f"the projection {projection} does not follow stream {visible(stream_id)}")
        return described.streams[0]

    def resume(self, projection: str, stream_id: str | None = None) -> list[StreamEvent]:
        """Resume one halted stream, or all: `POST /projections/{name}/resume`. Returns where they were halted.

        Raises
        ------
        ConflictError
            The named stream is not halted.
        NotFoundError
            The projection does not exist, or does not follow the stream.
        """
        body = {} if stream_id is None else {"streamId": stream_id}
        resumed: dict[str, StreamEvent] = {}
        while True:
            answer = self._http.post(f"/projections/{path_segment(projection)}/resume", body).document
            found = {event.stream_id: event for event in map(StreamEvent.of, answer["streams"])}
            # One that was resumed may have halted again.
            if not answer.get("more") or found.keys() <= resumed.keys():
                return list((resumed | found).values())
            resumed |= found

    def skip(self, projection: str, stream_id: str, event_id: int) -> StreamEvent:
        """Skip the event that a stream is halted at: `POST /projections/{name}/skip`.

        Raises
        ------
        ConflictError
            The stream is not halted at that event.
        NotFoundError
            The projection does not exist, or does not follow the stream.
        """
        body = {"streamId": stream_id, "eventId": event_id}
        answer = self._http.post(f"/projections/{path_segment(projection)}/skip", body).document
        return StreamEvent.of(answer)

    # Replays

    def trigger_replay(self, projection: str, stream_id: str | None = None, from_event_id: int = 0) -> ReplayJob:
        """Start a replay, of all or of one stream, or return the running one: `POST /triggerReplay`.

        Raises
        ------
        ConflictError
            A replay of another kind is running.
        """
        body: dict[str, Any] = {"projection": projection}
        body |= {} if stream_id is None else {"streamId": stream_id}
        body |= {"fromEventId": from_event_id} if from_event_id else {}
        return ReplayJob(self._http.post("/triggerReplay", body).document)

    def rollback(self, projection: str, stream_id: str | None = None) -> ReplayJob:
        """Switch back to the previous generation: `POST /projections/{name}/rollback`.

        Raises
        ------
        ConflictError
            A replay is running, or no previous generation is left.
        """
        body = {} if stream_id is None else {"streamId": stream_id}
        return ReplayJob(self._http.post(f"/projections/{path_segment(projection)}/rollback", body).document)

    def cancel(self, replay_id: str) -> ReplayJob:
        """Cancel a running replay: `POST /replays/{replayId}/cancel`.

        Raises
        ------
        ConflictError
            It has ended, or changes the rows in place.
        NotFoundError
        """
        return ReplayJob(self._http.post(f"/replays/{path_segment(replay_id)}/cancel", {}).document)

    def replay(self, replay_id: str) -> ReplayJob:
        """Return one job: `GET /replays/{replayId}`.

        Raises
        ------
        NotFoundError
        """
        if not replay_id:
            raise NotFoundError("not found: a replay with an empty id")
        return ReplayJob(self._http.get(f"/replays/{path_segment(replay_id)}").document)

    def replays(self, limit: int) -> list[ReplayJob]:
        """Return the most recent jobs, newest first: `GET /replays`."""
        page: Page[Mapping[str, Any]] = self._page("/replays", "replays", limit=limit)
        return [ReplayJob(each) for each in page.items]

    def _items(self, projection: Projection, limit: int | None) -> Listing:
        items: list[Row] = []
        checkpoints: set[int] = set()
        settled = True

        def fetch(size: int, token: str | None) -> Page[Row]:
            nonlocal settled
            document = self._document(f"/list{projection.pascal_name}", "items", limit=size, nextToken=token)
            checkpoints.add(int(document.get("checkpoint", NO_EVENT)))
            settled = settled and document.get("settled", True) is not False
            return Page(document["items"], document.get("nextToken"))

        for page in _pages(fetch, limit):
            items += page.items
        complete = page.next_token is None
        return Listing(items, min(checkpoints), settled and len(checkpoints) == 1, complete)

    def _page(self, path: str, items: str, /, **query: object) -> Page[Any]:
        document = self._document(path, items, **query)
        return Page(document[items], document.get("nextToken"))

    def _document(self, path: str, items: str, /, **query: object) -> dict[str, Any]:
        document = self._http.get(path, **query).document
        if not isinstance(document, dict) or not isinstance(document.get(items), list):
            raise CliError(f"the API's answer is not a list of {items}", _NOT_OURS)
        return document


def _not_applied(error: ConflictError, projection: str, query: RowQuery) -> CliError:
    """Return the error of a query whose ``after`` was not reached; other conflicts are returned unchanged."""
    if not str(error.problem.get("type", "")).endswith("not-applied"):
        return error
    halted = error.problem.get("halted")
    stream_id = str(error.problem.get("streamId", ""))
    if halted:
        return halted_error(projection, stream_id, int(halted["eventId"]), str(halted["error"]))
    return TimedOutError(
        f"event {visible(query.after)} is not in the read model {projection} yet: "
        f"the checkpoint of its stream is {error.problem.get('checkpoint')}",
        f"Try again, or see whether it is behind:  esctl projections {projection}",
    )


def halted_error(projection: str, stream_id: str, event_id: int, why: str) -> CliError:
    """Return the error for an event that cannot be applied, because its stream is halted before it."""
    return DegradedError(
        f"{projection}: stream {visible(stream_id)} is halted at event {event_id}: {why}",
        f"After the cause is fixed:  esctl projections resume {projection} --stream-id {shell_word(stream_id)}",
    )


def _pages(
    fetch: Callable[[int, str | None], Page[T]], limit: int | None, first_page: int = PAGE_MAX
) -> Iterator[Page[T]]:
    """Yield the pages of a list up to its end, or to ``limit`` entries; ``fetch`` takes a page's size and token."""
    token: str | None = None
    remaining, size = limit, first_page
    while remaining is None or remaining > 0:
        page = fetch(size if remaining is None else min(remaining, size), token)
        yield page
        token, size = page.next_token, PAGE_MAX
        remaining = None if remaining is None else remaining - len(page.items)
        if token is None:
            return
