"""The records of replay jobs: what was requested, and how far it is (R4). Pure.

A job is one item. Its progress is kept per segment of the work, never per stream, so a job has the same size whatever the
number of streams. The control item says which job runs; both change in the same transaction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Protocol

from handlers.core.clock import parse_rfc3339
from handlers.core.events import StreamId
from handlers.projection.port import Change
from handlers.projection.state import (
    CANCELLED,
    DONE,
    FAILED,
    REPLAY,
    ROLLBACK,
    RUNNING,
    SWITCHING,
    Document,
    JobItem,
)

__all__ = ["CANCELLED", "DONE", "FAILED", "REPLAY", "ROLLBACK", "RUNNING", "SWITCHING"]

REWIND, STREAM = "rewind", "stream"
"""Kinds of jobs that change the active generation in place: one stream from the middle (R3), or one stream as a whole."""

KINDS = (REPLAY, ROLLBACK, REWIND, STREAM)
STATES = (RUNNING, SWITCHING, DONE, FAILED, CANCELLED)

BUILD, JOIN = "build", "join"
"""Phases of a replay: reading all history, and joining the live streams (G5). A rollback only joins."""

SEGMENTS = 8
"""Number of segments of a phase: more than the workers that run at a time, few enough for one item."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a phase's work.

    Attributes
    ----------
    after
        The position to continue after; None: not begun.
    events
        Number of events folded.
    """

    after: str | None = None
    events: int = 0
    done: bool = False

    def to_document(self) -> Document:
        """Return its part of the job's document."""
        document: Document = {"events": self.events, "done": self.done}
        return document if self.after is None else {**document, "after": self.after}


@dataclass(frozen=True, slots=True)
class ReplayJob:
    """A replay, a rollback, or a change in place.

    Attributes
    ----------
    generation, fingerprint, phase, segments
        Of a replay or rollback.
    stream_id, from_event_id, head
        Of a change in place; ``head`` is the stream's last event at the time of the request. Replays of a projection that
        follows one stream have it too.
    """

    replay_id: str
    projection: str
    kind: str
    started_at: str
    state: str = RUNNING
    stream_id: StreamId | None = None
    from_event_id: int = 0
    generation: int | None = None
    fingerprint: str | None = None
    phase: str | None = None
    segments: tuple[Segment, ...] = ()
    head: int | None = None
    finished_at: str | None = None
    error: Mapping[str, Any] | None = None

    @property
    def ended(self) -> bool:
        """True if it is done, failed or cancelled."""
        return self.finished_at is not None

    @property
    def in_place(self) -> bool:
        """True if it builds no generation."""
        return self.kind in (REWIND, STREAM)

    @property
    def unfinished(self) -> tuple[int, ...]:
        """Numbers of the segments to work on; the first one if all are done but the phase has not ended."""
        return tuple(index for index, each in enumerate(self.segments) if not each.done) or (0,)

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> ReplayJob:
        """Parse a job's item."""
        segments = document.get("segments", {})
        return cls(
            replay_id=document["replayId"],
            projection=document["projection"],
            kind=document["action"],
            started_at=document["startedAt"],
            state=document["state"],
            stream_id=document.get("streamId"),
            from_event_id=document.get("fromEventId", 0),
            generation=document.get("generation"),
            fingerprint=document.get("fingerprint"),
            phase=document.get("phase"),
            segments=tuple(Segment(**segments[str(index)]) for index in range(len(segments))),
            head=document.get("head"),
            finished_at=document.get("finishedAt"),
            error=document.get("error"),
        )

    def to_document(self) -> Document:
        """Return the job's item."""
        document: Document = {
            "replayId": self.replay_id,
            "projection": self.projection,
            "action": self.kind,
            "startedAt": self.started_at,
            "state": self.state,
            "streamId": self.stream_id,
            "fromEventId": self.from_event_id,
            "generation": self.generation,
            "fingerprint": self.fingerprint,
            "phase": self.phase,
            "segments": _numbered(self.segments) or None,
            "head": self.head,
            "finishedAt": self.finished_at,
            "error": self.error,
        }
        return {name: value for name, value in document.items() if value is not None}


