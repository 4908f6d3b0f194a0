"""Asking for replays and rollbacks, and how far they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cli.api import Api
from cli.errors import CliError, ConflictError, NotFoundError
from handlers.api.request import path_segment
from handlers.projection.definition import Projection
from handlers.projection.jobs import DONE, FAILED, REPLAY, REWIND, ROLLBACK

_WORDS = {REPLAY: "replay", ROLLBACK: "rollback", REWIND: "replay from the middle"}


@dataclass(frozen=True, slots=True)
class Job:
    """A replay, a rollback or a rewind, as the API describes it.

    Attributes
    ----------
    document
        In the contract's form.
    """

    document: Mapping[str, Any]

    @property
    def replay_id(self) -> str:
        return str(self.document["replayId"])

    @property
    def kind(self) -> str:
        return str(self.document["kind"])

    @property
    def word(self) -> str:
        """What a reader calls it."""
        return _WORDS.get(self.kind, self.kind)

    @property
    def state(self) -> str:
        return str(self.document["state"])

    @property
    def ended(self) -> bool:
        return self.state in (DONE, FAILED)

    @property
    def failed(self) -> bool:
        return self.state == FAILED

    @property
    def done(self) -> int:
        """Events applied so far."""
        return int(self.document["eventsDone"])

    @property
    def total(self) -> int:
        """Events to apply, over all streams."""
        streams = self.document.get("streams")
        if streams is None:
            return int(self.document["head"]) + 1
        return sum(int(each["head"]) + 1 - int(each["firstEventId"]) for each in streams)

    @property
    def rate(self) -> float:
        """Events per second."""
        return float(self.document["eventsPerSecond"])

    @property
    def left_s(self) -> float | None:
        """Seconds until it is done, at this rate; None where that is not known."""
        return max(0, self.total - self.done) / self.rate if self.rate > 0 else None

    @property
    def error(self) -> str:
        """Why it failed, with the event; empty where it did not."""
        error = self.document.get("error")
        if not error:
            return ""
        where = f"event {error['eventId']}: " if "eventId" in error else ""
        return f"{where}{error['error']}"


def start(api: Api, projection: Projection, stream_id: str | None, from_event_id: int) -> Job:
    """Start a replay, or find the one that runs.

    Raises
    ------
    ConflictError
        Something else runs: a rollback, or a replay from elsewhere.
    CliError
    """
    body: dict[str, Any] = {"projection": projection.name}
    body |= {} if stream_id is None else {"streamId": stream_id}
    body |= {"fromEventId": from_event_id} if from_event_id else {}
    return _wanted(Job(api.post("/triggerReplay", body).document), REWIND if from_event_id else REPLAY)


def start_rollback(api: Api, projection: Projection, stream_id: str | None) -> Job:
    """Start going back to the generation before, or find the rollback that runs.

    Raises
    ------
    ConflictError
        A replay runs.
    CliError
        There is nothing to go back to.
    """
    path = f"/projections/{path_segment(projection.name)}/rollback"
    try:
        answer = api.post(path, {} if stream_id is None else {"streamId": stream_id})
    except ConflictError as error:
        raise CliError(
            f"nothing to go back to: {error.message.removeprefix('refused: ')}",
            "The generation before is kept for a day after a replay. Build a new one:  esctl replay",
        ) from error
    return _wanted(Job(answer.document), ROLLBACK)


def find(api: Api, replay_id: str) -> Job:
    """Tell how far a job is.

    Raises
    ------
    NotFoundError
    """
    if not replay_id:
        raise NotFoundError("not found: a replay without an id")
    return Job(api.get(f"/replays/{path_segment(replay_id)}").document)


def recent(api: Api, limit: int) -> list[Job]:
    """The jobs that were started last, the newest first, without their streams."""
    return [Job(each) for each in api.get("/replays", limit=limit).document["replays"]]


def _wanted(job: Job, kind: str) -> Job:
    if job.kind != kind:
        raise ConflictError(
            f"can't start a {_WORDS[kind]}: a {job.word} is running ({job.replay_id})",
            "See how far it is:  esctl replays",
        )
    return job
