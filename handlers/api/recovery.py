"""``POST /projections/{name}/resume`` and ``…/skip``: recover halted streams (P5)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from handlers.api import http
from handlers.api.request import Request, named_projection
from handlers.api.response import Response, json_response
from handlers.api.routes import RESUME, SKIP
from handlers.core.clock import Clock, rfc3339
from handlers.core.errors import ConflictError, ContendedError, NotFoundError
from handlers.core.events import StreamId
from handlers.projection import Projection, transitions
from handlers.projection.port import OutdatedError, ReadModel
from handlers.projection.state import StreamState
from handlers.projection.transitions import StateChange
from handlers.store import EventStore

# A halted stream's state rarely changes: ten lost races mean that something else is wrong.
MAX_ATTEMPTS = 10

Change = Callable[[StreamState], StateChange]


@dataclass(frozen=True, slots=True)
class RecoveryRoutes:
    """Resume halted streams, or skip the event that a stream is halted at.

    ``trigger`` sends a hint to a projection's queue: the projection's name, the stream, its head.
    """

    store: Callable[[], EventStore]
    projections: Callable[[], Mapping[str, Projection]]
    read_model: Callable[[str], ReadModel]
    clock: Clock
    trigger: Callable[[str, StreamId, int], None]

    def routes(self) -> http.Routes:
        return {RESUME: self.resume, SKIP: self.skip}

    def resume(self, request: Request) -> Response:
        """Retry the events that one stream, or every halted stream of the projection, is halted at."""
        projection = named_projection(request, self.projections())
        resumed = []
        for stream_id in self._halted(projection, request.body.get("streamId")):
            event_id = self._change(projection, stream_id, None, transitions.resume)
            resumed.append({"streamId": stream_id, "eventId": event_id})
        return json_response(202, {"projection": projection.name, "streams": resumed})

    def skip(self, request: Request) -> Response:
        """Skip the event that a stream is halted at, and keep a record of it."""
        projection = named_projection(request, self.projections())
        stream_id, at = StreamId(request.body["streamId"]), rfc3339(self.clock.now())
        self._must_follow(projection, stream_id)
        event_id: int = request.body["eventId"]
        skipped = self._change(projection, stream_id, event_id, lambda state: transitions.skip(state, at))
        answer: dict[str, Any] = {"projection": projection.name, "streamId": stream_id}
        return json_response(200, {**answer, "eventId": skipped, "checkpoint": skipped})

    def _halted(self, projection: Projection, only: StreamId | None) -> list[StreamId]:
        """Return the streams to resume: the requested one, halted or not, or all that are halted."""
        if only is not None:
            self._must_follow(projection, only)
            return [only]
        read_model = self.read_model(projection.name)
        if projection.streams is not None:
            states = [read_model.load(stream_id).state for stream_id in projection.streams]
        else:
            states = [state for state in read_model.states() if state.is_halted]
        return [state.stream_id for state in states if state.is_halted]

    def _must_follow(self, projection: Projection, stream_id: StreamId) -> None:
        if not projection.follows(stream_id):
            raise NotFoundError(f"the projection {projection.name} does not follow stream {stream_id!r}")

    def _change(self, projection: Projection, stream_id: StreamId, event_id: int | None, change: Change) -> int:
        """Change the state of a halted stream and trigger its projection; returns the event it was halted at."""
        read_model = self.read_model(projection.name)
        halted_at = -1
        for _ in range(MAX_ATTEMPTS):
            state = read_model.load(stream_id).state
            if state.halted is None or not state.is_halted:
                # boto3 retries a call whose response was lost: the change that won may be this call's own.
                ours = halted_at >= 0 and (event_id is None or str(event_id) in state.skipped)
                if not ours:
                    raise ConflictError(f"stream {stream_id!r} is not halted in the projection {projection.name}")
                break
            halted_at = state.halted.event_id
            if event_id not in (None, halted_at):
                detail = f"stream {stream_id!r} is halted at event {halted_at}, not {event_id}"
                raise ConflictError(detail, eventId=halted_at)
            try:
                read_model.commit(change(state))
            except OutdatedError:
                continue
            break
        else:
            raise ContendedError(f"the state of stream {stream_id!r} is contended; try again")
        self.trigger(projection.name, stream_id, self.store().head(stream_id))
        return halted_at
