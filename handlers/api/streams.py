"""``GET /streams`` and ``GET /streams/{streamId}/events``: reading the event store."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from handlers.api import http
from handlers.api.request import Request
from handlers.api.response import Response, TokenKind, fitting, json_response, page_response, page_token
from handlers.api.routes import BACKWARD, FORWARD, LIST_EVENTS, LIST_STREAMS
from handlers.api.schemas import stream_id_faults
from handlers.core import lossless_json
from handlers.core.errors import NotFoundError
from handlers.core.events import NO_EVENTS, Event, EventId, StreamId
from handlers.store import EventStore
from handlers.store.limits import MAX_SAFE_INTEGER


@dataclass(frozen=True, slots=True)
class StreamRoutes:
    """List streams and their events."""

    store: Callable[[], EventStore]

    def routes(self) -> http.Routes:
        return {LIST_STREAMS: self.list_streams, LIST_EVENTS: self.list_events}

    def list_streams(self, request: Request) -> Response:
        """List the streams; a new one appears within about a second."""
        token = request.page_token(TokenKind.STREAMS, str, valid=lambda last: not stream_id_faults(last))
        request.check()
        page = self.store().streams(limit=request.query["limit"], after=token[0] if token else None)
        streams = [{"streamId": stream_id} for stream_id in page.stream_ids]
        following = page.next_position and page_token(TokenKind.STREAMS, page.next_position)
        return json_response(200, {"streams": streams, "nextToken": following})

    def list_events(self, request: Request) -> Response:
        """List the events of one stream in the requested direction."""
        first, direction = request.query.get("from"), request.query.get("direction")

        def is_issued(stream: str, position: int, token_direction: str) -> bool:
            allowed = (FORWARD, BACKWARD) if direction is None else (direction,)
            continues = stream == request.path.get("streamId") and token_direction in allowed
            return continues and 0 <= position <= MAX_SAFE_INTEGER

        token = request.page_token(TokenKind.EVENTS, str, int, str, valid=is_issued)
        if token:
            _, first, direction = token
        request.check()
        stream_id = StreamId(request.path["streamId"])
        return self._page(stream_id, first, request.query["limit"], backwards=direction == BACKWARD)

    def _page(self, stream_id: StreamId, first: int | None, limit: int, *, backwards: bool) -> Response:
        store = self.store()
        if backwards:
            head = self._known_head(stream_id)
            first = head if first is None else min(first, head)
        page = store.read(stream_id, first or 0, limit=limit, backwards=backwards)
        if not page.events:
            self._known_head(stream_id)
        texts = fitting(event_json(event) for event in page.events)
        following = None
        if page.more or len(texts) < len(page.events):
            last = page.events[len(texts) - 1].event_id
            if not backwards:
                following = page_token(TokenKind.EVENTS, stream_id, last + 1, FORWARD)
            elif last > 0:
                following = page_token(TokenKind.EVENTS, stream_id, last - 1, BACKWARD)
        return page_response("events", texts, {"nextToken": following})

    def _known_head(self, stream_id: StreamId) -> EventId:
        head = self.store().head(stream_id)
        if head == NO_EVENTS:
            raise NotFoundError(f"there is no stream {stream_id!r}")
        return head


def event_json(event: Event) -> str:
    """Return an event as the contract describes it; data and metadata are the stored texts, unmodified."""
    head = {"streamId": event.stream_id, "eventId": event.event_id, "type": event.type}
    tail = {"timeStamp": event.time_stamp, "schemaVersion": event.schema_version}
    metadata = "" if event.metadata is None else f',"metadata":{event.metadata}'
    return f'{lossless_json.dumps(head)[:-1]},"data":{event.data},{lossless_json.dumps(tail)[1:-1]}{metadata}}}'
