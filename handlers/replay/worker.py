"""Doing a replay: history, page after page, into a generation that nobody reads yet, then the switch (docs/rules.md).

A page of history is one chunk. Its rows are written 99 at a time, each lot in one transaction with the note of how many
rows of the chunk are done; the checkpoint moves with the last lot. So n events on k rows cost k writes (P3) whatever
their order, and a crash resumes at the row after the last one written (P2).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from handlers.core.clock import Clock, rfc3339
from handlers.core.errors import HandlerFailedError
from handlers.core.events import Event, StreamId
from handlers.projection import transitions
from handlers.projection.definition import Projection, Row
from handlers.projection.fold import fold, keys_of, prepare
from handlers.projection.port import MAX_COMMIT_BYTES, MAX_COMMIT_ROWS, OutdatedError, ReadModel
from handlers.projection.state import Chunk, Replay, StreamState
from handlers.replay.history import HistoryPages
from handlers.replay.jobs import REPLAY, RUNNING, Job, Part, ReplayJobs
from handlers.replay.progress import ended
from handlers.replay.row_cache import HeldRows
from handlers.store import EventStore


class ReplayWorker:
    """Carries out replays and rollbacks of one projection.

    Parameters
    ----------
    go_on
        Sends the message for the next slice of a stream's replay.
    read_ahead
        Fetch the next page of history, in a thread, while one is folded.

    Attributes
    ----------
    events_done
        Events that this worker has folded and written, in all its slices.
    """

    def __init__(
        self,
        projection: Projection,
        store: EventStore,
        read_model: ReadModel,
        jobs: ReplayJobs,
        clock: Clock,
        *,
        go_on: Callable[[StreamId, str], None],
        read_ahead: bool = True,
    ) -> None:
        self._projection = projection
        self._store = store
        self._read_model = read_model
        self._jobs = jobs
        self._clock = clock
        self._go_on = go_on
        self._read_ahead = read_ahead
        self._fingerprint = projection.fingerprint()
        self.events_done = 0

    def work(self, stream_id: StreamId, replay_id: str, has_time: Callable[[], bool]) -> bool:
        """Go on with a replay until it has ended or time is up; True when it has ended.

        Safe to call at any time, by any number of workers, for any replay: what there is to do follows from the state.

        Parameters
        ----------
        has_time
            False when this slice should end; the next one is asked for then.
        """
        pages = HistoryPages(self._store, stream_id, ahead=self._read_ahead)
        rows = HeldRows(self._read_model, stream_id)
        try:
            while True:
                state = self._read_model.load(stream_id).state
                if state.replay is None or state.replay.replay_id != replay_id:
                    self._record_end(state, replay_id)
                    return self._sweep(state, replay_id, has_time)
                try:
                    self._step(state, state.replay, pages, rows)
                except OutdatedError:
                    rows.forget()
                if not has_time():
                    self._go_on(stream_id, replay_id)
                    return False
        finally:
            pages.close()

    def _step(self, state: StreamState, replay: Replay, pages: HistoryPages, rows: HeldRows) -> None:
        """Do one chunk, or the switch when history is at its end."""
        if replay.kind == "replay" and replay.fingerprint != self._fingerprint:
            self._read_model.commit(transitions.restart_replay(state, self._fingerprint, self._now()))
            return
        page = pages.chunk(replay)
        if page.events:
            try:
                replay = self._write_chunk(state, replay, page.events, rows)
                self.events_done += len(page.events)
            except HandlerFailedError as failure:
                self._read_model.commit(transitions.give_up_replay(state, failure.event_id, failure.error, self._now()))
                return
        if not page.more or not page.events:
            self._switch(state.stream_id, replay)

    def _switch(self, stream_id: StreamId, replay: Replay) -> None:
        """Switch if the replay has reached the live rows; else the next step goes on."""
        state = self._read_model.load(stream_id).state
        if state.replay == replay and replay.chunk is None and state.checkpoint <= replay.checkpoint:
            self._read_model.commit(transitions.switch(state, self._now()))

    def _write_chunk(self, state: StreamState, replay: Replay, events: Sequence[Event], rows: HeldRows) -> Replay:
        """Fold a chunk and write its rows, lot by lot; returns the replay as it then is."""
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
        for lot in _lots(keys_left, folded.sizes):
            done += len(lot)
            changed = {
                key: folded.changed[key]
                for key in lot
                if key in folded.changed and repr(folded.changed[key]) != repr(before[key])
            }
            state = self._commit_lot(state, to, done, changed, last=done == len(keys))
            rows.put(_replay_of(state), {key: folded.changed.get(key, before[key]) for key in lot}, folded.sizes)
        if not keys_left:
            state = self._commit_lot(state, to, done, {}, last=True)
            rows.put(_replay_of(state), {}, {})
        return _replay_of(state)

    def _commit_lot(
        self, state: StreamState, to: int, done: int, changed: Mapping[str, Row | None], *, last: bool
    ) -> StreamState:
        replay, at = _replay_of(state), self._now()
        change = (
            transitions.advance_replay(state, to, at) if last else transitions.advance_chunk(state, Chunk(to, done), at)
        )
        self._read_model.commit(change, changed, replay.generation)
        return change.after

    def _record_end(self, state: StreamState, replay_id: str) -> None:
        """Record how the replay ended, as the state item tells; again after a crash, for the record is the same."""
        if state.last_replay is None or state.last_replay.replay_id != replay_id:
            return
        last = state.last_replay
        job = self._jobs.find(replay_id) or Job(replay_id, self._projection.name, REPLAY, last.at)
        parts = {part.stream_id: part for part in job.parts}
        part = parts.get(state.stream_id) or Part(state.stream_id, RUNNING, job.started_at)
        if not job.parts:  # whoever asked for it crashed before recording it
            self._jobs.record(replace(job, parts=(ended(part, last),)))
        elif part.finished_at is None:
            self._jobs.record_part(replay_id, ended(part, last))

    def _sweep(self, state: StreamState, replay_id: str, has_time: Callable[[], bool]) -> bool:
        """Delete the rows of generations that were given up; True when all are gone."""
        for generation in state.sweep:
            while not self._read_model.sweep(state.stream_id, generation):
                if not has_time():
                    self._go_on(state.stream_id, replay_id)
                    return False
            change = transitions.swept(state, generation)
            try:
                self._read_model.commit(change)
            except OutdatedError:
                return True  # another worker sweeps, or another replay added a generation: its own worker comes by
            state = change.after
        return True

    def _now(self) -> str:
        return rfc3339(self._clock.now())


def _replay_of(state: StreamState) -> Replay:
    if state.replay is None:
        raise OutdatedError("the replay has ended")
    return state.replay


def _lots(keys: Sequence[str], sizes: Mapping[str, int]) -> Iterator[list[str]]:
    """Split keys, in order, into lots that one transaction holds."""
    lot: list[str] = []
    size = 0
    for key in keys:
        grown = size + sizes.get(key, 0)
        if lot and (len(lot) == MAX_COMMIT_ROWS or grown > MAX_COMMIT_BYTES):
            yield lot
            lot, grown = [], sizes.get(key, 0)
        lot.append(key)
        size = grown
    if lot:
        yield lot
