"""Bringing a stream to an event in a generation of a read model: live, for a replay, and for a rollback (G1 to G4).

A message only says that there is work; the states determine which, and the event store fills gaps between messages (P1).
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from handlers.core.clock import Clock, rfc3339
from handlers.core.errors import ContendedError, HandlerFailedError
from handlers.core.events import NO_EVENTS, Event, EventId, StreamId
from handlers.core.messages import Hint
from handlers.projection import transitions
from handlers.projection.cache import Cache
from handlers.projection.definition import Projection
from handlers.projection.fold import Folded, Prepared, fold, keys_of
from handlers.projection.port import (
    MAX_LOST_RACES,
    Commit,
    OutdatedError,
    ReadModel,
    RowChange,
    StoredRow,
    read_control,
)
from handlers.projection.state import FAILED, REPLAY, Control, Document, StreamState
from handlers.store import EventStore

# How long a control item is used before it is read again (G7). Births do not rely on its age: the fences show it (G3).
CONTROL_AGE_S = 5.0
# A generation may follow one that follows another: more than two at a time means that something else is wrong.
MAX_DEPTH = 4
# A transaction also holds the control item, its fences, the job and the state.
MAX_CHECKED_ROWS = 80


class AbandonedError(Exception):
    """The generation was given up: nothing may be written in it any more (G8)."""


@dataclass(frozen=True, slots=True)
class CatchUp:
    """The result of catching up a stream.

    Attributes
    ----------
    applied
        Number of events by which this call advanced the checkpoint, handled by the projection or not.
    checkpoint
        The last applied event.
    halted
        True if the stream is halted at an event whose handler raised.
    finished
        False if time ran out before the target; the reconciler continues (P6).
    """

    applied: int
    checkpoint: int
    halted: bool = False
    finished: bool = True


class Code:
    """A projection's code, by the fingerprint that a generation was built with (G10).

    Parameters
    ----------
    current
        The deployed code.
    older
        Returns code of generations that are still read or continued, by its fingerprint; called when it is first needed.
    """

    def __init__(self, current: Projection, older: Callable[[], Mapping[str, Projection]] = dict) -> None:
        self.current = current
        self.fingerprint = current.fingerprint()
        self._find_older = older
        self._older: Mapping[str, Projection] | None = None

    def of(self, fingerprint: str | None) -> Projection:
        """Return the code with a fingerprint; the deployed code if that one is unknown or not in the asset."""
        return self.find(fingerprint) or self.current

    def find(self, fingerprint: str | None) -> Projection | None:
        """Return the code with a fingerprint; None if it is not in the asset."""
        if fingerprint is None or fingerprint == self.fingerprint:
            return self.current
        if self._older is None:
            self._older = self._find_older()
        return self._older.get(fingerprint)


@dataclass(slots=True)
class _Task:
    """What one call works on.

    Attributes
    ----------
    guesses
        True until a guess was wrong: the first event of a stream needs no read, as neither its state nor its rows exist.
    born_at
        The control item's version that the birth in a generation relies on, by generation.
    used
        Generation and key of each row that was used.
    prepared
        The offered events that were prepared: their keys are needed before they are folded (`prepare`).
    """

    stream_id: StreamId
    offered: Mapping[int, Event]
    has_time: Callable[[], bool]
    live: bool
    retry_halted: bool = False
    guesses: bool = True
    born_at: dict[int, int] = field(default_factory=dict)
    used: set[tuple[int, str]] = field(default_factory=set)
    prepared: dict[tuple[Projection, int], Prepared] = field(default_factory=dict)

    def prepare(self, projection: Projection, events: Iterable[Event]) -> list[Prepared]:
        """Prepare events for a fold; the offered ones once in this call."""
        return [
            self.prepared.setdefault((projection, event.event_id), Prepared(projection, event))
            if event.event_id in self.offered
            else Prepared(projection, event)
            for event in events
        ]


class Projector:
    """Brings streams of one projection to events in generations of its read model.

    Parameters
    ----------
    pause
        Called before a retry with the number of races lost before.
    monotonic
        Returns seconds; measures the age of the control item.
    """

    def __init__(
        self,
        code: Code,
        store: EventStore,
        read_model: ReadModel,
        clock: Clock,
        *,
        pause: Callable[[int], None] = lambda lost: None,
        monotonic: Callable[[], float] = time.monotonic,
        cache: Cache | None = None,
    ) -> None:
        self.code = code
        self._store = store
        self._read_model = read_model
        self._clock = clock
        self._pause = pause
        self._monotonic = monotonic
        self.cache = cache or Cache()
        self._control: Control | None = None
        self._control_read_at = 0.0

    def control(self, *, fresh: bool = False) -> Control:
        """Return the control item, read a few seconds ago at most, or now."""
        now = self._monotonic()
        if fresh or self._control is None or now - self._control_read_at > CONTROL_AGE_S:
            self._control_read_at = now
            self._control = read_control(self._read_model)
        return self._control

    def catch_up(
        self,
        stream_id: StreamId,
        hints: Iterable[Hint],
        *,
        retry_halted: bool = False,
        has_time: Callable[[], bool] = lambda: True,
    ) -> CatchUp:
        """Apply at least all events up to the highest one in the hints to the active generation.

        Parameters
        ----------
        retry_halted
            Retry the event at which the stream is halted: the code may have been fixed since.
        has_time
            Checked after each commit; stops if False.

        Raises
        ------
        HandlerFailedError
            A handler raised. All events before are applied, and the halt is recorded.
        ContendedError
            Other writers kept winning.
        """
        hints = list(hints)
        offered: dict[int, Event] = {hint.event_id: hint.event for hint in hints if hint.event is not None}
        target = max((hint.event_id for hint in hints), default=-1)
        task = _Task(stream_id, offered, has_time, live=True, retry_halted=retry_halted)
        if any(hint.fresh for hint in hints):
            self.cache.forget_stream(stream_id)
        applied = 0
        for lost in range(MAX_LOST_RACES):
            try:
                control = self.control()
                if not self.code.of(control.fingerprint).follows(stream_id):  # a switch, since the caller looked
                    return CatchUp(applied, NO_EVENTS)
                state, steps = self._bring(task, control.active, target)
                applied += steps
                if self.control().active != control.active:  # a switch that was noticed only now (G7)
                    continue
                finished = state.checkpoint >= target or task.has_time()
                return CatchUp(applied, state.checkpoint, halted=state.is_halted, finished=finished)
            except AbandonedError:  # known from an old control item
                self.control(fresh=True)
                self.cache.forget_stream(stream_id)
            except OutdatedError as error:
                self._forget(task, error)
                if lost or not task.guesses:
                    self._pause(lost)
                task.guesses = False
        raise ContendedError(f"projection {self.code.current.name}: stream {stream_id!r} is contended")

    def bring(
        self,
        stream_id: StreamId,
        generation: int,
        target: int,
        events: Iterable[Event] = (),
        *,
        has_time: Callable[[], bool] = lambda: True,
    ) -> StreamState:
        """Bring a stream at least to an event in a generation; returns the state reached.

        Parameters
        ----------
        events
            Events of the stream that need not be read.

        Raises
        ------
        AbandonedError
            The generation was given up, perhaps by this call, because a handler raised (R4).
        HandlerFailedError
            A handler raised in the active generation; the halt is recorded.
        ContendedError
            Other writers kept winning.
        """
        offered: dict[int, Event] = {event.event_id: event for event in events}
        task = _Task(stream_id, offered, has_time, live=False, retry_halted=True, guesses=False)
        for lost in range(MAX_LOST_RACES):
            try:
                return self._bring(task, generation, target)[0]
            except OutdatedError as error:
                self._forget(task, error)
                self._pause(lost)
        raise ContendedError(f"projection {self.code.current.name}: stream {stream_id!r} is contended")

    def _forget(self, task: _Task, error: OutdatedError) -> None:
        """Forget what a lost race has contradicted."""
        self.cache.forget_stream(task.stream_id)
        known = error.keys or error.items
        self.cache.forget_rows(place for place in task.used if place[1] in error.keys or not known)
        if task.born_at:
            self.control(fresh=True)

    # -- one generation ------------------------------------------------------------------------------------------------

    def _bring(self, task: _Task, generation: int, target: int, depth: int = 0) -> tuple[StreamState, int]:
        """Bring the stream to ``target`` in a generation; returns its state and the number of events applied."""
        if depth > MAX_DEPTH:
            raise AbandonedError
        projection = self._code_of(generation)
        applied = 0
        events: Sequence[Prepared] = ()
        while True:
            state = self._state(task, generation, projection)
            if state.page is not None:
                raise OutdatedError("a replay is writing a page of the stream's history", [state.item])
            if state.checkpoint >= target or (state.is_halted and not task.retry_halted):
                return state, applied
            if not state.exists:
                state = self._unborn(task, state, depth)
            limit = target
            if state.ahead is not None:
                if not self._may_lead(state):
                    continue
                try:
                    limit = min(target, self._bring(task, state.ahead, target, depth + 1)[0].checkpoint)
                except AbandonedError:
                    if not state.exists:
                        raise
                    if self.control(fresh=True).may_lead(state.ahead):
                        raise OutdatedError("the generations have changed") from None
                    continue  # it stops following that generation
                if limit <= state.checkpoint:  # it is halted there
                    return state, applied
            events = _from(events, state.checkpoint + 1) or self._following(task, projection, state, limit)
            if state.ahead is not None:  # never past what the generation ahead has (G4)
                events = [each for each in events if each.event.event_id <= limit]
            if not events:  # a hint beyond the head
                return state, applied
            before = state.checkpoint
            state = self._apply(task, projection, state, events)
            applied += state.checkpoint - before
            if not task.has_time():
                return state, applied

    def _code_of(self, generation: int) -> Projection:
        """Return the code that folds a generation.

        Raises
        ------
        ContendedError
            A replay builds it with code that this process does not have, because it began before a deployment.
        """
        control = self.control()
        fingerprint, building = control.fingerprint_of(generation), control.building
        if building is not None and (building.generation, building.kind) == (generation, REPLAY):
            found = self.code.find(fingerprint)
            if found is None:
                raise ContendedError(f"generation {generation} is built with newer code than that of this process")
            return found
        return self.code.of(fingerprint)

    def _state(self, task: _Task, generation: int, projection: Projection) -> StreamState:
        """Return the warm state, or read it, and in the same call the rows of the offered events (P4)."""
        state = self.cache.state(generation, task.stream_id)
        if state is not None and not state.is_halted:  # another process may have resumed the stream since
            return state
        if task.guesses and 0 in task.offered:
            return StreamState(task.stream_id, generation)
        offered = task.prepare(projection, (event for _, event in sorted(task.offered.items())))
        keys = self.cache.missing(generation, keys_of(offered))
        found = self._read_model.load(generation, [task.stream_id], keys)
        self.cache.put(generation, found.states.values(), found.rows)
        return found.states[task.stream_id]

    def _unborn(self, task: _Task, state: StreamState, depth: int) -> StreamState:
        """Return the state that a stream's first commit creates: what is being built must be known for certain (G3)."""
        control, generation = self.control(), state.generation
        if not control.is_alive(generation) or (task.live and depth == 0 and generation != control.active):
            raise AbandonedError
        task.born_at[generation] = control.version
        building = control.building
        if building is None or generation != control.active:
            return state
        joins = self.code.of(building.fingerprint).follows(state.stream_id)
        return replace(state, ahead=building.generation) if joins else state

    def _may_lead(self, state: StreamState) -> bool:
        """Check that the generation ahead still exists; otherwise stop following it (G7)."""
        if state.ahead is None or self.control().may_lead(state.ahead):
            return True
        control = self.control(fresh=True)
        if not control.may_lead(state.ahead):
            # In an abandoned generation, the leader is the way to the active one: without it, events would end here.
            if not state.exists or not control.is_alive(state.generation):
                raise AbandonedError
            change = transitions.drop_leader(state)
            self._read_model.commit(Commit((change,)))
            self.cache.put(state.generation, [change.after], {})
        return False

    def _following(self, task: _Task, projection: Projection, state: StreamState, target: int) -> Sequence[Prepared]:
        """Return the events after the checkpoint without gaps, as offered or from the store (P1)."""
        wanted = range(state.checkpoint + 1, target + 1)
        if all(event_id in task.offered for event_id in wanted):
            return task.prepare(projection, (task.offered[event_id] for event_id in wanted))
        return task.prepare(projection, self._store.read(state.stream_id, EventId(state.checkpoint + 1)).events)

    def _apply(
        self, task: _Task, projection: Projection, state: StreamState, events: Sequence[Prepared]
    ) -> StreamState:
        """Fold events and commit the rows with the state in one transaction (G1, P3)."""
        generation = state.generation
        rows = self._rows(task, state, keys_of(events))
        skipped = state.skipped
        folded = fold(projection, events, plain(rows), state.checkpoint, skipped=skipped)
        if folded.failure is not None and folded.checkpoint == state.checkpoint:
            skipped = self._skipped_before(state, folded.failure)
            if not skipped:
                self._fail(task, state, folded.failure, {key: rows[key] for key in events[0].keys})
            folded = fold(projection, events, plain(rows), state.checkpoint, skipped=skipped)
        change = transitions.advance(state, folded.checkpoint, {each: skipped[each] for each in folded.skipped})
        changed = row_changes(projection, folded, rows)
        self._commit(task, state, Commit((change,), changed, generation))
        self.cache.put(generation, [change.after], written(changed), folded.sizes)
        return change.after

    def _rows(self, task: _Task, state: StreamState, keys: Sequence[str]) -> dict[str, StoredRow | None]:
        """Return rows from the cache or the read model; a stream's first event is taken for the first of its rows."""
        task.used.update((state.generation, key) for key in keys)
        return self.stored_rows(state.generation, keys, load=state.exists or not task.guesses)

    def stored_rows(self, generation: int, keys: Sequence[str], *, load: bool = True) -> dict[str, StoredRow | None]:
        """Return rows from the cache; others from the read model or, without ``load``, taken not to exist."""
        rows = {key: self.cache.row(generation, key) for key in keys}
        missing = self.cache.missing(generation, keys) if load else ()
        if missing:
            loaded = self._read_model.load(generation, (), missing).rows
            self.cache.put(generation, (), loaded)
            rows.update(loaded)
        return rows

    def _skipped_before(self, state: StreamState, failure: HandlerFailedError) -> Mapping[str, Document]:
        """Return the skips of the active generation if they include an event that fails in the one being built (P5)."""
        control = self.control(fresh=True)
        if state.generation == control.active:
            return {}
        live = self._read_model.load(control.active, [state.stream_id]).states[state.stream_id]
        return live.skipped if str(failure.event_id) in live.skipped else {}

    def _fail(
        self, task: _Task, state: StreamState, failure: HandlerFailedError, rows: Mapping[str, StoredRow | None]
    ) -> None:
        """Halt the stream in the active generation (P5), or give up the generation being built (R4).

        The failure is only certain if the event's rows were the ones stored, so the commit checks them.
        """
        self.cache.forget_stream(state.stream_id)
        control, at = self.control(fresh=True), rfc3339(self._clock.now())
        checks = tuple(RowChange(key, _version(row)) for key, row in rows.items())
        if control.building is not None and control.building.generation == state.generation:
            error = {"streamId": state.stream_id, "eventId": failure.event_id, "error": failure.error}
            end = transitions.end_job(control.building.replay_id, FAILED, at, error)
            changes = (transitions.abandon(control), end, transitions.unchanged(state))
            checks = checks[:MAX_CHECKED_ROWS]
            self._read_model.commit(Commit.of_control(*changes, rows=checks, generation=state.generation))
            self.control(fresh=True)
            raise AbandonedError
        if control.active != state.generation:
            raise AbandonedError
        change = transitions.halt(state, failure.event_id, failure.error, at)
        try:
            self._commit(task, state, Commit((change,), checks, state.generation))
        except OutdatedError:
            # boto3 retries a call whose response was lost: the record may be our own.
            recorded = self._read_model.load(state.generation, [state.stream_id]).states[state.stream_id].halted
            if recorded is None or (recorded.event_id, recorded.at) != (failure.event_id, at):
                raise
        raise failure

    def _commit(self, task: _Task, state: StreamState, commit: Commit) -> None:
        if not state.exists:
            commit = replace(commit, born_at=task.born_at[state.generation])
        self._read_model.commit(commit)
        task.guesses = False


