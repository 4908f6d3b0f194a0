"""Replay jobs: what was asked for, and what became of it, stream by stream.

The state items are the truth about what runs; a job is the record that people look at. The progress of a part that runs
is read from its state item, so that a replay costs no writes for being watched.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

RUNNING, SWITCHING, DONE, FAILED = "running", "switching", "done", "failed"
"""States of a part and of a job (R4)."""

REPLAY, ROLLBACK, REWIND = "replay", "rollback", "rewind"
"""Kinds of a job: a new generation, back to the generation before, or from the middle in place (R3)."""


@dataclass(frozen=True, slots=True)
class Part:
    """One stream of a job.

    Attributes
    ----------
    first, head
        The first event to do, and the stream's head when the job was asked for.
    events_done
        How many events are applied.
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
class Job:
    """A replay, a rollback, or a rewind.

    Attributes
    ----------
    complete
        False while streams are still being added (a projection that follows every stream).
    """

    replay_id: str
    projection: str
    kind: str
    started_at: str
    from_event_id: int = 0
    complete: bool = True
    parts: tuple[Part, ...] = ()


class ReplayJobs(Protocol):
    """Where jobs are recorded."""

    def record(self, job: Job) -> None:
        """Record a job and the parts it comes with; parts recorded before stay."""
        ...

    def record_part(self, replay_id: str, part: Part) -> None:
        """Record a part as it now is."""
        ...

    def find(self, replay_id: str) -> Job | None:
        """Return a job with all its parts; None when there is none of that id."""
        ...

    def recent(self, limit: int) -> Sequence[Job]:
        """Return the jobs that were started last, the newest first, without their parts."""
        ...
