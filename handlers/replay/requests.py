"""Start, cancel and report replays and rollbacks (docs/rules.md, R1 to R6)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from handlers.core.clock import Clock, rfc3339
from handlers.core.errors import ConflictError, ContendedError, Fault, InvalidInputError, NotFoundError
from handlers.core.events import NO_EVENTS, StreamId
from handlers.projection import transitions
from handlers.projection.definition import Projection
from handlers.projection.port import MAX_LOST_RACES, Change, Commit, OutdatedError, ReadModel, read_control
from handlers.projection.state import Control, JobItem, StreamState
from handlers.replay import jobs
from handlers.replay.jobs import Progress, ReplayJob, Segment, describe
from handlers.store import EventStore


class Replays:
    """The replay jobs of one projection.

    Parameters
    ----------
    send
        Sends the message that starts a job, given its id.
    new_id
        Creates a replayId.
    has_code
        Tells whether the code with a fingerprint is deployed (G10).
    """

    def __init__(
        self,
        projection: Projection,
        store: EventStore,
        read_model: ReadModel,
        clock: Clock,
        *,
        send: Callable[[str], None],
        new_id: Callable[[], str],
        has_code: Callable[[str | None], bool] = lambda fingerprint: True,
    ) -> None:
        self._projection = projection
        self._store = store
        self._read_model = read_model
        self._clock = clock
        self._send = send
        self._new_id = new_id
        self._has_code = has_code

    def trigger(self, stream_id: StreamId | None = None, from_event_id: int = 0) -> Progress:
        """Replay the projection, or one stream in place; returns the running job if there is one.

        ``from_event_id`` > 0 resets the stream's live checkpoint and catches up in place (R3).

        Raises
        ------
        NotFoundError
            The projection does not follow that stream, or it has no events.
        InvalidInputError
            The projection cannot be replayed in place, or not from that event.
        ConflictError
            A change in place of rows that are still folded by code deployed before.
        """
        only = self._projection.only_stream
        head = self._head(stream_id) if stream_id is not None else None if only is None else self._store.head(only)
        stream_id = stream_id or only
        if from_event_id > 0:
            return self._rewind(stream_id, head, from_event_id)
        if stream_id is not None and stream_id != self._projection.only_stream:
            return self._replay_stream(stream_id, head)

        def begin(control: Control, replay_id: str) -> tuple[Change[Control], ReplayJob]:
            fingerprint = self._projection.fingerprint()
            return transitions.begin_replay(control, replay_id, fingerprint), self._job(replay_id, jobs.REPLAY, head)

        return self._begin(begin)

    def rollback(self) -> Progress:
        """Return to the previous generation; returns the running job if there is one.

        Raises
        ------
        ConflictError
            There is no previous generation, or the code that folds it is not deployed.
        """
        only = self._projection.only_stream

        def begin(control: Control, replay_id: str) -> tuple[Change[Control], ReplayJob]:
            if control.previous is None:
                raise ConflictError("there is no previous generation to roll back to")
            if not self._has_code(control.previous.fingerprint):
                raise ConflictError("the code of the previous generation is not deployed; deploy it, then roll back")
            head = None if only is None else self._store.head(only)
            return transitions.begin_rollback(control, replay_id), self._job(replay_id, jobs.ROLLBACK, head)

        return self._begin(begin)

    def cancel(self, replay_id: str) -> Progress:
        """Give up a running replay or rollback; the rows that are read stay as they are.

        Raises
        ------
        NotFoundError
            There is no such job.
        ConflictError
            It has ended, or it changes rows in place.
        """
        for _ in range(MAX_LOST_RACES):
            job = self._find(replay_id)
            control = read_control(self._read_model)
            if job.in_place:
                raise ConflictError(f"a {job.kind} changes the rows in place, and cannot be cancelled")
            if job.ended or control.building is None or control.building.replay_id != replay_id:
                raise ConflictError(f"replay {replay_id} has ended: it is {job.state}")
            changed = transitions.abandon(control)
            end = transitions.end_job(replay_id, jobs.CANCELLED, self._now())
            try:
                self._read_model.commit(Commit.of_control(changed, end))
            except OutdatedError:
                continue
            return self.progress(replay_id)
        raise ContendedError("the projection's control item is contended; try again")

    def progress(self, replay_id: str) -> Progress:
        """Return the progress of a job.

        Raises
        ------
        NotFoundError
            There is no such job.
        """
        return self.describe(self._find(replay_id))

    def describe(self, job: ReplayJob) -> Progress:
        """Return the progress of a job that was read before."""
        stream_id = job.stream_id or self._projection.only_stream
        if job.ended or stream_id is None or job.kind == jobs.STREAM:
            return describe(job, self._clock.now())
        generation = read_control(self._read_model).active if job.generation is None else job.generation
        state = self._read_model.load(generation, [stream_id]).states[stream_id]
        last = state.checkpoint if job.head is None else min(state.checkpoint, max(job.head, 0))
        return describe(job, self._clock.now(), events_done=max(0, last + 1 - job.from_event_id))

    # -- starting ----------------------------------------------------------------------------------------------------

    def _begin(self, begin: Callable[[Control, str], tuple[Change[Control], ReplayJob]]) -> Progress:
        """Change the control item and record the job in one transaction, then send the message.

        After a crash in between, the reconciler sends it (P6).
        """
        replay_id = self._new_id()
        for _ in range(MAX_LOST_RACES):
            control = read_control(self._read_model)
            if control.building is not None:
                running = self._read_model.read(JobItem(control.building.replay_id))
                if "startedAt" in running:
                    return self.describe(ReplayJob.from_document(running))
                raise ConflictError(f"replay {control.building.replay_id} is running")
            change, requested = begin(control, replay_id)
            job = _built(requested, change.after)
            try:
                self._read_model.commit(Commit.of_control(change, jobs.record(job)))
            except OutdatedError:
                # boto3 retries a call whose response was lost: the replay may be our own.
                continue
            self._send(replay_id)
            return describe(job, self._clock.now())
        raise ContendedError("the projection's control item is contended; try again")

    def _job(self, replay_id: str, kind: str, head: int | None) -> ReplayJob:
        streams = self._projection.streams
        segments = jobs.SEGMENTS if streams is None else min(jobs.SEGMENTS, max(1, len(streams)))
        phase = jobs.BUILD if kind == jobs.REPLAY else jobs.JOIN
        return ReplayJob(
            replay_id,
            self._projection.name,
            kind,
            self._now(),
            phase=phase,
            segments=(Segment(),) * segments,
            head=head,
        )

    def _rewind(self, stream_id: StreamId | None, head: int | None, from_event_id: int) -> Progress:
        """Reset the live checkpoint; the worker catches up in place."""
        name = self._projection.name
        if not (self._projection.idempotent and self._projection.rows_per_stream):
            declared = "idempotent" if self._projection.rows_per_stream else "to have rows of one stream each"
            raise InvalidInputError([Fault("/fromEventId", f"must be 0: projection {name} is not declared {declared}")])
        if stream_id is None or head is None:
            raise InvalidInputError(
                [Fault("/streamId", "is required with fromEventId: a replay in place is of one stream")]
            )
        if from_event_id > head:
            raise InvalidInputError([Fault("/fromEventId", f"is beyond the head {head} of stream {stream_id!r}")])
        for _ in range(MAX_LOST_RACES):
            control = read_control(self._read_model)
            if control.building is not None:
                return self.progress(control.building.replay_id)
            self._same_code(control)
            state = self._read_model.load(control.active, [stream_id]).states[stream_id]
            try:
                if state.ahead is not None:
                    self._stop_following(state)
                    continue
                if state.checkpoint >= from_event_id:  # otherwise it will get there anyway
                    self._read_model.commit(Commit((transitions.rewind(state, from_event_id - 1),)))
            except OutdatedError:
                continue
            return self._record_in_place(jobs.REWIND, stream_id, head, from_event_id)
        raise ContendedError(f"the state of stream {stream_id!r} is contended; try again")

    def _stop_following(self, state: StreamState) -> None:
        """Stop following a generation that was abandoned (G7); a replay that has joined the stream is reported."""
        if state.ahead is not None and not read_control(self._read_model).may_lead(state.ahead):
            self._read_model.commit(Commit((transitions.drop_leader(state),)))

    def _replay_stream(self, stream_id: StreamId, head: int | None) -> Progress:
        """Fold one stream again; the worker replaces its rows in place."""
        if not self._projection.rows_per_stream:
            raise InvalidInputError(
                [
                    Fault(
                        "/streamId",
                        f"cannot be replayed by itself: several streams may write a row of {self._projection.name}; "
                        "replay the whole projection",
                    )
                ]
            )
        self._same_code(read_control(self._read_model))
        return self._record_in_place(jobs.STREAM, stream_id, head, 0)

    def _same_code(self, control: Control) -> None:
        """Check that the rows that are read are folded by the deployed code, which allows changes in place (G10)."""
        if control.fingerprint not in (None, self._projection.fingerprint()):
            raise ConflictError("the rows are still those of the code deployed before; replay the whole projection")

    def _record_in_place(self, kind: str, stream_id: StreamId, head: int | None, from_event_id: int) -> Progress:
        job = ReplayJob(
            self._new_id(),
            self._projection.name,
            kind,
            self._now(),
            stream_id=stream_id,
            from_event_id=from_event_id,
            head=head,
        )
        self._read_model.commit(Commit((jobs.record(job),)))
        self._send(job.replay_id)
        return self.describe(job)

    def _head(self, stream_id: StreamId) -> int:
        if not self._projection.follows(stream_id):
            raise NotFoundError(f"projection {self._projection.name} does not follow a stream {stream_id!r}")
        head = self._store.head(stream_id)
        if head == NO_EVENTS:
            raise NotFoundError(f"there is no stream {stream_id!r}")
        return head

    def _find(self, replay_id: str) -> ReplayJob:
        document = self._read_model.read(JobItem(replay_id))
        if document.get("projection") != self._projection.name:
            raise NotFoundError(f"there is no replay {replay_id!r}")
        return ReplayJob.from_document(document)

    def _now(self) -> str:
        return rfc3339(self._clock.now())


def _built(job: ReplayJob, control: Control) -> ReplayJob:
    """Return the job with the generation that the control item gives it."""
    return replace(job, generation=control.underway.generation, fingerprint=control.underway.fingerprint)
