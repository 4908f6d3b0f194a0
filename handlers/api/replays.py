"""Start replays and rollbacks, and report their progress (docs/rules.md)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from handlers.api import http
from handlers.api.request import Request, named_projection
from handlers.api.response import Response, json_response
from handlers.api.routes import GET_REPLAY, LIST_REPLAYS, ROLLBACK, TRIGGER_REPLAY
from handlers.core.errors import NotFoundError
from handlers.projection import Projection
from handlers.replay.jobs import Progress, ReplayJobs, StreamTask
from handlers.replay.requests import Replays

MAX_ID_CHARACTERS = 256


@dataclass(frozen=True, slots=True)
class ReplayRoutes:
    """Start replays and rollbacks, and report their progress.

    Jobs of a projection that was removed from the code are not shown.
    """

    projections: Callable[[], Mapping[str, Projection]]
    jobs: Callable[[], ReplayJobs]
    replays: Callable[[str], Replays]

    def routes(self) -> http.Routes:
        return {
            TRIGGER_REPLAY: self.trigger,
            ROLLBACK: self.rollback,
            LIST_REPLAYS: self.list_replays,
            GET_REPLAY: self.get_replay,
        }

    def trigger(self, request: Request) -> Response:
        """Start a replay, or return the running one."""
        name = self._projection(request)
        request.check()
        replays = self.replays(name)
        job = replays.trigger(request.body.get("streamId"), request.body.get("fromEventId", 0))
        return json_response(202, progress_json(replays.describe(job)))

    def rollback(self, request: Request) -> Response:
        """Start a rollback to the previous generation."""
        replays = self.replays(named_projection(request, self.projections()).name)
        job = replays.rollback(request.body.get("streamId"))
        return json_response(202, progress_json(replays.describe(job)))

    def list_replays(self, request: Request) -> Response:
        """List the newest replays, newest first, without their streams."""
        request.check()
        listed = []
        for job in self.jobs().recent(request.query["limit"]):
            if job.projection not in self.projections():
                continue
            try:
                document = progress_json(self.replays(job.projection).progress(job.replay_id))
            except NotFoundError:  # it has expired since the list was read
                continue
            listed.append({name: value for name, value in document.items() if name != "streams"})
        return json_response(200, {"replays": listed})

    def get_replay(self, request: Request) -> Response:
        """Report the progress of one replay."""
        request.check()
        replay_id = request.path["replayId"]
        # An id of ours has 36 characters; a key of DynamoDB may not be empty, nor over 2,048 bytes.
        job = self.jobs().find(replay_id) if 1 <= len(replay_id) <= MAX_ID_CHARACTERS else None
        if job is None or job.projection not in self.projections():
            raise NotFoundError(f"there is no replay {replay_id[:MAX_ID_CHARACTERS]!r}")
        return json_response(200, progress_json(self.replays(job.projection).progress(replay_id)))

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
        "state": progress.state,
        "fromEventId": job.from_event_id,
        "eventsDone": progress.events_done,
        "head": progress.head,
        # A float: the rate is for people, so its digits may be rounded.
        "eventsPerSecond": progress.rate,
        "startedAt": job.started_at,
        "finishedAt": progress.finished_at,
        "error": _error(progress.error_event_id, progress.error),
        "streams": [_task_json(task) for task in job.tasks],
    }
    return {name: value for name, value in document.items() if value is not None}


def _task_json(task: StreamTask) -> dict[str, Any]:
    document: dict[str, Any] = {
        "streamId": task.stream_id,
        "state": task.state,
        "firstEventId": task.first,
        "eventsDone": task.events_done,
        "head": task.head,
        "startedAt": task.started_at,
        "finishedAt": task.finished_at,
        "error": _error(task.error_event_id, task.error),
    }
    return {name: value for name, value in document.items() if value is not None}


def _error(event_id: int | None, error: str | None) -> dict[str, Any] | None:
    if error is None:
        return None
    return {"error": error} if event_id is None else {"eventId": event_id, "error": error}
