"""Replays and rollbacks: asking for them, and seeing how far they are (docs/rules.md)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from handlers.api import http
from handlers.api.body import read_object
from handlers.api.query import Query
from handlers.api.request import Request
from handlers.api.response import Response, distinct, json_response
from handlers.errors import Fault, InvalidInput, NotFound
from handlers.events import StreamId
from handlers.projection import Projection
from handlers.projection.jobs import Job, Part, ReplayJobs
from handlers.projection.progress import Progress
from handlers.projection.replay import Replays
from handlers.store import limits

# Each costs a few reads: the job, and the state of what still runs.
DEFAULT_LIMIT, MAX_LIMIT = 20, 100


@dataclass(frozen=True, slots=True)
class Triggering:
    """What the writing routes need: the projections, and what starts replays of one of them, by its name."""

    projections: Callable[[], Mapping[str, Projection]]
    replays: Callable[[str], Replays]

    def routes(self) -> http.Routes:
        return {"POST /triggerReplay": self.trigger, "POST /projections/{name}/rollback": self.rollback}

    def trigger(self, request: Request) -> Response:
        """Start a replay, or answer with the one that runs."""
        body, faults = read_object(request, ("projection", "streamId", "fromEventId"))
        faults += stream_faults(body)
        first = body.get("fromEventId", 0)
        faults += limits.integer_faults(first, "/fromEventId", low=0)
        name = self._projection(body, faults)
        if faults:
            raise InvalidInput(distinct(faults))
        replays = self.replays(name)
        return _accepted(replays, replays.trigger(_stream(body), first))

    def rollback(self, request: Request) -> Response:
        """Start going back to the generation before."""
        name = known(request, self.projections())
        body, faults = read_object(request, ("streamId",))
        faults += stream_faults(body)
        if faults:
            raise InvalidInput(distinct(faults))
        replays = self.replays(name)
        return _accepted(replays, replays.rollback(_stream(body)))

    def _projection(self, body: Mapping[str, Any], faults: list[Fault]) -> str:
        """Return the projection that is meant: the one named, else the only one there is."""
        names = tuple(self.projections())
        given = body.get("projection", names[0] if len(names) == 1 else None)
        if given in names:
            return str(given)
        why = "is not" if "projection" in body else "is missing; there are several:"
        faults.append(Fault("/projection", f"{why} one of {', '.join(names)}"))
        return ""


@dataclass(frozen=True, slots=True)
class Reporting:
    """What the reading routes need: the projections, the jobs, and what tells how far those of one projection are.

    Jobs outlive their projection: those of one that is gone from the code are not shown.
    """

    projections: Callable[[], Mapping[str, Projection]]
    jobs: Callable[[], ReplayJobs]
    replays: Callable[[str], Replays]

    def routes(self) -> http.Routes:
        return {"GET /replays": self.list_replays, "GET /replays/{replayId}": self.get_replay}

    def list_replays(self, request: Request) -> Response:
        """List the replays that were started last, the newest first, without their streams."""
        query = Query(request, ("limit",))
        limit = query.integer("limit", DEFAULT_LIMIT, low=1, high=MAX_LIMIT)
        query.check()
        listed = []
        for job in self.jobs().recent(limit):
            if job.projection not in self.projections():
                continue
            try:
                document = progress_json(self.replays(job.projection).progress(job.replay_id))
            except NotFound:  # it has expired since the list was read
                continue
            listed.append({name: value for name, value in document.items() if name != "streams"})
        return json_response(200, {"replays": listed})

    def get_replay(self, request: Request) -> Response:
        """Tell how far one replay is."""
        replay_id = request.path_value("replayId")
        Query(request, ()).check()
        # An id of ours has 36 characters; a key of DynamoDB may not be empty, nor over 2,048 bytes.
        job = self.jobs().find(replay_id) if 1 <= len(replay_id) <= limits.MAX_STREAM_ID_CHARACTERS else None
        if job is None or job.projection not in self.projections():
            raise NotFound(f"there is no replay {replay_id[: limits.MAX_STREAM_ID_CHARACTERS]!r}")
        return json_response(200, progress_json(self.replays(job.projection).progress(replay_id)))


def known(request: Request, projections: Mapping[str, Projection]) -> str:
    """Return the projection that the path names.

    Raises
    ------
    NotFound
        There is none of that name.
    """
    name = request.path_value("name")
    if name not in projections:
        raise NotFound(f"there is no projection {name[:64]!r}; there are: {', '.join(projections)}")
    return name


def stream_faults(body: Mapping[str, Any], *, required: bool = False) -> list[Fault]:
    """Check the ``streamId`` of a body."""
    if "streamId" in body:
        return limits.stream_id_faults(body["streamId"], "/streamId")
    return [Fault("/streamId", "is missing")] if required else []


def _stream(body: Mapping[str, Any]) -> StreamId | None:
    return StreamId(body["streamId"]) if "streamId" in body else None


def _accepted(replays: Replays, job: Job) -> Response:
    return json_response(202, progress_json(replays.describe(job)))


def progress_json(progress: Progress) -> dict[str, Any]:
    """Return how far a replay is, in the contract's form."""
    job = progress.job
    document: dict[str, Any] = {
        "replayId": job.replay_id,
        "projection": job.projection,
        "kind": job.kind,
        "state": progress.state,
        "fromEventId": job.from_event_id,
        "eventsDone": progress.events_done,
        "head": progress.head,
        # The rate is for people; a float's digits are not data of theirs.
        "eventsPerSecond": progress.rate,
        "startedAt": job.started_at,
        "finishedAt": progress.finished_at,
        "error": _error(progress.error_event_id, progress.error),
        "streams": [_part_json(part) for part in job.parts],
    }
    return {name: value for name, value in document.items() if value is not None}


def _part_json(part: Part) -> dict[str, Any]:
    document: dict[str, Any] = {
        "streamId": part.stream_id,
        "state": part.state,
        "firstEventId": part.first,
        "eventsDone": part.events_done,
        "head": part.head,
        "startedAt": part.started_at,
        "finishedAt": part.finished_at,
        "error": _error(part.error_event_id, part.error),
    }
    return {name: value for name, value in document.items() if value is not None}


def _error(event_id: int | None, error: str | None) -> dict[str, Any] | None:
    if error is None:
        return None
    return {"error": error} if event_id is None else {"eventId": event_id, "error": error}
