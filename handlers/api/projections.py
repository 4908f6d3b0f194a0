"""``GET /projections`` and ``GET /list<Name>``: the status of projections, and the rows of their read models (L1)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from handlers.api import http
from handlers.api.request import Request
from handlers.api.response import Response, TokenKind, fitting, json_response, page_response, page_token
from handlers.api.route import ProjectionState
from handlers.api.routes import LIST_PROJECTIONS, list_rows
from handlers.api.schemas import stream_id_faults
from handlers.core import lossless_json
from handlers.core.errors import NotFoundError
from handlers.core.events import StreamId
from handlers.projection import Projection, rows
from handlers.projection.port import ReadModel
from handlers.projection.reading import read_page
from handlers.projection.state import StreamState
from handlers.store import EventStore
from handlers.store.limits import MAX_SAFE_INTEGER


@dataclass(frozen=True, slots=True)
class ProjectionRoutes:
    """Describe projections: their read models against the heads of the store."""

    store: Callable[[], EventStore]
    projections: Callable[[], Mapping[str, Projection]]
    read_model: Callable[[str], ReadModel]

    def routes(self) -> http.Routes:
        return {LIST_PROJECTIONS: self.list_projections}

    def list_projections(self, request: Request) -> Response:
        """Describe every projection, or one (``name``), with up to ``limit`` of its streams, or one (``streamId``)."""
        projections, name, only = self.projections(), request.query.get("name"), request.query.get("streamId")
        if name is not None and name not in projections:
            request.fault("query:name", f"must be one of {', '.join(projections)}")
        request.check()
        chosen = [each for each in projections.values() if name in (None, each.name)]
        described = [self._describe(each, only, request.query["limit"]) for each in chosen]
        return json_response(200, {"projections": described})

    def _describe(self, projection: Projection, only: StreamId | None, limit: int) -> dict[str, Any]:
        read_model = self.read_model(projection.name)
        # One more than the limit tells whether there are more.
        states = list(islice(_states(projection, read_model, only), limit + 1))
        return {
            "name": projection.name,
            "listPath": list_rows(projection).path,
            "follows": projection.streams,
            "eventTypes": list(projection.handlers),
            "fingerprint": projection.fingerprint(),
            "streams": [stream_json(state, self.store().head(state.stream_id)) for state in states[:limit]],
            "more": len(states) > limit,
        }


def _states(projection: Projection, read_model: ReadModel, only: StreamId | None) -> Iterator[StreamState]:
    """Yield the states of one stream, of the projection's streams, or of all streams that it has met."""
    if only is not None:
        if projection.follows(only):
            yield read_model.load(only).state
    elif projection.streams is not None:
        yield from (read_model.load(stream_id).state for stream_id in projection.streams)
    else:
        yield from read_model.states()


def stream_json(state: StreamState, head: int) -> dict[str, Any]:
    """Return the status of one stream in one projection as the API describes it."""
    document: dict[str, Any] = {
        "streamId": state.stream_id,
        "state": _state(state, head),
        "head": head,
        "checkpoint": state.checkpoint,
        "lag": max(0, head - state.checkpoint),
        "generation": state.active_generation,
    }
    if state.fingerprint is not None:
        document["fingerprint"] = state.fingerprint
    if state.halted is not None and state.is_halted:
        halted = state.halted
        document["halted"] = {"eventId": halted.event_id, "error": halted.error, "at": halted.at}
    if state.replay is not None:
        replay = state.replay
        document["replay"] = {
            "replayId": replay.replay_id,
            "kind": replay.kind,
            "generation": replay.generation,
            "checkpoint": replay.checkpoint,
        }
    if state.previous is not None:
        kept = state.previous
        document["previous"] = {"generation": kept.generation, "checkpoint": kept.checkpoint, "at": kept.at}
    if state.skipped:
        document["skipped"] = [{"eventId": int(event_id), **record} for event_id, record in state.skipped.items()]
    return document


def _state(state: StreamState, head: int) -> ProjectionState:
    """Return the condition that matters most to an operator."""
    if state.is_halted:
        return ProjectionState.HALTED
    if state.replay is not None:
        return ProjectionState.REPLAYING
    return ProjectionState.BEHIND if head > state.checkpoint or not state.is_settled else ProjectionState.LIVE


@dataclass(frozen=True, slots=True)
class RowRoutes:
    """List the rows of one projection."""

    projection: Projection
    read_model: Callable[[str], ReadModel]

    def routes(self) -> http.Routes:
        return {list_rows(self.projection): self.list_rows}

    def list_rows(self, request: Request) -> Response:
        """List rows in the order of their keys; later pages are of the first page's generation."""
        projection, requested = self.projection, request.query.get("streamId")

        def is_issued(name: str, stream: str, generation: int, key: str) -> bool:
            matches = name == projection.name and requested in (None, stream)
            return matches and _is_position(projection, stream, generation, key)

        token = request.page_token(TokenKind.ROWS, str, str, int, str, valid=is_issued)
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
            "nextToken": last and page_token(TokenKind.ROWS, projection.name, stream_id, page.generation, last),
        }
        return page_response("items", texts, rest if page.settled else {**rest, "settled": False})


def _is_position(projection: Projection, stream_id: str, generation: int, key: str) -> bool:
    """Tell whether a projection can have such a row: tokens can be forged, and DynamoDB refuses some keys."""
    try:
        rows.check_key(key)
    except rows.UnstorableError:
        return False
    valid = not stream_id_faults(stream_id) and 0 <= generation <= MAX_SAFE_INTEGER
    return valid and projection.follows(stream_id)


def _stream(projection: Projection, request: Request) -> StreamId:
    """Return the stream whose rows to list; it may be omitted if the projection follows only one."""
    given = request.query.get("streamId")
    if given is None and projection.streams and len(projection.streams) == 1:
        return projection.streams[0]
    if given is None:
        request.fault("query:streamId", f"is required: the projection {projection.name} follows several streams")
    return StreamId(given or "")