class ReplayJobs(Protocol):
    """Reads the records of all projections' jobs, as documents; they are changed through `ReadModel.commit`."""

    def find(self, replay_id: str) -> Document | None:
        """Return a job, or None."""
        ...

    def recent(self, limit: int) -> Sequence[Document]:
        """Return the most recent jobs, newest first."""
        ...


# -- changes -------------------------------------------------------------------------------------------------------------


def record(job: ReplayJob) -> Change[ReplayJob]:
    """Record a new job."""
    return Change(JobItem(job.replay_id), {"startedAt": None}, job.to_document(), (), job)


def advance_segment(job: ReplayJob, index: int, segment: Segment) -> Change[ReplayJob]:
    """Record the progress of a segment."""
    segments = tuple(segment if number == index else each for number, each in enumerate(job.segments))
    put = {f"segments.{index}": segment.to_document()}
    return Change(JobItem(job.replay_id), _as_read(job), put, (), replace(job, segments=segments))


def same_segment(job: ReplayJob, index: int) -> Change[ReplayJob]:
    """Check that a segment is where it was read, and change nothing."""
    expect = {**_as_read(job), f"segments.{index}": job.segments[index].to_document()}
    return Change(JobItem(job.replay_id), expect, {}, (), job)


def begin_join(job: ReplayJob) -> Change[ReplayJob]:
    """Record that all history is built."""
    segments = tuple(Segment(events=each.events) for each in job.segments)
    put = {"phase": JOIN, "state": SWITCHING, "segments": _numbered(segments)}
    after = replace(job, phase=JOIN, state=SWITCHING, segments=segments)
    return Change(JobItem(job.replay_id), _as_read(job), put, (), after)


def restart(job: ReplayJob, generation: int, fingerprint: str) -> Change[ReplayJob]:
    """Begin again in another generation (R6)."""
    segments = tuple(Segment() for _ in job.segments)
    put = {"generation": generation, "fingerprint": fingerprint, "phase": BUILD, "state": RUNNING}
    after = replace(job, generation=generation, fingerprint=fingerprint, phase=BUILD, state=RUNNING, segments=segments)
    return Change(JobItem(job.replay_id), _as_read(job), {**put, "segments": _numbered(segments)}, (), after)


def _as_read(job: ReplayJob) -> dict[str, Any]:
    return {"generation": job.generation, "phase": job.phase, "finishedAt": None}


def _numbered(segments: Sequence[Segment]) -> dict[str, Document]:
    return {str(index): each.to_document() for index, each in enumerate(segments)}


# -- progress ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of a job.

    Attributes
    ----------
    events_done, events
        Number of events applied, and to apply; None: not known before all history is read.
    segments_done, segments
        Over both phases.
    rate
        Events per second since the start.
    """

    job: ReplayJob
    events_done: int
    events: int | None
    segments_done: int
    segments: int
    rate: float


def describe(job: ReplayJob, now: datetime, *, events_done: int | None = None) -> Progress:
    """Summarize a job; ``events_done`` if the stream's state shows it better than the segments."""
    done = _recorded(job) if events_done is None else events_done
    phases = 1 if job.kind == ROLLBACK else 2
    finished = sum(each.done for each in job.segments)
    if job.phase == JOIN and phases == 2:
        finished += len(job.segments)
    total = phases * len(job.segments)
    events = None
    if job.head is not None:
        events = max(job.head + 1 - job.from_event_id, done)
    elif job.phase == JOIN or job.state == DONE:
        events = done
    return Progress(job, done, events, total if job.state == DONE else finished, total, _rate(job, done, now))


def _recorded(job: ReplayJob) -> int:
    """Return the number of events that a job has folded, by its record."""
    if not job.in_place:
        return sum(each.events for each in job.segments)
    if job.state == DONE and job.head is not None:
        return job.head + 1 - job.from_event_id
    return max(0, int((job.error or {}).get("eventId", 0)) - job.from_event_id)


def _rate(job: ReplayJob, done: int, now: datetime) -> float:
    end = parse_rfc3339(job.finished_at) if job.finished_at else now
    seconds = (end - parse_rfc3339(job.started_at)).total_seconds()
    # Times have milliseconds: a shorter duration reads as 0. Another host's clock may be ahead.
    return round(done / max(seconds, 0.001), 1)