def plain(rows: Mapping[str, StoredRow | None]) -> dict[str, Mapping[str, object] | None]:
    """Return rows without their versions."""
    return {key: None if row is None else row.row for key, row in rows.items()}


def row_changes(
    projection: Projection, folded: Folded, before: Mapping[str, StoredRow | None]
) -> tuple[RowChange, ...]:
    """Return a fold's changes: rows that differ are written, the others checked, because the fold relies on them too."""
    changes = []
    version = secrets.token_urlsafe(9)
    for key, row in folded.changed.items():
        old = before[key]
        was = None if old is None else old.row
        # Equal rows may still differ, because ``True == 1``.
        if row == was and repr(row) == repr(was):
            changes.append(RowChange(key, _version(old)))
        else:
            entries = projection.index_entries(key, row) if row is not None else ()
            changes.append(RowChange(key, _version(old), True, row, version, entries))
    return tuple(changes)


def written(changes: Iterable[RowChange]) -> dict[str, StoredRow | None]:
    """Return the rows that a commit has written, as they are stored now."""
    return {each.key: None if each.row is None else StoredRow(each.version, each.row) for each in changes if each.write}


def _version(row: StoredRow | None) -> str | None:
    return None if row is None else row.version


def _from(events: Sequence[Prepared], first: int) -> Sequence[Prepared]:
    """Return a page's events from ``first`` on: a page that takes several commits is read once."""
    if not events or not events[0].event.event_id <= first <= events[-1].event.event_id:
        return ()
    return events[first - events[0].event.event_id :]
