"""``resume`` and ``skip``: setting a halted stream of a projection going again (P5)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from handlers.api import http
from handlers.api.body import read_object
from handlers.api.replays import known, stream_faults
from handlers.api.request import Request
from handlers.api.response import Response, distinct, json_response
from handlers.clock import Clock, rfc3339
from handlers.errors import Conflict, Contended, Fault, InvalidInput, NotFound
from handlers.events import StreamId
from handlers.projection import Projection, transitions
from handlers.projection.port import Outdated, ReadModel
from handlers.projection.state import StreamState
from handlers.projection.transitions import StateChange
from handlers.store import EventStore, limits

# A halted stream's state hardly ever changes: losing this often means that something else is wrong.
MAX_LOST_RACES = 10

Change = Callable[[StreamState], StateChange]


@dataclass(frozen=True, slots=True)
class Mending:
    """What the routes need.

    Attributes
    ----------
    nudge
        Sends a message to a projection's queue, so that it looks at a stream afresh: the projection's name, the
        stream, its head.
    """

    store: Callable[[], EventStore]
    projections: Callable[[], Mapping[str, Projection]]
    read_model: Callable[[str], ReadModel]
    clock: Clock
    nudge: Callable[[str, StreamId, int], None]

    def routes(self) -> http.Routes:
        return {"POST /projections/{name}/resume": self.resume, "POST /projections/{name}/skip": self.skip}

    def resume(self, request: Request) -> Response:
        """Try again what halted: one stream, or every one of the projection."""
        projection = self.projections()[known(request, self.projections())]
        body, faults = read_object(request, ("streamId",))
        faults += stream_faults(body)
        if faults:
            raise InvalidInput(distinct(faults))
        only = StreamId(body["streamId"]) if "streamId" in body else None
        resumed = []
        for stream_id in self._halted(projection, only):
            event_id = self._change(projection, stream_id, None, transitions.resume)
            resumed.append({"streamId": stream_id, "eventId": event_id})
        return json_response(202, {"projection": projection.name, "streams": resumed})

    def skip(self, request: Request) -> Response:
        """Step over the event that a stream halted at, and leave a record of it."""
        projection = self.projections()[known(request, self.projections())]
        body, faults = read_object(request, ("streamId", "eventId"))
        faults += stream_faults(body, required=True)
        if "eventId" in body:
            faults += limits.integer_faults(body["eventId"], "/eventId", low=0)
        else:
            faults.append(Fault("/eventId", "is missing"))
        if faults:
            raise InvalidInput(distinct(faults))
        stream_id, at = StreamId(body["streamId"]), rfc3339(self.clock.now())
        self._must_follow(projection, stream_id)
        skipped = self._change(projection, stream_id, body["eventId"], lambda state: transitions.skip(state, at))
        answer: dict[str, Any] = {"projection": projection.name, "streamId": stream_id}
        return json_response(200, {**answer, "eventId": skipped, "checkpoint": skipped})

    def _halted(self, projection: Projection, only: StreamId | None) -> list[StreamId]:
        """Return the streams to resume; one that was asked for need not be halted to be looked at."""
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
            raise NotFound(f"the projection {projection.name} does not follow stream {stream_id!r}")

    def _change(self, projection: Projection, stream_id: StreamId, event_id: int | None, change: Change) -> int:
        """Change the state of a halted stream and nudge its projection; returns the event that it was halted at."""
        read_model = self.read_model(projection.name)
        halted_at = -1
        for _ in range(MAX_LOST_RACES):
            state = read_model.load(stream_id).state
            if state.halted is None or not state.is_halted:
                # boto3 repeats a call whose answer was lost: then it was our own change that came first.
                ours = halted_at >= 0 and (event_id is None or str(event_id) in state.skipped)
                if not ours:
                    raise Conflict(f"stream {stream_id!r} is not halted in the projection {projection.name}")
                break
            halted_at = state.halted.event_id
            if event_id not in (None, halted_at):
                raise Conflict(
                    f"stream {stream_id!r} is halted at event {halted_at}, not {event_id}", eventId=halted_at
                )
            try:
                read_model.commit(change(state))
            except Outdated:
                continue
            break
        else:
            raise Contended(f"the state of stream {stream_id!r} is contended; try again")
        self.nudge(projection.name, stream_id, self.store().head(stream_id))
        return halted_at
