"""How far a replay job is (docs/rules.md, R4): pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from handlers.core.clock import parse_rfc3339
from handlers.core.events import NO_EVENTS, EventId
from handlers.projection.state import LastReplay, StreamState
from handlers.replay.jobs import DONE, FAILED, REWIND, RUNNING, SWITCHING, Job, Part


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a job is (R4).

    Attributes
    ----------
    state
        ``failed`` as soon as one part has failed, ``done`` when all are, ``switching`` when all that is left is that.
    rate
        Events per second since the start.
    """

    job: Job
    state: str
    events_done: int
    head: int
    rate: float
    finished_at: str | None
    error_event_id: int | None
    error: str | None


def describe(job: Job, now: datetime) -> Progress:
    """Sum a job's parts up."""
    failed = next((part for part in job.parts if part.state == FAILED), None)
    unfinished = [part for part in job.parts if part.state not in (DONE, FAILED)]
    finished = None
    if job.complete and not unfinished:
        finished = max((part.finished_at for part in job.parts if part.finished_at), default=job.started_at)
    done = sum(part.events_done for part in job.parts)
    return Progress(
        job=job,
        state=_overall(job, failed, unfinished),
        events_done=done,
        head=max((part.head for part in job.parts), default=NO_EVENTS),
        rate=_rate(done, job.started_at, finished, now),
        finished_at=finished,
        error_event_id=failed.error_event_id if failed else None,
        error=failed.error if failed else None,
    )


def present(job: Job, part: Part, state: StreamState, head: Callable[[], EventId]) -> Part:
    """Return an unfinished part as it now is, as its state item tells.

    ``head`` reads the stream's head; it is asked for only where the replay runs.
    """
    if state.replay and state.replay.replay_id == job.replay_id:
        highest = max(part.head, head())
        return replace(
            part,
            head=highest,
            events_done=max(0, state.replay.checkpoint + 1 - part.first),
            state=SWITCHING if state.replay.checkpoint >= highest else RUNNING,
        )
    if state.last_replay and state.last_replay.replay_id == job.replay_id:
        return ended(part, state.last_replay)
    if job.kind == REWIND:
        return _rewound(part, state)
    return part


def ended(part: Part, last: LastReplay) -> Part:
    """Return a part as it ended."""
    return replace(
        part,
        state=DONE if last.state == DONE else FAILED,
        events_done=max(0, last.checkpoint + 1 - part.first),
        head=max(part.head, last.checkpoint),
        finished_at=last.at,
        error_event_id=last.error_event_id,
        error=last.error,
    )


def _rewound(part: Part, state: StreamState) -> Part:
    """Return a rewind's part as the live rows tell: whoever brought them up, the worker or the projector."""
    done = max(0, min(state.checkpoint, part.head) + 1 - part.first)
    if state.checkpoint >= part.head:
        return replace(part, state=DONE, events_done=done)
    if state.halted and state.is_halted:
        return replace(
            part, state=FAILED, events_done=done, error_event_id=state.halted.event_id, error=state.halted.error
        )
    return replace(part, events_done=done)


def _overall(job: Job, failed: Part | None, unfinished: Sequence[Part]) -> str:
    if failed:
        return FAILED
    if not unfinished:
        return DONE if job.complete else RUNNING
    return SWITCHING if job.complete and all(part.state == SWITCHING for part in unfinished) else RUNNING


def _rate(done: int, started_at: str, finished_at: str | None, now: datetime) -> float:
    end = parse_rfc3339(finished_at) if finished_at else now
    seconds = (end - parse_rfc3339(started_at)).total_seconds()
    # Times have milliseconds: what took less than one took at most one.
    return round(done / max(seconds, 0.001), 1)
