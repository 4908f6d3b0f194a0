"""Start, cancel and report replays and rollbacks (docs/rules.md)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from handlers.api import http
from handlers.api.request import Request, named_projection
from handlers.api.response import Response, fitting, json_response, page_response
from handlers.api.routes import CANCEL, GET_REPLAY, LIST_REPLAYS, ROLLBACK, TRIGGER_REPLAY
from handlers.core import lossless_json
from handlers.core.errors import Fault, InvalidInputError, NotFoundError
from handlers.projection import Projection
from handlers.replay.jobs import Progress, ReplayJob, ReplayJobs
from handlers.replay.requests import Replays

MAX_ID_CHARACTERS = 256


@dataclass(frozen=True, slots=True)
class ReplayRoutes:
    """Start, cancel and report replays and rollbacks.

    Jobs of a projection that was removed from the code are not shown.
    """

    projections: Callable[[], Mapping[str, Projection]]
    jobs: Callable[[], ReplayJobs]
    replays: Callable[[str], Replays]

    def routes(self) -> http.Routes:
        return {
            TRIGGER_REPLAY: self.trigger,
            ROLLBACK: self.rollback,
            CANCEL: self.cancel,
            LIST_REPLAYS: self.list_replays,
            GET_REPLAY: self.get_replay,
        }

    def trigger(self, request: Request) -> Response:
        """Start a replay, or return the running one."""
        name = self._projection(request)
        request.check()
        progress = self.replays(name).trigger(request.body.get("streamId"), request.body.get("fromEventId", 0))
        return json_response(202, progress_json(progress))

    def rollback(self, request: Request) -> Response:
        """Start a rollback to the previous generation."""
        projection = named_projection(request, self.projections())
        stream_id = request.body.get("streamId")
        if stream_id is not None and stream_id != projection.only_stream:
            if not projection.follows(stream_id):
                raise NotFoundError(f"the projection {projection.name} does not follow stream {stream_id!r}")
            detail = f"must be omitted: a rollback is of all streams of the projection {projection.name}"
            raise InvalidInputError([Fault("/streamId", detail)])
        return json_response(202, progress_json(self.replays(projection.name).rollback()))

    def cancel(self, request: Request) -> Response:
        """Cancel a running replay."""
        job = self._job(request)
        return json_response(200, progress_json(self.replays(job.projection).cancel(job.replay_id)))

    def list_replays(self, request: Request) -> Response:
        """List the newest replays, newest first."""
        request.check()
        found = map(ReplayJob.from_document, self.jobs().recent(request.query["limit"]))
        listed = [self.replays(job.projection).describe(job) for job in found if job.projection in self.projections()]
        return page_response("replays", fitting(lossless_json.dumps(progress_json(each)) for each in listed), {})

    def get_replay(self, request: Request) -> Response:
        """Report the progress of one replay."""
        job = self._job(request)
        return json_response(200, progress_json(self.replays(job.projection).describe(job)))

    def _job(self, request: Request) -> ReplayJob:
        """Return the job that the path names, after checking the request."""
        request.check()
        replay_id = request.path["replayId"]
        # An id of ours has 36 characters; a key of DynamoDB may not be empty, nor over 2,048 bytes.
        document = self.jobs().find(replay_id) if 1 <= len(replay_id) <= MAX_ID_CHARACTERS else None
        if document is None or document["projection"] not in self.projections():
            raise NotFoundError(f"there is no replay {replay_id[:MAX_ID_CHARACTERS]!r}")
        return ReplayJob.from_document(document)

    def _projection(self, request: Request) -> str:
        """Return the projection that the body names; it may be omitted if there is only one."""
        names = tuple(self.projections())
        name = request.body.get("projection", names[0] if len(names) == 1 else None)
        if name is None:
            request.fault("/projection", f"is required; projections: {', '.join(names)}")
        elif name not in names:
            request.fault("/projection", f"must be one of {', '.join(names)}")
        return str(name)


def progress_json(progress: Progress) -> dict[str, Any]:
    """Return the progress of a replay as the API describes it."""
    job = progress.job
    document: dict[str, Any] = {
        "replayId": job.replay_id,
        "projection": job.projection,
        "kind": job.kind,
        "state": job.state,
        "streamId": job.stream_id,
        "fromEventId": job.from_event_id,
        "generation": job.generation,
        "eventsDone": progress.events_done,
        "events": progress.events,
        "head": job.head,
        "segments": {"done": progress.segments_done, "total": progress.segments},
        # A float: the rate is for people, so its digits may be rounded.
        "eventsPerSecond": progress.rate,
        "startedAt": job.started_at,
        "finishedAt": job.finished_at,
        "error": job.error,
    }
    return {name: value for name, value in document.items() if value is not None}
