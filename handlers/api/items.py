"""``GET /list<Name>``: the rows of a projection's read model, as they were at one instant (L1)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

from handlers import exactjson
from handlers.api import http
from handlers.api.page_tokens import ROWS, page_token
from handlers.api.query import Query
from handlers.api.request import Request
from handlers.api.response import Response, fitting, page_response
from handlers.errors import NotFound
from handlers.events import StreamId
from handlers.projection import Projection, rows
from handlers.projection.port import ReadModel
from handlers.projection.reading import read_page
from handlers.store import limits

# A page is at most 1 MB, which is some thousands of small rows; with 1,000 the answer stays quick to read and to send.
MAX_ITEMS = 1000


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
        asked = query.text("streamId")

        def is_issued(name: str, stream: str, generation: int, key: str) -> bool:
            ours = name == projection.name and asked in (None, stream)
            return ours and _is_position(projection, stream, generation, key)

        token = query.token("nextToken", ROWS, str, str, int, str, valid=is_issued)
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
        texts = fitting(exactjson.dumps(row) for row in page.rows)
        last = page.next_after if len(texts) == len(page.rows) else page.rows[len(texts) - 1][projection.key]
        rest: dict[str, Any] = {
            "checkpoint": page.checkpoint,
            "nextToken": last and page_token(ROWS, projection.name, stream_id, page.generation, last),
        }
        return page_response("items", texts, rest if page.settled else {**rest, "settled": False})


def _is_position(projection: Projection, stream_id: str, generation: int, key: str) -> bool:
    """Tell whether rows of a projection can stand there: anybody can write a token, and DynamoDB refuses some keys."""
    try:
        rows.check_key(key)
    except rows.Unstorable:
        return False
    faults = limits.stream_id_faults(stream_id, "") + limits.integer_faults(generation, "", low=0)
    return not faults and projection.follows(stream_id)


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
