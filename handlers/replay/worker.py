"""The replay worker: folds history page by page into a generation that nobody reads yet, then switches (docs/rules.md).

The rows of a page are written in batches of 99, each in one transaction with the number of rows written so far (`Chunk`);
the last batch advances the checkpoint. So n events on k rows cost k writes in any order (P3), and after a crash the worker
resumes after the last written row (P2).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from handlers.core.clock import Clock, rfc3339
from handlers.core.errors import HandlerFailedError
from handlers.core.events import Event, EventId, StreamId
from handlers.core.messages import Hint
from handlers.projection import transitions
from handlers.projection.definition import Projection, Row
from handlers.projection.engine import Projector
from handlers.projection.fold import fold, keys_of, prepare
from handlers.projection.port import MAX_COMMIT_BYTES, MAX_COMMIT_ROWS, OutdatedError, ReadModel
from handlers.projection.state import Chunk, Replay, StreamState
from handlers.replay.caches import HistoryPages, RowCache
from handlers.replay.jobs import DONE, FAILED, REPLAY, RUNNING, ReplayJob, ReplayJobs, StreamTask, ended
from handlers.store import EventStore


class ReplayWorker:
    """Runs replays and rollbacks of one projection.

    Parameters
    ----------
    send_next
        Sends the message that continues a stream's replay in another invocation.
    read_ahead
        Fetch the next page of history in a thread while one is folded.

    Attributes
    ----------
    events_done
        Number of events that this worker has folded and written.
    """

    def __init__(
        self,
        projection: Projection,
        store: EventStore,
        read_model: ReadModel,
        jobs: ReplayJobs,
        clock: Clock,
        *,
        send_next: Callable[[StreamId, str], None],
        read_ahead: bool = True,
    ) -> None:
        self._projection = projection
        self._store = store
        self._read_model = read_model
        self._jobs = jobs
        self._clock = clock
        self._send_next = send_next
        self._read_ahead = read_ahead
        self._fingerprint = projection.fingerprint()
        self.events_done = 0

    def work(self, stream_id: StreamId, replay_id: str, has_time: Callable[[], bool]) -> bool:
        """Continue a replay until it ends or ``has_time`` returns False; True if it has ended.

        Safe to call at any time, from any number of workers, for any replay: the state determines what to do.
        """
        pages = HistoryPages(self._store, stream_id, ahead=self._read_ahead)
        rows = RowCache(self._read_model, stream_id)
        try:
            while True:
                state = self._read_model.load(stream_id).state
                if state.replay is None or state.replay.replay_id != replay_id:
                    self._record_end(state, replay_id)
                    return self._sweep(state, replay_id, has_time)
                try:
                    self._step(state, state.replay, pages, rows)
                except OutdatedError:
                    rows.clear()
                if not has_time():
                    self._send_next(stream_id, replay_id)
                    return False
        finally:
            pages.close()

    def _step(self, state: StreamState, replay: Replay, pages: HistoryPages, rows: RowCache) -> None:
        """Write one page, or switch at the end of history."""
        if replay.kind == REPLAY and replay.fingerprint != self._fingerprint:
            self._read_model.commit(transitions.restart_replay(state, self._fingerprint, self._now()))
            return
        page = pages.after(replay)
        if page.events:
            try:
                replay = self._write_page(state, replay, page.events, rows)
                self.events_done += len(page.events)
            except HandlerFailedError as failure:
                self._read_model.commit(transitions.give_up_replay(state, failure.event_id, failure.error, self._now()))
                return
        if not page.more or not page.events:
            self._switch(state.stream_id, replay)

    def _switch(self, stream_id: StreamId, replay: Replay) -> None:
        """Switch if the replay has reached the live checkpoint; otherwise the next step continues."""
        state = self._read_model.load(stream_id).state
        if state.replay == replay and replay.chunk is None and state.checkpoint <= replay.checkpoint:
            self._read_model.commit(transitions.switch(state, self._now()))

    def _write_page(self, state: StreamState, replay: Replay, events: Sequence[Event], rows: RowCache) -> Replay:
        """Fold a page and write its rows in batches; returns the advanced replay."""
        prepared = prepare(self._projection, events)
        keys = keys_of(prepared, limit=len(prepared))
        done = replay.chunk.keys_done if replay.chunk else 0
        written = set(keys[:done])
        events_left = [event for event in prepared if event.key not in written]
        keys_left = keys[done:]
        before = rows.get(replay, keys_left)
        folded = fold(
            self._projection, events_left, before, replay.checkpoint, skipped=state.skipped, max_bytes=sys.maxsize
        )
        if folded.failure:
            raise folded.failure
        to = events[-1].event_id
        for batch in _batches(keys_left, folded.sizes):
            done += len(batch)
            changed = {
                key: folded.changed[key]
                for key in batch
                if key in folded.changed and repr(folded.changed[key]) != repr(before[key])
            }
            state = self._commit_batch(state, to, done, changed, last=done == len(keys))
            rows.put(_replay_of(state), {key: folded.changed.get(key, before[key]) for key in batch}, folded.sizes)
        if not keys_left:
            state = self._commit_batch(state, to, done, {}, last=True)
            rows.put(_replay_of(state), {}, {})
        return _replay_of(state)

    def _commit_batch(
        self, state: StreamState, to: int, done: int, changed: Mapping[str, Row | None], *, last: bool
    ) -> StreamState:
        replay, at = _replay_of(state), self._now()
        change = (
            transitions.advance_replay(state, to, at) if last else transitions.advance_chunk(state, Chunk(to, done), at)
        )
        self._read_model.commit(change, changed, replay.generation)
        return change.after

    def _record_end(self, state: StreamState, replay_id: str) -> None:
        """Record how the replay ended according to the state item; idempotent."""
        if state.last_replay is None or state.last_replay.replay_id != replay_id:
            return
        last = state.last_replay
        job = self._jobs.find(replay_id) or ReplayJob(replay_id, self._projection.name, REPLAY, last.at)
        tasks = {task.stream_id: task for task in job.tasks}
        task = tasks.get(state.stream_id) or StreamTask(state.stream_id, RUNNING, job.started_at)
        if not job.tasks:  # the requester crashed before recording it
            self._jobs.record(replace(job, tasks=(ended(task, last),)))
        elif task.finished_at is None:
            self._jobs.record_task(replay_id, ended(task, last))

    def _sweep(self, state: StreamState, replay_id: str, has_time: Callable[[], bool]) -> bool:
        """Delete the rows of abandoned generations; True when all are deleted."""
        for generation in state.sweep:
            while not self._read_model.sweep(state.stream_id, generation):
                if not has_time():
                    self._send_next(state.stream_id, replay_id)
                    return False
            change = transitions.swept(state, generation)
            try:
                self._read_model.commit(change)
            except OutdatedError:
                return True  # another worker sweeps, or another replay added a generation for its own worker
            state = change.after
        return True

    def _now(self) -> str:
        return rfc3339(self._clock.now())


def _replay_of(state: StreamState) -> Replay:
    if state.replay is None:
        raise OutdatedError("the replay has ended")
    return state.replay


def _batches(keys: Sequence[str], sizes: Mapping[str, int]) -> Iterator[list[str]]:
    """Split keys, in order, into batches that fit one transaction."""
    batch: list[str] = []
    size = 0
    for key in keys:
        grown = size + sizes.get(key, 0)
        if batch and (len(batch) == MAX_COMMIT_ROWS or grown > MAX_COMMIT_BYTES):
            yield batch
            batch, grown = [], sizes.get(key, 0)
        batch.append(key)
        size = grown
    if batch:
        yield batch


def finish_rewind(
    job: ReplayJob,
    stream_id: StreamId,
    projector: Projector,
    jobs: ReplayJobs,
    clock: Clock,
    has_time: Callable[[], bool],
) -> bool:
    """Catch up a rewound stream to the head at the time of the request (R3), and record the end; True when done."""
    task = next((task for task in job.tasks if task.stream_id == stream_id), None)
    if task is None or task.finished_at is not None:
        return True
    hint = Hint(stream_id, EventId(task.head), fresh=True)
    try:
        outcome = projector.catch_up(stream_id, [hint], retry_halted=True, has_time=has_time)
    except HandlerFailedError as failure:
        failed = replace(
            task,
            state=FAILED,
            events_done=failure.event_id - task.first,
            finished_at=rfc3339(clock.now()),
            error_event_id=failure.event_id,
            error=failure.error,
        )
        jobs.record_task(job.replay_id, failed)
        return True
    if not outcome.finished:
        return False
    done = task.head + 1 - task.first
    jobs.record_task(job.replay_id, replace(task, state=DONE, events_done=done, finished_at=rfc3339(clock.now())))
    return True
