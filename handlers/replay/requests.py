"""Asking for replays, rollbacks and rewinds, and telling how far they are (docs/rules.md, R3 and R4)."""

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
from handlers.replay.jobs import REPLAY, REWIND, ROLLBACK, RUNNING, Job, Part, ReplayJobs
from handlers.replay.progress import Progress, describe, ended, present
from handlers.store import EventStore

# Losing the race for the state item more often than this in a row means that something else is wrong.
MAX_LOST_RACES = 20

Begin = Callable[[StreamState], StateChange | None]
"""The transition that begins a job's part; None where there is nothing to begin."""


class Replays:
    """Starts jobs of one projection and reports on them.

    Parameters
    ----------
    send
        Sends the first message of a part: the stream's id and the job's.
    new_id
        Makes a replayId.
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

    # -- asking ------------------------------------------------------------------------------------------------------

    def trigger(self, stream_id: StreamId | None = None, from_event_id: int = 0) -> Job:
        """Replay a stream, or every stream of the projection; answers with the running job where one runs.

        ``from_event_id`` > 0 sets the live checkpoint back and catches up in place (R3).

        Raises
        ------
        NotFoundError
            The projection does not follow that stream, or it has no events.
        InvalidInputError
            A start in the middle of a projection that is not idempotent, or beyond the head.
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

    def rollback(self, stream_id: StreamId | None = None) -> Job:
        """Go back to the generation before the active one, and catch up from there.

        Raises
        ------
        NotFoundError
            As for `trigger`.
        ConflictError
            There is no generation to go back to.
        """
        replay_id = self._new_id()

        def begin(state: StreamState) -> StateChange | None:
            return transitions.begin_rollback(state, replay_id, self._now()) if state.previous else None

        return self._start(replay_id, ROLLBACK, self._streams(stream_id), begin)

    def enumerate(self, replay_id: str, after: str | None, limit: int = 100) -> str | None:
        """Begin some more parts of a job on every stream; returns the position to go on from, None at the end."""
        job = self._jobs.find(replay_id)
        if job is None:
            return None
        page = self._store.streams(limit=limit, after=after)
        fingerprint = self._projection.fingerprint()
        for stream_id in page.stream_ids:
            self._begin_part(
                job, stream_id, lambda state: transitions.begin_replay(state, replay_id, fingerprint, self._now())
            )
        if page.next_position is None:
            self._jobs.record(replace(job, complete=True, parts=()))
        return page.next_position

    def _streams(self, stream_id: StreamId | None) -> Sequence[StreamId]:
        if stream_id is None:
            if self._projection.streams is None:
                raise InvalidInputError([Fault("/streamId", "is missing: this projection follows every stream")])
            return self._projection.streams
        if not self._projection.follows(stream_id):
            raise NotFoundError(f"projection {self._projection.name} does not follow a stream {stream_id!r}")
        if self._store.head(stream_id) == NO_EVENTS:
            raise NotFoundError(f"there is no stream {stream_id!r}")
        return [stream_id]

    def _announce(self, replay_id: str) -> Job:
        """Record a job on every stream, for the worker to find them."""
        job = Job(replay_id, self._projection.name, REPLAY, self._now(), complete=False)
        self._jobs.record(job)
        self._send(None, replay_id)
        return job

    def _start(self, replay_id: str, kind: str, streams: Sequence[StreamId], begin: Begin) -> Job:
        job = Job(replay_id, self._projection.name, kind, self._now())
        running: list[str] = []
        for stream_id in streams:
            part = self._begin_part(job, stream_id, begin, running)
            if part:
                job = replace(job, parts=(*job.parts, part))
        if job.parts:
            return job
        if running:
            # Nothing is started twice: the job that runs is the answer.
            return self._jobs.find(running[0]) or replace(job, replay_id=running[0])
        raise ConflictError("there is no generation before the active one to go back to")

    def _begin_part(self, job: Job, stream_id: StreamId, begin: Begin, running: list[str] | None = None) -> Part | None:
        """Mark the state item, then record, then send: a crash in between is found and nudged by the reconciler (P6)."""
        for _ in range(MAX_LOST_RACES):
            state = self._read_model.load(stream_id).state
            if state.replay:
                if running is not None:
                    running.append(state.replay.replay_id)
                self._adopt(state, state.replay, again=state.replay.replay_id == job.replay_id)
                return None
            if state.last_replay and state.last_replay.replay_id == job.replay_id:
                return None  # done already: a message to find the streams has come twice
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
            part = Part(stream_id, RUNNING, job.started_at, first=first, head=self._store.head(stream_id))
            self._jobs.record(replace(job, parts=(part,)))
            self._send(stream_id, job.replay_id)
            return part
        raise ContendedError(f"the state of stream {stream_id!r} is contended; try again")

    def _adopt(self, state: StreamState, replay: Replay, *, again: bool) -> None:
        """Record a part, and send for it, whose asker crashed right after marking the state item.

        ``again``: the asker itself has come again, so its message may be missing too; one more does no harm.
        """
        job = self._jobs.find(replay.replay_id) or Job(replay.replay_id, self._projection.name, replay.kind, replay.at)
        recorded = any(part.stream_id == state.stream_id for part in job.parts)
        if not recorded:
            first = replay.checkpoint + 1 if replay.kind == ROLLBACK else 0
            part = Part(state.stream_id, RUNNING, job.started_at, first=first, head=self._store.head(state.stream_id))
            self._jobs.record(replace(job, parts=(part,)))
        if again or not recorded:
            self._send(state.stream_id, replay.replay_id)

    def _record_last(self, state: StreamState) -> None:
        """Record how the replay before ended, before its note in the state item is overwritten."""
        last = state.last_replay
        job = self._jobs.find(last.replay_id) if last else None
        for part in job.parts if job else ():
            if last and part.stream_id == state.stream_id and part.finished_at is None:
                self._jobs.record_part(last.replay_id, ended(part, last))

    def _rewind(self, stream_id: StreamId | None, from_event_id: int) -> Job:
        """Set the live checkpoint back; the worker catches up in place."""
        if not self._projection.idempotent:
            raise InvalidInputError(
                [Fault("/fromEventId", f"must be 0: projection {self._projection.name} is not declared idempotent")]
            )
        job = Job(self._new_id(), self._projection.name, REWIND, self._now(), from_event_id)
        for stream in self._streams(stream_id):
            head = self._store.head(stream)
            if from_event_id > head:
                raise InvalidInputError([Fault("/fromEventId", f"is beyond the head {head} of stream {stream!r}")])
            running = self._set_back(stream, from_event_id - 1)
            if running:
                return self._jobs.find(running) or replace(job, replay_id=running)
            part = Part(stream, RUNNING, job.started_at, first=from_event_id, head=head)
            job = replace(job, parts=(*job.parts, part))
        self._jobs.record(job)
        for part in job.parts:
            self._send(StreamId(part.stream_id), job.replay_id)
        return job

    def _set_back(self, stream_id: StreamId, to: int) -> str | None:
        """Rewind a stream; returns the id of the replay that runs instead where one does."""
        for _ in range(MAX_LOST_RACES):
            state = self._read_model.load(stream_id).state
            if state.replay:
                return state.replay.replay_id
            if state.checkpoint <= to:  # it is on its way there already
                return None
            try:
                self._read_model.commit(transitions.rewind(state, to))
            except OutdatedError:
                continue
            return None
        raise ContendedError(f"the state of stream {stream_id!r} is contended; try again")

    # -- telling -----------------------------------------------------------------------------------------------------

    def progress(self, replay_id: str) -> Progress:
        """Tell how far a job is.

        Raises
        ------
        NotFoundError
            There is no job of that id.
        """
        job = self._jobs.find(replay_id)
        if job is None:
            raise NotFoundError(f"there is no replay {replay_id!r}")
        return self.describe(replace(job, parts=tuple(self._present(job, part) for part in job.parts)))

    def describe(self, job: Job) -> Progress:
        """Sum a job's parts up, as recorded."""
        return describe(job, self._clock.now())

    def _present(self, job: Job, part: Part) -> Part:
        """Return a part as it now is: an ended one as recorded, a running one as its state item tells."""
        if part.finished_at is not None:
            return part
        stream_id = StreamId(part.stream_id)
        return present(job, part, self._read_model.load(stream_id).state, lambda: self._store.head(stream_id))

    def _now(self) -> str:
        return rfc3339(self._clock.now())
