"""Building a generation from history: the streams of a page of a scan are folded and written together (G1, G3)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from handlers.core.dynamodb import TRANSACTION_ITEMS
from handlers.core.errors import HandlerFailedError
from handlers.core.events import Event, EventId, StreamId
from handlers.projection import transitions
from handlers.projection.definition import Projection
from handlers.projection.engine import AbandonedError, Projector, plain, row_changes, written
from handlers.projection.fold import Folded, fold, keys_of, prepare
from handlers.projection.port import (
    MAX_COMMIT_BYTES,
    MAX_COMMIT_ROWS,
    MAX_LOST_RACES,
    Change,
    Commit,
    OutdatedError,
    ReadModel,
    Row,
    RowChange,
    StoredRow,
)
from handlers.projection.state import Control, Page, StateItem, StreamState
from handlers.store import EventStore


@dataclass(frozen=True, slots=True)
class Run:
    """Contiguous events of one stream that follow its state."""

    state: StreamState
    events: Sequence[Event]

    @property
    def stream_id(self) -> StreamId:
        return self.state.stream_id


class Builder:
    """Writes the streams of one projection into a generation that nobody reads yet.

    Attributes
    ----------
    events_done
        Number of events folded by this builder.
    """

    def __init__(
        self,
        projector: Projector,
        store: EventStore,
        read_model: ReadModel,
        *,
        pause: Callable[[int], None] = lambda lost: None,
    ) -> None:
        self._projector = projector
        self._store = store
        self._read_model = read_model
        self._pause = pause
        self.events_done = 0

    def build_stream(
        self, control: Control, stream_id: StreamId, same_segment: Change[Any], has_time: Callable[[], bool]
    ) -> tuple[StreamState, bool]:
        """Build one stream; returns its state, and whether it has reached the head.

        A page of history with more rows than a transaction holds is folded as a whole and written in several commits: n
        events on k rows are k writes (P3). Nobody reads these rows before the stream joins.

        Parameters
        ----------
        same_segment
            The condition on which such a page may be written: the stream's segment of the job is still to be done.

        Raises
        ------
        OutdatedError
            Another worker was faster.
        AbandonedError
            The generation was given up, perhaps because a handler raised.
        """
        generation, cache = control.underway.generation, self._projector.cache
        head = self._store.head(stream_id)
        state = cache.state(generation, stream_id) or self._read_model.load(generation, [stream_id]).states[stream_id]
        while state.checkpoint < head or state.page is not None:
            events, before = self._page_after(state), state.checkpoint
            if not events:  # the head is behind a gap: the join reads what comes after it
                return state, True
            try:
                state = self._write_page(control, state, events, same_segment)
            except (OutdatedError, HandlerFailedError):  # perhaps because of rows that are warm, but not current
                cache.forget_stream(stream_id)
                cache.forget_rows((generation, key) for key in self._page_keys(control, events))
                raise
            self.events_done += state.checkpoint - before
            if not has_time():
                break
        return state, state.checkpoint >= head and state.page is None

    def _page_after(self, state: StreamState) -> Sequence[Event]:
        """Return the events after the checkpoint, exactly to the end of a page that was begun."""
        events = list(self._store.read(state.stream_id, EventId(state.checkpoint + 1)).events)
        if state.page is None:
            return events
        while events and events[-1].event_id < state.page.to:
            events += self._store.read(state.stream_id, EventId(events[-1].event_id + 1)).events
        return [event for event in events if event.event_id <= state.page.to]

    def _page_keys(self, control: Control, events: Sequence[Event]) -> list[str]:
        projection = self._projector.code.of(control.underway.fingerprint)
        return keys_of(prepare(projection, events), limit=len(events) * MAX_COMMIT_ROWS)

    def _write_page(
        self, control: Control, state: StreamState, events: Sequence[Event], same_segment: Change[Any]
    ) -> StreamState:
        generation = state.generation
        projection = self._projector.code.of(control.underway.fingerprint)
        prepared = prepare(projection, events)
        keys = keys_of(prepared, limit=len(prepared) * MAX_COMMIT_ROWS)
        fits = state.page is None and len(keys) <= MAX_COMMIT_ROWS
        if fits or any(len(each.keys) > 1 or each.failure is not None for each in prepared):
            return self._alone(generation, events)
        done = 0 if state.page is None else state.page.rows
        written_before = set(keys[:done])
        left = [each for each in prepared if not written_before.intersection(each.keys)]
        # There are no rows yet if only this stream writes them.
        load = state.exists or not projection.rows_per_stream
        before = self._projector.stored_rows(generation, keys[done:], load=load)
        folded = fold(projection, left, plain(before), state.checkpoint, max_bytes=sys.maxsize)
        if folded.failure is not None and not done:  # the events before it, one commit after the other
            return self._alone(generation, events)
        if folded.failure is not None:
            raise folded.failure
        for batch in _batches(row_changes(projection, folded, before), folded.sizes):
            done += len(batch)
            last = done == len(keys)
            page = Page(events[-1].event_id, done)
            change = transitions.advance(state, page.to) if last else transitions.write_page(state, page)
            self._read_model.commit(Commit((change, same_segment), batch, generation, born_at=control.version))
            state = change.after
            self._projector.cache.put(generation, [state], written(batch), folded.sizes)
        return state

    def build_page(self, control: Control, events: Iterable[Event]) -> int:
        """Write a page of a scan, the events of one stream together and in order; returns the number of events used.

        A stream whose beginning is missing, because an earlier page was lost or is being written by another worker, is
        brought on from its state. What the page lacks is read when the stream joins.

        Raises
        ------
        AbandonedError
            The generation was given up, perhaps because a handler raised.
        """
        generation = control.underway.generation
        projection = self._projector.code.of(control.underway.fingerprint)
        pack = _Pack(self._projector, projection, generation)
        used = 0
        for stream_id, group in groupby(events, key=lambda event: event.stream_id):
            if not projection.follows(stream_id):
                continue
            run = _contiguous(list(group))
            used += len(run)
            state = self._state_before(generation, run)
            if state is None:
                self._alone(generation, run)
            elif not pack.add(Run(state, run)):
                self._write(pack)
                pack = _Pack(self._projector, projection, generation)
                if not pack.add(Run(state, run)):  # too much for one transaction, or a handler raises
                    self._alone(generation, run)
                    pack = _Pack(self._projector, projection, generation)
        self._write(pack)
        self.events_done += used
        return used

    def _state_before(self, generation: int, run: Sequence[Event]) -> StreamState | None:
        """Return the state that a run follows, without reading: that of the page before, or none yet."""
        known = self._projector.cache.state(generation, run[0].stream_id)
        if known is not None:
            return known if known.checkpoint + 1 == run[0].event_id else None
        return StreamState(run[0].stream_id, generation) if run[0].event_id == 0 else None

    def _alone(self, generation: int, run: Sequence[Event]) -> StreamState:
        return self._projector.bring(run[0].stream_id, generation, run[-1].event_id, run)

    def _write(self, pack: _Pack) -> None:
        """Commit a pack. Streams that somebody else has begun are brought on alone; contended rows are read again."""
        generation, projection = pack.generation, pack.projection
        for lost in range(MAX_LOST_RACES):
            if not pack.runs:
                return
            commit = pack.commit(self._control(generation))
            try:
                self._read_model.commit(commit)
            except OutdatedError as error:
                if transitions.CONTROL in error.items:  # the generations have changed: the worker looks again
                    raise
                begun = {item.stream_id for item in error.items if isinstance(item, StateItem)}
                for run in pack.runs:
                    if run.stream_id in begun:
                        self._alone(generation, run.events)
                self._projector.cache.forget_rows((generation, key) for key in error.keys or pack.keys)
                self._pause(lost)
                pack = self._again(projection, generation, [run for run in pack.runs if run.stream_id not in begun])
            else:
                pack.keep(commit)
                return
        for run in pack.runs:
            self._alone(generation, run.events)

    def _control(self, generation: int) -> Control:
        """Return the control item if the generation is still being built."""
        control = self._projector.control()
        if control.building is None or control.building.generation != generation:
            raise AbandonedError
        return control

    def _again(self, projection: Projection, generation: int, runs: Sequence[Run]) -> _Pack:
        """Fold runs once more over the rows as they are stored now."""
        pack = _Pack(self._projector, projection, generation)
        keys = dict.fromkeys(key for run in runs for key in keys_of(prepare(projection, run.events)))
        pack.loaded = self._projector.stored_rows(generation, list(keys))
        for run in runs:
            if not pack.add(run):
                self._alone(generation, run.events)
        return pack


class _Pack:
    """Runs of several streams, folded one after the other, that fit one transaction.

    Attributes
    ----------
    loaded
        Rows read for this pack; others are in the cache, or presumed not to exist.
    """

    def __init__(self, projector: Projector, projection: Projection, generation: int) -> None:
        self._cache = projector.cache
        self.projection = projection
        self.generation = generation
        self.runs: list[Run] = []
        self.loaded: dict[str, StoredRow | None] = {}
        self._changes: list[Change[StreamState]] = []
        self._births = 0  # or 1: one fence is checked for all
        self._before: dict[str, StoredRow | None] = {}
        self._rows: dict[str, Row | None] = {}
        self._folded = Folded(-1)

    @property
    def keys(self) -> Collection[str]:
        """The keys of its rows."""
        return self._before

    def add(self, run: Run) -> bool:
        """Fold a run; False, and no change, if it does not fit as a whole, or a handler raises."""
        prepared = prepare(self.projection, run.events)
        keys = keys_of(prepared, MAX_COMMIT_ROWS)
        new = {key: self._stored(key) for key in keys if key not in self._before}
        births = self._births if run.state.exists else 1
        if len(self._changes) + 1 + len(self._before) + len(new) + births > TRANSACTION_ITEMS:
            return False
        rows = {key: self._rows[key] if key in self._rows else _row(new.get(key)) for key in keys}
        room = MAX_COMMIT_BYTES - self._folded.size
        folded = fold(self.projection, prepared, rows, run.state.checkpoint, skipped=run.state.skipped, max_bytes=room)
        if folded.checkpoint != run.events[-1].event_id or folded.skipped or folded.size > room:
            return False
        self.runs.append(run)
        self._changes.append(transitions.advance(run.state, folded.checkpoint))
        self._births = births
        self._before.update(new)
        self._rows.update(folded.changed)
        self._folded.changed.update(folded.changed)
        for key, size in folded.sizes.items():
            self._folded.size += size - self._folded.sizes.get(key, 0)
            self._folded.sizes[key] = size
        return True

    def commit(self, control: Control) -> Commit:
        """Return the transaction that writes everything."""
        rows = row_changes(self.projection, self._folded, self._before)
        return Commit(tuple(self._changes), rows, self.generation, born_at=control.version)

    def keep(self, commit: Commit) -> None:
        """Keep what was written."""
        states = [change.after for change in self._changes]
        self._cache.put(self.generation, states, written(commit.rows), self._folded.sizes)

    def _stored(self, key: str) -> StoredRow | None:
        return self.loaded[key] if key in self.loaded else self._cache.row(self.generation, key)


def _row(stored: StoredRow | None) -> Row | None:
    return None if stored is None else stored.row


def _contiguous(events: Sequence[Event]) -> Sequence[Event]:
    """Return the leading events without a gap: a scan may see a later event before an earlier one."""
    first = events[0].event_id
    for index, event in enumerate(events):
        if event.event_id != first + index:
            return events[:index]
    return events


def _batches(changes: Sequence[RowChange], sizes: Mapping[str, int]) -> Iterator[tuple[RowChange, ...]]:
    """Split changes, in order, into batches that fit one transaction with the state, its fence and a check of the job."""
    batch: list[RowChange] = []
    size = 0
    for change in changes:
        size += sizes[change.key]
        if batch and (len(batch) == MAX_COMMIT_ROWS - 1 or size > MAX_COMMIT_BYTES):
            yield tuple(batch)
            batch, size = [], sizes[change.key]
        batch.append(change)
    if batch:
        yield tuple(batch)
