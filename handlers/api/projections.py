"""``GET /projections``: where each projection stands against the store's own heads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from handlers.api import http
from handlers.api.request import Request
from handlers.api.response import Response, json_response
from handlers.api.routes import LIST_PROJECTIONS, list_rows
from handlers.core.events import StreamId
from handlers.projection import Projection
from handlers.projection.port import ReadModel
from handlers.projection.state import StreamState
from handlers.store import EventStore

LIVE, BEHIND, HALTED, REPLAYING = "live", "behind", "halted", "replaying"


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
        # One more than asked for tells whether there are more.
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
    """Yield the states of the streams that a projection declares, and then of those it has met."""
    if only is not None:
        if projection.follows(only):
            yield read_model.load(only).state
        return
    declared: Iterable[StreamId] = projection.streams or ()
    for stream_id in declared:
        yield read_model.load(stream_id).state
    if projection.streams is None:
        yield from read_model.states()


def stream_json(state: StreamState, head: int) -> dict[str, Any]:
    """Return how one stream stands in one projection, in the contract's form."""
    document: dict[str, Any] = {
        "streamId": state.stream_id,
        "state": _word(state, head),
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
        previous = state.previous
        document["previous"] = {
            "generation": previous.generation,
            "checkpoint": previous.checkpoint,
            "at": previous.at,
        }
    if state.skipped:
        document["skipped"] = [{"eventId": int(event_id), **record} for event_id, record in state.skipped.items()]
    return document


def _word(state: StreamState, head: int) -> str:
    """Name the state that matters most to an operator."""
    if state.is_halted:
        return HALTED
    if state.replay is not None:
        return REPLAYING
    return BEHIND if head > state.checkpoint or not state.is_settled else LIVE
