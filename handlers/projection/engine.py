"""Bringing a stream's rows to its head (P1 to P5).

A message only says that there is something to do; what to do follows from the state, and where the messages leave a gap,
from the event store.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from handlers.core.clock import Clock, rfc3339
from handlers.core.errors import ContendedError, HandlerFailedError
from handlers.core.events import StreamId
from handlers.core.messages import Hint
from handlers.projection import transitions
from handlers.projection.definition import Projection, Row
from handlers.projection.fold import Folded, Prepared, fold, keys_of
from handlers.projection.port import OutdatedError, ReadModel, Snapshot
from handlers.projection.rows import UnstorableError, check_row
from handlers.projection.state import StreamState
from handlers.store import EventStore

# Who loses a race reads again. Losing this often in one call means that something else is wrong; the message comes back.
MAX_LOST_RACES = 20
# Warm copies of this many streams, and of this many rows each, are kept between invocations.
MAX_WARM_STREAMS = 256
MAX_WARM_ROWS = 500
# An integer per stream that was ever replayed: 10,000 are a megabyte.
MAX_GENERATIONS = 10_000
# A warm row is kept only while it is small, so that 256 streams of 500 rows stay below 128 MB in the worst case.
MAX_WARM_ROW_BYTES = 1024


@dataclass(frozen=True, slots=True)
class CatchUp:
    """What bringing a stream up did.

    Attributes
    ----------
    applied
        Events that came to be in the read model by this call, handled by the projection or not.
    checkpoint
        Where the stream now stands.
    halted
        True when the stream stands before an event whose handler raised.
    finished
        False when time was up before the stream was at its head; the reconciler goes on (P6).
    """

    applied: int
    checkpoint: int
    halted: bool = False
    finished: bool = True


class Projector:
    """Brings streams of one projection to their heads.

    Parameters
    ----------
    pause
        Called before another try after a lost race, with the number of races lost; injectable for tests.
    """

    def __init__(
        self,
        projection: Projection,
        store: EventStore,
        read_model: ReadModel,
        clock: Clock,
        *,
        pause: Callable[[int], None] = lambda lost: None,
    ) -> None:
        self._projection = projection
        self._store = store
        self._read_model = read_model
        self._clock = clock
        self._pause = pause
        self._fingerprint = projection.fingerprint()
        self._warm: OrderedDict[StreamId, Snapshot] = OrderedDict()
        self._generations: dict[StreamId, int] = {}

    def catch_up(
        self,
        stream_id: StreamId,
        hints: Iterable[Hint],
        *,
        retry_halted: bool = False,
        has_time: Callable[[], bool] = lambda: True,
    ) -> CatchUp:
        """Apply everything up to the highest event that the hints name, and whatever else is found on the way.

        Parameters
        ----------
        retry_halted
            Try the event that the stream is halted at again: the code may have been mended since.
        has_time
            Asked after each commit; False: stop there.

        Raises
        ------
        HandlerFailedError
            A handler raised now. Everything before its event is applied, and the halt is recorded.
        ContendedError
            Others won the race again and again.
        """
        hints = list(hints)
        offered: dict[int, Prepared] = {
            hint.event_id: Prepared(self._projection, hint.event) for hint in hints if hint.event is not None
        }
        target = max((hint.event_id for hint in hints), default=-1)
        if any(hint.fresh for hint in hints):
            snapshot: Snapshot | None = self._refreshed(stream_id, self._warm.pop(stream_id, None))
        else:
            snapshot = self._warm.get(stream_id)
        applied = 0
        events: Sequence[Prepared] = ()
        for lost in range(MAX_LOST_RACES):
            try:
                while True:
                    snapshot = snapshot or self._look(stream_id, offered.values())
                    state = snapshot.state
                    if state.is_halted and not retry_halted:
                        return CatchUp(applied, state.checkpoint, halted=True)
                    if state.checkpoint >= target:
                        return CatchUp(applied, state.checkpoint)
                    events = _from(events, state.checkpoint + 1) or self._following(state, target, offered)
                    if not events:  # a hint beyond the head: nothing is there (yet)
                        return CatchUp(applied, state.checkpoint)
                    after = self._apply(snapshot, events)
                    applied += after.state.checkpoint - state.checkpoint
                    snapshot = after
                    self._keep(snapshot)
                    if not has_time():
                        checkpoint = snapshot.state.checkpoint
                        return CatchUp(applied, checkpoint, finished=checkpoint >= target)
            except OutdatedError:
                self._warm.pop(stream_id, None)
                snapshot = None
                self._pause(lost)
        raise ContendedError(f"projection {self._projection.name}: stream {stream_id!r} is contended")

    def _refreshed(self, stream_id: StreamId, warm: Snapshot | None) -> Snapshot:
        """Read the state anew; warm rows are as good as before where it says that nobody else has written."""
        state = self._read_model.load(stream_id).state
        if warm and transitions.same_live_rows(warm.state, state):
            return replace(warm, state=state)
        return Snapshot(state, {}, state.active_generation)

    def _look(self, stream_id: StreamId, offered: Iterable[Prepared]) -> Snapshot:
        """Read the state, and in the same call the rows that the offered events are about (P4).

        Their generation is known only from the state; the one seen last, else 0, is right until the next replay, and
        costs one call more where it is wrong.
        """
        generation = self._generations.get(stream_id, 0)
        snapshot = self._read_model.load(stream_id, keys_of(offered), generation)
        if snapshot.state.active_generation != generation:
            if len(self._generations) >= MAX_GENERATIONS:
                self._generations.clear()
            self._generations[stream_id] = snapshot.state.active_generation
        return snapshot

    def _following(self, state: StreamState, target: int, offered: Mapping[int, Prepared]) -> Sequence[Prepared]:
        """Return events from the one after the checkpoint on, without gaps: as offered, or else from the store (P1)."""
        wanted = range(state.checkpoint + 1, target + 1)
        if all(event_id in offered for event_id in wanted):
            return [offered[event_id] for event_id in wanted]
        page = self._store.read(state.stream_id, state.checkpoint + 1)
        return [offered.get(event.event_id) or Prepared(self._projection, event) for event in page.events]

    def _apply(self, snapshot: Snapshot, events: Sequence[Prepared]) -> Snapshot:
        """Fold events and commit what comes out: one transaction (P2, P3)."""
        state = snapshot.state
        keys = keys_of(events)
        known = snapshot.rows if snapshot.generation == state.active_generation else {}
        if any(key not in known for key in keys):
            loaded = self._read_model.load(state.stream_id, keys, state.active_generation)
            if not transitions.same_live_rows(loaded.state, state):
                raise OutdatedError("the state has moved on")
            known = {**known, **loaded.rows}
        rows: dict[str, Row | None] = {key: known[key] for key in keys}
        folded = fold(self._projection, events, rows, state.checkpoint, skipped=state.skipped)
        if folded.checkpoint > state.checkpoint:
            change = transitions.advance(state, folded.checkpoint, self._fingerprint)
            self._read_model.commit(change, _changes(folded, rows), state.active_generation)
            state = change.after
        if folded.failure:
            self._halt(state, folded.failure)
        return Snapshot(state, _warm_rows(known, folded), state.active_generation)

    def _halt(self, state: StreamState, failure: HandlerFailedError) -> None:
        self._warm.pop(state.stream_id, None)
        at = rfc3339(self._clock.now())
        try:
            self._read_model.commit(transitions.halt(state, failure.event_id, failure.error, at))
        except OutdatedError:
            # boto3 repeats a call whose answer was lost: then it is our own record that stands there.
            standing = self._read_model.load(state.stream_id).state.halted
            if standing is None or (standing.event_id, standing.at) != (failure.event_id, at):
                raise
        raise failure

    def _keep(self, snapshot: Snapshot) -> None:
        self._warm[snapshot.state.stream_id] = snapshot
        self._warm.move_to_end(snapshot.state.stream_id)
        if len(self._warm) > MAX_WARM_STREAMS:
            self._warm.popitem(last=False)


def _from(events: Sequence[Prepared], first: int) -> Sequence[Prepared]:
    """Return a page's events from ``first`` on: a page is read once, however many commits it takes."""
    if not events or not events[0].event.event_id <= first <= events[-1].event.event_id:
        return ()
    return events[first - events[0].event.event_id :]


def _changes(folded: Folded, before: Mapping[str, Row | None]) -> dict[str, Row | None]:
    """Return the rows that need a write: a row that comes out as it went in does not.

    Compared by their text: to Python, ``True == 1``.
    """
    return {key: row for key, row in folded.changed.items() if repr(row) != repr(before[key])}


def _is_small(row: Row | None) -> bool:
    try:
        return row is None or check_row(row) <= MAX_WARM_ROW_BYTES
    except UnstorableError:  # written by somebody else: of a type that no handler returns
        return False


def _warm_rows(known: Mapping[str, Row | None], folded: Folded) -> dict[str, Row | None]:
    """Return the rows worth keeping, the ones changed last at the end; rows at an older checkpoint stay right."""
    rows = {key: row for key, row in known.items() if key not in folded.changed and _is_small(row)}
    rows |= {key: row for key, row in folded.changed.items() if folded.sizes[key] <= MAX_WARM_ROW_BYTES}
    return dict(list(rows.items())[-MAX_WARM_ROWS:])
