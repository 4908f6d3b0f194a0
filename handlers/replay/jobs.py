"""Replay jobs: what was requested, and its progress per stream (docs/rules.md, R4). Pure.

The state items determine what runs; a job is the record for people. The progress of a running task is read from the
stream's state item, so watching a replay costs no writes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

from handlers.core.clock import parse_rfc3339
from handlers.core.events import NO_EVENTS, EventId
from handlers.projection.state import DONE as DONE
from handlers.projection.state import FAILED as FAILED
from handlers.projection.state import REPLAY as REPLAY
from handlers.projection.state import ROLLBACK as ROLLBACK
from handlers.projection.state import LastReplay, StreamState

RUNNING, SWITCHING = "running", "switching"
"""States of a task and of a job besides DONE and FAILED (R4)."""

REWIND = "rewind"
"""The kind of a job that replays from the middle in place (R3); the others are REPLAY and ROLLBACK."""


@dataclass(frozen=True, slots=True)
class StreamTask:
    """One stream of a job.

    Attributes
    ----------
    first, head
        The first event to apply, and the stream's head at the time of the request.
    events_done
        Number of applied events.
    """

    stream_id: str
    state: str
    started_at: str
    first: int = 0
    head: int = -1
    events_done: int = 0
    finished_at: str | None = None
    error_event_id: int | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class ReplayJob:
    """A replay, a rollback or a rewind.

    Attributes
    ----------
    complete
        False while streams are still being added (for a projection that follows all streams).
    """

    replay_id: str
    projection: str
    kind: str
    started_at: str
    from_event_id: int = 0
    complete: bool = True
    tasks: tuple[StreamTask, ...] = ()


class ReplayJobs(Protocol):
    """The records of replay jobs."""

    def record(self, job: ReplayJob) -> None:
        """Record a job and its tasks; tasks recorded earlier are kept."""
        ...

    def record_task(self, replay_id: str, task: StreamTask) -> None:
        """Record the current state of a task."""
        ...

    def find(self, replay_id: str) -> ReplayJob | None:
        """Return a job with all its tasks, or None."""
        ...

    def recent(self, limit: int) -> Sequence[ReplayJob]:
        """Return the most recent jobs, newest first, without their tasks."""
        ...


# -- progress ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of a job (R4).

    Attributes
    ----------
    state
        ``failed`` as soon as one task has failed, ``done`` when all are, ``switching`` when all others are switching.
    rate
        Events per second since the start.
    """

    job: ReplayJob
    state: str
    events_done: int
    head: int
    rate: float
    finished_at: str | None
    error_event_id: int | None
    error: str | None


def describe(job: ReplayJob, now: datetime) -> Progress:
    """Summarize a job's tasks."""
    failed = next((task for task in job.tasks if task.state == FAILED), None)
    unfinished = [task for task in job.tasks if task.state not in (DONE, FAILED)]
    finished = None
    if job.complete and not unfinished:
        finished = max((task.finished_at for task in job.tasks if task.finished_at), default=job.started_at)
    done = sum(task.events_done for task in job.tasks)
    return Progress(
        job=job,
        state=_overall(job, failed, unfinished),
        events_done=done,
        head=max((task.head for task in job.tasks), default=NO_EVENTS),
        rate=_rate(done, job.started_at, finished, now),
        finished_at=finished,
        error_event_id=failed.error_event_id if failed else None,
        error=failed.error if failed else None,
    )


def current(job: ReplayJob, task: StreamTask, state: StreamState, head: Callable[[], EventId]) -> StreamTask:
    """Return an unfinished task as its state item describes it.

    ``head`` reads the stream's head; it is called only while the replay runs.
    """
    if state.replay and state.replay.replay_id == job.replay_id:
        highest = max(task.head, head())
        return replace(
            task,
            head=highest,
            events_done=max(0, state.replay.checkpoint + 1 - task.first),
            state=SWITCHING if state.replay.checkpoint >= highest else RUNNING,
        )
    if state.last_replay and state.last_replay.replay_id == job.replay_id:
        return ended(task, state.last_replay)
    if job.kind == REWIND:
        return _rewound(task, state)
    return task


def ended(task: StreamTask, last: LastReplay) -> StreamTask:
    """Return a task as its replay ended."""
    return replace(
        task,
        state=DONE if last.state == DONE else FAILED,
        events_done=max(0, last.checkpoint + 1 - task.first),
        head=max(task.head, last.checkpoint),
        finished_at=last.at,
        error_event_id=last.error_event_id,
        error=last.error,
    )


def _rewound(task: StreamTask, state: StreamState) -> StreamTask:
    """Return a rewind's task as the live rows show it, whether the worker or the projector caught up."""
    done = max(0, min(state.checkpoint, task.head) + 1 - task.first)
    if state.checkpoint >= task.head:
        return replace(task, state=DONE, events_done=done)
    if state.halted and state.is_halted:
        return replace(
            task, state=FAILED, events_done=done, error_event_id=state.halted.event_id, error=state.halted.error
        )
    return replace(task, events_done=done)


def _overall(job: ReplayJob, failed: StreamTask | None, unfinished: Sequence[StreamTask]) -> str:
    if failed:
        return FAILED
    if not unfinished:
        return DONE if job.complete else RUNNING
    return SWITCHING if job.complete and all(task.state == SWITCHING for task in unfinished) else RUNNING


def _rate(done: int, started_at: str, finished_at: str | None, now: datetime) -> float:
    end = parse_rfc3339(finished_at) if finished_at else now
    seconds = (end - parse_rfc3339(started_at)).total_seconds()
    # Times have milliseconds: a shorter duration reads as 0.
    return round(done / max(seconds, 0.001), 1)
