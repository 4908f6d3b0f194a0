"""Finishing a rewind: a replay from the middle, in place (R3)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from handlers.core.clock import Clock, rfc3339
from handlers.core.errors import HandlerFailedError
from handlers.core.events import EventId, StreamId
from handlers.core.messages import Hint
from handlers.projection.engine import Projector
from handlers.replay.jobs import DONE, FAILED, Job, Part, ReplayJobs


def finish_rewind(
    job: Job, stream_id: StreamId, projector: Projector, jobs: ReplayJobs, clock: Clock, has_time: Callable[[], bool]
) -> bool:
    """Bring a rewound stream up to the head it had, and record the end; True when that is done."""
    part = next((part for part in job.parts if part.stream_id == stream_id), None)
    if part is None or part.finished_at is not None:
        return True
    hint = Hint(stream_id, EventId(part.head), fresh=True)
    try:
        outcome = projector.bring_up(stream_id, [hint], retry_halted=True, has_time=has_time)
    except HandlerFailedError as failure:
        jobs.record_part(job.replay_id, _failed(part, failure, rfc3339(clock.now())))
        return True
    if not outcome.finished:
        return False
    done = part.head + 1 - part.first
    jobs.record_part(job.replay_id, replace(part, state=DONE, events_done=done, finished_at=rfc3339(clock.now())))
    return True


def _failed(part: Part, failure: HandlerFailedError, at: str) -> Part:
    return replace(
        part,
        state=FAILED,
        events_done=failure.event_id - part.first,
        finished_at=at,
        error_event_id=failure.event_id,
        error=failure.error,
    )
