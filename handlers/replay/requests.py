"""Start replays, rollbacks and rewinds, and report their progress (docs/rules.md, R3 and R4)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from handlers.core.clock import Clock, rfc3339
from handlers.core.errors import ConflictError, ContendedError, Fault, InvalidInputError, NotFoundError
from handlers.core.events import NO_EVENTS, StreamId
from handlers.projection import transitions
from handlers.projection.definition import Projection
from handlers.projection.port import OutdatedError, ReadModel
from handlers.projection.state import Replay, StreamState
from handlers.projection.transitions import StateChange
from handlers.replay.jobs import (
    REPLAY,
    REWIND,
    ROLLBACK,
    RUNNING,
    Progress,
    ReplayJob,
    ReplayJobs,
    StreamTask,
    current,
    describe,
    ended,
)
from handlers.store import EventStore

# Losing more races for the state item in a row means that something else is wrong.
MAX_LOST_RACES = 20

Begin = Callable[[StreamState], StateChange | None]
"""Return the transition that starts a job's task; None if there is nothing to start."""


class Replays:
    """The replay jobs of one projection.

    Parameters
    ----------
    send
        Sends the first message of a task, given the ids of the stream and the job.
    new_id
        Creates a replayId.
    """

    def __init__(
        self,
        projection: Projection,
        store: EventStore,
        read_model: ReadModel,
        jobs: ReplayJobs,
        clock: Clock,
        *,
        send: Callable[[StreamId | None, str], None],
        new_id: Callable[[], str],
    ) -> None:
        self._projection = projection
        self._store = store
        self._read_model = read_model
        self._jobs = jobs
        self._clock = clock
        self._send = send
        self._new_id = new_id

    # -- starting ----------------------------------------------------------------------------------------------------

    def trigger(self, stream_id: StreamId | None = None, from_event_id: int = 0) -> ReplayJob:
        """Replay one stream, or all streams of the projection; returns the running job if there is one.

        ``from_event_id`` > 0 resets the live checkpoint and catches up in place (R3).

        Raises
        ------
        NotFoundError
            The projection does not follow that stream, or it has no events.
        InvalidInputError
            A start in the middle for a projection that is not idempotent, or beyond the head.
        """
        if from_event_id > 0:
            return self._rewind(stream_id, from_event_id)
        fingerprint = self._projection.fingerprint()

        def begin(state: StreamState) -> StateChange:
            return transitions.begin_replay(state, replay_id, fingerprint, self._now())

        replay_id = self._new_id()
        if stream_id is None and self._projection.streams is None:
            return self._announce(replay_id)
        return self._start(replay_id, REPLAY, self._streams(stream_id), begin)

    def rollback(self, stream_id: StreamId | None = None) -> ReplayJob:
        """Return to the previous generation and catch up from there.

        Raises
        ------
        NotFoundError
            As for `trigger`.
        ConflictError
            There is no previous generation.
        """
        replay_id = self._new_id()

        def begin(state: StreamState) -> StateChange | None:
            return transitions.begin_rollback(state, replay_id, self._now()) if state.previous else None

        return self._start(replay_id, ROLLBACK, self._streams(stream_id), begin)

    def enumerate(self, replay_id: str, after: str | None, limit: int = 100) -> str | None:
        """Start the next tasks of a job on all streams; returns the position to continue from, None at the end."""
        job = self._jobs.find(replay_id)
        if job is None:
            return None
        page = self._store.streams(limit=limit, after=after)
        fingerprint = self._projection.fingerprint()
        for stream_id in page.stream_ids:
            self._begin_task(
                job, stream_id, lambda state: transitions.begin_replay(state, replay_id, fingerprint, self._now())
            )
        if page.next_position is None:
            self._jobs.record(replace(job, complete=True, tasks=()))
        return page.next_position

    def _streams(self, stream_id: StreamId | None) -> Sequence[StreamId]:
        if stream_id is None:
            if self._projection.streams is None:
                raise InvalidInputError([Fault("/streamId", "is required: this projection follows all streams")])
            return self._projection.streams
        if not self._projection.follows(stream_id):
            raise NotFoundError(f"projection {self._projection.name} does not follow a stream {stream_id!r}")
        if self._store.head(stream_id) == NO_EVENTS:
            raise NotFoundError(f"there is no stream {stream_id!r}")
        return [stream_id]

    def _announce(self, replay_id: str) -> ReplayJob:
        """Record a job on all streams; the worker enumerates them."""
        job = ReplayJob(replay_id, self._projection.name, REPLAY, self._now(), complete=False)
        self._jobs.record(job)
        self._send(None, replay_id)
        return job

    def _start(self, replay_id: str, kind: str, streams: Sequence[StreamId], begin: Begin) -> ReplayJob:
        job = ReplayJob(replay_id, self._projection.name, kind, self._now())
        running: list[str] = []
        for stream_id in streams:
            task = self._begin_task(job, stream_id, begin, running)
            if task:
                job = replace(job, tasks=(*job.tasks, task))
        if job.tasks:
            return job
        if running:
            # Nothing is started twice: return the running job.
            return self._jobs.find(running[0]) or replace(job, replay_id=running[0])
        raise ConflictError("there is no previous generation to roll back to")

    def _begin_task(
        self, job: ReplayJob, stream_id: StreamId, begin: Begin, running: list[str] | None = None
    ) -> StreamTask | None:
        """Mark the state item, then record, then send: after a crash in between the reconciler triggers it (P6)."""
        for _ in range(MAX_LOST_RACES):
            state = self._read_model.load(stream_id).state
            if state.replay:
                if running is not None:
                    running.append(state.replay.replay_id)
                self._adopt(state, state.replay, again=state.replay.replay_id == job.replay_id)
                return None
            if state.last_replay and state.last_replay.replay_id == job.replay_id:
                return None  # already done: an enumeration message was delivered twice
            self._record_last(state)
            change = begin(state)
            if change is None:
                return None
            try:
                self._read_model.commit(change)
            except OutdatedError:
                continue
            begun = change.after.replay
            first = begun.checkpoint + 1 if begun else 0
            task = StreamTask(stream_id, RUNNING, job.started_at, first=first, head=self._store.head(stream_id))
            self._jobs.record(replace(job, tasks=(task,)))
            self._send(stream_id, job.replay_id)
            return task
        raise ContendedError(f"the state of stream {stream_id!r} is contended; try again")

    def _adopt(self, state: StreamState, replay: Replay, *, again: bool) -> None:
        """Record and trigger a task whose requester crashed right after marking the state item.

        ``again``: the requester itself is retrying, so its message may be missing too; a duplicate is harmless.
        """
        job = self._jobs.find(replay.replay_id) or ReplayJob(
            replay.replay_id, self._projection.name, replay.kind, replay.at
        )
        recorded = any(task.stream_id == state.stream_id for task in job.tasks)
        if not recorded:
            first = replay.checkpoint + 1 if replay.kind == ROLLBACK else 0
            task = StreamTask(
                state.stream_id, RUNNING, job.started_at, first=first, head=self._store.head(state.stream_id)
            )
            self._jobs.record(replace(job, tasks=(task,)))
        if again or not recorded:
            self._send(state.stream_id, replay.replay_id)

    def _record_last(self, state: StreamState) -> None:
        """Record how the previous replay ended, before the state item loses it."""
        last = state.last_replay
        job = self._jobs.find(last.replay_id) if last else None
        for task in job.tasks if job else ():
            if last and task.stream_id == state.stream_id and task.finished_at is None:
                self._jobs.record_task(last.replay_id, ended(task, last))

    def _rewind(self, stream_id: StreamId | None, from_event_id: int) -> ReplayJob:
        """Reset the live checkpoint; the worker catches up in place."""
        if not self._projection.idempotent:
            raise InvalidInputError(
                [Fault("/fromEventId", f"must be 0: projection {self._projection.name} is not declared idempotent")]
            )
        job = ReplayJob(self._new_id(), self._projection.name, REWIND, self._now(), from_event_id)
        for stream in self._streams(stream_id):
            head = self._store.head(stream)
            if from_event_id > head:
                raise InvalidInputError([Fault("/fromEventId", f"is beyond the head {head} of stream {stream!r}")])
            running = self._reset(stream, from_event_id - 1)
            if running:
                return self._jobs.find(running) or replace(job, replay_id=running)
            task = StreamTask(stream, RUNNING, job.started_at, first=from_event_id, head=head)
            job = replace(job, tasks=(*job.tasks, task))
        self._jobs.record(job)
        for task in job.tasks:
            self._send(StreamId(task.stream_id), job.replay_id)
        return job

    def _reset(self, stream_id: StreamId, to: int) -> str | None:
        """Rewind a stream, or return the id of the running replay."""
        for _ in range(MAX_LOST_RACES):
            state = self._read_model.load(stream_id).state
            if state.replay:
                return state.replay.replay_id
            if state.checkpoint <= to:  # it will get there anyway
                return None
            try:
                self._read_model.commit(transitions.rewind(state, to))
            except OutdatedError:
                continue
            return None
        raise ContendedError(f"the state of stream {stream_id!r} is contended; try again")

    # -- progress ----------------------------------------------------------------------------------------------------

    def progress(self, replay_id: str) -> Progress:
        """Return the progress of a job.

        Raises
        ------
        NotFoundError
            There is no job with that id.
        """
        job = self._jobs.find(replay_id)
        if job is None:
            raise NotFoundError(f"there is no replay {replay_id!r}")
        return self.describe(replace(job, tasks=tuple(self._current(job, task) for task in job.tasks)))

    def describe(self, job: ReplayJob) -> Progress:
        """Summarize a job's tasks as recorded."""
        return describe(job, self._clock.now())

    def _current(self, job: ReplayJob, task: StreamTask) -> StreamTask:
        """Return the current state of a task: as recorded if it has ended, otherwise from its state item."""
        if task.finished_at is not None:
            return task
        stream_id = StreamId(task.stream_id)
        return current(job, task, self._read_model.load(stream_id).state, lambda: self._store.head(stream_id))

    def _now(self) -> str:
        return rfc3339(self._clock.now())
