"""``GET /list<Name>``: the rows of a projection's read model, as they were at one instant (L1)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from handlers.api import http
from handlers.api.page_tokens import ROWS, page_token
from handlers.api.request import Request
from handlers.api.response import Response, fitting, page_response
from handlers.api.routes import list_rows
from handlers.api.schemas import stream_id_faults
from handlers.core import lossless_json
from handlers.core.errors import NotFoundError
from handlers.core.events import StreamId
from handlers.projection import Projection, rows
from handlers.projection.port import ReadModel
from handlers.projection.reading import read_page
from handlers.store.limits import MAX_SAFE_INTEGER


@dataclass(frozen=True, slots=True)
class RowRoutes:
    """List the rows of one projection, from the read model of that name."""

    projection: Projection
    read_model: Callable[[str], ReadModel]

    def routes(self) -> http.Routes:
        return {list_rows(self.projection): self.list_rows}

    def list_rows(self, request: Request) -> Response:
        """List rows in the order of their keys, a page at a time; further pages are of the generation of the first."""
        projection, asked = self.projection, request.query.get("streamId")

        def is_issued(name: str, stream: str, generation: int, key: str) -> bool:
            ours = name == projection.name and asked in (None, stream)
            return ours and _is_position(projection, stream, generation, key)

        token = request.page_token(ROWS, str, str, int, str, valid=is_issued)
        stream_id = StreamId(token[1]) if token else _stream(projection, request)
        request.check()
        if not projection.follows(stream_id):
            raise NotFoundError(f"the projection {projection.name} does not follow stream {stream_id!r}")
        page = read_page(
            self.read_model(projection.name),
            stream_id,
            key=projection.key,
            limit=request.query["limit"],
            after=token[3] if token else None,
            generation=token[2] if token else None,
        )
        texts = fitting(lossless_json.dumps(row) for row in page.rows)
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
    except rows.UnstorableError:
        return False
    valid = not stream_id_faults(stream_id) and 0 <= generation <= MAX_SAFE_INTEGER
    return valid and projection.follows(stream_id)


def _stream(projection: Projection, request: Request) -> StreamId:
    """Return the stream whose rows to list: the projection's only one unless the query says."""
    given = request.query.get("streamId")
    if given is None and projection.streams and len(projection.streams) == 1:
        return projection.streams[0]
    if given is None:
        request.fault("query:streamId", f"is required: the projection {projection.name} follows several streams")
    return StreamId(given or "")
