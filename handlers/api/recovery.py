"""``POST /projections/{name}/resume`` and ``…/skip``: recover halted streams (P5)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from handlers.api import http
from handlers.api.request import Request, named_projection
from handlers.api.response import Response, json_response
from handlers.api.routes import RESUME, SKIP
from handlers.core.clock import Clock, rfc3339
from handlers.core.errors import ConflictError, ContendedError, NotFoundError
from handlers.core.events import StreamId
from handlers.projection import Projection, transitions
from handlers.projection.port import Change, Commit, OutdatedError, ReadModel, read_control
from handlers.projection.state import StreamState
from handlers.store import EventStore

# A halted stream's state rarely changes: ten lost races mean that something else is wrong.
MAX_ATTEMPTS = 10

# Each costs four calls, some 30 ms: a hundred stay well below API Gateway's 29 seconds.
MAX_RESUMED = 100

MakeChange = Callable[[StreamState], Change[StreamState]]


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
        """Retry the events that one stream, or the halted streams of the projection, are halted at."""
        projection = named_projection(request, self.projections())
        answer: dict[str, Any] = {"projection": projection.name, "streams": []}
        only = request.body.get("streamId")
        if only is not None:
            event_id = self._change(projection, only, None, transitions.resume)
            answer["streams"].append({"streamId": only, "eventId": event_id})
            return json_response(202, answer)
        # One more than the limit tells whether there are more.
        halted = list(islice(_halted(self.read_model(projection.name)), MAX_RESUMED + 1))
        for stream_id in halted[:MAX_RESUMED]:
            try:
                event_id = self._change(projection, stream_id, None, transitions.resume)
            except ConflictError:  # resumed by someone else since
                continue
            answer["streams"].append({"streamId": stream_id, "eventId": event_id})
        return json_response(202, answer if len(halted) <= MAX_RESUMED else {**answer, "more": True})

    def skip(self, request: Request) -> Response:
        """Skip the event that a stream is halted at, and keep a record of it."""
        projection = named_projection(request, self.projections())
        stream_id, at = StreamId(request.body["streamId"]), rfc3339(self.clock.now())

        def skip(state: StreamState) -> Change[StreamState]:
            # The generation that must be ahead would be overtaken (G4).
            return self._without_leader(projection, state) or transitions.skip(state, at)

        skipped = self._change(projection, stream_id, request.body["eventId"], skip)
        answer: dict[str, Any] = {"projection": projection.name, "streamId": stream_id}
        return json_response(200, {**answer, "eventId": skipped, "checkpoint": skipped})

    def _without_leader(self, projection: Projection, state: StreamState) -> Change[StreamState] | None:
        """Return the change that removes an abandoned leader (G7); None if the stream has no leader."""
        if state.ahead is None:
            return None
        # Read after the state: a generation that leads has been in the control item before.
        building = read_control(self.read_model(projection.name)).building
        if building is not None and building.generation == state.ahead:
            detail = f"the replay {building.replay_id} is running: wait until it has finished, or cancel it"
            raise ConflictError(detail, replayId=building.replay_id)
        return transitions.drop_leader(state)

    def _change(self, projection: Projection, stream_id: StreamId, event_id: int | None, change: MakeChange) -> int:
        """Change the state of a halted stream and trigger its projection; returns the event it was halted at."""
        if not projection.follows(stream_id):
            raise NotFoundError(f"the projection {projection.name} does not follow stream {stream_id!r}")
        read_model = self.read_model(projection.name)
        halted_at = -1
        for _ in range(MAX_ATTEMPTS):
            state = read_model.load(read_control(read_model).active, [stream_id]).states[stream_id]
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
                made = change(state)
                read_model.commit(Commit((made,)))
            except OutdatedError:
                continue
            if not made.after.is_halted:
                break
        else:
            raise ContendedError(f"the state of stream {stream_id!r} is contended; try again")
        self.trigger(projection.name, stream_id, self.store().head(stream_id))
        return halted_at


def _halted(read_model: ReadModel) -> Iterator[StreamId]:
    """Yield the streams that are halted in the active generation; the list itself may be a second old."""
    generation = read_control(read_model).active
    after: StreamId | None = None
    while page := read_model.halted(generation, limit=MAX_RESUMED, after=after):
        states = read_model.load(generation, page).states
        yield from (stream_id for stream_id in page if states[stream_id].is_halted)
        after = page[-1]
