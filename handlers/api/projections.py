"""``GET /projections``: the status of projections, at the same cost for any number of streams."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from handlers.api import http
from handlers.api.request import Request
from handlers.api.response import (
    MAX_LAMBDA_RESPONSE_BYTES,
    RESERVED_BYTES,
    Response,
    fitting,
    page_response,
)
from handlers.api.route import ProjectionState
from handlers.api.routes import LIST_PROJECTIONS, READ_ROWS, list_rows
from handlers.core import lossless_json
from handlers.core.events import StreamId
from handlers.projection import Projection
from handlers.projection.port import ReadModel, read_control
from handlers.projection.state import SHARDS, Building, Control, ReconcilerItem, StreamState
from handlers.store import EventStore

MAX_HALTED = 100
"""Halted streams are counted up to this number."""


@dataclass(frozen=True, slots=True)
class ProjectionRoutes:
    """Describe projections: their read models against the heads of the store."""

    store: Callable[[], EventStore]
    projections: Callable[[], Mapping[str, Projection]]
    read_model: Callable[[str], ReadModel]

    def routes(self) -> http.Routes:
        return {LIST_PROJECTIONS: self.list_projections}

    def list_projections(self, request: Request) -> Response:
        """Describe every projection, or one (``name``), with some of its streams, or one (``streamId``)."""
        projections, name, only = self.projections(), request.query.get("name"), request.query.get("streamId")
        if name is not None and name not in projections:
            request.fault("query:name", f"must be one of {', '.join(projections)}")
        request.check()
        chosen = [each for each in projections.values() if name in (None, each.name)]
        # Both the heads to read and the size of a response are shared.
        limit = max(1, request.query["limit"] // max(1, len(chosen)))
        room_bytes = (MAX_LAMBDA_RESPONSE_BYTES - RESERVED_BYTES) // max(1, len(chosen))
        described = (self._describe(each, only, limit, room_bytes) for each in chosen)
        return page_response("projections", fitting(described), {})

    def _describe(self, projection: Projection, only: StreamId | None, limit: int, room_bytes: int) -> str:
        read_model = self.read_model(projection.name)
        control = read_control(read_model)
        compared = read_model.read(ReconcilerItem()).get("last")
        halted = read_model.halted(control.active, limit=MAX_HALTED + 1)
        document: dict[str, Any] = {
            "name": projection.name,
            "listPath": list_rows(projection).path,
            "rowsPath": READ_ROWS.url_path(name=projection.name),
            "follows": projection.streams if projection.prefix is None else {"prefix": projection.prefix},
            "keyAttributes": projection.key_attributes,
            "indexes": [{"attribute": name, "sort": sort} for name, sort in projection.indexes.items()],
            "eventTypes": list(projection.handlers),
            "fingerprint": projection.fingerprint(),
            **_generations(control),
            "halted": {"count": min(len(halted), MAX_HALTED), "more": len(halted) > MAX_HALTED},
            **({"compared": compared} if compared else {}),
        }
        if only is None:
            named = (*halted, *(each["streamId"] for each in (compared or {}).get("worst", ())))
            states = _states(projection, read_model, control.active, named, limit)
        else:
            states = _loaded(read_model, control.active, [only] if projection.follows(only) else [])
        # One more than the limit tells whether there are more.
        found = list(islice(states, limit + 1))
        head = lossless_json.dumps(document)
        texts = fitting(
            (lossless_json.dumps(stream_json(each, self.store().head(each.stream_id))) for each in found[:limit]),
            room_bytes - len(lossless_json.dumps(head)),
        )
        more = "true" if len(texts) < len(found) else "false"
        return f'{head[:-1]},"streams":[{",".join(texts)}],"more":{more}}}'


def _generations(control: Control) -> dict[str, Any]:
    """Return what is read, what is built, and what a rollback returns to."""
    document: dict[str, Any] = {"generation": control.active}
    if control.fingerprint is not None:
        document["generationFingerprint"] = control.fingerprint
    for name, each in (("building", control.building), ("previous", control.previous)):
        if each is None:
            continue
        described: dict[str, Any] = {"generation": each.generation}
        if isinstance(each, Building):
            described |= {"replayId": each.replay_id, "kind": each.kind}
        else:
            described["at"] = each.at
        document[name] = described if each.fingerprint is None else {**described, "fingerprint": each.fingerprint}
    return document


def _states(
    projection: Projection, read_model: ReadModel, generation: int, first: Sequence[StreamId], limit: int
) -> Iterator[StreamState]:
    """Yield the states of some streams first, then of others; reads about ``limit`` of them."""
    named = list(dict.fromkeys((*first, *(projection.streams or ()))))
    yield from _loaded(read_model, generation, named[: limit + 1])
    if projection.streams is None and len(named) <= limit:
        for shard in range(SHARDS):
            page = read_model.states(generation, shard)
            yield from (state for state in page.states if state.stream_id not in named)


def _loaded(read_model: ReadModel, generation: int, stream_ids: Sequence[StreamId]) -> Iterator[StreamState]:
    states = read_model.load(generation, stream_ids).states if stream_ids else {}
    yield from (states[stream_id] for stream_id in stream_ids)


def stream_json(state: StreamState, head: int) -> dict[str, Any]:
    """Return the status of one stream in one projection as the API describes it."""
    document: dict[str, Any] = {
        "streamId": state.stream_id,
        "state": _state(state, head),
        "head": head,
        "checkpoint": state.checkpoint,
        "lag": max(0, head - state.checkpoint),
        "generation": state.generation,
    }
    if state.halted is not None and state.is_halted:
        halted = state.halted
        document["halted"] = {"eventId": halted.event_id, "error": halted.error, "at": halted.at}
    if state.skipped:
        document["skipped"] = [{"eventId": int(event_id), **record} for event_id, record in state.skipped.items()]
    return document


def _state(state: StreamState, head: int) -> ProjectionState:
    """Return the condition that matters most to an operator."""
    if state.is_halted:
        return ProjectionState.HALTED
    return ProjectionState.BEHIND if head > state.checkpoint or not state.is_settled else ProjectionState.LIVE
