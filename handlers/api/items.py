"""``GET /list<Name>``: the rows of a projection's read model, as they were at one instant (L1)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

from handlers.api import http
from handlers.api.query import Query, page_token
from handlers.api.request import Request
from handlers.api.response import Response, json_response
from handlers.errors import NotFound
from handlers.events import StreamId
from handlers.projection import Projection, rows
from handlers.projection.port import ReadModel
from handlers.projection.reading import read_page
from handlers.store import limits

# A page is at most 1 MB, which is some thousands of small rows; with 1,000 the answer stays quick to read and to send.
MAX_ITEMS = 1000

_TOKEN = "items"  # noqa: S105 - the kind of a page token, no secret


@dataclass(frozen=True, slots=True)
class Listing:
    """What the routes need: the projections, and the read model of each by name."""

    projections: Iterable[Projection]
    read_model: Callable[[str], ReadModel]

    def routes(self) -> http.Routes:
        return {f"GET /list{each.pascal_name}": partial(self.list_items, each) for each in self.projections}

    def list_items(self, projection: Projection, request: Request) -> Response:
        """List rows in the order of their keys, a page at a time; further pages are of the generation of the first."""
        query = Query(request, ("limit", "nextToken", "streamId"))
        limit = query.integer("limit", MAX_ITEMS, low=1, high=MAX_ITEMS)
        token = query.token("nextToken", _TOKEN, str, str, int, str)
        if token and (token[0] != projection.name or not _is_position(token[1], token[3])):
            query.fault("nextToken", "belongs to another list")
        if token and query.text("streamId") not in (None, token[1]):
            query.fault("nextToken", "belongs to another stream")
        stream_id = StreamId(token[1]) if token else _stream(projection, query)
        query.check()
        if not projection.follows(stream_id):
            raise NotFound(f"the projection {projection.name} does not follow stream {stream_id!r}")
        page = read_page(
            self.read_model(projection.name),
            stream_id,
            key=projection.key,
            limit=limit,
            after=token[3] if token else None,
            generation=token[2] if token else None,
        )
        following = page.next_after
        answer = {
            "items": page.rows,
            "checkpoint": page.checkpoint,
            "nextToken": following and page_token(_TOKEN, projection.name, stream_id, page.generation, following),
        }
        return json_response(200, answer if page.settled else {**answer, "settled": False})


def _is_position(stream_id: str, key: str) -> bool:
    """Tell whether a token's parts can be keys: anybody can write a token, and DynamoDB refuses some keys."""
    try:
        rows.check_key(key)
    except rows.Unstorable:
        return False
    return not limits.stream_id_faults(stream_id, "")


def _stream(projection: Projection, query: Query) -> StreamId:
    """Return the stream that is asked for: the projection's only one unless the query says."""
    given = query.text("streamId")
    if given is None:
        if projection.streams and len(projection.streams) == 1:
            return projection.streams[0]
        query.fault("streamId", f"is needed: the projection {projection.name} follows several streams")
        return StreamId("")
    query.faults += limits.stream_id_faults(given, "query:streamId")
    return StreamId(given)
